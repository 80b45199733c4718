/* What an operator asks and changes, as the shards answer it: in slices, and nothing before it is durable. */
#include "world.h"

#include "broker/request.h"
#include <stdlib.h>

enum { SHARDS = 3, STEPS_MAX = 100000 };

static struct world *world_at_once(unsigned shards) {
    struct world *w = world_new();
    w->at_once = true;
    world_open(w, shards);
    return w;
}

/* Asks all shards; the answers are in `parts`, the number of steps is returned. */
static unsigned asked(struct world *w, const struct request_ask *ask, struct request parts[SHARDS]) {
    unsigned steps = 0;
    bool all;
    for (unsigned i = 0; i < broker_shards(w->broker); i++) {
        parts[i] = (struct request){.ask = ask};
    }
    do {
        all = true;
        for (unsigned i = 0; i < broker_shards(w->broker); i++) {
            bool done = request_step(world_shard(w, i), &parts[i]);
            all = all && done;
        }
        turn(w);
        assert_true(++steps < STEPS_MAX);
    } while (!all);
    return steps;
}

static uint64_t matched(struct world *w, const struct request_ask *ask) {
    struct request parts[SHARDS];
    uint64_t sum = 0;
    (void)asked(w, ask, parts);
    for (unsigned i = 0; i < broker_shards(w->broker); i++) {
        sum += parts[i].answer.matched;
        request_deinit(&parts[i]);
    }
    return sum;
}

/* Durable sessions that are away, with `i` messages each. */
static void absent(struct world *w, unsigned count) {
    struct peer p;
    struct peer from;
    char id[16];
    char topic[16];
    joined(&from, w, PROTOCOL_311, "from", false);
    for (unsigned i = 0; i < count; i++) {
        (void)snprintf(id, sizeof id, "c%u", i);
        (void)snprintf(topic, sizeof topic, "t/%u", i);
        joined(&p, w, PROTOCOL_311, id, true);
        subscribed(&p, topic, 1);
        peer_close(&p);
        turn(w);
        for (unsigned k = 0; k < i % 7; k++) {
            say_publish(&from, &(struct publishing){.qos = 1, .id = 1, .topic = topic, .payload = "x"});
            turn(w);
            expect(&from, "PUBACK");
        }
    }
    say_disconnect(&from, 0);
    peer_close(&from);
    turn(w);
}

static void the_largest_queues_come_first(void **state) {
    (void)state;
    struct world *w = world_at_once(SHARDS);
    struct request parts[SHARDS];
    absent(w, 40);
    struct request_ask ask = {.kind = REQUEST_SESSIONS, .rows_max = 5};
    (void)asked(w, &ask, parts);
    uint64_t all = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        const struct request_answer *a = &parts[i].answer;
        all += a->matched;
        assert_true(a->row_count <= 5);
        for (size_t k = 0; k < a->row_count; k++) {
            unsigned number = (unsigned)atoi(a->rows[k].client_id + 1);
            assert_int_equal(a->rows[k].queued_messages + a->rows[k].inflight, number % 7);
            assert_int_equal(a->rows[k].subscriptions, 1);
            assert_false(a->rows[k].connected);
            assert_true(k == 0 || request_before(&a->rows[k - 1], &a->rows[k]));
        }
        request_deinit(&parts[i]);
    }
    assert_int_equal(all, 40);
    world_close(w);
}

/* Slices: many sessions take many steps, and all are seen, though some come meanwhile. */
static void many_sessions_are_seen_slice_by_slice(void **state) {
    (void)state;
    struct world *w = world_at_once(1);
    struct peer p;
    struct request r;
    char id[16];
    for (unsigned i = 0; i < 2500; i++) {
        (void)snprintf(id, sizeof id, "c%u", i);
        joined(&p, w, PROTOCOL_311, id, true);
        peer_close(&p);
        turn(w);
        world_sweep(w);
    }
    struct request_ask ask = {.kind = REQUEST_SESSIONS, .rows_max = 10};
    r = (struct request){.ask = &ask};
    unsigned steps = 1;
    for (; !request_step(world_shard(w, 0), &r); steps++) {
        for (unsigned i = 0; i < 300 && steps < 4; i++) { /* the map grows */
            (void)snprintf(id, sizeof id, "new%u-%u", steps, i);
            joined(&p, w, PROTOCOL_311, id, true);
            peer_close(&p);
            turn(w);
            world_sweep(w);
        }
        turn(w);
        assert_true(steps < 1000);
    }
    assert_true(steps >= 4);
    assert_in_range(r.answer.matched, 2500, 3400);
    assert_int_equal(r.answer.row_count, 10);
    request_deinit(&r);
    world_close(w);
}

