/* Inlets: what waits is charged to its owner, who has a share of memory and store. */
#include "owners.h"

/* What waits is charged to the owner of the session for which it waits, moves with it, and is given back. */
static void queues_are_charged_to_their_owner(void **state) {
    (void)state;
    enum { MESSAGES = 40 };
    struct world *w = world_limited(1ULL << 40);
    struct peer to, from;
    join_from(&to, w, "10.0.0.1:1", "to", true);
    expect(&to, "CONNACK");
    subscribed(&to, "t", 1);
    peer_close(&to);
    join_from(&from, w, "10.0.0.2:1", "from", false);
    expect(&from, "CONNACK");
    for (packet_id_t id = 1; id <= MESSAGES; id++) {
        publish_sized(&from, id, "t", 1000);
        expect(&from, "PUBACK");
    }
    assert_in_range(taken_by(w, "10.0.0.1", QUOTA_QUEUED), MESSAGES, MESSAGES + MESSAGES / 8);
    assert_in_range(taken_by(w, "10.0.0.1", QUOTA_DISK), MESSAGES * 1000, MESSAGES * 1200);
    assert_int_equal(taken_by(w, "10.0.0.2", QUOTA_QUEUED), 0);
    join_from(&to, w, "10.0.0.3:1", "to", true);
    expect(&to, "CONNACK present");
    turn(w);
    assert_int_equal(taken_by(w, "10.0.0.1", QUOTA_DISK), 0);
    assert_in_range(taken_by(w, "10.0.0.3", QUOTA_INFLIGHT_BYTES), MESSAGES * 1000, MESSAGES * 1600);
    for (packet_id_t id = 1; id <= MESSAGES; id++) {
        expect(&to, "PUBLISH");
        say_ack(&to, PACKET_PUBACK, id, 0);
    }
    turn(w);
    tick(w, 1000);
    tick(w, 1000);
    assert_int_equal(taken(w, QUOTA_INFLIGHT_BYTES), 0); /* a quiet moment */
    assert_int_equal(taken(w, QUOTA_QUEUED), 0);
    assert_int_equal(taken(w, QUOTA_DISK), 0);
    peer_close(&to);
    peer_close(&from);
    world_close(w);
}

/* One address has no more than its share of a store that is filling up: the sessions that take the most of it go, and
 * others are not refused. */
static void one_owner_has_its_share_of_the_store(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p, from;
    w->options.store_limit = 100 * 1000;
    w->options.owner_share = 50;
    w->at_once = true;
    world_open(w, 1);
    static const char *const ids[] = {"fat", "thin1", "thin2"};
    for (unsigned i = 0; i < 3; i++) {
        join_from(&p, w, "10.0.0.1:1", ids[i], true);
        expect(&p, "CONNACK");
        subscribed(&p, ids[i], 1);
        peer_close(&p);
    }
    join_from(&p, w, "10.0.0.3:1", "other", true);
    expect(&p, "CONNACK");
    subscribed(&p, "other", 1);
    peer_close(&p);
    join_from(&from, w, "10.0.0.2:1", "from", false);
    expect(&from, "CONNACK");
    for (packet_id_t id = 1; id <= 50; id++) {
        publish_sized(&from, id, "fat", 1000);
        expect(&from, "PUBACK"); /* the bodies may be shared: the store has room */
    }
    atomic_store(&w->store.store.filled, 600);
    turn(w);
    publish_sized(&from, 61, "thin1", 1000); /* far below the average: it is not in the way */
    expect(&from, "PUBACK id=61 reason=0x00");
    publish_sized(&from, 62, "other", 20000); /* nor is another address */
    expect(&from, "PUBACK id=62 reason=0x00");
    assert_int_equal(counters(w).sessions_overfull, 0);
    packet_id_t id = 63;
    for (; counters(w).sessions_overfull == 0 && id < 75; id++) { /* a portion may have been taken before */
        publish_sized(&from, id, "fat", 1000);
        expect(&from, "PUBACK");
    }
    assert_int_equal(counters(w).sessions_overfull, 1);
    assert_non_null(strstr(w->log, "share of the store"));
    publish_sized(&from, id, "thin2", 1000);
    expect(&from, "PUBACK");
    assert_int_equal(counters(w).sessions_overfull, 1);
    peer_close(&from);
    world_close(w);
}

