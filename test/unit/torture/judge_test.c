/* The judge is judged: recorded wires, each with one fault of a broker, and the same without. Each column of the table
 * is seen other than zero, and what is allowed is seen to be allowed. */
#include "unit/torture/trial.h"

static void all_well(void **state) {
    struct trial *t = *state;
    both_connect(t);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        published(t, (uint16_t)(i + 1), i);
        delivered(t, 7, i);
    }
    clean(t);
}

static void lost(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    delivered(t, 1, 0);
    delivered(t, 1, 2);
    assert_int_equal(only(t, JUDGE_LOST), 1);
    assert_int_equal(t->judgement.findings[0].message, 1);
}

static void duplicated(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    delivered(t, 1, 0);
    delivered(t, 2, 1);
    delivered(t, 3, 1);
    delivered(t, 4, 2);
    assert_int_equal(only(t, JUDGE_DUPLICATED), 1);
    assert_int_equal(t->judgement.findings[0].message, 1);
}

static void out_of_order(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    delivered(t, 1, 0);
    delivered(t, 2, 2);
    delivered(t, 3, 1);
    assert_int_equal(only(t, JUDGE_REORDERED), 1);
    assert_int_equal(t->judgement.findings[0].message, 1);
    assert_int_equal(t->judgement.findings[0].other, 2);
}

static void stuck_at_the_publisher(void **state) {
    struct trial *t = *state;
    both_connect(t);
    published(t, 1, 0);
    published(t, 1, 1);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 2);
    gets(t, PUBLISHER, PACKET_PUBREC, 1, 2);
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 2);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        delivered(t, 1, i);
    }
    assert_int_equal(only(t, JUDGE_STUCK), 1);
    assert_int_equal(t->judgement.findings[0].message, 2);
}

static void stuck_at_the_subscriber(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    delivered(t, 1, 0);
    delivered(t, 1, 1);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 1, 2);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 1, 2);
    assert_int_equal(only(t, JUDGE_STUCK), 1);
}

static void forgotten(void **state) {
    struct trial *t = *state;
    both_connect(t);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        published(t, 1, i);
        delivered(t, 1, i);
    }
    connects(t, SUBSCRIBER, false);
    assert_int_equal(only(t, JUDGE_FORGOTTEN), 1);
    assert_string_equal(t->judgement.findings[0].statement, "MQTT-3.2.2-2");
}

/* A message that was never taken over is stuck, not lost. */
static void not_taken_over(void **state) {
    struct trial *t = *state;
    both_connect(t);
    published(t, 1, 0);
    published(t, 1, 1);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 2);
    delivered(t, 1, 0);
    delivered(t, 1, 1);
    assert_int_equal(only(t, JUDGE_STUCK), 1);
}

/* A lost PUBREC was sent all the same: from then on the message is the broker's. */
static void lost_although_pubrec_was_lost(void **state) {
    struct trial *t = *state;
    both_connect(t);
    published(t, 1, 0);
    published(t, 1, 1);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 2);
    loses(t, WIRE_TO_CLIENT, PUBLISHER, PACKET_PUBREC, 1, 2);
    event(t, PUBLISHER, EVENT_RST);
    connects(t, PUBLISHER, true);
    published(t, 1, 2);
    delivered(t, 1, 0);
    delivered(t, 1, 1);
    assert_int_equal(only(t, JUDGE_LOST), 1);
}

/* The mistake of the probe `dup`: the id is not forgotten at PUBREL, and the next message on it is swallowed. */
static void a_new_message_on_an_open_id_is_lost(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    delivered(t, 1, 0);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 2, 1);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 2, 1);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 2, 2);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 2, 2);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 2, 2);
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    assert_int_equal(t->judgement.counts[JUDGE_LOST], 1);
    assert_int_equal(t->judgement.counts[JUDGE_VIOLATION], 1);
    assert_string_equal(t->judgement.findings[0].statement, "MQTT-2.3.1-4");
    assert_int_equal(t->judgement.findings[1].message, 2);
    assert_int_equal(t->judgement.findings[1].other, 1);
}

/* ---- what a broker must not send ---- */

static void pubrec_that_nobody_asked_for(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    gets(t, PUBLISHER, PACKET_PUBREC, 9, WIRE_NO_MESSAGE);
    breaks(t, "MQTT-4.3.3-2");
}

static void pubcomp_that_nobody_asked_for(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    gets(t, PUBLISHER, PACKET_PUBCOMP, 1, 2);
    breaks(t, "MQTT-4.3.3-11");
}

static void pubrel_that_nobody_asked_for(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 9, WIRE_NO_MESSAGE);
    breaks(t, "MQTT-4.3.3-4");
}

