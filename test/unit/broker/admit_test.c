/* Admission: the sums are bounded, one owner has no more than its share, and what was taken is given back. */
#include "owners.h"

/* Connects new sessions until one is refused; returns how many got in. They go away, and their sessions stay. */
static unsigned flood(struct world *w, const char *address, const char *name, unsigned most) {
    for (unsigned i = 0; i < most; i++) {
        struct peer p;
        char id[32];
        (void)snprintf(id, sizeof id, "%s%u", name, i);
        join_from(&p, w, address, id, true);
        bool in = strncmp(hear(&p), "CONNACK new reason=0x00", 23) == 0;
        if (!in) {
            assert_non_null(strstr(p.line, "reason=0x97"));
        }
        peer_close(&p);
        if (!in) {
            return i;
        }
    }
    return most;
}

/* One address takes its share of sessions, and no more; another gets in; who has a session comes back. */
static void sessions_that_never_come_back_are_bounded(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->options.memory_limit = 1ULL << 40;
    w->options.owner_share = 1;
    w->at_once = true;
    world_open(w, 1);
    /* The share is 1 % of everything: reached by pretending that the owner has nearly all of it. */
    struct account *owner = quota_owner(w->broker->quota, SPAN("10.0.0.1"));
    uint64_t most = owner->most[QUOTA_KEPT_BYTES];
    struct quota_need need = {QUOTA_KEPT_BYTES, most - 10000};
    quota_take(owner, &need, 1);
    unsigned got = flood(w, "10.0.0.1:5", "a", 100);
    assert_in_range(got, 5, 10);
    assert_int_equal(flood(w, "10.0.0.2:5", "b", 20), 20);
    assert_int_equal(taken(w, QUOTA_SESSIONS), got + 20);
    join_from(&p, w, "10.0.0.1:9", "a0", true); /* it has its session already */
    expect(&p, "CONNACK present reason=0x00");
    peer_close(&p);
    join_from(&p, w, "10.0.0.1:9", "a1", false); /* and may end it */
    expect(&p, "CONNACK new reason=0x00");
    peer_close(&p);
    assert_int_equal(flood(w, "10.0.0.1:5", "c", 100), 1);
    quota_give(owner, &need, 1);
    quota_owner_unref(w->broker->quota, owner);
    tick(w, 3601 * 1000);
    assert_nothing_taken(w);
    world_close(w);
}

/* Each way to subscribe and to stop leaves the account as it was. */
static void subscriptions_are_counted_once(void **state) {
    (void)state;
    struct world *w = world_limited(1ULL << 40);
    struct peer p;
    join_from(&p, w, "10.0.0.1:1", "p", true);
    uint64_t kept = taken(w, QUOTA_KEPT_BYTES);
    expect(&p, "CONNACK");
    for (unsigned again = 0; again < 3; again++) {
        say_subscribe(&p, 1, "a/b/c", 1);
        say_subscribe(&p, 2, "#", 2);
    }
    assert_int_equal(taken(w, QUOTA_SUBSCRIPTIONS), 2);
    uint64_t both = taken(w, QUOTA_KEPT_BYTES);
    assert_true(both > kept + 500);
    say_unsubscribe(&p, 3, "a/b/c");
    say_unsubscribe(&p, 4, "a/b/c");
    say_unsubscribe(&p, 5, "never");
    assert_int_equal(taken(w, QUOTA_SUBSCRIPTIONS), 1);
    say_unsubscribe(&p, 6, "#");
    assert_int_equal(taken(w, QUOTA_KEPT_BYTES), kept);
    say_subscribe(&p, 7, "x", 2);
    peer_close(&p);
    join_from(&p, w, "10.0.0.2:1", "p", true); /* it has moved: another owner pays */
    struct account *owner = quota_owner(w->broker->quota, SPAN("10.0.0.2"));
    assert_int_equal(quota_taken(owner, QUOTA_SUBSCRIPTIONS), 1);
    assert_int_equal(quota_taken(owner, QUOTA_SESSIONS), 1);
    quota_owner_unref(w->broker->quota, owner);
    peer_close(&p);
    join_from(&p, w, "10.0.0.2:1", "p", false);
    peer_close(&p);
    assert_nothing_taken(w);
    world_close(w);
}

