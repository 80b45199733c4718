/* Over a limit: what is refused, how the publisher learns it, and that everything goes on when there is room again. */
#include "world.h"

#include "broker/limits.h"
#include "broker/state.h"

/* `messages` may wait in a session and one may be under way to each client, unless it asks for less. */
static struct world *world_small(uint64_t messages) {
    struct world *w = world_new();
    w->options.queue_messages_max = messages;
    w->options.queue_policy = QUEUE_REFUSE;
    w->options.inflight_max = 1;
    w->at_once = true;
    world_open(w, 1);
    return w;
}

static void publish(struct peer *p, uint8_t qos, packet_id_t id, const char *topic) {
    say_publish(p, &(struct publishing){.qos = qos, .id = id, .topic = topic});
    turn(p->w);
}

static void a_5_0_publisher_is_told(void **state) {
    (void)state;
    struct world *w = world_small(1);
    struct peer to, from;
    joined(&to, w, PROTOCOL_5, "to", true);
    subscribed(&to, "t", 2);
    peer_close(&to);
    joined(&from, w, PROTOCOL_5, "from", true);
    publish(&from, 2, 1, "t");
    expect(&from, "PUBREC id=1 reason=0x00");
    publish(&from, 2, 2, "t");
    expect(&from, "PUBREC id=2 reason=0x97");
    publish(&from, 1, 3, "t");
    expect(&from, "PUBACK id=3 reason=0x97");
    publish(&from, 0, 0, "t"); /* nothing waits for it */
    expect_silence(&from);
    /* The refused id is new again, and the message is taken when there is room. */
    joined(&to, w, PROTOCOL_5, "to", true);
    expect(&to, "PUBLISH qos=2 id=1");
    publish(&from, 2, 2, "t");
    expect(&from, "PUBREC id=2 reason=0x00");
    assert_int_equal(counters(w).publish_refused, 2);
    assert_int_equal(counters(w).publish_received, 5);
    assert_int_equal(counters(w).held_ids, 2);
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

/* One of four queues is full: none of them gets the message, and none of them loses room by the refusal. */
static void a_refusal_leaves_no_trace(void **state) {
    (void)state;
    for (unsigned full = 0; full < 4; full++) {
        struct world *w = world_small(1);
        struct peer to[4], from;
        char name[8];
        joined(&from, w, PROTOCOL_5, "from", true);
        for (unsigned i = 0; i < 4; i++) {
            (void)snprintf(name, sizeof name, "own%u", i);
            joined(&to[i], w, PROTOCOL_5, name, true);
            subscribed(&to[i], "all", 1);
            subscribed(&to[i], name, 1);
            peer_close(&to[i]);
        }
        (void)snprintf(name, sizeof name, "own%u", full);
        publish(&from, 1, 1, name);
        expect(&from, "PUBACK id=1 reason=0x00");
        lsn_t last = w->store.last;
        for (int i = 0; i < 3; i++) {
            publish(&from, 1, 2, "all");
            expect(&from, "PUBACK id=2 reason=0x97");
        }
        assert_int_equal(w->store.last, last);
        for (unsigned i = 0; i < 4; i++) {
            (void)snprintf(name, sizeof name, "own%u", i);
            publish(&from, 1, 3, name);
            expect(&from, i == full ? "PUBACK id=3 reason=0x97" : "PUBACK id=3 reason=0x00");
        }
        peer_close(&from);
        world_close(w);
    }
}

static void a_3_1_1_publisher_waits(void **state) {
    (void)state;
    struct world *w = world_small(1);
    struct peer to, from;
    joined(&to, w, PROTOCOL_311, "to", true);
    subscribed(&to, "t", 1);
    peer_close(&to);
    joined(&from, w, PROTOCOL_311, "from", true);
    publish(&from, 1, 1, "t");
    expect(&from, "PUBACK id=1");
    publish(&from, 1, 2, "t");
    publish(&from, 1, 3, "t");
    for (int i = 0; i < 50; i++) {
        later(w, 10);
    }
    expect_silence(&from);
    assert_true(turn_end(w, 0).again);
    turn(w);
    struct shard_counters c = counters(w);
    assert_int_equal(c.publish_refused, 1); /* however often it was tried */
    assert_int_equal(c.publish_received, 1);
    joined(&to, w, PROTOCOL_311, "to", true);
    expect(&to, "PUBLISH qos=1 id=1");
    say_ack(&to, PACKET_PUBACK, 1, 0);
    later(w, 10);
    expect(&from, "PUBACK id=2");
    expect(&to, "PUBLISH qos=1 id=2");
    say_ack(&to, PACKET_PUBACK, 2, 0);
    later(w, 10);
    expect(&from, "PUBACK id=3");
    c = counters(w);
    assert_int_equal(c.publish_received, 3);
    assert_int_equal(c.packets_received, 2 + 1 + 1 + 3 + 2);
    assert_int_equal(wish(&from), CONN_READ);
    assert_false(turn_end(w, 0).again);
    turn(w);
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

static void a_3_1_1_publisher_that_waits_too_long_is_closed(void **state) {
    (void)state;
    struct world *w = world_small(1);
    struct peer to, from;
    joined(&to, w, PROTOCOL_311, "to", true);
    subscribed(&to, "t", 1);
    peer_close(&to);
    joined(&from, w, PROTOCOL_311, "from", true);
    publish(&from, 1, 1, "t");
    publish(&from, 1, 2, "t");
    expect(&from, "PUBACK id=1");
    for (int i = 0; i < 29; i++) {
        tick(w, 1000);
    }
    expect_silence(&from);
    tick(w, 1000);
    expect(&from, "closed");
    peer_close(&from);
    world_close(w);
}

/* A client that publishes into its own full queue: its acknowledgements stand behind the PUBLISH that needs them. */
static void acknowledgements_pass_a_refused_publish(void **state) {
    (void)state;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        struct world *w = world_small(1);
        struct peer p;
        joined(&p, w, PROTOCOL_311, "p", true);
        subscribed(&p, "t", qos);
        for (packet_id_t id = 1; id <= 6; id++) {
            say_publish(&p, &(struct publishing){.qos = qos, .id = id, .topic = "t"});
        }
        turn(w);
        expect(&p, "PUBLISH");
        expect(&p, qos == 1 ? "PUBACK id=1" : "PUBREC id=1");
        expect(&p, qos == 1 ? "PUBACK id=2" : "PUBREC id=2");
        expect_silence(&p); /* one under way, one waits, the third is refused */
        assert_int_equal(wish(&p), CONN_READ);
        for (packet_id_t id = 1; id <= 6; id++) {
            if (qos == 1) {
                say_ack(&p, PACKET_PUBACK, id, 0);
            } else {
                say_ack(&p, PACKET_PUBREC, id, 0);
                turn(w);
                expect(&p, "PUBREL");
                say_ack(&p, PACKET_PUBCOMP, id, 0);
            }
            later(w, 10);
            if (id <= 4) {
                char answer[32];
                (void)snprintf(answer, sizeof answer, "%s id=%u", qos == 1 ? "PUBACK" : "PUBREC", id + 2U);
                expect(&p, "PUBLISH");
                expect(&p, answer);
            } else if (id == 5) {
                expect(&p, "PUBLISH");
            }
        }
        expect_silence(&p);
        assert_int_equal(counters(w).queued, 0);
        assert_int_equal(fake_count(&w->store, RECORD_DONE), 6);
        peer_close(&p);
        world_close(w);
    }
}

/* What passes is taken out of the middle of what waits, wherever the pieces of the bytes end; a ping is answered. */
static void what_passes_is_found_in_any_pieces(void **state) {
    (void)state;
    for (size_t piece = 1; piece <= 40; piece++) {
        struct world *w = world_small(1);
        struct peer p;
        joined(&p, w, PROTOCOL_311, "p", true);
        subscribed(&p, "t", 1);
        static const uint8_t bytes[] = {0x32, 5, 0, 1, 't',  0, 1, /* PUBLISH 1, 2, 3 */
                                        0x32, 5, 0, 1, 't',  0, 2,   0x32, 5, 0, 1, 't', 0, 3, 0xc0, 0, /* PINGREQ */
                                        0x32, 5, 0, 1, 't',  0, 4,   0x40, 2, 0, 1, /* PUBLISH 4, PUBACK 1 */
                                        0x82, 6, 0, 9, 0,    1, 'u', 1,             /* SUBSCRIBE */
                                        0x40, 2, 0, 2, 0x40, 2, 0,   3};            /* PUBACK 2, 3 */
        for (size_t at = 0; at < sizeof bytes; at += piece) {
            say_bytes(&p, span_of(bytes + at, piece < sizeof bytes - at ? piece : sizeof bytes - at));
            turn(w);
        }
        for (int i = 0; i < 4; i++) {
            later(w, 10);
        }
        unsigned published = 0, acknowledged = 0, pings = 0, subacks = 0;
        for (const char *line = hear(&p); line[0] != '\0'; line = hear(&p)) {
            published += strncmp(line, "PUBLISH", 7) == 0;
            acknowledged += strncmp(line, "PUBACK", 6) == 0;
            pings += strncmp(line, "PINGRESP", 8) == 0;
            subacks += strncmp(line, "SUBACK id=9", 11) == 0;
            say_ack(&p, PACKET_PUBACK, (packet_id_t)published, 0);
            later(w, 10);
        }
        assert_int_equal(published, 4);
        assert_int_equal(acknowledged, 4);
        assert_int_equal(pings, 1);
        assert_int_equal(subacks, 1);
        peer_close(&p);
        world_close(w);
    }
}

/* It is read from only so far: memory is bounded. Ended meanwhile, it is ended. */
static void what_waits_behind_a_refused_publish_is_bounded(void **state) {
    (void)state;
    struct world *w = world_small(1);
    struct peer p;
    char payload[10001];
    memset(payload, 'x', sizeof payload - 1);
    payload[sizeof payload - 1] = '\0';
    joined(&p, w, PROTOCOL_311, "p", true);
    subscribed(&p, "t", 1);
    size_t bytes = 0;
    for (packet_id_t id = 1; wish(&p) == CONN_READ; id++) {
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t", .payload = payload});
        turn(w);
        bytes += sizeof payload;
        assert_true(bytes < 2U << 20);
    }
    assert_true(bytes > w->options.packet.packet_bytes_max);
    expect(&p, "PUBLISH");
    expect(&p, "PUBACK id=1");
    peer_close(&p);
    world_close(w);
}

static void answers_behind_a_refused_publish_are_bounded(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->at_once = true;
    w->options.queue_messages_max = 1;
    w->options.inflight_max = 1;
    w->options.outbox_bytes_max = 100;
    world_open(w, 1);
    joined(&p, w, PROTOCOL_311, "p", true);
    subscribed(&p, "t", 1);
    for (packet_id_t id = 1; id <= 3; id++) {
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
    }
    for (unsigned i = 0; i < 1000; i++) {
        say_ping(&p);
        later(w, 10);
    }
    assert_int_equal(wish(&p), CONN_PAUSE);
    assert_true(shard_output_bytes(world_shard(w, 0), p.handle) < 300);
    for (const char *line = hear(&p); line[0] != '\0'; line = hear(&p)) {
        say_ack(&p, PACKET_PUBACK, 1, 0);
        say_ack(&p, PACKET_PUBACK, 2, 0);
        say_ack(&p, PACKET_PUBACK, 3, 0);
        later(w, 10);
    }
    assert_int_equal(counters(w).queued, 0);
    assert_int_equal(wish(&p), CONN_READ);
    peer_close(&p);
    world_close(w);
}

static bool is_named(const struct world *w, const struct peer *p) {
    struct conn_handle handle;
    bool named = false;
    while (shard_next_dirty(world_shard(w, 0), &handle)) {
        named = named || handle.index == p->handle.index;
    }
    return named;
}

/* Behind a PUBLISH that waits only so much is read. The network hears of it when that is all: a socket that is watched
 * and not read would wake it for ever. */
static void the_network_hears_when_enough_is_behind_a_refused_publish(void **state) {
    (void)state;
    static char payload[50000];
    struct world *w = world_small(1);
    struct peer p;
    memset(payload, 'm', sizeof payload - 1);
    joined(&p, w, PROTOCOL_311, "p", true);
    subscribed(&p, "t", 1);
    for (packet_id_t id = 1; id <= 3; id++) {
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
    }
    assert_true(is_named(w, &p));
    assert_int_equal(wish(&p), CONN_READ);
    for (packet_id_t id = 4; wish(&p) == CONN_READ; id++) {
        assert_true(id < 1000);
        assert_false(is_named(w, &p));
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t", .payload = payload});
    }
    assert_int_equal(wish(&p), CONN_PAUSE);
    assert_true(is_named(w, &p));
    peer_close(&p);
    world_close(w);
}

static void disconnect_behind_a_refused_publish_is_one(void **state) {
    (void)state;
    struct world *w = world_small(1);
    struct peer p, watcher;
    joined(&watcher, w, PROTOCOL_311, "watcher", false);
    subscribed(&watcher, "w", 0);
    peer_open(&p, w, PROTOCOL_311);
    say_connect(&p, &(struct connecting){.id = "p", .will = "w"});
    turn(w);
    expect(&p, "CONNACK");
    subscribed(&p, "t", 1);
    for (packet_id_t id = 1; id <= 3; id++) {
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
    }
    say_disconnect(&p, 0);
    peer_close(&p);
    turn(w);
    expect_silence(&watcher);
    peer_close(&watcher);
    world_close(w);
}

static void a_wrong_acknowledgement_behind_a_refused_publish_ends_the_connection(void **state) {
    (void)state;
    struct world *w = world_small(1);
    struct peer p;
    joined(&p, w, PROTOCOL_311, "p", true);
    subscribed(&p, "t", 1);
    for (packet_id_t id = 1; id <= 3; id++) {
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
    }
    say_ack(&p, PACKET_PUBREC, 1, 0);
    say_ping(&p);
    turn(w);
    assert_int_equal(wish(&p), CONN_CLOSE);
    peer_close(&p);
    world_close(w);
}

/* Each try of a message with many receivers is work: others have half of each turn, and in the end all are taken. */
static void tries_take_half_of_a_turn(void **state) {
    (void)state;
    enum { FROM = 40, LEVELS = 6, POINTS = 64 };
    struct world *w = world_new();
    struct peer to, many, from[FROM];
    char text[32];
    w->options.queue_messages_max = 1;
    w->options.queue_policy = QUEUE_REFUSE;
    w->options.turn_points = POINTS;
    w->at_once = true;
    world_open(w, 1);
    joined(&many, w, PROTOCOL_311, "many", false);
    for (unsigned set = 0; set < 1U << LEVELS; set++) {
        for (unsigned i = 0; i < LEVELS; i++) {
            text[i * 2] = (set >> i & 1) != 0 ? '+' : 'a';
            text[i * 2 + 1] = i + 1 < LEVELS ? '/' : '\0';
        }
        subscribed(&many, text, 0);
    }
    joined(&to, w, PROTOCOL_311, "to", true);
    subscribed(&to, "#", 1);
    peer_close(&to);
    for (unsigned i = 0; i < FROM; i++) {
        (void)snprintf(text, sizeof text, "from%u", i);
        joined(&from[i], w, PROTOCOL_311, text, false);
        publish(&from[i], 1, 1, "a/a/a/a/a/a");
    }
    expect(&from[0], "PUBACK id=1");
    unsigned halves = 0; /* a turn in which a round of tries ends has more left */
    for (unsigned i = 0; i < 20; i++) {
        later(w, 10);
        turn_begin(w, 0);
        w->now += 10;
        turn_begin(w, 0);
        assert_in_range(world_shard(w, 0)->points, POINTS / 2 - 10, POINTS);
        halves += world_shard(w, 0)->points <= POINTS / 2;
    }
    assert_in_range(halves, 10, 20);
    peer_close(&many);
    joined(&to, w, PROTOCOL_311, "to", true);
    for (unsigned i = 0; i < FROM; i++) {
        for (unsigned tries = 0; strncmp(hear(&to), "PUBLISH", 7) != 0; tries++) {
            assert_true(tries < 2 * FROM);
            later(w, 10);
        }
        say_ack(&to, PACKET_PUBACK, (packet_id_t)(i + 1), 0);
    }
    for (unsigned i = 0; i < FROM; i++) {
        if (i > 0) {
            expect(&from[i], "PUBACK id=1");
        }
        peer_close(&from[i]);
    }
    peer_close(&to);
    world_close(w);
}

/* ---- the store ---- */

static void a_busy_store_slows_publishers(void **state) {
    (void)state;
    struct world *w = world_small(100);
    struct peer p;
    joined(&p, w, PROTOCOL_311, "p", true);
    w->store.pressure = STORE_BUSY;
    turn(w);
    publish(&p, 1, 1, "t");
    publish(&p, 1, 2, "t");
    expect(&p, "PUBACK id=1");
    expect_silence(&p);
    assert_int_equal(wish(&p), CONN_PAUSE);
    w->store.pressure = STORE_EASY;
    turn(w);
    expect(&p, "PUBACK id=2");
    assert_int_equal(wish(&p), CONN_READ);
    peer_close(&p);
    world_close(w);
}

static void a_full_store_takes_nothing_new(void **state) {
    (void)state;
    struct world *w = world_small(100);
    struct peer to, from, other;
    joined(&to, w, PROTOCOL_5, "to", true);
    subscribed(&to, "t", 2);
    joined(&from, w, PROTOCOL_5, "from", true);
    publish(&from, 2, 1, "t");
    expect(&from, "PUBREC id=1 reason=0x00");
    expect(&to, "PUBLISH qos=2 id=1");
    w->store.pressure = STORE_FULL;
    turn(w);
    lsn_t last = w->store.last;
    publish(&from, 2, 2, "t");
    expect(&from, "PUBREC id=2 reason=0x97");
    publish(&from, 0, 0, "t");
    expect(&to, "PUBLISH qos=0"); /* needs no store */
    say_publish(&from, &(struct publishing){.qos = 0, .topic = "r", .payload = "x", .retain = true});
    say_subscribe(&to, 5, "u", 1);
    expect(&to, "SUBACK id=5 0x97");
    for (int anonymous = 0; anonymous <= 1; anonymous++) {
        join(&other, w, PROTOCOL_5, anonymous ? "" : "new", true);
        expect(&other, "CONNACK new reason=0x97");
        expect(&other, "closed");
        peer_close(&other);
    }
    assert_int_equal(w->store.last, last);
    /* What has begun is finished. */
    say_ack(&to, PACKET_PUBREC, 1, 0);
    turn(w);
    expect(&to, "PUBREL id=1");
    say_ack(&from, PACKET_PUBREL, 1, 0);
    turn(w);
    expect(&from, "PUBCOMP id=1 reason=0x00");
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

/* Clearing what is retained makes room, so it must not need any. What is not there cannot be cleared. */
static void a_full_store_lets_retained_messages_be_cleared(void **state) {
    (void)state;
    struct world *w = world_small(100);
    struct peer p;
    joined(&p, w, PROTOCOL_5, "p", true);
    subscribed(&p, "other/#", 1);
    for (packet_id_t id = 1; id <= 2; id++) {
        say_publish(&p, &(struct publishing){
                            .qos = 1, .id = id, .topic = id == 1 ? "r" : "other/r", .payload = "x", .retain = true});
        turn(w);
    }
    expect(&p, "PUBACK id=1 reason=0x10");
    expect(&p, "PUBLISH qos=1");
    expect(&p, "PUBACK id=2 reason=0x00");
    w->store.pressure = STORE_FULL;
    turn(w);
    say_publish(&p, &(struct publishing){.qos = 1, .id = 3, .topic = "r", .payload = "y", .retain = true});
    turn(w);
    expect(&p, "PUBACK id=3 reason=0x97");
    say_publish(&p, &(struct publishing){.qos = 2, .id = 4, .topic = "r", .retain = true});
    turn(w);
    expect(&p, "PUBREC id=4 reason=0x10");
    say_publish(&p, &(struct publishing){.qos = 1, .id = 5, .topic = "other/r", .retain = true});
    turn(w);
    expect(&p, "PUBACK id=5 reason=0x00");
    lsn_t last = w->store.last;
    say_publish(&p, &(struct publishing){.qos = 1, .id = 6, .topic = "r", .retain = true});
    turn(w);
    expect(&p, "PUBACK id=6 reason=0x10"); /* it is clear already */
    assert_int_equal(w->store.last, last);
    peer_close(&p);
    world_close(w);
}

/* ---- what no record can hold ---- */

/* A store that takes a message "x" to "t" for three sessions, and not for four. */
static struct world *world_short(void) {
    struct world *w = world_small(100);
    w->store.store.record_bytes_max = 72 + 2 + 3 * 11;
    return w;
}

static void sessions_at_t(struct world *w, uint16_t first, uint16_t end) {
    for (uint16_t i = first; i < end; i++) {
        struct peer to;
        char name[8];
        (void)snprintf(name, sizeof name, "%u", i);
        joined(&to, w, PROTOCOL_311, name, true);
        subscribed(&to, "t", 1);
        peer_close(&to);
    }
}

static void a_message_for_too_many_is_refused(void **state) {
    (void)state;
    struct world *w = world_short();
    struct peer from, old, live;
    sessions_at_t(w, 0, 3);
    joined(&from, w, PROTOCOL_5, "from", true);
    joined(&live, w, PROTOCOL_311, "live", false);
    subscribed(&live, "t", 0); /* needs no record */
    say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "t", .payload = "x"});
    turn(w);
    expect(&from, "PUBACK id=1 reason=0x00");
    expect(&live, "PUBLISH qos=0");
    sessions_at_t(w, 3, 4);
    lsn_t last = w->store.last;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        say_publish(&from, &(struct publishing){.qos = qos, .id = 9, .topic = "t", .payload = "x"});
        turn(w);
        expect(&from, qos == 1 ? "PUBACK id=9 reason=0x97" : "PUBREC id=9 reason=0x97");
    }
    joined(&old, w, PROTOCOL_311, "old", false);
    say_publish(&old, &(struct publishing){.qos = 1, .id = 9, .topic = "t", .payload = "x"});
    say_ping(&old);
    turn(w);
    expect(&old, "closed"); /* trying again would not help */
    assert_non_null(strstr(w->log, "fits into no journal file"));
    assert_int_equal(w->store.last, last);
    expect_silence(&live);
    assert_int_equal(counters(w).publish_refused, 3);
    say_publish(&from, &(struct publishing){.qos = 0, .topic = "t", .payload = "x"});
    turn(w);
    expect(&live, "PUBLISH qos=0");
    peer_close(&old);
    peer_close(&from);
    peer_close(&live);
    world_close(w);
}

