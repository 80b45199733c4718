/* A full queue is its own session's problem: ended while its client is away, closed when it takes nothing, and
 * everybody else goes on. */
#include "world.h"

#include "base/map.h"

enum { SHARDS = 3 };

/* `messages` may wait in a session and one may be under way to each client. */
static struct world *world_small(unsigned shards, uint64_t messages) {
    struct world *w = world_new();
    w->options.queue_messages_max = messages;
    w->options.inflight_max = 1;
    w->at_once = true;
    world_open(w, shards);
    return w;
}

static void publish(struct peer *p, uint8_t qos, packet_id_t id, const char *topic) {
    say_publish(p, &(struct publishing){.qos = qos, .id = id, .topic = topic});
    later(p->w, 10);
    later(p->w, 10);
}

/* Somebody subscribed and went away. */
static void absent(struct world *w, const char *id, enum protocol protocol, const char *filter) {
    struct peer p;
    joined(&p, w, protocol, id, true);
    subscribed(&p, filter, 1);
    peer_close(&p);
}

/* Whichever shard owns the session, for publishers of both protocols and both levels. */
static void the_session_of_who_is_away_ends_and_others_go_on(void **state) {
    (void)state;
    for (unsigned run = 0; run < SHARDS * 2; run++) {
        enum protocol protocol = run % 2 == 0 ? PROTOCOL_311 : PROTOCOL_5;
        struct world *w = world_small(SHARDS, 2);
        struct peer from, other, to;
        absent(w, client_on(w, run / 2, "away"), protocol, "#");
        joined(&other, w, PROTOCOL_5, client_on(w, 1, "other"), true);
        subscribed(&other, "t", 2);
        joined(&from, w, protocol, client_on(w, 0, "from"), true);
        lsn_t ended = 0;
        for (packet_id_t id = 1; id <= 5; id++) {
            uint8_t qos = id % 2 == 0 ? 2 : 1;
            publish(&from, qos, id, "t");
            expect(&from, qos == 1 ? "PUBACK" : "PUBREC");
            assert_true(strstr(from.line, "reason=0x97") == NULL);
            expect(&other, "PUBLISH");
            say_ack(&other, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, id, 0);
            if (qos == 2) {
                later(w, 10);
                expect(&other, "PUBREL");
                say_ack(&other, PACKET_PUBCOMP, id, 0);
            }
            ended = fake_newest(&w->store, RECORD_SESSION_END);
            assert_int_equal(ended != 0, id >= 3);
        }
        /* The third message came after the end, and has one target less than the two before. */
        unsigned targets = 0;
        for (lsn_t lsn = 1; lsn <= w->store.last; lsn++) {
            struct record r = fake_record_of(&w->store, lsn);
            if (r.kind == RECORD_MESSAGE) {
                assert_int_equal(r.message.target_count, lsn > ended ? 1 : 2);
                targets += r.message.target_count;
            }
        }
        assert_int_equal(targets, 2 + 2 + 3);
        assert_int_equal(counters(w).sessions_overfull, 1);
        assert_int_equal(counters(w).queued, 0);
        /* Its client is told, once. */
        join(&to, w, protocol, client_on(w, run / 2, "away"), true);
        turn(w);
        expect(&to, protocol == PROTOCOL_5 ? "CONNACK new reason=0x00" : "CONNACK new");
        assert_int_equal(strstr(to.line, "its queue was full") != NULL, protocol == PROTOCOL_5);
        peer_close(&to);
        join(&to, w, PROTOCOL_5, client_on(w, run / 2, "away"), true);
        turn(w);
        expect(&to, "CONNACK present");
        assert_null(strstr(to.line, "its queue was full"));
        peer_close(&to);
        peer_close(&other);
        peer_close(&from);
        world_close(w);
    }
}

