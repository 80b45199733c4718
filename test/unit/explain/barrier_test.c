/* The barriers of the real broker: each is seen when it is left out, and nothing is seen when none is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "explain/barrier.h"
#include "same_future.h"

static void each_is_seen_when_it_is_left_out(void **state) {
    (void)state;
    for (unsigned i = 0; i < barrier_count; i++) {
        struct search_result r;
        barrier_search(&barriers[i], false, &r);
        if (r.worst.outcome == OUTCOME_RIGHT) {
            fail_msg("%s is left out, and nothing goes wrong", barriers[i].name);
        }
    }
}

/* The small ones; `quartet explain` walks all of them in the tests of the release build. */
static void nothing_goes_wrong_when_none_is(void **state) {
    (void)state;
    static const char *const small[] = {"B0",          "B2-onward", "B3",       "B5",         "B6-resume",
                                        "B7-retained", "B7-bodies", "B10-will", "B10-goodbye"};
    for (unsigned i = 0; i < barrier_count; i++) {
        for (size_t k = 0; k < sizeof small / sizeof small[0]; k++) {
            if (strcmp(barriers[i].name, small[k]) == 0) {
                struct search_result r;
                barrier_search(&barriers[i], true, &r);
                assert_string_equal(outcome_name(r.worst.outcome), outcome_name(OUTCOME_RIGHT));
            }
        }
    }
}

/* Every run of up to `left` more moves, without the search's memory of states met. */
static bool goes_wrong(const struct barrier_row *row, struct move *path, unsigned length, unsigned left) {
    struct move moves[SEARCH_MOVES_MAX];
    void *world = future_play(row->kind, barrier_plan(row), path, length);
    const unsigned count = row->kind->moves(world, moves);
    bool any = row->kind->judge(world).outcome != OUTCOME_RIGHT;
    row->kind->destroy(world);
    for (unsigned i = 0; i < count && left > 0 && !any; i++) {
        path[length] = moves[i];
        any = goes_wrong(row, path, length + 1, left - 1);
    }
    return any;
}

static void no_shorter_run_goes_wrong(void **state) {
    (void)state;
    enum { LENGTH_MAX = 4 };
    unsigned checked = 0;
    for (unsigned i = 0; i < barrier_count; i++) {
        struct search_result r;
        barrier_search(&barriers[i], false, &r);
        if (r.path_len > 0 && r.path_len <= LENGTH_MAX) {
            struct move path[SEARCH_PATH_MAX];
            assert_false(goes_wrong(&barriers[i], path, 0, r.path_len - 1));
            checked++;
        }
    }
    assert_in_range(checked, 5, barrier_count);
}

static void equal_digests_mean_equal_futures(void **state) {
    (void)state;
    for (unsigned i = 0; i < barrier_count; i++) {
        bool wrong;
        assert_in_range(futures_compare(barriers[i].kind, barrier_plan(&barriers[i]), 40, &wrong), 1, 1000);
        if (wrong) {
            fail_msg("%s: two runs with the same digest have different futures", barriers[i].name);
        }
    }
}

static void count(void *user, const struct barrier_row *row) {
    (void)row;
    (*(unsigned *)user)++;
}

static void a_name_stands_for_all_that_it_begins(void **state) {
    (void)state;
    unsigned found = 0;
    assert_true(barrier_each("B2", count, &found));
    assert_int_equal(found, 3);
    assert_true(barrier_each("B1", count, &found));
    assert_int_equal(found, 4);
    assert_false(barrier_each("B", count, &found));
    assert_false(barrier_each("B99", count, &found));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_seen_when_it_is_left_out),
        cmocka_unit_test(nothing_goes_wrong_when_none_is),
        cmocka_unit_test(no_shorter_run_goes_wrong),
        cmocka_unit_test(equal_digests_mean_equal_futures),
        cmocka_unit_test(a_name_stands_for_all_that_it_begins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
