/* New, late or duplicate: the flow against a set that remembers every number. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/prng.h"
#include "bench/flow.h"

enum { SEEDS = 200, NUMBERS = 300, STEPS = 900 };

static void in_order_needs_no_memory(void **state) {
    (void)state;
    struct flow f = {0};
    for (uint32_t i = 0; i < NUMBERS; i++) {
        assert_int_equal(flow_take(&f, i), FLOW_NEXT);
    }
    assert_null(f.gaps);
}

static void a_repeat_is_a_duplicate(void **state) {
    (void)state;
    struct flow f = {0};
    assert_int_equal(flow_take(&f, 0), FLOW_NEXT);
    assert_int_equal(flow_take(&f, 0), FLOW_DUPLICATE);
    assert_int_equal(flow_take(&f, 1), FLOW_NEXT);
    assert_int_equal(flow_take(&f, 0), FLOW_DUPLICATE);
}

static void an_overtaken_number_is_late_once(void **state) {
    (void)state;
    struct flow f = {0};
    assert_int_equal(flow_take(&f, 4), FLOW_NEXT);
    assert_int_equal(flow_take(&f, 2), FLOW_LATE);
    assert_int_equal(flow_take(&f, 2), FLOW_DUPLICATE);
    assert_int_equal(flow_take(&f, 0), FLOW_LATE);
    assert_int_equal(flow_take(&f, 3), FLOW_LATE);
    assert_int_equal(flow_take(&f, 1), FLOW_LATE);
    assert_int_equal(flow_take(&f, 4), FLOW_DUPLICATE);
    assert_int_equal(f.gap_count, 0);
    flow_deinit(&f);
}

static void any_order_agrees_with_a_set(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct prng p = prng_of(seed);
        struct flow f = {0};
        bool seen[NUMBERS] = {false};
        uint32_t highest = 0;
        for (int step = 0; step < STEPS; step++) {
            uint32_t number = (uint32_t)prng_below(&p, NUMBERS);
            enum flow_verdict expected = seen[number] ? FLOW_DUPLICATE : number < highest ? FLOW_LATE : FLOW_NEXT;
            assert_int_equal(flow_take(&f, number), expected);
            seen[number] = true;
            highest = number + 1 > highest ? number + 1 : highest;
        }
        flow_deinit(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_order_needs_no_memory),
        cmocka_unit_test(a_repeat_is_a_duplicate),
        cmocka_unit_test(an_overtaken_number_is_late_once),
        cmocka_unit_test(any_order_agrees_with_a_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
