/* Wills that must not be lost: those of sessions that are not durable, and those that find no room. When a will comes
 * and when it does not is in time_test.c. */
#include "world.h"

static void connect_as(struct peer *p, struct world *w, enum protocol protocol, struct connecting c) {
    peer_open(p, w, protocol);
    say_connect(p, &c);
    turn(w);
    turn(w);
}

static void connect_with(struct peer *p, struct world *w, struct connecting c) {
    peer_open(p, w, PROTOCOL_5);
    say_connect(p, &c);
    durable_all(w);
    expect(p, "CONNACK");
}

static struct record newest(const struct world *w, unsigned back) {
    return fake_record_of(&w->store, w->store.last - back);
}

/* ---- sessions that are not durable ---- */

static void the_will_of_any_session_is_durable_before_connack(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    peer_open(&p, w, PROTOCOL_5);
    say_connect(&p, &(struct connecting){.id = "p", .clean = true, .will = "w"});
    lsn_t session = fake_newest(&w->store, RECORD_SESSION);
    lsn_t will = fake_newest(&w->store, RECORD_WILL);
    assert_true(session > 0 && will > session);
    assert_int_equal(fake_record_of(&w->store, session).session.expiry_s, 0);
    assert_int_equal(fake_record_of(&w->store, session).session.disconnected_at, 0);
    assert_int_equal(fake_record_of(&w->store, will).will.session_id, session);
    durable_to(w, will - 1);
    turn(w);
    expect_silence(&p);
    durable_all(w);
    expect(&p, "CONNACK new");
    peer_close(&p);
    world_close(w);
}

static void a_session_without_a_will_costs_no_record(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    joined(&p, w, PROTOCOL_5, "p", false);
    peer_close(&p);
    assert_int_equal(w->store.last, 0);
    world_close(w);
}

/* Said goodbye: what was recorded ends. Cut off: the will is published and forgotten in one record. */
static void what_was_recorded_ends_with_the_will(void **state) {
    (void)state;
    for (int goodbye = 0; goodbye <= 1; goodbye++) {
        struct world *w = world_of(1);
        struct peer p;
        connect_with(&p, w, (struct connecting){.id = "p", .clean = true, .will = "w"});
        lsn_t session = fake_newest(&w->store, RECORD_SESSION);
        if (goodbye) {
            say_disconnect(&p, 0);
        }
        peer_close(&p);
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), !goodbye);
        if (!goodbye) {
            assert_true(newest(w, 1).message.clear_will && newest(w, 1).message.origin == session);
        }
        assert_int_equal(newest(w, 0).kind, RECORD_SESSION_END);
        assert_int_equal(newest(w, 0).end.session_id, session);
        world_close(w);
    }
}

static void load_cut_off(const struct store_sink *sink, void *user) {
    (void)user;
    struct record_session session = {.client_id = SPAN("p"), .protocol = 5};
    struct record_will will = {
        .session_id = 7, .delay_s = 50, .parts = {.retain = true, .topic = SPAN("w"), .payload = SPAN("offline")}};
    sink->session(sink->user, 7, &session);
    sink->will(sink->user, &will);
}

/* Also when it wanted a delay, for no session is there that could outlive it. */
static void at_the_next_start_it_is_published(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->at_once = true;
    w->store.load = load_cut_off;
    world_open(w, 1);
    assert_int_equal(newest(w, 0).kind, RECORD_SESSION_END);
    assert_true(newest(w, 1).message.clear_will && newest(w, 1).message.set_retained);
    joined(&p, w, PROTOCOL_5, "p", true);
    subscribed(&p, "w", 0);
    expect(&p, "PUBLISH qos=0 retain topic=\"w\" bytes=7");
    peer_close(&p);
    world_close(w);
}

/* Who finds no room at the start, in the store or in a queue, loses no will: it is as due as any other, though its
 * session has ended. */
static void load_cut_off_and_queue(const struct store_sink *sink, void *user) {
    struct record_session session = {
        .client_id = SPAN("away"), .protocol = 5, .expiry_s = 600, .disconnected_at = 1700000000000};
    struct record_subscribed subscribed = {.session_id = 3, .filter = SPAN("#"), .options = 1};
    sink->session(sink->user, 3, &session);
    sink->subscription(sink->user, 3, &subscribed);
    load_cut_off(sink, user);
}

