#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "store/bytes.h"
#include "store/frame.h"

enum { PAYLOAD = 5000 };

static uint64_t make_frame(uint8_t *frame, struct frame_header *h, uint32_t payload_bytes) {
    memset(frame + FRAME_HEADER_BYTES, 'p', payload_bytes);
    memset(frame + FRAME_HEADER_BYTES + payload_bytes, 0xee, BLOCK_BYTES); /* what was in the buffer before */
    *h = (struct frame_header){.payload_bytes = payload_bytes,
                               .record_count = 3,
                               .salt = 1,
                               .number = 2,
                               .first_lsn = 3,
                               .durable_lsn = 2,
                               .previous = 5};
    frame_seal(frame, h);
    return frame_bytes(payload_bytes);
}

static void a_frame_is_read_as_it_was_written(void **state) {
    (void)state;
    static const uint32_t sizes[] = {0, 1, 4031, 4032, 4033, PAYLOAD};
    uint8_t frame[3 * BLOCK_BYTES + PAYLOAD];
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct frame_header h;
        struct frame_header read;
        uint64_t bytes = make_frame(frame, &h, sizes[i]);
        struct chain chain = {1, 2, 3, 5};
        assert_int_equal(bytes % BLOCK_BYTES, 0);
        assert_true(bytes >= FRAME_HEADER_BYTES + sizes[i] && bytes < FRAME_HEADER_BYTES + sizes[i] + BLOCK_BYTES);
        assert_true(frame_read(span_of(frame, bytes), &chain, &read));
        assert_memory_equal(&read, &h, sizeof h);
        struct chain after = chain_after(&read);
        assert_int_equal(after.number, 3);
        assert_int_equal(after.next_lsn, 6);
        assert_int_equal(after.previous, h.checksum);
        assert_int_equal(after.salt, 1);
        assert_false(frame_read(span_of(frame, bytes - 1), &chain, &read));
    }
}

/* The bytes are the format: a change here is a new version. */
static void the_bytes_of_a_frame_are_fixed(void **state) {
    (void)state;
    uint8_t frame[2 * BLOCK_BYTES];
    struct frame_header h;
    (void)make_frame(frame, &h, 7);
    assert_memory_equal(frame, "QFRM\x07\0\0\0\x03\0\0\0", 12);
    assert_int_equal(le64_get(frame + 16), 1);
    assert_int_equal(le64_get(frame + 24), 2);
    assert_int_equal(le64_get(frame + 32), 3);
    assert_int_equal(le64_get(frame + 40), 2);
    assert_int_equal(le64_get(frame + 48), 5);
    assert_int_equal(le64_get(frame + 56), 0x06d827fdd4993243ULL);
    assert_int_equal(le32_get(frame + 12), 0x2189622dU);
}

static void every_flipped_bit_is_seen(void **state) {
    (void)state;
    uint8_t frame[2 * BLOCK_BYTES + PAYLOAD];
    struct frame_header h;
    uint64_t bytes = make_frame(frame, &h, PAYLOAD);
    struct chain chain = {1, 2, 3, 5};
    for (uint64_t bit = 0; bit < bytes * 8; bit += bit < 512 * 8 ? 1 : 13) {
        struct frame_header read;
        frame[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_false(frame_read(span_of(frame, bytes), &chain, &read));
        frame[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_true(frame_read(span_of(frame, bytes), &chain, &h));
}

static void a_frame_of_another_place_is_not_taken(void **state) {
    (void)state;
    uint8_t frame[2 * BLOCK_BYTES];
    struct frame_header h;
    struct frame_header read;
    (void)make_frame(frame, &h, 100);
    static const struct chain others[] = {{9, 2, 3, 5}, {1, 9, 3, 5}, {1, 2, 9, 5}, {1, 2, 3, 9}};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_false(frame_read(span_of(frame, sizeof frame), &others[i], &read));
        assert_true(frame_header_read(frame, &read));
    }
}

static void records_are_walked_to_the_end_of_the_payload(void **state) {
    (void)state;
    struct reader r = reader_of(SPAN("\x02"
                                     "ab"
                                     "\x00"
                                     "\x01"
                                     "c"));
    struct span s;
    assert_true(frame_record_next(&r, &s));
    assert_true(span_equal(s, SPAN("ab")));
    assert_true(frame_record_next(&r, &s));
    assert_int_equal(s.len, 0);
    assert_true(frame_record_next(&r, &s));
    assert_true(span_equal(s, SPAN("c")));
    assert_false(frame_record_next(&r, &s));
    assert_true(reader_done(&r));
    r = reader_of(SPAN("\x05"
                       "ab"));
    assert_false(frame_record_next(&r, &s));
    assert_false(reader_done(&r));
    r = reader_of(SPAN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                       "ab"));
    assert_false(frame_record_next(&r, &s));
    assert_false(reader_done(&r));
}

static void a_segment_header_is_read_as_it_was_written(void **state) {
    (void)state;
    uint8_t block[BLOCK_BYTES];
    struct segment_header h = {{1, 2, 3}, 4, 5, 6, 7};
    struct segment_header read;
    segment_header_write(block, &h);
    assert_memory_equal(block, "QuartetJ\x01\0\0\0", 12);
    assert_int_equal(segment_header_read(block, &read), SEGMENT_HEADER_GOOD);
    assert_memory_equal(&read, &h, sizeof h);
    for (unsigned bit = 0; bit < BLOCK_BYTES * 8; bit += bit < 64 * 8 ? 1 : 11) {
        block[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(segment_header_read(block, &read), SEGMENT_HEADER_NONE);
        block[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    memset(block, 0, sizeof block);
    assert_int_equal(segment_header_read(block, &read), SEGMENT_HEADER_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_read_as_it_was_written),
        cmocka_unit_test(the_bytes_of_a_frame_are_fixed),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(a_frame_of_another_place_is_not_taken),
        cmocka_unit_test(records_are_walked_to_the_end_of_the_payload),
        cmocka_unit_test(a_segment_header_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