/* As a store says it that needs a fifth for itself, and twice the bytes of a message for it. */
static void filled_by_what_waits(struct world *w) {
    uint64_t filled = STORE_FILLED_ALL / 5 + 2 * taken(w, QUOTA_DISK) * STORE_FILLED_ALL / w->options.store_limit;
    atomic_store(&w->store.store.filled, filled < STORE_FILLED_ALL ? (uint32_t)filled : STORE_FILLED_ALL);
    w->store.pressure = filled > STORE_FILLED_ALL ? STORE_FULL : STORE_EASY;
}

/* Sends one message into each queue; returns how many were taken. */
static unsigned each_is_sent_one(struct world *w, struct peer *from, unsigned owners, size_t bytes) {
    unsigned accepted = 0;
    for (unsigned i = 0; i < owners; i++) {
        char topic[16];
        (void)snprintf(topic, sizeof topic, "t%u", i);
        filled_by_what_waits(w);
        const uint64_t before = counters(w).publish_refused;
        publish_sized(from, (packet_id_t)(1 + i), topic, bytes);
        expect(from, "PUBACK");
        accepted += counters(w).publish_refused == before;
    }
    return accepted;
}

static void absent_from(struct world *w, unsigned owner) {
    struct peer p;
    char address[32], name[16];
    (void)snprintf(address, sizeof address, "10.0.%u.1:1", owner);
    (void)snprintf(name, sizeof name, "t%u", owner);
    join_from(&p, w, address, name, true);
    expect(&p, "CONNACK");
    subscribed(&p, name, 1);
    peer_close(&p);
}

/* However many fill the store, each in its share: they are refused before it is full, none of them loses anything, and
 * who has little is served. */
static void many_owners_leave_room_for_a_small_one(void **state) {
    (void)state;
    static const unsigned shares[] = {50, 50, 90, 100, 20};
    static const unsigned owners[] = {16, 60, 16, 16, 40};
    for (unsigned v = 0; v < sizeof shares / sizeof *shares; v++) {
        struct world *w = world_new();
        struct peer from;
        w->options.store_limit = 4 * 1000 * 1000;
        w->options.owner_share = shares[v];
        w->at_once = true;
        world_open(w, 1);
        for (unsigned i = 0; i <= owners[v]; i++) {
            absent_from(w, i);
        }
        join_from(&from, w, "10.1.0.1:1", "from", false);
        expect(&from, "CONNACK");
        unsigned rounds = 0;
        while (each_is_sent_one(w, &from, owners[v], 2000) > 0) {
            assert_true(++rounds < 1000);
        }
        const uint64_t refused = counters(w).publish_refused;
        assert_int_equal(counters(w).sessions_overfull, 0);
        assert_non_null(strstr(w->log, "the store is nearly full"));
        char topic[16];
        (void)snprintf(topic, sizeof topic, "t%u", owners[v]);
        for (packet_id_t id = 100; id < 110; id++) {
            filled_by_what_waits(w);
            publish_sized(&from, id, topic, 300);
            expect(&from, "PUBACK");
        }
        assert_int_equal(counters(w).publish_refused, refused);
        peer_close(&from);
        world_close(w);
    }
}

