/* The generator: the same for the same seed, within bounds, not visibly skewed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"

/* Seeds of failures are written down: what a seed gives must never change. The numbers are those of splitmix64 and
 * xoshiro256**, worked out apart from the code. */
static void a_seed_gives_the_same_for_ever(void **state) {
    (void)state;
    struct prng zero = prng_of(0);
    assert_int_equal(zero.state[0], 0xe220a8397b1dcdafULL);
    assert_int_equal(zero.state[1], 0x6e789e6aa1b965f4ULL);
    assert_int_equal(zero.state[2], 0x06c45d188009454fULL);
    assert_int_equal(zero.state[3], 0xf88bb8a8724c81ecULL);
    struct prng small = {{1, 2, 3, 4}};
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240ULL, 1216172134540287360ULL};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_int_equal(prng_next(&small), expected[i]);
    }
}

static void seeds_differ(void **state) {
    (void)state;
    struct prng a = prng_of(1);
    struct prng b = prng_of(2);
    struct prng again = prng_of(1);
    unsigned same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t next = prng_next(&a);
        assert_int_equal(next, prng_next(&again));
        same += next == prng_next(&b);
    }
    assert_int_equal(same, 0);
}

static void below_stays_below(void **state) {
    (void)state;
    static const uint64_t bounds[] = {1, 2, 3, 7, 10, 256, 1000003, 1ULL << 32, (1ULL << 63) + 1, UINT64_MAX};
    struct prng prng = prng_of(3);
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        for (int k = 0; k < 2000; k++) {
            assert_true(prng_below(&prng, bounds[i]) < bounds[i]);
        }
    }
}

static void below_reaches_every_number(void **state) {
    (void)state;
    enum { BOUND = 7, DRAWS = 70000 };
    size_t seen[BOUND] = {0};
    struct prng prng = prng_of(4);
    for (int i = 0; i < DRAWS; i++) {
        seen[prng_below(&prng, BOUND)]++;
    }
    for (size_t i = 0; i < BOUND; i++) {
        assert_in_range(seen[i], DRAWS / BOUND * 95 / 100, DRAWS / BOUND * 105 / 100);
    }
}

static void chance_is_a_share(void **state) {
    (void)state;
    struct prng prng = prng_of(5);
    size_t hits = 0;
    for (int i = 0; i < 30000; i++) {
        hits += prng_chance(&prng, 1, 3);
        assert_false(prng_chance(&prng, 0, 5));
        assert_true(prng_chance(&prng, 5, 5));
    }
    assert_in_range(hits, 9500, 10500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_gives_the_same_for_ever),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(below_stays_below),
        cmocka_unit_test(below_reaches_every_number),
        cmocka_unit_test(chance_is_a_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
