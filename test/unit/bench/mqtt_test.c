/* A client of the generator fed with the broker's packets: what it answers, what it counts, what it objects to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bench/bench.h"

enum { PAYLOAD_BYTES = 16 };

struct fixture {
    struct bench_options options;
    struct bench bench;
    struct client clients[2]; /* subscriber 0, publisher 0 */
    struct client *dirty[2];
};

static struct fixture f;

static struct client *subscriber(void) {
    return &f.clients[0];
}

static struct client *publisher(void) {
    return &f.clients[1];
}

static void start(uint64_t qos, uint64_t protocol, uint64_t window) {
    f = (struct fixture){.options = {.publishers = 1,
                                     .subscribers = 1,
                                     .qos = qos,
                                     .sub_qos = qos,
                                     .payload = PAYLOAD_BYTES,
                                     .window = window,
                                     .receive_maximum = 2,
                                     .protocol = protocol}};
    f.bench = (struct bench){.options = &f.options,
                             .dialect = &dialect_mqtt,
                             .clients = f.clients,
                             .client_count = 2,
                             .dirty = f.dirty,
                             .publishing = true,
                             .run = "r"};
    subscriber()->role = CLIENT_SUBSCRIBER;
    publisher()->role = CLIENT_PUBLISHER;
    subscriber()->state = publisher()->state = CLIENT_READY;
    subscriber_init(&f.bench, subscriber());
    publisher_init(&f.bench, publisher());
}

static void stop(void) {
    for (size_t i = 0; i < 2; i++) {
        buf_deinit(&f.clients[i].channel.out);
    }
    publisher_deinit(publisher()->publisher);
    subscriber_deinit(subscriber()->subscriber);
}

static void feed(struct client *c, const void *bytes, size_t length) {
    struct span in = span_of(bytes, length);
    dialect_mqtt.take(&f.bench, c, &in);
    assert_int_equal(in.len, 0);
}

#define FEED(client, ...) feed(client, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* Feeds the subscriber with message `sequence` under a packet identifier. */
static void feed_message(uint16_t packet_id, uint32_t sequence) {
    struct buf out = {0};
    struct stamp stamp = {0, sequence, 0};
    wire_put_message(&out, &publisher()->publisher->message, packet_id, &stamp);
    feed(subscriber(), out.ptr, out.len);
    buf_deinit(&out);
}

static void expect(struct client *c, const void *bytes, size_t length) {
    assert_int_equal(c->channel.out.len, length);
    assert_memory_equal(c->channel.out.ptr, bytes, length);
    c->channel.out.len = 0;
}

#define EXPECT(client, ...) expect(client, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void receiver_of_exactly_once(void **state) {
    (void)state;
    start(2, 0, 10);
    feed_message(7, 0);
    EXPECT(subscriber(), 0x50, 2, 0, 7);
    assert_int_equal(f.bench.counts.delivered, 1);
    assert_int_equal(f.bench.counts.unreleased, 1);
    FEED(subscriber(), 0x62, 2, 0, 7);
    EXPECT(subscriber(), 0x70, 2, 0, 7);
    assert_int_equal(f.bench.counts.unreleased, 0);
    assert_int_equal(f.bench.counts.violations, 0);
    stop();
}

static void repeats_are_answered_and_held_against_the_broker(void **state) {
    (void)state;
    start(2, 0, 10);
    feed_message(7, 0);
    feed_message(7, 0);
    EXPECT(subscriber(), 0x50, 2, 0, 7, 0x50, 2, 0, 7);
    assert_int_equal(f.bench.counts.delivered, 1);
    assert_int_equal(f.bench.counts.violations, 1);
    FEED(subscriber(), 0x62, 2, 0, 7, 0x62, 2, 0, 7);
    EXPECT(subscriber(), 0x70, 2, 0, 7, 0x70, 2, 0, 7);
    assert_int_equal(f.bench.counts.violations, 2);
    stop();
}

