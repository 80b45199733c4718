/* Where a packet lies, how large it may be, and what its sizes are when little of it is there. */
#include "packet_support.h"

static enum packet_status frame_of(struct span in, uint32_t bytes_max, struct packet_frame *frame,
                                   struct verdict *verdict) {
    struct packet_limits limits = test_limits();
    limits.packet_bytes_max = bytes_max;
    return packet_frame(in, PACKET_FROM_CLIENT, PROTOCOL_5, &limits, frame, verdict);
}

static void the_size_is_known_from_the_header(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t bytes;
    } cases[] = {
        {"30 7F", 129},           {"30 80 01", 131},           {"30 FF 7F", 16386},           {"30 80 80 01", 16388},
        {"30 FF FF 7F", 2097155}, {"30 80 80 80 01", 2097157}, {"30 FF FF FF 7F", 268435460},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct span header = test_bytes("header", cases[i].header);
        struct packet_frame frame;
        struct verdict verdict;
        assert_int_equal(frame_of(header, 268435460, &frame, &verdict), PACKET_PARTIAL);
        assert_int_equal(frame.bytes, cases[i].bytes);
        assert_int_equal(frame_of(header, (uint32_t)cases[i].bytes, &frame, &verdict), PACKET_PARTIAL);
        assert_int_equal(frame_of(header, (uint32_t)cases[i].bytes - 1, &frame, &verdict), PACKET_BAD);
        assert_int_equal(verdict.reason, REASON_PACKET_TOO_LARGE);
        test_release(header);
    }
}

static void nothing_is_partial(void **state) {
    (void)state;
    struct packet_frame frame;
    struct verdict verdict;
    assert_int_equal(frame_of((struct span){NULL, 0}, 100, &frame, &verdict), PACKET_PARTIAL);
    assert_int_equal(frame.bytes, 0);
}

static void an_unfinished_length_has_no_size_yet(void **state) {
    (void)state;
    struct packet_frame frame;
    struct verdict verdict;
    assert_int_equal(frame_of(SPAN("\x30"), 100, &frame, &verdict), PACKET_PARTIAL);
    assert_int_equal(frame.bytes, 0);
    assert_int_equal(frame_of(SPAN("\x30\xff\xff\xff"), 100, &frame, &verdict), PACKET_PARTIAL);
    assert_int_equal(frame.bytes, 0);
    assert_int_equal(frame_of(SPAN("\x30\xff\xff\xff\xff"), 100, &frame, &verdict), PACKET_BAD);
}

static void the_frame_names_its_parts(void **state) {
    (void)state;
    struct packet_frame frame;
    struct verdict verdict;
    struct span in = SPAN("\x3d\x08\x00\x03"
                          "a/b\x00\x01\x00"
                          "next");
    assert_int_equal(frame_of(in, 100, &frame, &verdict), PACKET_WHOLE);
    assert_int_equal(frame.type, PACKET_PUBLISH);
    assert_int_equal(frame.sender, PACKET_FROM_CLIENT);
    assert_int_equal(frame.flags, 13);
    assert_int_equal(frame.bytes, 10);
    assert_ptr_equal(frame.body.ptr, in.ptr + 2);
    assert_int_equal(frame.body.len, 8);
}

/* All 256 first bytes for both protocols and senders: accepted are exactly those of the tables 2-1 and 2-2. */
static void first_bytes_are_those_of_the_standard(void **state) {
    (void)state;
    static const struct {
        enum packet_sender sender;
        enum protocol protocol;
        const char *bytes;
    } tables[] = {
        {PACKET_FROM_CLIENT, PROTOCOL_NONE, "10"},
        {PACKET_FROM_SERVER, PROTOCOL_NONE, "20 F0"},
        {PACKET_FROM_CLIENT, PROTOCOL_311, "30 31 32 33 34 35 3A 3B 3C 3D 40 50 62 70 82 A2 C0 E0"},
        {PACKET_FROM_SERVER, PROTOCOL_311, "30 31 32 33 34 35 3A 3B 3C 3D 40 50 62 70 90 B0 D0"},
        {PACKET_FROM_CLIENT, PROTOCOL_5, "30 31 32 33 34 35 3A 3B 3C 3D 40 50 62 70 82 A2 C0 E0 F0"},
        {PACKET_FROM_SERVER, PROTOCOL_5, "30 31 32 33 34 35 3A 3B 3C 3D 40 50 62 70 90 B0 D0 E0 F0"},
    };
    struct packet_limits limits = test_limits();
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            char text[4];
            struct packet_frame frame;
            struct verdict verdict;
            uint8_t first = (uint8_t)byte;
            snprintf(text, sizeof(text), "%02X", byte);
            enum packet_status wanted = strstr(tables[i].bytes, text) != NULL ? PACKET_PARTIAL : PACKET_BAD;
            if (packet_frame(span_of(&first, 1), tables[i].sender, tables[i].protocol, &limits, &frame, &verdict) !=
                wanted) {
                fail_msg("first byte 0x%02x in table %zu", byte, i);
            }
        }
    }
}

static void a_packet_of_no_type_is_refused(void **state) {
    (void)state;
    struct packet_limits limits = test_limits();
    const struct packet_frame frame = {.type = PACKET_NONE, .sender = PACKET_FROM_CLIENT, .bytes = 2};
    struct packet packet;
    struct verdict verdict = {0, "", ""};
    assert_false(packet_decode(&frame, PROTOCOL_5, &limits, &packet, &verdict));
    assert_int_equal(verdict.reason, REASON_MALFORMED_PACKET);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_size_is_known_from_the_header),     cmocka_unit_test(nothing_is_partial),
        cmocka_unit_test(an_unfinished_length_has_no_size_yet),  cmocka_unit_test(the_frame_names_its_parts),
        cmocka_unit_test(first_bytes_are_those_of_the_standard), cmocka_unit_test(a_packet_of_no_type_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