/* One message meets many full queues, of all shards: all end, and it is accepted after one wait. */
static void many_full_queues_end_at_once(void **state) {
    (void)state;
    enum { MANY = 7 }; /* and one that is not full */
    struct world *w = world_small(SHARDS, 1);
    struct peer from;
    char name[8];
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof name, "m%u", i);
        absent(w, client_on(w, i % SHARDS, name), PROTOCOL_311, "t");
    }
    absent(w, "lucky", PROTOCOL_311, "t");
    joined(&from, w, PROTOCOL_5, "from", false);
    publish(&from, 1, 1, "t");
    expect(&from, "PUBACK id=1 reason=0x00");
    {
        struct peer lucky;
        joined(&lucky, w, PROTOCOL_311, "lucky", true);
        expect(&lucky, "PUBLISH");
        say_ack(&lucky, PACKET_PUBACK, 1, 0);
        peer_close(&lucky);
    }
    publish(&from, 1, 2, "t");
    expect(&from, "PUBACK id=2 reason=0x00");
    assert_int_equal(counters(w).sessions_overfull, MANY);
    assert_int_equal(counters(w).publish_refused, 1);
    assert_int_equal(counters(w).queued, 1);
    peer_close(&from);
    world_close(w);
}

/* However many a message meets, a turn ends some of them: those of its own shard, and those of another. */
static void very_many_full_queues_end_over_several_turns(void **state) {
    (void)state;
    enum { MANY = 300, EACH_TURN = 128 };
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct world *w = world_small(shards, 1);
        struct peer from, p;
        joined(&from, w, PROTOCOL_5, client_on(w, 0, "from"), false);
        for (unsigned i = 0; i < MANY; i++) {
            char name[12];
            (void)snprintf(name, sizeof name, "m%u", i);
            joined(&p, w, PROTOCOL_311, client_on(w, shards - 1, name), true);
            subscribed(&p, name, 1);
            subscribed(&p, "all", 1);
            peer_close(&p);
            say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = name});
            turn(w);
            expect(&from, "PUBACK id=1 reason=0x00");
        }
        say_publish(&from, &(struct publishing){.qos = 1, .id = 2, .topic = "all"});
        uint64_t before = counters(w).sessions_overfull, turns = 0;
        assert_true(before <= EACH_TURN);
        while (counters(w).sessions_overfull < MANY) {
            assert_true(turns++ < 20);
            w->now += 10; /* the publisher tries again, and asks whom it has not asked */
            for (unsigned i = 0; i < shards; i++) {
                turn_begin(w, i);
                turn_mail(w, i);
            }
            const uint64_t now = counters(w).sessions_overfull;
            assert_true(now - before <= (uint64_t)EACH_TURN * shards);
            before = now;
        }
        assert_true(turns >= MANY / EACH_TURN);
        later(w, 10);
        later(w, 10);
        expect(&from, "PUBACK id=2");
        assert_true(strstr(from.line, "reason=0x97") == NULL);
        peer_close(&from);
        world_close(w);
    }
}

/* Nobody is answered before the end of the session is on the disk: a crash would bring it back without the message. */
static void the_end_is_durable_before_the_answer(void **state) {
    (void)state;
    struct world *w = world_small(1, 1);
    struct peer from, second;
    absent(w, "away", PROTOCOL_311, "t");
    joined(&from, w, PROTOCOL_5, "from", false);
    joined(&second, w, PROTOCOL_5, "second", false);
    publish(&from, 1, 1, "t");
    expect(&from, "PUBACK id=1");
    w->at_once = false;
    lsn_t durable = w->store.last;
    publish(&from, 1, 2, "t");
    publish(&second, 1, 1, "t");
    assert_int_equal(fake_newest(&w->store, RECORD_SESSION_END), durable + 1);
    assert_int_equal(w->store.last, durable + 1); /* the messages need no record */
    expect_silence(&from);
    expect_silence(&second);
    durable_all(w);
    expect(&from, "PUBACK id=2 reason=0x10");
    expect(&second, "PUBACK id=1 reason=0x10");
    peer_close(&from);
    peer_close(&second);
    world_close(w);
}

/* The will that its delay has kept goes out with the session. */
static void its_will_is_published(void **state) {
    (void)state;
    struct world *w = world_small(1, 1);
    struct peer to, from, watcher;
    joined(&watcher, w, PROTOCOL_5, "watcher", false);
    subscribed(&watcher, "w", 1);
    peer_open(&to, w, PROTOCOL_5);
    say_connect(&to, &(struct connecting){.id = "to", .expiry_s = 3600, .will = "w", .will_delay_s = 600});
    turn(w);
    expect(&to, "CONNACK");
    subscribed(&to, "t", 1);
    peer_close(&to);
    joined(&from, w, PROTOCOL_5, "from", false);
    publish(&from, 1, 1, "t");
    expect_silence(&watcher);
    publish(&from, 1, 2, "t");
    expect(&from, "PUBACK id=1");
    expect(&from, "PUBACK id=2");
    expect(&watcher, "PUBLISH");
    peer_close(&watcher);
    peer_close(&from);
    world_close(w);
}