static void a_subscription_over_the_share_is_refused(void **state) {
    (void)state;
    struct world *w = world_limited(1ULL << 40);
    struct peer p, other;
    join_from(&p, w, "10.0.0.1:1", "p", true);
    join_from(&other, w, "10.0.0.2:1", "other", false);
    expect(&p, "CONNACK");
    expect(&other, "CONNACK");
    struct account *owner = quota_owner(w->broker->quota, SPAN("10.0.0.1"));
    struct quota_need need = {QUOTA_KEPT_BYTES, owner->most[QUOTA_KEPT_BYTES] - 2000};
    quota_take(owner, &need, 1);
    say_subscribe(&p, 1, "a/b/c", 1);
    turn(w);
    expect(&p, "SUBACK id=1 0x01");
    say_subscribe(&p, 2, "1/2/3/4/5/6/7/8/9", 1);
    turn(w);
    expect(&p, "SUBACK id=2 0x97");
    say_subscribe(&p, 3, "a/b/c", 0); /* it has that one */
    turn(w);
    expect(&p, "SUBACK id=3 0x00");
    say_subscribe(&other, 1, "1/2/3/4/5/6/7/8/9", 1);
    turn(w);
    expect(&other, "SUBACK id=1 0x01");
    say_unsubscribe(&p, 4, "a/b/c");
    turn(w);
    expect(&p, "UNSUBACK id=4 0x00");
    quota_give(owner, &need, 1);
    quota_owner_unref(w->broker->quota, owner);
    peer_close(&p);
    peer_close(&other);
    world_close(w);
}

/* ---- retained messages ---- */

static void retain(struct peer *p, packet_id_t id, const char *topic, const char *payload) {
    say_publish(p, &(struct publishing){.qos = 1, .id = id, .retain = true, .topic = topic, .payload = payload});
    turn(p->w);
}

static void retained_messages_are_bounded(void **state) {
    (void)state;
    struct world *w = world_limited(1ULL << 40);
    struct peer p;
    join_from(&p, w, "10.0.0.1:1", "p", false);
    expect(&p, "CONNACK");
    retain(&p, 1, "t", "value");
    expect(&p, "PUBACK id=1 reason=0x10");
    uint64_t one = taken(w, QUOTA_RETAINED_BYTES);
    struct account *all = quota_all(w->broker->quota);
    struct quota_need need = {QUOTA_RETAINED_BYTES, all->most[QUOTA_RETAINED_BYTES] - one - 10};
    quota_take(all, &need, 1);
    retain(&p, 2, "u", "v");
    expect(&p, "PUBACK id=2 reason=0x97");
    retain(&p, 3, "t", "a much longer value");
    expect(&p, "PUBACK id=3 reason=0x97");
    retain(&p, 4, "t", "longer");
    expect(&p, "PUBACK id=4 reason=0x10");
    retain(&p, 5, "t", "s");
    expect(&p, "PUBACK id=5 reason=0x10");
    assert_int_equal(taken(w, QUOTA_RETAINED), 1);
    retain(&p, 6, "t", "");
    expect(&p, "PUBACK id=6 reason=0x10");
    retain(&p, 7, "t", ""); /* clear already */
    expect(&p, "PUBACK id=7 reason=0x10");
    assert_int_equal(taken(w, QUOTA_RETAINED), 0);
    quota_give(all, &need, 1);
    assert_int_equal(taken(w, QUOTA_RETAINED_BYTES), 0);
    peer_close(&p);
    assert_nothing_taken(w);
    world_close(w);
}