static void the_same_message_twice_is_a_duplicate(void **state) {
    (void)state;
    start(2, 0, 10);
    feed_message(7, 0);
    feed_message(8, 0);
    assert_int_equal(f.bench.counts.delivered, 1);
    assert_int_equal(f.bench.counts.duplicates, 1);
    stop();
}

static void receiver_of_at_least_once(void **state) {
    (void)state;
    start(1, 0, 10);
    feed_message(9, 0);
    EXPECT(subscriber(), 0x40, 2, 0, 9);
    assert_int_equal(f.bench.counts.delivered, 1);
    stop();
}

static void more_than_the_receive_maximum_is_noticed(void **state) {
    (void)state;
    for (uint64_t qos = 1; qos <= 2; qos++) {
        start(qos, 1, 10);
        feed_message(1, 0);
        feed_message(2, 1);
        assert_int_equal(f.bench.counts.violations, 0);
        feed_message(3, 2);
        assert_int_equal(f.bench.counts.violations, 1);
        stop();
    }
}

static void foreign_messages_do_not_count(void **state) {
    (void)state;
    start(0, 0, 10);
    struct buf out = {0};
    struct stamp stamp = {5, 0, 0};
    wire_put_message(&out, &publisher()->publisher->message, 0, &stamp);
    feed(subscriber(), out.ptr, out.len);
    assert_int_equal(f.bench.counts.delivered, 0);
    assert_int_equal(f.bench.counts.violations, 1);
    buf_deinit(&out);
    stop();
}

static void sender_of_exactly_once(void **state) {
    (void)state;
    start(2, 0, 1);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 1);
    publisher()->channel.out.len = 0;
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 1);
    FEED(publisher(), 0x50, 2, 0, 1);
    EXPECT(publisher(), 0x62, 2, 0, 1);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 1);
    FEED(publisher(), 0x70, 2, 0, 1);
    assert_int_equal(f.bench.counts.completed, 1);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 2);
    assert_int_equal(publisher()->publisher->packet_id, 2);
    assert_int_equal(f.bench.counts.violations, 0);
    stop();
}

static void wrong_acknowledgements_are_noticed(void **state) {
    (void)state;
    start(2, 0, 10);
    publisher_fill(&f.bench, publisher());
    publisher()->channel.out.len = 0;
    FEED(publisher(), 0x40, 2, 0, 1);  /* PUBACK at QoS 2 */
    FEED(publisher(), 0x70, 2, 0, 1);  /* PUBCOMP before PUBREC */
    FEED(publisher(), 0x50, 2, 0, 11); /* never sent */
    FEED(publisher(), 0x50, 2, 0, 0);  /* no identifier */
    assert_int_equal(f.bench.counts.violations, 4);
    assert_int_equal(f.bench.counts.in_flight, 10);
    assert_int_equal(publisher()->channel.out.len, 0);
    stop();
}

static void a_refused_message_is_not_expected(void **state) {
    (void)state;
    start(2, 1, 1);
    publisher_fill(&f.bench, publisher());
    publisher()->channel.out.len = 0;
    assert_int_equal(f.bench.counts.expected, 1);
    FEED(publisher(), 0x50, 3, 0, 1, 0x97);
    assert_int_equal(publisher()->channel.out.len, 0);
    assert_int_equal(f.bench.counts.refused, 1);
    assert_int_equal(f.bench.counts.completed, 0);
    assert_int_equal(f.bench.counts.expected, 0);
    assert_int_equal(f.bench.counts.in_flight, 0);
    stop();
}

static void an_identifier_in_use_is_not_used_again(void **state) {
    (void)state;
    start(1, 0, 2);
    publisher_fill(&f.bench, publisher());
    for (uint8_t id = 2; id <= 4; id++) {
        FEED(publisher(), 0x40, 2, 0, id);
        publisher_fill(&f.bench, publisher());
    }
    uint64_t published = f.bench.counts.published;
    FEED(publisher(), 0x40, 2, 0, 1);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(published, 4);
    assert_int_equal(f.bench.counts.published, 6);
    assert_int_equal(f.bench.counts.violations, 0);
    stop();
}

