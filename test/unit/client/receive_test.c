/* Messages of the broker: once to the application, in order, within bounds. The rows "dup", "rel" and "kill" are those
 * at which other clients lose or repeat a message. */
#include "peer.h"

static void start(void) {
    peer_create(peer);
    peer_connect(peer, false);
    peer_hear(peer);
}

/* ---- what others get wrong ---- */

static void dup_a_lost_pubrec_does_not_cost_the_next_message(void **state) {
    (void)state;
    start();
    broker_publishes(peer, 2, 1, false, "A");
    peer_cut(peer);
    peer_connect(peer, true);
    broker_publishes(peer, 2, 1, true, "A");
    client_says(peer, "PUBREC id=1 reason=0x00");
    broker_acks(peer, PACKET_PUBREL, 1, 0);
    client_says(peer, "PUBCOMP id=1 reason=0x00");
    broker_publishes(peer, 2, 1, false, "B");
    client_says(peer, "PUBREC id=1 reason=0x00");
    (void)app_takes(peer, "A");
    (void)app_takes(peer, "B");
    app_takes_nothing(peer);
}

static void rel_a_lost_pubcomp_repeats_nothing(void **state) {
    (void)state;
    start();
    broker_publishes(peer, 2, 1, false, "A");
    broker_acks(peer, PACKET_PUBREL, 1, 0);
    peer_cut(peer);
    peer_connect(peer, true);
    broker_acks(peer, PACKET_PUBREL, 1, 0);
    client_says(peer, "PUBCOMP id=1 reason=0x92");
    (void)app_takes(peer, "A");
    app_takes_nothing(peer);
}

static void any_number_of_repeats_is_answered_and_none_delivered(void **state) {
    (void)state;
    start();
    for (int i = 0; i < 5; i++) {
        broker_publishes(peer, 2, 7, i > 0, i < 3 ? "A" : "another payload"); /* the id decides, nothing else */
        client_says(peer, "PUBREC id=7 reason=0x00");
    }
    for (int i = 0; i < 3; i++) {
        broker_acks(peer, PACKET_PUBREL, 7, 0);
        client_says(peer, i == 0 ? "PUBCOMP id=7 reason=0x00" : "PUBCOMP id=7 reason=0x92");
    }
    (void)app_takes(peer, "A");
    app_takes_nothing(peer);
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_int_equal(status.received, 1);
    assert_int_equal(status.repeated, 4);
}

/* R1: cut in transit, resent with DUP, never seen before. */
static void a_message_first_seen_with_dup_is_new(void **state) {
    (void)state;
    start();
    broker_publishes(peer, 2, 3, true, "A");
    client_says(peer, "PUBREC id=3 reason=0x00");
    (void)app_takes(peer, "A");
}

static void old_versions_answer_in_their_own_way(void **state) {
    (void)state;
    peer->options.protocol = 4;
    start();
    broker_publishes(peer, 2, 3, false, "A");
    client_says(peer, "PUBREC id=3 reason=0x00");
    broker_acks(peer, PACKET_PUBREL, 3, 0);
    client_says(peer, "PUBCOMP id=3 reason=0x00");
    broker_acks(peer, PACKET_PUBREL, 3, 0);
    client_says(peer, "PUBCOMP id=3 reason=0x00");
}

/* R3 */
static void a_new_session_frees_the_old_packet_ids(void **state) {
    (void)state;
    start();
    broker_publishes(peer, 2, 3, false, "A");
    broker_publishes(peer, 2, 65535, false, "B");
    peer_cut(peer);
    peer_connect(peer, false);
    broker_publishes(peer, 2, 3, false, "C");
    client_says(peer, "PUBREC id=3 reason=0x00");
    assert_int_equal(fake_count(&peer->fake, RECORD_FREED), 2);
    (void)app_takes(peer, "A");
    (void)app_takes(peer, "B");
    (void)app_takes(peer, "C");
}

/* Ids of the old session are gone from the disk before the new session can have a subscription. */
static void subscribe_waits_until_old_ids_are_forgotten(void **state) {
    (void)state;
    start();
    app_subscribes(peer, "t", 2);
    client_says(peer, "SUBSCRIBE id=65535 \"t\":2");
    broker_subacks(peer, 65535, "\2", 1);
    broker_publishes(peer, 2, 3, false, "A");
    peer_cut(peer);
    assert_memory_equal(peer_open(peer), "CONNECT", 7);
    peer->disk_is_slow = true;
    broker_connack(peer, false, 0);
    client_is_silent(peer);
    peer_durable(peer);
    client_says(peer, "SUBSCRIBE id=65535 \"t\":2");
}

/* ---- the application ---- */

