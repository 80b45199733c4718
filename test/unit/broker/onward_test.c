/* A message at QoS 0 for many is encoded once for each kind of client: nobody may see the difference. */
#include "world.h"

enum { CLIENTS = 72 }; /* more than are few: their deliveries can be put off */

struct crowd {
    struct world *w;
    struct peer from;
    struct peer to[CLIENTS]; /* in turn: 3.1.1, 5.0, 5.0 that wants RETAIN as it was published */
};

static bool keeps_retain(unsigned i) {
    return i % 3 == 2;
}

static void crowd_subscribe(struct crowd *c, unsigned i) {
    char id[16];
    (void)snprintf(id, sizeof id, "to%u", i);
    joined(&c->to[i], c->w, i % 3 == 0 ? PROTOCOL_311 : PROTOCOL_5, id, false);
    say_subscribe_with(&c->to[i], 1,
                       &(struct packet_filter){.filter = SPAN("t/#"), .retain_as_published = keeps_retain(i)});
    durable_all(c->w);
    expect(&c->to[i], "SUBACK id=1");
}

static void crowd_open(struct crowd *c, uint32_t turn_points) {
    c->w = world_new();
    c->w->at_once = true;
    c->w->options.turn_points = turn_points;
    world_open(c->w, 1);
    joined(&c->from, c->w, PROTOCOL_5, "from", false);
    for (unsigned i = 0; i < CLIENTS; i++) {
        crowd_subscribe(c, i);
    }
}

static void crowd_close(struct crowd *c) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        peer_close(&c->to[i]);
    }
    peer_close(&c->from);
    world_close(c->w);
}

static void publish(struct crowd *c, const char *topic, const char *payload, bool retain, uint32_t expiry_s) {
    say_publish(&c->from,
                &(struct publishing){.topic = topic, .payload = payload, .retain = retain, .expiry_s = expiry_s});
}

/* Every client gets this message, in the words of its protocol. */
static void all_hear(struct crowd *c, const char *topic, size_t bytes, bool retain, const char *expiry) {
    for (unsigned i = 0; i < CLIENTS; i++) {
        char line[LINE_BYTES];
        (void)snprintf(line, sizeof line, "PUBLISH qos=0%s topic=\"%s\" bytes=%zu%s",
                       retain && keeps_retain(i) ? " retain" : "", topic, bytes, i % 3 == 0 ? "" : expiry);
        assert_string_equal(hear(&c->to[i]), line);
    }
}

static void each_client_gets_its_own_words(void **state) {
    (void)state;
    struct crowd c;
    crowd_open(&c, 4096);
    publish(&c, "t/1", "first", false, 0);
    publish(&c, "t/2", "the second", true, 0);
    publish(&c, "t/1", "first", true, 60);
    publish(&c, "t/1", "", false, 0);
    turn(c.w);
    all_hear(&c, "t/1", 5, false, "");
    all_hear(&c, "t/2", 10, true, "");
    all_hear(&c, "t/1", 5, true, " {Message Expiry Interval: 60}");
    all_hear(&c, "t/1", 0, false, "");
    crowd_close(&c);
}

static void a_large_body_too(void **state) {
    (void)state;
    static const size_t sizes[] = {1023, 1024, 1025, 4095, 4096, 20000};
    struct crowd c;
    char *payload = mem_alloc(20001);
    crowd_open(&c, 4096);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        memset(payload, 'x', sizes[i]);
        payload[sizes[i]] = '\0';
        publish(&c, "t", payload, false, 0);
        all_hear(&c, "t", sizes[i], false, "");
    }
    mem_free(payload);
    crowd_close(&c);
}

/* Deliveries that a turn has no room for are made in later ones, one in each here, and time passes. */
static void what_is_left_of_the_expiry_is_told_in_each_turn(void **state) {
    (void)state;
    struct crowd c;
    unsigned told[61] = {0};
    crowd_open(&c, 1);
    publish(&c, "t", "m", false, 60);
    for (unsigned i = 0; i < 2 * CLIENTS; i++) {
        later(c.w, 1000);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        unsigned left = 0;
        const char *line = hear(&c.to[i]);
        assert_int_equal(strncmp(line, "PUBLISH qos=0 topic=\"t\" bytes=1", 31), 0);
        if (i % 3 != 0) {
            assert_int_equal(sscanf(strchr(line, '{'), "{Message Expiry Interval: %u}", &left), 1);
            assert_true(left <= 60 && ++told[left] <= 2); /* a second is two turns */
        }
    }
    crowd_close(&c);
}

static void who_accepts_less_gets_less(void **state) {
    (void)state;
    struct crowd c;
    struct peer small;
    char payload[64];
    crowd_open(&c, 4096);
    peer_open(&small, c.w, PROTOCOL_5);
    say_connect(&small, &(struct connecting){.id = "small", .clean = true, .packet_bytes_max = 40});
    turn(c.w);
    expect(&small, "CONNACK");
    subscribed(&small, "#", 0);
    memset(payload, 'x', 50);
    payload[50] = '\0';
    publish(&c, "t", payload, false, 0);
    publish(&c, "t", "m", false, 0);
    all_hear(&c, "t", 50, false, "");
    all_hear(&c, "t", 1, false, "");
    expect(&small, "PUBLISH qos=0 topic=\"t\" bytes=1");
    expect_silence(&small);
    assert_int_equal(counters(c.w).too_large_dropped, 1);
    peer_close(&small);
    crowd_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_client_gets_its_own_words),
        cmocka_unit_test(a_large_body_too),
        cmocka_unit_test(what_is_left_of_the_expiry_is_told_in_each_turn),
        cmocka_unit_test(who_accepts_less_gets_less),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
