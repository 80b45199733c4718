/* Several shards: the same answers as with one, mail that finds its ring full, queues that are let go of memory while
 * mail is on its way. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "world.h"

#include <stdlib.h>

#include "broker/connect.h"

enum { SHARDS = 3, RING = 4096 };

/* A client id that shard `shard` owns. */
static const char *id_on(const struct world *w, unsigned shard, unsigned number) {
    static char id[16];
    for (unsigned n = 0;; n++) {
        (void)snprintf(id, sizeof id, "c%u-%u", number, n);
        if (connect_owner(w->broker, span_str(id)) == shard) {
            return id;
        }
    }
}

static void join_on(struct peer *p, struct world *w, unsigned shard, unsigned number, enum protocol protocol,
                    bool durable) {
    joined(p, w, protocol, id_on(w, shard, number), durable);
    assert_int_equal(p->shard, shard);
}

static struct world *world_with(unsigned shards, uint32_t window, uint16_t inflight) {
    struct world *w = world_new();
    w->at_once = true;
    w->options.window_messages = window;
    w->options.inflight_max = inflight;
    world_open(w, shards);
    return w;
}

static void publish_number(struct peer *p, uint8_t qos, packet_id_t id, unsigned number) {
    char payload[16];
    (void)snprintf(payload, sizeof payload, "%u", number);
    say_publish(p, &(struct publishing){.qos = qos, .id = id, .topic = "t", .payload = payload});
}

/* The number in the payload of the next PUBLISH, which is taken; 0 when none has come. Its id goes to `id`. */
static unsigned hear_number(struct peer *p, packet_id_t *id) {
    struct packet_frame frame;
    struct verdict verdict;
    struct packet packet;
    char text[16];
    peer_read(p, SIZE_MAX);
    if (packet_frame(buf_span(&p->received), PACKET_FROM_SERVER, p->protocol, &p->w->options.packet, &frame,
                     &verdict) != PACKET_WHOLE) {
        return 0;
    }
    assert_true(packet_decode(&frame, p->protocol, &p->w->options.packet, &packet, &verdict));
    assert_int_equal(packet.type, PACKET_PUBLISH);
    (void)snprintf(text, sizeof text, "%.*s", (int)packet.publish.payload.len,
                   (const char *)packet.publish.payload.ptr);
    *id = packet.publish.packet_id;
    buf_drop_front(&p->received, frame.bytes);
    return (unsigned)atoi(text);
}

/* Takes everything that comes at QoS 1, acknowledges it, and holds it against the numbers from `next` on. */
static unsigned take_all(struct peer *p, unsigned next) {
    packet_id_t id;
    for (unsigned number; (number = hear_number(p, &id)) != 0; next++) {
        assert_int_equal(number, next);
        say_ack(p, PACKET_PUBACK, id, 0);
        if (p->w->at_once) {
            turn(p->w);
        }
    }
    return next;
}

static void a_message_reaches_every_shard_once(void **state) {
    (void)state;
    for (unsigned shards = 1; shards <= 4; shards++) {
        for (uint8_t qos = 0; qos <= 2; qos++) {
            struct world *w = world_with(shards, 1024, 1024);
            struct peer from, to[4];
            join_on(&from, w, shards - 1, 9, PROTOCOL_5, true);
            for (unsigned i = 0; i < 4; i++) {
                join_on(&to[i], w, i % shards, i, PROTOCOL_311, i % 2 == 0);
                subscribed(&to[i], "t", qos);
            }
            publish_number(&from, qos, qos > 0, 1);
            turn(w);
            for (unsigned i = 0; i < 4; i++) {
                packet_id_t id;
                assert_int_equal(hear_number(&to[i], &id), 1);
                expect_silence(&to[i]);
                peer_close(&to[i]);
            }
            assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), qos > 0);
            peer_close(&from);
            world_close(w);
        }
    }
}