/* One session: its client is told, and nothing of it is left; the answer waits for the disk. */
static void a_session_is_ended(void **state) {
    (void)state;
    struct world *w = world_of(1);
    struct peer p;
    struct peer other;
    joined(&p, w, PROTOCOL_5, "victim", true);
    joined(&other, w, PROTOCOL_5, "other", true);
    subscribed(&p, "t", 1);
    struct request_ask ask = {.kind = REQUEST_END, .client_id = SPAN("victim")};
    struct request r = {.ask = &ask};
    assert_false(request_step(world_shard(w, 0), &r));
    turn(w);
    assert_false(request_step(world_shard(w, 0), &r)); /* SESSION_END is not durable */
    expect(&p, "DISCONNECT reason=0x98");
    expect(&p, "closed");
    durable_all(w);
    assert_true(request_step(world_shard(w, 0), &r));
    assert_int_equal(r.answer.matched, 1);
    peer_close(&p);
    turn(w);
    assert_int_equal(counters(w).sessions, 1);
    assert_int_equal(wish(&other), CONN_READ);
    join(&p, w, PROTOCOL_5, "victim", true);
    durable_all(w);
    expect(&p, "CONNACK new");
    peer_close(&p);
    peer_close(&other);
    world_close(w);
}

static void who_is_not_there_is_not_ended(void **state) {
    (void)state;
    struct world *w = world_at_once(SHARDS);
    absent(w, 5);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_END, .client_id = SPAN("c9")}), 0);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_END, .client_id = SPAN("c3")}), 1);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_END, .client_id = SPAN("c3")}), 0);
    assert_int_equal(counters(w).sessions, 4);
    world_close(w);
}

/* All of one owner, more than a slice takes; the maps shrink under the walk. */
static void all_sessions_of_an_owner_are_ended(void **state) {
    (void)state;
    struct world *w = world_at_once(SHARDS);
    enum { COUNT = 3000 };
    static struct peer peers[COUNT];
    char id[16];
    for (unsigned i = 0; i < COUNT; i++) {
        (void)snprintf(id, sizeof id, "c%u", i);
        joined(&peers[i], w, PROTOCOL_311, id, i % 2 == 0);
    }
    struct peer away;
    joined(&away, w, PROTOCOL_311, "away", true);
    peer_close(&away);
    turn(w);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_END, .owner = SPAN("192.0.2.1")}), 0);
    assert_int_equal(counters(w).sessions, COUNT + 1);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_END, .owner = SPAN("peer")}), COUNT + 1);
    for (unsigned i = 0; i < COUNT; i++) {
        peer_close(&peers[i]);
    }
    turn(w);
    assert_int_equal(counters(w).sessions, 0);
    world_close(w);
}

/* A will that waits for room is not its owner's session: it would be kept again, for ever. By its own name it is lost.
 */
static void a_will_that_waits_does_not_hold_up_the_end(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer p, away;
    w->at_once = true;
    w->options.queue_messages_max = 1;
    w->options.queue_wills_max = 0;
    w->options.queue_policy = QUEUE_REFUSE;
    world_open(w, 1);
    joined(&away, w, PROTOCOL_5, "away", true);
    subscribed(&away, "#", 1);
    peer_close(&away);
    for (unsigned i = 0; i < 2; i++) { /* the first fills the queue */
        peer_open_from(&p, w, PROTOCOL_5, "192.0.2.1:1");
        say_connect(&p, &(struct connecting){.id = i == 0 ? "a" : "b", .clean = true, .will = "w", .will_qos = 1});
        turn(w);
        expect(&p, "CONNACK");
        peer_close(&p);
        turn(w);
    }
    assert_int_equal(counters(w).sessions, 2); /* "away", and what keeps the will */
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_END, .owner = SPAN("192.0.2.1")}), 0);
    assert_int_equal(counters(w).sessions, 2);
    struct request r = {.ask =
                            &(struct request_ask){.kind = REQUEST_SESSIONS, .owner = SPAN("192.0.2.1"), .rows_max = 1}};
    assert_true(request_step(world_shard(w, 0), &r));
    assert_int_equal(r.answer.row_count, 1);
    struct span keeper = span_of(r.answer.rows[0].client_id, r.answer.rows[0].client_id_bytes);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_END, .client_id = keeper}), 1);
    assert_int_equal(counters(w).sessions, 1);
    request_deinit(&r);
    world_close(w);
}

/* An owner that comes back again and again, while others are looked at: the request ends all the same. */
static void who_comes_back_is_not_ended_for_ever(void **state) {
    (void)state;
    struct world *w = world_at_once(1);
    struct peer p;
    unsigned steps = 0;
    char id[16];
    for (unsigned i = 0; i < 2500; i++) {
        (void)snprintf(id, sizeof id, "c%u", i);
        joined(&p, w, PROTOCOL_5, id, true);
        peer_close(&p);
        turn(w);
    }
    struct request r = {.ask = &(struct request_ask){.kind = REQUEST_END, .owner = SPAN("192.0.2.1")}};
    do {
        for (unsigned i = 0; i < 20; i++) {
            (void)snprintf(id, sizeof id, "p%u", i);
            peer_open_from(&p, w, PROTOCOL_5, "192.0.2.1:1");
            say_connect(&p, &(struct connecting){.id = id, .expiry_s = 600});
            turn(w);
            peer_close(&p);
        }
        turn(w);
        assert_true(++steps < 500);
    } while (!request_step(world_shard(w, 0), &r));
    assert_in_range(r.answer.matched, 20, steps * 20);
    request_deinit(&r);
    world_close(w);
}

