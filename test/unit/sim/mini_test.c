/* The model clients' codec, against bytes that were written out by hand from the standard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/mini.h"

static void check(const struct mini_packet *p, const char *bytes, size_t len) {
    uint8_t out[MINI_PACKET_BYTES];
    assert_int_equal(mini_encode(p, out), len);
    assert_memory_equal(out, bytes, len);
}
#define CHECK(bytes, ...) check(&(const struct mini_packet){__VA_ARGS__}, bytes, sizeof(bytes) - 1)

static void writes_what_a_client_sends(void **state) {
    (void)state;
    CHECK("\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02"
          "c1",
          .type = MINI_CONNECT, .clean = true, .client = SPAN("c1"));
    CHECK("\x10\x14\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x00\x0a\x00\x02"
          "c1",
          .type = MINI_CONNECT, .five = true, .session_expiry = 10, .client = SPAN("c1"));
    CHECK("\x3d\x06\x00\x01"
          "a\x00\x07x",
          .type = MINI_PUBLISH, .dup = true, .qos = 2, .retain = true, .id = 7, .topic = SPAN("a"),
          .payload = SPAN("x"));
    CHECK("\x62\x02\x00\x09", .type = MINI_PUBREL, .id = 9);
    CHECK("\x70\x03\x00\x09\x92", .type = MINI_PUBCOMP, .five = true, .id = 9, .reason = 0x92);
    CHECK("\x82\x06\x00\x01\x00\x01"
          "a\x02",
          .type = MINI_SUBSCRIBE, .id = 1, .topic = SPAN("a"), .qos = 2);
    CHECK("\xc0\x00", .type = MINI_PINGREQ);
}

static const char *read(const char *bytes, size_t len, bool five, struct mini_packet *p) {
    assert_int_equal(mini_length(span_of(bytes, len)), len);
    return mini_decode(span_of(bytes, len), five, p);
}
#define READ(bytes, five, p) read(bytes, sizeof(bytes) - 1, five, p)

static void reads_what_a_server_sends(void **state) {
    (void)state;
    struct mini_packet p;
    assert_null(READ("\x20\x02\x01\x00", false, &p));
    assert_true(p.session_present);
    assert_null(READ("\x20\x06\x00\x00\x03\x21\x00\x05", true, &p));
    assert_int_equal(p.receive_maximum, 5);
    assert_null(READ("\x34\x08\x00\x01"
                     "a\x00\x02\x00hi",
                     true, &p));
    assert_int_equal(p.id, 2);
    assert_true(span_equal(p.payload, SPAN("hi")));
    assert_null(READ("\x90\x03\x00\x04\x80", false, &p));
    assert_int_equal(p.reasons[0], 0x80);
}

static void refuses_what_no_server_sends(void **state) {
    (void)state;
    struct mini_packet p;
    assert_non_null(READ("\x10\x02\x00\x00", false, &p)); /* CONNECT */
    assert_non_null(READ("\xe0\x00", false, &p));         /* DISCONNECT in 3.1.1 */
    assert_non_null(READ("\x60\x02\x00\x01", false, &p)); /* PUBREL without its flags */
    assert_non_null(READ("\x38\x04\x00\x01"
                         "ax",
                         false, &p)); /* DUP at QoS 0 */
    assert_non_null(READ("\x36\x06\x00\x01"
                         "a\x00\x01x",
                         false, &p)); /* QoS 3 */
    assert_non_null(READ("\x34\x06\x00\x01"
                         "a\x00\x00x",
                         false, &p));                            /* packet identifier 0 */
    assert_non_null(READ("\x40\x03\x00\x01\x00", false, &p));    /* PUBACK with a reason in 3.1.1 */
    assert_non_null(READ("\x20\x04\x00\x00\x01\x7f", true, &p)); /* an unknown property */
}

static void knows_where_a_packet_ends(void **state) {
    (void)state;
    assert_int_equal(mini_length(SPAN("\x40")), 0);
    assert_int_equal(mini_length(SPAN("\x40\x02\x00")), 0);
    assert_int_equal(mini_length(SPAN("\x40\x02\x00\x01\x40")), 4);
    assert_true(mini_length(SPAN("\x30\xff\xff\xff\xff")) == MINI_WRONG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_a_client_sends),
        cmocka_unit_test(reads_what_a_server_sends),
        cmocka_unit_test(refuses_what_no_server_sends),
        cmocka_unit_test(knows_where_a_packet_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
