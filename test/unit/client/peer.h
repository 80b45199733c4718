/* A client and the broker on the other side of its wire, played by the test. Packets of both are written as
 * packet_print() writes them: broker_says(p, ...) sends, client_says(p, "PUBREC id=1 reason=0x00") is the next packet
 * of the client. */
#pragma once

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../broker/fake_store.h"
#include "client/client.h"
#include "packet/packet.h"
#include "packet/property.h"

#define PEER_UNUSED __attribute__((unused))

struct peer {
    struct quartet_options options;
    struct fake_store fake;
    struct store *store; /* &fake.store, unless the test says otherwise */
    struct client *client;
    struct buf heard; /* what the client has sent and the test has not looked at */
    mono_ms_t now;
    wall_ms_t wall;
    enum protocol protocol;
    bool disk_is_slow; /* the test calls peer_durable() */
    struct properties connack;
    enum mutant mutant;
    packet_id_t ids_max;
    void (*commit)(struct peer *p); /* instead of raising the fake store's lsn */
    char line[8192];
};

static const struct packet_limits peer_limits = {.packet_bytes_max = 268435460,
                                                 .topic_bytes_max = UINT16_MAX,
                                                 .topic_levels_max = UINT16_MAX,
                                                 .user_properties_max = UINT16_MAX,
                                                 .subscriptions_max = UINT16_MAX};

static void peer_no_event(struct quartet *client, const struct quartet_event *event, void *user) {
    (void)client;
    (void)event;
    (void)user;
}

PEER_UNUSED static void peer_create(struct peer *p) {
    int code;
    struct error error;
    struct quartet_options options = p->options;
    options.on_event = peer_no_event;
    assert_true(client_options_complete(&options, &code, &error));
    struct client_setup setup = {
        .options = &options, .store = p->store, .seed = 7, .ids_max = p->ids_max, .mutant = p->mutant};
    p->client = client_create(&setup, &error);
    assert_non_null(p->client);
    client_time(p->client, p->now, p->wall);
}

/* Without a store: the caller sets one. */
static void peer_prepare(struct peer *p) {
    memset(p, 0, sizeof *p);
    p->now = 1000;
    p->wall = 1700000000000;
    p->protocol = PROTOCOL_5;
    p->ids_max = UINT16_MAX;
    p->options.client_id = "c";
}

/* With the fake store. The caller may change options; then peer_create(). */
PEER_UNUSED static void peer_init(struct peer *p) {
    peer_prepare(p);
    fake_init(&p->fake);
    p->store = &p->fake.store;
}

PEER_UNUSED static void peer_deinit(struct peer *p) {
    client_destroy(p->client);
    fake_deinit(&p->fake);
    buf_deinit(&p->heard);
}

PEER_UNUSED static void peer_durable(struct peer *p) {
    if (p->commit != NULL) {
        p->commit(p);
    } else {
        atomic_store(&p->store->durable, p->fake.last);
    }
    client_stored(p->client);
}

/* What may leave leaves. */
static void peer_hear(struct peer *p) {
    struct iovec iov[8];
    if (!p->disk_is_slow) {
        peer_durable(p);
    }
    for (int count; (count = client_output(p->client, iov, 8)) > 0;) {
        size_t bytes = 0;
        for (int i = 0; i < count; i++) {
            buf_bytes(&p->heard, span_of(iov[i].iov_base, iov[i].iov_len));
            bytes += iov[i].iov_len;
        }
        client_sent(p->client, bytes);
        if (!p->disk_is_slow) {
            peer_durable(p);
        }
    }
}

/* The next packet of the client as a line; "" when there is none. */
static const char *peer_next(struct peer *p) {
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict;
    struct buf line = {NULL, 0, 0};
    peer_hear(p);
    p->line[0] = '\0';
    if (p->heard.len == 0) {
        return p->line;
    }
    bool connect = p->heard.ptr[0] == 0x10;
    assert_int_equal(packet_frame(buf_span(&p->heard), PACKET_FROM_CLIENT, connect ? PROTOCOL_NONE : p->protocol,
                                  &peer_limits, &frame, &verdict),
                     PACKET_WHOLE);
    packet.type = frame.type;
    assert_true(packet_decode(&frame, p->protocol, &peer_limits, &packet, &verdict));
    if (connect) {
        p->protocol = (enum protocol)packet.connect.protocol;
    }
    packet_print(&line, p->protocol, &packet);
    assert_true(line.len < sizeof p->line);
    memcpy(p->line, line.ptr, line.len);
    p->line[line.len] = '\0';
    buf_deinit(&line);
    buf_drop_front(&p->heard, frame.bytes);
    return p->line;
}

#define client_says(p, expected) assert_string_equal(peer_next(p), expected)
#define client_is_silent(p) assert_string_equal(peer_next(p), "")

static void peer_feed(struct peer *p, struct buf *bytes) {
    client_received(p->client, buf_span(bytes));
    buf_deinit(bytes);
}

PEER_UNUSED static void peer_advance(struct peer *p, int64_t ms) {
    p->now += ms;
    p->wall += ms;
    client_time(p->client, p->now, p->wall);
}

static enum client_wish peer_wish(const struct peer *p) {
    uint32_t server;
    return client_wish(p->client, &server);
}