static void at_a_start_without_room_it_waits(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->at_once = true;
    w->store.load = load_cut_off_and_queue;
    w->store.pressure = STORE_FULL;
    world_open(w, 1);
    assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), 0);
    assert_int_equal(counters(w).sessions, 2); /* one keeps it */
    joined(&p, w, PROTOCOL_5, "p", false);
    subscribed(&p, "w", 0);
    tick(w, 2000);
    expect_silence(&p);
    w->store.pressure = STORE_EASY;
    tick(w, 2000);
    expect(&p, "PUBLISH qos=0 topic=\"w\" bytes=7");
    tick(w, 2000);
    expect_silence(&p);
    assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), 1);
    assert_int_equal(counters(w).sessions, 2);
    peer_close(&p);
    world_close(w);
}

/* A will that a full store has not got is refused with its CONNECT, and whoever is there stays; a durable session may
 * have another. */
static void a_full_store_refuses_a_new_will(void **state) {
    (void)state;
    for (unsigned run = 0; run < 8; run++) {
        const enum protocol protocol = run % 2 == 0 ? PROTOCOL_311 : PROTOCOL_5;
        const bool durable = (run & 2) != 0, old_will = (run & 4) != 0;
        const char *refused = protocol == PROTOCOL_5 ? "CONNACK new reason=0x97" : "CONNACK new reason=0x03";
        struct world *w = world_new();
        struct peer p, q, old;
        w->at_once = true;
        world_open(w, 1);
        connect_as(&old, w, protocol,
                   (struct connecting){
                       .id = "old", .clean = !durable, .expiry_s = durable ? 600 : 0, .will = old_will ? "w" : NULL});
        expect(&old, "CONNACK new reason=0x00");
        w->store.pressure = STORE_FULL;
        tick(w, 10);
        lsn_t last = w->store.last;
        connect_as(&p, w, protocol, (struct connecting){.id = "p", .clean = true, .will = "w"});
        expect(&p, refused);
        expect(&p, "closed");
        peer_close(&p);
        joined(&p, w, protocol, "p", false);
        assert_int_equal(w->store.last, last); /* what is refused leaves no trace */
        connect_as(&q, w, protocol,
                   (struct connecting){.id = "old", .expiry_s = durable ? 600 : 0, .clean = !durable, .will = "w"});
        expect(&q, durable ? "CONNACK present reason=0x00" : refused);
        assert_int_equal(wish(&old) == CONN_READ, !durable);
        peer_close(&old);
        peer_close(&p);
        peer_close(&q);
        world_close(w);
    }
}

/* B10: what a client has caused by coming back is durable before it is answered. */
static void connack_waits_for_the_will_of_a_takeover(void **state) {
    (void)state;
    for (int durable = 0; durable <= 1; durable++) {
        struct world *w = world_of(1);
        struct peer old, new, watcher;
        joined(&watcher, w, PROTOCOL_5, "watcher", true);
        subscribed(&watcher, "w", 1);
        connect_with(
            &old, w,
            (struct connecting){.id = "p", .clean = true, .expiry_s = durable ? 60 : 0, .will = "w", .will_qos = 1});
        join(&new, w, PROTOCOL_5, "p", durable);
        turn(w);
        lsn_t will = fake_newest(&w->store, RECORD_MESSAGE);
        assert_true(will > 0);
        durable_to(w, will - 1);
        turn(w);
        expect_silence(&new);
        durable_all(w);
        expect(&new, "CONNACK");
        expect(&watcher, "PUBLISH qos=1");
        peer_close(&old);
        peer_close(&new);
        peer_close(&watcher);
        world_close(w);
    }
}

/* ---- no room ---- */

/* A client that is away with a full queue, and one that listens. */
struct crowd {
    struct world *w;
    struct peer away, listens, device;
};