static void done_is_recorded_for_each_message_in_any_order(void **state) {
    (void)state;
    start();
    for (packet_id_t id = 1; id <= 3; id++) {
        broker_publishes(peer, 1, id, false, "m");
    }
    uint64_t a = app_takes(peer, "m");
    uint64_t b = app_takes(peer, "m");
    uint64_t c = app_takes(peer, "m");
    assert_int_equal(fake_count(&peer->fake, RECORD_DROPPED), 0);
    assert_true(client_done(peer->client, c));
    assert_int_equal(fake_record_of(&peer->fake, peer->fake.last).dropped.message_lsn, c);
    assert_true(client_done(peer->client, a));
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_int_equal(status.inbox_messages, 1);
    assert_true(client_done(peer->client, b));
    assert_false(client_done(peer->client, b));
    assert_false(client_done(peer->client, 123456));
    client_status(peer->client, &status);
    assert_int_equal(status.inbox_messages, 0);
    assert_int_equal(status.inbox_bytes, 0);
}

static void what_the_wire_says_comes_along(void **state) {
    (void)state;
    start();
    struct buf ids = {NULL, 0, 0};
    struct buf out = {NULL, 0, 0};
    struct packet_publish p = {.qos = 1, .retain = true, .packet_id = 77, .topic = SPAN("a/b"), .payload = SPAN("x")};
    properties_clear(&p.properties);
    p.properties.present = PROPERTY_MESSAGE_EXPIRY_INTERVAL | PROPERTY_CONTENT_TYPE | PROPERTY_SUBSCRIPTION_IDENTIFIER;
    p.properties.message_expiry_interval_s = 30;
    p.properties.content_type = SPAN("text");
    p.properties.subscription_identifier = 9;
    p.properties.subscription_identifier_count = 1;
    packet_encode_publish(&out, PROTOCOL_5, &p);
    peer_feed(peer, &out);
    peer_durable(peer);
    struct client_delivery d;
    assert_true(client_take(peer->client, &d));
    assert_int_equal(d.packet_id, 77);
    assert_int_equal(d.qos, 1);
    assert_true(d.retain && !d.redelivered && d.has_expiry);
    assert_int_equal(d.expiry_s, 30);
    packet_subscription_identifier_add(&ids, 9);
    assert_true(span_equal(d.subscription_identifiers, buf_span(&ids)));
    assert_true(span_equal(message_topic(d.message), SPAN("a/b")));
    assert_int_equal(message_properties(d.message).len, 7);
    message_unref(d.message);
    buf_deinit(&ids);
}

/* ---- bounds ---- */

static void broker_publishes_identifiers(uint8_t qos, packet_id_t packet_id, const struct buf *identifiers) {
    struct buf out = {NULL, 0, 0};
    struct packet_publish p = {.qos = qos, .packet_id = packet_id, .topic = SPAN("t")};
    properties_clear(&p.properties);
    p.properties.raw = buf_span(identifiers);
    p.properties.present = PROPERTY_SUBSCRIPTION_IDENTIFIER;
    p.properties.subscription_identifier_count = 50000;
    packet_encode_publish(&out, PROTOCOL_5, &p);
    peer_feed(peer, &out);
}

/* A PUBLISH may have more than a hundred thousand bytes of subscription identifiers, and no other. */
static void identifiers_count_as_what_is_kept(void **state) {
    (void)state;
    peer->options.inbox_bytes = 1 << 20;
    start();
    struct buf identifiers = {NULL, 0, 0};
    for (uint32_t i = 0; i < 50000; i++) {
        packet_subscription_identifier_add(&identifiers, 268435455);
    }
    for (packet_id_t i = 1; i <= 20; i++) {
        broker_publishes_identifiers(0, 0, &identifiers);
        broker_publishes_identifiers(1, i, &identifiers);
    }
    peer_durable(peer);
    uint64_t bytes[2] = {0, 0};
    unsigned taken[2] = {0, 0};
    for (struct client_delivery d; client_take(peer->client, &d); message_unref(d.message)) {
        bytes[d.qos] += d.subscription_identifiers.len;
        taken[d.qos]++;
    }
    assert_int_equal(taken[0], 5); /* 250,000 bytes each: the fifth crosses the bound */
    assert_int_equal(bytes[0], 5 * identifiers.len);
    assert_int_equal(taken[1], 20);
    assert_int_equal(bytes[1], 5 * identifiers.len);
    broker_publishes_identifiers(1, 21, &identifiers); /* there is room again */
    peer_durable(peer);
    struct client_delivery d;
    assert_true(client_take(peer->client, &d));
    assert_int_equal(d.subscription_identifiers.len, identifiers.len);
    message_unref(d.message);
    buf_deinit(&identifiers);
}

