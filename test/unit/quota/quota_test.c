/* Accounts: the whole path or nothing, exactly what was taken is given back, and nobody's share is another's. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "quota/quota.h"

static struct quota_limits limits_of(uint64_t owner, uint64_t all) {
    struct quota_limits limits = {.most = {{0}}};
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        limits.most[QUOTA_OWNER][row] = owner;
        limits.most[QUOTA_ALL][row] = all;
    }
    return limits;
}

static void assert_taken(const struct account *account, uint64_t amount) {
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        assert_int_equal(quota_taken(account, row), amount);
    }
}

static void all_rows(struct quota_need needs[QUOTA_ROW_COUNT], uint64_t amount) {
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        needs[row] = (struct quota_need){row, amount};
    }
}

/* Each row in turn is the one that has no room, at each level: nothing is taken, and what is over is named. */
static void a_refusal_takes_nothing(void **state) {
    (void)state;
    for (unsigned full = 0; full < QUOTA_ROW_COUNT; full++) {
        for (unsigned level = 0; level < QUOTA_LEVEL_COUNT; level++) {
            struct quota_limits limits = limits_of(100, 100);
            limits.most[level][full] = 9;
            struct quota *q = quota_create(&limits, 1);
            struct account *owner = quota_owner(q, SPAN("a"));
            struct quota_need needs[QUOTA_ROW_COUNT];
            struct quota_over over;
            all_rows(needs, 5);
            assert_true(quota_reserve(owner, needs, QUOTA_ROW_COUNT, &over));
            assert_false(quota_reserve(owner, needs, QUOTA_ROW_COUNT, &over));
            assert_int_equal(over.row, full);
            assert_int_equal(over.level, level);
            assert_taken(owner, 5);
            assert_taken(quota_all(q), 5);
            const struct account *refuses = level == QUOTA_ALL ? quota_all(q) : owner;
            assert_int_equal(atomic_load(&refuses->refused[full]), 1);
            quota_give(owner, needs, QUOTA_ROW_COUNT);
            assert_taken(owner, 0);
            assert_taken(quota_all(q), 0);
            quota_owner_unref(q, owner);
            quota_destroy(q);
        }
    }
}

/* At each level, and whatever others have: nothing is taken. */
static void one_thing_may_be_so_large(void **state) {
    (void)state;
    for (unsigned level = 0; level < QUOTA_LEVEL_COUNT; level++) {
        struct quota_limits limits = limits_of(0, 0);
        limits.most[level][QUOTA_MATCHES] = 9;
        struct quota *q = quota_create(&limits, 1);
        struct account *owner = quota_owner(q, SPAN("a"));
        for (int i = 0; i < 3; i++) {
            assert_true(quota_allows(owner, QUOTA_MATCHES, 9));
            assert_int_equal(atomic_load(&owner->refused[QUOTA_MATCHES]), i);
            assert_int_equal(atomic_load(&quota_all(q)->refused[QUOTA_MATCHES]), i);
            assert_false(quota_allows(owner, QUOTA_MATCHES, 10));
        }
        assert_true(quota_allows(owner, QUOTA_SESSIONS, UINT64_MAX));
        assert_taken(owner, 0);
        quota_owner_unref(q, owner);
        quota_destroy(q);
    }
}

static void a_bound_is_reached_and_not_passed(void **state) {
    (void)state;
    static const uint64_t bounds[] = {1, 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        struct quota_limits limits = limits_of(bounds[i], 0);
        struct quota *q = quota_create(&limits, 1);
        struct account *owner = quota_owner(q, SPAN("a"));
        assert_false(bounds[i] != UINT64_MAX && quota_reserve_one(owner, QUOTA_SESSIONS, bounds[i] + 1, NULL));
        assert_true(quota_reserve_one(owner, QUOTA_SESSIONS, bounds[i], NULL));
        assert_false(quota_reserve_one(owner, QUOTA_SESSIONS, 1, NULL));
        assert_true(quota_reserve_one(owner, QUOTA_SESSIONS, 0, NULL)); /* nothing is never too much */
        quota_give_one(owner, QUOTA_SESSIONS, bounds[i]);
        assert_true(quota_reserve_one(owner, QUOTA_SESSIONS, 1, NULL));
        quota_give_one(owner, QUOTA_SESSIONS, 1);
        quota_owner_unref(q, owner);
        quota_destroy(q);
    }
}

/* One owner at its share: another has all that is left; both together have no more than there is. */
static void a_greedy_owner_leaves_room_for_others(void **state) {
    (void)state;
    struct quota_limits limits = limits_of(50, 100);
    struct quota *q = quota_create(&limits, 1);
    struct account *greedy = quota_owner(q, SPAN("greedy"));
    struct account *modest = quota_owner(q, SPAN("modest"));
    unsigned got = 0;
    while (quota_reserve_one(greedy, QUOTA_SESSIONS, 3, NULL)) {
        got += 3;
    }
    assert_int_equal(got, 48);
    for (unsigned i = 0; i < 50; i++) {
        assert_true(quota_reserve_one(modest, QUOTA_SESSIONS, 1, NULL));
    }
    assert_int_equal(quota_taken(quota_all(q), QUOTA_SESSIONS), 98);
    quota_give_one(greedy, QUOTA_SESSIONS, 48);
    quota_give_one(modest, QUOTA_SESSIONS, 50);
    quota_owner_unref(q, greedy);
    quota_owner_unref(q, modest);
    quota_destroy(q);
}