static void pubrel_out_of_order(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    for (uint16_t i = 0; i < MESSAGES; i++) {
        gets(t, SUBSCRIBER, PACKET_PUBLISH, (uint16_t)(i + 1), i);
        sends(t, SUBSCRIBER, PACKET_PUBREC, (uint16_t)(i + 1), i);
    }
    gets(t, SUBSCRIBER, PACKET_PUBREL, 2, 1);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 1, 0);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 3, 2);
    breaks(t, "MQTT-4.6.0-6");
    t->terms.protocol = PROTOCOL_5;
    t->terms.receive_maximum = 0;
    clean(t);
}

static void pubrel_sent_again_on_a_live_connection(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 1, 2);
    breaks(t, "MQTT-4.4.0-1");
}

/* A reconnect would move these on, and hide that nothing came for them. */
static void unanswered_on_a_live_connection(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    t->terms.messages++;
    published(t, 1, 3);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 5, 3);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 5, 3);
    event(t, PUBLISHER, EVENT_CALM);
    event(t, SUBSCRIBER, EVENT_FIN);
    connects(t, SUBSCRIBER, true);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 5, 3);
    breaks(t, "MQTT-4.3.3-1");
    assert_int_equal(t->judgement.findings[0].message, 3);
    t->terms.protocol = PROTOCOL_5;
    breaks(t, "MQTT-4.3.3-4");
}

static void unanswered_publisher(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    t->terms.messages++;
    well_so_far(t);
    delivered(t, 1, 3);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 3);
    event(t, PUBLISHER, EVENT_CALM);
    connects(t, PUBLISHER, true);
    published(t, 1, 3);
    breaks(t, "MQTT-4.3.3-8");
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 3);
    event(t, PUBLISHER, EVENT_CALM);
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    assert_int_equal(t->judgement.counts[JUDGE_VIOLATION], 2);
    assert_string_equal(t->judgement.findings[1].statement, "MQTT-4.3.3-11");
}

static void sent_again_without_dup(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    t->terms.messages++;
    published(t, 1, 3);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 5, 3);
    event(t, SUBSCRIBER, EVENT_RST);
    connects(t, SUBSCRIBER, true);
    delivered(t, 5, 3);
    breaks(t, "MQTT-3.3.1-1");
}

static void sent_again_on_a_live_connection(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    t->terms.messages++;
    published(t, 1, 3);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 5, 3);
    gets_again(t, 5, 3);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 5, 3);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 5, 3);
    breaks(t, "MQTT-4.4.0-1");
}

static void publish_after_pubrel(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    t->terms.messages++;
    published(t, 1, 3);
    gets(t, SUBSCRIBER, PACKET_PUBLISH, 5, 3);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 5, 3);
    loses(t, WIRE_TO_CLIENT, SUBSCRIBER, PACKET_PUBREL, 5, 3);
    event(t, SUBSCRIBER, EVENT_RST);
    connects(t, SUBSCRIBER, true);
    gets_again(t, 5, 3);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 5, 3);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 5, 3);
    breaks(t, "MQTT-4.3.3-6");
}

static void sent_again_in_another_order(void **state) {
    struct trial *t = *state;
    t->terms.receive_maximum = 0;
    both_connect(t);
    all_published(t);
    for (uint16_t i = 0; i < MESSAGES; i++) {
        gets(t, SUBSCRIBER, PACKET_PUBLISH, (uint16_t)(i + 1), i);
    }
    event(t, SUBSCRIBER, EVENT_RST);
    connects(t, SUBSCRIBER, true);
    gets_again(t, 3, 2);
    gets_again(t, 1, 0);
    gets_again(t, 3, 2);
    for (uint16_t i = 0; i < MESSAGES; i++) {
        sends(t, SUBSCRIBER, PACKET_PUBREC, (uint16_t)(i + 1), i);
        gets(t, SUBSCRIBER, PACKET_PUBREL, (uint16_t)(i + 1), i);
    }
    breaks(t, "MQTT-4.6.0-6");
}

static void beyond_the_receive_maximum(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    both_connect(t);
    all_published(t);
    for (uint16_t i = 0; i < MESSAGES; i++) {
        gets(t, SUBSCRIBER, PACKET_PUBLISH, (uint16_t)(i + 1), i);
    }
    for (uint16_t i = 0; i < MESSAGES; i++) {
        sends(t, SUBSCRIBER, PACKET_PUBREC, (uint16_t)(i + 1), i);
        gets(t, SUBSCRIBER, PACKET_PUBREL, (uint16_t)(i + 1), i);
    }
    breaks(t, "MQTT-3.3.4-9");
}

static void closed_without_cause(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    event(t, SUBSCRIBER, EVENT_CLOSED);
    assert_int_equal(only(t, JUDGE_VIOLATION), 1);
    assert_null(t->judgement.findings[0].statement);
}

