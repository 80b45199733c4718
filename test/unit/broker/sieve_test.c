/* What has expired takes no room in a full queue, wherever it is: nobody waits for it, is refused, or loses a session.
 */
#include "world.h"

#include "base/map.h"
#include "broker/state.h"

/* Somebody subscribed and went away. */
static void absent(struct world *w, const char *id, const char *filter) {
    struct peer p;
    joined(&p, w, PROTOCOL_5, id, true);
    subscribed(&p, filter, 1);
    peer_close(&p);
}

static void publish_for(struct peer *p, packet_id_t id, uint32_t expiry_s) {
    say_publish(p, &(struct publishing){.qos = 1, .id = id, .topic = "t", .expiry_s = expiry_s});
    later(p->w, 10);
    later(p->w, 10);
}

/* In front, in the middle or at the end, in memory or in the table alone, whichever shard has the session: what has
 * expired is no reason to refuse anybody, nor to end a session. */
static void expired_messages_take_no_room(void **state) {
    (void)state;
    enum { WAIT = 12 };
    for (unsigned run = 0; run < 32; run++) {
        const bool refuses = (run & 1) != 0, deep = (run & 2) != 0, elsewhere = (run & 4) != 0;
        const unsigned kept = run >> 3; /* of four this one does not expire */
        struct world *w = world_new();
        struct peer from, to;
        w->options.queue_messages_max = WAIT;
        w->options.window_messages = deep ? 2 : 1024;
        w->options.queue_policy = refuses ? QUEUE_REFUSE : QUEUE_END_SESSION;
        w->at_once = true;
        world_open(w, 2);
        absent(w, client_on(w, elsewhere, "away"), "t");
        joined(&from, w, PROTOCOL_5, client_on(w, 0, "from"), false);
        for (packet_id_t id = 1; id <= WAIT; id++) {
            publish_for(&from, id, id % 4 == kept ? 0 : 2);
            expect(&from, "PUBACK");
        }
        if (deep) {
            atomic_store(&w->store.store.folded, w->store.last);
        }
        for (unsigned i = 0; i < 5; i++) {
            tick(w, 1000);
        }
        assert_int_equal(w->store.reads, 0);
        for (packet_id_t id = 1; id <= WAIT - WAIT / 4; id++) {
            publish_for(&from, id, 0);
            for (unsigned i = 0; i < 20; i++) {
                later(w, 10);
            }
            expect(&from, "PUBACK");
            assert_non_null(strstr(from.line, "reason=0x00"));
        }
        assert_int_equal(counters(w).queued, WAIT);
        assert_int_equal(counters(w).messages_expired, WAIT - WAIT / 4);
        assert_int_equal(fake_count(&w->store, RECORD_DROPPED), WAIT - WAIT / 4);
        assert_int_equal(counters(w).sessions_overfull, 0);
        joined(&to, w, PROTOCOL_5, client_on(w, elsewhere, "away"), true);
        for (packet_id_t id = 1; id <= WAIT; id++) {
            expect(&to, "PUBLISH");
            assert_null(strstr(to.line, "expiry"));
        }
        expect_silence(&to);
        peer_close(&to);
        publish_for(&from, 1, 0); /* full of what does not expire: as before */
        peer_close(&from);
        world_close(w);
    }
}

/* A client that is connected and slow: nobody waits for what it will not get any more. */
static void nor_in_the_queue_of_a_slow_client(void **state) {
    (void)state;
    for (unsigned durable = 0; durable <= 1; durable++) {
        struct world *w = world_new();
        struct peer from, to;
        w->options.queue_messages_max = 4;
        w->options.inflight_max = 1;
        w->at_once = true;
        world_open(w, 2);
        joined(&to, w, PROTOCOL_5, client_on(w, 0, "to"), durable != 0);
        subscribed(&to, "t", 1);
        joined(&from, w, PROTOCOL_5, client_on(w, 1, "from"), false);
        publish_for(&from, 1, 0);
        publish_for(&from, 2, 0);
        publish_for(&from, 3, 1);
        publish_for(&from, 4, 1);
        publish_for(&from, 5, 0);
        for (packet_id_t id = 1; id <= 5; id++) {
            expect(&from, "PUBACK");
        }
        tick(w, 1000);
        tick(w, 1000);
        publish_for(&from, 6, 0);
        for (unsigned i = 0; i < 5; i++) {
            later(w, 10);
        }
        expect(&from, "PUBACK id=6 reason=0x00");
        assert_int_equal(counters(w).messages_expired, 2);
        for (packet_id_t id = 1; id <= 4; id++) {
            expect(&to, "PUBLISH");
            say_ack(&to, PACKET_PUBACK, id, 0);
            later(w, 10);
        }
        expect_silence(&to);
        assert_int_equal(counters(w).queued, 0);
        peer_close(&to);
        peer_close(&from);
        world_close(w);
    }
}

/* The look at what is behind the expired ones brings no more into memory than the client, who is away, has there. */
static void a_look_behind_the_expired_is_short(void **state) {
    (void)state;
    enum { WAIT = 100, EXPIRE = 20, AWAY = 16 };
    struct world *w = world_new();
    struct peer from;
    w->options.queue_messages_max = WAIT;
    w->options.queue_policy = QUEUE_REFUSE;
    w->at_once = true;
    world_open(w, 1);
    absent(w, "away", "t");
    joined(&from, w, PROTOCOL_5, "from", false);
    for (packet_id_t id = 1; id <= WAIT; id++) {
        publish_for(&from, id, id <= EXPIRE ? 2 : 0);
        expect(&from, "PUBACK");
    }
    fold_all(w);
    for (unsigned i = 0; i < 5; i++) {
        tick(w, 1000);
    }
    publish_for(&from, 1, 0);
    for (unsigned i = 0; i < 20; i++) {
        later(w, 10);
    }
    expect(&from, "PUBACK");
    assert_true(counters(w).messages_expired > AWAY);
    const struct session *s = map_bytes_get(&world_shard(w, 0)->by_client, SPAN("away"));
    assert_true(s->flows->queue.head.count <= AWAY);
    peer_close(&from);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expired_messages_take_no_room),
        cmocka_unit_test(a_look_behind_the_expired_is_short),
        cmocka_unit_test(nor_in_the_queue_of_a_slow_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
