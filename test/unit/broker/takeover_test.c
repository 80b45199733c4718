/* A client that is back before its old connection is over: what it sent last counts, and the old one is told. Bytes
 * that are said to an old connection while the new CONNECT waits are those that the system still had of it. */
#include "world.h"

#include "broker/state.h"

struct meeting {
    struct world *w;
    struct peer old, new, watcher;
};

/* The old connection with a will on "w", and somebody who watches "w" and "t". The session outlives a connection for
 * `expiry_s`. */
static struct meeting meeting_in(struct world *w, enum protocol protocol, uint32_t expiry_s) {
    struct meeting m = {.w = w};
    joined(&m.watcher, w, PROTOCOL_311, "watcher", false);
    subscribed(&m.watcher, "w", 0);
    subscribed(&m.watcher, "t", 2);
    peer_open(&m.old, w, protocol);
    say_connect(&m.old, &(struct connecting){.id = "p", .clean = expiry_s == 0, .expiry_s = expiry_s, .will = "w"});
    durable_all(w);
    expect(&m.old, "CONNACK");
    return m;
}

static struct meeting meeting(enum protocol protocol, uint32_t expiry_s) {
    return meeting_in(world_of(1), protocol, expiry_s);
}

static void come_back(struct meeting *m) {
    join(&m->new, m->w, m->old.protocol, "p", true);
    expect_silence(&m->new);
    assert_int_equal(wish(&m->new), CONN_PAUSE);
    assert_int_equal(wish(&m->old), CONN_DRAIN);
}

static void drained(struct meeting *m) {
    turn(m->w);
    durable_all(m->w);
}

static void meeting_end(struct meeting *m) {
    peer_close(&m->old);
    peer_close(&m->new);
    peer_close(&m->watcher);
    world_close(m->w);
}

/* ---- what was sent last ---- */

static void the_last_messages_and_the_goodbye_count(void **state) {
    (void)state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        for (int five = 0; five <= 1; five++) {
            struct meeting m = meeting(five ? PROTOCOL_5 : PROTOCOL_311, 60);
            come_back(&m);
            say_publish(&m.old, &(struct publishing){.qos = qos, .id = qos > 0 ? 1 : 0, .topic = "t"});
            say_disconnect(&m.old, 0);
            drained(&m);
            expect(&m.watcher, "PUBLISH"); /* and not the will */
            expect_silence(&m.watcher);
            expect(&m.new, "CONNACK present");
            assert_int_equal(counters(m.w).sessions_taken_over, 0); /* there was nothing to take */
            meeting_end(&m);
        }
    }
}

static void a_goodbye_that_ends_the_session_counts(void **state) {
    (void)state;
    struct meeting m = meeting(PROTOCOL_5, 60);
    struct buf b = {NULL, 0, 0};
    struct packet_disconnect packet = {.properties.present = PROPERTY_SESSION_EXPIRY_INTERVAL};
    come_back(&m);
    packet_encode_disconnect(&b, PROTOCOL_5, &packet);
    say_buf(&m.old, &b);
    drained(&m);
    expect(&m.new, "CONNACK new");
    expect_silence(&m.watcher);
    meeting_end(&m);
}

static void an_end_without_goodbye_publishes_the_will(void **state) {
    (void)state;
    for (int closes = 0; closes <= 1; closes++) {
        struct meeting m = meeting(PROTOCOL_5, 60);
        come_back(&m);
        say_publish(&m.old, &(struct publishing){.topic = "t"});
        if (closes) {
            peer_close(&m.old);
        }
        drained(&m);
        expect(&m.watcher, "PUBLISH qos=0 topic=\"t\"");
        expect(&m.watcher, "PUBLISH qos=0 topic=\"w\"");
        expect(&m.new, "CONNACK present");
        meeting_end(&m);
    }
}

