/* UTF-8 against a second opinion: code points are taken apart and put together again, one at a time. */
#include "packet_support.h"

/* Writes a code point in its shortest form; returns how many bytes. */
static size_t write_point(uint32_t point, uint8_t out[4]) {
    size_t count = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = count; i > 1; i--) {
        out[i - 1] = (uint8_t)(0x80U | (point & 0x3FU));
        point >>= 6;
    }
    out[0] = (uint8_t)(leads[count] | point);
    return count;
}

/* The second opinion: reads a lead byte and as many continuations as it asks for, whatever they are; the code point
 * must be allowed and must give the same bytes when it is written again. */
static bool valid_by_rewriting(const uint8_t *bytes, size_t len) {
    for (size_t at = 0; at < len;) {
        uint8_t lead = bytes[at];
        size_t count = lead < 0x80 ? 1 : (lead & 0xE0) == 0xC0 ? 2 : (lead & 0xF0) == 0xE0 ? 3 : 4;
        uint32_t point = count == 1 ? lead : lead & (0x7FU >> count);
        uint8_t again[4];
        if (count > len - at) {
            return false;
        }
        for (size_t i = 1; i < count; i++) {
            point = point << 6 | (bytes[at + i] & 0x3FU);
        }
        if (point == 0 || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF) ||
            write_point(point, again) != count || memcmp(again, bytes + at, count) != 0) {
            return false;
        }
        at += count;
    }
    return true;
}

static void agree(const uint8_t *bytes, size_t len) {
    if (utf8_valid(span_of(bytes, len)) != valid_by_rewriting(bytes, len)) {
        fail_msg("no agreement on %02x %02x %02x %02x", bytes[0], len > 1 ? bytes[1] : 0, len > 2 ? bytes[2] : 0,
                 len > 3 ? bytes[3] : 0);
    }
}

static void all_code_points(void **state) {
    (void)state;
    for (uint32_t point = 0; point <= 0x1FFFFF; point++) {
        uint8_t bytes[4];
        size_t len = write_point(point, bytes);
        bool allowed = point != 0 && point <= 0x10FFFF && (point < 0xD800 || point > 0xDFFF);
        if (utf8_valid(span_of(bytes, len)) != allowed) {
            fail_msg("U+%04X", point);
        }
    }
}

static void all_short_sequences(void **state) {
    (void)state;
    uint8_t b[4];
    for (unsigned first = 0; first < 256; first++) {
        b[0] = (uint8_t)first;
        agree(b, 1);
        for (unsigned second = 0; second < 256; second++) {
            b[1] = (uint8_t)second;
            agree(b, 2);
            for (unsigned third = 0; third < 256; third += 1) {
                b[2] = (uint8_t)third;
                agree(b, 3);
            }
        }
    }
}

static void four_byte_sequences(void **state) {
    (void)state;
    static const uint8_t edges[] = {0x00, 0x01, 0x2B, 0x7F, 0x80, 0x8F, 0x90, 0xBF, 0xC0, 0xC2, 0xFF};
    uint8_t b[4];
    for (unsigned first = 0xE0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            for (size_t i = 0; i < sizeof(edges) * sizeof(edges); i++) {
                b[0] = (uint8_t)first;
                b[1] = (uint8_t)second;
                b[2] = edges[i / sizeof(edges)];
                b[3] = edges[i % sizeof(edges)];
                agree(b, 4);
            }
        }
    }
}

/* One wrong byte in a string of each length at each place: words of eight bytes must hide nothing. */
static void no_place_hides_a_wrong_byte(void **state) {
    (void)state;
    static const uint8_t wrong[] = {0x00, 0x80, 0xC0, 0xFF};
    for (size_t len = 1; len <= 40; len++) {
        uint8_t *text = malloc(len);
        memset(text, 'a', len);
        assert_true(utf8_valid(span_of(text, len)));
        for (size_t at = 0; at < len; at++) {
            for (size_t i = 0; i < sizeof(wrong); i++) {
                text[at] = wrong[i];
                assert_false(utf8_valid(span_of(text, len)));
            }
            for (unsigned good = 1; good < 0x80; good++) {
                text[at] = (uint8_t)good;
                assert_true(utf8_valid(span_of(text, len)));
            }
            text[at] = 'a';
        }
        free(text);
    }
}

static void an_empty_string_is_valid(void **state) {
    (void)state;
    assert_true(utf8_valid((struct span){NULL, 0}));
}

/* ---- topic names ---- */

