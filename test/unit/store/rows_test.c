#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/prng.h"
#include "store/bytes.h"
#include "store/rows.h"

static int order(const struct row_key *a, const struct row_key *b) {
    int by_bytes = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
    return by_bytes != 0 ? by_bytes : (a->len > b->len) - (a->len < b->len);
}

static void deliveries_sort_by_session_then_message_then_target(void **state) {
    (void)state;
    static const struct {
        session_id_t session;
        lsn_t lsn;
        uint32_t target;
    } rising[] = {{1, 1, 0}, {1, 1, 1},   {1, 1, 256}, {1, 2, 0}, {1, 255, 0}, {1, 256, 0}, {1, UINT64_MAX, UINT32_MAX},
                  {2, 1, 0}, {255, 1, 0}, {256, 1, 0}};
    struct row_key last;
    for (size_t i = 0; i < sizeof rising / sizeof rising[0]; i++) {
        struct row_key key;
        session_id_t session;
        lsn_t lsn;
        uint32_t target;
        row_key_delivery(&key, rising[i].session, rising[i].lsn, rising[i].target);
        assert_true(row_key_delivery_read(row_key_span(&key), &session, &lsn, &target));
        assert_true(session == rising[i].session && lsn == rising[i].lsn && target == rising[i].target);
        assert_true(i == 0 || order(&last, &key) < 0);
        last = key;
    }
}

/* Texts of every length give keys that fit, all different, and only of their own session. */
static void long_texts_have_keys_of_their_own(void **state) {
    (void)state;
    static char text[2000];
    static struct row_key keys[1200];
    size_t count = 0;
    memset(text, 'x', sizeof text);
    for (size_t len = 0; len < 600; len++) {
        row_key_subscription(&keys[count], 7, span_of(text, len));
        count++;
        text[len / 2] = 'y';
        row_key_subscription(&keys[count], 7, span_of(text, len + 1));
        count++;
        text[len / 2] = 'x';
    }
    for (size_t i = 0; i < count; i++) {
        session_id_t session;
        assert_true(keys[i].len <= ROW_KEY_MAX);
        assert_true(row_key_session_read(row_key_span(&keys[i]), &session) && session == 7);
        for (size_t j = i + 1; j < count; j++) {
            assert_int_not_equal(order(&keys[i], &keys[j]), 0);
        }
    }
}

/* A short text that looks like a long one's key is still another key. */
static void a_text_cannot_pretend_to_be_a_long_one(void **state) {
    (void)state;
    static char text[3000];
    struct row_key cut;
    struct row_key whole;
    memset(text, 'x', sizeof text);
    row_key_topic(&cut, span_of(text, sizeof text));
    row_key_topic(&whole, span_of(cut.bytes + 1, cut.len - 1));
    assert_int_equal(cut.len, whole.len);
    assert_int_not_equal(order(&cut, &whole), 0);
}

static void meta_is_read_as_it_was_written(void **state) {
    (void)state;
    struct row_meta meta;
    struct row_meta read;
    memset(&meta, 0, sizeof meta);
    memset(&read, 0, sizeof read);
    meta.uuid[0] = 1;
    meta.chain = (struct chain){4, 5, 6, 7};
    meta.segment = 8;
    meta.offset = 9 * BLOCK_BYTES;
    meta.files = 10;
    uint8_t bytes[ROW_META_BYTES];
    row_meta_write(bytes, &meta);
    assert_int_equal(row_meta_read(span_of(bytes, sizeof bytes), &read), SEGMENT_HEADER_GOOD);
    assert_memory_equal(&read, &meta, sizeof meta);
    for (unsigned bit = 0; bit < ROW_META_BYTES * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_not_equal(row_meta_read(span_of(bytes, sizeof bytes), &read), SEGMENT_HEADER_GOOD);
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t len = 0; len < ROW_META_BYTES; len++) {
        assert_int_not_equal(row_meta_read(span_of(bytes, len), &read), SEGMENT_HEADER_GOOD);
    }
    bytes[8] = 3;
    assert_int_equal(row_meta_read(span_of(bytes, sizeof bytes), &read), SEGMENT_HEADER_NEWER);
    bytes[8] = 0;
    assert_int_equal(row_meta_read(span_of(bytes, sizeof bytes), &read), SEGMENT_HEADER_NONE);
}

