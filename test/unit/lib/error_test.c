/* Names, texts, advice; and structs of programs that were compiled with another version of the header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "lib/lib.h"

static void each_error_has_name_text_and_advice(void **state) {
    (void)state;
#define SEEN(name, number, text, advice)                                                                               \
    assert_string_equal(quartet_error_name(number), "QUARTET_" #name);                                                 \
    assert_string_equal(quartet_error_text(number), text);                                                             \
    assert_true(strlen(quartet_error_advice(number)) > 5);
    QUARTET_ERROR_ROWS(SEEN)
#undef SEEN
    assert_non_null(quartet_error_name(1));
    assert_non_null(quartet_error_text(-1000));
    assert_non_null(quartet_error_advice(1000));
}

static void reasons_have_the_names_of_their_protocol(void **state) {
    (void)state;
    assert_string_equal(quartet_reason_name(5, 0x87), "Not authorized");
    assert_string_equal(quartet_reason_name(4, 5), "Connection Refused, not authorized");
    assert_string_equal(quartet_reason_name(4, 0x80), "Failure");
    assert_string_equal(quartet_reason_name(4, 77), "Unknown return code");
}

static void *fail_elsewhere(void *argument) {
    (void)argument;
    (void)lib_fail(QUARTET_FULL, "elsewhere");
    return NULL;
}

static void the_last_error_is_of_this_thread(void **state) {
    (void)state;
    pthread_t thread;
    assert_int_equal(lib_fail(QUARTET_INVALID, "number %d", 5), QUARTET_INVALID);
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(quartet_last_error(), "number 5");
}

struct kind {
    enum error_kind kind;
    int system;
    int code;
};

static void failures_of_the_store_have_codes(void **state) {
    (void)state;
    static const struct kind kinds[] = {
        {ERROR_IO, EIO, QUARTET_STORE_FAILED},        {ERROR_IO, EACCES, QUARTET_SYSTEM},
        {ERROR_NO_SPACE, ENOSPC, QUARTET_STORE_FULL}, {ERROR_DAMAGED, 0, QUARTET_STORE_DAMAGED},
        {ERROR_LOCKED, 11, QUARTET_STORE_LOCKED},     {ERROR_FORMAT, 0, QUARTET_STORE_FORMAT},
        {ERROR_INVALID, 0, QUARTET_INVALID},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct error error = {kinds[i].kind, kinds[i].system, "the sentence"};
        assert_int_equal(lib_fail_error(&error), kinds[i].code);
        assert_string_equal(quartet_last_error(), "the sentence");
    }
}

struct new_struct {
    int a;
    int b;
};

static void shorter_structs_are_completed_with_zeros(void **state) {
    (void)state;
    struct new_struct to = {9, 9};
    int from = 5;
    assert_true(lib_copy_sized(&to, sizeof to, &from, sizeof from));
    assert_int_equal(to.a, 5);
    assert_int_equal(to.b, 0);
}

static void longer_structs_are_taken_while_nothing_new_is_set(void **state) {
    (void)state;
    int to = 9;
    struct new_struct from = {5, 0};
    assert_true(lib_copy_sized(&to, sizeof to, &from, sizeof from));
    assert_int_equal(to, 5);
    from.b = 1;
    assert_false(lib_copy_sized(&to, sizeof to, &from, sizeof from));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_error_has_name_text_and_advice),
        cmocka_unit_test(reasons_have_the_names_of_their_protocol),
        cmocka_unit_test(the_last_error_is_of_this_thread),
        cmocka_unit_test(failures_of_the_store_have_codes),
        cmocka_unit_test(shorter_structs_are_completed_with_zeros),
        cmocka_unit_test(longer_structs_are_taken_while_nothing_new_is_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
