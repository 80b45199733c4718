/* Deliveries of several mixed sequences come out in the order of all, without being sorted. */
#include "store/runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"

static struct delivery delivery_of(lsn_t lsn, uint32_t target) {
    return (struct delivery){NULL, lsn, 0, target, 1, false};
}

/* `sequences` of deliveries are mixed at random and taken now and then; never is one left out that comes before. */
static void history(uint64_t seed, unsigned sequences) {
    enum { SEQUENCES_MAX = 8, PUSHES = 3000 };
    struct prng prng = prng_of(seed);
    struct runs r = {NULL, 0, 0};
    lsn_t next[SEQUENCES_MAX];
    uint64_t there = 0;
    lsn_t sum = 0; /* of those that are there */
    for (unsigned i = 0; i < sequences; i++) {
        next[i] = 1 + i;
    }
    for (unsigned i = 0; i < PUSHES; i++) {
        const uint64_t from = prng_below(&prng, sequences);
        const struct delivery d = delivery_of(next[from], (uint32_t)i);
        next[from] += sequences * (1 + prng_below(&prng, 100));
        runs_push(&r, &d);
        there++;
        sum += d.message_lsn;
        for (uint64_t k = prng_below(&prng, i % 700 < 350 ? 2 : 4); k > 0 && there > 0; k--, there--) {
            for (uint32_t at = 0; at < r.count; at += 1 + r.count / 8) {
                assert_false(delivery_before(runs_at(&r, at), runs_first(&r)));
            }
            sum -= runs_pop(&r).message_lsn;
        }
        assert_int_equal(r.count, there);
        assert_true(r.run_count <= sequences);
    }
    for (lsn_t before = 0; there > 0; there--) {
        const struct delivery d = runs_pop(&r);
        assert_true(d.message_lsn >= before);
        before = d.message_lsn;
        sum -= d.message_lsn;
    }
    assert_int_equal(sum, 0);
    assert_null(r.items);
}

static void all_come_out_in_order(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        history(seed, 1 + (unsigned)seed % 8);
    }
}

static void targets_of_one_message_are_in_order(void **state) {
    (void)state;
    struct runs r = {NULL, 0, 0};
    const uint32_t targets[] = {2, 0, 1};
    for (unsigned i = 0; i < 3; i++) {
        const struct delivery d = delivery_of(7, targets[i]);
        runs_push(&r, &d);
    }
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(runs_pop(&r).target, i);
    }
}

static void those_without_lsn_stay_as_they_came(void **state) {
    (void)state;
    struct runs r = {NULL, 0, 0};
    for (uint32_t i = 0; i < 1000; i++) {
        const struct delivery d = delivery_of(0, 1000 - i);
        runs_push(&r, &d);
    }
    assert_int_equal(r.run_count, 1);
    for (uint32_t i = 0; i < 1000; i++) {
        assert_int_equal(runs_pop(&r).target, 1000 - i);
    }
}

/* A walk by number meets all that were there when it began, whatever is pushed meanwhile. */
static void a_walk_leaves_nothing_out(void **state) {
    (void)state;
    enum { THERE = 500 };
    struct prng prng = prng_of(3);
    struct runs r = {NULL, 0, 0};
    bool met[THERE] = {false};
    for (uint32_t i = 0; i < THERE; i++) {
        const struct delivery d = delivery_of(1 + prng_below(&prng, 4000), i);
        runs_push(&r, &d);
    }
    for (uint32_t at = 0; at < r.count; at++) {
        const struct delivery *met_one = runs_at(&r, at);
        if (met_one->target < THERE) {
            met[met_one->target] = true;
        }
        if (at < THERE) {
            const struct delivery d = delivery_of(1 + prng_below(&prng, 4000), THERE);
            runs_push(&r, &d);
        }
    }
    for (uint32_t i = 0; i < THERE; i++) {
        assert_true(met[i]);
    }
    runs_deinit(&r);
    assert_int_equal(r.count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_come_out_in_order),
        cmocka_unit_test(targets_of_one_message_are_in_order),
        cmocka_unit_test(those_without_lsn_stay_as_they_came),
        cmocka_unit_test(a_walk_leaves_nothing_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
