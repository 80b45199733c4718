#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "store/staging.h"

/* Payloads around the lengths where the record's own length needs another byte. */
static void records_come_out_as_they_went_in(void **state) {
    (void)state;
    struct staging s;
    struct prng p = prng_of(1);
    uint8_t *payload = mem_alloc(40000);
    memset(payload, 'p', 40000);
    staging_init(&s, 100, 8192, 1 << 20);
    lsn_t out = 100;
    for (int round = 0; round < 300; round++) {
        struct buf expected = {NULL, 0, 0};
        for (uint64_t n = prng_below(&p, 10); n > 0; n--) {
            size_t near = prng_chance(&p, 1, 2) ? 128 : 16384;
            size_t bytes = prng_chance(&p, 1, 20) ? 40000 : near - 100 + (size_t)prng_below(&p, 120);
            struct record r = {.kind = RECORD_MESSAGE, .message = {.parts = {.payload = span_of(payload, bytes)}}};
            struct buf one = {NULL, 0, 0};
            bool fits;
            record_encode(&one, &r);
            buf_leb(&expected, one.len);
            buf_bytes(&expected, buf_span(&one));
            (void)staging_add(&s, &r, &fits);
            assert_true(fits);
            buf_deinit(&one);
        }
        assert_int_equal(s.bytes, expected.len);
        size_t at = 0;
        for (struct staged_frame *f = staging_take(&s); f != NULL; f = staging_take(&s)) {
            assert_int_equal(f->first_lsn, out);
            assert_true(f->payload_bytes <= 8192 - FRAME_HEADER_BYTES || f->record_count == 1);
            assert_true(frame_bytes(f->payload_bytes) + BLOCK_BYTES <= f->capacity);
            assert_memory_equal(staged_frame_start(f) + FRAME_HEADER_BYTES, expected.ptr + at, f->payload_bytes);
            at += f->payload_bytes;
            out += f->record_count;
            staging_give(&s, f);
        }
        assert_int_equal(at, expected.len);
        assert_int_equal(s.next_lsn, out);
        assert_true(staging_empty(&s));
        buf_deinit(&expected);
    }
    staging_deinit(&s);
    mem_free(payload);
}

static void what_fits_no_segment_is_not_taken(void **state) {
    (void)state;
    struct staging s;
    uint8_t payload[9000] = {0};
    bool fits;
    staging_init(&s, 1, 4096, 3 * BLOCK_BYTES);
    struct record r = {.kind = RECORD_MESSAGE, .message = {.parts = {.payload = span_of(payload, 8100)}}};
    (void)staging_add(&s, &r, &fits);
    assert_false(fits);
    assert_true(staging_empty(&s));
    assert_null(staging_take(&s));
    r.message.parts.payload.len = 8000;
    assert_int_equal(staging_add(&s, &r, &fits), 1);
    assert_true(fits);
    staging_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_out_as_they_went_in),
        cmocka_unit_test(what_fits_no_segment_is_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
