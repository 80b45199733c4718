/* Bytes that come: a packet counts when it is whole, and has a time to become so. */
#include "world.h"

static struct world *world_at_once(void) {
    struct world *w = world_new();
    w->at_once = true;
    world_open(w, 1);
    return w;
}

static void joined_for(struct peer *p, struct world *w, enum protocol protocol, uint16_t keep_alive_s) {
    peer_open(p, w, protocol);
    say_connect(p, &(struct connecting){.id = "p", .clean = true, .keep_alive_s = keep_alive_s});
    turn(w);
    expect(p, "CONNACK");
}

/* QoS 0, topic "t", a payload of 300 bytes: 306 in all. */
static struct span long_publish(void) {
    static uint8_t bytes[306] = {0x30, 0xaf, 0x02, 0x00, 0x01, 't'};
    return span_of(bytes, sizeof bytes);
}

/* 3.1.1, a byte a second: whatever comes, it is no packet [MQTT-3.1.2-22]. */
static void bytes_do_not_keep_a_connection_alive(void **state) {
    (void)state;
    struct world *w = world_at_once();
    struct peer p;
    int seconds = 0;
    joined_for(&p, w, PROTOCOL_311, 10);
    for (; seconds < 60 && wish(&p) == CONN_READ; seconds++) {
        say_bytes(&p, span_of(long_publish().ptr + seconds, 1));
        tick(w, 1000);
    }
    assert_in_range(seconds, 15, 17);
    expect(&p, "closed");
    peer_close(&p);
    world_close(w);
}

static void whole_packets_do(void **state) {
    (void)state;
    struct world *w = world_at_once();
    struct peer p;
    joined_for(&p, w, PROTOCOL_311, 10);
    for (int i = 0; i < 6; i++) {
        tick(w, 14000);
        say_bytes(&p, long_publish());
    }
    tick(w, 14000);
    assert_int_equal(wish(&p), CONN_READ);
    peer_close(&p);
    world_close(w);
}

/* Without keep alive, with a long one, whatever part of the packet has come. */
static void a_packet_has_a_time_to_be_whole(void **state) {
    (void)state;
    static const struct {
        enum protocol protocol;
        uint16_t keep_alive_s;
        size_t bytes;
    } rows[] = {{PROTOCOL_5, 0, 1}, {PROTOCOL_311, 0, 2}, {PROTOCOL_5, 3600, 305}, {PROTOCOL_311, 3600, 100}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world *w = world_at_once();
        struct peer p;
        joined_for(&p, w, rows[i].protocol, rows[i].keep_alive_s);
        tick(w, 200000);
        say_bytes(&p, span_of(long_publish().ptr, rows[i].bytes));
        tick(w, 119000);
        assert_int_equal(wish(&p), CONN_READ);
        tick(w, 1000);
        if (rows[i].protocol == PROTOCOL_5) {
            expect(&p, "DISCONNECT reason=0x83");
        }
        expect(&p, "closed");
        peer_close(&p);
        world_close(w);
    }
}

/* Each has its own time: a connection that always has a part of the next one is a busy one. */
static void the_time_begins_with_each_packet(void **state) {
    (void)state;
    struct world *w = world_at_once();
    struct peer p;
    joined_for(&p, w, PROTOCOL_5, 0);
    static uint8_t two[612];
    memcpy(two, long_publish().ptr, 306); /* of 5.0: a property length of 0 stands before the payload */
    memcpy(two + 306, long_publish().ptr, 306);
    say_bytes(&p, span_of(two, 100));
    for (int i = 0; i < 5; i++) {
        tick(w, 100000);
        say_bytes(&p, span_of(two + 100, 306));
        assert_int_equal(wish(&p), CONN_READ);
    }
    tick(w, 120000);
    expect(&p, "DISCONNECT reason=0x83");
    peer_close(&p);
    world_close(w);
}

/* ---- who waits for whom ---- */

static struct world *world_strained(uint32_t share) {
    struct world *w = world_new();
    w->at_once = true;
    w->options.strain_share = share;
    world_open(w, 1);
    return w;
}

