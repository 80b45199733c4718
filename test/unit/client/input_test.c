/* A hostile broker: every rule it may break has an end, nothing it sends crashes the client, makes it keep without
 * bound, or is delivered twice. */
#include <stdlib.h>

#include "base/prng.h"
#include "peer.h"

static void ends_with(uint8_t reason, const char *statement) {
    char line[32];
    (void)snprintf(line, sizeof line, "DISCONNECT reason=0x%02x", reason);
    peer_hear(peer);
    assert_memory_equal(peer_next(peer), line, strlen(line));
    assert_int_equal(peer_wish(peer), CLIENT_CLOSE);
    client_closed(peer->client, QUARTET_OK, NULL);
    struct quartet_event event = app_hears(peer, QUARTET_EVENT_DISCONNECTED);
    assert_int_equal(event.error, QUARTET_PROTOCOL);
    assert_non_null(strstr(event.text, statement));
    assert_false(event.final);
}

static void each_broken_rule_is_answered_with_its_name(void **state) {
    (void)state;
    static const struct {
        struct span bytes;
        uint8_t reason;
        const char *statement;
    } rows[] = {
        {{(const uint8_t *)"\x20\x03\0\0\0", 5}, 0x82, "MQTT-"},                  /* a second CONNACK */
        {{(const uint8_t *)"\x10\x00", 2}, 0x82, "MQTT-"},                        /* CONNECT from a server */
        {{(const uint8_t *)"\x82\x00", 2}, 0x82, "MQTT-"},                        /* SUBSCRIBE */
        {{(const uint8_t *)"\xc0\x00", 2}, 0x82, "MQTT-"},                        /* PINGREQ */
        {{(const uint8_t *)"\xf0\x02\x18\x00", 4}, 0x82, "MQTT-"},                /* AUTH */
        {{(const uint8_t *)"\x00\x00", 2}, 0x81, "MQTT-"},                        /* no such packet */
        {{(const uint8_t *)"\x36\x07\0\1t\0\1\0x", 9}, 0x81, "MQTT-3.3.1-4"},     /* QoS 3 */
        {{(const uint8_t *)"\x32\x06\0\1t\0\0\0", 8}, 0x82, "MQTT-2.2.1"},        /* id 0 */
        {{(const uint8_t *)"\x30\x04\0\1#\0", 6}, 0x90, "MQTT-3.3.2-2"},          /* a wildcard in a name */
        {{(const uint8_t *)"\x30\x04\0\1\xff\0", 6}, 0x81, "MQTT-"},              /* no UTF-8 */
        {{(const uint8_t *)"\x30\x07\0\1t\3\x23\0\1", 9}, 0x94, "MQTT-3.3.2-11"}, /* an alias that we do not allow */
        {{(const uint8_t *)"\x61\x02\0\1", 4}, 0x81, "MQTT-"},                    /* wrong flags */
        {{(const uint8_t *)"\x30\xff\xff\xff\xff\x01", 6}, 0x81, "MQTT-"},        /* five bytes of length */
        {{(const uint8_t *)"\x30\xff\xff\xff\x7f", 5}, 0x95, "MQTT-"},            /* larger than allowed */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (i > 0) {
            peer_init(peer);
        }
        peer_create(peer);
        peer_connect(peer, false);
        (void)app_hears(peer, QUARTET_EVENT_CONNECTED);
        client_received(peer->client, rows[i].bytes);
        if (strncmp(rows[i].statement, "MQTT", 4) == 0) {
            ends_with(rows[i].reason, rows[i].statement);
        }
        if (i + 1 < sizeof rows / sizeof rows[0]) {
            peer_deinit(peer);
        }
    }
}

static void packets_before_connack_end_the_attempt(void **state) {
    (void)state;
    peer_create(peer);
    (void)peer_open(peer);
    client_received(peer->client, SPAN("\x30\x04\0\1t\0"));
    client_is_silent(peer);
    assert_int_equal(peer_wish(peer), CLIENT_CLOSE);
    app_takes_nothing(peer);
}