/* The reason with which a PUBLISH to this topic is refused; 0 when it is not. */
static uint8_t judge_topic(const uint8_t *topic, size_t len, uint16_t levels_max) {
    struct packet_limits limits = test_limits();
    struct buf bytes = {NULL, 0, 0};
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict = {0, "", ""};
    limits.topic_levels_max = levels_max;
    buf_u8(&bytes, 0x30);
    buf_varint(&bytes, (uint32_t)len + 2);
    buf_prefixed(&bytes, span_of(topic, len));
    assert_int_equal(packet_frame(buf_span(&bytes), PACKET_FROM_CLIENT, PROTOCOL_311, &limits, &frame, &verdict),
                     PACKET_WHOLE);
    bool good = packet_decode(&frame, PROTOCOL_311, &limits, &packet, &verdict);
    assert_true(good == (verdict.reason == 0));
    buf_deinit(&bytes);
    return verdict.reason;
}

static void no_place_hides_a_wildcard(void **state) {
    (void)state;
    for (size_t len = 1; len <= 40; len++) {
        uint8_t topic[40];
        memset(topic, 'a', len);
        assert_int_equal(judge_topic(topic, len, 128), 0);
        for (size_t at = 0; at < len; at++) {
            for (unsigned value = 0; value < 0x80; value++) {
                topic[at] = (uint8_t)value;
                uint8_t wanted = value == 0                     ? REASON_MALFORMED_PACKET
                                 : value == '+' || value == '#' ? REASON_TOPIC_NAME_INVALID
                                                                : 0;
                assert_int_equal(judge_topic(topic, len, 128), wanted);
            }
            topic[at] = 'a';
        }
    }
}

/* The reason with which a SUBSCRIBE to this filter is refused; 0 when it is not. */
static uint8_t judge_filter(const uint8_t *filter, size_t len) {
    struct packet_limits limits = test_limits();
    struct buf bytes = {NULL, 0, 0};
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict = {0, "", ""};
    packet_encode_subscribe(&bytes, PROTOCOL_311, 1, NULL, &(struct packet_filter){.filter = span_of(filter, len)}, 1);
    assert_int_equal(packet_frame(buf_span(&bytes), PACKET_FROM_CLIENT, PROTOCOL_311, &limits, &frame, &verdict),
                     PACKET_WHOLE);
    bool good = packet_decode(&frame, PROTOCOL_311, &limits, &packet, &verdict);
    assert_true(good == (verdict.reason == 0));
    buf_deinit(&bytes);
    return verdict.reason;
}

static void limits_are_met_exactly(void **state) {
    (void)state;
    uint8_t text[4097];
    memset(text, 'a', sizeof(text));
    assert_int_equal(judge_topic(text, 4096, 128), 0);
    assert_int_equal(judge_topic(text, 4097, 128), REASON_TOPIC_NAME_INVALID);
    assert_int_equal(judge_filter(text, 4096), 0);
    assert_int_equal(judge_filter(text, 4097), REASON_TOPIC_FILTER_INVALID);
    for (size_t i = 0; i < 400; i += 2) {
        memcpy(text + i, "\xC3\xA9", 2);
    }
    assert_int_equal(judge_topic(text, 400, 1), 0);
    memset(text, '/', sizeof(text));
    assert_int_equal(judge_topic(text, 127, 128), 0);
    assert_int_equal(judge_topic(text, 128, 128), REASON_TOPIC_NAME_INVALID);
    assert_int_equal(judge_filter(text, 127), 0);
    assert_int_equal(judge_filter(text, 128), REASON_TOPIC_FILTER_INVALID);
}

/* Levels are slashes and one; the limit is met exactly, wherever the slashes are. */
static void levels_are_counted(void **state) {
    (void)state;
    uint32_t pattern = 1;
    for (size_t round = 0; round < 2000; round++) {
        uint8_t topic[40];
        uint16_t levels = 1;
        size_t len = 1 + round % sizeof(topic);
        for (size_t i = 0; i < len; i++) {
            pattern = pattern * 1664525U + 1013904223U;
            topic[i] = pattern >> 30 == 0 ? '/' : (uint8_t)('.' + (pattern >> 29 & 1U) * 2);
            levels = (uint16_t)(levels + (topic[i] == '/'));
        }
        assert_int_equal(judge_topic(topic, len, levels), 0);
        assert_int_equal(judge_topic(topic, len, (uint16_t)(levels - 1)), REASON_TOPIC_NAME_INVALID);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_code_points),          cmocka_unit_test(all_short_sequences),
        cmocka_unit_test(four_byte_sequences),      cmocka_unit_test(no_place_hides_a_wrong_byte),
        cmocka_unit_test(an_empty_string_is_valid), cmocka_unit_test(no_place_hides_a_wildcard),
        cmocka_unit_test(levels_are_counted),       cmocka_unit_test(limits_are_met_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
