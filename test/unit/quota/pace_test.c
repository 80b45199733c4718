/* So much a second, a second's worth at once, and one of any size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quota/pace.h"

enum { RATE = 1000, NOW = 5000 };

static unsigned taken(struct pace *pace, int64_t now_ms, uint64_t amount) {
    unsigned count = 0;
    while (count < 100000 && pace_allows(pace, now_ms)) {
        pace_take(pace, now_ms, amount, RATE);
        count++;
    }
    return count;
}

static void so_much_a_second(void **state) {
    (void)state;
    struct pace pace = {0};
    assert_int_equal(taken(&pace, NOW, 10), 100);
    assert_int_equal(taken(&pace, NOW, 10), 0);
    assert_int_equal(taken(&pace, NOW + 9, 10), 1); /* the last may reach past the second */
    assert_int_equal(taken(&pace, NOW + 500, 10), 49);
    assert_int_equal(taken(&pace, NOW + 3600000, 10), 100); /* who has rested has no more than before */
}

static void one_of_any_size(void **state) {
    (void)state;
    struct pace pace = {0};
    assert_int_equal(taken(&pace, NOW, 60 * RATE), 1);
    assert_false(pace_allows(&pace, NOW + 59000));
    assert_true(pace_allows(&pace, NOW + 59001));
    pace = (struct pace){0};
    pace_take(&pace, NOW, UINT64_MAX / 2000000, RATE);
    assert_false(pace_allows(&pace, NOW));
}

static void what_is_taken_is_paid_for_in_time(void **state) {
    (void)state;
    struct pace pace = {0};
    assert_int_equal(pace_taken(&pace, NOW, RATE), 0);
    pace_take(&pace, NOW, 10, RATE);
    assert_int_equal(pace_taken(&pace, NOW, RATE), 10);
    assert_int_equal(pace_taken(&pace, NOW + 1, RATE), 9);
    assert_int_equal(pace_taken(&pace, NOW + 10, RATE), 0);
    pace_take(&pace, NOW + 10, 2500, RATE);
    assert_int_equal(pace_taken(&pace, NOW + 10, RATE), 2500);
    pace = (struct pace){0};
    pace_take(&pace, NOW, 1, 3); /* a third of a second: what is begun counts */
    assert_int_equal(pace_taken(&pace, NOW + 300, 3), 1);
    assert_int_equal(pace_taken(&pace, NOW + 334, 3), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_much_a_second),
        cmocka_unit_test(one_of_any_size),
        cmocka_unit_test(what_is_taken_is_paid_for_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
