/* What time brings about: expiry of sessions and messages, wills and their delay, keep alive. That the time never jumps
 * is for test/unit/store/clock_test.c. */
#include "world.h"

/* ---- sessions ---- */

static void away(struct world *w, uint32_t expiry_s) {
    struct peer p;
    peer_open(&p, w, PROTOCOL_5);
    say_connect(&p, &(struct connecting){.id = "p", .expiry_s = expiry_s});
    durable_all(w);
    expect(&p, "CONNACK new");
    peer_close(&p);
    durable_all(w);
}

static bool is_present(struct world *w) {
    struct peer p;
    join(&p, w, PROTOCOL_5, "p", true);
    durable_all(w);
    bool present = strncmp(hear(&p), "CONNACK present", 15) == 0;
    peer_close(&p);
    return present;
}

static void a_session_lives_as_long_as_was_asked(void **state) {
    (void)state;
    static const struct {
        int64_t ms;
        bool present;
    } cases[] = {
        {99000, true}, {100000, false}, /* also when nobody has looked since: there was no tick */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int ticks = 0; ticks <= 1; ticks++) {
            struct world *w = world_of(1);
            away(w, 100);
            w->now += cases[i].ms;
            w->wall += cases[i].ms;
            if (ticks) {
                tick(w, 0);
            } else {
                turn(w);
            }
            assert_int_equal(is_present(w), cases[i].present);
            world_close(w);
        }
    }
}

static void load_one(const struct store_sink *sink, void *user) {
    const struct record_session *session = user;
    sink->session(sink->user, 1, session);
}

