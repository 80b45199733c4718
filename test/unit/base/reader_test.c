/* The cursor over received bytes: its edges, and that a failure sticks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/prng.h"
#include "base/reader.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct bytes {
    uint8_t at[12];
    size_t len;
};

/* A copy of exactly these bytes on the heap: a read beyond them is caught by the address sanitizer. */
static struct span heap_span(const struct bytes *bytes, void **owner) {
    *owner = malloc(bytes->len > 0 ? bytes->len : 1);
    assert_non_null(*owner);
    memcpy(*owner, bytes->at, bytes->len);
    return span_of(*owner, bytes->len);
}

static const struct {
    struct bytes bytes;
    bool valid;
    uint32_t value;
    size_t left; /* when valid */
} varint_cases[] = {
    {{{0x00}, 1}, true, 0, 0},
    {{{0x01}, 1}, true, 1, 0},
    {{{0x7f}, 1}, true, 127, 0},
    {{{0x80, 0x01}, 2}, true, 128, 0},
    {{{0xff, 0x7f}, 2}, true, 16383, 0},
    {{{0x80, 0x80, 0x01}, 3}, true, 16384, 0},
    {{{0xff, 0xff, 0x7f}, 3}, true, 2097151, 0},
    {{{0x80, 0x80, 0x80, 0x01}, 4}, true, 2097152, 0},
    {{{0xff, 0xff, 0xff, 0x7f}, 4}, true, 268435455, 0},
    {{{0x05, 0x80, 0x80}, 3}, true, 5, 2},
    {{{0xff, 0xff, 0xff, 0x7f, 0x09}, 5}, true, 268435455, 1},
    /* longer than need be */
    {{{0x80, 0x00}, 2}, false, 0, 0},
    {{{0xff, 0x00}, 2}, false, 0, 0},
    {{{0x80, 0x80, 0x00}, 3}, false, 0, 0},
    {{{0x81, 0x80, 0x80, 0x00}, 4}, false, 0, 0},
    /* a fifth byte */
    {{{0x80, 0x80, 0x80, 0x80, 0x01}, 5}, false, 0, 0},
    {{{0xff, 0xff, 0xff, 0xff, 0x7f}, 5}, false, 0, 0},
    {{{0xff, 0xff, 0xff, 0xff}, 4}, false, 0, 0},
    {{{0x80, 0x80, 0x80, 0x80, 0x00}, 5}, false, 0, 0},
    /* cut short */
    {{{0}, 0}, false, 0, 0},
    {{{0x80}, 1}, false, 0, 0},
    {{{0xff, 0xff}, 2}, false, 0, 0},
    {{{0x80, 0x80, 0x80}, 3}, false, 0, 0},
};

static void varints_are_minimal_and_short(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(varint_cases); i++) {
        void *owner;
        struct reader r = reader_of(heap_span(&varint_cases[i].bytes, &owner));
        uint32_t value = reader_varint(&r);
        if (r.failed == varint_cases[i].valid || value != varint_cases[i].value) {
            fail_msg("row %zu: %u%s", i, value, r.failed ? ", failed" : "");
        }
        assert_int_equal(reader_left(&r), varint_cases[i].left);
        free(owner);
    }
}

static const struct {
    struct bytes bytes;
    bool valid;
    uint64_t value;
} leb_cases[] = {
    {{{0x00}, 1}, true, 0},
    {{{0x7f}, 1}, true, 127},
    {{{0x80, 0x01}, 2}, true, 128},
    {{{0xff, 0xff, 0xff, 0xff, 0x0f}, 5}, true, UINT32_MAX},
    {{{0x80, 0x80, 0x80, 0x80, 0x10}, 5}, true, 1ULL << 32},
    {{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 9}, true, INT64_MAX},
    {{{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 10}, true, 1ULL << 63},
    {{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 10}, true, UINT64_MAX},
    /* does not fit into 64 bits */
    {{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, 10}, false, 0},
    {{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03}, 10}, false, 0},
    {{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 10}, false, 0},
    /* an eleventh byte */
    {{{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 11}, false, 0},
    {{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00}, 11}, false, 0},
    /* cut short */
    {{{0}, 0}, false, 0},
    {{{0x80}, 1}, false, 0},
    {{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 9}, false, 0},
};

static void lebs_fit_into_64_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(leb_cases); i++) {
        void *owner;
        struct reader r = reader_of(heap_span(&leb_cases[i].bytes, &owner));
        uint64_t value = reader_leb(&r);
        if (r.failed == leb_cases[i].valid || value != leb_cases[i].value) {
            fail_msg("row %zu: %llu%s", i, (unsigned long long)value, r.failed ? ", failed" : "");
        }
        if (leb_cases[i].valid) {
            assert_true(reader_done(&r));
        }
        free(owner);
    }
}

