/* A session with many subscriptions ends: nobody waits for it, and from the first moment it is gone. */
#include "world.h"

#include "broker/state.h"
#include "topic/trie.h"

enum { FILTERS = 3000, TURN_POINTS = 1000, SLICE = 256, SLACK = 32 };

static struct world *world_small(void) {
    struct world *w = world_new();
    w->at_once = true;
    w->options.turn_points = TURN_POINTS;
    world_open(w, 1);
    return w;
}

static void subscribe_many(struct peer *p, unsigned count) {
    for (unsigned n = 0; n < count;) {
        struct buf b = {NULL, 0, 0};
        struct properties none = {.present = 0};
        struct packet_filter filters[100];
        char names[100][32];
        for (unsigned i = 0; i < 100; i++, n++) {
            (void)snprintf(names[i], sizeof names[i], "many/%u", n);
            filters[i] = (struct packet_filter){.filter = span_str(names[i]), .qos = 1, .retain_handling = 2};
        }
        packet_encode_subscribe(&b, p->protocol, 1, &none, filters, 100);
        say_buf(p, &b);
        do {
            turn(p->w);
        } while (world_shard(p->w, 0)->input_left || !list_empty(&world_shard(p->w, 0)->works));
        expect(p, "SUBACK id=1");
    }
}

static size_t filters_left(const struct world *w) {
    return topic_trie_subscriptions(w->broker->trie);
}

/* What each turn does of it is bounded, and it comes to an end. */
static void end_is_seen_through(struct world *w, size_t left) {
    for (unsigned turns = 0; filters_left(w) > left; turns++) {
        const size_t before = filters_left(w);
        assert_true(turns < 100);
        world_sweep(w);
        turn_begin(w, 0);
        assert_true(before - filters_left(w) <= TURN_POINTS / 2 + SLICE);
        assert_true(world_shard(w, 0)->points > 0);
        assert_int_equal(turn_end(w, 0).more, filters_left(w) > left);
    }
    turn_begin(w, 0);
}

static void the_end_is_cut_into_slices(void **state) {
    (void)state;
    struct world *w = world_small();
    struct peer p, other;
    joined(&p, w, PROTOCOL_5, "p", false);
    joined(&other, w, PROTOCOL_5, "other", false);
    subscribe_many(&p, FILTERS);
    turn_begin(w, 0);
    const int64_t points = world_shard(w, 0)->points;
    peer_close(&p);
    assert_true(filters_left(w) >= FILTERS - SLICE);
    assert_true(points - world_shard(w, 0)->points <= SLICE + SLACK);
    assert_int_equal(counters(w).sessions, 1);
    end_is_seen_through(w, 0);
    assert_int_equal(quota_taken(quota_all(w->broker->quota), QUOTA_SUBSCRIPTIONS), 0);
    assert_int_equal(quota_taken(quota_all(w->broker->quota), QUOTA_SESSIONS), 1);
    peer_close(&other);
    world_close(w);
}

/* ---- looks in vain ---- */

enum { LEVELS = 10, MATCHES = 1 << LEVELS, LOOKS_PER_POINT = 4 };
static const char one_topic[] = "a/a/a/a/a/a/a/a/a/a";

/* Subscribes to filters that all match the topic. */
static void subscribe_matching(struct peer *p, bool no_local) {
    for (unsigned set = 0; set < MATCHES; set++) {
        char filter[sizeof one_topic];
        memcpy(filter, one_topic, sizeof one_topic);
        for (unsigned i = 0; i < LEVELS; i++) {
            filter[i * 2] = (set >> i & 1) != 0 ? '+' : 'a';
        }
        say_subscribe_with(p, 1, &(struct packet_filter){.filter = span_str(filter), .qos = 1, .no_local = no_local});
        turn(p->w);
        expect(p, "SUBACK id=1");
    }
    turn_begin(p->w, 0);
}

/* What a PUBLISH costs of a turn. */
static int64_t points_of_publish(struct peer *p, uint8_t qos) {
    const struct shard *shard = world_shard(p->w, 0);
    const int64_t before = shard->points;
    say_publish(p, &(struct publishing){.qos = qos, .id = qos, .topic = one_topic});
    return before - shard->points;
}

/* To find out that all whom a PUBLISH matches have ended is work as well: else one turn would do it for all that a
 * flood has sent. */
