/* Queues that are deeper than memory keeps them, of very many sessions: the table is asked in time, and who publishes
 * to many waits for it, and nobody else. */
#include "world.h"

#include "broker/state.h"

enum {
    WINDOW = 4,
    ASKED = 128 * WINDOW,   /* deliveries beyond the windows: then the table is asked, */
    CROWDED = 512 * WINDOW, /* and then there are too many */
    LEVELS = 7,
    FILTERS = 1 << LEVELS, /* that match one topic: more than 64 */
};
static const char topic[] = "a/a/a/a/a/a/a";

/* A client that is away, and gets each message on the topic once for each of its filters, and what is for it alone. */
static struct world *world_with_many(struct peer *from, struct peer *other) {
    struct peer to;
    struct world *w = world_new();
    w->at_once = true;
    w->options.window_messages = WINDOW;
    w->options.outbox_bytes_max = 1 << 24;
    world_open(w, 1);
    joined(&to, w, PROTOCOL_311, "to", true);
    for (unsigned set = 0; set < FILTERS; set++) {
        char filter[sizeof topic];
        memcpy(filter, topic, sizeof topic);
        for (unsigned i = 0; i < LEVELS; i++) {
            filter[i * 2] = (set >> i & 1) != 0 ? '+' : 'a';
        }
        subscribed(&to, filter, 1);
    }
    subscribed(&to, "one", 1);
    peer_close(&to);
    joined(from, w, PROTOCOL_311, "from", false);
    joined(other, w, PROTOCOL_5, "other", false);
    turn(w);
    return w;
}

static void publish(struct peer *p, const char *on) {
    say_publish(p, &(struct publishing){.qos = 1, .id = 1, .topic = on, .payload = "m"});
    turn(p->w);
}

static void the_table_is_asked_now_and_then(void **state) {
    (void)state;
    struct peer from, other;
    struct world *w = world_with_many(&from, &other);
    for (unsigned round = 0; round < 3; round++) {
        unsigned sent = 0;
        for (; !atomic_load(&w->store.store.fold_wanted); sent++) {
            assert_true(sent < ASKED + WINDOW * 2);
            publish(&other, "one");
            expect(&other, "PUBACK id=1");
        }
        assert_in_range(sent, ASKED - 1, ASKED + WINDOW);
        atomic_store(&w->store.store.fold_wanted, false);
        fold_all(w);
    }
    peer_close(&from);
    peer_close(&other);
    world_close(w);
}

static void what_is_for_many_waits_for_the_table(void **state) {
    (void)state;
    struct peer from, other;
    struct world *w = world_with_many(&from, &other);
    for (unsigned round = 0; round < 3; round++) {
        unsigned sent = 1;
        for (publish(&from, topic); hear(&from)[0] != '\0'; sent++) {
            assert_true(sent < 100);
            publish(&from, topic);
        }
        assert_in_range(sent, CROWDED / FILTERS - 2, CROWDED / FILTERS + 2);
        atomic_store(&w->store.store.fold_wanted, false);
        later(w, 1000);
        expect_silence(&from);
        assert_true(atomic_load(&w->store.store.fold_wanted));
        publish(&other, "one");
        expect(&other, "PUBACK id=1");
        fold_all(w);
        later(w, 20);
        expect(&from, "PUBACK id=1");
        assert_true(atomic_load(&world_shard(w, 0)->deep_kept) <= FILTERS);
        fold_all(w);
    }
    peer_close(&from);
    peer_close(&other);
    world_close(w);
}

/* Clients that are away, each with one filter, and more messages than a window wait for each. */
static void deep_queues(struct world *w, struct peer *from, const char *on, unsigned count, unsigned messages) {
    for (unsigned i = 0; i < count; i++) {
        struct peer to;
        char name[16];
        (void)snprintf(name, sizeof name, "%s%u", on, i);
        joined(&to, w, PROTOCOL_311, name, true);
        subscribed(&to, on, 1);
        peer_close(&to);
    }
    turn(w);
    for (unsigned i = 0; i < messages; i++) {
        publish(from, on);
        expect(from, "PUBACK id=1");
    }
}

