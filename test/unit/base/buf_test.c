/* Growing bytes: what is appended stays, in order, in the encoding that the standard names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/prng.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void assert_bytes(struct buf *b, const void *expected, size_t len) {
    assert_int_equal(b->len, len);
    assert_memory_equal(b->ptr, expected, len);
    buf_deinit(b);
    assert_null(b->ptr);
    assert_int_equal(b->capacity, 0);
}

static const struct {
    uint32_t value;
    uint8_t bytes[4];
    size_t len;
} varint_cases[] = {
    {0, {0x00}, 1},
    {1, {0x01}, 1},
    {127, {0x7f}, 1},
    {128, {0x80, 0x01}, 2},
    {16383, {0xff, 0x7f}, 2},
    {16384, {0x80, 0x80, 0x01}, 3},
    {2097151, {0xff, 0xff, 0x7f}, 3},
    {2097152, {0x80, 0x80, 0x80, 0x01}, 4},
    {268435455, {0xff, 0xff, 0xff, 0x7f}, 4},
};

static void varints_are_encoded_as_the_standard_says(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(varint_cases); i++) {
        struct buf b = {0};
        buf_varint(&b, varint_cases[i].value);
        assert_int_equal(varint_size(varint_cases[i].value), varint_cases[i].len);
        assert_bytes(&b, varint_cases[i].bytes, varint_cases[i].len);
    }
}

static const struct {
    uint64_t value;
    uint8_t bytes[10];
    size_t len;
} leb_cases[] = {
    {0, {0x00}, 1},
    {127, {0x7f}, 1},
    {128, {0x80, 0x01}, 2},
    {UINT32_MAX, {0xff, 0xff, 0xff, 0xff, 0x0f}, 5},
    {1ULL << 63, {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 10},
    {UINT64_MAX, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 10},
};

static void lebs_are_as_short_as_can_be(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(leb_cases); i++) {
        struct buf b = {0};
        buf_leb(&b, leb_cases[i].value);
        assert_bytes(&b, leb_cases[i].bytes, leb_cases[i].len);
    }
}

static void integers_are_big_endian(void **state) {
    (void)state;
    struct buf b = {0};
    buf_u8(&b, 0xf1);
    buf_u16(&b, 0xe2d3);
    buf_u32(&b, 0xc4b5a697);
    buf_u64(&b, 0x8877665544332211);
    static const uint8_t expected[] = {0xf1, 0xe2, 0xd3, 0xc4, 0xb5, 0xa6, 0x97, 0x88,
                                       0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    assert_bytes(&b, expected, sizeof expected);
}

static void a_prefix_counts_bytes(void **state) {
    (void)state;
    struct buf b = {0};
    buf_prefixed(&b, SPAN("abc"));
    buf_prefixed(&b, (struct span){NULL, 0});
    assert_bytes(&b, "\0\3abc\0\0", 7);

    static uint8_t longest[65535];
    buf_prefixed(&b, span_of(longest, sizeof longest));
    assert_int_equal(b.len, 65537);
    assert_int_equal(b.ptr[0], 0xff);
    assert_int_equal(b.ptr[1], 0xff);
    buf_deinit(&b);
}

static void nothing_owns_no_memory(void **state) {
    (void)state;
    struct buf b = {0};
    buf_bytes(&b, (struct span){NULL, 0});
    buf_drop_front(&b, 0);
    assert_null(b.ptr);
    assert_int_equal(buf_span(&b).len, 0);
    buf_deinit(&b);
}

static void reserved_bytes_do_not_count(void **state) {
    (void)state;
    struct buf b = {0};
    buf_bytes(&b, SPAN("ab"));
    memset(buf_reserve(&b, 5000), 'x', 5000);
    assert_int_equal(b.len, 2);
    assert_true(b.capacity >= 5002);
    memcpy(buf_extend(&b, 3), "cde", 3);
    assert_bytes(&b, "abcde", 5);
}

/* Random appends and drops against a plain array. */
static void appends_and_drops_keep_the_order(void **state) {
    (void)state;
    enum { MAX = 1 << 16 };
    static uint8_t model[MAX];
    size_t len = 0;
    struct prng prng = prng_of(1);
    struct buf b = {0};
    for (int step = 0; step < 20000; step++) {
        uint8_t chunk[200];
        size_t bytes = prng_below(&prng, sizeof chunk);
        if (len + bytes > MAX || prng_chance(&prng, 1, 3)) {
            bytes = prng_below(&prng, len + 1);
            buf_drop_front(&b, bytes);
            len -= bytes;
            memmove(model, model + bytes, len);
        } else {
            memset(chunk, (uint8_t)step, bytes);
            buf_bytes(&b, span_of(chunk, bytes));
            memcpy(model + len, chunk, bytes);
            len += bytes;
        }
        assert_true(span_equal(buf_span(&b), span_of(model, len)));
        assert_true(b.len <= b.capacity);
    }
    buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_are_encoded_as_the_standard_says),
        cmocka_unit_test(lebs_are_as_short_as_can_be),
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(a_prefix_counts_bytes),
        cmocka_unit_test(nothing_owns_no_memory),
        cmocka_unit_test(reserved_bytes_do_not_count),
        cmocka_unit_test(appends_and_drops_keep_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
