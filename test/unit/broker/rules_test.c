/* The rules R1 to R10 beside the barriers, and what a client sees of its session. All is durable when a turn begins. */
#include "world.h"

static struct world *world_at_once(void) {
    struct world *w = world_new();
    w->at_once = true;
    world_open(w, 1);
    return w;
}

static void publish(struct peer *p, uint8_t qos, packet_id_t id, const char *topic) {
    say_publish(p, &(struct publishing){.qos = qos, .id = id, .topic = topic});
    turn(p->w);
}

/* A subscriber of "t" at QoS 2, and a publisher. */
struct pair {
    struct world *w;
    struct peer from, to;
};

static struct pair pair_of(struct world *w, enum protocol protocol) {
    struct pair pair = {.w = w};
    joined(&pair.from, w, protocol, "from", true);
    joined(&pair.to, w, protocol, "to", true);
    subscribed(&pair.to, "t", 2);
    return pair;
}

static void pair_end(struct pair *pair) {
    peer_close(&pair->from);
    peer_close(&pair->to);
    world_close(pair->w);
}

static void back(struct peer *p, struct world *w, const char *id, uint16_t receive_maximum) {
    peer_close(p);
    peer_open(p, w, PROTOCOL_5);
    say_connect(p, &(struct connecting){.id = id, .expiry_s = 3600, .receive_maximum = receive_maximum});
    turn(w);
    expect(p, "CONNACK present");
}

static void r1_dup_says_nothing(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    say_publish(&pair.from, &(struct publishing){.qos = 2, .id = 1, .topic = "t", .dup = true});
    turn(pair.w);
    expect(&pair.from, "PUBREC id=1 reason=0x00");
    expect(&pair.to, "PUBLISH qos=2 id=1 topic"); /* and is not passed on */
    publish(&pair.from, 2, 1, "t");
    expect(&pair.from, "PUBREC id=1 reason=0x00");
    expect_silence(&pair.to);
    pair_end(&pair);
}

/* Hours later, on another connection, after a start of the broker: the id is held until PUBREL. */
static void load_held(const struct store_sink *sink, void *user) {
    (void)user;
    struct record_session session = {
        .client_id = SPAN("from"), .expiry_s = SESSION_NEVER_EXPIRES, .protocol = 5, .disconnected_at = 1};
    sink->session(sink->user, 1, &session);
    sink->held(sink->user, 1, 1);
}

static void r2_ids_live_as_long_as_their_session(void **state) {
    (void)state;
    struct world *w = world_new();
    w->at_once = true;
    w->store.load = load_held;
    world_open(w, 1);
    struct peer p;
    joined(&p, w, PROTOCOL_5, "from", true);
    tick(w, 90000000);
    publish(&p, 2, 1, "t");
    expect(&p, "PUBREC id=1 reason=0x00");
    assert_int_equal(fake_count(&w->store, RECORD_HELD), 0);
    peer_close(&p);
    turn(w);
    peer_open(&p, w, PROTOCOL_5);
    say_connect(&p, &(struct connecting){.id = "from", .clean = true, .expiry_s = 10});
    turn(w);
    expect(&p, "CONNACK new");
    publish(&p, 2, 1, "t");
    assert_int_equal(fake_count(&w->store, RECORD_HELD), 1);
    assert_int_equal(counters(w).held_ids, 1);
    peer_close(&p);
    world_close(w);
}

static void r4_ids_in_flight_are_skipped(void **state) {
    (void)state;
    struct world *w = world_new();
    w->at_once = true;
    w->options.packet_ids_max = 3;
    world_open(w, 1);
    struct pair pair = pair_of(w, PROTOCOL_5);
    for (packet_id_t id = 1; id <= 5; id++) {
        publish(&pair.from, 1, id, "t");
    }
    expect(&pair.to, "PUBLISH qos=1 id=1");
    expect(&pair.to, "PUBLISH qos=1 id=2");
    expect(&pair.to, "PUBLISH qos=1 id=3");
    expect_silence(&pair.to); /* there is no id */
    say_ack(&pair.to, PACKET_PUBACK, 2, 0);
    turn(w);
    expect(&pair.to, "PUBLISH qos=1 id=2");
    say_ack(&pair.to, PACKET_PUBACK, 3, 0);
    turn(w);
    expect(&pair.to, "PUBLISH qos=1 id=3");
    expect_silence(&pair.to);
    pair_end(&pair);
}

