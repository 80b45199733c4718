/* Packets as lines for a person. The lines also show that each field is read from its own place. */
#include "packet_support.h"

static const struct {
    const char *row; /* of wellformed.inc */
    const char *line;
} lines[] = {
    {"connect.311.least", "CONNECT 3.1.1 clean keep_alive=0 client=\"\""},
    {"connect.311.session", "CONNECT 3.1.1 keep_alive=60 client=\"client\""},
    {"connect.311.all", "CONNECT 3.1.1 clean keep_alive=65535 client=\"client\" user=\"user\" password "
                        "will=\"will/topic\" will_qos=2 will_retain will_bytes=4"},
    {"connect.311.will.empty", "CONNECT 3.1.1 clean keep_alive=10 client=\"c\" will=\"w\" will_qos=1 will_bytes=0"},
    {"connect.5.password-only", "CONNECT 5.0 clean keep_alive=0 client=\"c\" password"},
    {"connect.5.all",
     "CONNECT 5.0 clean keep_alive=5 client=\"client\" user=\"user\" password {Session Expiry Interval: 10, "
     "Authentication Method: \"SCRAM\", Authentication Data: (2 bytes), Request Problem Information: 0, "
     "Request Response Information: 1, Receive Maximum: 20, Topic Alias Maximum: 10, "
     "User Property: \"n\"=\"v\", \"n\"=\"\", Maximum Packet Size: 65536} "
     "will=\"will/topic\" will_qos=1 will_retain will_bytes=4 {Payload Format Indicator: 1, "
     "Message Expiry Interval: 3600, Content Type: \"text/plain\", Response Topic: \"answer/here\", "
     "Correlation Data: (2 bytes), Will Delay Interval: 5, User Property: \"w\"=\"p\"}"},
    {"connack.311.present", "CONNACK present reason=0x00"},
    {"connack.311.refused", "CONNACK new reason=0x05"},
    {"connack.5.all",
     "CONNACK new reason=0x00 {Session Expiry Interval: 0, Assigned Client Identifier: \"auto-1\", "
     "Server Keep Alive: 60, Authentication Method: \"SCRAM\", Authentication Data: (0 bytes), "
     "Response Information: \"answers/\", Server Reference: \"other:1883\", Reason String: \"hello\", "
     "Receive Maximum: 65535, Topic Alias Maximum: 65535, Maximum QoS: 1, Retain Available: 0, "
     "User Property: \"a\"=\"b\", Maximum Packet Size: 4294967295, Wildcard Subscription Available: 1, "
     "Subscription Identifier Available: 1, Shared Subscription Available: 0}"},
    {"publish.311.qos0", "PUBLISH qos=0 topic=\"a/b\" bytes=7"},
    {"publish.311.qos0.empty", "PUBLISH qos=0 retain topic=\"a\" bytes=0"},
    {"publish.311.qos1.dup", "PUBLISH qos=1 dup id=65535 topic=\"a/b\" bytes=7"},
    {"publish.311.qos2", "PUBLISH qos=2 id=4660 topic=\"a/b\" bytes=2"},
    {"publish.311.topic-utf8",
     "PUBLISH qos=0 topic=\"caf\\xc3\\xa9/\\xe2\\x82\\xac/\\xf0\\x9f\\x98\\x80/temperature\" bytes=1"},
    {"publish.5.alias-for-topic", "PUBLISH qos=2 id=2 topic=\"\" bytes=7 {Topic Alias: 65535}"},
    {"publish.5.subscription-identifiers",
     "PUBLISH qos=0 topic=\"a/b\" bytes=7 {Payload Format Indicator: 0, Subscription Identifier: 1 128 268435455}"},
    {"publish.5.subscription-identifier", "PUBLISH qos=0 topic=\"a/b\" bytes=7 {Subscription Identifier: 1}"},
    {"puback.5.all", "PUBACK id=1 reason=0x97 {Reason String: \"full\", User Property: \"a\"=\"b\"}"},
    {"pubrel.5.not-found", "PUBREL id=1 reason=0x92"},
    {"pubcomp.311", "PUBCOMP id=1 reason=0x00"},
    {"subscribe.311.several", "SUBSCRIBE id=1 \"a/+\":1 \"#\":2 \"$share/g/t\":0"},
    {"subscribe.5.all",
     "SUBSCRIBE id=1 \"a/b\":2:no_local:as_published:handling=2 \"#\":1:handling=1 \"$share/g/t\":0:as_published:"
     "handling=2 {Subscription Identifier: 268435455, User Property: \"a\"=\"b\"}"},
    {"subscribe.5.each-option", "SUBSCRIBE id=1 \"not/$share/g\":0:no_local:handling=0 \"b\":0:as_published:handling=0 "
                                "\"c\":0:handling=1 \"d\":0:handling=2"},
    {"suback.311", "SUBACK id=1 0x00 0x01 0x02 0x80"},
    {"unsubscribe.311.several", "UNSUBSCRIBE id=1 \"a/b\" \"#\" \"+\""},
    {"unsuback.5.all", "UNSUBACK id=1 0x11 {Reason String: \"so\", User Property: \"a\"=\"b\"}"},
    {"unsuback.311", "UNSUBACK id=1"},
    {"pingreq.5", "PINGREQ"},
    {"pingresp.5", "PINGRESP"},
    {"disconnect.5.client", "DISCONNECT reason=0x00 {Session Expiry Interval: 60, Reason String: \"bye\", "
                            "User Property: \"a\"=\"b\"}"},
    {"auth.5.continue", "AUTH reason=0x18 {Authentication Method: \"SCRAM\", Authentication Data: (2 bytes)}"},
};