/* Waits until the client wants a transport. */
static void peer_await_wish(struct peer *p) {
    for (int i = 0; peer_wish(p) != CLIENT_CONNECT; i++) {
        assert_true(i < 100);
        mono_ms_t deadline = client_deadline(p->client);
        assert_true(deadline >= 0);
        peer_advance(p, deadline > p->now ? deadline - p->now : 0);
    }
}

/* A transport is there and CONNECT has come; the line tells it. */
PEER_UNUSED static const char *peer_open(struct peer *p) {
    peer_await_wish(p);
    p->heard.len = 0;
    client_opened(p->client);
    return peer_next(p);
}

PEER_UNUSED static void broker_connack(struct peer *p, bool session_present, uint8_t reason) {
    struct buf out = {NULL, 0, 0};
    struct packet_connack connack = {.session_present = session_present, .reason = reason, .properties = p->connack};
    packet_encode_connack(&out, p->protocol, &connack);
    peer_feed(p, &out);
}

PEER_UNUSED static void peer_connect(struct peer *p, bool session_present) {
    assert_memory_equal(peer_open(p), "CONNECT", 7);
    broker_connack(p, session_present, 0);
}

PEER_UNUSED static void broker_publishes(struct peer *p, uint8_t qos, packet_id_t id, bool dup, const char *text) {
    struct buf out = {NULL, 0, 0};
    struct packet_publish publish = {
        .qos = qos, .packet_id = id, .dup = dup, .topic = SPAN("t"), .payload = span_str(text)};
    packet_encode_publish(&out, p->protocol, &publish);
    peer_feed(p, &out);
}

PEER_UNUSED static void broker_acks(struct peer *p, enum packet_type type, packet_id_t id, uint8_t reason) {
    struct buf out = {NULL, 0, 0};
    struct packet_ack ack = {.packet_id = id, .reason = reason};
    packet_encode_ack(&out, p->protocol, type, &ack);
    peer_feed(p, &out);
}

PEER_UNUSED static void broker_subacks(struct peer *p, packet_id_t id, const char *reasons, size_t count) {
    struct buf out = {NULL, 0, 0};
    struct packet_suback suback = {.packet_id = id, .reasons = span_of(reasons, count)};
    packet_encode_suback(&out, p->protocol, &suback);
    peer_feed(p, &out);
}

PEER_UNUSED static void broker_unsubacks(struct peer *p, packet_id_t id, const char *reasons, size_t count) {
    struct buf out = {NULL, 0, 0};
    struct packet_suback suback = {.packet_id = id, .reasons = span_of(reasons, count)};
    packet_encode_unsuback(&out, p->protocol, &suback);
    peer_feed(p, &out);
}

PEER_UNUSED static void broker_disconnects(struct peer *p, uint8_t reason) {
    struct buf out = {NULL, 0, 0};
    struct packet_disconnect disconnect = {.reason = reason};
    packet_encode_disconnect(&out, p->protocol, &disconnect);
    peer_feed(p, &out);
}

PEER_UNUSED static void peer_cut(struct peer *p) {
    client_closed(p->client, QUARTET_NETWORK, "cut");
    p->heard.len = 0;
}

PEER_UNUSED static uint64_t app_publishes(struct peer *p, int qos, const char *text) {
    uint64_t id;
    struct error error;
    struct quartet_publication publication = {.topic = "t", .payload = text, .payload_bytes = strlen(text), .qos = qos};
    assert_int_equal(client_publish(p->client, &publication, &id, &error), QUARTET_OK);
    return id;
}

PEER_UNUSED static void app_subscribes(struct peer *p, const char *filter, int qos) {
    struct error error;
    struct quartet_subscription subscription = {.filter = filter, .qos = qos};
    assert_int_equal(client_subscribe(p->client, &subscription, 1, &error), QUARTET_OK);
}

/* The application takes the next message, which must be this one; returns its position. */
PEER_UNUSED static uint64_t app_takes(struct peer *p, const char *text) {
    struct client_delivery d;
    if (!p->disk_is_slow) {
        peer_durable(p);
    }
    assert_true(client_take(p->client, &d));
    struct span payload = message_payload(d.message);
    assert_int_equal(payload.len, strlen(text));
    assert_memory_equal(payload.ptr, text, payload.len);
    message_unref(d.message);
    return d.sequence;
}

PEER_UNUSED static void app_takes_nothing(struct peer *p) {
    struct client_delivery d;
    if (!p->disk_is_slow) {
        peer_durable(p);
    }
    assert_false(client_take(p->client, &d));
}

/* The next event, which must be of this kind. */
PEER_UNUSED static struct quartet_event app_hears(struct peer *p, enum quartet_event_kind kind) {
    struct quartet_event event;
    assert_true(client_event(p->client, &event));
    assert_int_equal(event.kind, kind);
    return event;
}

PEER_UNUSED static void app_forgets_events(struct peer *p) {
    struct quartet_event event;
    while (client_event(p->client, &event)) {
    }
}

/* ---- one for each test ---- */

PEER_UNUSED static struct peer *peer;

PEER_UNUSED static int peer_setup(void **state) {
    (void)state;
    static struct peer p;
    peer = &p;
    peer_init(&p);
    return 0;
}

PEER_UNUSED static int peer_teardown(void **state) {
    (void)state;
    peer_deinit(peer);
    return 0;
}

#define PEER_TEST(f) cmocka_unit_test_setup_teardown(f, peer_setup, peer_teardown)
