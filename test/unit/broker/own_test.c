/* Deliveries that do not fit into a turn: wills of many come whatever waits already, and it is bounded all the same. */
#include "many.h"

#include "broker/own.h"
#include "broker/state.h"

static struct world *world_with_many_filters(struct peer *to) {
    struct world *w = world_new();
    w->at_once = true;
    world_open(w, 1);
    joined(to, w, PROTOCOL_311, "to", false);
    many_subscribe(to);
    return w;
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
    for (unsigned i = 0; world_shard(w, 0)->own.count > 0; i++) {
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
    assert_in_range(world_shard(w, 0)->own.count, OWN_QOS0_WILLS_MAX, OWN_QOS0_WILLS_MAX + MANY_FILTERS);
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
        assert_in_range(world_shard(w, 0)->own.count, 0, most);
    }
    assert_in_range(fake_count(&w->store, RECORD_MESSAGE), 1, most / MANY_FILTERS + 1);
    const uint32_t points = w->broker->options.turn_points;
    w->broker->options.turn_points = 32;
    world_shard(w, 0)->matches.count = 0;
    tick(w, 1000);
    assert_true(world_shard(w, 0)->own.count > OWN_MAX);
    assert_int_equal(world_shard(w, 0)->matches.count, 0); /* nobody looks for their receivers */
    w->broker->options.turn_points = points;
    for (unsigned i = 0; fake_count(&w->store, RECORD_MESSAGE) < CLIENTS; i++) {
        assert_true(i < 1000);
        tick(w, 1000);
        many_heard(&to);
        assert_in_range(world_shard(w, 0)->own.count, 0, most);
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
            assert_true(world_shard(w, 0)->own.count < (size_t)5 * MANY_FILTERS);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wills_of_many_at_once_are_bounded),
        cmocka_unit_test(accepted_wills_of_many_wait_for_what_is_under_way),
        cmocka_unit_test(wills_that_are_due_at_once_come_over_several_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