static void count_owner(void *user, const struct account *owner) {
    struct span name = quota_owner_name(owner);
    (void)snprintf((char *)user + strlen(user), 32, "%.*s ", (int)name.len, (const char *)name.ptr);
}

static void an_owner_is_one_account_and_goes_with_its_last_reference(void **state) {
    (void)state;
    struct quota_limits limits = limits_of(0, 0);
    struct quota *q = quota_create(&limits, 1);
    char seen[64] = "";
    struct account *one = quota_owner(q, SPAN("192.0.2.7"));
    assert_ptr_equal(quota_owner(q, SPAN("192.0.2.7")), one);
    quota_owner_unref(q, one);
    quota_each_owner(q, count_owner, seen);
    assert_string_equal(seen, "192.0.2.7 ");
    quota_owner_unref(q, one);
    seen[0] = '\0';
    quota_each_owner(q, count_owner, seen);
    assert_string_equal(seen, "");
    quota_owner_unref(q, NULL);
    quota_destroy(q);
}

/* What is there already is counted, also over the bound, and refuses what is new. */
static void what_was_loaded_counts(void **state) {
    (void)state;
    struct quota_limits limits = limits_of(10, 0);
    struct quota *q = quota_create(&limits, 1);
    struct account *owner = quota_owner(q, SPAN(""));
    struct quota_need need = {QUOTA_RETAINED, 15};
    quota_take(owner, &need, 1);
    assert_int_equal(quota_taken(owner, QUOTA_RETAINED), 15);
    assert_false(quota_reserve_one(owner, QUOTA_RETAINED, 1, NULL));
    quota_give_one(owner, QUOTA_RETAINED, 6);
    assert_true(quota_reserve_one(owner, QUOTA_RETAINED, 1, NULL));
    quota_give_one(owner, QUOTA_RETAINED, 10);
    quota_owner_unref(q, owner);
    quota_destroy(q);
}

enum { THREADS = 4, ROUNDS = 20000 };

struct worker {
    pthread_t thread;
    struct quota *q;
    unsigned index;
};

static void *work(void *user) {
    struct worker *w = user;
    char name[8];
    (void)snprintf(name, sizeof name, "w%u", w->index % 2);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct account *owner = quota_owner(w->q, span_str(name));
        struct quota_need needs[] = {{QUOTA_SESSIONS, 1 + i % 3}, {QUOTA_KEPT_BYTES, 1 + i % 5}};
        if (quota_reserve(owner, needs, 2, NULL)) {
            quota_give(owner, needs, 2);
        }
        quota_owner_unref(w->q, owner);
    }
    return NULL;
}

static void several_threads_leave_nothing(void **state) {
    (void)state;
    struct quota_limits limits = limits_of(5, 7);
    struct quota *q = quota_create(&limits, 1);
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.q = q, .index = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    }
    assert_taken(quota_all(q), 0);
    char seen[64] = "";
    quota_each_owner(q, count_owner, seen);
    assert_string_equal(seen, "");
    quota_destroy(q);
}

static void every_row_has_a_name(void **state) {
    (void)state;
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        assert_true(strlen(quota_row_text(row)) > 3);
    }
    assert_string_not_equal(quota_level_text(QUOTA_OWNER), quota_level_text(QUOTA_ALL));
}

/* What the simulator breaks, to see that it would be noticed. */
static void a_broken_row_is_seen(void **state) {
    (void)state;
    const struct quota_limits left = {.fault = {QUOTA_LEFT_OUT, QUOTA_SESSIONS}};
    struct quota *q = quota_create(&left, 1);
    struct account *owner = quota_owner(q, SPAN("o"));
    const struct quota_need needs[] = {{QUOTA_SESSIONS, 1}, {QUOTA_KEPT_BYTES, 10}};
    assert_true(quota_reserve(owner, needs, 2, NULL));
    assert_int_equal(quota_taken(owner, QUOTA_SESSIONS), 0);
    assert_int_equal(quota_taken(owner, QUOTA_KEPT_BYTES), 10);
    quota_give(owner, needs, 2);
    assert_int_equal(quota_taken(quota_all(q), QUOTA_KEPT_BYTES), 0);
    quota_owner_unref(q, owner);
    quota_destroy(q);
    const struct quota_limits twice = {.fault = {QUOTA_TWICE, QUOTA_SESSIONS}};
    q = quota_create(&twice, 1);
    owner = quota_owner(q, SPAN("o"));
    quota_take(owner, &(struct quota_need){QUOTA_SESSIONS, 3}, 1);
    quota_give_one(owner, QUOTA_SESSIONS, 1);
    assert_int_equal(quota_taken(owner, QUOTA_SESSIONS), 1);
    quota_destroy(q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_row_is_seen),
        cmocka_unit_test(a_refusal_takes_nothing),
        cmocka_unit_test(one_thing_may_be_so_large),
        cmocka_unit_test(a_bound_is_reached_and_not_passed),
        cmocka_unit_test(a_greedy_owner_leaves_room_for_others),
        cmocka_unit_test(an_owner_is_one_account_and_goes_with_its_last_reference),
        cmocka_unit_test(what_was_loaded_counts),
        cmocka_unit_test(several_threads_leave_nothing),
        cmocka_unit_test(every_row_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