static void closed_for_a_repeat(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    t->terms.messages++;
    connects(t, PUBLISHER, true);
    struct wire_record again = packet(WIRE_TO_BROKER, PUBLISHER, PACKET_PUBLISH, 1, 3);
    again.dup = true;
    add(t, again);
    event(t, PUBLISHER, EVENT_CLOSED);
    connects(t, PUBLISHER, true);
    published(t, 1, 3);
    delivered(t, 1, 3);
    breaks(t, "MQTT-4.3.3-2");
    assert_int_equal(t->judgement.findings[0].message, 3);
}

static void the_old_connection_is_kept(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    event(t, SUBSCRIBER, EVENT_SILENCE);
    connects(t, SUBSCRIBER, true);
    clean(t);
    event(t, SUBSCRIBER, EVENT_KEPT);
    breaks(t, "MQTT-3.1.4-2");
}

/* What came at QoS 1 came: it is not lost, and one violation. */
static void delivered_at_a_lower_qos(void **state) {
    struct trial *t = *state;
    both_connect(t);
    all_published(t);
    delivered(t, 1, 0);
    delivered(t, 1, 1);
    struct wire_record lower = packet(WIRE_TO_CLIENT, SUBSCRIBER, PACKET_PUBLISH, 0, 2);
    lower.lower = true;
    add(t, lower);
    breaks(t, "MQTT-3.8.4-6");
    assert_int_equal(t->judgement.deliveries, MESSAGES);
}

static void session_present_on_the_first_connect(void **state) {
    struct trial *t = *state;
    connects(t, SUBSCRIBER, true);
    well_so_far(t);
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    assert_int_equal(t->judgement.counts[JUDGE_VIOLATION], 1);
    assert_string_equal(t->judgement.findings[0].statement, "MQTT-3.2.2-3");
}

static void a_payload_that_nobody_published(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    struct wire_record strange = packet(WIRE_TO_CLIENT, SUBSCRIBER, PACKET_PUBLISH, 5, WIRE_NO_MESSAGE);
    strange.damaged = true;
    add(t, strange);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 5, WIRE_NO_MESSAGE);
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    assert_int_equal(t->judgement.counts[JUDGE_VIOLATION], 2);
    assert_string_equal(t->judgement.findings[0].text, "a topic or payload that nobody published");
}

static void connect_refused(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    from_broker(t, SUBSCRIBER, PACKET_CONNACK, 0x87);
    breaks(t, "MQTT-3.1.4-5");
}

static void disconnected_without_cause(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    from_broker(t, SUBSCRIBER, PACKET_DISCONNECT, 0x82);
    event(t, SUBSCRIBER, EVENT_CLOSED);
    assert_int_equal(only(t, JUDGE_VIOLATION), 1);
}

static void disconnected_for_a_repeat(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    connects(t, PUBLISHER, true);
    struct wire_record again = packet(WIRE_TO_BROKER, PUBLISHER, PACKET_PUBLISH, 1, 2);
    again.dup = true;
    add(t, again);
    from_broker(t, PUBLISHER, PACKET_DISCONNECT, 0x82);
    event(t, PUBLISHER, EVENT_CLOSED);
    breaks(t, "MQTT-4.3.3-10");
}

static void the_id_is_forgotten_between_pubrec_and_pubrel(void **state) {
    struct trial *t = *state;
    t->terms.protocol = PROTOCOL_5;
    well_so_far(t);
    t->terms.messages++;
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 3);
    gets(t, PUBLISHER, PACKET_PUBREC, 1, 3);
    sends(t, PUBLISHER, PACKET_PUBREL, 1, 3);
    struct wire_record unknown = packet(WIRE_TO_CLIENT, PUBLISHER, PACKET_PUBCOMP, 1, 3);
    unknown.reason = 0x92;
    add(t, unknown);
    delivered(t, 1, 3);
    assert_int_equal(only(t, JUDGE_VIOLATION), 1);
}

static void dup_on_a_session_that_is_new(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    t->terms.messages++;
    published(t, 1, 3);
    gets_again(t, 1, 3);
    sends(t, SUBSCRIBER, PACKET_PUBREC, 1, 3);
    gets(t, SUBSCRIBER, PACKET_PUBREL, 1, 3);
    breaks(t, "MQTT-3.3.1-1");
}

static void a_packet_on_the_wrong_hop(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    gets(t, PUBLISHER, PACKET_PUBREL, 1, 2);
    assert_int_equal(only(t, JUDGE_VIOLATION), 1);
}

