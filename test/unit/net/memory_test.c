/* How much memory there is: some, and no more than a limit says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/memory.h"

static uint64_t written(const char *text) {
    char path[] = "/tmp/quartet-memory-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    uint64_t found = memory_of_file(path, 1000);
    (void)unlink(path);
    return found;
}

static void the_least_counts(void **state) {
    (void)state;
    assert_int_equal(written("max\n"), 1000);
    assert_int_equal(written("999\n"), 999);
    assert_int_equal(written("1001\n"), 1000);
    assert_int_equal(written(""), 1000);
    assert_int_equal(memory_of_file("/nowhere", 1000), 1000);
}

static void limits_of_the_process_count(void **state) {
    (void)state;
    struct rlimit before;
    assert_true(memory_there_is() > 16U << 20);
    assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
    struct rlimit small = {256U << 20, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_DATA, &small), 0);
    assert_true(memory_there_is() <= 256U << 20);
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_counts),
        cmocka_unit_test(limits_of_the_process_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