static void a_full_inbox_withholds_answers_in_order(void **state) {
    (void)state;
    peer->options.inbox_bytes = 1;
    start();
    broker_publishes(peer, 2, 1, false, "A"); /* one always fits, and fills it */
    client_is_silent(peer);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    uint64_t a = app_takes(peer, "A");
    client_is_silent(peer);
    broker_publishes(peer, 2, 1, true, "A");
    broker_publishes(peer, 2, 1, true, "A");
    client_is_silent(peer);
    assert_true(client_done(peer->client, a));
    client_says(peer, "PUBREC id=1 reason=0x00"); /* owed once */
    client_is_silent(peer);
}

static void withheld_answers_keep_their_order(void **state) {
    (void)state;
    peer->options.inbox_bytes = 80; /* less than three of these messages */
    start();
    for (packet_id_t id = 1; id <= 5; id++) {
        broker_publishes(peer, (uint8_t)(1 + id % 2), id, false, "m");
    }
    client_says(peer, "PUBREC id=1 reason=0x00");
    client_says(peer, "PUBACK id=2 reason=0x00");
    client_is_silent(peer);
    broker_acks(peer, PACKET_PUBREL, 1, 0); /* what makes nothing fuller is answered at once */
    client_says(peer, "PUBCOMP id=1 reason=0x00");
    for (int i = 0; i < 5; i++) {
        assert_true(client_done(peer->client, app_takes(peer, "m")));
    }
    client_says(peer, "PUBREC id=3 reason=0x00");
    client_says(peer, "PUBACK id=4 reason=0x00");
    client_says(peer, "PUBREC id=5 reason=0x00");
    client_is_silent(peer);
}

static void more_than_can_be_kept_waits_at_the_broker(void **state) {
    (void)state;
    peer->options.inbox_bytes = 300;
    start();
    packet_id_t sent = 0;
    while (peer_wish(peer) == CLIENT_NOTHING) {
        broker_publishes(peer, 2, ++sent, false, "m");
        peer_hear(peer);
        assert_true(sent < 20);
    }
    assert_true(sent > 3);
    peer->heard.len = 0;
    assert_int_equal(peer_wish(peer), CLIENT_CLOSE);
    client_closed(peer->client, QUARTET_OK, NULL);
    for (int i = 0; i < 20; i++) {
        peer_advance(peer, 1000);
        assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    }
    for (packet_id_t id = 1; id < sent; id++) { /* all but the last were taken */
        assert_true(client_done(peer->client, app_takes(peer, "m")));
    }
    app_takes_nothing(peer);
    peer_connect(peer, true);
    broker_publishes(peer, 2, sent, true, "m");
    (void)app_takes(peer, "m");
}

/* What is not answered comes again: it must not fill the inbox with itself. */
static void what_was_kept_is_answered_before_the_connection_ends(void **state) {
    (void)state;
    peer->options.inbox_bytes = 50;
    start();
    broker_publishes(peer, 1, 1, false, "a");
    client_says(peer, "PUBACK id=1 reason=0x00");
    broker_publishes(peer, 1, 2, false, "b");
    broker_publishes(peer, 1, 3, false, "c");
    client_is_silent(peer);
    broker_publishes(peer, 1, 4, false, "d");
    client_says(peer, "PUBACK id=2 reason=0x00");
    client_says(peer, "PUBACK id=3 reason=0x00");
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x97", 22);
}

/* Our own message may be what comes back and fills the inbox: its PUBACK is behind it. */
static void a_full_connection_lasts_until_our_flows_have_ended(void **state) {
    (void)state;
    peer->options.inbox_bytes = 1;
    start();
    (void)app_publishes(peer, 1, "own");
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=3");
    broker_publishes(peer, 1, 1, false, "a");
    broker_publishes(peer, 1, 2, false, "own");
    client_says(peer, "PUBACK id=1 reason=0x00");
    (void)app_publishes(peer, 1, "more");
    broker_publishes(peer, 2, 3, false, "not taken either");
    client_is_silent(peer);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    broker_acks(peer, PACKET_PUBACK, 1, 0);
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x97", 22);
    client_closed(peer->client, QUARTET_OK, NULL);
    assert_true(client_done(peer->client, app_takes(peer, "a")));
    app_takes_nothing(peer);
    peer_connect(peer, true);
    client_says(peer, "PUBLISH qos=1 id=2 topic=\"t\" bytes=4");
    broker_publishes(peer, 1, 4, false, "a");
    broker_publishes(peer, 1, 5, false, "b");
    client_says(peer, "PUBACK id=4 reason=0x00");
    peer_advance(peer, client_deadline(peer->client) - peer->now); /* an answer that never comes is not waited for */
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x97", 22);
}