static const struct test_packet *row_named(const char *name) {
    for (size_t i = 0; i < TEST_PACKETS; i++) {
        if (strcmp(test_packets[i].name, name) == 0) {
            return &test_packets[i];
        }
    }
    fail_msg("no row %s", name);
    return NULL;
}

static void lines_are_these(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const struct test_packet *row = row_named(lines[i].row);
        struct span bytes = test_bytes(row->name, row->bytes);
        struct packet packet;
        struct buf out = {NULL, 0, 0};
        test_decode(row, bytes, &packet);
        packet_print(&out, row->protocol, &packet);
        buf_u8(&out, 0);
        assert_string_equal((const char *)out.ptr, lines[i].line);
        buf_deinit(&out);
        test_release(bytes);
    }
}

/* The line of a PUBLISH to this topic. */
static void topic_is_printed(struct span topic, const char *line) {
    const struct packet packet = {.type = PACKET_PUBLISH, .publish = {.topic = topic}};
    struct buf out = {NULL, 0, 0};
    packet_print(&out, PROTOCOL_311, &packet);
    buf_u8(&out, 0);
    assert_string_equal((const char *)out.ptr, line);
    buf_deinit(&out);
}

#define TEN "aaaaaaaaaa"
#define SEVENTY TEN TEN TEN TEN TEN TEN TEN

static void strings_cannot_disturb_a_terminal(void **state) {
    (void)state;
    topic_is_printed(SPAN("\x1b[2J\n\"\\"), "PUBLISH qos=0 topic=\"\\x1b[2J\\x0a\\\"\\\\\" bytes=0");
    topic_is_printed(SPAN("\x1f ~\x7f\x80"), "PUBLISH qos=0 topic=\"\\x1f ~\\x7f\\x80\" bytes=0");
    topic_is_printed(SPAN(SEVENTY TEN), "PUBLISH qos=0 topic=\"" SEVENTY TEN "\" bytes=0");
    topic_is_printed(SPAN(SEVENTY TEN "b"), "PUBLISH qos=0 topic=\"" SEVENTY TEN "\"... (81 bytes) bytes=0");
}

static void what_is_our_own_is_printed_too(void **state) {
    (void)state;
    struct properties p = {.present = PROPERTY_SUBSCRIPTION_IDENTIFIER, .subscription_identifier = 7};
    struct buf out = {NULL, 0, 0};
    properties_print(&out, &p);
    assert_true(span_equal(buf_span(&out), SPAN("Subscription Identifier: 7")));
    p.subscription_identifier_count = 1;
    properties_print(&out, &p);
    assert_true(span_equal(buf_span(&out), SPAN("Subscription Identifier: 7Subscription Identifier: 7")));
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_these),
        cmocka_unit_test(strings_cannot_disturb_a_terminal),
        cmocka_unit_test(what_is_our_own_is_printed_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
