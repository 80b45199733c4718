/* All packets that are allowed: decoding and encoding undo each other, bytes may come in any portions, and no change to
 * them leads astray. */
#include "packet_support.h"

#include "base/prng.h"

static void what_is_decoded_is_encoded_again(void **state) {
    (void)state;
    for (size_t i = 0; i < TEST_PACKETS; i++) {
        const struct test_packet *row = &test_packets[i];
        struct span bytes = test_bytes(row->name, row->bytes);
        struct packet first, second;
        struct buf again = {NULL, 0, 0};
        test_decode(row, bytes, &first);
        test_encode(&again, row->protocol, &first);
        test_decode(row, buf_span(&again), &second);
        test_equal_packets(row->name, &first, &second);
        if (row->shortest != span_equal(bytes, buf_span(&again))) {
            fail_msg("%s: written %s", row->name, row->shortest ? "in other bytes" : "in the same bytes");
        }
        buf_deinit(&again);
        test_release(bytes);
    }
}

static void every_split_is_partial_then_whole(void **state) {
    (void)state;
    struct packet_limits limits = test_limits();
    for (size_t i = 0; i < TEST_PACKETS; i++) {
        const struct test_packet *row = &test_packets[i];
        enum protocol protocol = test_frame_protocol(row->when, row->protocol);
        struct span bytes = test_bytes(row->name, row->bytes);
        for (size_t cut = 0; cut < bytes.len; cut++) {
            uint8_t *part = malloc(cut > 0 ? cut : 1); /* its own memory: a read beyond the cut is seen */
            struct packet_frame frame;
            struct verdict verdict;
            memcpy(part, bytes.ptr, cut);
            enum packet_status status =
                packet_frame(span_of(part, cut), row->sender, protocol, &limits, &frame, &verdict);
            if (status != PACKET_PARTIAL) {
                fail_msg("%s: not partial when cut at %zu", row->name, cut);
            }
            assert_true(frame.bytes == 0 || frame.bytes == bytes.len);
            assert_true(cut < 5 || frame.bytes == bytes.len);
            free(part);
        }
        struct packet packet;
        test_decode(row, bytes, &packet);
        test_release(bytes);
    }
}

static void what_follows_a_packet_is_left_alone(void **state) {
    (void)state;
    struct packet_limits limits = test_limits();
    const struct test_packet *row = &test_packets[0];
    struct span bytes = test_bytes(row->name, row->bytes);
    struct packet_frame frame;
    struct verdict verdict;
    struct buf two = {NULL, 0, 0};
    buf_bytes(&two, bytes);
    buf_bytes(&two, SPAN("\xff\xff\xff"));
    assert_int_equal(packet_frame(buf_span(&two), row->sender, PROTOCOL_NONE, &limits, &frame, &verdict), PACKET_WHOLE);
    assert_int_equal(frame.bytes, bytes.len);
    buf_deinit(&two);
    test_release(bytes);
}

/* Frames, decodes, prints and encodes whatever the bytes are; what is accepted must survive a round trip. */
static void try_bytes(const struct test_packet *row, struct span bytes) {
    struct packet_limits limits = test_limits();
    struct packet_frame frame;
    struct verdict verdict = {0, NULL, NULL};
    struct packet packet, again;
    enum protocol protocol = test_frame_protocol(row->when, row->protocol);
    enum packet_status status = packet_frame(bytes, row->sender, protocol, &limits, &frame, &verdict);
    if (status == PACKET_PARTIAL) {
        return;
    }
    bool good = status == PACKET_WHOLE && packet_decode(&frame, row->protocol, &limits, &packet, &verdict);
    if (!good) {
        assert_true(verdict.reason >= 0x80);
        assert_non_null(verdict.statement);
        assert_non_null(verdict.text);
        return;
    }
    protocol = packet.type == PACKET_CONNECT ? (enum protocol)packet.connect.protocol : row->protocol;
    struct test_packet changed = *row;
    struct buf out = {NULL, 0, 0};
    changed.protocol = protocol;
    test_encode(&out, protocol, &packet);
    test_decode(&changed, buf_span(&out), &again);
    test_equal_packets(row->name, &packet, &again);
    packet_print(&out, protocol, &packet);
    buf_deinit(&out);
}

static void every_truncation_is_judged(void **state) {
    (void)state;
    for (size_t i = 0; i < TEST_PACKETS; i++) {
        const struct test_packet *row = &test_packets[i];
        struct span bytes = test_bytes(row->name, row->bytes);
        size_t header = bytes.len > 1 && bytes.ptr[1] < 0x80 ? 2 : 3;
        for (size_t len = header; len < bytes.len; len++) {
            struct buf shorter = {NULL, 0, 0};
            buf_u8(&shorter, bytes.ptr[0]);
            buf_varint(&shorter, (uint32_t)(len - header));
            buf_bytes(&shorter, span_of(bytes.ptr + header, len - header));
            uint8_t *exact = malloc(shorter.len);
            memcpy(exact, shorter.ptr, shorter.len);
            try_bytes(row, span_of(exact, shorter.len));
            free(exact);
            buf_deinit(&shorter);
        }
        test_release(bytes);
    }
}

