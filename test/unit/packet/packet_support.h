/* What the tests of this folder share: limits, rows as values, comparing. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/packet_bytes.h"
#include "packet/codec.h"

enum { TEST_BYTES_MAX = 1 << 18 };

/* The limits that the rows of test/data speak of. */
static inline struct packet_limits test_limits(void) {
    return (struct packet_limits){.packet_bytes_max = 1 << 20,
                                  .topic_bytes_max = 4096,
                                  .topic_levels_max = 128,
                                  .user_properties_max = 64,
                                  .subscriptions_max = 1000};
}

enum test_when { FIRST = 1, LATER };

/* One row of wellformed.inc. */
struct test_packet {
    const char *name;
    enum packet_sender sender;
    enum protocol protocol;
    enum test_when when;
    bool shortest;
    const char *bytes;
};

#define TEST_FORM_SHORTEST true
#define TEST_FORM_OTHER false
#define WELLFORMED(name_, sender_, protocol_, when_, form_, bytes_)                                                    \
    {name_, PACKET_FROM_##sender_, PROTOCOL_##protocol_, when_, TEST_FORM_##form_, bytes_},

static const struct test_packet test_packets[] = {
#include "data/wellformed.inc"
};
#undef WELLFORMED
#define TEST_PACKETS (sizeof(test_packets) / sizeof(test_packets[0]))

/* What packet_frame() is told: before the first packet the protocol is not known. */
static inline enum protocol test_frame_protocol(enum test_when when, enum protocol protocol) {
    return when == FIRST ? PROTOCOL_NONE : protocol;
}

/* The bytes of a row; they end where the memory ends, so that a read beyond them is seen. The caller frees them. */
static inline struct span test_bytes(const char *name, const char *text) {
    uint8_t *room = malloc(TEST_BYTES_MAX);
    size_t len;
    if (!packet_bytes_read(text, room, TEST_BYTES_MAX, &len)) {
        fail_msg("%s: the bytes cannot be read: %s", name, text);
    }
    uint8_t *exact = malloc(len > 0 ? len : 1);
    memcpy(exact, room, len);
    free(room);
    return span_of(exact, len);
}

static inline void test_release(struct span s) {
    free((void *)(uintptr_t)s.ptr);
}

/* Decodes bytes that must be one whole packet without fault. */
static inline void test_decode(const struct test_packet *row, struct span bytes, struct packet *packet) {
    struct packet_limits limits = test_limits();
    struct packet_frame frame;
    struct verdict verdict = {0, "", ""};
    enum protocol protocol = test_frame_protocol(row->when, row->protocol);
    if (packet_frame(bytes, row->sender, protocol, &limits, &frame, &verdict) != PACKET_WHOLE) {
        fail_msg("%s: no whole packet: 0x%02x %s %s", row->name, verdict.reason, verdict.statement, verdict.text);
    }
    assert_int_equal(frame.bytes, bytes.len);
    if (!packet_decode(&frame, row->protocol, &limits, packet, &verdict)) {
        fail_msg("%s: refused: 0x%02x %s %s", row->name, verdict.reason, verdict.statement, verdict.text);
    }
}

/* ---- comparing ---- */

static inline void test_equal_spans(const char *name, struct span a, struct span b) {
    if (!span_equal(a, b)) {
        fail_msg("%s: strings differ", name);
    }
}

static inline void test_equal_user_properties(const char *name, const struct properties *a,
                                              const struct properties *b) {
    struct reader ra = reader_of(a->raw), rb = reader_of(b->raw);
    struct span name_a, value_a, name_b, value_b;
    assert_int_equal(a->user_property_count, b->user_property_count);
    for (unsigned i = 0; i < a->user_property_count; i++) {
        assert_true(packet_user_property_next(&ra, &name_a, &value_a));
        assert_true(packet_user_property_next(&rb, &name_b, &value_b));
        test_equal_spans(name, name_a, name_b);
        test_equal_spans(name, value_a, value_b);
    }
}

static inline void test_equal_identifiers(const struct properties *a, const struct properties *b) {
    struct reader ra = reader_of(a->raw), rb = reader_of(b->raw);
    uint32_t identifier_a, identifier_b;
    assert_int_equal(a->subscription_identifier_count, b->subscription_identifier_count);
    for (unsigned i = 0; i < a->subscription_identifier_count; i++) {
        assert_true(packet_subscription_identifier_next(&ra, &identifier_a));
        assert_true(packet_subscription_identifier_next(&rb, &identifier_b));
        assert_int_equal(identifier_a, identifier_b);
    }
}

static inline void test_equal_value(const char *name, const struct property_row *row, const struct properties *a,
                                    const struct properties *b) {
    const void *va = (const char *)a + row->offset, *vb = (const char *)b + row->offset;
    switch (row->kind) {
    case PROPERTY_BYTE:
        assert_int_equal(*(const uint8_t *)va, *(const uint8_t *)vb);
        break;
    case PROPERTY_U16:
        assert_int_equal(*(const uint16_t *)va, *(const uint16_t *)vb);
        break;
    case PROPERTY_U32:
    case PROPERTY_VARINT:
        assert_int_equal(*(const uint32_t *)va, *(const uint32_t *)vb);
        break;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY:
        test_equal_spans(name, *(const struct span *)va, *(const struct span *)vb);
        break;
    case PROPERTY_PAIR:
        break;
    }
}

static inline void test_equal_properties(const char *name, const struct properties *a, const struct properties *b) {
    assert_int_equal(a->present, b->present);
    for (unsigned i = 0; i < PROPERTY_COUNT; i++) {
        if ((a->present >> i & 1U) != 0) {
            test_equal_value(name, &property_rows[i], a, b);
        }
    }
    test_equal_user_properties(name, a, b);
    test_equal_identifiers(a, b);
}

static inline void test_equal_connects(const char *name, const struct packet_connect *a,
                                       const struct packet_connect *b) {
    assert_int_equal(a->protocol, b->protocol);
    assert_int_equal(a->clean_start, b->clean_start);
    assert_int_equal(a->has_will, b->has_will);
    assert_int_equal(a->has_username, b->has_username);
    assert_int_equal(a->has_password, b->has_password);
    assert_int_equal(a->keep_alive_s, b->keep_alive_s);
    test_equal_spans(name, a->client_id, b->client_id);
    test_equal_spans(name, a->username, b->username);
    test_equal_spans(name, a->password, b->password);
    test_equal_properties(name, &a->properties, &b->properties);
    if (a->has_will) {
        test_equal_spans(name, a->will.topic, b->will.topic);
        test_equal_spans(name, a->will.payload, b->will.payload);
        assert_int_equal(a->will.qos, b->will.qos);
        assert_int_equal(a->will.retain, b->will.retain);
        test_equal_properties(name, &a->will.properties, &b->will.properties);
    }
}

static inline void test_equal_publishes(const char *name, const struct packet_publish *a,
                                        const struct packet_publish *b) {
    assert_int_equal(a->dup, b->dup);
    assert_int_equal(a->qos, b->qos);
    assert_int_equal(a->retain, b->retain);
    assert_int_equal(a->packet_id, b->packet_id);
    test_equal_spans(name, a->topic, b->topic);
    test_equal_spans(name, a->payload, b->payload);
    test_equal_properties(name, &a->properties, &b->properties);
}

/* Fails unless both packets say the same. */
static inline void test_equal_packets(const char *name, const struct packet *a, const struct packet *b) {
    assert_int_equal(a->type, b->type);
    switch (a->type) {
    case PACKET_CONNECT:
        test_equal_connects(name, &a->connect, &b->connect);
        break;
    case PACKET_CONNACK:
        assert_int_equal(a->connack.session_present, b->connack.session_present);
        assert_int_equal(a->connack.reason, b->connack.reason);
        test_equal_properties(name, &a->connack.properties, &b->connack.properties);
        break;
    case PACKET_PUBLISH:
        test_equal_publishes(name, &a->publish, &b->publish);
        break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        assert_int_equal(a->ack.packet_id, b->ack.packet_id);
        assert_int_equal(a->ack.reason, b->ack.reason);
        test_equal_properties(name, &a->ack.properties, &b->ack.properties);
        break;
    case PACKET_SUBSCRIBE:
    case PACKET_UNSUBSCRIBE:
        assert_int_equal(a->subscribe.packet_id, b->subscribe.packet_id);
        assert_int_equal(a->subscribe.count, b->subscribe.count);
        test_equal_spans(name, a->subscribe.filters, b->subscribe.filters);
        test_equal_properties(name, &a->subscribe.properties, &b->subscribe.properties);
        break;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        assert_int_equal(a->suback.packet_id, b->suback.packet_id);
        test_equal_spans(name, a->suback.reasons, b->suback.reasons);
        test_equal_properties(name, &a->suback.properties, &b->suback.properties);
        break;
    case PACKET_DISCONNECT:
    case PACKET_AUTH:
        assert_int_equal(a->disconnect.reason, b->disconnect.reason);
        test_equal_properties(name, &a->disconnect.properties, &b->disconnect.properties);
        break;
    case PACKET_PINGREQ:
    case PACKET_PINGRESP:
    case PACKET_NONE:
        break;
    }
}

/* ---- encoding what was decoded ---- */

static inline void test_encode_subscribe(struct buf *out, enum protocol protocol, const struct packet *p) {
    enum { FILTERS_MAX = 16 };
    struct packet_filter filters[FILTERS_MAX];
    bool subscribe = p->type == PACKET_SUBSCRIBE;
    struct reader r = reader_of(p->subscribe.filters);
    size_t count = 0;
    while (count < FILTERS_MAX && packet_filter_next(&r, protocol, subscribe, &filters[count])) {
        count++;
    }
    assert_int_equal(count, p->subscribe.count);
    (subscribe ? packet_encode_subscribe : packet_encode_unsubscribe)(out, protocol, p->subscribe.packet_id,
                                                                      &p->subscribe.properties, filters, count);
}

static inline void test_encode(struct buf *out, enum protocol protocol, const struct packet *p) {
    switch (p->type) {
    case PACKET_CONNECT:
        packet_encode_connect(out, &p->connect);
        break;
    case PACKET_CONNACK:
        packet_encode_connack(out, protocol, &p->connack);
        break;
    case PACKET_PUBLISH:
        packet_encode_publish(out, protocol, &p->publish);
        break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        packet_encode_ack(out, protocol, p->type, &p->ack);
        break;
    case PACKET_SUBSCRIBE:
    case PACKET_UNSUBSCRIBE:
        test_encode_subscribe(out, protocol, p);
        break;
    case PACKET_SUBACK:
        packet_encode_suback(out, protocol, &p->suback);
        break;
    case PACKET_UNSUBACK:
        packet_encode_unsuback(out, protocol, &p->suback);
        break;
    case PACKET_PINGREQ:
        packet_encode_pingreq(out);
        break;
    case PACKET_PINGRESP:
        packet_encode_pingresp(out);
        break;
    case PACKET_DISCONNECT:
        packet_encode_disconnect(out, protocol, &p->disconnect);
        break;
    case PACKET_AUTH:
        packet_encode_auth(out, &p->disconnect);
        break;
    case PACKET_NONE:
        fail();
        break;
    }
}
