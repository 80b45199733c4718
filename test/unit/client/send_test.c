/* Publications and their flows; what becomes of them when the broker forgets the session. */
#include "peer.h"

static int publish(const struct quartet_publication *publication, uint64_t *id) {
    struct error error;
    return client_publish(peer->client, publication, id, &error);
}

/* ---- what is refused ---- */

static void publications_that_make_no_sense_are_refused(void **state) {
    (void)state;
    peer_create(peer);
    static const char *const topics[] = {NULL, "", "a/#", "a/+/b", "\xff", "\xed\xa0\x80"};
    uint64_t id;
    for (size_t i = 0; i < sizeof topics / sizeof topics[0]; i++) {
        struct quartet_publication p = {.topic = topics[i]};
        assert_int_equal(publish(&p, &id), QUARTET_INVALID);
    }
    struct quartet_user_property broken = {"name", NULL};
    struct quartet_publication wrong[] = {
        {.topic = "t", .qos = 3},
        {.topic = "t", .qos = -1},
        {.topic = "t", .payload_bytes = 1},
        {.topic = "t", .payload = "", .payload_bytes = 300000000},
        {.topic = "t", .properties.content_type = "\xff"},
        {.topic = "t", .properties.response_topic = "a/#"},
        {.topic = "t", .properties.correlation_bytes = 70000},
        {.topic = "t", .properties.user = &broken, .properties.user_count = 1},
        {.topic = "t", .properties.user_count = 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(publish(&wrong[i], &id), QUARTET_INVALID);
    }
    assert_int_equal(client_oldest(peer->client), UINT64_MAX);
}

static void a_full_outbox_refuses_and_a_drained_one_takes(void **state) {
    (void)state;
    peer->options.outbox_bytes = 1000;
    peer_create(peer);
    peer_connect(peer, false);
    char body[600] = "";
    struct quartet_publication p = {.topic = "t", .payload = body, .payload_bytes = sizeof body, .qos = 1};
    uint64_t id;
    assert_int_equal(publish(&p, &id), QUARTET_OK);
    assert_int_equal(publish(&p, &id), QUARTET_FULL);
    assert_int_equal(id, 0);
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=600");
    broker_acks(peer, PACKET_PUBACK, 1, 0);
    assert_int_equal(publish(&p, &id), QUARTET_OK);
    peer->fake.pressure = STORE_FULL;
    broker_acks(peer, PACKET_PUBACK, 2, 0);
    assert_int_equal(publish(&p, &id), QUARTET_STORE_FULL);
}

static void a_publication_that_no_record_holds_is_refused(void **state) {
    (void)state;
    peer_create(peer);
    char body[200] = {0};
    struct quartet_publication p = {.topic = "t", .payload = body, .payload_bytes = sizeof body, .qos = 1};
    uint64_t id;
    peer->fake.store.record_bytes_max = 200;
    lsn_t last = peer->fake.last;
    assert_int_equal(publish(&p, &id), QUARTET_INVALID);
    assert_int_equal(peer->fake.last, last);
    p.qos = 0; /* needs none */
    assert_int_equal(publish(&p, &id), QUARTET_OK);
    p.qos = 1;
    p.payload_bytes = 100;
    assert_int_equal(publish(&p, &id), QUARTET_OK);
}

static void a_sequence_is_taken_once(void **state) {
    (void)state;
    peer->disk_is_slow = true;
    peer_create(peer);
    uint64_t first;
    uint64_t again;
    struct quartet_publication p = {.topic = "t", .qos = 2, .sequence = 5};
    assert_int_equal(publish(&p, &first), QUARTET_OK);
    assert_int_equal(publish(&p, &again), QUARTET_OK);
    assert_int_equal(again, first); /* not stored yet: to be waited for */
    peer_durable(peer);
    assert_int_equal(publish(&p, &again), QUARTET_OK);
    assert_int_equal(again, 0);
    p.sequence = 4;
    assert_int_equal(publish(&p, &again), QUARTET_OK);
    assert_int_equal(again, 0);
    assert_int_equal(fake_count(&peer->fake, RECORD_MESSAGE), 1);
    assert_int_equal(client_last_sequence(peer->client), 5);
    p.sequence = 6;
    assert_int_equal(publish(&p, &again), QUARTET_OK);
    assert_true(again > first);
}

/* One of QoS 0 has no record to wait for, and says nothing about those before it (B0). */
static void a_sequence_of_qos_0_does_not_say_that_others_are_stored(void **state) {
    (void)state;
    peer->disk_is_slow = true;
    peer_create(peer);
    uint64_t first;
    uint64_t again;
    struct quartet_publication p = {.topic = "t", .qos = 2, .sequence = 1};
    assert_int_equal(publish(&p, &first), QUARTET_OK);
    p = (struct quartet_publication){.topic = "t", .sequence = 2};
    assert_int_equal(publish(&p, &again), QUARTET_OK);
    p = (struct quartet_publication){.topic = "t", .qos = 2, .sequence = 1};
    assert_int_equal(publish(&p, &again), QUARTET_OK);
    assert_int_equal(again, first);
}

/* ---- what the broker does not take ---- */

static void limits_of_the_broker_are_heeded_and_told(void **state) {
    (void)state;
    peer->connack.present = PROPERTY_MAXIMUM_QOS | PROPERTY_RETAIN_AVAILABLE | PROPERTY_MAXIMUM_PACKET_SIZE;
    peer->connack.maximum_qos = 1;
    peer->connack.retain_available = 0;
    peer->connack.maximum_packet_size = 100;
    peer_create(peer);
    peer_connect(peer, false);
    app_forgets_events(peer);
    char body[200] = "";
    struct {
        struct quartet_publication publication;
        uint8_t reason;
    } cases[] = {
        {{.topic = "t", .qos = 2}, REASON_QOS_NOT_SUPPORTED},
        {{.topic = "t", .qos = 1, .retain = true}, REASON_RETAIN_NOT_SUPPORTED},
        {{.topic = "t", .qos = 1, .payload = body, .payload_bytes = sizeof body}, REASON_PACKET_TOO_LARGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t id;
        assert_int_equal(publish(&cases[i].publication, &id), QUARTET_OK);
        struct quartet_event event = app_hears(peer, QUARTET_EVENT_PUBLISHED);
        assert_int_equal(event.id, id);
        assert_int_equal(event.reason, cases[i].reason);
        assert_int_equal(event.error, QUARTET_REFUSED);
        assert_false(client_pending(peer->client, id));
    }
    client_is_silent(peer);
    assert_int_equal(fake_count(&peer->fake, RECORD_DROPPED), 3);
    (void)app_publishes(peer, 1, "fits");
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=4");
}

static void the_window_is_the_brokers_receive_maximum(void **state) {
    (void)state;
    peer->connack.present = PROPERTY_RECEIVE_MAXIMUM;
    peer->connack.receive_maximum = 2;
    peer_create(peer);
    peer_connect(peer, false);
    for (int i = 0; i < 3; i++) {
        (void)app_publishes(peer, 2, "m");
    }
    client_says(peer, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    client_says(peer, "PUBLISH qos=2 id=2 topic=\"t\" bytes=1");
    client_is_silent(peer);
    broker_acks(peer, PACKET_PUBREC, 1, REASON_QUOTA_EXCEEDED);
    client_says(peer, "PUBLISH qos=2 id=3 topic=\"t\" bytes=1");
    app_forgets_events(peer);
    client_is_silent(peer);
}

static void what_expires_before_it_is_sent_is_not_sent(void **state) {
    (void)state;
    peer_create(peer);
    struct quartet_publication p = {.topic = "t", .qos = 1, .properties = {.has_expiry = true, .expiry_s = 9}};
    uint64_t id;
    assert_int_equal(publish(&p, &id), QUARTET_OK);
    p.properties.expiry_s = 99;
    assert_int_equal(publish(&p, &id), QUARTET_OK);
    peer_advance(peer, 9000);
    peer_connect(peer, false);
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=0 {Message Expiry Interval: 90}");
    (void)app_hears(peer, QUARTET_EVENT_CONNECTED);
    assert_int_equal(app_hears(peer, QUARTET_EVENT_PUBLISHED).error, QUARTET_TIMEOUT);
    peer_cut(peer);
    peer_advance(peer, 100000); /* R10: begun, so finished */
    peer_connect(peer, true);
    client_says(peer, "PUBLISH qos=1 dup id=1 topic=\"t\" bytes=0 {Message Expiry Interval: 0}");
}

static void properties_travel(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    struct quartet_user_property user[] = {{"k", "v"}, {"k", "w"}};
    struct quartet_publication p = {.topic = "t",
                                    .qos = 1,
                                    .retain = true,
                                    .properties = {.payload_is_text = true,
                                                   .content_type = "text",
                                                   .response_topic = "r",
                                                   .correlation_data = "cd",
                                                   .correlation_bytes = 2,
                                                   .user = user,
                                                   .user_count = 2}};
    uint64_t id;
    assert_int_equal(publish(&p, &id), QUARTET_OK);
    client_says(peer, "PUBLISH qos=1 retain id=1 topic=\"t\" bytes=0 {Payload Format Indicator: 1, Content Type: "
                      "\"text\", Response Topic: \"r\", Correlation Data: (2 bytes), User Property: \"k\"=\"v\", "
                      "\"k\"=\"w\"}");
}

/* ---- a cut ---- */

static void flows_go_on_in_their_order_after_a_cut(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    for (int i = 0; i < 4; i++) {
        (void)app_publishes(peer, i == 3 ? 1 : 2, "m");
    }
    peer_hear(peer);
    broker_acks(peer, PACKET_PUBREC, 2, 0);
    broker_acks(peer, PACKET_PUBREC, 1, 0);
    peer_cut(peer);
    peer_connect(peer, true);
    client_says(peer, "PUBREL id=2 reason=0x00");
    client_says(peer, "PUBREL id=1 reason=0x00");
    client_says(peer, "PUBLISH qos=2 dup id=3 topic=\"t\" bytes=1");
    client_says(peer, "PUBLISH qos=1 dup id=4 topic=\"t\" bytes=1");
    client_is_silent(peer);
    broker_acks(peer, PACKET_PUBCOMP, 1, REASON_PACKET_IDENTIFIER_NOT_FOUND);
    broker_acks(peer, PACKET_PUBCOMP, 2, 0);
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_int_equal(status.published, 2);
    assert_int_equal(status.in_flight, 2);
}

static void acknowledgements_that_fit_nothing_are_answered_or_ignored(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    broker_acks(peer, PACKET_PUBACK, 7, 0);
    broker_acks(peer, PACKET_PUBCOMP, 7, 0);
    client_is_silent(peer);
    broker_acks(peer, PACKET_PUBREC, 7, 0);
    client_says(peer, "PUBREL id=7 reason=0x92");
    (void)app_publishes(peer, 2, "m");
    client_says(peer, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    broker_acks(peer, PACKET_PUBREC, 1, 0);
    broker_acks(peer, PACKET_PUBREC, 1, 0);
    client_says(peer, "PUBREL id=1 reason=0x00");
    client_says(peer, "PUBREL id=1 reason=0x00");
    (void)app_publishes(peer, 1, "n");
    client_says(peer, "PUBLISH qos=1 id=2 topic=\"t\" bytes=1");
    broker_acks(peer, PACKET_PUBREC, 2, 0);
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x82", 22);
}

static void an_acknowledgement_of_the_wrong_kind_is_a_protocol_error(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    (void)app_publishes(peer, 2, "m");
    client_says(peer, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    broker_acks(peer, PACKET_PUBACK, 1, 0);
    assert_memory_equal(peer_next(peer), "DISCONNECT reason=0x82", 22);
}

static void qos_0_waits_in_memory_for_a_connection(void **state) {
    (void)state;
    peer_create(peer);
    (void)app_publishes(peer, 0, "a");
    (void)app_publishes(peer, 0, "b");
    assert_int_equal(client_volatile_taken(peer->client), 2);
    assert_int_equal(client_volatile_left(peer->client), 0);
    peer_connect(peer, false);
    client_says(peer, "PUBLISH qos=0 topic=\"t\" bytes=1");
    client_says(peer, "PUBLISH qos=0 topic=\"t\" bytes=1");
    assert_int_equal(client_volatile_left(peer->client), 2);
    assert_int_equal(fake_count(&peer->fake, RECORD_MESSAGE), 0);
}

/* What is written between two reads of the outbox counts when its own bytes have left, and what a cut takes is given
 * up. */
static void qos_0_is_counted_when_it_has_left(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    peer_hear(peer);
    (void)app_publishes(peer, 0, "a");
    (void)app_publishes(peer, 0, "b");
    (void)app_publishes(peer, 0, "c");
    assert_int_equal(client_volatile_left(peer->client), 0);
    peer_hear(peer);
    assert_int_equal(client_volatile_left(peer->client), 3);
    (void)app_publishes(peer, 0, "d");
    peer_cut(peer);
    assert_int_equal(client_volatile_left(peer->client), 4);
}

/* A broker with a session that we know nothing of may hold our packet ids: it would swallow the message. */
static void packet_ids_of_an_unknown_session_are_freed_first(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, true);
    (void)app_publishes(peer, 2, "m");
    client_says(peer, "PUBREL id=1 reason=0x00");
    client_is_silent(
        peer); /* no PUBLISH before the id is known to be free: one of the two could be lost without the other */
    peer_cut(peer);
    peer_connect(peer, true);
    client_says(peer, "PUBREL id=1 reason=0x00");
    broker_acks(peer, PACKET_PUBCOMP, 1, 0);
    client_says(peer, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
    peer_cut(peer);
    peer_connect(peer, true);
    client_says(peer, "PUBLISH qos=2 dup id=1 topic=\"t\" bytes=1");
    broker_acks(peer, PACKET_PUBREC, 1, 0);
    client_says(peer, "PUBREL id=1 reason=0x00");
}

static void all_packet_ids_of_an_unknown_session_are_freed_once(void **state) {
    (void)state;
    peer->ids_max = 7; /* flows use six of them */
    peer_create(peer);
    peer_connect(peer, true);
    unsigned released = 0;
    for (int i = 0; i < 20; i++) {
        (void)app_publishes(peer, 1, "m");
        for (const char *line; *(line = peer_next(peer)) != '\0';) {
            unsigned id;
            if (sscanf(line, "PUBREL id=%u", &id) == 1) {
                released++;
                broker_acks(peer, PACKET_PUBCOMP, (packet_id_t)id, REASON_PACKET_IDENTIFIER_NOT_FOUND);
            } else {
                assert_int_equal(sscanf(line, "PUBLISH qos=1 id=%u", &id), 1);
                broker_acks(peer, PACKET_PUBACK, (packet_id_t)id, 0);
            }
        }
    }
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_int_equal(status.published, 20);
    assert_int_equal(released, 6);
}

/* ---- the broker has forgotten the session ---- */

/* One flow of QoS 2 that PUBREC has come for (id 1), one that is published (2), one of QoS 1 (3), one in the queue. */
static void begin_flows(uint64_t *ids) {
    peer->options.send_window = 3;
    peer_create(peer);
    peer_connect(peer, false);
    ids[0] = app_publishes(peer, 2, "released");
    ids[1] = app_publishes(peer, 2, "published");
    ids[2] = app_publishes(peer, 1, "qos1");
    ids[3] = app_publishes(peer, 2, "queued");
    peer_hear(peer);
    broker_acks(peer, PACKET_PUBREC, 1, 0);
    peer_hear(peer);
    peer_cut(peer);
    app_forgets_events(peer);
    peer_connect(peer, false);
    (void)app_hears(peer, QUARTET_EVENT_CONNECTED);
    struct quartet_event event = app_hears(peer, QUARTET_EVENT_PUBLISHED); /* the broker had it */
    assert_int_equal(event.id, ids[0]);
    assert_int_equal(event.error, QUARTET_OK);
}

static void lost_flows_are_held_until_the_application_decides(void **state) {
    (void)state;
    uint64_t ids[4];
    begin_flows(ids);
    assert_int_equal(app_hears(peer, QUARTET_EVENT_SESSION_LOST).count, 2);
    client_is_silent(peer);
    peer_cut(peer);
    peer_connect(peer, true); /* that session is another one by now */
    client_is_silent(peer);
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_true(status.session_is_lost);
    assert_int_equal(client_session_lost(peer->client, QUARTET_LOST_HOLD), QUARTET_INVALID);
    assert_int_equal(client_session_lost(peer->client, QUARTET_LOST_RESEND), QUARTET_OK);
    client_says(peer, "PUBLISH qos=2 id=2 topic=\"t\" bytes=9");
    client_says(peer, "PUBLISH qos=1 id=3 topic=\"t\" bytes=4");
    client_says(peer, "PUBLISH qos=2 id=4 topic=\"t\" bytes=6");
    assert_int_equal(client_session_lost(peer->client, QUARTET_LOST_DROP), QUARTET_INVALID);
}

static void lost_flows_are_dropped_when_the_application_says_so(void **state) {
    (void)state;
    uint64_t ids[4];
    begin_flows(ids);
    (void)app_hears(peer, QUARTET_EVENT_SESSION_LOST);
    assert_int_equal(client_session_lost(peer->client, QUARTET_LOST_DROP), QUARTET_OK);
    assert_int_equal(app_hears(peer, QUARTET_EVENT_PUBLISHED).error, QUARTET_SESSION_LOST);
    assert_int_equal(app_hears(peer, QUARTET_EVENT_PUBLISHED).id, ids[2]);
    client_says(peer, "PUBLISH qos=2 id=4 topic=\"t\" bytes=6");
    assert_false(client_pending(peer->client, ids[1]));
    assert_int_equal(client_oldest(peer->client), ids[3]);
}

static void the_options_can_decide_before(void **state) {
    (void)state;
    peer->options.session_lost = QUARTET_LOST_RESEND;
    uint64_t ids[4];
    begin_flows(ids);
    client_says(peer, "PUBLISH qos=2 id=2 topic=\"t\" bytes=9");
    client_says(peer, "PUBLISH qos=1 id=3 topic=\"t\" bytes=4");
    client_says(peer, "PUBLISH qos=2 id=4 topic=\"t\" bytes=6");
    peer_cut(peer); /* sent once in this session */
    peer_connect(peer, true);
    client_says(peer, "PUBLISH qos=2 dup id=2 topic=\"t\" bytes=9");
}

/* The mark comes before, and is taken off after all else: a crash between finds flows and the mark. */
static void dropping_is_recorded_in_an_order_that_a_crash_cannot_break(void **state) {
    (void)state;
    peer->options.session_lost = QUARTET_LOST_DROP;
    uint64_t ids[4];
    begin_flows(ids);
    unsigned done = 0;
    int mark = -1;
    for (lsn_t lsn = 1; lsn <= peer->fake.last; lsn++) {
        struct record r = fake_record_of(&peer->fake, lsn);
        if (r.kind == RECORD_DONE) {
            assert_int_equal(mark, 1);
            done++;
        } else if (r.kind == RECORD_SESSION && r.session.client_id.ptr[0] == 'o') {
            mark = r.session.disconnected_at != 0;
        }
    }
    assert_int_equal(done, 3);
    assert_int_equal(mark, 0);
    client_says(peer, "PUBLISH qos=2 id=4 topic=\"t\" bytes=6");
}

static void qos_1_alone_is_sent_again_without_a_question(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    (void)app_publishes(peer, 1, "m");
    peer_hear(peer);
    peer_cut(peer);
    peer_connect(peer, false);
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=1");
}

static void a_session_that_we_end_ourselves_is_not_lost(void **state) {
    (void)state;
    peer->options.end_session = true;
    peer_create(peer);
    peer_connect(peer, false);
    (void)app_publishes(peer, 2, "m");
    peer_hear(peer);
    peer_cut(peer);
    peer_connect(peer, false);
    client_says(peer, "PUBLISH qos=2 id=1 topic=\"t\" bytes=1");
}

/* ---- memory ---- */

static void a_deep_outbox_lets_go_of_memory_and_comes_back_in_order(void **state) {
    (void)state;
    enum { DEEP = 6000 };
    peer_create(peer);
    for (int i = 0; i < DEEP; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        (void)app_publishes(peer, 1, text);
    }
    atomic_store(&peer->fake.store.durable, peer->fake.last);
    atomic_store(&peer->fake.store.folded, peer->fake.last);
    client_stored(peer->client);
    struct quartet_status status;
    client_status(peer->client, &status);
    assert_int_equal(status.outbox_messages, DEEP);
    peer_connect(peer, false);
    for (int i = 0; i < DEEP; i++) {
        char line[80];
        (void)snprintf(line, sizeof line, "PUBLISH qos=1 id=%d topic=\"t\" bytes=%d", i + 1,
                       i < 10 ? 1 : (i < 100 ? 2 : (i < 1000 ? 3 : 4)));
        client_says(peer, line);
        broker_acks(peer, PACKET_PUBACK, (packet_id_t)(i + 1), 0);
    }
    client_status(peer->client, &status);
    assert_int_equal(status.outbox_messages, 0);
    assert_int_equal(status.outbox_bytes, 0);
}

static void a_broker_without_qos_2_holds_no_ids(void **state) {
    (void)state;
    peer->connack.present = PROPERTY_MAXIMUM_QOS;
    peer->connack.maximum_qos = 1;
    peer_create(peer);
    peer_connect(peer, true);
    (void)app_publishes(peer, 1, "m");
    client_says(peer, "PUBLISH qos=1 id=1 topic=\"t\" bytes=1");
}

static void a_full_inbox_waits_for_the_answer_about_an_id(void **state) {
    (void)state;
    static char large[700];
    memset(large, 'x', sizeof large - 1);
    peer->options.inbox_bytes = 300;
    peer_create(peer);
    (void)app_publishes(peer, 1, "m");
    for (int i = 0; i < 10; i++) {
        peer_connect(peer, true);
        const char *line = peer_next(peer);
        if (strcmp(line, "PUBLISH qos=1 id=1 topic=\"t\" bytes=1") == 0) {
            return;
        }
        assert_string_equal(line, "PUBREL id=1 reason=0x00");
        broker_publishes(peer, 1, 1, false, large); /* of what is queued */
        broker_publishes(peer, 1, 2, false, large);
        broker_acks(peer, PACKET_PUBCOMP, 1, 0);
        peer_hear(peer);
        peer_advance(peer, 2000);
        peer_cut(peer);
        assert_true(client_done(peer->client, app_takes(peer, large)));
    }
    fail_msg("ten connections, and no PUBLISH");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        PEER_TEST(publications_that_make_no_sense_are_refused),
        PEER_TEST(a_full_outbox_refuses_and_a_drained_one_takes),
        PEER_TEST(a_publication_that_no_record_holds_is_refused),
        PEER_TEST(a_sequence_is_taken_once),
        PEER_TEST(a_sequence_of_qos_0_does_not_say_that_others_are_stored),
        PEER_TEST(limits_of_the_broker_are_heeded_and_told),
        PEER_TEST(the_window_is_the_brokers_receive_maximum),
        PEER_TEST(what_expires_before_it_is_sent_is_not_sent),
        PEER_TEST(properties_travel),
        PEER_TEST(flows_go_on_in_their_order_after_a_cut),
        PEER_TEST(acknowledgements_that_fit_nothing_are_answered_or_ignored),
        PEER_TEST(an_acknowledgement_of_the_wrong_kind_is_a_protocol_error),
        PEER_TEST(qos_0_waits_in_memory_for_a_connection),
        PEER_TEST(qos_0_is_counted_when_it_has_left),
        PEER_TEST(packet_ids_of_an_unknown_session_are_freed_first),
        PEER_TEST(all_packet_ids_of_an_unknown_session_are_freed_once),
        PEER_TEST(lost_flows_are_held_until_the_application_decides),
        PEER_TEST(lost_flows_are_dropped_when_the_application_says_so),
        PEER_TEST(the_options_can_decide_before),
        PEER_TEST(dropping_is_recorded_in_an_order_that_a_crash_cannot_break),
        PEER_TEST(qos_1_alone_is_sent_again_without_a_question),
        PEER_TEST(a_session_that_we_end_ourselves_is_not_lost),
        PEER_TEST(a_deep_outbox_lets_go_of_memory_and_comes_back_in_order),
        PEER_TEST(a_broker_without_qos_2_holds_no_ids),
        PEER_TEST(a_full_inbox_waits_for_the_answer_about_an_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
