/* What a failure of the environment says, and what kind it is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"

static void says_what_was_tried_and_why_it_failed(void **state) {
    (void)state;
    struct error error;
    assert_false(error_set(&error, ERROR_IO, EIO, "writing %s at %d", "journal", 4096));
    assert_int_equal(error.kind, ERROR_IO);
    assert_int_equal(error.system, EIO);
    char expected[128];
    (void)snprintf(expected, sizeof expected, "writing journal at 4096: %s", strerror(EIO));
    assert_string_equal(error.text, expected);

    assert_false(error_set(&error, ERROR_INVALID, 0, "no such option"));
    assert_int_equal(error.kind, ERROR_INVALID);
    assert_int_equal(error.system, 0);
    assert_string_equal(error.text, "no such option");
}

/* Lengths around the size of the text, with and without the system's words behind. */
static void long_sentences_are_cut(void **state) {
    (void)state;
    char sentence[1000];
    for (size_t len = 300; len < sizeof sentence - 1; len += len < 400 ? 1 : 100) {
        memset(sentence, 'x', len);
        sentence[len] = '\0';
        for (int system = 0; system <= EIO; system += EIO) {
            struct error error;
            memset(&error, 0x7f, sizeof error);
            assert_false(error_set(&error, ERROR_IO, system, "%s", sentence));
            size_t shown = strnlen(error.text, sizeof error.text);
            assert_true(shown < sizeof error.text);
            size_t whole = system == 0 ? len : len + 2 + strlen(strerror(system));
            assert_int_equal(shown, whole < sizeof error.text ? whole : sizeof error.text - 1);
            assert_memory_equal(error.text, sentence, shown < len ? shown : len);
        }
    }
}

static void only_a_full_disk_is_a_full_disk(void **state) {
    (void)state;
    assert_int_equal(error_kind_of(ENOSPC), ERROR_NO_SPACE);
    assert_int_equal(error_kind_of(EDQUOT), ERROR_NO_SPACE);
    static const int others[] = {EIO, EROFS, EACCES, ENOENT, EINVAL, EINTR, ENOMEM, EBADF, EFBIG, 0};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(error_kind_of(others[i]), ERROR_IO);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_was_tried_and_why_it_failed),
        cmocka_unit_test(long_sentences_are_cut),
        cmocka_unit_test(only_a_full_disk_is_a_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
