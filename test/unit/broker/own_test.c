/* Deliveries that do not fit into a turn: wills of many come whatever waits already, and it is bounded all the same. */
#include "many.h"

#include "broker/own.h"
#include "broker/state.h"

static struct world *world_with_points(struct peer *to, uint32_t turn_points) {
    struct world *w = world_new();
    w->at_once = true;
    w->options.turn_points = turn_points;
    world_open(w, 1);
    joined(to, w, PROTOCOL_311, "to", false);
    many_subscribe(to);
    return w;
}

static struct world *world_with_many_filters(struct peer *to) {
    return world_with_points(to, broker_options_default().turn_points);
}

static void connect(struct peer *p, struct world *w, unsigned i, struct connecting with) {
    char id[16];
    (void)snprintf(id, sizeof id, "c%u", i);
    with.id = id;
    with.will = many_topic;
    peer_open(p, w, PROTOCOL_5);
    say_connect(p, &with);
    turn(w);
    expect(p, "CONNACK");
}

static void end(struct world *w, struct peer *to) {
    for (unsigned i = 0; own_count(world_shard(w, 0)) > 0; i++) {
        assert_true(i < 1000);
        turn(w);
        (void)turn_end(w, 0);
        turn_begin(w, 0);
        many_heard(to);
    }
    buf_deinit(&to->received);
    world_close(w);
}

static void wills_of_many_at_once_are_bounded(void **state) {
    (void)state;
    enum { CLIENTS = 400 }; /* some 1,600,000 deliveries */
    struct peer to, from[CLIENTS];
    struct world *w = world_with_many_filters(&to);
    for (unsigned i = 0; i < CLIENTS; i++) {
        connect(&from[i], w, i, (struct connecting){.clean = true});
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        peer_close(&from[i]);
    }
    assert_in_range(own_count(world_shard(w, 0)), OWN_QOS0_WILLS_MAX, OWN_QOS0_WILLS_MAX + MANY_FILTERS);
    assert_true(counters(w).qos0_dropped > 0);
    end(w, &to);
}

/* Nothing of them is lost: they stay due until what came before has been delivered. */
static void accepted_wills_of_many_wait_for_what_is_under_way(void **state) {
    (void)state;
    enum { CLIENTS = 50 };
    const size_t most = OWN_MAX + MANY_FILTERS;
    struct peer to, from[CLIENTS];
    struct world *w = world_with_many_filters(&to);
    for (unsigned i = 0; i < CLIENTS; i++) {
        connect(&from[i], w, i, (struct connecting){.clean = true, .will_qos = 1});
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        peer_close(&from[i]);
        assert_in_range(own_count(world_shard(w, 0)), 0, most);
    }
    assert_in_range(fake_count(&w->store, RECORD_MESSAGE), 1, most / MANY_FILTERS + 1);
    const uint32_t points = w->broker->options.turn_points;
    w->broker->options.turn_points = 32;
    world_shard(w, 0)->matches.count = 0;
    tick(w, 1000);
    assert_true(own_count(world_shard(w, 0)) > OWN_MAX);
    assert_int_equal(world_shard(w, 0)->matches.count, 0); /* nobody looks for their receivers */
    w->broker->options.turn_points = points;
    for (unsigned i = 0; fake_count(&w->store, RECORD_MESSAGE) < CLIENTS; i++) {
        assert_true(i < 1000);
        tick(w, 1000);
        many_heard(&to);
        assert_in_range(own_count(world_shard(w, 0)), 0, most);
    }
    assert_int_equal(counters(w).qos0_dropped, 0);
    end(w, &to);
}

/* After their delay, with the end of their sessions, and because their clients are silent. */
static void wills_that_are_due_at_once_come_over_several_turns(void **state) {
    (void)state;
    enum { CLIENTS = 50 };
    static const struct connecting with[] = {
        {.clean = true, .expiry_s = 600, .will_delay_s = 1},
        {.clean = true, .expiry_s = 1, .will_delay_s = 600},
        {.clean = true, .keep_alive_s = 1},
    };
    for (size_t n = 0; n < sizeof with / sizeof with[0]; n++) {
        struct peer to, p[CLIENTS];
        struct world *w = world_with_many_filters(&to);
        for (unsigned i = 0; i < CLIENTS; i++) {
            connect(&p[i], w, i, with[n]);
            if (with[n].keep_alive_s == 0) {
                peer_close(&p[i]);
            }
        }
        later(w, 2000);
        shard_tick(world_shard(w, 0));
        for (unsigned i = 0; i < 4 * CLIENTS; i++) {
            assert_true(own_count(world_shard(w, 0)) < (size_t)5 * MANY_FILTERS);
            turn_begin(w, 0);
            many_heard(&to);
        }
        assert_int_equal(fake_count(&w->store, RECORD_MESSAGE), CLIENTS);
        for (unsigned i = 0; i < CLIENTS; i++) {
            peer_close(&p[i]);
        }
        end(w, &to);
    }
}