/* `wills` fit into a full queue; one address may have `sessions` (0: any number). */
static struct crowd crowd_bounded(struct connecting device, uint32_t wills, uint64_t sessions) {
    struct crowd c = {.w = world_new()};
    c.w->options.accounts.most[QUOTA_OWNER][QUOTA_SESSIONS] = sessions;
    c.w->options.queue_wills_max = wills;
    c.w->options.queue_messages_max = 1;
    c.w->options.queue_policy = QUEUE_REFUSE;
    c.w->at_once = true;
    world_open(c.w, 1);
    joined(&c.listens, c.w, PROTOCOL_5, "listens", false);
    subscribed(&c.listens, "w", 1);
    connect_with(&c.device, c.w, device);
    joined(&c.away, c.w, PROTOCOL_5, "away", true);
    subscribed(&c.away, "#", 1);
    peer_close(&c.away);
    struct peer from;
    joined(&from, c.w, PROTOCOL_5, "from", false);
    say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
    turn(c.w);
    expect(&from, "PUBACK id=1 reason=0x00");
    peer_close(&from);
    return c;
}

static struct crowd crowd_with(struct connecting device, uint32_t wills) {
    return crowd_bounded(device, wills, 0);
}

static struct crowd crowd_of(struct connecting device) {
    return crowd_with(device, 0);
}

static void room(struct crowd *c) {
    joined(&c->away, c->w, PROTOCOL_5, "away", true);
    expect(&c->away, "PUBLISH qos=1 id=1");
    say_ack(&c->away, PACKET_PUBACK, 1, 0);
}

static void crowd_end(struct crowd *c) {
    peer_close(&c->away);
    peer_close(&c->listens);
    peer_close(&c->device);
    world_close(c->w);
}

static void a_will_without_room_waits_for_it(void **state) {
    (void)state;
    static const struct connecting devices[] = {
        {.id = "d", .clean = true, .will = "w", .will_qos = 1, .will_retain = true},
        {.id = "d", .expiry_s = 600, .will = "w", .will_qos = 1, .will_retain = true},
        {.id = "d", .expiry_s = 600, .will = "w", .will_qos = 1, .will_delay_s = 3},
        {.id = "d", .expiry_s = 3, .will = "w", .will_qos = 1, .will_delay_s = 30}, /* with the end of its session */
    };
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) {
        struct crowd c = crowd_of(devices[i]);
        peer_close(&c.device);
        for (int s = 0; s < 20; s++) {
            tick(c.w, 1000);
        }
        expect_silence(&c.listens);
        assert_true(fake_count(&c.w->store, RECORD_WILL) >= 1);
        room(&c);
        tick(c.w, 2000);
        expect(&c.listens, "PUBLISH qos=1 id=1 topic=\"w\"");
        expect(&c.away, "PUBLISH qos=1");
        tick(c.w, 2000);
        expect_silence(&c.listens);
        assert_int_equal(fake_count(&c.w->store, RECORD_SESSION) >= 2, true);
        crowd_end(&c);
    }
}

/* More have subscribed than one message may reach: it is due until some have gone. */
static void a_will_for_too_many_waits(void **state) {
    (void)state;
    for (int durable = 0; durable <= 1; durable++) {
        struct world *w = world_new();
        struct peer device, listens, other;
        w->options.matches_max = 1;
        w->at_once = true;
        world_open(w, 1);
        joined(&listens, w, PROTOCOL_5, "listens", false);
        subscribed(&listens, "w", 1);
        joined(&other, w, PROTOCOL_5, "other", false);
        subscribed(&other, "w", 1);
        connect_with(&device, w,
                     (struct connecting){
                         .id = "d", .clean = !durable, .expiry_s = durable ? 86400 : 0, .will = "w", .will_qos = 1});
        peer_close(&device);
        tick(w, 599000);
        expect_silence(&listens);
        expect_silence(&other);
        assert_non_null(strstr(w->log, "max_matches"));
        say_disconnect(&other, 0);
        peer_close(&other);
        tick(w, 1000);
        tick(w, 1000);
        expect(&listens, "PUBLISH qos=1 id=1 topic=\"w\"");
        tick(w, 700000);
        expect_silence(&listens);
        peer_close(&listens);
        world_close(w);
    }
}