/* Queues in memory are bounded all together for one owner: who publishes waits, and others do not. */
static void queues_in_memory_are_bounded(void **state) {
    (void)state;
    struct world *w = world_limited(1ULL << 40);
    struct peer to, other, from;
    w->options.inflight_max = 1;
    join_from(&to, w, "10.0.0.1:1", "to", false);
    expect(&to, "CONNACK");
    subscribed(&to, "t", 1);
    join_from(&other, w, "10.0.0.3:1", "other", false);
    expect(&other, "CONNACK");
    subscribed(&other, "o", 1);
    join_from(&from, w, "10.0.0.1:2", "from", false); /* of another owner some more is taken */
    expect(&from, "CONNACK");
    struct account *owner = quota_owner(w->broker->quota, SPAN("10.0.0.1"));
    struct quota_need need = {QUOTA_INFLIGHT_BYTES, owner->most[QUOTA_INFLIGHT_BYTES]};
    quota_take(owner, &need, 1); /* so that one message alone is in flight */
    struct quota_need queued = {QUOTA_QUEUED_BYTES, owner->most[QUOTA_QUEUED_BYTES] - 3500};
    quota_take(owner, &queued, 1);
    packet_id_t id = 1;
    for (; id <= 4; id++) {
        publish_sized(&from, id, "t", 1000);
        expect(&from, "PUBACK");
    }
    expect(&to, "PUBLISH qos=1 id=1");
    expect_silence(&to);
    publish_sized(&from, id, "t", 1000);
    expect_silence(&from);
    say_publish(&to, &(struct publishing){.qos = 1, .id = 9, .topic = "o", .payload = "x"});
    turn(w);
    expect(&to, "PUBACK id=9 reason=0x00");
    expect(&other, "PUBLISH");
    say_ack(&to, PACKET_PUBACK, 1, 0);
    turn(w);
    expect(&to, "PUBLISH qos=1 id=2");
    quota_give(owner, &queued, 1);
    later(w, 10);
    later(w, 10);
    expect(&from, "PUBACK id=5 reason=0x00");
    quota_give(owner, &need, 1);
    later(w, 10);
    for (unsigned n = 3; n <= 5; n++) {
        expect(&to, "PUBLISH");
    }
    quota_owner_unref(w->broker->quota, owner);
    peer_close(&to);
    peer_close(&other);
    peer_close(&from);
    assert_nothing_taken(w);
    world_close(w);
}

/* So many messages may wait for one owner, however small they are and whatever the store has: the session with the most
 * of them goes, a thin one and others stay. */
static void messages_that_wait_for_one_owner_are_bounded(void **state) {
    (void)state;
    for (int refuses = 0; refuses <= 1; refuses++) {
        struct world *w = world_new();
        struct peer p, from;
        w->options.queue_all_max = 400;
        w->options.queue_policy = refuses ? QUEUE_REFUSE : QUEUE_END_SESSION;
        w->at_once = true;
        world_open(w, 1);
        static const char *const ids[] = {"fat", "thin", "other"};
        for (unsigned i = 0; i < 3; i++) {
            join_from(&p, w, i < 2 ? "10.0.0.1:1" : "10.0.0.3:1", ids[i], true);
            expect(&p, "CONNACK");
            subscribed(&p, ids[i], 1);
            peer_close(&p);
        }
        join_from(&from, w, "10.0.0.2:1", "from", false);
        expect(&from, "CONNACK");
        packet_id_t id = 1;
        for (; id <= 200; id++) {
            publish_sized(&from, id, "fat", 1);
            expect(&from, "PUBACK");
        }
        assert_int_equal(taken_by(w, "10.0.0.1", QUOTA_QUEUED), 200); /* no portion past the bound */
        publish_sized(&from, id, "thin", 1);
        expect(&from, "PUBACK id=201 reason=0x00");
        publish_sized(&from, ++id, "other", 1);
        expect(&from, "PUBACK id=202 reason=0x00");
        publish_sized(&from, ++id, "fat", 1);
        expect(&from, refuses ? "PUBACK id=203 reason=0x97" : "PUBACK id=203 reason=0x1"); /* nobody matches */
        assert_int_equal(counters(w).sessions_overfull, refuses ? 0 : 1);
        assert_non_null(strstr(w->log, "its address has its share of the messages that may wait"));
        assert_true(quota_all(w->broker->quota)->refused[QUOTA_QUEUED] == 0);
        publish_sized(&from, ++id, "thin", 1);
        expect(&from, "PUBACK id=204 reason=0x00");
        peer_close(&from);
        world_close(w);
    }
}

/* One message for many sessions of an owner may be more than what its share has left, though each of them has room for
 * it: the fat one goes, and the publisher does not wait for ever. */