static void bytes_may_come_one_by_one(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    struct buf out = {NULL, 0, 0};
    struct packet_publish publish = {.qos = 2, .packet_id = 3, .topic = SPAN("t"), .payload = SPAN("hello")};
    packet_encode_publish(&out, PROTOCOL_5, &publish);
    struct packet_ack ack = {.packet_id = 3};
    packet_encode_ack(&out, PROTOCOL_5, PACKET_PUBREL, &ack);
    for (size_t i = 0; i < out.len; i++) {
        client_received(peer->client, span_of(out.ptr + i, 1));
    }
    buf_deinit(&out);
    client_says(peer, "PUBREC id=3 reason=0x00");
    client_says(peer, "PUBCOMP id=3 reason=0x00");
    (void)app_takes(peer, "hello");
}

static void nothing_is_read_after_the_end(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    client_received(peer->client, SPAN("\xe0\x00\x30\x05\0\1t\0x")); /* DISCONNECT, PUBLISH */
    app_takes_nothing(peer);
    assert_int_equal(peer_wish(peer), CLIENT_CLOSE);
}

/* It repeats PUBREL for ever and reads nothing. */
static void a_broker_that_does_not_read_is_left(void **state) {
    (void)state;
    peer_create(peer);
    peer_connect(peer, false);
    peer_hear(peer);
    enum { CHUNK = 4096 };
    uint8_t chunk[CHUNK];
    for (size_t i = 0; i < CHUNK; i += 4) {
        memcpy(chunk + i, "\x62\x02\0\7", 4);
    }
    int chunks = 0;
    while (peer_wish(peer) == CLIENT_NOTHING) {
        client_received(peer->client, span_of(chunk, CHUNK));
        assert_true(++chunks < 10000);
    }
    assert_true(chunks > 1000);
}

/* ---- at random ---- */

struct hostile {
    struct prng prng;
    uint64_t flow;    /* numbers given */
    uint64_t open[5]; /* id -> number of the flow that is open, 0: none */
};

static void hostile_bytes(struct hostile *h, struct buf *out) {
    static const uint8_t firsts[] = {0x20, 0x30, 0x32, 0x34, 0x3c, 0x40, 0x50,
                                     0x62, 0x70, 0x90, 0xb0, 0xd0, 0xe0, 0xf0};
    size_t begin = out->len;
    buf_u8(out, firsts[prng_below(&h->prng, sizeof firsts)]);
    size_t len = prng_below(&h->prng, 12);
    buf_u8(out, (uint8_t)len);
    for (size_t i = 0; i < len; i++) {
        buf_u8(out, (uint8_t)(prng_chance(&h->prng, 3, 4) ? prng_below(&h->prng, 4) : prng_below(&h->prng, 256)));
    }
    if (prng_chance(&h->prng, 1, 30)) {
        out->ptr[begin + prng_below(&h->prng, out->len - begin)] ^= (uint8_t)(1U << prng_below(&h->prng, 8));
    }
}

/* A well-formed packet; QoS 2 payloads carry the number of the flow that they belong to by the rules. */
static void hostile_packet(struct hostile *h, struct buf *out) {
    packet_id_t id = (packet_id_t)(1 + prng_below(&h->prng, 4));
    char text[24];
    struct packet_publish publish = {.packet_id = id, .topic = SPAN("t"), .dup = prng_chance(&h->prng, 1, 2)};
    struct packet_ack ack = {.packet_id = id};
    struct packet_suback suback = {.packet_id = UINT16_MAX, .reasons = SPAN("\1")};
    static const enum packet_type acks[] = {PACKET_PUBACK, PACKET_PUBREC, PACKET_PUBCOMP};
    switch (prng_below(&h->prng, 8)) {
    case 0:
    case 1:
    case 2:
        if (h->open[id] == 0) {
            h->open[id] = ++h->flow;
        }
        (void)snprintf(text, sizeof text, "%" PRIu64, h->open[id]);
        publish.qos = 2;
        publish.payload = span_str(text);
        packet_encode_publish(out, PROTOCOL_5, &publish);
        break;
    case 3:
        publish.qos = (uint8_t)prng_below(&h->prng, 2);
        publish.dup = publish.dup && publish.qos > 0;
        publish.packet_id = publish.qos > 0 ? id : 0;
        publish.payload = SPAN("-");
        packet_encode_publish(out, PROTOCOL_5, &publish);
        break;
    case 4:
    case 5:
        h->open[id] = 0;
        packet_encode_ack(out, PROTOCOL_5, PACKET_PUBREL, &ack);
        break;
    case 6:
        packet_encode_ack(out, PROTOCOL_5, acks[prng_below(&h->prng, 3)], &ack);
        break;
    default:
        packet_encode_suback(out, PROTOCOL_5, &suback);
        break;
    }
}