/* Each hears the last of so many messages that all of them match. */
static void who_has_little_waiting_goes_before_the_backlog_of_others(void **state) {
    (void)state;
    enum { MESSAGES = 4 };
    struct peer to, one, from;
    struct world *w = world_with_points(&to, 64);
    joined(&one, w, PROTOCOL_311, "one", false);
    subscribed(&one, many_topic, 0);
    joined(&from, w, PROTOCOL_311, "from", false);
    for (unsigned i = 0; i < MESSAGES; i++) {
        say_publish(&from, &(struct publishing){.topic = many_topic});
        turn(w);
    }
    assert_true(own_count(world_shard(w, 0)) > 2 * MANY_FILTERS);
    for (unsigned i = 0; i < MESSAGES; i++) {
        expect(&one, "PUBLISH qos=0 topic=\"a/a/a/a/a/a/a/a/a/a/a/a\"");
    }
    expect_silence(&one);
    assert_true(own_count(world_shard(w, 0)) > MANY_FILTERS);
    peer_close(&from);
    peer_close(&one);
    end(w, &to);
}

/* Beyond that little, all that follows waits behind it, in order. */
static void a_backlog_keeps_its_order(void **state) {
    (void)state;
    struct peer to, from;
    struct world *w = world_with_points(&to, 64);
    say_subscribe(&to, 1, "one", 0);
    turn(w);
    many_heard(&to);
    joined(&from, w, PROTOCOL_311, "from", false);
    for (unsigned i = 0; i < 3; i++) {
        say_publish(&from, &(struct publishing){.topic = i < 2 ? many_topic : "one"});
        turn(w);
    }
    assert_true(own_count(world_shard(w, 0)) > MANY_FILTERS);
    for (unsigned i = 0; own_count(world_shard(w, 0)) > 0; i++) {
        assert_true(i < 1000);
        turn(w);
        (void)turn_end(w, 0);
        turn_begin(w, 0);
        peer_read(&to, SIZE_MAX);
    }
    const size_t one = 2 + 2 + 3; /* bytes of the last PUBLISH */
    assert_memory_equal(to.received.ptr + to.received.len - 3, "one", 3);
    assert_int_equal((to.received.len - one) % (2 + 2 + sizeof many_topic - 1), 0);
    peer_close(&from);
    end(w, &to);
}

/* Who is away gets nothing at QoS 0, and nothing for it waits in front of what is for others. */
static void what_nobody_gets_does_not_wait(void **state) {
    (void)state;
    enum { MESSAGES = 20 };
    struct peer to, from;
    struct world *w = world_new();
    w->at_once = true;
    w->options.turn_points = 64;
    world_open(w, 1);
    joined(&to, w, PROTOCOL_311, "to", true);
    many_subscribe(&to);
    joined(&from, w, PROTOCOL_311, "from", false);
    peer_close(&to);
    const uint64_t sent = counters(w).publish_sent;
    for (unsigned i = 0; i < MESSAGES; i++) {
        say_publish(&from, &(struct publishing){.topic = many_topic});
        turn(w);
        assert_int_equal(own_count(world_shard(w, 0)), 0);
    }
    assert_int_equal(counters(w).publish_sent, sent);
    assert_int_equal(counters(w).qos0_dropped, 0);
    joined(&to, w, PROTOCOL_311, "to", true);
    say_publish(&from, &(struct publishing){.topic = many_topic});
    for (unsigned i = 0; i < 1000 && counters(w).publish_sent < sent + MANY_FILTERS; i++) {
        turn(w);
        many_heard(&to);
    }
    assert_int_equal(counters(w).publish_sent - sent, MANY_FILTERS);
    peer_close(&from);
    buf_deinit(&to.received);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wills_of_many_at_once_are_bounded),
        cmocka_unit_test(accepted_wills_of_many_wait_for_what_is_under_way),
        cmocka_unit_test(wills_that_are_due_at_once_come_over_several_turns),
        cmocka_unit_test(who_has_little_waiting_goes_before_the_backlog_of_others),
        cmocka_unit_test(a_backlog_keeps_its_order),
        cmocka_unit_test(what_nobody_gets_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