/* One address takes its share of the room for retained messages, and no more; who replaces a message pays for it. */
static void retained_messages_have_an_owner(void **state) {
    (void)state;
    struct world *w = world_limited(1ULL << 40);
    struct peer p, q;
    join_from(&p, w, "10.0.0.1:1", "p", false);
    expect(&p, "CONNACK");
    join_from(&q, w, "10.0.0.2:1", "q", false);
    expect(&q, "CONNACK");
    retain(&p, 1, "t", "value");
    expect(&p, "PUBACK id=1 reason=0x10");
    const uint64_t one = taken_by(w, "10.0.0.1", QUOTA_RETAINED_BYTES);
    assert_int_equal(one, taken(w, QUOTA_RETAINED_BYTES));
    struct account *owner = quota_owner(w->broker->quota, SPAN("10.0.0.1"));
    struct quota_need need = {QUOTA_RETAINED_BYTES, owner->most[QUOTA_RETAINED_BYTES] - one - 10};
    quota_take(owner, &need, 1);
    retain(&p, 2, "u", "v");
    expect(&p, "PUBACK id=2 reason=0x97");
    assert_non_null(strstr(p.line, "as far as one address may have it"));
    assert_non_null(strstr(w->log, "as far as one address may have it"));
    retain(&p, 3, "t", "a much longer value");
    expect(&p, "PUBACK id=3 reason=0x97");
    assert_int_equal(quota_taken(owner, QUOTA_RETAINED), 1);
    retain(&q, 1, "u", "v"); /* others have room */
    expect(&q, "PUBACK id=1 reason=0x10");
    retain(&p, 4, "u", "v"); /* and what is theirs does not become its own */
    expect(&p, "PUBACK id=4 reason=0x97");
    retain(&q, 2, "t", "a much longer value");
    expect(&q, "PUBACK id=2 reason=0x10");
    assert_int_equal(quota_taken(owner, QUOTA_RETAINED), 0);
    assert_int_equal(taken_by(w, "10.0.0.2", QUOTA_RETAINED), 2);
    retain(&p, 5, "t", "small"); /* there is room now */
    expect(&p, "PUBACK id=5 reason=0x10");
    assert_int_equal(quota_taken(owner, QUOTA_RETAINED), 1);
    assert_int_equal(taken_by(w, "10.0.0.2", QUOTA_RETAINED), 1);
    retain(&q, 3, "t", "");
    expect(&q, "PUBACK id=3 reason=0x10");
    retain(&p, 6, "u", "");
    expect(&p, "PUBACK id=6 reason=0x10");
    quota_give(owner, &need, 1);
    quota_owner_unref(w->broker->quota, owner);
    peer_close(&p);
    peer_close(&q);
    assert_nothing_taken(w);
    world_close(w);
}

static void load_owned(const struct store_sink *sink, void *user) {
    (void)user;
    const struct message_parts owned = {
        .retain = true, .topic = SPAN("a"), .payload = SPAN("x"), .owner = SPAN("10.0.0.9")};
    const struct message_parts old = {.retain = true, .topic = SPAN("b"), .payload = SPAN("x")};
    sink->retained(sink->user, message_create(&owned));
    sink->retained(sink->user, message_create(&old));
}

/* A message of an earlier version has none: it counts, and may be replaced and cleared. */
static void retained_messages_come_back_with_their_owner(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->at_once = true;
    w->store.load = load_owned;
    world_open(w, 1);
    assert_int_equal(taken_by(w, "10.0.0.9", QUOTA_RETAINED), 1);
    assert_int_equal(taken_by(w, "", QUOTA_RETAINED), 1);
    join_from(&p, w, "10.0.0.1:1", "p", false);
    expect(&p, "CONNACK");
    retain(&p, 1, "b", "y");
    expect(&p, "PUBACK id=1 reason=0x10");
    assert_int_equal(taken_by(w, "10.0.0.1", QUOTA_RETAINED), 1);
    retain(&p, 2, "a", "");
    retain(&p, 3, "b", "");
    assert_int_equal(taken(w, QUOTA_RETAINED), 0);
    assert_int_equal(taken(w, QUOTA_RETAINED_BYTES), 0);
    peer_close(&p);
    world_close(w);
}

/* A will is its session's owner's. */
static void a_retained_will_has_an_owner(void **state) {
    (void)state;
    struct world *w = world_limited(1ULL << 40);
    struct peer p = {.w = w, .protocol = PROTOCOL_5, .received = {NULL, 0, 0}};
    p.handle = shard_opened(world_shard(w, 0), "[2001:db8:0:7::5]:1");
    say_connect(&p, &(struct connecting){.id = "p", .clean = true, .will = "w", .will_retain = true});
    turn(w);
    expect(&p, "CONNACK");
    peer_close(&p);
    assert_int_equal(taken_by(w, "2001:db8:0:7::", QUOTA_RETAINED), 1);
    world_close(w);
}

