/* The search: it finds what is wrong, and nothing shorter than it says; what is right it walks to the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "explain/chain.h"
#include "same_future.h"

enum { DEPTH_MAX = 5 };

static const struct chain_limits limits_of_all = {.hops = 1, .messages = 3, .cuts = 2, .crashes = 1, .timeouts = 1};

static struct chain_limits limits_of(const struct protocol_row *protocol) {
    struct chain_limits limits = limits_of_all;
    limits.protocol = protocol;
    return limits;
}

static void every_protocol_ends_as_its_row_says(void **state) {
    (void)state;
    for (unsigned i = 0; i < protocol_count; i++) {
        const struct chain_limits limits = limits_of(&protocols[i]);
        struct search_result r;
        search_run(&chain_world, &limits, &r);
        assert_string_equal(outcome_name(r.worst.outcome), outcome_name(protocols[i].outcome));
    }
}

static enum outcome outcome_of(const struct chain_limits *limits, const struct move *path, unsigned length) {
    struct chain c;
    chain_init(&c, limits, NULL);
    for (unsigned i = 0; i < length; i++) {
        chain_act(&c, path[i]);
    }
    const enum outcome outcome = chain_judge(&c).outcome;
    chain_deinit(&c);
    return outcome;
}

static void the_path_leads_there_and_no_step_before_does(void **state) {
    (void)state;
    for (unsigned i = 0; i < protocol_count; i++) {
        const struct chain_limits limits = limits_of(&protocols[i]);
        struct search_result r;
        search_run(&chain_world, &limits, &r);
        for (unsigned length = 0; length < r.path_len; length++) {
            assert_true(outcome_of(&limits, r.path, length) <= OUTCOME_LEFTOVER);
        }
        assert_int_equal(outcome_of(&limits, r.path, r.path_len), r.worst.outcome);
    }
}

/* Every run of up to `left` more moves, without the search's memory of states met. */
static bool goes_wrong(const struct chain_limits *limits, struct move *path, unsigned length, unsigned left) {
    struct move moves[SEARCH_MOVES_MAX];
    struct chain c;
    chain_init(&c, limits, NULL);
    for (unsigned i = 0; i < length; i++) {
        chain_act(&c, path[i]);
    }
    const bool wrong = chain_judge(&c).outcome > OUTCOME_LEFTOVER;
    const unsigned count = chain_moves(&c, moves);
    chain_deinit(&c);
    bool any = wrong;
    for (unsigned i = 0; i < count && left > 0 && !any; i++) {
        path[length] = moves[i];
        any = goes_wrong(limits, path, length + 1, left - 1);
    }
    return any;
}

static void no_shorter_run_goes_wrong(void **state) {
    (void)state;
    unsigned checked = 0;
    for (unsigned i = 0; i < protocol_count; i++) {
        const struct chain_limits limits = limits_of(&protocols[i]);
        struct search_result r;
        search_run(&chain_world, &limits, &r);
        if (r.worst.outcome > OUTCOME_LEFTOVER && r.path_len <= DEPTH_MAX + 1) {
            struct move path[SEARCH_PATH_MAX];
            assert_false(goes_wrong(&limits, path, 0, r.path_len - 1));
            assert_true(goes_wrong(&limits, path, 0, r.path_len));
            checked++;
        }
    }
    assert_in_range(checked, 5, protocol_count);
}

static void equal_digests_mean_equal_futures(void **state) {
    (void)state;
    for (unsigned i = 0; i < protocol_count; i++) {
        const struct chain_limits limits = limits_of(&protocols[i]);
        bool wrong;
        assert_in_range(futures_compare(&chain_world, &limits, 200, &wrong), 50, 5000);
        assert_false(wrong);
    }
}

/* Why three-implicit has more ids than messages under way. */
static void an_implicit_answer_needs_an_id_to_spare(void **state) {
    (void)state;
    struct protocol_row row = *protocol_named("three-implicit");
    const struct chain_limits limits = limits_of(&row);
    struct search_result r;
    row.ids = row.window;
    search_run(&chain_world, &limits, &r);
    assert_int_equal(r.worst.outcome, OUTCOME_STUCK);
}

static void over_two_hops_the_four_are_right(void **state) {
    (void)state;
    struct chain_limits limits = {.protocol = &protocols[0], .hops = 2, .messages = 1, .cuts = 2, .crashes = 1};
    struct search_result r;
    search_run(&chain_world, &limits, &r);
    assert_int_equal(r.worst.outcome, OUTCOME_RIGHT);
    assert_true(r.states > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_protocol_ends_as_its_row_says),
        cmocka_unit_test(the_path_leads_there_and_no_step_before_does),
        cmocka_unit_test(no_shorter_run_goes_wrong),
        cmocka_unit_test(equal_digests_mean_equal_futures),
        cmocka_unit_test(an_implicit_answer_needs_an_id_to_spare),
        cmocka_unit_test(over_two_hops_the_four_are_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