static void retained_messages_are_cleared_by_filter(void **state) {
    (void)state;
    struct world *w = world_at_once(SHARDS);
    struct peer p;
    char topic[32];
    joined(&p, w, PROTOCOL_311, "p", false);
    for (unsigned i = 0; i < 350; i++) {
        (void)snprintf(topic, sizeof topic, "%s/%u", i % 2 == 0 ? "a" : "b", i);
        say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = topic, .payload = "x", .retain = true});
        turn(w);
        expect(&p, "PUBACK");
    }
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_CLEAR, .filter = SPAN("c/#")}), 0);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_CLEAR, .filter = SPAN("a/+")}), 175);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_CLEAR, .filter = SPAN("b/1")}), 1);
    say_publish(&p, &(struct publishing){.qos = 1, .id = 1, .topic = "$a/1", .payload = "x", .retain = true});
    turn(w);
    expect(&p, "PUBACK");
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_CLEAR, .filter = SPAN("#")}), 174);
    assert_int_equal(matched(w, &(struct request_ask){.kind = REQUEST_CLEAR, .filter = SPAN("+/1"), .all = true}), 1);
    subscribed(&p, "#", 0);
    expect_silence(&p);
    peer_close(&p);
    world_close(w);
}

/* Those who have taken most come first, beside the sum; and nothing is left of them when they have gone. */
static void accounts_are_shown_nearest_to_a_bound_first(void **state) {
    (void)state;
    struct world *w = world_new();
    struct peer peers[40];
    struct request parts[SHARDS];
    char text[32];
    char id[16];
    w->at_once = true;
    w->options.memory_limit = 1U << 30;
    world_open(w, SHARDS);
    for (unsigned i = 0; i < 40; i++) { /* owner k has k + 1 sessions, up to 8 */
        unsigned owner = 0;
        for (unsigned rest = i; rest > owner; rest -= owner) {
            owner++;
        }
        (void)snprintf(text, sizeof text, "192.0.2.%u:1", owner);
        (void)snprintf(id, sizeof id, "c%u", i);
        peer_open_from(&peers[i], w, PROTOCOL_311, text);
        say_connect(&peers[i], &(struct connecting){.id = id, .clean = true});
        turn(w);
    }
    struct request_ask ask = {.kind = REQUEST_ACCOUNTS, .rows_max = 3};
    (void)asked(w, &ask, parts);
    const struct request_answer *a = &parts[0].answer;
    assert_in_range(a->account_count, 2, 4);
    assert_null(a->accounts[0].owner);
    assert_int_equal(a->accounts[0].taken[QUOTA_SESSIONS], 40);
    assert_int_equal(a->memory_limit, 1U << 30);
    assert_true(a->memory_used > 0);
    for (size_t i = 2; i < a->account_count; i++) {
        assert_true(a->accounts[i - 1].share >= a->accounts[i].share);
    }
    assert_int_equal(parts[1].answer.account_count, 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        request_deinit(&parts[i]);
    }
    for (unsigned i = 0; i < 40; i++) {
        peer_close(&peers[i]);
    }
    turn(w);
    (void)asked(w, &ask, parts);
    assert_int_equal(parts[0].answer.account_count, 1);
    assert_int_equal(parts[0].answer.accounts[0].taken[QUOTA_SESSIONS], 0);
    assert_int_equal(parts[0].answer.accounts[0].taken[QUOTA_CONNECTIONS], 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        request_deinit(&parts[i]);
    }
    world_close(w);
}

static void counters_are_those_of_the_shard(void **state) {
    (void)state;
    struct world *w = world_at_once(1);
    struct request parts[SHARDS];
    absent(w, 3);
    struct request_ask ask = {.kind = REQUEST_COUNTERS};
    assert_int_equal(asked(w, &ask, parts), 1);
    assert_int_equal(parts[0].answer.counters.sessions, 3);
    request_deinit(&parts[0]);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_queues_come_first),
        cmocka_unit_test(many_sessions_are_seen_slice_by_slice),
        cmocka_unit_test(a_session_is_ended),
        cmocka_unit_test(who_is_not_there_is_not_ended),
        cmocka_unit_test(all_sessions_of_an_owner_are_ended),
        cmocka_unit_test(a_will_that_waits_does_not_hold_up_the_end),
        cmocka_unit_test(who_comes_back_is_not_ended_for_ever),
        cmocka_unit_test(retained_messages_are_cleared_by_filter),
        cmocka_unit_test(accounts_are_shown_nearest_to_a_bound_first),
        cmocka_unit_test(counters_are_those_of_the_shard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
