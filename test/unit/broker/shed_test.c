/* When memory is short, the fattest goes first. */
#include "owners.h"

/* Before anybody must wait for memory, the connection with the most of it is cut off: that of the fattest owner. */
static void the_fattest_is_cut_off(void **state) {
    (void)state;
    enum { MEMBERS = 4 };
    struct world *w = world_limited(0);
    struct peer fat[MEMBERS], lone, thin, from;
    char *ballast = mem_alloc(64U << 20);
    w->at_once = true;
    for (unsigned i = 0; i < MEMBERS; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "fat%u", i);
        join_from(&fat[i], w, "10.0.0.1:1", id, false);
        expect(&fat[i], "CONNACK");
        subscribed(&fat[i], i == 2 ? "fattest" : "fat", 1);
    }
    join_from(&lone, w, "10.0.0.2:1", "lone", false); /* has more than any of them, and less than all of them */
    expect(&lone, "CONNACK");
    subscribed(&lone, "lone", 1);
    join_from(&thin, w, "10.0.0.1:1", "thin", false);
    expect(&thin, "CONNACK");
    subscribed(&thin, "thin", 1);
    join_from(&from, w, "10.0.0.3:1", "from", false);
    expect(&from, "CONNACK");
    packet_id_t id = 1;
    for (unsigned i = 0; i < 10; i++) {
        publish_sized(&from, id++, "fat", 10000);
    }
    publish_sized(&from, id++, "fattest", 110000);
    publish_sized(&from, id++, "lone", 150000);
    publish_sized(&from, id++, "thin", 1000);
    assert_int_equal(counters(w).shed, 0);
    w->broker->options.memory_limit = mem_live() * 32 / 27; /* between 13 and 14 sixteenths */
    later(w, 10);
    assert_int_equal(counters(w).shed, 1);
    assert_int_equal(wish(&fat[2]), CONN_ABORT);
    assert_non_null(strstr(w->log, "memory is short"));
    later(w, 50); /* what was freed is waited for */
    assert_int_equal(counters(w).shed, 1);
    w->broker->options.memory_limit = mem_live() * 32 / 27;
    for (unsigned i = 0; i < 3; i++) {
        later(w, 100);
    }
    assert_int_equal(counters(w).shed, 4); /* the other three, and then the lone one: none has much any more */
    later(w, 100);
    later(w, 100);
    assert_int_equal(counters(w).shed, 5);
    assert_int_equal(wish(&thin), CONN_READ);
    w->broker->options.memory_limit = 0;
    turn(w);
    for (unsigned i = 0; i < MEMBERS; i++) {
        peer_close(&fat[i]);
    }
    peer_close(&lone);
    peer_close(&thin);
    peer_close(&from);
    mem_free(ballast);
    assert_nothing_taken(w);
    world_close(w);
}

/* An owner that spreads what it has over many connections is cut off all the same, and not who has one that is larger
 * than each of them. */
static void small_connections_of_a_fat_owner_are_cut_off(void **state) {
    (void)state;
    enum { MEMBERS = 20 };
    struct world *w = world_limited(0);
    struct peer fat[MEMBERS], lone, from;
    char *ballast = mem_alloc(64U << 20);
    for (unsigned i = 0; i < MEMBERS; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "fat%u", i);
        join_from(&fat[i], w, "10.0.0.1:1", id, false);
        expect(&fat[i], "CONNACK");
        subscribed(&fat[i], "fat", 1);
    }
    join_from(&lone, w, "10.0.0.2:1", "lone", false);
    expect(&lone, "CONNACK");
    subscribed(&lone, "lone", 1);
    join_from(&from, w, "10.0.0.3:1", "from", false);
    expect(&from, "CONNACK");
    publish_sized(&from, 1, "fat", 20000);
    publish_sized(&from, 2, "lone", 60000);
    w->broker->options.memory_limit = mem_live() * 32 / 27; /* between 13 and 14 sixteenths */
    for (unsigned i = 1; i <= 3; i++) {
        later(w, 100);
        assert_int_equal(counters(w).shed, i);
        w->broker->options.memory_limit = mem_live() * 32 / 27;
    }
    assert_int_equal(wish(&lone), CONN_READ);
    w->broker->options.memory_limit = 0;
    turn(w);
    for (unsigned i = 0; i < MEMBERS; i++) {
        peer_close(&fat[i]);
    }
    peer_close(&lone);
    peer_close(&from);
    mem_free(ballast);
    assert_nothing_taken(w);
    world_close(w);
}

/* A client asks for more than it reads, and its session is durable: what comes live meanwhile waits in memory behind
 * that. It is cut off for it, and nobody else; then the table alone has what waits. */
static void who_lets_a_subscribe_hold_memory_is_cut_off(void **state) {
    (void)state;
    enum { LIVE = 100, LIVE_BYTES = 5000, KEPT = 16 };
    struct world *w = world_new();
    struct peer asks, lone, from;
    char *ballast = mem_alloc(64U << 20);
    w->at_once = true;
    w->options.outbox_bytes_max = 1000;
    w->options.retained_body_bytes = 1 << 20;
    world_open(w, 1);
    join_from(&from, w, "10.0.0.3:1", "from", false);
    for (packet_id_t i = 1; i <= 10; i++) {
        char topic[8];
        (void)snprintf(topic, sizeof topic, "r/%u", i);
        say_publish(&from,
                    &(struct publishing){.qos = 1, .id = i, .topic = topic, .payload = "xxxxxxxx", .retain = true});
    }
    publish_retained_sized(&from, 11, "large", 2000);
    join_from(&asks, w, "10.0.0.1:1", "asks", true);
    expect(&asks, "CONNACK");
    struct packet_filter filters[] = {
        {.filter = SPAN("r/1"), .qos = 1}, {.filter = SPAN("live"), .qos = 1}, {.filter = SPAN("#"), .qos = 0}};
    struct buf b = {NULL, 0, 0};
    packet_encode_subscribe(&b, PROTOCOL_5, 1, &(struct properties){.present = 0}, filters, 3);
    say_buf(&asks, &b);
    join_from(&lone, w, "10.0.0.2:1", "lone", false);
    expect(&lone, "CONNACK");
    subscribed(&lone, "lone", 1);
    for (packet_id_t i = 0; i < LIVE; i++) {
        publish_sized(&from, 12 + i, "live", LIVE_BYTES);
    }
    publish_sized(&from, 200, "lone", 70000);
    fold_all(w);
    w->broker->options.memory_limit = mem_live() * 32 / 27; /* between 13 and 14 sixteenths */
    later(w, 100);
    assert_int_equal(counters(w).shed, 1);
    assert_int_equal(wish(&asks), CONN_ABORT);
    assert_int_equal(wish(&lone), CONN_READ);
    w->broker->options.memory_limit = 0;
    fold_all(w);
    later(w, 100);
    const struct session *s = map_bytes_get(&world_shard(w, 0)->by_client, SPAN("asks"));
    assert_true(s->flows->queue.head.count + s->flows->queue.tail.count <= KEPT);
    assert_int_equal(counters(w).queued, LIVE + 2);
    peer_close(&asks);
    peer_close(&lone);
    peer_close(&from);
    mem_free(ballast);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fattest_is_cut_off),
        cmocka_unit_test(who_lets_a_subscribe_hold_memory_is_cut_off),
        cmocka_unit_test(small_connections_of_a_fat_owner_are_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