/* Each flow's message is delivered at most once. */
static void hostile_take(struct hostile *h, uint64_t *highest) {
    struct client_delivery d;
    while (client_take(peer->client, &d)) {
        if (d.qos == 2 && message_payload(d.message).len > 0 && message_payload(d.message).ptr[0] >= '1' &&
            message_payload(d.message).ptr[0] <= '9') {
            char text[24] = "";
            memcpy(text, message_payload(d.message).ptr,
                   message_payload(d.message).len < 23 ? message_payload(d.message).len : 23);
            uint64_t number = strtoull(text, NULL, 10);
            assert_true(number > *highest); /* flows begin one after the other */
            *highest = number;
        }
        message_unref(d.message);
        if (prng_chance(&h->prng, 3, 4)) {
            assert_true(client_done(peer->client, d.sequence));
        }
    }
}

static void lives_with_anything(bool malformed, uint64_t seed, int steps) {
    struct hostile h = {.prng = prng_of(seed)};
    uint64_t highest = 0;
    peer->options.inbox_bytes = 4096;
    peer->options.retry_min_ms = 1;
    peer->options.retry_max_ms = 2;
    peer->options.trace = seed % 2 == 0;
    peer_create(peer);
    app_subscribes(peer, "t", 2);
    bool known = false;
    for (int i = 0; i < steps && peer->fake.last < FAKE_RECORDS_MAX - 1000; i++) {
        if (peer_wish(peer) == CLIENT_CLOSE) {
            client_closed(peer->client, QUARTET_OK, NULL);
        }
        peer_advance(peer, 10);
        if (peer_wish(peer) == CLIENT_CONNECT) {
            (void)peer_open(peer);
            bool present = known && prng_chance(&h.prng, 3, 4);
            if (!present) {
                memset(h.open, 0, sizeof h.open);
            }
            known = true;
            broker_connack(peer, present, 0);
        }
        if (prng_chance(&h.prng, 1, 16)) {
            (void)app_publishes(peer, (int)prng_below(&h.prng, 3), "x");
        }
        struct buf out = {NULL, 0, 0};
        if (malformed && prng_chance(&h.prng, 1, 4)) {
            hostile_bytes(&h, &out);
        } else if (peer_wish(peer) == CLIENT_NOTHING) {
            hostile_packet(&h, &out);
        }
        size_t cut = prng_below(&h.prng, out.len + 1);
        client_received(peer->client, span_of(out.ptr, cut));
        client_received(peer->client, span_skip(buf_span(&out), cut));
        buf_deinit(&out);
        peer_hear(peer);
        peer->heard.len = 0;
        if (malformed) {
            struct client_delivery d;
            while (client_take(peer->client, &d)) {
                message_unref(d.message);
                assert_true(client_done(peer->client, d.sequence));
            }
        } else {
            hostile_take(&h, &highest);
        }
        app_forgets_events(peer);
        struct quartet_status status;
        client_status(peer->client, &status);
        assert_true(status.inbox_bytes <= 3 * 4096);
        if (status.session_is_lost) {
            assert_int_equal(client_session_lost(peer->client, QUARTET_LOST_RESEND), QUARTET_OK);
        }
    }
}

static void no_sequence_of_packets_delivers_twice(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        if (seed > 1) {
            peer_init(peer);
        }
        lives_with_anything(false, seed, 2000);
        if (seed < 12) {
            peer_deinit(peer);
        }
    }
}

static void no_bytes_crash_it(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        if (seed > 1) {
            peer_init(peer);
        }
        lives_with_anything(true, seed, 2000);
        if (seed < 12) {
            peer_deinit(peer);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        PEER_TEST(each_broken_rule_is_answered_with_its_name),
        PEER_TEST(packets_before_connack_end_the_attempt),
        PEER_TEST(bytes_may_come_one_by_one),
        PEER_TEST(nothing_is_read_after_the_end),
        PEER_TEST(a_broker_that_does_not_read_is_left),
        PEER_TEST(no_sequence_of_packets_delivers_twice),
        PEER_TEST(no_bytes_crash_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