/* ---- bytes that wait ---- */

static void half_packets_are_bounded(void **state) {
    (void)state;
    enum { MANY = 30 };
    struct world *w = world_limited(1ULL << 40);
    struct peer p[MANY], other;
    char id[8];
    struct account *owner = quota_owner(w->broker->quota, SPAN("10.0.0.1"));
    struct quota_need need = {QUOTA_INPUT_BYTES, owner->most[QUOTA_INPUT_BYTES] - 100000};
    quota_take(owner, &need, 1);
    static const uint8_t half[10000] = {0x30, 0xff, 0xff, 0x03};
    unsigned closed = 0;
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(id, sizeof id, "h%u", i);
        join_from(&p[i], w, "10.0.0.1:1", id, false);
        say_bytes(&p[i], span_of(half, sizeof half));
        turn(w);
        closed += wish(&p[i]) == CONN_CLOSE;
    }
    assert_in_range(closed, MANY - 10, MANY - 3);
    assert_true(quota_taken(owner, QUOTA_INPUT_BYTES) <= owner->most[QUOTA_INPUT_BYTES]);
    join_from(&other, w, "10.0.0.2:1", "other", false);
    say_bytes(&other, span_of(half, sizeof half));
    assert_int_equal(wish(&other), CONN_READ);
    peer_close(&other);
    for (unsigned i = 0; i < MANY; i++) {
        peer_close(&p[i]);
    }
    quota_give(owner, &need, 1);
    quota_owner_unref(w->broker->quota, owner);
    assert_nothing_taken(w);
    world_close(w);
}

/* Two owners have taken all that may wait: who has the beginning of a small packet waits for the rest all the same. */
static void a_small_half_packet_is_always_kept(void **state) {
    (void)state;
    struct world *w = world_limited(1ULL << 40);
    struct account *owners[] = {quota_owner(w->broker->quota, SPAN("10.0.0.1")),
                                quota_owner(w->broker->quota, SPAN("10.0.0.2"))};
    struct quota_need need = {QUOTA_INPUT_BYTES, owners[0]->most[QUOTA_INPUT_BYTES] + 100};
    struct peer p;
    static const uint8_t publish[] = {0x30, 100, 0, 1, 't'};
    for (size_t i = 0; i < 2; i++) {
        quota_take(owners[i], &need, 1);
    }
    join_from(&p, w, "10.0.0.3:1", "p", false);
    expect(&p, "CONNACK");
    say_bytes(&p, span_of(publish, sizeof publish));
    turn(w);
    assert_int_equal(wish(&p), CONN_READ);
    assert_true(taken_by(w, "10.0.0.3", QUOTA_INPUT_BYTES) > 0);
    peer_close(&p);
    for (size_t i = 0; i < 2; i++) {
        quota_give(owners[i], &need, 1);
        quota_owner_unref(w->broker->quota, owners[i]);
    }
    assert_nothing_taken(w);
    world_close(w);
}

