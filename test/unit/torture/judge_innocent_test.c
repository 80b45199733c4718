/* What a broker may do: wires on which a hasty judge would find something, and must not. */
#include "unit/torture/trial.h"

/* 3.1.1 does not forbid a sender to try again while the connection lasts, as often as it likes. */
static void rounds_of_repeats_on_a_live_connection(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    for (int round = 0; round < 3; round++) {
        for (uint16_t i = 0; i < MESSAGES; i++) {
            (round == 0 ? gets : gets_again_from)(t, SUBSCRIBER, PACKET_PUBLISH, (uint16_t)(i + 1), i);
        }
    }
    for (uint16_t i = 0; i < MESSAGES; i++) {
        sends(t, SUBSCRIBER, PACKET_PUBREC, (uint16_t)(i + 1), i);
    }
    for (int round = 0; round < 3; round++) {
        for (uint16_t i = 0; i < MESSAGES; i++) {
            gets(t, SUBSCRIBER, PACKET_PUBREL, (uint16_t)(i + 1), i);
        }
    }
    clean(t);
}

/* Section 4.9: any PUBCOMP gives quota back, also that of a flow whose PUBLISH was sent on an older connection. */
static void an_old_flow_gives_quota_back(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    t->terms.receive_maximum = 1;
    both_connect(t);
    published(t, 1, 0);
    published(t, 1, 1);
    published(t, 1, 2);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 1, 0);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 1, 0);
    event(t, SUBSCRIBER, EVENT_RST);
    connects(t, SUBSCRIBER, true);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 1, 0);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 2, 1);
    sends(t, SUBSCRIBER, PACKET_PUBCOMP, 1, 0);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 3, 2);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 2, 1);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 3, 2);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 2, 1);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 3, 2);
    clean(t);
}

/* The proxy gave the publisher one PUBREC three times, and it answered each: to a 5.0 broker that is a client which
 * sends PUBREL again. */
static void closed_for_three_answers_to_one_packet(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    t->terms.messages++;
    well_so_far(t);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 3);
    gets(t, PUBLISHER, PACKET_PUBREC, 1, 3);
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 3);
    repeats(t, WIRE_TO_CLIENT, PUBLISHER, PACKET_PUBREC, 1, 3);
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 3);
    event(t, PUBLISHER, EVENT_CLOSED);
    connects(t, PUBLISHER, true);
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 3);
    gets(t, PUBLISHER, PACKET_PUBCOMP, 1, 3);
    delivered(t, 1, 3);
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    assert_true(judgement_clean(&t->judgement));
}

/* The same on the other hop, and in 3.1.1, which asks for an answer to every PUBREC, but not to a PUBCOMP. */
static void closed_for_three_answers_of_a_subscriber(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    repeats(t, WIRE_TO_BROKER, SUBSCRIBER, PACKET_PUBREC, 1, 2);
    event(t, SUBSCRIBER, EVENT_CLOSED);
    breaks(t, "MQTT-4.3.3-1");
    t->terms.protocol = PROTOCOL_5;
    clean(t);
}

static void closed_for_a_second_pubcomp(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    repeats(t, WIRE_TO_BROKER, SUBSCRIBER, PACKET_PUBCOMP, 1, 2);
    event(t, SUBSCRIBER, EVENT_CLOSED);
    clean(t);
}

/* The first CONNECT made the session; its answer came too late for the client. */
static void session_present_after_a_connect_that_was_given_up(void **state) {
    struct trial *t = *state;
    t->connections[PUBLISHER]++;
    event(t, PUBLISHER, EVENT_OPENED);
    sends(t, PUBLISHER, PACKET_CONNECT, 0, WIRE_NO_MESSAGE);
    connects(t, PUBLISHER, true);
    connects(t, SUBSCRIBER, false);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        published(t, 1, i);
        delivered(t, 1, i);
    }
    clean(t);
}

static void nobody_can_be_served_for_the_moment(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    from_broker(t, SUBSCRIBER, PACKET_CONNACK, 3);
    clean(t);
    from_broker(t, SUBSCRIBER, PACKET_CONNACK, 5);
    breaks(t, "MQTT-3.1.4-4");
}