static void every_changed_byte_is_judged(void **state) {
    (void)state;
    for (size_t i = 0; i < TEST_PACKETS; i++) {
        const struct test_packet *row = &test_packets[i];
        struct span bytes = test_bytes(row->name, row->bytes);
        uint8_t *changed = malloc(bytes.len);
        for (size_t at = 0; at < bytes.len; at++) {
            for (unsigned value = 0; value < 256; value++) {
                memcpy(changed, bytes.ptr, bytes.len);
                changed[at] = (uint8_t)value;
                try_bytes(row, span_of(changed, bytes.len));
            }
        }
        free(changed);
        test_release(bytes);
    }
}

static void random_changes_are_judged(void **state) {
    (void)state;
    struct prng prng = prng_of(20);
    for (size_t round = 0; round < 50000; round++) {
        const struct test_packet *row = &test_packets[prng_below(&prng, TEST_PACKETS)];
        uint8_t room[1024];
        size_t len;
        assert_true(packet_bytes_read(row->bytes, room, sizeof(room), &len));
        for (uint64_t changes = 1 + prng_below(&prng, 4); changes > 0; changes--) {
            room[prng_below(&prng, len)] = (uint8_t)prng_next(&prng);
        }
        try_bytes(row, span_of(room, len));
    }
}

/* All strings as long as two bytes can say. */
static void the_longest_fields_are_written(void **state) {
    (void)state;
    static uint8_t room[UINT16_MAX];
    struct packet_limits limits = test_limits();
    struct packet_frame frame;
    struct packet again;
    struct verdict verdict = {0, "", ""};
    struct buf out = {NULL, 0, 0};
    memset(room, 'a', sizeof(room));
    struct span longest = span_of(room, sizeof(room));
    struct packet packet = {.type = PACKET_CONNECT};
    packet.connect = (struct packet_connect){.protocol = PROTOCOL_5,
                                             .has_will = true,
                                             .has_username = true,
                                             .has_password = true,
                                             .client_id = longest,
                                             .username = longest,
                                             .password = longest,
                                             .will = {.topic = longest, .payload = longest, .qos = 2}};
    packet.connect.properties.present = PROPERTY_AUTHENTICATION_METHOD;
    packet.connect.properties.authentication_method = longest;
    limits.topic_bytes_max = UINT16_MAX;
    struct buf pair = {NULL, 0, 0};
    packet_user_property_add(&pair, longest, longest);
    packet.connect.properties.present |= PROPERTY_USER_PROPERTY;
    packet.connect.properties.user_property_count = 1;
    packet.connect.properties.raw = buf_span(&pair);
    packet_encode_connect(&out, &packet.connect);
    assert_int_equal(packet_frame(buf_span(&out), PACKET_FROM_CLIENT, PROTOCOL_NONE, &limits, &frame, &verdict),
                     PACKET_WHOLE);
    assert_true(packet_decode(&frame, PROTOCOL_NONE, &limits, &again, &verdict));
    test_equal_packets("longest", &packet, &again);
    buf_deinit(&pair);
    buf_deinit(&out);
}

static void bytes_are(struct buf *out, const char *expected) {
    struct span wanted = test_bytes("expected", expected);
    assert_true(span_equal(buf_span(out), wanted));
    test_release(wanted);
    buf_deinit(out);
}

/* A broker fills in the same fields for both protocols; 3.1.1 has no place for them. */
static void what_3_1_1_lacks_is_left_out(void **state) {
    (void)state;
    struct buf out = {NULL, 0, 0};
    const struct properties properties = {.present = PROPERTY_REASON_STRING, .reason_string = SPAN("why")};
    packet_encode_unsuback(&out, PROTOCOL_311,
                           &(struct packet_suback){.packet_id = 1, .reasons = SPAN("\x11"), .properties = properties});
    bytes_are(&out, "B0 (0001)");
    packet_encode_suback(&out, PROTOCOL_311,
                         &(struct packet_suback){.packet_id = 1, .reasons = SPAN("\x80"), .properties = properties});
    bytes_are(&out, "90 (0001 80)");
    packet_encode_ack(&out, PROTOCOL_311, PACKET_PUBACK,
                      &(struct packet_ack){.packet_id = 1, .reason = 0x97, .properties = properties});
    bytes_are(&out, "40 (0001)");
    packet_encode_disconnect(&out, PROTOCOL_311, &(struct packet_disconnect){.reason = 0x04, .properties = properties});
    bytes_are(&out, "E0 ()");
    packet_encode_connack(&out, PROTOCOL_311, &(struct packet_connack){.reason = 5, .properties = properties});
    bytes_are(&out, "20 (00 05)");
    packet_encode_publish(
        &out, PROTOCOL_311,
        &(struct packet_publish){.topic = SPAN("t"), .properties = {.present = PROPERTY_TOPIC_ALIAS}});
    bytes_are(&out, "30 ({'t'})");
    packet_encode_subscribe(&out, PROTOCOL_311, 1, &properties,
                            &(struct packet_filter){.filter = SPAN("t"), .qos = 1, .no_local = true}, 1);
    bytes_are(&out, "82 (0001 {'t'} 01)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_decoded_is_encoded_again),    cmocka_unit_test(every_split_is_partial_then_whole),
        cmocka_unit_test(what_follows_a_packet_is_left_alone), cmocka_unit_test(every_truncation_is_judged),
        cmocka_unit_test(every_changed_byte_is_judged),        cmocka_unit_test(random_changes_are_judged),
        cmocka_unit_test(the_longest_fields_are_written),      cmocka_unit_test(what_3_1_1_lacks_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