/* ---- connected ---- */

static void filled(struct peer *to, struct peer *from, struct world *w, bool durable) {
    joined(to, w, PROTOCOL_5, client_on(w, 0, "to"), durable);
    subscribed(to, "t", 1);
    joined(from, w, PROTOCOL_5, client_on(w, 1, "from"), false);
    publish(from, 1, 1, "t");
    publish(from, 1, 2, "t");
    expect(from, "PUBACK id=1");
    expect(from, "PUBACK id=2");
}

static void who_takes_nothing_is_disconnected(void **state) {
    (void)state;
    for (unsigned durable = 0; durable <= 1; durable++) {
        struct world *w = world_small(2, 1);
        struct peer to, from;
        filled(&to, &from, w, durable != 0);
        publish(&from, 1, 3, "t");
        for (unsigned i = 0; i < 14; i++) {
            tick(w, 1000);
        }
        expect_silence(&from);
        expect(&to, "PUBLISH"); /* it takes bytes, but acknowledges nothing */
        expect_silence(&to);
        tick(w, 1000);
        later(w, 10);
        later(w, 10);
        expect(&to, "DISCONNECT reason=0x97");
        expect(&to, "closed");
        expect(&from, "PUBACK id=3 reason=0x10");
        assert_int_equal(counters(w).stalled, 1);
        assert_int_equal(counters(w).sessions_overfull, durable);
        peer_close(&to);
        peer_close(&from);
        world_close(w);
    }
}

/* Nobody is closed who makes progress, however full its queue is, as long as no publisher waits too long for it. */
static void who_goes_on_is_not(void **state) {
    (void)state;
    struct world *w = world_small(2, 1);
    struct peer to, from;
    filled(&to, &from, w, true);
    for (packet_id_t id = 3; id < 10; id++) {
        publish(&from, 1, id, "t");
        for (unsigned i = 0; i < 10; i++) {
            tick(w, 1000);
        }
        expect_silence(&from);
        expect(&to, "PUBLISH");
        say_ack(&to, PACKET_PUBACK, (packet_id_t)(id - 2), 0);
        later(w, 10);
        later(w, 10);
        expect(&from, "PUBACK");
        assert_null(strstr(from.line, "0x97"));
    }
    assert_int_equal(counters(w).stalled, 0);
    assert_int_equal(wish(&to), CONN_READ);
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

/* One that acknowledges now and then, but lets a publisher wait for ever, is no better. */
static void who_lets_a_publisher_wait_too_long_is_disconnected(void **state) {
    (void)state;
    struct world *w = world_small(1, 1);
    struct peer to, from[3];
    char name[8];
    joined(&to, w, PROTOCOL_5, "to", true);
    subscribed(&to, "t", 1);
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "f%u", i);
        joined(&from[i], w, PROTOCOL_5, name, false);
        for (packet_id_t id = 1; id <= 20; id++) {
            say_publish(&from[i], &(struct publishing){.qos = 1, .id = id, .topic = "t"});
        }
    }
    unsigned waited = 0;
    for (packet_id_t id = 1; counters(w).stalled == 0 && waited < 100; id++, waited += 10) {
        tick(w, 5000);
        tick(w, 5000);
        say_ack(&to, PACKET_PUBACK, id, 0);
        turn(w);
    }
    assert_in_range(waited, 10, 40);
    assert_int_equal(counters(w).stalled, 1);
    assert_int_equal(counters(w).sessions_overfull, 1);
    later(w, 10);
    later(w, 10);
    assert_int_equal(counters(w).publish_received, 60);
    peer_close(&to);
    for (unsigned i = 0; i < 3; i++) {
        peer_close(&from[i]);
    }
    world_close(w);
}

/* A client that comes back while a publisher waits has as long as any other: what was waited before does not count. It
 * goes on where it reads, and where it takes nothing it is closed by its own time. */