/* The time that the broker was down counts; who left later than it is now is away from the start on. */
static void time_down_counts(void **state) {
    (void)state;
    static const struct {
        int64_t left_s, after_s; /* before the start, and after it */
        bool present;
    } cases[] = {{40, 50, true}, {70, 50, false}, {-2000, 50, true}, {-2000, 101, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *w = world_new();
        struct record_session session = {.client_id = SPAN("p"),
                                         .expiry_s = 100,
                                         .protocol = 5,
                                         .disconnected_at = w->wall - cases[i].left_s * 1000};
        w->store.load = load_one;
        w->store.load_user = &session;
        world_open(w, 1);
        tick(w, cases[i].after_s * 1000);
        assert_int_equal(is_present(w), cases[i].present);
        world_close(w);
    }
}

/* ---- wills ---- */

struct watch {
    struct world *w;
    struct peer p, watcher;
};

static struct watch watch_will(const struct connecting *c) {
    struct watch watch = {.w = world_of(1)};
    joined(&watch.watcher, watch.w, PROTOCOL_311, "watcher", false);
    subscribed(&watch.watcher, "w", 2);
    peer_open(&watch.p, watch.w, PROTOCOL_5);
    say_connect(&watch.p, c);
    durable_all(watch.w);
    expect(&watch.p, "CONNACK");
    return watch;
}

static void watch_end(struct watch *watch) {
    peer_close(&watch->p);
    peer_close(&watch->watcher);
    world_close(watch->w);
}

static void cut(struct watch *watch) {
    peer_close(&watch->p);
    durable_all(watch->w);
}

static void a_will_is_published_when_the_connection_is_cut(void **state) {
    (void)state;
    for (int expiry = 0; expiry <= 1; expiry++) {
        struct watch watch =
            watch_will(&(struct connecting){.id = "p", .clean = true, .expiry_s = expiry ? 60 : 0, .will = "w"});
        cut(&watch);
        expect(&watch.watcher, "PUBLISH qos=0 topic=\"w\" bytes=4");
        tick(watch.w, 100000);
        expect_silence(&watch.watcher);
        watch_end(&watch);
    }
}

static void disconnect_decides_about_the_will(void **state) {
    (void)state;
    for (uint8_t reason = 0; reason <= 4; reason += 4) {
        struct watch watch = watch_will(&(struct connecting){.id = "p", .expiry_s = 60, .will = "w", .will_qos = 1});
        say_disconnect(&watch.p, reason);
        cut(&watch);
        if (reason == 4) {
            expect(&watch.watcher, "PUBLISH qos=1");
        }
        tick(watch.w, 100000);
        expect_silence(&watch.watcher);
        watch_end(&watch);
    }
}

static void a_delayed_will_comes_after_its_delay(void **state) {
    (void)state;
    struct watch watch = watch_will(&(struct connecting){.id = "p", .expiry_s = 60, .will = "w", .will_delay_s = 5});
    lsn_t will = fake_newest(&watch.w->store, RECORD_WILL);
    assert_int_equal(fake_record_of(&watch.w->store, will).will.delay_s, 5); /* for the next start */
    cut(&watch);
    tick(watch.w, 4000);
    expect_silence(&watch.watcher);
    tick(watch.w, 1000);
    durable_all(watch.w);
    expect(&watch.watcher, "PUBLISH");
    tick(watch.w, 5000);
    expect_silence(&watch.watcher);
    watch_end(&watch);
}

static void a_delayed_will_comes_with_the_end_of_its_session(void **state) {
    (void)state;
    enum { NO_EXPIRY, EXPIRY, CLEAN_START, CASES };
    for (int i = 0; i < CASES; i++) {
        struct watch watch = watch_will(&(struct connecting){
            .id = "p", .clean = true, .expiry_s = i == NO_EXPIRY ? 0 : 3, .will = "w", .will_delay_s = 500});
        cut(&watch);
        if (i == EXPIRY) {
            expect_silence(&watch.watcher);
            tick(watch.w, 3000);
        } else if (i == CLEAN_START) {
            expect_silence(&watch.watcher);
            join(&watch.p, watch.w, PROTOCOL_5, "p", false);
        }
        durable_all(watch.w);
        expect(&watch.watcher, "PUBLISH");
        watch_end(&watch);
    }
}

/* It is not sent when the client is back within the delay; not even after a start, and not by the next cut. */
static void a_delayed_will_is_cancelled_by_the_next_connection(void **state) {
    (void)state;
    struct watch watch = watch_will(&(struct connecting){.id = "p", .expiry_s = 60, .will = "w", .will_delay_s = 5});
    cut(&watch);
    join(&watch.p, watch.w, PROTOCOL_5, "p", true);
    lsn_t cleared = fake_newest(&watch.w->store, RECORD_WILL_CLEARED);
    assert_true(cleared > 0);
    durable_to(watch.w, cleared - 1);
    turn(watch.w);
    expect_silence(&watch.p);
    durable_all(watch.w);
    expect(&watch.p, "CONNACK present");
    tick(watch.w, 10000);
    cut(&watch);
    tick(watch.w, 10000);
    expect_silence(&watch.watcher);
    watch_end(&watch);
}

static void a_takeover_publishes_the_will_unless_it_is_delayed(void **state) {
    (void)state;
    for (uint32_t delay_s = 0; delay_s <= 5; delay_s += 5) {
        struct watch watch =
            watch_will(&(struct connecting){.id = "p", .expiry_s = 60, .will = "w", .will_delay_s = delay_s});
        struct peer new;
        join(&new, watch.w, PROTOCOL_5, "p", true);
        turn(watch.w);
        durable_all(watch.w);
        if (delay_s == 0) {
            expect(&watch.watcher, "PUBLISH");
        }
        tick(watch.w, 10000);
        expect_silence(&watch.watcher);
        peer_close(&new);
        watch_end(&watch);
    }
}

static void load_will(const struct store_sink *sink, void *user) {
    const struct record_will *will = user;
    struct record_session session = {
        .client_id = SPAN("p"), .expiry_s = 100, .protocol = 5, .disconnected_at = will->expiry_s};
    sink->session(sink->user, 1, &session);
    sink->will(sink->user, will);
}

/* A client that was connected when the broker died is cut off by that; its will keeps its delay. */
static void wills_survive_the_broker(void **state) {
    (void)state;
    for (uint32_t delay_s = 0; delay_s <= 5; delay_s += 5) {
        struct world *w = world_new();
        struct record_will will = {
            .session_id = 1, .delay_s = delay_s, .parts = {.qos = 1, .topic = SPAN("w"), .payload = SPAN("x")}};
        w->store.load = load_will;
        w->store.load_user = &will;
        world_open(w, 1);
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), delay_s == 0);
        tick(w, 4000);
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), delay_s == 0);
        tick(w, 2000);
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), 1);
        struct record record = fake_record_of(&w->store, fake_newest(&w->store, RECORD_MESSAGE));
        assert_true(record.message.clear_will && record.message.origin == 1);
        world_close(w);
    }
}

/* ---- messages ---- */

static void a_waiting_message_expires(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer to, from;
    joined(&to, w, PROTOCOL_5, "to", true);
    subscribed(&to, "t", 1);
    peer_close(&to);
    joined(&from, w, PROTOCOL_5, "from", false);
    say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "t", .payload = "short", .expiry_s = 5});
    say_publish(&from, &(struct publishing){.qos = 1, .id = 2, .topic = "t", .payload = "longer", .expiry_s = 50});
    durable_all(w);
    later(w, 7000);
    joined(&to, w, PROTOCOL_5, "to", true);
    expect(&to, "PUBLISH qos=1 id=1 topic=\"t\" bytes=6 {Message Expiry Interval: 43}");
    assert_int_equal(fake_count(&w->store, RECORD_DROPPED), 1);
    assert_int_equal(counters(w).messages_expired, 1);
    /* What has begun is finished (R10), whatever the clock says. */
    peer_close(&to);
    later(w, 100000);
    joined(&to, w, PROTOCOL_5, "to", true);
    expect(&to, "PUBLISH qos=1 dup id=1 topic=\"t\" bytes=6 {Message Expiry Interval: 0}");
    say_ack(&to, PACKET_PUBACK, 1, 0);
    assert_int_equal(counters(w).queued, 0);
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