/* PUBREC gives no quota back; PUBACK, PUBCOMP and a PUBREC that refuses do. Other packets never wait for it. */
static void r5_quota_comes_back_when_a_flow_ends(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    back(&pair.to, pair.w, "to", 1);
    for (packet_id_t id = 1; id <= 4; id++) {
        publish(&pair.from, id == 2 ? 1 : 2, id, "t");
    }
    expect(&pair.to, "PUBLISH qos=2 id=1");
    expect_silence(&pair.to);
    say_ack(&pair.to, PACKET_PUBREC, 1, 0);
    turn(pair.w);
    expect(&pair.to, "PUBREL id=1");
    say_ping(&pair.to);
    expect(&pair.to, "PINGRESP");
    expect_silence(&pair.to);
    say_ack(&pair.to, PACKET_PUBCOMP, 1, 0);
    turn(pair.w);
    expect(&pair.to, "PUBLISH qos=1 id=2");
    expect_silence(&pair.to);
    say_ack(&pair.to, PACKET_PUBACK, 2, 0);
    turn(pair.w);
    expect(&pair.to, "PUBLISH qos=2 id=3");
    expect_silence(&pair.to);
    say_ack(&pair.to, PACKET_PUBREC, 3, REASON_QUOTA_EXCEEDED);
    turn(pair.w);
    expect(&pair.to, "PUBLISH qos=2 id=4");
    expect_silence(&pair.to);
    assert_int_equal(counters(pair.w).queued, 1);
    pair_end(&pair);
}

/* It begins anew with each connection, however many flows there are; what does not fit is sent as it comes back. */
static void r5_quota_belongs_to_the_connection(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    for (packet_id_t id = 1; id <= 4; id++) {
        publish(&pair.from, 2, id, "t");
    }
    say_ack(&pair.to, PACKET_PUBREC, 1, 0);
    turn(pair.w);
    back(&pair.to, pair.w, "to", 2);
    expect(&pair.to, "PUBREL id=1");
    expect(&pair.to, "PUBLISH qos=2 dup id=2");
    expect(&pair.to, "PUBLISH qos=2 dup id=3");
    expect_silence(&pair.to);
    publish(&pair.from, 1, 9, "t");
    say_ack(&pair.to, PACKET_PUBCOMP, 1, 0);
    turn(pair.w);
    expect_silence(&pair.to); /* that flow took nothing of this connection's quota */
    say_ack(&pair.to, PACKET_PUBREC, 3, 0);
    say_ack(&pair.to, PACKET_PUBCOMP, 3, 0);
    turn(pair.w);
    expect(&pair.to, "PUBREL id=3");
    expect(&pair.to, "PUBLISH qos=2 dup id=4");
    expect_silence(&pair.to);
    /* One that was answered before it was sent again makes room for the next as well. */
    say_ack(&pair.to, PACKET_PUBREC, 2, REASON_UNSPECIFIED_ERROR);
    turn(pair.w);
    expect(&pair.to, "PUBLISH qos=1 id=5 topic");
    pair_end(&pair);
}

static void r5_a_flow_answered_before_its_resend_holds_nothing_up(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    publish(&pair.from, 1, 1, "t");
    publish(&pair.from, 1, 2, "t");
    back(&pair.to, pair.w, "to", 1);
    publish(&pair.from, 1, 3, "t");
    expect(&pair.to, "PUBLISH qos=1 dup id=1");
    say_ack(&pair.to, PACKET_PUBACK, 2, 0); /* from the connection before */
    turn(pair.w);
    expect_silence(&pair.to);
    say_ack(&pair.to, PACKET_PUBACK, 1, 0);
    turn(pair.w);
    expect(&pair.to, "PUBLISH qos=1 id=3 topic");
    pair_end(&pair);
}

static void r6_repeats_are_answered_however_many(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    for (int i = 0; i < 1000; i++) {
        say_publish(&pair.from, &(struct publishing){.qos = 2, .id = 1, .topic = "t", .dup = i % 3 > 0});
    }
    turn(pair.w);
    for (int i = 0; i < 1000; i++) {
        expect(&pair.from, "PUBREC id=1 reason=0x00");
    }
    expect(&pair.to, "PUBLISH qos=2 id=1");
    expect_silence(&pair.to);
    for (int i = 0; i < 1000; i++) {
        say_ack(&pair.to, PACKET_PUBREC, 1, 0);
    }
    turn(pair.w);
    for (int i = 0; i < 1000; i++) {
        expect(&pair.to, "PUBREL id=1 reason=0x00");
    }
    for (int i = 0; i < 1000; i++) {
        say_ack(&pair.from, PACKET_PUBREL, 1, 0);
        say_ack(&pair.to, PACKET_PUBCOMP, 1, 0);
        say_ack(&pair.to, PACKET_PUBACK, 1, 0);
    }
    turn(pair.w);
    expect(&pair.from, "PUBCOMP id=1 reason=0x00");
    for (int i = 1; i < 1000; i++) {
        expect(&pair.from, "PUBCOMP id=1 reason=0x92");
    }
    expect_silence(&pair.from);
    expect_silence(&pair.to);
    struct shard_counters c = counters(pair.w);
    assert_int_equal(c.held_ids, 0);
    assert_int_equal(c.queued, 0);
    assert_int_equal(c.publish_received, 1000);
    assert_int_equal(c.publish_repeated, 999);
    pair_end(&pair);
}