/* A message for some queues is kept once for each of them: it waits when all of those are the table's to take. */
static void what_is_for_some_deep_queues_waits_as_well(void **state) {
    (void)state;
    struct peer from, other;
    struct world *w = world_with_many(&from, &other);
    deep_queues(w, &other, "three", 3, WINDOW + 1);
    deep_queues(w, &other, "four", 4, WINDOW + 1);
    deep_queues(w, &other, "new", 4, 1);
    fold_all(w);
    for (publish(&from, topic); hear(&from)[0] != '\0';) {
        publish(&from, topic);
    }
    publish(&other, "three");
    expect(&other, "PUBACK id=1");
    publish(&other, "new");
    expect(&other, "PUBACK id=1");
    publish(&other, "four");
    later(w, 1000);
    expect_silence(&other);
    fold_all(w);
    later(w, 20);
    expect(&other, "PUBACK id=1");
    peer_close(&from);
    peer_close(&other);
    world_close(w);
}

/* Nothing is folded, for all was taken out of the queue: that is seen as well. */
static void what_was_taken_does_not_count(void **state) {
    (void)state;
    struct peer from, other, to;
    struct world *w = world_with_many(&from, &other);
    const struct shard *shard = world_shard(w, 0);
    while (atomic_load(&shard->deep_kept) < CROWDED) {
        publish(&from, topic);
        expect(&from, "PUBACK id=1");
    }
    publish(&from, topic);
    expect_silence(&from);
    joined(&to, w, PROTOCOL_311, "to", true);
    for (unsigned rounds = 0; hear(&from)[0] == '\0'; rounds++) {
        assert_true(rounds < 100);
        peer_read(&to, SIZE_MAX);
        for (packet_id_t id = 1; id <= 1024; id++) {
            say_ack(&to, PACKET_PUBACK, id, 0);
        }
        to.received.len = 0;
        later(w, 200);
    }
    peer_close(&to);
    peer_close(&from);
    peer_close(&other);
    world_close(w);
}

/* However much the table has taken at once: no turn lets go of all of it. */
static void a_long_queue_leaves_memory_in_many_turns(void **state) {
    (void)state;
    enum { MESSAGES = 30000, A_TURN = 8192 };
    struct peer from, other;
    struct world *w = world_with_many(&from, &other);
    for (unsigned i = 0; i < MESSAGES; i++) {
        say_publish(&other, &(struct publishing){.qos = 1, .id = 1, .topic = "one", .payload = "m"});
        (void)hear(&other);
        if (i % 64 == 63) {
            turn(w);
        }
    }
    turn(w);
    const struct shard *shard = w->broker->shards[0];
    const struct session *s = container_of(shard->deep.next, struct session, deep_link);
    const struct queue *q = &s->flows->queue;
    assert_int_equal(queue_count(q), MESSAGES);
    durable_to(w, w->store.last);
    atomic_store(&w->store.store.folded, w->store.last);
    unsigned turns = 0;
    for (uint64_t before = q->gap_count; queue_count(q) - q->gap_count > WINDOW; turns++) {
        turn_begin(w, 0);
        assert_in_range(q->gap_count, before + 1, before + A_TURN);
        before = q->gap_count;
        assert_true(turns < MESSAGES);
    }
    assert_in_range(turns, MESSAGES / A_TURN, MESSAGES / A_TURN + 2);
    assert_int_equal(queue_count(q), MESSAGES);
    turn(w);
    assert_true(list_empty(&shard->deep));
    peer_close(&from);
    peer_close(&other);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_asked_now_and_then),
        cmocka_unit_test(what_is_for_many_waits_for_the_table),
        cmocka_unit_test(what_is_for_some_deep_queues_waits_as_well),
        cmocka_unit_test(what_was_taken_does_not_count),
        cmocka_unit_test(a_long_queue_leaves_memory_in_many_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
