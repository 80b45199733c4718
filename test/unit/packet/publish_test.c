/* The head of a PUBLISH as a broker writes it, against the general encoder and decoder. */
#include "packet_support.h"

#include "base/prng.h"

/* Reads back what the head and a payload of as many bytes make together. */
static void reads_back(enum protocol protocol, const struct packet_publish_head *head) {
    struct packet_limits limits = test_limits();
    struct buf out = {NULL, 0, 0};
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict = {0, "", ""};
    limits.packet_bytes_max = REMAINING_LENGTH_MAX;
    limits.topic_bytes_max = UINT16_MAX;
    packet_encode_publish_head(&out, protocol, head);
    memset(buf_extend(&out, head->payload_bytes), 'p', head->payload_bytes);
    assert_int_equal(out.len, packet_publish_size(protocol, head));
    if (packet_frame(buf_span(&out), PACKET_FROM_SERVER, protocol, &limits, &frame, &verdict) != PACKET_WHOLE ||
        !packet_decode(&frame, protocol, &limits, &packet, &verdict)) {
        fail_msg("0x%02x %s", verdict.reason, verdict.text);
    }
    const struct packet_publish *p = &packet.publish;
    const struct properties *properties = &p->properties;
    assert_int_equal(frame.bytes, out.len);
    assert_int_equal(p->dup, head->dup);
    assert_int_equal(p->qos, head->qos);
    assert_int_equal(p->retain, head->retain);
    assert_int_equal(p->packet_id, head->packet_id);
    assert_int_equal(p->payload.len, head->payload_bytes);
    test_equal_spans("topic", p->topic, head->topic);
    if (protocol == PROTOCOL_5) {
        struct buf forwarded = {NULL, 0, 0};
        packet_properties_forward(&forwarded, properties);
        test_equal_spans("forwarded", buf_span(&forwarded), head->forwarded);
        buf_deinit(&forwarded);
        assert_int_equal((properties->present & PROPERTY_MESSAGE_EXPIRY_INTERVAL) != 0, head->has_message_expiry);
        assert_true(!head->has_message_expiry ||
                    properties->message_expiry_interval_s == head->message_expiry_interval_s);
        assert_int_equal((properties->present & PROPERTY_TOPIC_ALIAS) != 0, head->topic_alias != 0);
        assert_true(head->topic_alias == 0 || properties->topic_alias == head->topic_alias);
    }
    buf_deinit(&out);
}

static void all_combinations(void **state) {
    (void)state;
    struct buf forwarded = {NULL, 0, 0}, identifiers = {NULL, 0, 0};
    packet_user_property_add(&forwarded, SPAN("name"), SPAN("value"));
    packet_subscription_identifier_add(&identifiers, 1);
    packet_subscription_identifier_add(&identifiers, 268435455);
    for (unsigned i = 0; i < 3 * 2 * 2 * 2 * 2 * 2 * 2 * 2; i++) {
        unsigned bits = i / 3;
        uint8_t qos = (uint8_t)(i % 3);
        struct packet_publish_head head = {
            .qos = qos,
            .dup = qos > 0 && (bits & 1U) != 0,
            .retain = (bits & 2U) != 0,
            .packet_id = qos > 0 ? 0x1234 : 0,
            .topic = SPAN("a/b"),
            .forwarded = (bits & 4U) != 0 ? buf_span(&forwarded) : (struct span){NULL, 0},
            .subscription_identifiers = (bits & 8U) != 0 ? buf_span(&identifiers) : (struct span){NULL, 0},
            .topic_alias = (bits & 16U) != 0 ? 7 : 0,
            .has_message_expiry = (bits & 32U) != 0,
            .message_expiry_interval_s = 0x01020304,
            .payload_bytes = (bits & 64U) != 0 ? 5 : 0,
        };
        reads_back(PROTOCOL_5, &head);
        head.forwarded = (struct span){NULL, 0};
        reads_back(PROTOCOL_311, &head);
    }
    buf_deinit(&identifiers);
    buf_deinit(&forwarded);
}

/* Around every step of the remaining length. */
static void all_sizes_of_the_length(void **state) {
    (void)state;
    static const size_t edges[] = {0, 127, 16383, 2097151};
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        for (size_t near = 0; near < 12; near++) {
            struct packet_publish_head head = {.qos = 2,
                                               .packet_id = 1,
                                               .topic = SPAN("t"),
                                               .payload_bytes = edges[i] + 3 - (edges[i] == 0 ? 0 : near)};
            reads_back(PROTOCOL_311, &head);
            reads_back(PROTOCOL_5, &head);
        }
    }
}

static void a_topic_may_have_any_length(void **state) {
    (void)state;
    static uint8_t topic[UINT16_MAX];
    memset(topic, 't', sizeof(topic));
    struct packet_publish_head head = {.qos = 1, .packet_id = 1};
    for (size_t len = 1; len <= sizeof(topic); len += len < 300 ? 1 : sizeof(topic) - 300) {
        head.topic = span_of(topic, len);
        reads_back(PROTOCOL_311, &head);
        reads_back(PROTOCOL_5, &head);
    }
}

static void an_alias_may_stand_for_the_topic(void **state) {
    (void)state;
    const struct packet_publish_head head = {.topic_alias = 65535, .payload_bytes = 1};
    reads_back(PROTOCOL_5, &head);
}

static void the_bytes_are_these(void **state) {
    (void)state;
    const struct packet_publish_head head = {.dup = true,
                                             .qos = 2,
                                             .packet_id = 0x0102,
                                             .topic = SPAN("a/b"),
                                             .has_message_expiry = true,
                                             .message_expiry_interval_s = 60,
                                             .topic_alias = 5,
                                             .payload_bytes = 200};
    struct buf out = {NULL, 0, 0};
    struct span wanted = test_bytes("3.1.1", "3C CF 01 {'a/b'} 0102");
    packet_encode_publish_head(&out, PROTOCOL_311, &head);
    assert_true(span_equal(buf_span(&out), wanted));
    test_release(wanted);
    wanted = test_bytes("5.0", "3C CF 01 {'a/b'} 0102 3C D8 01 {'a/b'} 0102 (02 0000003C 23 0005)");
    packet_encode_publish_head(&out, PROTOCOL_5, &head);
    assert_true(span_equal(buf_span(&out), wanted));
    test_release(wanted);
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_combinations),
        cmocka_unit_test(all_sizes_of_the_length),
        cmocka_unit_test(a_topic_may_have_any_length),
        cmocka_unit_test(an_alias_may_stand_for_the_topic),
        cmocka_unit_test(the_bytes_are_these),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