/* Its client is back before that, with another will or none: the first was due all the same. */
static void a_will_that_waits_is_not_taken_back(void **state) {
    (void)state;
    for (int clean = 0; clean <= 1; clean++) {
        for (int another = 0; another <= 1; another++) {
            struct crowd c = crowd_of((struct connecting){.id = "d", .expiry_s = 600, .will = "w", .will_qos = 1});
            peer_close(&c.device);
            tick(c.w, 1000);
            connect_with(&c.device, c.w,
                         (struct connecting){
                             .id = "d", .clean = clean, .expiry_s = 600, .will = another ? "w" : NULL, .will_qos = 1});
            tick(c.w, 5000);
            expect_silence(&c.listens);
            uint64_t before = counters(c.w).sessions;
            room(&c);
            tick(c.w, 2000);
            expect(&c.listens, "PUBLISH qos=1 id=1 topic=\"w\"");
            expect_silence(&c.listens);
            assert_int_equal(counters(c.w).sessions, before - 1); /* what kept it is gone */
            say_ack(&c.listens, PACKET_PUBACK, 1, 0);
            expect(&c.away, "PUBLISH qos=1 id=2 topic=\"w\"");
            say_ack(&c.away, PACKET_PUBACK, 2, 0);
            peer_close(&c.device);
            tick(c.w, 2000);
            if (another) {
                expect(&c.listens, "PUBLISH qos=1");
            }
            expect_silence(&c.listens);
            crowd_end(&c);
        }
    }
}

/* A full queue keeps a will from nobody: it takes it past its bound, each at its QoS, and gives all of them to its
 * client.
 */
static void a_full_queue_keeps_a_will_from_nobody(void **state) {
    (void)state;
    enum { WILLS = 3 };
    for (unsigned run = 0; run < 8; run++) {
        const uint8_t qos = run % 2 == 0 ? 1 : 2;
        const struct connecting device = {.id = "d",
                                          .clean = run < 4,
                                          .expiry_s = run < 4 ? 0 : 600,
                                          .will = "w",
                                          .will_qos = qos,
                                          .will_retain = (run & 2) != 0};
        struct crowd c = crowd_with(device, WILLS);
        for (packet_id_t id = 1; id <= WILLS; id++) {
            if (id > 1) {
                connect_with(&c.device, c.w, device);
            }
            peer_close(&c.device);
            turn(c.w);
            expect(&c.listens, "PUBLISH qos=1");
            say_ack(&c.listens, PACKET_PUBACK, id, 0);
        }
        assert_int_equal(counters(c.w).publish_refused, 0);
        connect_with(&c.device, c.w, device); /* one more waits, for all, and is on the disk meanwhile */
        peer_close(&c.device);
        tick(c.w, 2000);
        expect_silence(&c.listens);
        assert_int_equal(counters(c.w).publish_refused, 1);
        room(&c);
        for (packet_id_t id = 2; id <= WILLS + 1; id++) {
            expect(&c.away, "PUBLISH qos=1");
            say_ack(&c.away, PACKET_PUBACK, id, 0);
        }
        tick(c.w, 2000);
        expect(&c.listens, "PUBLISH qos=1");
        expect(&c.away, "PUBLISH qos=1");
        expect_silence(&c.away);
        crowd_end(&c);
    }
}

/* What wills have taken is no room for anybody else: a publisher is refused until the queue is below its bound. */
static void wills_do_not_widen_a_queue(void **state) {
    (void)state;
    struct crowd c = crowd_with((struct connecting){.id = "d", .clean = true, .will = "w", .will_qos = 1}, 1000);
    struct peer from;
    peer_close(&c.device);
    turn(c.w);
    expect(&c.listens, "PUBLISH");
    joined(&from, c.w, PROTOCOL_5, "from", false);
    say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
    turn(c.w);
    expect(&from, "PUBACK id=1 reason=0x97");
    room(&c);
    expect(&c.away, "PUBLISH qos=1 id=2 topic=\"w\"");
    say_ack(&c.away, PACKET_PUBACK, 2, 0);
    say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "t"});
    turn(c.w);
    expect(&from, "PUBACK id=1 reason=0x00");
    peer_close(&from);
    crowd_end(&c);
}