static void is_cleared(struct world *w, lsn_t lsn, const char *topic) {
    struct record record = fake_record_of(&w->store, lsn);
    assert_int_equal(record.kind, RECORD_MESSAGE);
    assert_true(record.message.set_retained && record.message.parts.payload.len == 0);
    assert_true(span_equal(record.message.parts.topic, span_str(topic)));
}

static void an_expired_retained_message_is_removed(void **state) {
    (void)state;
    struct world *w = world_of(2);
    struct peer p;
    w->at_once = true;
    joined(&p, w, PROTOCOL_5, "p", false);
    say_publish(&p, &(struct publishing){.topic = "r/1", .payload = "x", .retain = true, .expiry_s = 5});
    say_publish(&p, &(struct publishing){.topic = "r/2", .payload = "x", .retain = true});
    say_publish(&p, &(struct publishing){.topic = "r/3", .payload = "x", .retain = true, .expiry_s = 5});
    say_publish(&p, &(struct publishing){.topic = "r/3", .payload = "y", .retain = true, .expiry_s = 50});
    say_publish(&p, &(struct publishing){.topic = "r/4", .payload = "x", .retain = true, .expiry_s = 5});
    say_publish(&p, &(struct publishing){.topic = "r/4", .retain = true});
    later(w, 4999);
    lsn_t last = w->store.last;
    later(w, 1); /* nobody subscribes meanwhile */
    assert_int_equal(w->store.last, last + 1);
    is_cleared(w, last + 1, "r/1");
    subscribed(&p, "r/+", 0);
    expect(&p, "PUBLISH qos=0 retain");
    expect(&p, "PUBLISH qos=0 retain");
    expect_silence(&p);
    later(w, 45000);
    is_cleared(w, last + 2, "r/3");
    assert_int_equal(w->store.last, last + 2);
    peer_close(&p);
    world_close(w);
}

enum { MANY_RETAINED = 1800 };

/* Not more in one turn than it may take; nobody gets what only waits to be cleared. */
static void many_expire_in_slices(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    char topic[20];
    w->at_once = true;
    joined(&p, w, PROTOCOL_5, "p", false);
    for (int i = 0; i < MANY_RETAINED; i++) {
        (void)snprintf(topic, sizeof topic, "r/%d", i);
        say_publish(&p, &(struct publishing){.topic = topic, .payload = "x", .retain = true, .expiry_s = 5});
    }
    lsn_t last = w->store.last;
    w->now += 5000;
    w->wall += 5000;
    turn_begin(w, 0);
    assert_in_range(w->store.last, last + 1, last + MANY_RETAINED / 2);
    subscribed(&p, "r/#", 0);
    expect_silence(&p);
    for (int i = 0; w->store.last < last + MANY_RETAINED; i++) {
        assert_true(turn_end(w, 0).again && i < 10);
        turn_begin(w, 0);
    }
    assert_false(turn_end(w, 0).again);
    turn_begin(w, 0);
    peer_close(&p);
    world_close(w);
}

static void load_expired(const struct store_sink *sink, void *user) {
    const struct world *w = user;
    for (int i = 0; i < 2; i++) {
        struct message_parts parts = {.retain = true,
                                      .expires_at = w->wall + (i == 0 ? -1 : 1000),
                                      .topic = i == 0 ? SPAN("old") : SPAN("new"),
                                      .payload = SPAN("x")};
        sink->retained(sink->user, message_create(&parts));
    }
}

static void expired_retained_messages_leave_the_store_at_the_start(void **state) {
    (void)state;
    struct world *w = world_new();
    w->store.load = load_expired;
    w->store.load_user = w;
    world_open(w, 1);
    assert_int_equal(w->store.last, 1);
    is_cleared(w, 1, "old");
    world_close(w);
}

