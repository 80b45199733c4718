/* The generator's own small codec: known bytes out, and nothing malformed taken in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bench/wire.h"

#define BYTES(...) span_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void assert_bytes(struct buf *found, struct span expected) {
    assert_int_equal(found->len, expected.len);
    assert_memory_equal(found->ptr, expected.ptr, expected.len);
    buf_deinit(found);
}

static void connect_bytes(void **state) {
    (void)state;
    struct buf out = {0};
    struct wire_connect c = {.protocol = WIRE_PROTOCOL_311, .clean_start = true, .client_id = "ab"};
    wire_put_connect(&out, &c);
    assert_bytes(&out, BYTES(0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 2, 'a', 'b'));
    c = (struct wire_connect){
        .protocol = WIRE_PROTOCOL_5, .session_expiry_s = 3600, .receive_maximum = 20, .client_id = "a"};
    wire_put_connect(&out, &c);
    assert_bytes(
        &out, BYTES(0x10, 22, 0, 4, 'M', 'Q', 'T', 'T', 5, 0, 0, 0, 8, 0x11, 0, 0, 0x0E, 0x10, 0x21, 0, 20, 0, 1, 'a'));
}

static void subscribe_bytes(void **state) {
    (void)state;
    struct buf out = {0};
    wire_put_subscribe(&out, WIRE_PROTOCOL_311, 1, "t", 2);
    assert_bytes(&out, BYTES(0x82, 6, 0, 1, 0, 1, 't', 2));
    wire_put_subscribe(&out, WIRE_PROTOCOL_5, 258, "t", 1);
    assert_bytes(&out, BYTES(0x82, 7, 1, 2, 0, 0, 1, 't', 1));
}

/* What is put must be what is got, at every QoS, version and length of the length. */
static void messages_come_back(void **state) {
    (void)state;
    static const size_t payloads[] = {16, 17, 105, 106, 107, 108, 109, 110, 200, 16370, 20000};
    for (size_t i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
        for (uint8_t qos = 0; qos <= 2; qos++) {
            for (uint8_t protocol = WIRE_PROTOCOL_311; protocol <= WIRE_PROTOCOL_5; protocol++) {
                struct wire_template t = wire_template_of(protocol, "qb/x/1", qos, payloads[i]);
                struct stamp stamp = {3, 4, 5};
                struct stamp back;
                struct buf out = {0};
                struct wire_packet packet;
                struct wire_publish m;
                wire_put_message(&out, &t, 0x1234, &stamp);
                assert_int_equal(wire_next(buf_span(&out), &packet), WIRE_WHOLE);
                assert_int_equal(packet.bytes, out.len);
                assert_true(wire_get_publish(&packet, protocol, &m));
                assert_int_equal(m.qos, qos);
                assert_int_equal(m.packet_id, qos > 0 ? 0x1234 : 0);
                assert_true(span_equal(m.topic, SPAN("qb/x/1")));
                assert_int_equal(m.payload.len, payloads[i]);
                memcpy(&back, m.payload.ptr, sizeof(back));
                assert_memory_equal(&back, &stamp, sizeof(stamp));
                buf_deinit(&out);
                buf_deinit(&t.bytes);
            }
        }
    }
}

static void every_beginning_is_partial(void **state) {
    (void)state;
    struct wire_template t = wire_template_of(WIRE_PROTOCOL_5, "t", 1, 200);
    struct wire_packet packet;
    for (size_t i = 0; i < t.bytes.len; i++) {
        assert_int_equal(wire_next(span_of(t.bytes.ptr, i), &packet), WIRE_PARTIAL);
    }
    assert_int_equal(wire_next(buf_span(&t.bytes), &packet), WIRE_WHOLE);
    buf_deinit(&t.bytes);
}

static void a_length_of_five_bytes_is_bad(void **state) {
    (void)state;
    struct wire_packet packet;
    assert_int_equal(wire_next(BYTES(0x30, 0x80, 0x80, 0x80, 0x80, 0x01), &packet), WIRE_BAD);
}

static void connack_limits_are_read(void **state) {
    (void)state;
    struct wire_connack c;
    assert_true(wire_get_connack(BYTES(1, 0), WIRE_PROTOCOL_311, &c));
    assert_true(c.session_present);
    assert_int_equal(c.receive_maximum, 65535);
    assert_true(wire_get_connack(BYTES(0, 0, 8, 0x21, 0, 7, 0x24, 1, 0x22, 0, 9), WIRE_PROTOCOL_5, &c));
    assert_false(c.session_present);
    assert_int_equal(c.receive_maximum, 7);
    assert_int_equal(c.maximum_qos, 1);
    assert_true(wire_get_connack(BYTES(0, 0, 12, 0x26, 0, 1, 'a', 0, 1, 'b', 0x27, 0, 0, 1, 0), WIRE_PROTOCOL_5, &c));
    assert_int_equal(c.packet_bytes_max, 256);
}

static void malformed_packets_are_refused(void **state) {
    (void)state;
    struct wire_connack c;
    struct wire_publish m;
    uint16_t packet_id = 0;
    uint8_t reason = 0;
    assert_false(wire_get_connack(BYTES(0), WIRE_PROTOCOL_311, &c));
    assert_false(wire_get_connack(BYTES(2, 0), WIRE_PROTOCOL_311, &c));
    assert_false(wire_get_connack(BYTES(0, 0, 3, 0x21, 0), WIRE_PROTOCOL_5, &c));
    assert_false(wire_get_connack(BYTES(0, 0, 3, 0x21, 0, 0), WIRE_PROTOCOL_5, &c));
    assert_false(wire_get_connack(BYTES(0, 0, 2, 0x7E, 0), WIRE_PROTOCOL_5, &c));
    assert_false(wire_get_suback(BYTES(0, 1), WIRE_PROTOCOL_311, &packet_id, &reason));
    assert_false(wire_get_ack(BYTES(0), &packet_id, &reason));
    assert_false(wire_get_ack(BYTES(0, 0), &packet_id, &reason));
    struct wire_packet no_id = {.first = 0x32, .body = BYTES(0, 1, 't', 0)};
    struct wire_packet zero_id = {.first = 0x32, .body = BYTES(0, 1, 't', 0, 0)};
    struct wire_packet qos_3 = {.first = 0x36, .body = BYTES(0, 1, 't', 0, 1)};
    struct wire_packet long_topic = {.first = 0x30, .body = BYTES(0, 9, 't')};
    assert_false(wire_get_publish(&no_id, WIRE_PROTOCOL_311, &m));
    assert_false(wire_get_publish(&zero_id, WIRE_PROTOCOL_311, &m));
    assert_false(wire_get_publish(&qos_3, WIRE_PROTOCOL_311, &m));
    assert_false(wire_get_publish(&long_topic, WIRE_PROTOCOL_311, &m));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connect_bytes),
        cmocka_unit_test(subscribe_bytes),
        cmocka_unit_test(messages_come_back),
        cmocka_unit_test(every_beginning_is_partial),
        cmocka_unit_test(a_length_of_five_bytes_is_bad),
        cmocka_unit_test(connack_limits_are_read),
        cmocka_unit_test(malformed_packets_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