/* ---- many that wait ---- */

static uint64_t wills_published(const struct world *w) {
    uint64_t count = 0;
    for (lsn_t lsn = 1; lsn <= w->store.last; lsn++) {
        struct record r = fake_record_of(&w->store, lsn);
        count += r.kind == RECORD_MESSAGE && r.message.clear_will ? 1 : 0;
    }
    return count;
}

/* The queue that was in the way is gone, and nobody else wants them: they are published as fast as a tick takes them.
 */
static void nobody_is_in_the_way(struct crowd *c) {
    say_disconnect(&c->listens, 0);
    peer_close(&c->listens);
    struct connecting clean = {.id = "away", .clean = true};
    connect_with(&c->away, c->w, clean);
    say_disconnect(&c->away, 0);
    peer_close(&c->away);
}

/* However many: each was accepted. */
static void all_wills_that_wait_are_published(void **state) {
    (void)state;
    enum { WILLS = 10100 };
    char id[16] = "d";
    struct connecting device = {.id = id, .clean = true, .will = "w", .will_qos = 1, .will_retain = true};
    struct crowd c = crowd_of(device);
    for (int i = 1; i < WILLS; i++) {
        peer_close(&c.device);
        (void)snprintf(id, sizeof id, "d%d", i);
        connect_with(&c.device, c.w, device);
    }
    peer_close(&c.device);
    assert_int_equal(wills_published(c.w), 0);
    nobody_is_in_the_way(&c);
    for (int s = 0; s < 20; s++) {
        tick(c.w, 1000);
    }
    assert_int_equal(wills_published(c.w), WILLS);
    assert_int_equal(counters(c.w).sessions, 0);
    world_close(c.w);
}

/* One client that comes back again and again, each time with a will that then waits, or many clients: their owner has
 * room for so many, and who is refused was told so by CONNACK. Without a will a client comes back all the same. */
static void who_has_too_many_wills_that_wait_gets_no_other(void **state) {
    (void)state;
    enum { SESSIONS = 20, TRIES = 40 };
    for (unsigned run = 0; run < 8; run++) {
        const bool one = (run & 1) != 0, clean = (run & 2) != 0, delay = (run & 4) != 0;
        char id[16] = "d0";
        struct connecting device = {.id = id,
                                    .clean = clean,
                                    .expiry_s = one ? 600 : 0,
                                    .will = "w",
                                    .will_qos = 1,
                                    .will_retain = true,
                                    .will_delay_s = delay ? 1 : 0};
        struct crowd c = crowd_bounded(device, 0, SESSIONS);
        uint64_t accepted = 1;
        for (int i = 1; i < TRIES; i++) {
            peer_close(&c.device);
            later(c.w, 1500); /* before anybody looks at what is due */
            (void)snprintf(id, sizeof id, "d%d", one ? 0 : i);
            peer_open(&c.device, c.w, PROTOCOL_5);
            say_connect(&c.device, &device);
            turn(c.w);
            accepted += wish(&c.device) == CONN_READ ? 1 : 0;
        }
        expect(&c.device, "CONNACK new reason=0x97");
        peer_close(&c.device);
        assert_in_range(accepted, SESSIONS / 2, SESSIONS);
        connect_as(&c.device, c.w, PROTOCOL_5, (struct connecting){.id = id, .expiry_s = 600, .clean = clean});
        assert_int_equal(wish(&c.device) == CONN_READ, one);
        peer_close(&c.device);
        nobody_is_in_the_way(&c);
        for (int s = 0; s < 20; s++) {
            tick(c.w, 1000);
        }
        assert_int_equal(wills_published(c.w), accepted);
        world_close(c.w);
    }
}

static void load_kept(const struct store_sink *sink, void *user) {
    struct store_sink one = *sink;
    struct record_session session = {.client_id = SPAN("\0will 5.0"), .protocol = 5};
    struct record_will will = {.session_id = 7, .parts = {.topic = SPAN("w"), .payload = SPAN("offline")}};
    (void)user;
    one.session(one.user, 7, &session);
    one.will(one.user, &will);
}

