/* Choices are recorded, replayed, and 0 beyond the script when nothing is random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/choice.h"

static void a_record_replays(void **state) {
    (void)state;
    struct choices first = {.recording = true};
    uint32_t drawn[100];
    choices_start(&first, 7, NULL, 0, true);
    for (uint32_t i = 0; i < 100; i++) {
        drawn[i] = choose(&first, 2 + i);
        assert_true(drawn[i] < 2 + i);
    }
    assert_int_equal(first.taken_count, 100);
    struct choices again = {0};
    choices_start(&again, 8, first.taken, first.taken_count, true);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(choose(&again, 2 + i), drawn[i]);
    }
    choices_deinit(&first);
}

static void beyond_the_script_all_is_calm(void **state) {
    (void)state;
    const struct choice script[] = {{3, 5}};
    struct choices c = {0};
    choices_start(&c, 1, script, 1, false);
    assert_int_equal(choose(&c, 5), 3);
    assert_int_equal(choose(&c, 5), 0);
    assert_false(chance(&c, 1, 2));
    assert_true(chance(&c, 2, 2));
    assert_false(chance(&c, 0, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_replays),
        cmocka_unit_test(beyond_the_script_all_is_calm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