static void flights_and_queued_are_read_as_they_were_written(void **state) {
    (void)state;
    uint8_t bytes[ROW_FLIGHT_BYTES];
    for (unsigned bits = 0; bits < 16; bits++) {
        struct store_flight f = {.qos = (bits & 1) != 0 ? 1 : 2,
                                 .retain = (bits & 2) != 0,
                                 .released = (bits & 4) != 0,
                                 .message_lsn = 1ULL << 40,
                                 .target = 77,
                                 .body_lsn = (bits & 8) != 0 ? 1ULL << 39 : 0,
                                 .order = 1ULL << 41};
        struct store_flight g = {.packet_id = 0};
        size_t length = row_flight_write(bytes, &f);
        assert_int_equal(length, f.body_lsn != 0 ? 29 : 21); /* as stores of the first programs have them */
        assert_true(row_flight_read(span_of(bytes, length), &g));
        assert_true(f.qos == g.qos && f.retain == g.retain && f.released == g.released &&
                    f.message_lsn == g.message_lsn && f.target == g.target && f.body_lsn == g.body_lsn &&
                    f.order == g.order);
        assert_false(row_flight_read(span_of(bytes, length - 1), &g));
        bytes[0] ^= 0x10; /* another length belongs to these flags */
        assert_false(row_flight_read(span_of(bytes, length), &g));
        struct row_queued q = {f.qos, f.retain, 123456789, f.body_lsn};
        struct row_queued r;
        length = row_queued_write(bytes, &q);
        assert_int_equal(length, f.body_lsn != 0 ? 13 : 5);
        assert_true(row_queued_read(span_of(bytes, length), &r));
        assert_true(q.qos == r.qos && q.retain == r.retain && q.bytes == r.bytes && q.body_lsn == r.body_lsn);
        assert_false(row_queued_read(span_of(bytes, length - 1), &r));
    }
    struct store_flight g;
    memset(bytes, 0, sizeof bytes);
    for (size_t length = 0; length <= ROW_FLIGHT_BYTES; length++) {
        assert_false(row_flight_read(span_of(bytes, length), &g));
    }
    bytes[0] = 0x11; /* another body, but it is none's */
    assert_false(row_flight_read(span_of(bytes, ROW_FLIGHT_BYTES), &g));
}

static struct span body_row(struct buf *out, const struct row_key *key) {
    struct record r = {.kind = RECORD_MESSAGE,
                       .message = {.parts = {2, true, 99, SPAN("topic"), SPAN("\x01"), SPAN("payload")}}};
    struct record decoded;
    struct buf encoded = {NULL, 0, 0};
    record_encode(&encoded, &r);
    (void)record_decode(buf_span(&encoded), &decoded);
    buf_bytes(out, decoded.message.parts_raw);
    uint64_t checksum = row_checksum(row_key_span(key), decoded.message.parts_raw);
    le64_put(buf_extend(out, 8), checksum);
    buf_deinit(&encoded);
    return buf_span(out);
}

static void a_body_is_whole_and_in_its_place_or_not_taken(void **state) {
    (void)state;
    struct row_key key;
    struct buf out = {NULL, 0, 0};
    row_key_message(&key, 5);
    struct span row = body_row(&out, &key);
    struct message *m = row_message(5, row);
    assert_non_null(m);
    assert_true(span_equal(message_payload(m), SPAN("payload")) && m->lsn == 5 && m->expires_at == 99);
    message_unref(m);
    assert_null(row_message(6, row));
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.ptr[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_null(row_message(5, row));
        out.ptr[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t len = 0; len < out.len; len++) {
        assert_null(row_message(5, span_of(out.ptr, len)));
    }
    buf_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deliveries_sort_by_session_then_message_then_target),
        cmocka_unit_test(long_texts_have_keys_of_their_own),
        cmocka_unit_test(a_text_cannot_pretend_to_be_a_long_one),
        cmocka_unit_test(meta_is_read_as_it_was_written),
        cmocka_unit_test(flights_and_queued_are_read_as_they_were_written),
        cmocka_unit_test(a_body_is_whole_and_in_its_place_or_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