/* ---- more subscriptions than one publish may reach ---- */

/* With so many sessions at "t" as it may. */
static struct world *world_of_matches(uint16_t most) {
    struct world *w = world_new();
    w->options.matches_max = most;
    w->at_once = true;
    world_open(w, 1);
    sessions_at_t(w, 0, most);
    return w;
}

static uint64_t matches_refused(const struct world *w) {
    struct account *owner = quota_owner(broker_quota(w->broker), SPAN("peer"));
    const uint64_t refused = atomic_load(&owner->refused[QUOTA_MATCHES]);
    quota_owner_unref(broker_quota(w->broker), owner);
    return refused;
}

static void a_message_that_matches_too_many_is_refused(void **state) {
    (void)state;
    for (uint16_t most = 1; most < 8; most = (uint16_t)(most * 5 + 2)) {
        struct world *w = world_of_matches(most);
        struct peer from, old, live;
        joined(&live, w, PROTOCOL_311, "live", false);
        subscribed(&live, "t", 0); /* takes nothing that lasts */
        joined(&from, w, PROTOCOL_5, "from", true);
        publish(&from, 1, 1, "t");
        expect(&from, "PUBACK id=1 reason=0x00");
        expect(&live, "PUBLISH qos=0");
        assert_int_equal(matches_refused(w), 0);
        sessions_at_t(w, most, (uint16_t)(most + 1));
        const lsn_t last = w->store.last;
        for (uint8_t qos = 1; qos <= 2; qos++) {
            publish(&from, qos, 2, "t");
            expect(&from, qos == 1 ? "PUBACK id=2 reason=0x97 {Reason String: \"the message matches more subscriptions "
                                     "than max_matches allows\"}"
                                   : "PUBREC id=2 reason=0x97");
        }
        joined(&old, w, PROTOCOL_311, "old", false);
        publish(&old, 2, 1, "t");
        expect(&old, "closed");
        assert_non_null(strstr(w->log, "max_matches"));
        assert_int_equal(w->store.last, last);
        assert_int_equal(matches_refused(w), 3);
        expect_silence(&live);
        publish(&from, 0, 0, "t");
        expect(&live, "PUBLISH qos=0");
        peer_close(&old);
        peer_close(&from);
        peer_close(&live);
        world_close(w);
    }
}