static void r6_unknown_packets_are_answered(void **state) {
    (void)state;
    for (int five = 0; five <= 1; five++) {
        struct world *w = world_at_once();
        struct peer p;
        joined(&p, w, five ? PROTOCOL_5 : PROTOCOL_311, "p", true);
        say_ack(&p, PACKET_PUBREL, 77, 0);
        expect(&p, five ? "PUBCOMP id=77 reason=0x92" : "PUBCOMP id=77 reason=0x00");
        say_ack(&p, PACKET_PUBREC, 78, 0);
        expect(&p, five ? "PUBREL id=78 reason=0x92" : "PUBREL id=78 reason=0x00");
        say_ack(&p, PACKET_PUBACK, 79, 0);
        say_ack(&p, PACKET_PUBCOMP, 80, 0);
        expect_silence(&p);
        peer_close(&p);
        world_close(w);
    }
}

static void r7_nothing_is_resent_on_a_live_connection(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    publish(&pair.from, 2, 1, "t");
    publish(&pair.from, 2, 2, "t");
    expect(&pair.to, "PUBLISH qos=2 id=1");
    expect(&pair.to, "PUBLISH qos=2 id=2");
    say_ack(&pair.to, PACKET_PUBREC, 2, 0);
    turn(pair.w);
    expect(&pair.to, "PUBREL id=2");
    for (int i = 0; i < 100; i++) {
        tick(pair.w, 60000);
    }
    expect_silence(&pair.to);
    pair_end(&pair);
}

/* Owed PUBRELs in the order of their PUBRECs, then PUBLISHes in their own. */
static void r7_a_new_connection_resends_in_order(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    for (packet_id_t id = 1; id <= 5; id++) {
        publish(&pair.from, 2, id, "t");
    }
    say_ack(&pair.to, PACKET_PUBREC, 4, 0);
    say_ack(&pair.to, PACKET_PUBREC, 2, 0);
    turn(pair.w);
    for (int i = 0; i < 2; i++) {
        back(&pair.to, pair.w, "to", 0);
        expect(&pair.to, "PUBREL id=4");
        expect(&pair.to, "PUBREL id=2");
        expect(&pair.to, "PUBLISH qos=2 dup id=1");
        expect(&pair.to, "PUBLISH qos=2 dup id=3");
        expect(&pair.to, "PUBLISH qos=2 dup id=5");
        expect_silence(&pair.to);
    }
    pair_end(&pair);
}

static void r8_acknowledgements_keep_the_order_of_the_packets(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    joined(&p, w, PROTOCOL_5, "p", true);
    subscribed(&p, "waits", 1);
    say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = "waits"});
    say_publish(&p, &(struct publishing){.qos = 1, .id = 2, .topic = "nobody"}); /* needs no record */
    say_publish(&p, &(struct publishing){.qos = 2, .id = 3, .topic = "waits"});
    say_publish(&p, &(struct publishing){.qos = 1, .id = 4, .topic = "nobody"});
    expect_silence(&p);
    durable_all(w);
    unsigned next = 1;
    for (const char *line = hear(&p); line[0] != '\0'; line = hear(&p)) {
        if (strncmp(line, "PUBACK", 6) == 0 || strncmp(line, "PUBREC", 6) == 0) {
            char begins[32];
            (void)snprintf(begins, sizeof begins, "%.6s id=%u", line, next++);
            assert_memory_equal(line, begins, strlen(begins));
        }
    }
    assert_int_equal(next, 5);
    peer_close(&p);
    world_close(w);
}

static void r9_overlapping_subscriptions_are_deliveries_of_their_own(void **state) {
    (void)state;
    struct pair pair = pair_of(world_at_once(), PROTOCOL_5);
    subscribed(&pair.to, "+", 1);
    subscribed(&pair.to, "#", 2);
    publish(&pair.from, 2, 1, "t");
    unsigned qos1 = 0;
    for (int i = 0; i < 3; i++) {
        qos1 += strncmp(hear(&pair.to), "PUBLISH qos=1", 13) == 0;
    }
    assert_int_equal(qos1, 1);
    expect_silence(&pair.to);
    struct record record = fake_record_of(&pair.w->store, fake_newest(&pair.w->store, RECORD_MESSAGE));
    assert_int_equal(record.message.target_count, 3);
    assert_int_equal(fake_count(&pair.w->store, RECORD_SENT), 3);
    assert_int_equal(counters(pair.w).queued, 3);
    pair_end(&pair);
}