/* B2 between shards: the receiver's shard may learn later than the publisher's what is durable. */
static void mail_waits_for_the_record_too(void **state) {
    (void)state;
    for (int durable = 0; durable <= 1; durable++) {
        struct world *w = world_of(2);
        struct peer from, to, other;
        join_on(&from, w, 0, 1, PROTOCOL_5, true);
        join_on(&other, w, 0, 2, PROTOCOL_5, true);
        join_on(&to, w, 1, 3, PROTOCOL_5, durable);
        subscribed(&to, "t", 1);
        subscribed(&other, "t", 1);
        publish_number(&from, 1, 1, 1);
        turn_begin(w, 1);
        turn_mail(w, 1);
        expect_silence(&to);
        durable_to(w, w->store.last);
        turn_begin(w, 0);
        expect(&from, "PUBACK");
        expect_silence(&to);
        turn_begin(w, 1);
        expect(&to, "PUBLISH");
        peer_close(&from);
        peer_close(&to);
        peer_close(&other);
        world_close(w);
    }
}

/* More than a ring holds, in one turn: nothing is lost, and the order stays. */
static void a_full_ring_loses_nothing(void **state) {
    (void)state;
    enum { COUNT = 3 * RING };
    struct world *w = world_new();
    struct peer from, to;
    w->options.turn_points = 1U << 20; /* all of it in one turn */
    w->options.inflight_max = 5;
    world_open(w, 2);
    join_on(&from, w, 0, 1, PROTOCOL_311, false);
    join_on(&to, w, 1, 2, PROTOCOL_311, true);
    subscribed(&to, "t", 1);
    for (unsigned i = 1; i <= COUNT; i++) {
        publish_number(&from, 1, (packet_id_t)(1 + i % 60000), i);
        if (i == 2 * RING) { /* there is room in the ring again, but what is late comes first */
            turn_begin(w, 1);
            turn_mail(w, 1);
        }
    }
    struct turn_result ended = turn_end(w, 0);
    assert_true(ended.late);
    assert_int_equal(ended.wake & 2, 2);
    w->at_once = true;
    for (int i = 0; i < 4; i++) {
        turn(w);
    }
    assert_false(turn_end(w, 0).late);
    turn(w);
    assert_int_equal(take_all(&to, 1), COUNT + 1);
    assert_int_equal(counters(w).queued, 0);
    peer_close(&from);
    peer_close(&to);
    world_close(w);
}

/* A session that ended, and another of the same client: mail for the first is not for the second. */
static void mail_for_a_session_that_ended_goes_nowhere(void **state) {
    (void)state;
    struct world *w = world_of(2);
    struct peer from, to;
    w->at_once = true;
    join_on(&from, w, 0, 1, PROTOCOL_311, false);
    join_on(&to, w, 1, 2, PROTOCOL_311, true);
    subscribed(&to, "t", 1);
    publish_number(&from, 1, 1, 1);
    peer_close(&to);
    join(&to, w, PROTOCOL_311, id_on(w, 1, 2), false);
    turn(w);
    expect(&to, "CONNACK new");
    expect_silence(&to);
    expect(&from, "PUBACK id=1");
    peer_close(&from);
    peer_close(&to);
    world_close(w);
}

/* ---- queues that are deeper than memory ---- */