static void what_a_publish_to_many_needed_is_given_back(void **state) {
    (void)state;
    struct world *w = world_of_matches(2500);
    struct peer from;
    joined(&from, w, PROTOCOL_5, "from", true);
    publish(&from, 0, 0, "t");
    const struct shard *shard = broker_shard(w->broker, 0);
    assert_true(shard->targets_capacity >= 5000 && shard->matches.capacity >= 2500);
    tick(w, 1000);
    assert_true(shard->targets_capacity == 0 && shard->matches.capacity == 0);
    publish(&from, 0, 0, "t");
    assert_true(shard->targets_capacity >= 5000);
    peer_close(&from);
    world_close(w);
}

static void what_is_too_long_for_a_record_is_refused(void **state) {
    (void)state;
    struct world *w = world_short();
    struct peer p, new;
    char text[64];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    joined(&p, w, PROTOCOL_5, "p", true);
    lsn_t last = w->store.last;
    say_subscribe(&p, 5, text, 1);
    turn(w);
    expect(&p, "SUBACK id=5 0x97");
    say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = "t", .payload = text, .retain = true});
    turn(w);
    expect(&p, "PUBACK id=1 reason=0x97");
    peer_open(&new, w, PROTOCOL_5);
    say_connect(&new, &(struct connecting){.id = "new", .will = text, .expiry_s = 3600});
    turn(w);
    expect(&new, "CONNACK new reason=0x97");
    peer_close(&new);
    join(&new, w, PROTOCOL_311, text, true);
    turn(w);
    expect(&new, "CONNACK new reason=0x03");
    peer_close(&new);
    assert_int_equal(w->store.last, last);
    peer_close(&p);
    world_close(w);
}