/* ---- receive maximum towards us ---- */

static void more_than_the_receive_maximum_is_too_much(void **state) {
    (void)state;
    struct world *w = world_new();
    w->options.receive_maximum = 3;
    world_open(w, 1);
    struct peer p;
    joined(&p, w, PROTOCOL_5, "p", true);
    subscribed(&p, "t", 0);
    /* Answered ones do not count, refused ones and repeats neither. */
    for (packet_id_t id = 1; id <= 10; id++) {
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "none"});
        expect(&p, "PUBACK");
    }
    for (packet_id_t id = 1; id <= 3; id++) {
        say_publish(&p, &(struct publishing){.qos = 2, .id = id, .topic = "none"});
        say_publish(&p, &(struct publishing){.qos = 2, .id = id, .topic = "none", .dup = true});
    }
    durable_all(w);
    say_ack(&p, PACKET_PUBREL, 1, 0);
    say_ack(&p, PACKET_PUBREL, 1, 0);
    say_publish(&p, &(struct publishing){.qos = 2, .id = 1, .topic = "none"});
    durable_all(w);
    for (const char *line = hear(&p); line[0] != '\0'; line = hear(&p)) {
        assert_true(strncmp(line, "PUBREC", 6) == 0 || strncmp(line, "PUBCOMP", 7) == 0);
    }
    say_publish(&p, &(struct publishing){.qos = 1, .id = 9, .topic = "none"});
    expect(&p, "DISCONNECT reason=0x93");
    expect(&p, "closed");
    peer_close(&p);
    world_close(w);
}

/* Ids of an earlier connection give nothing back, for they took nothing of this one's. */
static void resumed_ids_do_not_count_for_the_receive_maximum(void **state) {
    (void)state;
    struct world *w = world_new();
    w->options.receive_maximum = 2;
    world_open(w, 1);
    struct peer p, durable;
    joined(&durable, w, PROTOCOL_5, "durable", true);
    subscribed(&durable, "t", 1);
    joined(&p, w, PROTOCOL_5, "p", true);
    say_publish(&p, &(struct publishing){.qos = 2, .id = 1, .topic = "t"});
    say_publish(&p, &(struct publishing){.qos = 2, .id = 2, .topic = "t"});
    peer_close(&p);
    durable_all(w);
    joined(&p, w, PROTOCOL_5, "p", true);
    say_publish(&p, &(struct publishing){.qos = 1, .id = 3, .topic = "t"}); /* waits for the disk, so it counts */
    say_ack(&p, PACKET_PUBREL, 1, 0);
    say_ack(&p, PACKET_PUBREL, 2, 0);
    say_publish(&p, &(struct publishing){.qos = 1, .id = 4, .topic = "t"});
    durable_all(w);
    expect(&p, "PUBACK id=3");
    expect(&p, "PUBCOMP id=1");
    expect(&p, "PUBCOMP id=2");
    expect(&p, "PUBACK id=4");
    for (packet_id_t id = 5; id <= 7; id++) {
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
    }
    durable_all(w);
    expect(&p, "PUBACK id=5");
    expect(&p, "PUBACK id=6");
    expect(&p, "DISCONNECT reason=0x93");
    peer_close(&p);
    peer_close(&durable);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r1_dup_says_nothing),
        cmocka_unit_test(r2_ids_live_as_long_as_their_session),
        cmocka_unit_test(r4_ids_in_flight_are_skipped),
        cmocka_unit_test(r5_quota_comes_back_when_a_flow_ends),
        cmocka_unit_test(r5_quota_belongs_to_the_connection),
        cmocka_unit_test(r5_a_flow_answered_before_its_resend_holds_nothing_up),
        cmocka_unit_test(r6_repeats_are_answered_however_many),
        cmocka_unit_test(r6_unknown_packets_are_answered),
        cmocka_unit_test(r7_nothing_is_resent_on_a_live_connection),
        cmocka_unit_test(r7_a_new_connection_resends_in_order),
        cmocka_unit_test(r8_acknowledgements_keep_the_order_of_the_packets),
        cmocka_unit_test(r9_overlapping_subscriptions_are_deliveries_of_their_own),
        cmocka_unit_test(more_than_the_receive_maximum_is_too_much),
        cmocka_unit_test(resumed_ids_do_not_count_for_the_receive_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