static void a_look_at_what_has_ended_is_paid_for(void **state) {
    (void)state;
    struct world *w = world_small();
    struct peer p, from;
    joined(&p, w, PROTOCOL_5, "p", false);
    joined(&from, w, PROTOCOL_5, "from", false);
    subscribe_matching(&p, false);
    peer_close(&p);
    const size_t left = filters_left(w);
    assert_true(left > MATCHES / 2);
    assert_in_range(points_of_publish(&from, 1), left / LOOKS_PER_POINT, left / LOOKS_PER_POINT + SLACK);
    expect(&from, "PUBACK id=1 reason=0x10");
    end_is_seen_through(w, 0);
    peer_close(&from);
    world_close(w);
}

/* The same when it is the publisher itself who does not want what it publishes. */
static void a_look_at_what_is_not_local_is_paid_for(void **state) {
    (void)state;
    struct world *w = world_small();
    struct peer p;
    joined(&p, w, PROTOCOL_5, "p", false);
    subscribe_matching(&p, true);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        turn_begin(w, 0);
        assert_in_range(points_of_publish(&p, qos), MATCHES / LOOKS_PER_POINT, MATCHES / LOOKS_PER_POINT + SLACK);
    }
    peer_close(&p);
    end_is_seen_through(w, 0);
    world_close(w);
}

/* At each QoS, and whether it is recorded or not: who publishes is told that nobody is there. */
static void it_matches_no_more(void **state) {
    (void)state;
    for (int durable = 0; durable <= 1; durable++) {
        struct world *w = world_small();
        struct peer p, from;
        joined(&p, w, PROTOCOL_5, "p", durable);
        joined(&from, w, PROTOCOL_5, "from", false);
        subscribe_many(&p, FILTERS);
        if (durable != 0) { /* a client that begins anew discards it */
            peer_close(&p);
            peer_open(&p, w, PROTOCOL_5);
            say_connect(&p, &(struct connecting){.id = "p", .clean = true});
        } else {
            peer_close(&p);
        }
        assert_true(filters_left(w) > FILTERS / 2);
        const unsigned messages = fake_count(&w->store, RECORD_MESSAGE);
        for (unsigned n = 0; n < FILTERS; n += FILTERS / 5) {
            char topic[32];
            (void)snprintf(topic, sizeof topic, "many/%u", n);
            say_publish(&from, &(struct publishing){.qos = 1, .id = (packet_id_t)(n + 1), .topic = topic});
            say_publish(&from, &(struct publishing){.qos = 0, .topic = topic});
            expect(&from, "PUBACK");
            assert_non_null(strstr(from.line, "reason=0x10"));
        }
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), messages);
        end_is_seen_through(w, 0);
        peer_close(&p);
        peer_close(&from);
        world_close(w);
    }
}

/* The same client id, the same filter, while the session before still leaves. */
static void its_client_may_come_back_meanwhile(void **state) {
    (void)state;
    struct world *w = world_small();
    struct peer p, from;
    joined(&from, w, PROTOCOL_5, "from", false);
    for (unsigned round = 0; round < 3; round++) {
        joined(&p, w, PROTOCOL_5, "p", true);
        subscribe_many(&p, FILTERS);
        peer_close(&p);
        peer_open(&p, w, PROTOCOL_5);
        say_connect(&p, &(struct connecting){.id = "p", .clean = true, .expiry_s = 600});
        say_subscribe(&p, 1, "many/2999", 1);
        say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = "many/2999", .payload = "m"});
        assert_true(filters_left(w) > FILTERS / 2);
        turn(w);
        expect(&p, "CONNACK");
        assert_null(strstr(p.line, "present"));
        expect(&p, "SUBACK id=1");
        expect(&p, "PUBLISH qos=1 id=1 topic=\"many/2999\"");
        say_ack(&p, PACKET_PUBACK, 1, 0);
        expect(&from, "PUBACK id=1 reason=0x00");
        end_is_seen_through(w, 1);
        expect_silence(&p);
        assert_int_equal(quota_taken(quota_all(w->broker->quota), QUOTA_SUBSCRIPTIONS), 1);
        say_disconnect(&p, 0);
        peer_close(&p);
        peer_open(&p, w, PROTOCOL_5);
        say_connect(&p, &(struct connecting){.id = "p", .clean = true});
        turn(w);
        expect(&p, "CONNACK");
        peer_close(&p);
        turn(w);
    }
    peer_close(&from);
    world_close(w);
}

/* ---- UNSUBSCRIBE ---- */

