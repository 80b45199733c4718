/* What a SUBSCRIBE brings: all of what is retained, in order, slice by slice, and SUBACK when it must not be lost. */
#include <stdlib.h>

#include "world.h"

#include "broker/state.h"

enum { MANY = 300, QUIET_TURNS = 1500 };

/* A world with small bounds, and a peer that has set `count` retained messages r/0, r/1, ... of QoS 1. */
static struct world *world_retaining(struct peer *from, unsigned count, uint32_t turn_points) {
    struct world *w = world_new();
    w->at_once = true;
    w->options.outbox_bytes_max = 1000;
    w->options.queue_messages_max = 100;
    w->options.inflight_max = 10;
    w->options.turn_points = turn_points;
    world_open(w, 1);
    joined(from, w, PROTOCOL_5, "from", false);
    for (unsigned i = 0; i < count; i++) {
        char topic[16];
        (void)snprintf(topic, sizeof topic, "r/%u", i);
        say_publish(from, &(struct publishing){.qos = 1, .id = 1, .topic = topic, .payload = "x", .retain = true});
        turn(w);
        expect(from, "PUBACK");
    }
    return w;
}

/* What a peer hears until nothing comes any more; it answers at once. */
struct hearing {
    unsigned subacks, retained, live;
    unsigned retained_after_live, retained_before_suback;
    unsigned seen[MANY];
};

static void hear_one(struct peer *p, struct hearing *h, const char *line) {
    const char *topic = strstr(line, "topic=\"r/");
    const char *id = strstr(line, " id=");
    if (strncmp(line, "SUBACK", 6) == 0) {
        h->subacks++;
        return;
    }
    assert_memory_equal(line, "PUBLISH", 7);
    if (id != NULL) {
        say_ack(p, PACKET_PUBACK, (packet_id_t)atoi(id + 4), 0);
    }
    if (strstr(line, "retain") == NULL) {
        h->live++;
        return;
    }
    assert_non_null(topic);
    h->retained++;
    h->seen[atoi(topic + 9)]++;
    h->retained_after_live += h->live > 0;
    h->retained_before_suback += h->subacks == 0;
}

static void hear_all(struct peer *p, struct hearing *h) {
    for (unsigned quiet = 0; quiet < QUIET_TURNS;) {
        const char *line = hear(p);
        if (line[0] == '\0') {
            quiet++;
            turn(p->w);
        } else {
            quiet = 0;
            hear_one(p, h, line);
        }
    }
}

