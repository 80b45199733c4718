/* Fields of /proc by their whole name, and a look at ourselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/process.h"

static void fields_are_found_by_their_whole_name(void **state) {
    (void)state;
    const char *text =
        "Name:\tx\nnonvoluntary_ctxt_switches:\t7\nvoluntary_ctxt_switches:\t12\nVmRSS:\t   345 kB\nKeys 8\n";
    assert_int_equal(process_field(text, "voluntary_ctxt_switches"), 12);
    assert_int_equal(process_field(text, "nonvoluntary_ctxt_switches"), 7);
    assert_int_equal(process_field(text, "VmRSS"), 345);
    assert_int_equal(process_field(text, "Key"), 0);
    assert_int_equal(process_field("", "Vm"), 0);
}

static void our_own_process_can_be_read(void **state) {
    (void)state;
    struct process_sample sample;
    struct error error = {0};
    assert_true(process_sample((uint64_t)getpid(), &sample, &error));
    assert_true(sample.rss_bytes > 0);
    assert_true(sample.peak_bytes >= sample.rss_bytes);
}

static void no_process_is_an_error(void **state) {
    (void)state;
    struct process_sample sample;
    struct error error = {0};
    assert_false(process_sample(INT32_MAX, &sample, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_by_their_whole_name),
        cmocka_unit_test(our_own_process_can_be_read),
        cmocka_unit_test(no_process_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