static void a_kept_will_survives_the_broker(void **state) {
    (void)state;
    struct world *w = world_new();
    w->at_once = true;
    w->store.load = load_kept;
    world_open(w, 2);
    tick(w, 1000);
    assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), 1);
    assert_int_equal(fake_count(&w->store, RECORD_SESSION_END), 1);
    assert_int_equal(counters(w).sessions, 0);
    world_close(w);
}

/* The keeper's WILL is what moves it; then it ends where it was; only then does the keeper's record say "settled". */
static void a_will_is_moved_in_an_order_that_a_crash_may_cut(void **state) {
    (void)state;
    for (int durable = 0; durable <= 1; durable++) {
        struct crowd c =
            crowd_of((struct connecting){.id = "d", .expiry_s = durable ? 600 : 0, .will = "w", .will_qos = 1});
        session_id_t from = fake_record_of(&c.w->store, fake_newest(&c.w->store, RECORD_WILL)).will.session_id;
        peer_close(&c.device);
        if (durable) {
            connect_with(&c.device, c.w, (struct connecting){.id = "d", .expiry_s = 600});
        }
        lsn_t will = fake_newest(&c.w->store, RECORD_WILL);
        struct record cleared = fake_record_of(&c.w->store, will + 1);
        struct record keeper = fake_record_of(&c.w->store, will - 1), settled = fake_record_of(&c.w->store, will + 2);
        assert_int_equal(keeper.kind, RECORD_SESSION);
        assert_int_equal(keeper.session.disconnected_at, 0);
        assert_int_equal(fake_record_of(&c.w->store, will).will.session_id, will - 1);
        assert_int_equal(cleared.kind, durable ? RECORD_WILL_CLEARED : RECORD_SESSION_END);
        assert_int_equal(cleared.end.session_id, from);
        assert_int_equal(settled.kind, RECORD_SESSION);
        assert_int_equal(settled.session.session_id, will - 1);
        assert_true(settled.session.disconnected_at != 0);
        crowd_end(&c);
    }
}

/* A crash after the keeper's WILL: in the order in which the store reports it; settled: it has been cleared there. */
static void load_moved(const struct store_sink *sink, void *user) {
    const bool *settled = user;
    struct record_session from = {
        .client_id = SPAN("d"), .protocol = 5, .expiry_s = SESSION_NEVER_EXPIRES, .disconnected_at = 1};
    struct record_session keeper = {.client_id = SPAN("\0"
                                                      "7.0:d"),
                                    .protocol = 5,
                                    .disconnected_at = *settled ? 1 : 0};
    struct record_will will = {.session_id = 7, .parts = {.topic = SPAN("w"), .payload = SPAN("offline")}};
    sink->session(sink->user, 7, &from);
    sink->session(sink->user, 9, &keeper);
    sink->will(sink->user, &will);
    will.session_id = 9;
    sink->will(sink->user, &will);
}

static void a_will_in_two_places_is_published_once(void **state) {
    (void)state;
    for (int settled = 0; settled <= 1; settled++) {
        struct world *w = world_new();
        bool is_settled = settled;
        w->at_once = true;
        w->store.load = load_moved;
        w->store.load_user = &is_settled;
        world_open(w, 2);
        assert_int_equal(fake_count(&w->store, RECORD_WILL_CLEARED), !settled);
        tick(w, 1000);
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), settled ? 2 : 1); /* else the other is a later one */
        assert_int_equal(counters(w).sessions, 1);
        world_close(w);
    }
}

/* [MQTT-3.8.3-3] says by the client id whose message is whose. */
static void a_will_that_was_kept_is_still_its_clients(void **state) {
    (void)state;
    for (int no_local = 0; no_local <= 1; no_local++) {
        struct crowd c = crowd_of((struct connecting){.id = "d", .will = "w", .will_qos = 1});
        peer_close(&c.device);
        connect_with(&c.device, c.w, (struct connecting){.id = "d"});
        say_subscribe_with(&c.device, 1, &(struct packet_filter){.filter = SPAN("w"), .no_local = no_local});
        turn(c.w);
        expect(&c.device, "SUBACK");
        room(&c);
        tick(c.w, 2000);
        expect(&c.listens, "PUBLISH qos=1 id=1 topic=\"w\"");
        if (no_local == 0) {
            expect(&c.device, "PUBLISH qos=0 topic=\"w\"");
        }
        expect_silence(&c.device);
        crowd_end(&c);
    }
}