static void identifiers_wrap_without_zero(void **state) {
    (void)state;
    start(1, 0, 1);
    for (uint32_t i = 0; i < 65536; i++) {
        publisher_fill(&f.bench, publisher());
        publisher()->channel.out.len = 0;
        uint16_t id = publisher()->publisher->packet_id;
        assert_int_equal(id, i % 65535 + 1);
        FEED(publisher(), 0x40, 2, (uint8_t)(id >> 8), (uint8_t)id);
    }
    assert_int_equal(f.bench.counts.completed, 65536);
    assert_int_equal(f.bench.counts.violations, 0);
    stop();
}

static void the_brokers_receive_maximum_is_obeyed(void **state) {
    (void)state;
    start(1, 1, 10);
    publisher()->state = CLIENT_OPENING;
    publisher()->aim = AIM_FRESH;
    f.bench.busy = 1;
    FEED(publisher(), 0x20, 6, 0, 0, 3, 0x21, 0, 3);
    assert_int_equal(publisher()->state, CLIENT_READY);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 3);
    stop();
}

static void session_present_must_fit(void **state) {
    (void)state;
    static const struct {
        enum client_aim aim;
        uint8_t present;
        bool good;
    } cases[] = {{AIM_FRESH, 0, true}, {AIM_FRESH, 1, false}, {AIM_RESUME, 0, false}, {AIM_RESUME, 1, true}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start(1, 0, 10);
        publisher()->state = CLIENT_OPENING;
        publisher()->aim = (uint8_t)cases[i].aim;
        f.bench.busy = 1;
        FEED(publisher(), 0x20, 2, cases[i].present, 0);
        assert_int_equal(!f.bench.failed, cases[i].good);
        stop();
    }
}

static void the_backlog_closes_the_loop(void **state) {
    (void)state;
    start(0, 0, 10);
    f.options.backlog = 2;
    publisher_fill(&f.bench, publisher());
    publisher()->channel.out.len = 0;
    assert_int_equal(f.bench.counts.published, 2);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 2);
    feed_message(0, 0);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 3);
    stop();
}

static void the_rate_gives_out_messages_in_turn(void **state) {
    (void)state;
    start(0, 0, 10);
    f.options.rate = 1000;
    f.bench.ns_per_message = 1e6;
    f.bench.pace_start_ns = 5000;
    f.bench.now_ns = 5000 + 2500 * 1000;
    publisher_pace(&f.bench);
    publisher_fill(&f.bench, publisher());
    assert_int_equal(f.bench.counts.published, 3);
    struct stamp last;
    const struct wire_template *t = &publisher()->publisher->message;
    memcpy(&last, publisher()->channel.out.ptr + 2 * t->bytes.len + t->stamp_at, sizeof(last));
    assert_int_equal(last.sequence, 2);
    assert_int_equal(last.time_ns, 5000 + 2 * 1000 * 1000);
    stop();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(receiver_of_exactly_once),
        cmocka_unit_test(repeats_are_answered_and_held_against_the_broker),
        cmocka_unit_test(the_same_message_twice_is_a_duplicate),
        cmocka_unit_test(receiver_of_at_least_once),
        cmocka_unit_test(more_than_the_receive_maximum_is_noticed),
        cmocka_unit_test(foreign_messages_do_not_count),
        cmocka_unit_test(sender_of_exactly_once),
        cmocka_unit_test(wrong_acknowledgements_are_noticed),
        cmocka_unit_test(a_refused_message_is_not_expected),
        cmocka_unit_test(an_identifier_in_use_is_not_used_again),
        cmocka_unit_test(identifiers_wrap_without_zero),
        cmocka_unit_test(the_brokers_receive_maximum_is_obeyed),
        cmocka_unit_test(session_present_must_fit),
        cmocka_unit_test(the_backlog_closes_the_loop),
        cmocka_unit_test(the_rate_gives_out_messages_in_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