static void a_malformed_packet(void **state) {
    struct trial *t = *state;
    well_so_far(t);
    struct wire_record bad = packet(WIRE_TO_CLIENT, SUBSCRIBER, PACKET_PUBLISH, 0, WIRE_NO_MESSAGE);
    bad.statement = "MQTT-3.3.1-4";
    bad.text = "QoS 3";
    add(t, bad);
    breaks(t, "MQTT-3.3.1-4");
    struct buf text = {0};
    (void)judge_excerpt(&text, &t->wire, &t->judgement.findings[0]);
    buf_u8(&text, 0);
    assert_non_null(strstr((const char *)text.ptr, "malformed [MQTT-3.3.1-4]: QoS 3"));
    buf_deinit(&text);
}

/* The PUBREC that got lost made the message the broker's, though it never completed the flow. */
static void taken_over_by_a_lost_pubrec(void **state) {
    struct trial *t = *state;
    both_connect(t);
    published(t, 1, 0);
    delivered(t, 1, 0);
    published(t, 1, 1);
    delivered(t, 1, 1);
    sends(t, PUBLISHER, PACKET_PUBLISH, 1, 2);
    loses(t, WIRE_TO_CLIENT, PUBLISHER, PACKET_PUBREC, 1, 2);
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    assert_int_equal(t->judgement.counts[JUDGE_LOST], 1);
    assert_int_equal(t->judgement.counts[JUDGE_STUCK], 1);
}

/* ---- the way there ---- */

static void a_trace_begins_with_its_message(void **state) {
    struct trial *t = *state;
    struct buf text = {0};
    well_so_far(t);
    t->terms.messages++;
    published(t, 4, 3);
    event(t, SUBSCRIBER, EVENT_RST);
    assert_int_equal(only(t, JUDGE_LOST), 1);
    assert_int_equal(judge_excerpt(&text, &t->wire, &t->judgement.findings[0]), 5);
    buf_u8(&text, 0);
    assert_non_null(strstr((const char *)text.ptr, "PUBLISH id 4 message 3"));
    assert_non_null(strstr((const char *)text.ptr, "PUBCOMP id 4 message 3"));
    assert_null(strstr((const char *)text.ptr, "message 2"));
    buf_deinit(&text);
}

/* What another subscriber did meanwhile is not part of the story. */
static void a_trace_is_of_its_own_hops(void **state) {
    struct trial *t = *state;
    struct buf text = {0};
    t->terms.subscribers = 2;
    well_so_far(t);
    for (uint32_t i = 0; i < MESSAGES; i++) {
        gets(t, 2, PACKET_PUBLISH, 1, i);
        sends(t, 2, PACKET_PUBREC, 1, i);
        gets(t, 2, PACKET_PUBREL, 1, i);
        sends(t, 2, PACKET_PUBCOMP, 1, i);
    }
    t->terms.messages++;
    published(t, 4, 3);
    delivered(t, 1, 3);
    event(t, SUBSCRIBER, EVENT_RST);
    judge_run(t->judge, &t->wire, &t->terms, &t->judgement);
    assert_int_equal(t->judgement.counts[JUDGE_LOST], 1);
    assert_int_equal(t->judgement.findings[0].who, 2);
    assert_int_equal(judge_excerpt(&text, &t->wire, &t->judgement.findings[0]), 4);
    buf_deinit(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(all_well),
        TEST(lost),
        TEST(duplicated),
        TEST(out_of_order),
        TEST(stuck_at_the_publisher),
        TEST(stuck_at_the_subscriber),
        TEST(forgotten),
        TEST(not_taken_over),
        TEST(lost_although_pubrec_was_lost),
        TEST(a_new_message_on_an_open_id_is_lost),
        TEST(pubrec_that_nobody_asked_for),
        TEST(pubcomp_that_nobody_asked_for),
        TEST(pubrel_that_nobody_asked_for),
        TEST(pubrel_out_of_order),
        TEST(pubrel_sent_again_on_a_live_connection),
        TEST(unanswered_on_a_live_connection),
        TEST(unanswered_publisher),
        TEST(sent_again_without_dup),
        TEST(sent_again_on_a_live_connection),
        TEST(publish_after_pubrel),
        TEST(sent_again_in_another_order),
        TEST(beyond_the_receive_maximum),
        TEST(closed_without_cause),
        TEST(closed_for_a_repeat),
        TEST(the_old_connection_is_kept),
        TEST(delivered_at_a_lower_qos),
        TEST(session_present_on_the_first_connect),
        TEST(a_payload_that_nobody_published),
        TEST(connect_refused),
        TEST(disconnected_without_cause),
        TEST(disconnected_for_a_repeat),
        TEST(the_id_is_forgotten_between_pubrec_and_pubrel),
        TEST(dup_on_a_session_that_is_new),
        TEST(a_packet_on_the_wrong_hop),
        TEST(a_malformed_packet),
        TEST(taken_over_by_a_lost_pubrec),
        TEST(a_trace_begins_with_its_message),
        TEST(a_trace_is_of_its_own_hops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