/* Statement 4.6.0-3 binds clients: a broker may answer PUBLISH packets in any order. */
static void pubrec_in_another_order(void **state) {
    struct trial *t = *state;
    both_connect(t);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 0);
    sends(t, PUBLISHER, PACKET_PUBLISH, 2, 1);
    sends(t, PUBLISHER, PACKET_PUBLISH, 3, 2);
    gets(t, PUBLISHER, PACKET_PUBREC, 3, 2);
    gets(t, PUBLISHER, PACKET_PUBREC, 1, 0);
    gets(t, PUBLISHER, PACKET_PUBREC, 2, 1);
    for (uint16_t i = 0; i < MESSAGES; i++) {
        sends(t, PUBLISHER, PACKET_PUBREL, (uint16_t)(i + 1), i);
        gets(t, PUBLISHER, PACKET_PUBCOMP, (uint16_t)(i + 1), i);
        delivered(t, 1, i);
    }
    clean(t);
}

/* The subscriber lost its PUBREC, gets the PUBLISH again, and takes it once. */
static void a_repeat_is_no_duplicate(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 5, 0);
    loses(t, WIRE_TO_BROKER, SUBSCRIBER, PACKET_PUBREC, 5, 0);
    event(t, SUBSCRIBER, EVENT_SILENCE);
    connects(t, SUBSCRIBER, true);
    gets_again(t, 5, 0);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 5, 0);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 5, 0);
    sends(t, SUBSCRIBER, PACKET_PUBCOMP, 5, 0);
    delivered(t, 6, 1);
    delivered(t, 5, 2);
    clean(t);
}

/* The client gave up a CONNECT that nobody answered and sent another one: the first may still take over the second. */
static void closed_by_a_rival_of_its_own(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    t->connections[SUBSCRIBER]++;
    event(t, SUBSCRIBER, EVENT_OPENED);
    sends(t, SUBSCRIBER, PACKET_CONNECT, 0, WIRE_NO_MESSAGE);
    connects(t, SUBSCRIBER, true);
    event(t, SUBSCRIBER, EVENT_CLOSED);
    clean(t);
    event(t, SUBSCRIBER, EVENT_CLOSED);
    assert_int_equal(only(t, JUDGE_VIOLATION), 1);
}

/* In 5.0 nobody may send anything again on a live connection, so a broker may close it. */
static void closed_for_a_repeat_that_is_not_allowed(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    struct wire_record again = packet(WIRE_TO_BROKER, SUBSCRIBER, PACKET_PUBREC, 1, 2);
    again.fate = WIRE_REPEATED;
    add(t, again);
    event(t, SUBSCRIBER, EVENT_CLOSED);
    clean(t);
}

/* Whoever sends PUBREL twice is told the second time that there is no such id any more. */
static void a_second_pubrel_finds_no_id(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    t->terms.messages++;
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 3);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 3);
    gets(t, PUBLISHER, PACKET_PUBREC, 1, 3);
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 3);
    gets(t, PUBLISHER, PACKET_PUBREC, 1, 3);
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 3);
    gets(t, PUBLISHER, PACKET_PUBCOMP, 1, 3);
    struct wire_record unknown = packet(WIRE_TO_CLIENT, PUBLISHER, PACKET_PUBCOMP, 1, 3);
    unknown.reason = 0x92;
    add(t, unknown);
    delivered(t, 1, 3);
    assert_int_equal(only(t, JUDGE_VIOLATION), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(rounds_of_repeats_on_a_live_connection),
        TEST(an_old_flow_gives_quota_back),
        TEST(closed_for_three_answers_to_one_packet),
        TEST(closed_for_three_answers_of_a_subscriber),
        TEST(closed_for_a_second_pubcomp),
        TEST(session_present_after_a_connect_that_was_given_up),
        TEST(nobody_can_be_served_for_the_moment),
        TEST(pubrec_in_another_order),
        TEST(a_repeat_is_no_duplicate),
        TEST(closed_by_a_rival_of_its_own),
        TEST(closed_for_a_repeat_that_is_not_allowed),
        TEST(a_second_pubrel_finds_no_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