/* A will that has found more receivers than a record can hold cannot stop the broker. */
static void a_will_for_too_many_is_given_up(void **state) {
    (void)state;
    struct world *w = world_small(100);
    struct peer p;
    sessions_at_t(w, 0, 4);
    peer_open(&p, w, PROTOCOL_311);
    say_connect(&p, &(struct connecting){.id = "p", .will = "t", .will_qos = 1});
    durable_all(w);
    expect(&p, "CONNACK");
    w->store.store.record_bytes_max = 72 + 2 + 3 * 11;
    peer_close(&p);
    turn(w);
    assert_non_null(strstr(w->log, "the will of p"));
    assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), 0);
    assert_true(fake_newest(&w->store, RECORD_WILL_CLEARED) > 0);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_5_0_publisher_is_told),
        cmocka_unit_test(a_refusal_leaves_no_trace),
        cmocka_unit_test(a_3_1_1_publisher_waits),
        cmocka_unit_test(a_3_1_1_publisher_that_waits_too_long_is_closed),
        cmocka_unit_test(acknowledgements_pass_a_refused_publish),
        cmocka_unit_test(what_passes_is_found_in_any_pieces),
        cmocka_unit_test(what_waits_behind_a_refused_publish_is_bounded),
        cmocka_unit_test(answers_behind_a_refused_publish_are_bounded),
        cmocka_unit_test(the_network_hears_when_enough_is_behind_a_refused_publish),
        cmocka_unit_test(disconnect_behind_a_refused_publish_is_one),
        cmocka_unit_test(a_wrong_acknowledgement_behind_a_refused_publish_ends_the_connection),
        cmocka_unit_test(tries_take_half_of_a_turn),
        cmocka_unit_test(a_busy_store_slows_publishers),
        cmocka_unit_test(a_full_store_takes_nothing_new),
        cmocka_unit_test(a_full_store_lets_retained_messages_be_cleared),
        cmocka_unit_test(a_message_for_too_many_is_refused),
        cmocka_unit_test(a_message_that_matches_too_many_is_refused),
        cmocka_unit_test(what_a_publish_to_many_needed_is_given_back),
        cmocka_unit_test(what_is_too_long_for_a_record_is_refused),
        cmocka_unit_test(a_will_for_too_many_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