static void a_deep_queue_comes_back_from_the_table(void **state) {
    (void)state;
    enum { COUNT = 2000 };
    for (uint32_t window = 1; window <= 300; window += 299) {
        struct world *w = world_with(2, window, 3);
        struct peer from, to;
        join_on(&from, w, 0, 1, PROTOCOL_311, false);
        join_on(&to, w, 1, 2, PROTOCOL_311, true);
        subscribed(&to, "t", 1);
        peer_close(&to);
        for (unsigned i = 1; i <= COUNT; i++) {
            publish_number(&from, 1, (packet_id_t)i, i);
            if (i % 700 == 0) {
                fold_all(w);
                turn(w);
            }
        }
        turn(w);
        for (lsn_t lsn = 1; lsn <= w->store.last; lsn++) {
            struct message *m = w->store.records[lsn].message;
            if (m != NULL) {
                assert_int_equal(m->references, 1); /* the test's own: the broker's are others, and few */
            }
        }
        join_on(&to, w, 1, 2, PROTOCOL_311, true);
        unsigned next = 1;
        for (unsigned round = 0; next <= COUNT && round < COUNT; round++) {
            packet_id_t id;
            for (unsigned number; (number = hear_number(&to, &id)) != 0; next++) {
                assert_int_equal(number, next);
                say_ack(&to, PACKET_PUBACK, id, 0);
                if (next % 300 == 0) { /* new ones meanwhile, and a table that learns in steps */
                    lsn_t folded = w->store.last - next / 2;
                    if (folded > store_folded(&w->store.store)) {
                        atomic_store(&w->store.store.folded, folded);
                    }
                    turn(w);
                }
            }
            turn(w);
        }
        assert_int_equal(next, COUNT + 1);
        assert_int_equal(counters(w).queued, 0);
        peer_close(&from);
        peer_close(&to);
        world_close(w);
    }
}

/* The publisher's shard has mail that its ring had no room for, while the table has all: what the receiver's shard has
 * in memory stays there until that mail has come. */
static void late_mail_finds_its_place(void **state) {
    (void)state;
    enum { COUNT = RING + 500 };
    struct world *w = world_new();
    struct peer a, b, to;
    w->options.window_messages = 4;
    w->options.inflight_max = 2;
    world_open(w, 3);
    join_on(&a, w, 0, 1, PROTOCOL_311, false);
    join_on(&b, w, 1, 2, PROTOCOL_311, false);
    join_on(&to, w, 2, 3, PROTOCOL_311, true);
    subscribed(&to, "t", 1);
    peer_close(&to);
    turn(w);
    for (unsigned i = 1; i <= COUNT; i++) {
        publish_number(&a, 1, (packet_id_t)i, i);
    }
    for (unsigned i = COUNT + 1; i <= COUNT + 100; i++) {
        publish_number(&b, 1, (packet_id_t)i, i);
    }
    /* All is in the table, and only the receiver's shard has turns. */
    durable_to(w, w->store.last);
    atomic_store(&w->store.store.folded, w->store.last);
    for (int i = 0; i < 3; i++) {
        turn_begin(w, 2);
        turn_mail(w, 2);
    }
    assert_true(turn_end(w, 0).late);
    for (int i = 0; i < 3; i++) {
        turn(w);
    }
    w->at_once = true;
    join_on(&to, w, 2, 3, PROTOCOL_311, true);
    assert_int_equal(take_all(&to, 1), COUNT + 101);
    peer_close(&a);
    peer_close(&b);
    peer_close(&to);
    world_close(w);
}

/* The message of one shard was sent before the older ones of another came, which then make a deep queue. The table is
 * folded between the message and its SENT: it shows the message as waiting. */
static void what_overtook_late_mail_is_not_sent_twice(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer a, b, to;
    w->options.window_messages = 4;
    w->options.inflight_max = 1;
    world_open(w, 3);
    join_on(&a, w, 0, 1, PROTOCOL_311, false);
    join_on(&b, w, 1, 2, PROTOCOL_311, false);
    join_on(&to, w, 2, 3, PROTOCOL_311, true);
    subscribed(&to, "t", 1);
    for (unsigned i = 2; i <= 21; i++) {
        publish_number(&a, 1, (packet_id_t)i, i);
    }
    publish_number(&b, 1, 1, 1);
    for (unsigned i = 22; i <= 41; i++) {
        publish_number(&a, 1, (packet_id_t)i, i);
    }
    lsn_t all = w->store.last;
    (void)shard_mail(world_shard(w, 2), 1, 1); /* b's mail alone: message 1 is sent at once */
    assert_true(fake_newest(&w->store, RECORD_SENT) > all);
    durable_to(w, w->store.last);
    turn(w);
    atomic_store(&w->store.store.folded, all);
    turn(w);
    unsigned next = 1;
    for (unsigned round = 0; round < 200; round++) {
        durable_to(w, w->store.last);
        turn(w);
        packet_id_t id;
        for (unsigned number; (number = hear_number(&to, &id)) != 0; next++) {
            assert_int_equal(number, next);
            say_ack(&to, PACKET_PUBACK, id, 0);
        }
    }
    assert_int_equal(next, 42);
    peer_close(&a);
    peer_close(&b);
    peer_close(&to);
    world_close(w);
}