static void one_message_for_many_sessions_of_an_owner_has_room(void **state) {
    (void)state;
    enum { SESSIONS = 6, BOUND = 62, EACH = 5 };
    for (int rows = 0; rows <= 1; rows++) {
        struct world *w = world_new();
        struct peer p, from;
        w->options.accounts.most[QUOTA_OWNER][rows ? QUOTA_QUEUED : QUOTA_DISK] = rows ? BOUND : BOUND * 1000;
        w->at_once = true;
        world_open(w, 1);
        atomic_store(&w->store.store.filled, 700);
        for (unsigned i = 0; i < SESSIONS; i++) {
            char id[8];
            (void)snprintf(id, sizeof id, "s%u", i);
            join_from(&p, w, "10.0.0.1:1", id, true);
            expect(&p, "CONNACK");
            subscribed(&p, "all", 1);
            subscribed(&p, id, 1);
            peer_close(&p);
        }
        join_from(&from, w, "10.0.0.2:1", "from", false);
        expect(&from, "CONNACK");
        packet_id_t id = 0;
        for (unsigned i = 0; i < EACH * SESSIONS; i++) {
            publish_sized(&from, ++id, "all", 900);
            expect(&from, "PUBACK");
            turn(w);
            if (i % SESSIONS == 0) {
                publish_sized(&from, ++id, "s0", 900);
                expect(&from, "PUBACK");
            }
        }
        assert_in_range(counters(w).sessions_overfull, 1, SESSIONS - 1);
        assert_int_equal(counters(w).publish_refused, 0);
        peer_close(&from);
        world_close(w);
    }
}

/* Who has room takes some more than it needs, so one message to each is more than one place for each. */
static void at_any_bound_a_message_for_many_sessions_has_room(void **state) {
    (void)state;
    enum { SESSIONS = 4, MESSAGES = 60, FEW = 40, MANY = 90 };
    for (unsigned bound = FEW; bound < MANY; bound++) {
        struct world *w = world_new();
        struct peer p, from;
        w->options.accounts.most[QUOTA_OWNER][QUOTA_QUEUED] = bound;
        w->at_once = true;
        world_open(w, 1);
        for (unsigned i = 0; i < SESSIONS; i++) {
            char id[8];
            (void)snprintf(id, sizeof id, "s%u", i);
            join_from(&p, w, "10.0.0.1:1", id, true);
            expect(&p, "CONNACK");
            subscribed(&p, "all", 1);
            subscribed(&p, id, 1);
            peer_close(&p);
        }
        join_from(&from, w, "10.0.0.2:1", "from", false);
        expect(&from, "CONNACK");
        for (unsigned i = 0; i < MESSAGES; i++) {
            publish_sized(&from, (packet_id_t)(i + 1), i % 3 == 2 ? "s0" : "all", 10);
            expect(&from, "PUBACK");
            turn(w);
        }
        peer_close(&from);
        world_close(w);
    }
}

/* However many take all that they may: before all of it is taken they are refused, and lose nothing, and who has little
 * is served. */
static void messages_that_wait_leave_room_for_a_small_owner(void **state) {
    (void)state;
    static const unsigned owners[] = {2, 5, 16, 60};
    for (unsigned v = 0; v < sizeof owners / sizeof *owners; v++) {
        struct world *w = world_new();
        struct peer from;
        w->options.queue_all_max = 4096 * 3;
        w->at_once = true;
        world_open(w, 1);
        for (unsigned i = 0; i <= owners[v]; i++) {
            absent_from(w, i);
        }
        join_from(&from, w, "10.1.0.1:1", "from", false);
        expect(&from, "CONNACK");
        w->store.store.filled = 0;
        w->options.store_limit = 1ULL << 40;
        unsigned rounds = 0;
        while (each_is_sent_one(w, &from, owners[v], 1) > 0) {
            assert_true(++rounds < 10000);
        }
        assert_true(taken(w, QUOTA_QUEUED) > 4096);
        assert_true(taken(w, QUOTA_QUEUED) < 4096 * 3);
        const uint64_t refused = counters(w).publish_refused;
        assert_int_equal(counters(w).sessions_overfull, 0);
        char topic[16];
        (void)snprintf(topic, sizeof topic, "t%u", owners[v]);
        for (packet_id_t id = 100; id < 110; id++) {
            publish_sized(&from, id, topic, 1);
            expect(&from, "PUBACK");
        }
        assert_int_equal(counters(w).publish_refused, refused);
        peer_close(&from);
        world_close(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queues_are_charged_to_their_owner),
        cmocka_unit_test(one_owner_has_its_share_of_the_store),
        cmocka_unit_test(many_owners_leave_room_for_a_small_one),
        cmocka_unit_test(queues_in_memory_are_bounded),
        cmocka_unit_test(messages_that_wait_for_one_owner_are_bounded),
        cmocka_unit_test(one_message_for_many_sessions_of_an_owner_has_room),
        cmocka_unit_test(at_any_bound_a_message_for_many_sessions_has_room),
        cmocka_unit_test(messages_that_wait_leave_room_for_a_small_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