/* B10: the end of the connection is the answer to DISCONNECT. Without a will it has nothing to wait for. */
static void the_close_after_disconnect_waits_for_the_end_of_the_will(void **state) {
    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        bool durable = (i & 1) != 0, will = (i & 2) != 0, graceful = (i & 4) == 0;
        struct world *w = world_of(1);
        struct peer p;
        connect_with(&p, w, (struct connecting){.id = "p", .expiry_s = durable ? 600 : 0, .will = will ? "w" : NULL});
        say_disconnect(&p, graceful ? 0 : REASON_DISCONNECT_WITH_WILL);
        turn(w);
        assert_int_equal(wish(&p), CONN_CLOSE);
        assert_int_equal(shard_may_close(world_shard(w, 0), p.handle), !(will && graceful));
        if (will && graceful) {
            lsn_t end = fake_newest(&w->store, durable ? RECORD_WILL_CLEARED : RECORD_SESSION_END);
            durable_to(w, end - 1);
            turn(w);
            assert_false(shard_may_close(world_shard(w, 0), p.handle));
            durable_to(w, end);
            turn(w);
            assert_true(shard_may_close(world_shard(w, 0), p.handle));
        }
        peer_close(&p);
        world_close(w);
    }
}

/* B10: a client that did not wait for that, but connects again, sees it by CONNACK. */
static void connack_after_disconnect_waits_for_the_end_of_the_will(void **state) {
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        bool durable = (i & 1) != 0, again = (i & 2) != 0;
        struct world *w = world_of(1);
        struct peer p, q;
        connect_with(&p, w, (struct connecting){.id = "p", .expiry_s = durable ? 600 : 0, .will = "w"});
        say_disconnect(&p, 0);
        lsn_t end = fake_newest(&w->store, durable ? RECORD_WILL_CLEARED : RECORD_SESSION_END);
        peer_open(&q, w, PROTOCOL_5);
        say_connect(&q, &(struct connecting){.id = "p", .clean = !again});
        durable_to(w, end - 1);
        turn(w);
        expect_silence(&q);
        durable_to(w, w->store.last);
        turn(w);
        expect(&q, "CONNACK");
        peer_close(&p);
        peer_close(&q);
        world_close(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_will_of_any_session_is_durable_before_connack),
        cmocka_unit_test(a_session_without_a_will_costs_no_record),
        cmocka_unit_test(what_was_recorded_ends_with_the_will),
        cmocka_unit_test(at_the_next_start_it_is_published),
        cmocka_unit_test(at_a_start_without_room_it_waits),
        cmocka_unit_test(a_full_store_refuses_a_new_will),
        cmocka_unit_test(connack_waits_for_the_will_of_a_takeover),
        cmocka_unit_test(a_will_without_room_waits_for_it),
        cmocka_unit_test(a_will_for_too_many_waits),
        cmocka_unit_test(a_will_that_waits_is_not_taken_back),
        cmocka_unit_test(a_full_queue_keeps_a_will_from_nobody),
        cmocka_unit_test(wills_do_not_widen_a_queue),
        cmocka_unit_test(all_wills_that_wait_are_published),
        cmocka_unit_test(who_has_too_many_wills_that_wait_gets_no_other),
        cmocka_unit_test(a_kept_will_survives_the_broker),
        cmocka_unit_test(a_will_is_moved_in_an_order_that_a_crash_may_cut),
        cmocka_unit_test(a_will_in_two_places_is_published_once),
        cmocka_unit_test(a_will_that_was_kept_is_still_its_clients),
        cmocka_unit_test(the_close_after_disconnect_waits_for_the_end_of_the_will),
        cmocka_unit_test(connack_after_disconnect_waits_for_the_end_of_the_will),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