static void say_unsubscribe_many(struct peer *p, packet_id_t id, unsigned count, const char *prefix) {
    struct buf b = {NULL, 0, 0};
    struct properties none = {.present = 0};
    struct packet_filter *filters = mem_zero(count, sizeof *filters);
    char(*names)[32] = mem_alloc(count * sizeof *names);
    for (unsigned n = 0; n < count; n++) {
        (void)snprintf(names[n], sizeof names[n], "%s/%u", prefix, n);
        filters[n] = (struct packet_filter){.filter = span_str(names[n])};
    }
    packet_encode_unsubscribe(&b, p->protocol, id, &none, filters, count);
    say_buf(p, &b);
    mem_free(filters);
    mem_free(names);
}

/* Filters that are there, and that are not: in no turn more than it has points for; then one answer, in order. */
static void unsubscribe_is_cut_into_slices(void **state) {
    (void)state;
    static const char *prefixes[] = {"many", "never"};
    for (unsigned kind = 0; kind < 2; kind++) {
        struct world *w = world_small();
        struct peer p;
        joined(&p, w, PROTOCOL_5, "p", true);
        subscribe_many(&p, FILTERS);
        turn(w);
        turn_begin(w, 0);
        say_unsubscribe_many(&p, 7, FILTERS, prefixes[kind]);
        say_ping(&p);
        say_subscribe(&p, 8, "after", 0);
        unsigned turns = 0;
        for (const char *line = hear(&p); strncmp(line, "UNSUBACK id=7", 13) != 0; line = hear(&p), turns++) {
            assert_true(line[0] == '\0' || strncmp(line, "PINGRESP", 8) == 0); /* that may pass */
            assert_true(turns < 100 && world_shard(w, 0)->points >= -SLACK);
            const size_t before = filters_left(w);
            world_sweep(w);
            turn_begin(w, 0);
            assert_true(before <= filters_left(w) + TURN_POINTS);
        }
        assert_in_range(turns, FILTERS / TURN_POINTS, 20);
        turn(w);
        turn(w);
        assert_int_equal(strncmp(hear(&p), "PINGRESP", 8) == 0 ? strncmp(hear(&p), "SUBACK id=8", 11)
                                                               : strncmp(p.line, "SUBACK id=8", 11),
                         0);
        assert_int_equal(filters_left(w), kind == 0 ? 1 : FILTERS + 1);
        assert_int_equal(fake_count(&w->store, RECORD_UNSUBSCRIBED), kind == 0 ? FILTERS : 0);
        assert_int_equal(quota_taken(quota_all(w->broker->quota), QUOTA_SUBSCRIPTIONS), filters_left(w));
        peer_close(&p);
        world_close(w);
    }
}

/* The connection ends in the middle: what has left has left, and the client asks again. */
static void a_cut_unsubscribe_is_asked_again(void **state) {
    (void)state;
    struct world *w = world_small();
    struct peer p;
    joined(&p, w, PROTOCOL_311, "p", true);
    subscribe_many(&p, FILTERS);
    turn_begin(w, 0);
    say_unsubscribe_many(&p, 7, FILTERS, "many");
    peer_close(&p);
    assert_in_range(filters_left(w), 1, FILTERS - 1);
    joined(&p, w, PROTOCOL_311, "p", true);
    say_unsubscribe_many(&p, 7, FILTERS, "many");
    for (unsigned i = 0; i < 20; i++) {
        turn(w);
    }
    expect(&p, "UNSUBACK id=7");
    assert_int_equal(filters_left(w), 0);
    assert_int_equal(fake_count(&w->store, RECORD_UNSUBSCRIBED), FILTERS);
    peer_close(&p);
    world_close(w);
}

/* The broker goes while ends are under way: nothing is left. */
static void the_broker_may_stop_meanwhile(void **state) {
    (void)state;
    struct world *w = world_small();
    struct peer p[3];
    for (unsigned i = 0; i < 3; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%u", i);
        joined(&p[i], w, PROTOCOL_5, id, false);
        subscribe_many(&p[i], 1000);
    }
    for (unsigned i = 0; i < 3; i++) {
        peer_close(&p[i]);
    }
    assert_true(filters_left(w) > 0);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_is_cut_into_slices),
        cmocka_unit_test(it_matches_no_more),
        cmocka_unit_test(its_client_may_come_back_meanwhile),
        cmocka_unit_test(unsubscribe_is_cut_into_slices),
        cmocka_unit_test(a_cut_unsubscribe_is_asked_again),
        cmocka_unit_test(the_broker_may_stop_meanwhile),
        cmocka_unit_test(a_look_at_what_has_ended_is_paid_for),
        cmocka_unit_test(a_look_at_what_is_not_local_is_paid_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