static void all_of_a_large_set_comes(void **state) {
    (void)state;
    static const uint32_t points[] = {1, 7, 100, 4096};
    for (unsigned n = 0; n < 16; n++) {
        struct peer from, p;
        struct hearing h = {0};
        bool durable = (n & 1) != 0;
        uint8_t qos = n / 2 % 2;
        struct world *w = world_retaining(&from, MANY, points[n / 4]);
        joined(&p, w, PROTOCOL_5, "p", durable);
        unsigned lines = w->log_lines;
        unsigned messages = fake_count(&w->store, RECORD_MESSAGE);
        say_subscribe(&p, 1, "r/#", qos);
        hear_all(&p, &h);
        assert_int_equal(h.subacks, 1);
        assert_int_equal(h.retained, MANY);
        for (unsigned i = 0; i < MANY; i++) {
            assert_int_equal(h.seen[i], 1);
        }
        assert_int_equal(w->log_lines, lines);
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), messages); /* no body is written again */
        assert_int_equal(fake_count(&w->store, RECORD_RETAINED) > 0, durable && qos > 0);
        assert_int_equal(counters(w).queued, 0);
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* A set that the queue has room for is as it always was: SUBACK, then the messages. */
static void suback_comes_first_when_there_is_room(void **state) {
    (void)state;
    static const uint32_t points[] = {1, 7, 4096};
    for (unsigned n = 0; n < 12; n++) {
        struct peer from, p;
        struct hearing h = {0};
        struct world *w = world_retaining(&from, 40, points[n / 4]);
        joined(&p, w, PROTOCOL_311, "p", (n & 1) != 0);
        say_subscribe(&p, 1, "#", n / 2 % 2);
        hear_all(&p, &h);
        assert_int_equal(h.retained, 40);
        if (n / 2 % 2 == 1) {
            assert_int_equal(h.retained_before_suback, 0);
        }
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* Killed at SUBACK, a durable session has all that the subscription has brought. */
static void suback_waits_for_what_comes_with_it(void **state) {
    (void)state;
    static const uint32_t points[] = {1, 7, 4096};
    for (unsigned n = 0; n < 3; n++) {
        struct peer from, p;
        struct world *w = world_retaining(&from, 30, points[n]);
        joined(&p, w, PROTOCOL_311, "p", true);
        w->at_once = false;
        say_subscribe(&p, 1, "r/+", 1);
        for (int i = 0; i < 200; i++) {
            turn(w);
        }
        lsn_t brought = fake_newest(&w->store, RECORD_RETAINED);
        lsn_t last = fake_newest(&w->store, RECORD_SUBSCRIBED); /* says that all was brought */
        assert_true(last > brought);
        durable_to(w, brought - 1);
        turn(w);
        expect_silence(&p);
        durable_to(w, last);
        turn(w);
        expect(&p, "SUBACK");
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* What is accepted while the set is still coming comes after it, once, also when it replaces a part of the set. */
static void live_messages_wait_behind_the_set(void **state) {
    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        struct peer from, p;
        struct hearing h = {0};
        struct world *w = world_retaining(&from, MANY, (n & 1) != 0 ? 20 : 3);
        joined(&p, w, PROTOCOL_5, "p", n / 2 == 1);
        say_subscribe(&p, 1, "r/#", 1);
        unsigned live = 0;
        for (unsigned i = 0; i < 20; i++) {
            char topic[16];
            (void)snprintf(topic, sizeof topic, "r/%u", i * 7 % MANY);
            say_publish(&from,
                        &(struct publishing){.qos = 1, .id = 1, .topic = topic, .payload = "new", .retain = true});
            turn(w);
            live += strstr(hear(&from), "reason=0x97") == NULL;
        }
        assert_int_equal(live, 20); /* half of the queue is theirs */
        hear_all(&p, &h);
        assert_int_equal(h.live, live);
        assert_int_equal(h.retained_after_live, 0);
        assert_true(h.retained >= MANY - live && h.retained <= MANY);
        for (unsigned i = 0; i < MANY; i++) {
            assert_true(h.seen[i] <= 1);
        }
        assert_int_equal(counters(w).queued, 0);
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* Nobody else waits for it, however much it brings and whether its client reads or not. */
static void others_are_served_meanwhile(void **state) {
    (void)state;
    for (uint8_t qos = 0; qos <= 1; qos++) {
        struct peer from, p;
        struct world *w = world_retaining(&from, MANY, 16);
        joined(&p, w, PROTOCOL_5, "p", true);
        say_subscribe(&p, 1, "#", qos);
        unsigned turns = 0;
        while (turn_end(w, 0).more) {
            turn_begin(w, 0);
            say_ping(&from);
            expect(&from, "PINGRESP");
            turns++;
        }
        turn(w);
        assert_true(turns > 5);
        /* It has stopped, for the client takes nothing: there is no turn after the other for it. */
        assert_true(shard_output_bytes(world_shard(w, 0), p.handle) <= 1100);
        assert_true(counters(w).queued <= 60);
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

static void what_follows_a_subscribe_keeps_its_order(void **state) {
    (void)state;
    struct peer from, p;
    struct hearing h = {0};
    struct world *w = world_retaining(&from, MANY, 8);
    joined(&p, w, PROTOCOL_5, "p", true);
    say_subscribe(&p, 1, "r/#", 1);
    say_unsubscribe(&p, 2, "r/#");
    say_ping(&p);
    expect(&p, "PINGRESP"); /* it does not wait */
    say_subscribe(&p, 3, "r/1", 1);
    unsigned subacks = 0;
    bool unsubscribed = false;
    for (unsigned quiet = 0; quiet < QUIET_TURNS;) {
        const char *line = hear(&p);
        quiet = line[0] == '\0' ? quiet + 1 : 0;
        if (strncmp(line, "UNSUBACK id=2", 13) == 0) {
            assert_int_equal(h.retained, MANY);
            unsubscribed = true;
        } else if (line[0] != '\0') {
            hear_one(&p, &h, line);
        } else {
            later(w, 10);
        }
        subacks = h.subacks;
    }
    assert_true(unsubscribed);
    assert_int_equal(subacks, 2);
    assert_int_equal(h.seen[1], 2);
    assert_int_equal(h.retained, MANY + 1);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

/* The connection breaks in the middle, at every place: what was recorded waits in the queue, and nothing twice. */
static void a_cut_ends_it(void **state) {
    (void)state;
    for (unsigned turns = 0; turns < 40; turns++) {
        struct peer from, p;
        struct hearing h = {0};
        struct world *w = world_retaining(&from, 40, 3);
        joined(&p, w, PROTOCOL_311, "p", true);
        say_subscribe(&p, 1, "r/#", 1);
        for (unsigned i = 0; i < turns; i++) {
            turn(w);
        }
        say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "r/live", .payload = "x"});
        bool acked = false;
        for (const char *line = hear(&p); line[0] != '\0'; line = hear(&p)) {
            acked = acked || strncmp(line, "SUBACK", 6) == 0;
        }
        peer_close(&p);
        turn(w);
        join(&p, w, PROTOCOL_311, "p", true);
        turn(w);
        expect(&p, "CONNACK present");
        hear_all(&p, &h);
        assert_true(h.retained <= 40 && (!acked || h.retained == 40));
        assert_int_equal(h.live, 1);
        assert_int_equal(h.retained_after_live, 0);
        for (unsigned i = 0; i < 40; i++) {
            assert_true(h.seen[i] <= 1);
        }
        assert_int_equal(counters(w).queued, 0);
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* A client that asks again, for what is retained if the subscription is new, gets it when the first time was cut. */
static void a_subscription_that_was_cut_counts_as_new(void **state) {
    (void)state;
    const struct packet_filter filter = {.filter = SPAN("r/#"), .qos = 1, .retain_handling = 1};
    for (unsigned turns = 0; turns < 3; turns++) {
        struct peer from, p;
        struct hearing h = {0};
        struct world *w = world_retaining(&from, 40, 3);
        joined(&p, w, PROTOCOL_5, "p", true);
        say_subscribe_with(&p, 1, &filter);
        for (unsigned i = 0; i < turns; i++) {
            turn(w);
        }
        peer_close(&p);
        joined(&p, w, PROTOCOL_5, "p", true);
        say_subscribe_with(&p, 1, &filter);
        hear_all(&p, &h);
        for (unsigned i = 0; i < 40; i++) {
            assert_true(h.seen[i] >= 1);
        }
        unsigned retained = h.retained;
        say_subscribe_with(&p, 2, &filter); /* now it is old */
        hear_all(&p, &h);
        assert_int_equal(h.subacks, 2);
        assert_int_equal(h.retained, retained);
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* Whether the last SUBSCRIBED record up to this lsn says that what is retained was not brought. */
static bool recorded_unbrought(const struct world *w, lsn_t until) {
    bool unbrought = false;
    for (lsn_t lsn = 1; lsn <= until; lsn++) {
        struct record r = fake_record_of(&w->store, lsn);
        if (r.kind == RECORD_SUBSCRIBED) {
            unbrought = (r.subscribed.options & SUBSCRIPTION_UNBROUGHT) != 0;
        }
    }
    return unbrought;
}

/* A client asks for what is retained in any case; after a crash it asks again, for what is retained if the subscription
 * is new. Until all is recorded it is: a crash may keep any prefix of the records. */
static void until_all_is_recorded_a_subscription_is_new(void **state) {
    (void)state;
    for (uint8_t handling = 0; handling <= 1; handling++) {
        struct peer from, p;
        struct hearing h = {0};
        const struct packet_filter filter = {.filter = SPAN("r/#"), .qos = 1, .retain_handling = handling};
        struct world *w = world_retaining(&from, 40, 3);
        joined(&p, w, PROTOCOL_5, "p", true);
        lsn_t before = w->store.last;
        say_subscribe_with(&p, 1, &filter);
        hear_all(&p, &h);
        assert_int_equal(h.retained, 40);
        lsn_t last_brought = 0;
        for (lsn_t lsn = before + 1; lsn <= w->store.last; lsn++) {
            last_brought = fake_record_of(&w->store, lsn).kind == RECORD_RETAINED ? lsn : last_brought;
        }
        assert_true(last_brought > before);
        for (lsn_t lsn = before + 1; lsn <= last_brought; lsn++) {
            assert_true(recorded_unbrought(w, lsn));
        }
        assert_false(recorded_unbrought(w, w->store.last));
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* A filter that stands twice in one SUBSCRIBE: what the first one brings is brought once, and the subscription is new
 * until all is recorded, whatever the second one asks for. */
static void a_filter_that_stands_twice_brings_once(void **state) {
    (void)state;
    for (uint8_t handling = 1; handling <= 2; handling++) {
        struct peer from, p;
        struct hearing h = {0};
        const struct packet_filter filters[] = {{.filter = SPAN("r/#"), .qos = 1},
                                                {.filter = SPAN("r/#"), .qos = 1, .retain_handling = handling}};
        struct world *w = world_retaining(&from, 40, 3);
        joined(&p, w, PROTOCOL_5, "p", true);
        lsn_t before = w->store.last;
        struct buf b = {NULL, 0, 0};
        packet_encode_subscribe(&b, PROTOCOL_5, 1, &(struct properties){.present = 0}, filters, 2);
        say_buf(&p, &b);
        hear_all(&p, &h);
        assert_int_equal(h.subacks, 1);
        assert_int_equal(h.retained, 40);
        lsn_t last_brought = fake_newest(&w->store, RECORD_RETAINED);
        assert_true(last_brought > before);
        for (lsn_t lsn = before + 1; lsn <= last_brought; lsn++) {
            assert_true(recorded_unbrought(w, lsn));
        }
        assert_false(recorded_unbrought(w, w->store.last));
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* A set deeper than the window of memory comes back from the table with the bodies of other records. */
static void a_set_is_read_back_from_the_table(void **state) {
    (void)state;
    struct peer from, p;
    struct hearing h = {0};
    struct world *w = world_new();
    w->options.window_messages = 4;
    w->options.inflight_max = 3;
    w->at_once = true;
    world_open(w, 1);
    joined(&from, w, PROTOCOL_5, "from", false);
    for (unsigned i = 0; i < 50; i++) {
        char topic[16];
        (void)snprintf(topic, sizeof topic, "r/%u", i);
        say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = topic, .payload = "x", .retain = true});
        turn(w);
        expect(&from, "PUBACK");
    }
    joined(&p, w, PROTOCOL_5, "p", true);
    say_subscribe(&p, 1, "r/#", 1);
    turn(w);
    say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "r/live", .payload = "x"});
    fold_all(w);
    fold_all(w);
    hear_all(&p, &h);
    assert_int_equal(h.retained, 50);
    assert_int_equal(h.live, 1);
    assert_int_equal(h.retained_after_live, 0);
    assert_int_equal(counters(w).queued, 0);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

/* A store that is full for a while keeps it waiting, and nothing is lost. */
static void a_full_store_stalls_it(void **state) {
    (void)state;
    struct peer from, p;
    struct hearing h = {0};
    struct world *w = world_retaining(&from, MANY, 8);
    joined(&p, w, PROTOCOL_5, "p", true);
    say_subscribe(&p, 1, "r/#", 1);
    w->store.pressure = STORE_FULL;
    for (int i = 0; i < 20; i++) {
        turn(w);
    }
    struct turn_result ended = turn_end(w, 0);
    assert_true(ended.again && !ended.more);
    lsn_t last = w->store.last;
    turn(w);
    assert_int_equal(w->store.last, last);
    w->store.pressure = STORE_EASY;
    hear_all(&p, &h);
    assert_int_equal(h.subacks, 1);
    assert_int_equal(h.retained, MANY);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

/* What waits for the end of a SUBSCRIBE costs nothing meanwhile, however long it is and however often time passes. */
static void who_waits_for_it_costs_nothing(void **state) {
    (void)state;
    struct peer from, p;
    struct hearing h = {0};
    struct world *w = world_retaining(&from, MANY, 4096);
    joined(&p, w, PROTOCOL_5, "p", false);
    say_subscribe(&p, 1, "r/#", 0);
    say_subscribe(&p, 2, "s", 0);
    for (int i = 0; i < 20; i++) { /* until there is no room any more */
        turn(w);
    }
    for (int i = 0; i < 5; i++) {
        w->now += 10;
        turn_begin(w, 0);
        assert_int_equal(world_shard(w, 0)->points, 4096);
    }
    hear_all(&p, &h);
    assert_int_equal(h.subacks, 2);
    assert_int_equal(h.retained, MANY);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

/* Who waits for it is read from meanwhile: its client may fall silent, and may say that it is there. */
static void who_waits_for_it_keeps_alive(void **state) {
    (void)state;
    for (int pings = 0; pings <= 1; pings++) {
        struct peer from, p;
        struct world *w = world_retaining(&from, MANY, 4096);
        peer_open(&p, w, PROTOCOL_311);
        say_connect(&p, &(struct connecting){.id = "p", .clean = true, .keep_alive_s = 10});
        turn(w);
        expect(&p, "CONNACK");
        say_subscribe(&p, 1, "r/#", 0);
        say_subscribe(&p, 2, "s", 0);
        for (int i = 0; i < 10; i++) {
            tick(w, 5000);
            if (pings == 1) {
                say_publish(&p, &(struct publishing){.topic = "t"}); /* it waits, too */
            }
        }
        assert_int_equal(wish(&p) == CONN_CLOSE, pings == 0);
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* Who waits for it and does not read its answers is not read from either, until it does: then the acknowledgements come
 * that make room. */
static void who_waits_for_it_is_read_from_again(void **state) {
    (void)state;
    struct peer from, p;
    struct hearing h = {0};
    struct world *w = world_retaining(&from, MANY, 4096);
    joined(&p, w, PROTOCOL_5, "p", true);
    say_subscribe(&p, 1, "r/#", 1);
    say_subscribe(&p, 2, "s", 1);
    turn(w);
    assert_int_equal(wish(&p), CONN_READ);
    unsigned pings = 0;
    for (; wish(&p) == CONN_READ; pings++) {
        say_ping(&p);
    }
    assert_int_equal(wish(&p), CONN_PAUSE);
    peer_read(&p, SIZE_MAX);
    turn(w);
    assert_int_equal(wish(&p), CONN_READ);
    for (unsigned pongs = 0; pongs < pings;) {
        const char *line = hear(&p);
        if (strcmp(line, "PINGRESP") == 0) {
            pongs++;
        } else {
            hear_one(&p, &h, line);
        }
    }
    hear_all(&p, &h);
    assert_int_equal(h.retained, MANY);
    assert_int_equal(h.subacks, 2);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

/* Its acknowledgements, which would make room, come behind more than is kept: it is closed, for that would not end. */
static void who_sends_too_much_behind_it_is_closed(void **state) {
    (void)state;
    static char text[60000];
    struct peer from, p;
    memset(text, 'x', sizeof text - 1);
    struct world *w = world_retaining(&from, MANY, 4096);
    joined(&p, w, PROTOCOL_5, "p", true);
    say_subscribe(&p, 1, "r/#", 1);
    say_subscribe(&p, 2, "s", 1);
    turn(w);
    for (packet_id_t id = 1; wish(&p) == CONN_READ; id++) {
        assert_true(id < 10000);
        say_publish(&p, &(struct publishing){.qos = 1, .id = id, .topic = "t", .payload = text});
    }
    tick(w, w->options.refuse_close_ms - 1000);
    assert_int_equal(wish(&p), CONN_PAUSE);
    tick(w, 2000);
    assert_int_equal(wish(&p), CONN_CLOSE);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

/* A full store may be full of what waits for this very client: that leaves, though SUBACK must wait. */
static void what_is_queued_leaves_while_the_store_is_full(void **state) {
    (void)state;
    struct peer from, p;
    struct hearing h = {0};
    struct world *w = world_retaining(&from, MANY, 8);
    joined(&p, w, PROTOCOL_5, "p", true);
    subscribed(&p, "q", 1);
    peer_close(&p);
    for (packet_id_t id = 1; id <= 30; id++) {
        say_publish(&from, &(struct publishing){.qos = 1, .id = id, .topic = "q", .payload = "x"});
        turn(w);
        expect(&from, "PUBACK");
    }
    joined(&p, w, PROTOCOL_5, "p", true);
    say_subscribe(&p, 2, "r/#", 1);
    w->store.pressure = STORE_FULL;
    hear_all(&p, &h);
    assert_int_equal(h.live, 30);
    assert_int_equal(h.subacks, 0);
    w->store.pressure = STORE_EASY;
    hear_all(&p, &h);
    assert_int_equal(h.subacks, 1);
    assert_int_equal(h.retained, MANY);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

/* The queue of a session that is not durable has a bound of its own, and half of that, too, is left to live messages.
 */
static void a_set_leaves_room_in_a_queue_in_memory(void **state) {
    (void)state;
    struct peer from, p;
    struct world *w = world_new();
    w->at_once = true;
    w->options.inflight_max = 1;
    w->options.queue_memory_max = 4000;
    w->options.refuse_close_ms = 1000000;
    world_open(w, 1);
    joined(&from, w, PROTOCOL_5, "from", false);
    for (unsigned i = 0; i < MANY; i++) {
        char topic[16];
        (void)snprintf(topic, sizeof topic, "r/%u", i);
        say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = topic, .payload = "x", .retain = true});
        turn(w);
        expect(&from, "PUBACK");
    }
    joined(&p, w, PROTOCOL_5, "p", false);
    say_subscribe(&p, 1, "r/#", 1);
    turn(w);
    for (packet_id_t id = 1; id <= 10; id++) {
        say_publish(&from, &(struct publishing){.qos = 1, .id = id, .topic = "r/0", .payload = "x"});
        turn(w);
        expect(&from, "PUBACK");
    }
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_a_large_set_comes),
        cmocka_unit_test(suback_comes_first_when_there_is_room),
        cmocka_unit_test(suback_waits_for_what_comes_with_it),
        cmocka_unit_test(live_messages_wait_behind_the_set),
        cmocka_unit_test(others_are_served_meanwhile),
        cmocka_unit_test(what_follows_a_subscribe_keeps_its_order),
        cmocka_unit_test(a_cut_ends_it),
        cmocka_unit_test(a_subscription_that_was_cut_counts_as_new),
        cmocka_unit_test(until_all_is_recorded_a_subscription_is_new),
        cmocka_unit_test(a_set_is_read_back_from_the_table),
        cmocka_unit_test(a_full_store_stalls_it),
        cmocka_unit_test(who_waits_for_it_costs_nothing),
        cmocka_unit_test(who_waits_for_it_keeps_alive),
        cmocka_unit_test(who_waits_for_it_is_read_from_again),
        cmocka_unit_test(who_sends_too_much_behind_it_is_closed),
        cmocka_unit_test(what_is_queued_leaves_while_the_store_is_full),
        cmocka_unit_test(a_filter_that_stands_twice_brings_once),
        cmocka_unit_test(a_set_leaves_room_in_a_queue_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