/* One that has expired, and the wills of clients whose connection the stop has ended: on its topic, and on others. */
static void load_expired_and_wills(const struct store_sink *sink, void *user) {
    const struct world *w = user;
    for (session_id_t id = 1; id <= 3; id++) {
        struct record_session session = {.client_id = id == 1   ? SPAN("a")
                                                      : id == 2 ? SPAN("b")
                                                                : SPAN("c"),
                                         .expiry_s = 100,
                                         .protocol = 5};
        sink->session(sink->user, id, &session);
    }
    for (session_id_t id = 1; id <= 3; id++) {
        struct record_will will = {
            .session_id = id,
            .parts = {.retain = true, .topic = id == 3 ? SPAN("other") : SPAN("topic"), .payload = SPAN("offline")}};
        sink->will(sink->user, &will);
    }
    struct message_parts parts = {
        .retain = true, .expires_at = w->wall - 1, .topic = SPAN("topic"), .payload = SPAN("online")};
    sink->retained(sink->user, message_create(&parts));
}

static void a_will_takes_the_place_of_an_expired_message_at_the_start(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->at_once = true;
    w->store.load = load_expired_and_wills;
    w->store.load_user = w;
    world_open(w, 1);
    joined(&p, w, PROTOCOL_311, "p", false);
    subscribed(&p, "#", 0);
    for (int i = 0; i < 2; i++) {
        expect(&p, "PUBLISH qos=0 retain");
    }
    expect_silence(&p);
    tick(w, 1000);
    subscribed(&p, "topic", 0);
    expect(&p, "PUBLISH qos=0 retain topic=\"topic\" bytes=7");
    peer_close(&p);
    world_close(w);
}

/* ---- keep alive ---- */

static void joined_with_keep_alive(struct peer *p, struct world *w) {
    peer_open(p, w, PROTOCOL_5);
    say_connect(p, &(struct connecting){.id = "p", .clean = true, .keep_alive_s = 10});
    expect(p, "CONNACK");
}

static void a_silent_client_is_closed(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    joined_with_keep_alive(&p, w);
    tick(w, 14000);
    say_ping(&p);
    expect(&p, "PINGRESP");
    tick(w, 15000);
    expect_silence(&p);
    tick(w, 1000);
    expect(&p, "DISCONNECT reason=0x8d");
    expect(&p, "closed");
    peer_close(&p);
    world_close(w);
}

static void a_pause_is_not_held_against_the_client(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    joined_with_keep_alive(&p, w);
    w->store.pressure = STORE_BUSY;
    turn(w);
    say_publish(&p, &(struct publishing){.topic = "t"});
    assert_int_equal(wish(&p), CONN_PAUSE);
    tick(w, 20000);
    w->store.pressure = STORE_EASY;
    tick(w, 1000); /* it is read from again from now on */
    expect_silence(&p);
    peer_close(&p);
    world_close(w);
}

static void a_client_that_does_not_read_is_closed(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->options.outbox_bytes_max = 100;
    world_open(w, 1);
    joined_with_keep_alive(&p, w);
    while (wish(&p) == CONN_READ) {
        say_ping(&p);
    }
    tick(w, 15000);
    peer_read(&p, 2);
    tick(w, 15000); /* it is slow, but it reads */
    assert_int_equal(wish(&p), CONN_PAUSE);
    tick(w, 16000);
    assert_int_equal(wish(&p), CONN_CLOSE);
    peer_close(&p);
    world_close(w);
}

static void connect_must_come_in_time(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    peer_open(&p, w, PROTOCOL_311);
    say_bytes(&p, SPAN("\x10"));
    tick(w, 4999);
    expect(&p, "");
    tick(w, 1);
    expect(&p, "closed");
    peer_close(&p);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_lives_as_long_as_was_asked),
        cmocka_unit_test(time_down_counts),
        cmocka_unit_test(a_will_is_published_when_the_connection_is_cut),
        cmocka_unit_test(disconnect_decides_about_the_will),
        cmocka_unit_test(a_delayed_will_comes_after_its_delay),
        cmocka_unit_test(a_delayed_will_comes_with_the_end_of_its_session),
        cmocka_unit_test(a_delayed_will_is_cancelled_by_the_next_connection),
        cmocka_unit_test(a_takeover_publishes_the_will_unless_it_is_delayed),
        cmocka_unit_test(wills_survive_the_broker),
        cmocka_unit_test(a_waiting_message_expires),
        cmocka_unit_test(an_expired_retained_message_is_removed),
        cmocka_unit_test(many_expire_in_slices),
        cmocka_unit_test(a_will_takes_the_place_of_an_expired_message_at_the_start),
        cmocka_unit_test(expired_retained_messages_leave_the_store_at_the_start),
        cmocka_unit_test(a_silent_client_is_closed),
        cmocka_unit_test(a_pause_is_not_held_against_the_client),
        cmocka_unit_test(a_client_that_does_not_read_is_closed),
        cmocka_unit_test(connect_must_come_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