/* Accounts are the same whoever reserves: full is full, and empty again afterwards. */
static void a_queue_is_full_for_every_shard(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer from[SHARDS], to;
    w->at_once = true;
    w->options.queue_messages_max = 10;
    w->options.queue_policy = QUEUE_REFUSE;
    w->options.inflight_max = 1;
    world_open(w, SHARDS);
    join_on(&to, w, 0, 9, PROTOCOL_311, true);
    subscribed(&to, "t", 1);
    peer_close(&to);
    for (unsigned round = 0; round < 3; round++) {
        unsigned accepted = 0;
        for (unsigned i = 0; i < SHARDS; i++) {
            join_on(&from[i], w, i, i, PROTOCOL_5, false);
            for (packet_id_t n = 1; n <= 5; n++) {
                publish_number(&from[i], 1, n, ++accepted);
                turn(w);
                bool full = accepted > 10;
                expect(&from[i], "PUBACK");
                accepted -= full;
            }
        }
        assert_int_equal(accepted, 10);
        assert_int_equal(counters(w).queued, 10);
        assert_int_equal(counters(w).publish_refused, (round + 1) * 5);
        join_on(&to, w, 0, 9, PROTOCOL_311, true);
        assert_int_equal(take_all(&to, 1), 11);
        assert_int_equal(counters(w).queued, 0);
        peer_close(&to);
        for (unsigned i = 0; i < SHARDS; i++) {
            peer_close(&from[i]);
        }
    }
    world_close(w);
}

/* ---- the protocol of a turn ---- */

enum step { STEP_NONE, STEP_OPEN, STEP_MAIL, STEP_TICK, STEP_NEXT, STEP_END, STEP_BEGIN };

/* True when the step, after a turn that has ended (or in one), stops the process. */
static bool step_stops(struct world *w, enum step step) {
    struct conn_handle handle;
    struct shard *shard = world_shard(w, 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        switch (step) {
        case STEP_NONE:
            break;
        case STEP_OPEN:
            (void)shard_opened(shard, "peer");
            break;
        case STEP_MAIL:
            (void)shard_mail(shard, 0, 1);
            break;
        case STEP_TICK:
            shard_tick(shard);
            break;
        case STEP_NEXT:
            (void)shard_next_dirty(shard, &handle);
            break;
        case STEP_END:
            (void)shard_turn_end(shard);
            break;
        case STEP_BEGIN:
            shard_turn_begin(shard, w->now, w->wall, store_durable(&w->store.store));
            break;
        }
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status);
}

static void nothing_happens_outside_of_a_turn(void **state) {
    (void)state;
    struct world *w = world_of(1);
    for (enum step step = STEP_OPEN; step <= STEP_NEXT; step++) {
        assert_false(step_stops(w, step));
    }
    assert_true(step_stops(w, STEP_BEGIN));
    (void)turn_end(w, 0);
    for (enum step step = STEP_OPEN; step <= STEP_END; step++) {
        assert_true(step_stops(w, step));
    }
    assert_false(step_stops(w, STEP_NONE));
    turn(w);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_reaches_every_shard_once),
        cmocka_unit_test(mail_waits_for_the_record_too),
        cmocka_unit_test(a_full_ring_loses_nothing),
        cmocka_unit_test(mail_for_a_session_that_ended_goes_nowhere),
        cmocka_unit_test(a_deep_queue_comes_back_from_the_table),
        cmocka_unit_test(late_mail_finds_its_place),
        cmocka_unit_test(what_overtook_late_mail_is_not_sent_twice),
        cmocka_unit_test(a_queue_is_full_for_every_shard),
        cmocka_unit_test(nothing_happens_outside_of_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