static void named(struct peer *p, struct world *w, const char *id) {
    peer_open(p, w, PROTOCOL_311);
    say_connect(p, &(struct connecting){.id = id, .clean = true});
    turn(w);
    expect(p, "CONNACK");
}

static void publish_id(struct peer *p, packet_id_t id) {
    say_publish(p, &(struct publishing){.qos = 1, .id = id, .topic = "t"});
}

/* Much is staged: whoever has not staged much of it goes on. */
static void a_flood_makes_nobody_else_wait_for_the_disk(void **state) {
    (void)state;
    struct world *w = world_strained(400);
    struct peer much, little;
    named(&much, w, "much");
    named(&little, w, "little");
    for (int strain = 0; strain < 3; strain++) {
        w->store.pressure = STORE_BUSY;
        turn(w);
        say_bytes(&much, long_publish());
        assert_int_equal(wish(&much), CONN_READ);
        say_bytes(&much, long_publish());
        assert_int_equal(wish(&much), CONN_PAUSE);
        publish_id(&little, 1);
        publish_id(&little, 2);
        expect(&little, "PUBACK id=1");
        expect(&little, "PUBACK id=2");
        assert_int_equal(wish(&little), CONN_READ);
        turn(w);
        assert_int_equal(wish(&much), CONN_PAUSE);
        w->store.pressure = STORE_EASY;
        turn(w);
        assert_int_equal(wish(&much), CONN_READ);
    }
    peer_close(&much);
    peer_close(&little);
    world_close(w);
}

/* What many stage who stage a little each is bounded, too. */
static void many_who_send_little_wait_for_the_disk(void **state) {
    (void)state;
    enum { SHARES = 512 }; /* as many shares as strain.h has */
    struct world *w = world_strained(300);
    struct peer p;
    named(&p, w, "p");
    w->store.pressure = STORE_BUSY;
    turn(w);
    for (unsigned bytes = 0; bytes < SHARES * 300; bytes += 300) {
        publish_id(&p, 1);
        expect(&p, "PUBACK");
        say_bytes(&p, long_publish());
        assert_int_equal(wish(&p), CONN_PAUSE);
        peer_close(&p); /* the next one has a share of its own */
        named(&p, w, "p");
    }
    publish_id(&p, 1);
    expect(&p, "PUBACK");
    assert_int_equal(wish(&p), CONN_PAUSE);
    peer_close(&p);
    world_close(w);
}

/* A turn that has done enough still answers those who say little. */
static void who_sends_much_keeps_nobody_from_being_answered(void **state) {
    (void)state;
    enum { POINTS = 8, PINGS = 100 };
    struct world *w = world_new();
    struct peer much, little;
    uint8_t pings[PINGS * 2];
    w->at_once = true;
    w->options.turn_points = POINTS;
    world_open(w, 1);
    named(&much, w, "much");
    named(&little, w, "little");
    turn(w);
    for (unsigned i = 0; i < sizeof pings; i += 2) {
        pings[i] = 0xc0;
        pings[i + 1] = 0;
    }
    say_bytes(&much, span_of(pings, sizeof pings));
    for (unsigned i = 0; i < POINTS; i++) {
        expect(&much, "PINGRESP");
    }
    expect_silence(&much);
    shard_bytes(world_shard(w, 0), little.handle, span_of(pings, 2));
    peer_move(&little);
    expect(&little, "PINGRESP");
    for (unsigned turns = 0; wish(&much) == CONN_PAUSE; turns++) {
        assert_true(turns < PINGS); /* half of each turn is for those who come anew */
        turn(w);
    }
    for (unsigned i = POINTS; i < PINGS; i++) {
        expect(&much, "PINGRESP");
    }
    peer_close(&much);
    peer_close(&little);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_do_not_keep_a_connection_alive),
        cmocka_unit_test(whole_packets_do),
        cmocka_unit_test(a_packet_has_a_time_to_be_whole),
        cmocka_unit_test(the_time_begins_with_each_packet),
        cmocka_unit_test(a_flood_makes_nobody_else_wait_for_the_disk),
        cmocka_unit_test(many_who_send_little_wait_for_the_disk),
        cmocka_unit_test(who_sends_much_keeps_nobody_from_being_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