/* Outboxes of those who do not read are bounded all together; what waits for room comes when there is some. */
static void unread_bytes_are_bounded(void **state) {
    (void)state;
    enum { MANY = 8, MESSAGES = 20 };
    struct world *w = world_limited(1ULL << 40);
    struct peer to[MANY], from;
    char text[3001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (unsigned i = 0; i < MANY; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "t%u", i);
        join_from(&to[i], w, "10.0.0.1:1", id, i % 2 == 0);
        expect(&to[i], "CONNACK");
        subscribed(&to[i], "t", 1);
    }
    join_from(&from, w, "10.0.0.2:1", "from", false);
    expect(&from, "CONNACK");
    struct account *owner = quota_owner(w->broker->quota, SPAN("10.0.0.1"));
    struct quota_need need = {QUOTA_OUTPUT_BYTES, owner->most[QUOTA_OUTPUT_BYTES] - 60000};
    quota_take(owner, &need, 1);
    for (packet_id_t id = 1; id <= MESSAGES; id++) {
        say_publish(&from, &(struct publishing){.qos = 1, .id = id, .topic = "t", .payload = text});
        turn(w);
        expect(&from, "PUBACK");
    }
    size_t waiting = 0;
    for (unsigned i = 0; i < MANY; i++) {
        waiting += shard_output_bytes(world_shard(w, 0), to[i].handle);
        assert_true(shard_output_bytes(world_shard(w, 0), to[i].handle) > 0);
    }
    assert_in_range(waiting, 30000, 110000); /* of 480,000 */
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            peer_read(&to[i], SIZE_MAX);
        }
        turn(w);
    }
    for (unsigned i = 0; i < MANY; i++) {
        for (unsigned n = 1; n <= MESSAGES; n++) {
            expect(&to[i], "PUBLISH");
            say_ack(&to[i], PACKET_PUBACK, (packet_id_t)n, 0);
        }
        expect_silence(&to[i]);
        peer_close(&to[i]);
    }
    peer_close(&from);
    quota_give(owner, &need, 1);
    quota_owner_unref(w->broker->quota, owner);
    assert_int_equal(taken(w, QUOTA_OUTPUT_BYTES), 0);
    world_close(w);
}

