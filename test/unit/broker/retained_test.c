/* Large retained messages leave memory once the table has them, and come whole to whoever asks. */
#include <stdlib.h>

#include "base/mem.h"
#include "world.h"

enum { COUNT = 40, BODY_BYTES = 20000 };

/* The body of message `i` in its version `version`: no two are equal. */
static const char *body(unsigned i, unsigned version) {
    static char text[BODY_BYTES + 1];
    memset(text, 'a' + (int)(i % 26), BODY_BYTES);
    text[0] = (char)('0' + i);
    text[BODY_BYTES - 1] = (char)('0' + version);
    return text;
}

static const char *topic_of(unsigned i) {
    static char topic[16];
    (void)snprintf(topic, sizeof topic, "r/%02u", i);
    return topic;
}

static void retain(struct peer *from, unsigned i, unsigned version, uint32_t expiry_s) {
    say_publish(from, &(struct publishing){.qos = 1,
                                           .id = 1,
                                           .topic = topic_of(i),
                                           .payload = version > 0 ? body(i, version) : "",
                                           .retain = true,
                                           .expiry_s = expiry_s});
    turn(from->w);
    expect(from, "PUBACK");
}

/* A world with a small window, in which all is durable at once, and a peer that has retained some. */
static struct world *world_retaining(struct peer *from) {
    struct world *w = world_new();
    w->options.window_messages = 4;
    w->at_once = true;
    world_open(w, 1);
    joined(from, w, PROTOCOL_5, "from", false);
    for (unsigned i = 0; i < COUNT; i++) {
        retain(from, i, 1, 0);
    }
    return w;
}

/* All that the table has leaves memory, some in each turn. */
static void let_go(struct world *w) {
    fold_all(w);
    for (unsigned i = 0; i < COUNT; i++) {
        tick(w, 1000);
    }
}

/* Takes the next PUBLISH, answers it, and tells which message it is. */
static unsigned hear_whole(struct peer *p, unsigned version) {
    struct packet_limits limits = p->w->options.packet;
    struct packet_frame frame;
    struct verdict verdict;
    struct packet packet;
    for (unsigned turns = 0; turns < 100 && p->received.len == 0; turns++) {
        peer_read(p, SIZE_MAX);
        turn(p->w);
    }
    assert_int_equal(packet_frame(buf_span(&p->received), PACKET_FROM_SERVER, p->protocol, &limits, &frame, &verdict),
                     PACKET_WHOLE);
    assert_true(packet_decode(&frame, p->protocol, &limits, &packet, &verdict));
    assert_int_equal(packet.type, PACKET_PUBLISH);
    unsigned i = (unsigned)atoi((const char *)packet.publish.topic.ptr + 2);
    assert_int_equal(packet.publish.payload.len, BODY_BYTES);
    assert_memory_equal(packet.publish.payload.ptr, body(i, version), BODY_BYTES);
    packet_id_t id = packet.publish.packet_id;
    buf_drop_front(&p->received, frame.bytes);
    if (id != 0) {
        say_ack(p, PACKET_PUBACK, id, 0);
    }
    return i;
}

/* A new subscriber gets each message once, in its version. */
static void expect_all(struct world *w, const char *id, bool durable, uint8_t qos, unsigned version) {
    struct peer p;
    bool seen[COUNT] = {false};
    joined(&p, w, PROTOCOL_5, id, durable);
    say_subscribe(&p, 1, "r/+", qos);
    turn(w);
    expect(&p, "SUBACK");
    for (unsigned n = 0; n < COUNT; n++) {
        unsigned i = hear_whole(&p, version);
        assert_true(i < COUNT && !seen[i]);
        seen[i] = true;
    }
    turn(w);
    expect_silence(&p);
    peer_close(&p);
    turn(w);
}

static void bodies_leave_and_come_back(void **state) {
    (void)state;
    struct peer from;
    struct world *w = world_retaining(&from);
    size_t before = mem_live();
    for (unsigned round = 0; round < 8; round++) {
        char id[8];
        let_go(w);
        assert_true(mem_live() + (size_t)COUNT * BODY_BYTES * 3 / 4 < before);
        (void)snprintf(id, sizeof id, "p%u", round);
        expect_all(w, id, (round & 1) != 0, round / 2 % 2, 1);
    }
    peer_close(&from);
    world_close(w);
}

/* Whoever asks next shares what the first has read. */
static void who_asks_together_shares(void **state) {
    (void)state;
    enum { PEERS = 20 };
    struct peer from;
    struct peer p[PEERS];
    struct world *w = world_retaining(&from);
    let_go(w);
    for (unsigned i = 0; i < PEERS; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "p%u", i);
        joined(&p[i], w, PROTOCOL_5, id, false);
        say_subscribe(&p[i], 1, topic_of(7), 1);
        turn(w);
        expect(&p[i], "SUBACK");
        expect(&p[i], "PUBLISH");
    }
    assert_int_equal(w->store.reads, 1);
    for (unsigned i = 0; i < PEERS; i++) {
        peer_close(&p[i]);
    }
    peer_close(&from);
    world_close(w);
}

/* Only what the table has may leave. */
static void what_is_not_folded_stays(void **state) {
    (void)state;
    struct peer from;
    struct world *w = world_retaining(&from);
    let_go(w);
    for (unsigned i = 0; i < COUNT; i++) {
        retain(&from, i, 2, 0);
    }
    tick(w, 5000);
    expect_all(w, "p", true, 1, 2); /* the fake table asserts that nobody asks for what it does not have */
    peer_close(&from);
    world_close(w);
}

/* A shell is replaced, cleared and expires as the whole message does. */
static void a_shell_goes_as_the_whole_does(void **state) {
    (void)state;
    struct peer from, p;
    struct world *w = world_retaining(&from);
    retain(&from, 0, 2, 60);
    retain(&from, 1, 2, 60);
    let_go(w);
    retain(&from, 1, 3, 0);
    retain(&from, 2, 0, 0);
    tick(w, 61000);
    joined(&p, w, PROTOCOL_5, "p", false);
    say_subscribe(&p, 1, "r/00", 0);
    turn(w);
    expect(&p, "SUBACK");
    expect_silence(&p);
    say_subscribe(&p, 2, "r/02", 0);
    turn(w);
    expect(&p, "SUBACK");
    expect_silence(&p);
    say_subscribe(&p, 3, "r/01", 0);
    turn(w);
    expect(&p, "SUBACK");
    assert_int_equal(hear_whole(&p, 3), 1);
    expect_silence(&p);
    peer_close(&p);
    peer_close(&from);
    world_close(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_leave_and_come_back),
        cmocka_unit_test(who_asks_together_shares),
        cmocka_unit_test(what_is_not_folded_stays),
        cmocka_unit_test(a_shell_goes_as_the_whole_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
