/* Who gets a message and how: QoS, RETAIN, no local, overlapping; retained messages; sessions and their subscriptions.
 */
#include "world.h"

static struct world *world_at_once(void) {
    struct world *w = world_new();
    w->at_once = true;
    world_open(w, 1);
    return w;
}

/* ---- what a subscription makes of a message ---- */

static void qos_is_the_lesser_of_the_two(void **state) {
    (void)state;
    for (uint8_t published = 0; published <= 2; published++) {
        for (uint8_t granted = 0; granted <= 2; granted++) {
            for (int durable = 0; durable <= 1; durable++) {
                struct world *w = world_at_once();
                struct peer from, to;
                char line[32];
                joined(&from, w, PROTOCOL_5, "from", false);
                joined(&to, w, PROTOCOL_311, "to", durable);
                subscribed(&to, "t", granted);
                say_publish(&from, &(struct publishing){.qos = published, .id = published > 0, .topic = "t"});
                turn(w);
                uint8_t qos = published < granted ? published : granted;
                (void)snprintf(line, sizeof line, qos > 0 ? "PUBLISH qos=%u id=1" : "PUBLISH qos=%u topic", qos);
                expect(&to, line);
                assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), durable && qos > 0);
                peer_close(&from);
                peer_close(&to);
                world_close(w);
            }
        }
    }
}

static void options_of_a_subscription(void **state) {
    (void)state;
    static const struct {
        bool no_local, as_published, self, retain;
        const char *line;
    } cases[] = {
        {false, false, true, false, "PUBLISH qos=1 id=1 topic"},
        {false, false, true, true, "PUBLISH qos=1 id=1 topic"},
        {false, true, true, true, "PUBLISH qos=1 retain id=1 topic"},
        {false, true, false, false, "PUBLISH qos=1 id=1 topic"},
        {true, false, true, false, ""},
        {true, false, false, false, "PUBLISH qos=1 id=1 topic"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *w = world_at_once();
        struct peer other, to;
        joined(&other, w, PROTOCOL_5, "other", false);
        joined(&to, w, PROTOCOL_5, "to", true);
        say_subscribe_with(&to, 1,
                           &(struct packet_filter){.filter = SPAN("t"),
                                                   .qos = 1,
                                                   .no_local = cases[i].no_local,
                                                   .retain_as_published = cases[i].as_published});
        turn(w);
        expect(&to, "SUBACK id=1 0x01");
        struct peer *from = cases[i].self ? &to : &other;
        say_publish(from,
                    &(struct publishing){.qos = 1, .id = 5, .topic = "t", .payload = "x", .retain = cases[i].retain});
        turn(w);
        const char *line = hear(&to);
        if (cases[i].self && strncmp(line, "PUBACK", 6) == 0) {
            line = hear(&to);
        }
        assert_memory_equal(line, cases[i].line, strlen(cases[i].line) + (cases[i].line[0] == '\0'));
        peer_close(&other);
        peer_close(&to);
        world_close(w);
    }
}

static void nobody_is_told_only_to_5_0(void **state) {
    (void)state;
    for (int five = 0; five <= 1; five++) {
        struct world *w = world_at_once();
        struct peer p;
        joined(&p, w, five ? PROTOCOL_5 : PROTOCOL_311, "p", false);
        say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
        expect(&p, five ? "PUBACK id=1 reason=0x10" : "PUBACK id=1 reason=0x00");
        peer_close(&p);
        world_close(w);
    }
}

static void what_is_larger_than_the_client_takes_is_not_sent(void **state) {
    (void)state;
    struct world *w = world_at_once();
    struct peer from, to;
    peer_open(&to, w, PROTOCOL_5);
    say_connect(&to, &(struct connecting){.id = "to", .expiry_s = 60, .packet_bytes_max = 60, .receive_maximum = 1});
    turn(w);
    expect(&to, "CONNACK");
    subscribed(&to, "t", 2);
    joined(&from, w, PROTOCOL_5, "from", false);
    for (packet_id_t id = 1; id <= 4; id++) {
        const char *payload = id % 2 > 0 ? "0123456789012345678901234567890123456789012345678901234567890" : "short";
        say_publish(&from, &(struct publishing){.qos = 2, .id = id, .topic = "t", .payload = payload});
        say_publish(&from, &(struct publishing){.topic = "t", .payload = payload});
    }
    turn(w);
    expect(&to, "PUBLISH qos=2 id=2 topic=\"t\" bytes=5");
    expect(&to, "PUBLISH qos=0 topic=\"t\" bytes=5");
    expect(&to, "PUBLISH qos=0 topic=\"t\" bytes=5");
    expect_silence(&to);
    say_ack(&to, PACKET_PUBREC, 2, 0);
    say_ack(&to, PACKET_PUBCOMP, 2, 0);
    turn(w);
    expect(&to, "PUBREL id=2");
    expect(&to, "PUBLISH qos=2 id=4 topic=\"t\" bytes=5");
    assert_int_equal(counters(w).queued, 1);
    assert_int_equal(fake_count(&w->store, RECORD_DONE), 3);
    peer_close(&from);
    peer_close(&to);
    world_close(w);
}

/* ---- retained messages ---- */

static void retain_handling(void **state) {
    (void)state;
    static const struct {
        uint8_t handling;
        bool first, again; /* whether the retained message comes with the first and with the second SUBSCRIBE */
    } cases[] = {{0, true, true}, {1, true, false}, {2, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (uint8_t qos = 0; qos <= 2; qos++) {
            struct world *w = world_at_once();
            struct peer p;
            char line[32];
            joined(&p, w, PROTOCOL_5, "p", true);
            say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = "r", .payload = "x", .retain = true});
            turn(w);
            expect(&p, "PUBACK");
            struct packet_filter filter = {.filter = SPAN("r"), .qos = qos, .retain_handling = cases[i].handling};
            for (unsigned round = 1; round <= 2; round++) {
                say_subscribe_with(&p, 1, &filter);
                turn(w);
                expect(&p, "SUBACK");
                if (round == 1 ? cases[i].first : cases[i].again) {
                    (void)snprintf(line, sizeof line, qos > 0 ? "PUBLISH qos=1 retain id=%u" : "PUBLISH qos=0 retain",
                                   round);
                    expect(&p, line);
                }
                expect_silence(&p);
            }
            peer_close(&p);
            world_close(w);
        }
    }
}