/* Half a packet was never sent. */
static void half_a_packet_is_nothing(void **state) {
    (void)state;
    struct meeting m = meeting(PROTOCOL_311, 60);
    come_back(&m);
    say_bytes(&m.old, SPAN("\x30\x05\x00\x01t"));
    drained(&m);
    expect(&m.watcher, "PUBLISH qos=0 topic=\"w\"");
    expect(&m.new, "CONNACK present");
    expect(&m.old, "closed");
    meeting_end(&m);
}

/* Many who come back at once do so over several turns. */
static void many_are_taken_over_some_in_each_turn(void **state) {
    (void)state;
    enum { CLIENTS = 50, EACH_TURN = 32 };
    struct world *w = world_of(1);
    struct peer old[CLIENTS], new[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%u", i);
        joined(&old[i], w, PROTOCOL_311, id, false);
        durable_all(w);
    }
    turn_begin(w, 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%u", i);
        join(&new[i], w, PROTOCOL_311, id, false);
    }
    for (unsigned turns = 1; turns <= 2; turns++) {
        assert_true(turn_end(w, 0).more == (turns < 2));
        uint64_t done = counters(w).sessions_taken_over;
        assert_true(done == CLIENTS); /* the old ones are told at once */
        unsigned live = 0;
        for (unsigned i = 0; i < CLIENTS; i++) {
            live += wish(&new[i]) == CONN_READ;
        }
        assert_int_equal(live, turns * EACH_TURN < CLIENTS ? turns * EACH_TURN : CLIENTS);
        turn_begin(w, 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        expect(&new[i], "CONNACK");
        peer_close(&new[i]);
        peer_close(&old[i]);
    }
    world_close(w);
}

/* ---- an old connection that is not read from ---- */

static void a_busy_disk_does_not_hide_the_goodbye(void **state) {
    (void)state;
    struct meeting m = meeting(PROTOCOL_5, 60);
    m.w->store.pressure = STORE_BUSY;
    turn(m.w);
    say_publish(&m.old, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
    assert_int_equal(wish(&m.old), CONN_PAUSE);
    say_publish(&m.old, &(struct publishing){.qos = 1, .id = 2, .topic = "t"});
    come_back(&m);
    say_publish(&m.old, &(struct publishing){.topic = "t"});
    say_disconnect(&m.old, 0);
    drained(&m);
    expect(&m.watcher, "PUBLISH qos=1 id=1");
    expect(&m.watcher, "PUBLISH qos=1 id=2");
    expect(&m.watcher, "PUBLISH qos=0 topic=\"t\"");
    expect_silence(&m.watcher);
    expect(&m.new, "CONNACK present");
    meeting_end(&m);
}

static void a_client_that_does_not_read_may_say_goodbye(void **state) {
    (void)state;
    struct world *w = world_new();
    w->options.outbox_bytes_max = 4;
    world_open(w, 1);
    struct meeting m = meeting_in(w, PROTOCOL_5, 60);
    for (int i = 0; i < 5; i++) {
        say_ping(&m.old);
    }
    assert_int_equal(wish(&m.old), CONN_PAUSE);
    come_back(&m);
    say_ping(&m.old);
    say_disconnect(&m.old, 0);
    drained(&m);
    expect_silence(&m.watcher);
    expect(&m.new, "CONNACK present");
    meeting_end(&m);
}

static void behind_a_refused_message_the_goodbye_counts(void **state) {
    (void)state;
    struct world *w = world_new();
    w->options.queue_messages_max = 1;
    w->options.inflight_max = 1;
    world_open(w, 1);
    struct meeting m = meeting_in(w, PROTOCOL_311, 60);
    for (packet_id_t id = 1; id <= 3; id++) {
        say_publish(&m.old, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
    }
    say_publish(&m.old, &(struct publishing){.qos = 1, .id = 4, .topic = "t"});
    come_back(&m);
    say_disconnect(&m.old, 0);
    drained(&m);
    expect(&m.watcher, "PUBLISH qos=1 id=1");
    expect_silence(&m.watcher); /* no will */
    expect(&m.new, "CONNACK present");
    meeting_end(&m);
}

/* It cannot keep the new one waiting by what it sends behind a message that is refused. */
static void a_flood_behind_a_refused_message_ends(void **state) {
    (void)state;
    struct world *w = world_new();
    w->options.queue_messages_max = 1;
    w->options.inflight_max = 1;
    w->options.packet.packet_bytes_max = 1000;
    world_open(w, 1);
    struct meeting m = meeting_in(w, PROTOCOL_311, 60);
    char body[500] = {0};
    memset(body, 'x', sizeof body - 1);
    for (packet_id_t id = 1; id <= 3; id++) {
        say_publish(&m.old, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
    }
    come_back(&m);
    for (packet_id_t id = 4; id < 200 && wish(&m.old) == CONN_DRAIN; id++) {
        say_publish(&m.old, &(struct publishing){.qos = 1, .id = id, .topic = "t", .payload = body});
    }
    assert_int_equal(wish(&m.old), CONN_CLOSE);
    drained(&m);
    expect(&m.new, "CONNACK present");
    meeting_end(&m);
}

/* ---- what the old connection is told ---- */

/* What waits for the disk is cut off, what may leave is not, and the reason comes behind it. */
static void it_is_told_also_when_something_waits_for_it(void **state) {
    (void)state;
    for (int partly = 0; partly <= 1; partly++) {
        struct meeting m = meeting(PROTOCOL_5, 60);
        subscribed(&m.old, "t", 1);
        say_publish(&m.watcher, &(struct publishing){.topic = "t", .payload = "a longer message"});
        if (partly) {
            peer_read(&m.old, 5);
        }
        say_publish(&m.watcher, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
        join(&m.new, m.w, PROTOCOL_5, "p", true);
        turn(m.w);
        expect(&m.old, "PUBLISH qos=0");
        expect(&m.old, "DISCONNECT reason=0x8e");
        expect(&m.old, "closed");
        durable_all(m.w);
        expect(&m.new, "CONNACK present");
        expect(&m.new, "PUBLISH qos=1 dup id=1");
        meeting_end(&m);
    }
}

/* B9: what its socket has not taken when the new connection goes on never leaves. */
static void what_its_socket_did_not_take_never_leaves(void **state) {
    (void)state;
    struct meeting m = meeting(PROTOCOL_5, 60);
    subscribed(&m.old, "t", 0);
    say_publish(&m.watcher, &(struct publishing){.topic = "t"});
    come_back(&m);
    m.w->blocked = true;
    drained(&m);
    expect(&m.new, "CONNACK present");
    assert_int_equal(wish(&m.old), CONN_ABORT);
    expect(&m.old, "closed");
    meeting_end(&m);
}

static void nothing_comes_before_connack(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer old, new;
    join(&old, w, PROTOCOL_5, "p", true);
    join(&new, w, PROTOCOL_5, "p", true);
    turn(w);
    expect(&old, "closed");
    durable_all(w);
    expect(&new, "CONNACK present");
    peer_close(&old);
    peer_close(&new);
    world_close(w);
}

/* ---- many ---- */

enum { MANY = 50 };

/* Each is a connection of its own, in order: what each sent behind its CONNECT counts. */
static void many_come_one_after_the_other(void **state) {
    (void)state;
    struct world *w = world_new();
    w->options.takeover_rate = 0;
    world_open(w, 1);
    struct meeting m = meeting_in(w, PROTOCOL_5, 60);
    struct peer heirs[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        join(&heirs[i], m.w, PROTOCOL_5, "p", true);
        say_publish(&heirs[i], &(struct publishing){.topic = "t"});
    }
    peer_close(&heirs[10]); /* its turn had not come */
    drained(&m);
    expect(&m.old, "DISCONNECT reason=0x8e");
    expect(&m.watcher, "PUBLISH qos=0 topic=\"w\"");
    for (unsigned i = 0; i < MANY - 1; i++) {
        expect(&m.watcher, "PUBLISH qos=0 topic=\"t\"");
        if (i != 10) {
            expect(&heirs[i], "closed");
        }
    }
    expect_silence(&m.watcher);
    expect(&heirs[MANY - 1], "CONNACK present");
    assert_int_equal(counters(m.w).sessions_taken_over, MANY - 1);
    for (unsigned i = 0; i < MANY; i++) {
        peer_close(&heirs[i]);
    }
    meeting_end(&m);
}

/* A CONNECT that comes when the old connection has ended and its heir has not gone on yet is later than that: it has
 * the session at last, also when the session itself ended. */
static void who_comes_before_the_heir_goes_on_is_behind_it(void **state) {
    (void)state;
    for (unsigned kind = 0; kind < 8; kind++) {
        bool lasts = (kind & 1) != 0, clean = (kind & 2) != 0, leaves = (kind & 4) != 0;
        struct meeting m = meeting(PROTOCOL_5, lasts ? 60 : 0);
        struct peer last;
        come_back(&m);
        peer_close(&m.old);
        peer_open(&last, m.w, PROTOCOL_5);
        say_connect(&last, &(struct connecting){.id = "p", .clean = clean, .expiry_s = 60});
        if (leaves) {
            peer_close(&m.new); /* while it is the heir whose turn comes */
        }
        drained(&m);
        if (!leaves) {
            expect(&m.new, "closed");
        }
        expect(&last, "CONNACK");
        assert_int_equal(wish(&last), CONN_READ);
        assert_int_equal(counters(m.w).sessions_taken_over, leaves ? 0 : 1);
        peer_close(&last);
        meeting_end(&m);
    }
}

/* Who is back in time has the session, however late its turn comes. */
static void a_session_does_not_expire_before_the_turn_of_its_heir(void **state) {
    (void)state;
    for (int64_t late_ms = 59000; late_ms <= 62000; late_ms += 1500) {
        struct meeting m = meeting(PROTOCOL_5, 60);
        come_back(&m);
        peer_close(&m.old);
        struct shard *shard = world_shard(m.w, 0);
        (void)shard_turn_end(shard); /* as when more heirs are there than go on in one turn */
        m.w->wall += late_ms;
        shard_turn_begin(shard, m.w->now, m.w->wall, store_durable(&m.w->store.store));
        shard_tick(shard);
        drained(&m);
        expect(&m.new, "CONNACK present");
        assert_int_equal(counters(m.w).sessions_expired, 0);
        meeting_end(&m);
    }
}

/* ---- too often ---- */

static struct meeting contested(enum protocol protocol, uint32_t rate) {
    struct world *w = world_new();
    w->options.takeover_rate = rate;
    world_open(w, 1);
    return meeting_in(w, protocol, 60);
}

static uint64_t refused(const struct world *w) {
    return quota_all(broker_quota(w->broker))->refused[QUOTA_TAKEOVER_RATE];
}

static void takes_over(struct meeting *m, struct peer *next) {
    join(next, m->w, m->old.protocol, "p", true);
    drained(m);
    if (m->old.protocol == PROTOCOL_5) {
        expect(&m->old, "DISCONNECT reason=0x8e");
    }
    expect(&m->old, "closed");
    expect(next, "CONNACK present");
    peer_close(&m->old);
    m->old = *next;
}

/* One waits, and is served in its time; those that come meanwhile are refused; who is there is served until then. */
static void a_client_id_is_taken_over_so_often_and_no_more(void **state) {
    (void)state;
    for (int five = 0; five <= 1; five++) {
        struct meeting m = contested(five ? PROTOCOL_5 : PROTOCOL_311, 2);
        struct peer next[5];
        takes_over(&m, &next[0]);
        takes_over(&m, &next[1]);
        join(&next[2], m.w, m.old.protocol, "p", true);
        for (unsigned i = 3; i <= 4; i++) {
            join(&next[i], m.w, m.old.protocol, "p", true);
            drained(&m);
            expect(&next[i], five ? "CONNACK new reason=0x9f" : "CONNACK new reason=0x03");
            expect(&next[i], "closed");
        }
        assert_int_equal(refused(m.w), 2);
        later(m.w, 400);
        expect_silence(&next[2]);
        say_ping(&m.old);
        expect(&m.old, "PINGRESP");
        later(m.w, 100);
        drained(&m);
        expect(&next[2], "CONNACK present");
        if (five) {
            expect(&m.old, "DISCONNECT reason=0x8e");
        }
        expect(&m.old, "closed");
        assert_int_equal(counters(m.w).sessions_taken_over, 3);
        peer_close(&next[3]);
        peer_close(&next[4]);
        m.new = next[2];
        meeting_end(&m);
    }
}

/* As many as may have it at once wait at once, whatever they are. */
static void those_who_come_in_one_turn_are_bounded_too(void **state) {
    (void)state;
    enum { RATE = 4 };
    struct meeting m = contested(PROTOCOL_5, RATE);
    struct peer heirs[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        join(&heirs[i], m.w, PROTOCOL_5, "p", true);
    }
    drained(&m);
    for (unsigned i = 0; i < MANY; i++) {
        expect(&heirs[i], i >= RATE ? "CONNACK new reason=0x9f" : i == RATE - 1 ? "CONNACK present" : "closed");
        peer_close(&heirs[i]);
    }
    assert_int_equal(refused(m.w), MANY - RATE);
    assert_int_equal(counters(m.w).sessions_taken_over, RATE);
    meeting_end(&m);
}

/* A client whose connection ends is not thrown out: it comes back as often as it likes, and who waits goes on then. */
static void who_has_gone_is_not_taken_over(void **state) {
    (void)state;
    struct meeting m = contested(PROTOCOL_5, 1);
    struct peer next;
    takes_over(&m, &next);
    for (unsigned i = 0; i < 20; i++) {
        join(&next, m.w, PROTOCOL_5, "p", true);
        assert_int_equal(wish(&m.old), CONN_READ);
        say_disconnect(&m.old, 0);
        drained(&m);
        expect(&next, "CONNACK present");
        peer_close(&m.old);
        m.old = next;
    }
    assert_int_equal(refused(m.w), 0);
    next = (struct peer){.w = m.w};
    m.new = next;
    meeting_end(&m);
}

/* Another client is not slowed, and a client id that is calm again is as any other. */
static void a_contest_is_about_one_client_id(void **state) {
    (void)state;
    struct meeting m = contested(PROTOCOL_5, 1);
    struct peer next, other, others_next;
    const struct shard *shard = world_shard(m.w, 0);
    takes_over(&m, &next);
    joined(&other, m.w, PROTOCOL_5, "q", true);
    durable_all(m.w);
    join(&others_next, m.w, PROTOCOL_5, "q", true);
    drained(&m);
    expect(&others_next, "CONNACK present");
    assert_int_equal(shard->contests.count, 2);
    tick(m.w, 1000);
    assert_int_equal(shard->contests.count, 0);
    takes_over(&m, &next);
    assert_int_equal(refused(m.w), 0);
    peer_close(&other);
    peer_close(&others_next);
    m.new = (struct peer){.w = m.w};
    meeting_end(&m);
}

/* Whoever waits for its time may leave, and the one it waits for as well. */
static void those_who_wait_for_their_time_may_leave(void **state) {
    (void)state;
    for (unsigned leaves = 0; leaves < 3; leaves++) {
        struct meeting m = contested(PROTOCOL_5, 1);
        struct peer next, after;
        takes_over(&m, &next);
        join(&m.new, m.w, PROTOCOL_5, "p", true);
        if (leaves != 1) {
            peer_close(&m.new);
        }
        if (leaves != 0) {
            peer_close(&m.old);
        }
        drained(&m);
        join(&after, m.w, PROTOCOL_5, "p", true);
        drained(&m);
        if (leaves == 1) {
            expect(&m.new, "CONNACK present");
        }
        later(m.w, 1000);
        drained(&m);
        expect(&after, "CONNACK present");
        assert_int_equal(counters(m.w).sessions_taken_over, leaves == 2 ? 1 : 2);
        peer_close(&after);
        meeting_end(&m);
    }
}

/* The broker stops, or is gone, while some wait. */
static void those_who_wait_end_with_the_broker(void **state) {
    (void)state;
    for (int stops = 0; stops <= 1; stops++) {
        struct meeting m = meeting(PROTOCOL_5, 60);
        struct peer heirs[3];
        for (unsigned i = 0; i < 3; i++) {
            join(&heirs[i], m.w, PROTOCOL_5, "p", true);
        }
        if (stops) {
            shard_stop(world_shard(m.w, 0));
            drained(&m);
            expect(&m.old, "DISCONNECT reason=0x8b");
            for (unsigned i = 0; i < 3; i++) {
                expect(&heirs[i], "closed");
            }
        }
        world_close(m.w);
        buf_deinit(&m.old.received);
        buf_deinit(&m.watcher.received);
    }
}

/* What an old connection has sent is no more for one turn because its client is back. */
static void a_drain_does_no_more_than_a_turn_may(void **state) {
    (void)state;
    enum { POINTS = 8, PINGS = 100 };
    struct world *w = world_new();
    uint8_t pings[PINGS * 2];
    w->at_once = true;
    w->options.turn_points = POINTS;
    world_open(w, 1);
    struct meeting m = meeting_in(w, PROTOCOL_5, 60);
    turn(w);
    join(&m.new, w, PROTOCOL_5, "p", true);
    assert_int_equal(wish(&m.old), CONN_DRAIN);
    for (unsigned i = 0; i < sizeof pings; i += 2) {
        pings[i] = 0xc0;
        pings[i + 1] = 0;
    }
    shard_bytes(world_shard(w, 0), m.old.handle, span_of(pings, sizeof pings));
    peer_move(&m.old);
    assert_int_equal(wish(&m.old), CONN_PAUSE);
    unsigned answers = 0;
    for (unsigned turns = 0; wish(&m.old) == CONN_PAUSE; turns++) {
        assert_true(turns < PINGS);
        expect_silence(&m.new);
        turn(w);
        answers++;
    }
    assert_true(answers >= PINGS / POINTS / 2);
    for (unsigned i = 0; i < PINGS; i++) {
        expect(&m.old, "PINGRESP");
    }
    drained(&m);
    expect(&m.old, "DISCONNECT reason=0x8e");
    expect(&m.new, "CONNACK present");
    meeting_end(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_messages_and_the_goodbye_count),
        cmocka_unit_test(a_goodbye_that_ends_the_session_counts),
        cmocka_unit_test(an_end_without_goodbye_publishes_the_will),
        cmocka_unit_test(half_a_packet_is_nothing),
        cmocka_unit_test(many_are_taken_over_some_in_each_turn),
        cmocka_unit_test(a_busy_disk_does_not_hide_the_goodbye),
        cmocka_unit_test(a_client_that_does_not_read_may_say_goodbye),
        cmocka_unit_test(behind_a_refused_message_the_goodbye_counts),
        cmocka_unit_test(a_flood_behind_a_refused_message_ends),
        cmocka_unit_test(it_is_told_also_when_something_waits_for_it),
        cmocka_unit_test(what_its_socket_did_not_take_never_leaves),
        cmocka_unit_test(nothing_comes_before_connack),
        cmocka_unit_test(many_come_one_after_the_other),
        cmocka_unit_test(who_comes_before_the_heir_goes_on_is_behind_it),
        cmocka_unit_test(a_session_does_not_expire_before_the_turn_of_its_heir),
        cmocka_unit_test(a_client_id_is_taken_over_so_often_and_no_more),
        cmocka_unit_test(those_who_come_in_one_turn_are_bounded_too),
        cmocka_unit_test(who_has_gone_is_not_taken_over),
        cmocka_unit_test(a_contest_is_about_one_client_id),
        cmocka_unit_test(those_who_wait_for_their_time_may_leave),
        cmocka_unit_test(those_who_wait_end_with_the_broker),
        cmocka_unit_test(a_drain_does_no_more_than_a_turn_may),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