/* A retained message counts, too, and clearing makes room. */
static void retained_messages_have_their_share_of_the_store(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p;
    w->options.store_limit = 20 * 1000;
    w->options.owner_share = 50;
    w->at_once = true;
    world_open(w, 1);
    join_from(&p, w, "10.0.0.1:1", "p", false);
    expect(&p, "CONNACK");
    char text[9001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    retain(&p, 1, "a", text);
    expect(&p, "PUBACK id=1 reason=0x10");
    retain(&p, 2, "b", text); /* as long as the store has room */
    expect(&p, "PUBACK id=2 reason=0x10");
    atomic_store(&w->store.store.filled, 700);
    turn(w);
    retain(&p, 3, "c", "x");
    expect(&p, "PUBACK id=3 reason=0x97");
    retain(&p, 4, "a", "");
    expect(&p, "PUBACK id=4 reason=0x10");
    retain(&p, 5, "c", "x");
    expect(&p, "PUBACK id=5 reason=0x10");
    atomic_store(&w->store.store.filled, 900); /* nearly full: it has more than is free */
    turn(w);
    retain(&p, 6, "d", "x");
    expect(&p, "PUBACK id=6 reason=0x97");
    retain(&p, 7, "b", "");
    expect(&p, "PUBACK id=7 reason=0x10");
    retain(&p, 8, "d", "x");
    expect(&p, "PUBACK id=8 reason=0x10");
    peer_close(&p);
    world_close(w);
}

/* ---- the memory that there is ---- */

/* A limit of what this process has, in sixteenths. */
static void memory_used(struct world *w, unsigned sixteenths) {
    w->broker->options.memory_limit = mem_live() * 16 / sixteenths;
    turn(w);
}

static void when_memory_is_short_nothing_new_is_kept(void **state) {
    (void)state;
    struct world *w = world_limited(0);
    struct peer to, from, new;
    char *ballast = mem_alloc(64U << 20); /* so that the numbers below are of a size that does not matter */
    join_from(&to, w, "10.0.0.1:1", "to", true);
    expect(&to, "CONNACK");
    subscribed(&to, "t", 1);
    join_from(&from, w, "10.0.0.1:1", "from", true);
    expect(&from, "CONNACK");
    memory_used(w, 13);
    join_from(&new, w, "10.0.0.2:1", "new", true);
    expect(&new, "CONNACK new reason=0x97");
    peer_close(&new);
    say_subscribe(&to, 2, "u", 1);
    turn(w);
    expect(&to, "SUBACK id=2 0x97");
    retain(&from, 1, "r", "kept");
    expect(&from, "PUBACK id=1 reason=0x97");
    retain(&from, 1, "r", "");
    expect(&from, "PUBACK id=1 reason=0x10");
    say_publish(&from, &(struct publishing){.qos = 1, .id = 2, .topic = "t"});
    turn(w);
    expect(&from, "PUBACK id=2 reason=0x00");
    expect(&to, "PUBLISH qos=1 id=1");
    memory_used(w, 15);
    say_publish(&from, &(struct publishing){.qos = 1, .id = 3, .topic = "t"});
    turn(w);
    expect_silence(&from); /* it waits: memory comes back by itself */
    say_ack(&to, PACKET_PUBACK, 1, 0);
    say_unsubscribe(&to, 3, "u");
    say_ping(&from);
    turn(w);
    expect(&to, "UNSUBACK id=3");
    expect(&from, "PINGRESP");
    memory_used(w, 4);
    later(w, 10);
    expect(&from, "PUBACK id=3 reason=0x00");
    expect(&to, "PUBLISH qos=1 id=2");
    join_from(&new, w, "10.0.0.2:1", "new", true);
    expect(&new, "CONNACK new reason=0x00");
    peer_close(&new);
    peer_close(&to);
    peer_close(&from);
    mem_free(ballast);
    world_close(w);
}

/* A flood of SUBSCRIBEs waits for the disk as publishers do. */
static void what_is_staged_is_bounded_for_every_packet(void **state) {
    (void)state;
    struct world *w = world_limited(0);
    struct peer p, new;
    join_from(&p, w, "10.0.0.1:1", "p", true);
    expect(&p, "CONNACK");
    w->store.pressure = STORE_BUSY;
    turn(w);
    for (packet_id_t id = 1; id <= 5; id++) {
        say_subscribe(&p, id, "t", 1);
        say_unsubscribe(&p, (packet_id_t)(id + 10), "t");
    }
    turn(w);
    expect(&p, "SUBACK id=1");
    expect_silence(&p);
    assert_int_equal(wish(&p), CONN_PAUSE);
    join_from(&new, w, "10.0.0.1:1", "new", true); /* a session may not be kept waiting: it could expire meanwhile */
    expect(&new, "CONNACK new reason=0x00");
    w->store.pressure = STORE_EASY;
    turn(w);
    for (unsigned i = 0; i < 9; i++) {
        expect(&p, i % 2 == 0 ? "UNSUBACK" : "SUBACK");
    }
    peer_close(&p);
    peer_close(&new);
    world_close(w);
}

/* ---- memory follows use ---- */

enum { LARGE_BYTES = 10000 };

static void publish_large(struct peer *p, packet_id_t id) {
    static char text[LARGE_BYTES + 1];
    memset(text, 'x', LARGE_BYTES);
    say_publish(p, &(struct publishing){.qos = 1, .id = id, .topic = "t", .payload = text});
    turn(p->w);
    expect(p, "PUBACK");
}

/* The session of a client id, on the only shard. */
static struct session *session_of(const struct world *w, const char *id) {
    return map_bytes_get(&w->broker->shards[0]->by_client, span_str(id));
}

/* Of who is away, bodies in flight and queued leave memory when the table has them, and come back in order. */
static void what_an_absent_client_waits_for_leaves_memory(void **state) {
    (void)state;
    enum { MESSAGES = 60 };
    for (unsigned gone_first = 0; gone_first <= 1; gone_first++) {
        struct world *w = world_new();
        struct peer to, from;
        w->at_once = true;
        w->options.inflight_max = 10;
        world_open(w, 1);
        join_from(&to, w, "10.0.0.1:1", "to", true);
        expect(&to, "CONNACK");
        subscribed(&to, "t", 1);
        join_from(&from, w, "10.0.0.2:1", "from", false);
        expect(&from, "CONNACK");
        for (packet_id_t id = 1; id <= MESSAGES; id++) {
            publish_large(&from, id);
        }
        const struct session *s = session_of(w, "to");
        assert_int_equal(s->flows->out.count, 10);
        assert_true(s->flows->out.body_bytes > 10 * LARGE_BYTES);
        if (gone_first != 0) { /* whatever comes first: the fold, or the end of the connection */
            peer_close(&to);
        }
        fold_all(w);
        if (gone_first == 0) {
            peer_close(&to);
        }
        turn(w);
        assert_int_equal(s->flows->out.body_bytes, 0);
        assert_in_range(s->flows->queue.head.count + s->flows->queue.tail.count, 1, 16);
        assert_int_equal(counters(w).queued, MESSAGES);
        join_from(&to, w, "10.0.0.1:1", "to", true);
        expect(&to, "CONNACK present");
        for (unsigned n = 1; n <= MESSAGES; n++) {
            expect(&to, n <= 10 ? "PUBLISH qos=1 dup id=" : "PUBLISH qos=1 id=");
            say_ack(&to, PACKET_PUBACK, (packet_id_t)n, 0);
            turn(w);
        }
        expect_silence(&to);
        assert_int_equal(s->flows->out.body_bytes, 0);
        assert_int_equal(counters(w).queued, 0);
        peer_close(&to);
        peer_close(&from);
        world_close(w);
    }
}

/* However many messages a client takes, so many bytes are in flight to it; one of any size always goes. */
static void bytes_in_flight_are_bounded(void **state) {
    (void)state;
    for (unsigned small = 0; small <= 1; small++) {
        struct world *w = world_new();
        struct peer to, from;
        w->at_once = true;
        w->options.inflight_bytes_max = small != 0 ? 100 : 25000;
        const unsigned most = small != 0 ? 1 : 3;
        world_open(w, 1);
        join_from(&to, w, "10.0.0.1:1", "to", small != 0);
        expect(&to, "CONNACK");
        subscribed(&to, "t", 2);
        join_from(&from, w, "10.0.0.2:1", "from", false);
        expect(&from, "CONNACK");
        for (packet_id_t id = 1; id <= 9; id++) {
            publish_large(&from, id);
        }
        const struct session *s = session_of(w, "to");
        for (packet_id_t id = 1; id <= 9; id++) {
            assert_int_equal(s->flows->out.count, most < 10U - id ? most : 10U - id);
            expect(&to, "PUBLISH");
            say_ack(&to, PACKET_PUBACK, id, 0);
            turn(w);
        }
        expect_silence(&to);
        assert_int_equal(s->flows->out.body_bytes, 0);
        peer_close(&to);
        peer_close(&from);
        world_close(w);
    }
}

/* A queue of large messages keeps fewer of them in memory than one of small ones. */
static void the_window_counts_bytes(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer to, from;
    w->at_once = true;
    w->options.inflight_max = 1;
    world_open(w, 1);
    join_from(&to, w, "10.0.0.1:1", "to", true);
    expect(&to, "CONNACK");
    subscribed(&to, "t", 1);
    join_from(&from, w, "10.0.0.2:1", "from", false);
    expect(&from, "CONNACK");
    for (packet_id_t id = 1; id <= 400; id++) {
        publish_large(&from, id);
    }
    fold_all(w);
    turn(w);
    const struct session *s = session_of(w, "to");
    assert_in_range(s->flows->queue.head.count + s->flows->queue.tail.count, 50, 110); /* a MiB of 4 */
    for (unsigned n = 1; n <= 400; n++) {
        expect(&to, "PUBLISH qos=1 id=");
        say_ack(&to, PACKET_PUBACK, (packet_id_t)n, 0);
        turn(w);
        assert_in_range(s->flows->queue.head.count, 0, 200);
    }
    expect_silence(&to);
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_that_never_come_back_are_bounded),
        cmocka_unit_test(subscriptions_are_counted_once),
        cmocka_unit_test(a_subscription_over_the_share_is_refused),
        cmocka_unit_test(retained_messages_are_bounded),
        cmocka_unit_test(retained_messages_have_an_owner),
        cmocka_unit_test(retained_messages_have_their_share_of_the_store),
        cmocka_unit_test(retained_messages_come_back_with_their_owner),
        cmocka_unit_test(a_retained_will_has_an_owner),
        cmocka_unit_test(half_packets_are_bounded),
        cmocka_unit_test(a_small_half_packet_is_always_kept),
        cmocka_unit_test(unread_bytes_are_bounded),
        cmocka_unit_test(when_memory_is_short_nothing_new_is_kept),
        cmocka_unit_test(what_is_staged_is_bounded_for_every_packet),
        cmocka_unit_test(what_an_absent_client_waits_for_leaves_memory),
        cmocka_unit_test(bytes_in_flight_are_bounded),
        cmocka_unit_test(the_window_counts_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