static void a_retained_message_is_replaced_and_cleared(void **state) {
    (void)state;
    struct world *w = world_at_once();
    struct peer from, to;
    joined(&from, w, PROTOCOL_311, "from", false);
    joined(&to, w, PROTOCOL_311, "to", false);
    say_publish(&from, &(struct publishing){.topic = "r", .payload = "1", .retain = true});
    say_publish(&from, &(struct publishing){.topic = "r", .payload = "22", .retain = true});
    say_publish(&from, &(struct publishing){.topic = "r", .payload = "333"});
    turn(w);
    subscribed(&to, "r", 0);
    expect(&to, "PUBLISH qos=0 retain topic=\"r\" bytes=2");
    say_publish(&from, &(struct publishing){.topic = "r", .retain = true});
    turn(w);
    expect(&to, "PUBLISH qos=0 topic=\"r\" bytes=0");
    subscribed(&to, "r", 0);
    expect_silence(&to);
    assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), 3);
    /* What is clear already needs no record. */
    say_publish(&from, &(struct publishing){.topic = "r", .retain = true});
    assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), 3);
    peer_close(&from);
    peer_close(&to);
    world_close(w);
}

/* Answers that are larger than the client takes are not sent, nor what would come after them. */
static void an_answer_too_large_ends_the_connection(void **state) {
    (void)state;
    for (uint32_t max = 1; max <= 60; max++) {
        struct world *w = world_at_once();
        struct peer p, from;
        joined(&from, w, PROTOCOL_5, "from", false);
        peer_open(&p, w, PROTOCOL_5);
        say_connect(&p, &(struct connecting){.id = "p", .expiry_s = 60, .packet_bytes_max = max});
        struct packet_filter filters[40];
        for (size_t i = 0; i < 40; i++) {
            filters[i] = (struct packet_filter){.filter = span_str("t"), .qos = 1};
        }
        struct buf b = {NULL, 0, 0};
        struct properties none = {.present = 0};
        packet_encode_subscribe(&b, PROTOCOL_5, 1, &none, filters, 40);
        say_buf(&p, &b);
        say_publish(&from, &(struct publishing){.topic = "t", .payload = "x"});
        struct conn_handle dirty;
        while (shard_next_dirty(world_shard(w, 0), &dirty)) {
        }
        turn(w);
        peer_read(&p, SIZE_MAX);
        /* Packets of less than 128 bytes: the second byte is the length of the rest. */
        unsigned packets = 0;
        for (size_t at = 0; at < p.received.len; at += 2U + p.received.ptr[at + 1]) {
            assert_true(2U + p.received.ptr[at + 1] <= max);
            packets++;
        }
        enum conn_wish wished = wish(&p);
        bool whole = packets == 3 && p.received.ptr[0] == 0x20;
        assert_true(whole ? wished == CONN_READ : wished == CONN_CLOSE || wished == CONN_ABORT);
        assert_int_equal(whole, max >= 45);                     /* SUBACK has 45 bytes, CONNACK fewer */
        assert_true(packets == 0 || p.received.ptr[0] == 0x20); /* nothing without CONNACK */
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* One publish for many of one shard's sessions is delivered over several turns, in order, and others are served. */
static void a_large_fan_out_takes_several_turns(void **state) {
    (void)state;
    enum { RECEIVERS = 200, MESSAGES = 5 };
    for (uint8_t qos = 0; qos <= 1; qos++) {
        struct world *w = world_new();
        struct peer from, to[RECEIVERS];
        w->at_once = true;
        w->options.turn_points = 8;
        world_open(w, 1);
        joined(&from, w, PROTOCOL_311, "from", false);
        for (unsigned i = 0; i < RECEIVERS; i++) {
            char id[8];
            (void)snprintf(id, sizeof id, "to%u", i);
            joined(&to[i], w, PROTOCOL_311, id, false);
            subscribed(&to[i], "t", qos);
        }
        for (unsigned n = 1; n <= MESSAGES; n++) {
            char payload[8] = "xxxxxxx";
            payload[n] = '\0';
            say_publish(&from, &(struct publishing){.qos = 1, .id = (packet_id_t)n, .topic = "t", .payload = payload});
        }
        say_ping(&from);
        unsigned turns = 0;
        for (; turn_end(w, 0).more; turns++) {
            turn_begin(w, 0);
        }
        turn(w);
        assert_true(turns > RECEIVERS * MESSAGES / (qos > 0 ? 16 : 128)); /* a delivery at QoS 0 is an eighth */
        for (unsigned n = 1; n <= MESSAGES; n++) {
            expect(&from, "PUBACK");
        }
        expect(&from, "PINGRESP");
        for (unsigned i = 0; i < RECEIVERS; i++) {
            for (unsigned n = 1; n <= MESSAGES; n++) {
                char end[16];
                (void)snprintf(end, sizeof end, "bytes=%u", n);
                assert_non_null(strstr(hear(&to[i]), end));
            }
            expect_silence(&to[i]);
            peer_close(&to[i]);
        }
        peer_close(&from);
        world_close(w);
    }
}

enum { CROWD = 100 }; /* more than have no time */

static void crowd_joined(struct peer to[CROWD], struct world *w, uint8_t qos) {
    for (unsigned i = 0; i < CROWD; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "to%u", i);
        joined(&to[i], w, PROTOCOL_311, id, false);
        subscribed(&to[i], "t", qos);
    }
}

static void crowd_left(struct peer to[CROWD]) {
    for (unsigned i = 0; i < CROWD; i++) {
        peer_close(&to[i]);
    }
}

/* What goes to few is delivered at once, however much for many is under way on the shard. */
static void few_do_not_wait_for_many(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer from, other, few, to[CROWD];
    w->at_once = true;
    w->options.turn_points = 8;
    world_open(w, 1);
    joined(&from, w, PROTOCOL_311, "from", false);
    joined(&other, w, PROTOCOL_311, "other", false);
    joined(&few, w, PROTOCOL_311, "few", false);
    subscribed(&few, "u", 1);
    crowd_joined(to, w, 1);
    subscribed(&to[CROWD - 1], "u", 1);
    say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
    say_publish(&other, &(struct publishing){.qos = 1, .id = 1, .topic = "u"});
    expect(&few, "PUBLISH qos=1 id=1 topic=\"u\"");
    expect_silence(&to[CROWD - 1]);
    while (turn_end(w, 0).more) {
        turn_begin(w, 0);
    }
    turn(w);
    expect(&to[CROWD - 1], "PUBLISH qos=1 id=1 topic=\"t\""); /* in the order of acceptance */
    expect(&to[CROWD - 1], "PUBLISH qos=1 id=2 topic=\"u\"");
    crowd_left(to);
    peer_close(&from);
    peer_close(&other);
    peer_close(&few);
    world_close(w);
}

static uint32_t next_urgent(struct world *w) {
    struct conn_handle handle;
    return shard_next_urgent(world_shard(w, 0), &handle) ? handle.index : UINT32_MAX;
}

/* Writes to many come behind a write to one, and so does a large one. */
static void what_is_written_to_many_has_time(void **state) {
    (void)state;
    static char much[20000];
    struct world *w = world_new();
    struct peer from, to[CROWD];
    w->at_once = true;
    world_open(w, 1);
    joined(&from, w, PROTOCOL_311, "from", false);
    crowd_joined(to, w, 0);
    subscribed(&to[7], "much", 0);
    turn(w);
    say_publish(&from, &(struct publishing){.topic = "t"});
    assert_int_equal(next_urgent(w), UINT32_MAX);
    say_ping(&from);
    say_ping(&to[5]);
    assert_int_equal(next_urgent(w), from.handle.index);
    assert_int_equal(next_urgent(w), to[5].handle.index);
    assert_int_equal(next_urgent(w), UINT32_MAX);
    assert_true(turn_end(w, 0).more == false); /* nothing is left of them behind shard_next_dirty() */
    turn(w);
    memset(much, 'x', sizeof much - 1);
    say_publish(&from, &(struct publishing){.topic = "much", .payload = much});
    say_ping(&to[7]);
    assert_int_equal(next_urgent(w), UINT32_MAX);
    crowd_left(to);
    peer_close(&from);
    world_close(w);
}

/* ---- sessions ---- */

static void a_session_is_kept_or_not(void **state) {
    (void)state;
    static const struct {
        enum protocol protocol;
        bool clean_before, clean_now, present;
        uint32_t expiry_s;
    } cases[] = {
        {PROTOCOL_311, false, false, true, 0}, {PROTOCOL_311, false, true, false, 0},
        {PROTOCOL_311, true, false, false, 0}, {PROTOCOL_5, false, false, true, 60},
        {PROTOCOL_5, true, false, true, 60},   {PROTOCOL_5, false, true, false, 60},
        {PROTOCOL_5, false, false, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int takeover = 0; takeover <= 1; takeover++) {
            struct world *w = world_at_once();
            struct peer p, again, from;
            peer_open(&p, w, cases[i].protocol);
            say_connect(&p,
                        &(struct connecting){.id = "p", .clean = cases[i].clean_before, .expiry_s = cases[i].expiry_s});
            turn(w);
            expect(&p, "CONNACK new");
            subscribed(&p, "t", 1);
            if (!takeover) {
                peer_close(&p);
            }
            peer_open(&again, w, cases[i].protocol);
            say_connect(&again,
                        &(struct connecting){.id = "p", .clean = cases[i].clean_now, .expiry_s = cases[i].expiry_s});
            turn(w);
            expect(&again, cases[i].present ? "CONNACK present" : "CONNACK new");
            joined(&from, w, PROTOCOL_311, "from", false);
            say_publish(&from, &(struct publishing){.topic = "t"});
            turn(w);
            expect(&again, cases[i].present ? "PUBLISH" : "");
            assert_int_equal(counters(w).sessions, 2);
            peer_close(&p);
            peer_close(&again);
            peer_close(&from);
            world_close(w);
        }
    }
}

static void disconnect_can_end_a_session_but_not_give_it_life(void **state) {
    (void)state;
    for (uint32_t before = 0; before <= 60; before += 60) {
        struct world *w = world_at_once();
        struct peer p;
        struct buf b = {NULL, 0, 0};
        peer_open(&p, w, PROTOCOL_5);
        say_connect(&p, &(struct connecting){.id = "p", .expiry_s = before});
        turn(w);
        expect(&p, "CONNACK new");
        struct packet_disconnect packet = {.properties = {.present = PROPERTY_SESSION_EXPIRY_INTERVAL,
                                                          .session_expiry_interval_s = before > 0 ? 0 : 60}};
        packet_encode_disconnect(&b, PROTOCOL_5, &packet);
        say_buf(&p, &b);
        if (before == 0) {
            expect(&p, "DISCONNECT reason=0x82");
        }
        expect(&p, "closed");
        assert_int_equal(counters(w).sessions, 0);
        peer_close(&p);
        world_close(w);
    }
}

static void an_unsubscribed_filter_gets_nothing_more(void **state) {
    (void)state;
    struct world *w = world_at_once();
    struct peer p;
    joined(&p, w, PROTOCOL_5, "p", true);
    subscribed(&p, "t", 1);
    say_unsubscribe(&p, 2, "t");
    turn(w);
    expect(&p, "UNSUBACK id=2 0x00");
    say_unsubscribe(&p, 3, "t");
    turn(w);
    expect(&p, "UNSUBACK id=3 0x11");
    say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
    turn(w);
    expect(&p, "PUBACK id=1 reason=0x10");
    expect_silence(&p);
    peer_close(&p);
    world_close(w);
}

/* Everything of the broker's is freed whatever goes on; the sanitizer looks. */
static void a_stop_in_the_middle_of_everything(void **state) {
    (void)state;
    for (int told = 0; told <= 1; told++) {
        struct world *w = world_of(3);
        struct peer p[4];
        char id[8];
        for (unsigned i = 0; i < 4; i++) {
            (void)snprintf(id, sizeof id, "p%u", i);
            peer_open(&p[i], w, i % 2 ? PROTOCOL_5 : PROTOCOL_311);
            say_connect(&p[i], &(struct connecting){
                                   .id = id, .expiry_s = i == 3 ? 60 : 0, .will = "t", .will_qos = 1, .clean = i == 2});
            durable_all(w);
            expect(&p[i], "CONNACK");
            subscribed(&p[i], "#", 2);
        }
        for (packet_id_t n = 1; n <= 50; n++) {
            for (unsigned i = 0; i < 4; i++) {
                say_publish(&p[i],
                            &(struct publishing){.qos = 2, .id = n, .topic = "t", .payload = "x", .retain = n == 7});
            }
        }
        if (told) {
            for (unsigned i = 0; i < 3; i++) {
                shard_stop(world_shard(w, i));
            }
            durable_all(w);
            for (unsigned i = 0; i < 4; i++) {
                const char *last = hear(&p[i]);
                char line[LINE_BYTES] = "";
                while (strcmp(last, "closed") != 0) {
                    (void)snprintf(line, sizeof line, "%s", last);
                    last = hear(&p[i]);
                }
                if (i % 2 > 0) {
                    assert_memory_equal(line, "DISCONNECT reason=0x8b", 22);
                }
                peer_close(&p[i]);
            }
            assert_int_equal(counters(w).connections, 0);
            assert_int_equal(counters(w).sessions, 2);
        }
        for (unsigned i = 0; i < 4; i++) {
            buf_deinit(&p[i].received);
        }
        world_close(w);
    }
}

/* ---- bursts at QoS 0 ---- */

/* Publishes `count` messages of some 60 bytes at QoS 0; returns how many of them were dropped. */
static uint64_t burst(struct peer *from, unsigned count) {
    static const char payload[] = "fifty bytes or so, that fill an outbox before long";
    uint64_t before = counters(from->w).qos0_dropped;
    for (unsigned i = 0; i < count; i++) {
        say_publish(from, &(struct publishing){.topic = "t", .payload = payload});
    }
    turn(from->w);
    return counters(from->w).qos0_dropped - before;
}

static void a_burst_comes_whole_to_who_reads(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer from, to;
    w->at_once = true;
    w->options.outbox_bytes_max = 1000;
    world_open(w, 1);
    joined(&from, w, PROTOCOL_5, "from", false);
    joined(&to, w, PROTOCOL_311, "to", false);
    subscribed(&to, "t", 0);
    assert_int_equal(burst(&from, 200), 0); /* it has taken SUBACK just now: ten times the bound may wait */
    later(w, 90);
    peer_read(&to, 100);
    assert_int_equal(burst(&from, 20), 0);
    assert_true(burst(&from, 300) > 100); /* that, too, has a bound */
    later(w, 101);                        /* it has stopped reading: the bound is the outbox's own */
    assert_int_equal(burst(&from, 5), 5);
    for (const char *line = hear(&to); line[0] != '\0'; line = hear(&to)) {
    }
    assert_int_equal(burst(&from, 200), 0);
    peer_close(&from);
    peer_close(&to);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_comes_whole_to_who_reads),
        cmocka_unit_test(qos_is_the_lesser_of_the_two),
        cmocka_unit_test(options_of_a_subscription),
        cmocka_unit_test(nobody_is_told_only_to_5_0),
        cmocka_unit_test(what_is_larger_than_the_client_takes_is_not_sent),
        cmocka_unit_test(retain_handling),
        cmocka_unit_test(a_retained_message_is_replaced_and_cleared),
        cmocka_unit_test(an_answer_too_large_ends_the_connection),
        cmocka_unit_test(a_large_fan_out_takes_several_turns),
        cmocka_unit_test(few_do_not_wait_for_many),
        cmocka_unit_test(what_is_written_to_many_has_time),
        cmocka_unit_test(a_session_is_kept_or_not),
        cmocka_unit_test(disconnect_can_end_a_session_but_not_give_it_life),
        cmocka_unit_test(an_unsubscribed_filter_gets_nothing_more),
        cmocka_unit_test(a_stop_in_the_middle_of_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