static void who_comes_back_has_its_own_time(void **state) {
    (void)state;
    for (unsigned run = 0; run < 8; run++) {
        const bool refuses = (run & 1) != 0, takes_over = (run & 2) != 0, reads = (run & 4) != 0;
        struct world *w = world_new();
        struct peer to, from, again;
        w->options.queue_messages_max = 1;
        w->options.inflight_max = 1;
        w->options.queue_policy = refuses ? QUEUE_REFUSE : QUEUE_END_SESSION;
        w->options.refuse_close_ms = 3600000;
        w->at_once = true;
        world_open(w, 1);
        joined(&to, w, PROTOCOL_5, "to", true);
        subscribed(&to, "t", 1);
        joined(&from, w, PROTOCOL_311, "from", true);
        for (packet_id_t id = 1; id <= 3; id++) {
            say_publish(&from, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
            turn(w);
        }
        expect(&from, "PUBACK id=1");
        expect(&from, "PUBACK id=2");
        for (unsigned i = 0; i < 14; i++) {
            tick(w, 1000);
        }
        if (!takes_over) {
            peer_close(&to);
        }
        join(&again, w, PROTOCOL_5, "to", true);
        turn(w);
        expect(&again, "CONNACK present");
        expect(&again, "PUBLISH");
        for (unsigned i = 0; i < 14; i++) { /* the publisher has waited for 28 s in the end */
            tick(w, 1000);
        }
        expect_silence(&from);
        expect_silence(&again);
        if (reads) {
            say_ack(&again, PACKET_PUBACK, 1, 0);
            turn(w);
            later(w, 10);
            expect(&from, "PUBACK id=3");
            expect(&again, "PUBLISH");
        } else {
            tick(w, 1000);
            expect(&again, "DISCONNECT reason=0x97");
        }
        assert_int_equal(counters(w).stalled, !reads);
        assert_int_equal(counters(w).sessions_overfull, !reads && !refuses);
        if (takes_over) {
            peer_close(&to);
        }
        peer_close(&again);
        peer_close(&from);
        world_close(w);
    }
}

/* With a longer patience for the subscriber the publisher's own runs out first: 0x97, and it goes on. */
static void a_5_0_publisher_is_refused_in_the_end(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer to, from;
    w->options.queue_messages_max = 1;
    w->options.inflight_max = 1;
    w->options.stall_ms = 60000;
    w->at_once = true;
    world_open(w, 2);
    filled(&to, &from, w, true);
    publish(&from, 1, 3, "t");
    say_ping(&from);
    expect(&from, "PINGRESP");
    for (unsigned i = 0; i < 29; i++) {
        tick(w, 1000);
    }
    expect_silence(&from);
    tick(w, 1000);
    expect(&from, "PUBACK id=3 reason=0x97");
    assert_int_equal(wish(&from), CONN_READ);
    assert_int_equal(counters(w).publish_refused, 1);
    publish(&from, 1, 4, "u");
    expect(&from, "PUBACK id=4 reason=0x10");
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

/* A client that fills its own queue and takes nothing: it ends, in the middle of its own PUBLISH. */
static void who_fills_its_own_queue_ends_itself(void **state) {
    (void)state;
    for (unsigned run = 0; run < 4; run++) {
        const unsigned durable = run % 2, stays = run == 3;
        struct world *w = world_new();
        struct peer p;
        w->options.queue_messages_max = 1;
        w->options.inflight_max = 1;
        w->options.queue_policy = run < 2 ? QUEUE_END_SESSION : QUEUE_REFUSE;
        w->at_once = true;
        world_open(w, 1);
        joined(&p, w, PROTOCOL_5, "p", durable != 0);
        subscribed(&p, "t", 1);
        for (packet_id_t id = 1; id <= 9; id++) {
            say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
        }
        tick(w, 1000);
        for (unsigned i = 0; i < 16; i++) {
            tick(w, run < 2 ? 1000 : 40000); /* a machine that was asleep: a refusal is due, too */
        }
        const char *line = hear(&p);
        while (strncmp(line, "PUB", 3) == 0) {
            line = hear(&p);
        }
        assert_non_null(strstr(line, "DISCONNECT reason=0x97"));
        assert_int_equal(counters(w).sessions, stays);
        assert_int_equal(counters(w).queued > 0, stays);
        peer_close(&p);
        world_close(w);
    }
}

/* However many wait and however little a turn does, each is tried once every few milliseconds, and the shard rests. */
static void tries_come_to_rest(void **state) {
    (void)state;
    enum { WAITING = 5 };
    struct world *w = world_new();
    struct peer from[WAITING], to;
    w->options.queue_messages_max = 1;
    w->options.queue_policy = QUEUE_REFUSE;
    w->options.turn_points = 1;
    w->at_once = true;
    world_open(w, 1);
    absent(w, "away", PROTOCOL_311, "t");
    for (unsigned i = 0; i < WAITING; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "f%u", i);
        join(&from[i], w, PROTOCOL_311, name, false);
        for (unsigned k = 0; k < 3 * WAITING; k++) {
            later(w, 10);
        }
        expect(&from[i], "CONNACK");
        publish(&from[i], 1, 1, "t");
    }
    for (unsigned round = 0; round < 3; round++) {
        later(w, 100);
        struct turn_result result = {.more = true};
        unsigned turns = 0;
        while (result.more && turns < 100) {
            result = turn_end(w, 0);
            turn_begin(w, 0);
            turns++;
        }
        assert_in_range(turns, WAITING / 2, 4 * WAITING);
    }
    join(&to, w, PROTOCOL_311, "away", true);
    for (packet_id_t i = 0; i <= WAITING; i++) {
        for (unsigned k = 0; k < 3 * WAITING; k++) {
            later(w, 10);
        }
        expect(&to, i == 0 ? "CONNACK" : "PUBLISH");
        if (i > 0) {
            say_ack(&to, PACKET_PUBACK, i, 0);
        }
    }
    peer_close(&to);
    for (unsigned i = 0; i < WAITING; i++) {
        peer_close(&from[i]);
    }
    world_close(w);
}

/* ---- other owners ---- */

static void joined_from(struct peer *p, struct world *w, const char *from, const char *id) {
    peer_open_from(p, w, PROTOCOL_311, from);
    say_connect(p, &(struct connecting){.id = id, .clean = true});
    for (unsigned i = 0; i < 3; i++) {
        later(w, 10);
    }
    expect(p, "CONNACK");
}

/* Who fills the queue of its own client waits; others do not, until it is disconnected for what it is. */
static void nobody_waits_for_a_queue_of_others(void **state) {
    (void)state;
    for (unsigned run = 0; run < 4; run++) {
        const bool refuses = (run & 1) != 0, durable = (run & 2) != 0;
        struct world *w = world_new();
        struct peer to, from, other;
        packet_id_t id;
        w->options.queue_messages_max = 80; /* and 20 for others */
        w->options.inflight_max = 1;
        w->options.queue_policy = refuses ? QUEUE_REFUSE : QUEUE_END_SESSION;
        w->at_once = true;
        world_open(w, 2);
        joined(&to, w, PROTOCOL_5, client_on(w, 0, "to"), durable);
        subscribed(&to, "#", 1);
        joined(&from, w, PROTOCOL_311, client_on(w, 1, "from"), false);
        joined_from(&other, w, "192.0.2.7:1883", client_on(w, 1, "other"));
        for (id = 1; id <= 81; id++) {
            publish(&from, 1, id, "t");
            expect(&from, "PUBACK");
        }
        publish(&from, 1, id, "t");
        expect_silence(&from);
        for (id = 1; id <= 12; id++) {
            publish(&other, 1, id, "u");
            expect(&other, "PUBACK");
            tick(w, 980);
        }
        expect_silence(&from);
        assert_int_equal(counters(w).stalled, 0);
        tick(w, 4000);
        later(w, 10);
        later(w, 10);
        assert_int_equal(counters(w).stalled, 1);
        assert_int_equal(counters(w).sessions_overfull, durable && !refuses);
        publish(&other, 1, 20, "u");
        if (durable && refuses) { /* its owner has chosen that; it is away now */
            expect_silence(&other);
        } else {
            expect(&from, "PUBACK");
            expect(&other, "PUBACK");
        }
        peer_close(&to);
        peer_close(&from);
        peer_close(&other);
        world_close(w);
    }
}

/* What is let past is bounded: by the quarter, and for who publishes much by its pace. It waits like the rest. */
static void who_publishes_much_waits_for_others_too(void **state) {
    (void)state;
    static char large[100000];
    memset(large, 'x', sizeof large - 1);
    for (unsigned much = 0; much <= 1; much++) {
        struct world *w = world_new();
        struct peer to, from, other;
        w->options.queue_messages_max = 40;
        w->options.inflight_max = 1;
        w->at_once = true;
        world_open(w, 1);
        joined(&to, w, PROTOCOL_5, "to", true);
        subscribed(&to, "#", 1);
        joined(&from, w, PROTOCOL_311, "from", false);
        for (packet_id_t id = 1; id <= 41; id++) {
            publish(&from, 1, id, "t");
            expect(&from, "PUBACK");
        }
        joined_from(&other, w, "192.0.2.7:1883", "other");
        unsigned past = 0;
        for (packet_id_t id = 1; id <= 20; id++) {
            say_publish(&other,
                        &(struct publishing){.qos = 1, .id = id, .topic = "u", .payload = much != 0 ? large : "x"});
        }
        later(w, 10);
        later(w, 10);
        while (strncmp(hear(&other), "PUBACK", 6) == 0) {
            past++;
        }
        assert_in_range(past, much != 0 ? 2 : 10, much != 0 ? 4 : 10);
        tick(w, 1000);
        while (strncmp(hear(&other), "PUBACK", 6) == 0) {
            past++;
        }
        assert_in_range(past, much != 0 ? 4 : 10, much != 0 ? 7 : 10);
        peer_close(&to);
        peer_close(&from);
        peer_close(&other);
        world_close(w);
    }
}

/* A publisher that has waited long for one queue has not waited for the next. */
static void what_was_waited_for_another_queue_does_not_count(void **state) {
    (void)state;
    struct world *w = world_small(1, 1);
    struct peer first, second, from, both;
    joined(&first, w, PROTOCOL_5, "first", true);
    subscribed(&first, "a", 1);
    joined(&second, w, PROTOCOL_5, "second", true);
    subscribed(&second, "b", 1);
    joined(&from, w, PROTOCOL_5, "from", true);
    joined(&both, w, PROTOCOL_5, "both", true);
    subscribed(&first, "both", 1);
    subscribed(&second, "both", 1);
    publish(&from, 1, 1, "a");
    publish(&from, 1, 2, "a");
    publish(&both, 1, 1, "both");
    expect_silence(&both);
    for (unsigned i = 0; i < 14; i++) {
        tick(w, 1000);
    }
    publish(&from, 1, 3, "b");
    publish(&from, 1, 4, "b"); /* now the second is full as well */
    say_ack(&first, PACKET_PUBACK, 1, 0);
    for (unsigned i = 0; i < 14; i++) {
        tick(w, 1000);
    }
    expect_silence(&both);
    assert_int_equal(counters(w).stalled, 0); /* 28 s in all, and 14 for the second */
    say_ack(&second, PACKET_PUBACK, 1, 0);
    later(w, 10);
    later(w, 10);
    expect(&both, "PUBACK id=1 reason=0x00");
    peer_close(&first);
    peer_close(&second);
    peer_close(&from);
    peer_close(&both);
    world_close(w);
}

/* ---- refuse ---- */

/* The operator prefers the session: it stays, and 5.0 publishers are told at once; but nobody waits for one who takes
 * nothing. */
static void by_policy_the_session_stays(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer to, from;
    w->options.queue_messages_max = 1;
    w->options.inflight_max = 1;
    w->options.queue_policy = QUEUE_REFUSE;
    w->at_once = true;
    world_open(w, 2);
    filled(&to, &from, w, true);
    publish(&from, 1, 3, "t");
    expect_silence(&from); /* it is connected */
    for (unsigned i = 0; i < 15; i++) {
        tick(w, 1000);
    }
    later(w, 10);
    later(w, 10);
    expect(&from, "PUBACK id=3 reason=0x97"); /* it is not any more */
    assert_int_equal(counters(w).stalled, 1);
    assert_int_equal(counters(w).sessions_overfull, 0);
    publish(&from, 1, 4, "t");
    expect(&from, "PUBACK id=4 reason=0x97");
    assert_non_null(strstr(w->log, "publishers into it are refused"));
    peer_close(&to);
    joined(&to, w, PROTOCOL_5, client_on(w, 0, "to"), true);
    expect(&to, "PUBLISH");
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

/* A session that is not durable has its queue in memory, and a bound of its own. */
static void a_queue_in_memory_is_smaller(void **state) {
    (void)state;
    for (unsigned durable = 0; durable <= 1; durable++) {
        struct world *w = world_new();
        struct peer to, from;
        char payload[401];
        memset(payload, 'x', 400);
        payload[400] = '\0';
        w->options.queue_memory_max = 2000;
        w->options.inflight_max = 1;
        w->at_once = true;
        world_open(w, 1);
        joined(&to, w, PROTOCOL_5, "to", durable != 0);
        subscribed(&to, "t", 1);
        joined(&from, w, PROTOCOL_5, "from", false);
        for (packet_id_t id = 1; id <= 20; id++) {
            say_publish(&from, &(struct publishing){.qos = 1, .id = id, .topic = "t", .payload = payload});
        }
        turn(w);
        unsigned taken = 0;
        while (strncmp(hear(&from), "PUBACK", 6) == 0) {
            taken++;
        }
        assert_int_equal(taken, durable != 0 ? 20 : 5);
        peer_close(&to);
        peer_close(&from);
        world_close(w);
    }
}

/* What has expired takes no room: the session stays, in memory and in the store's queue. */
static void what_has_expired_is_not_in_the_way(void **state) {
    (void)state;
    for (int folded = 0; folded <= 1; folded++) {
        for (int refuses = 0; refuses <= 1; refuses++) {
            struct world *w = world_new();
            struct peer from, to;
            w->options.queue_messages_max = 3;
            w->options.window_messages = 1;
            w->options.queue_policy = refuses ? QUEUE_REFUSE : QUEUE_END_SESSION;
            w->at_once = true;
            world_open(w, 1);
            absent(w, "away", PROTOCOL_5, "t");
            joined(&from, w, PROTOCOL_5, "from", true);
            for (packet_id_t id = 1; id <= 3; id++) {
                say_publish(&from, &(struct publishing){.qos = 1, .id = id, .topic = "t", .expiry_s = 5});
                turn(w);
                expect(&from, "PUBACK");
            }
            if (folded) {
                fold_all(w);
            }
            later(w, 6000);
            publish(&from, 1, 4, "t"); /* it finds the queue full, and that is looked at */
            (void)hear(&from);
            publish(&from, 1, 5, "t");
            expect(&from, "PUBACK id=5 reason=0x00");
            assert_int_equal(counters(w).messages_expired, 3);
            assert_int_equal(fake_count(&w->store, RECORD_DROPPED), 3);
            joined(&to, w, PROTOCOL_5, "away", true);
            expect(&to, "PUBLISH");
            peer_close(&to);
            peer_close(&from);
            world_close(w);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_session_of_who_is_away_ends_and_others_go_on),
        cmocka_unit_test(many_full_queues_end_at_once),
        cmocka_unit_test(very_many_full_queues_end_over_several_turns),
        cmocka_unit_test(what_has_expired_is_not_in_the_way),
        cmocka_unit_test(the_end_is_durable_before_the_answer),
        cmocka_unit_test(its_will_is_published),
        cmocka_unit_test(who_takes_nothing_is_disconnected),
        cmocka_unit_test(who_goes_on_is_not),
        cmocka_unit_test(who_lets_a_publisher_wait_too_long_is_disconnected),
        cmocka_unit_test(who_comes_back_has_its_own_time),
        cmocka_unit_test(a_5_0_publisher_is_refused_in_the_end),
        cmocka_unit_test(who_fills_its_own_queue_ends_itself),
        cmocka_unit_test(tries_come_to_rest),
        cmocka_unit_test(nobody_waits_for_a_queue_of_others),
        cmocka_unit_test(who_publishes_much_waits_for_others_too),
        cmocka_unit_test(what_was_waited_for_another_queue_does_not_count),
        cmocka_unit_test(by_policy_the_session_stays),
        cmocka_unit_test(a_queue_in_memory_is_smaller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