/* Each SUBSCRIBE brings the retained messages once more: without its SUBACK it would be sent for ever. */
static void a_full_connection_lasts_until_subscribe_is_answered(void **state) {
    (void)state;
    peer->options.inbox_bytes = 1;
    start();
    app_subscribes(peer, "t", 1);
    client_says(peer, "SUBSCRIBE id=65535 \"t\":1");
    broker_publishes(peer, 1, 1, false, "a");
    broker_publishes(peer, 1, 2, false, "b");
    client_says(peer, "PUBACK id=1 reason=0x00");
    app_subscribes(peer, "more", 1);
    client_is_silent(peer);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    broker_subacks(peer, 65535, "\1", 1);
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x97", 22);
    client_closed(peer->client, QUARTET_OK, NULL);
    assert_true(client_done(peer->client, app_takes(peer, "a")));
    peer_connect(peer, true);
    client_says(peer, "SUBSCRIBE id=65535 \"more\":1:handling=1");
}

static void a_full_store_makes_the_broker_wait(void **state) {
    (void)state;
    start();
    peer->fake.pressure = STORE_FULL;
    broker_publishes(peer, 1, 1, false, "m");
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x97", 22);
    client_closed(peer->client, QUARTET_OK, NULL);
    peer_advance(peer, 60000);
    assert_int_equal(peer_wish(peer), CLIENT_NOTHING);
    peer->fake.pressure = STORE_EASY;
    peer_connect(peer, true);
    app_takes_nothing(peer);
}

static void a_message_that_no_record_holds_ends_the_connection(void **state) {
    (void)state;
    start();
    peer->fake.store.record_bytes_max = 90;
    lsn_t last = peer->fake.last;
    broker_publishes(peer, 1, 1, false, "longer than what fits into 90 bytes with all else");
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x95", 22);
    assert_int_equal(peer->fake.last, last);
}

static void qos_0_beyond_the_bound_is_dropped(void **state) {
    (void)state;
    peer->options.inbox_bytes = 1000;
    start();
    for (int i = 0; i < 1000; i++) {
        broker_publishes(peer, 0, 0, false, "m");
    }
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_true(status.received < 50);
    assert_true(status.inbox_bytes < 1200);
}

static void receive_maximum_is_enforced(void **state) {
    (void)state;
    peer->options.receive_maximum = 3;
    start();
    for (packet_id_t id = 1; id <= 3; id++) {
        broker_publishes(peer, 2, id, false, "m");
        client_says(peer, id == 1 ? "PUBREC id=1 reason=0x00"
                                  : (id == 2 ? "PUBREC id=2 reason=0x00" : "PUBREC id=3 reason=0x00"));
    }
    broker_publishes(peer, 2, 2, true, "m"); /* a repeat takes nothing of it */
    client_says(peer, "PUBREC id=2 reason=0x00");
    broker_publishes(peer, 2, 4, false, "m");
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x93", 22);
}

static void a_deep_inbox_lets_go_of_memory_and_comes_back_in_order(void **state) {
    (void)state;
    enum { DEEP = 5000 };
    start();
    for (int i = 0; i < DEEP; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        broker_publishes(peer, 1, (packet_id_t)(i + 1), false, text);
        peer_hear(peer);
        peer->heard.len = 0;
    }
    atomic_store(&peer->fake.store.folded, peer->fake.last);
    client_stored(peer->client);
    for (int i = 0; i < DEEP; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        assert_true(client_done(peer->client, app_takes(peer, text)));
    }
    app_takes_nothing(peer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        PEER_TEST(dup_a_lost_pubrec_does_not_cost_the_next_message),
        PEER_TEST(rel_a_lost_pubcomp_repeats_nothing),
        PEER_TEST(any_number_of_repeats_is_answered_and_none_delivered),
        PEER_TEST(a_message_first_seen_with_dup_is_new),
        PEER_TEST(old_versions_answer_in_their_own_way),
        PEER_TEST(a_new_session_frees_the_old_packet_ids),
        PEER_TEST(subscribe_waits_until_old_ids_are_forgotten),
        PEER_TEST(done_is_recorded_for_each_message_in_any_order),
        PEER_TEST(what_the_wire_says_comes_along),
        PEER_TEST(identifiers_count_as_what_is_kept),
        PEER_TEST(a_full_inbox_withholds_answers_in_order),
        PEER_TEST(withheld_answers_keep_their_order),
        PEER_TEST(more_than_can_be_kept_waits_at_the_broker),
        PEER_TEST(what_was_kept_is_answered_before_the_connection_ends),
        PEER_TEST(a_full_connection_lasts_until_our_flows_have_ended),
        PEER_TEST(a_full_connection_lasts_until_subscribe_is_answered),
        PEER_TEST(a_full_store_makes_the_broker_wait),
        PEER_TEST(a_message_that_no_record_holds_ends_the_connection),
        PEER_TEST(qos_0_beyond_the_bound_is_dropped),
        PEER_TEST(receive_maximum_is_enforced),
        PEER_TEST(a_deep_inbox_lets_go_of_memory_and_comes_back_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
