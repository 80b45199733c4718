/* The chain: what crosses and what is kept when the four packets break at each place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

#include "explain/chain.h"

static const struct chain_limits one_message = {.protocol = &protocols[0], .hops = 1, .messages = 1};

static void expect_sent(const struct hop *hop, const unsigned expected[4]) {
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(hop->sent[WIRE_PUBLISH + i], expected[i]);
    }
}

static void unbroken_each_packet_crosses_once(void **state) {
    (void)state;
    struct chain c;
    chain_init(&c, &one_message, NULL);
    chain_finish(&c);
    expect_sent(&c.hops[0], (const unsigned[]){1, 1, 1, 1});
    assert_int_equal(c.hops[0].passed[0], 1);
    assert_int_equal(chain_held(&c), 0);
    assert_int_equal(c.hops[0].out.count, 0);
    chain_deinit(&c);
}

/* The payload is sent again until PUBREC has come, and never after it. */
static void broken_at_each_packet(void **state) {
    (void)state;
    static const unsigned sent[][4] = {{2, 1, 1, 1}, {2, 2, 1, 1}, {1, 1, 2, 1}, {1, 1, 2, 2}};
    for (unsigned hops = 1; hops <= 2; hops++) {
        for (unsigned at = 0; at < 4; at++) {
            struct chain_limits limits = one_message;
            struct chain c;
            limits.hops = hops;
            chain_init(&c, &limits, NULL);
            assert_true(chain_cut_at(&c, hops - 1, (enum wire_type)(WIRE_PUBLISH + at)));
            chain_finish(&c);
            expect_sent(&c.hops[hops - 1], sent[at]);
            assert_int_equal(c.hops[hops - 1].passed[0], 1);
            assert_int_equal(chain_held(&c), 0);
            assert_int_equal(chain_judge(&c).outcome, OUTCOME_RIGHT);
            chain_deinit(&c);
        }
    }
}

static void what_is_kept_at_the_cut_is_told(void **state) {
    (void)state;
    struct story story = {0};
    struct chain c;
    chain_init(&c, &one_message, &story);
    assert_true(chain_cut_at(&c, 0, WIRE_PUBREL));
    const struct story_event *cut = &story.events[story.count - 2];
    assert_int_equal(cut->kind, STORY_LINE);
    assert_string_equal(cut->notes[0],
                        "keeps \"1 is released\": knows that A has arrived, cannot tell whether 1 is forgotten");
    assert_string_equal(cut->notes[1], "keeps 1: another PUBLISH 1 is a repeat");
    chain_deinit(&c);
    story_deinit(&story);
}

static void two_packets_never_send_the_others(void **state) {
    (void)state;
    struct chain_limits limits = one_message;
    struct chain c;
    limits.protocol = protocol_named("two-database");
    chain_init(&c, &limits, NULL);
    chain_finish(&c);
    expect_sent(&c.hops[0], (const unsigned[]){1, 1, 0, 0});
    assert_int_equal(chain_held(&c), 1);
    chain_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unbroken_each_packet_crosses_once),
        cmocka_unit_test(broken_at_each_packet),
        cmocka_unit_test(what_is_kept_at_the_cut_is_told),
        cmocka_unit_test(two_packets_never_send_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