static void integers_are_big_endian(void **state) {
    (void)state;
    static const struct bytes bytes = {{0xf1, 0xe2, 0xd3, 0xc4, 0xb5, 0xa6, 0x97, 0x88}, 8};
    struct span s = span_of(bytes.at, bytes.len);
    struct reader r = reader_of(s);
    assert_int_equal(reader_u8(&r), 0xf1);
    r = reader_of(s);
    assert_int_equal(reader_u16(&r), 0xf1e2);
    r = reader_of(s);
    assert_int_equal(reader_u32(&r), 0xf1e2d3c4);
    assert_int_equal(reader_left(&r), 4);
    r = reader_of(s);
    assert_int_equal(reader_u64(&r), 0xf1e2d3c4b5a69788);
    assert_true(reader_done(&r));
}

static void a_prefix_counts_bytes(void **state) {
    (void)state;
    static const uint8_t bytes[] = {0, 3, 'a', 'b', 'c', 0, 0, 0, 2, 'x'};
    struct reader r = reader_of(span_of(bytes, sizeof bytes));
    assert_true(span_equal(reader_prefixed(&r), SPAN("abc")));
    assert_int_equal(reader_prefixed(&r).len, 0);
    assert_false(r.failed);
    struct span missing = reader_prefixed(&r);
    assert_int_equal(missing.len, 0);
    assert_null(missing.ptr);
    assert_true(r.failed);
}

/* Every way to read, on a reader that has failed and on one that is at its end. */
static uint64_t read_somehow(struct reader *r, unsigned how) {
    switch (how) {
    case 0:
        return reader_u8(r);
    case 1:
        return reader_u16(r);
    case 2:
        return reader_u32(r);
    case 3:
        return reader_u64(r);
    case 4:
        return reader_varint(r);
    case 5:
        return reader_leb(r);
    case 6:
        return reader_prefixed(r).len;
    default:
        return reader_bytes(r, 1).len;
    }
}

static void a_failure_sticks(void **state) {
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
    for (unsigned how = 0; how < 8; how++) {
        struct reader r = reader_of(span_of(bytes, sizeof bytes));
        assert_null(reader_bytes(&r, sizeof bytes + 1).ptr);
        assert_true(r.failed);
        assert_int_equal(reader_left(&r), 0);
        assert_int_equal(read_somehow(&r, how), 0);
        assert_int_equal(reader_rest(&r).len, 0);
        assert_true(r.failed);
        assert_false(reader_done(&r));

        struct reader at_end = reader_of(span_of(bytes, 0));
        assert_true(reader_done(&at_end));
        assert_int_equal(read_somehow(&at_end, how), 0);
        assert_true(at_end.failed);
    }
}

static void numbers_that_are_cut_fail(void **state) {
    (void)state;
    static const size_t bytes_of[] = {1, 2, 4, 8};
    for (unsigned how = 0; how < 4; how++) {
        for (size_t len = 0; len < bytes_of[how]; len++) {
            struct bytes bytes = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, len};
            void *owner;
            struct reader r = reader_of(heap_span(&bytes, &owner));
            uint64_t value = read_somehow(&r, how);
            assert_true(r.failed);
            assert_true(how == 3 || value == 0);
            free(owner);
        }
    }
}

static void nothing_can_be_read_as_nothing(void **state) {
    (void)state;
    struct buf empty = {0};
    struct reader r = reader_of(buf_span(&empty));
    assert_true(reader_done(&r));
    assert_int_equal(reader_rest(&r).len, 0);
    assert_int_equal(reader_bytes(&r, 0).len, 0);
    assert_true(reader_done(&r));
    assert_int_equal(span_skip(buf_span(&empty), 0).len, 0);
    assert_true(span_equal(buf_span(&empty), SPAN("")));
}

static void what_is_written_is_read(void **state) {
    (void)state;
    struct prng prng = prng_of(1);
    for (int i = 0; i < 20000; i++) {
        uint64_t value = prng_next(&prng) >> prng_below(&prng, 64);
        struct buf b = {0};
        buf_leb(&b, value);
        size_t leb_bytes = b.len;
        buf_varint(&b, (uint32_t)(value % 268435456));
        assert_int_equal(b.len - leb_bytes, varint_size((uint32_t)(value % 268435456)));
        buf_u64(&b, value);
        buf_u32(&b, (uint32_t)value);
        buf_u16(&b, (uint16_t)value);
        buf_u8(&b, (uint8_t)value);
        struct reader r = reader_of(buf_span(&b));
        assert_int_equal(reader_leb(&r), value);
        assert_int_equal(reader_varint(&r), value % 268435456);
        assert_int_equal(reader_u64(&r), value);
        assert_int_equal(reader_u32(&r), (uint32_t)value);
        assert_int_equal(reader_u16(&r), (uint16_t)value);
        assert_int_equal(reader_u8(&r), (uint8_t)value);
        assert_true(reader_done(&r));
        buf_deinit(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_are_minimal_and_short),
        cmocka_unit_test(lebs_fit_into_64_bits),
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(a_prefix_counts_bytes),
        cmocka_unit_test(a_failure_sticks),
        cmocka_unit_test(numbers_that_are_cut_fail),
        cmocka_unit_test(nothing_can_be_read_as_nothing),
        cmocka_unit_test(what_is_written_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
