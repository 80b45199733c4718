/* Long topics and filters in the table: each has a row of its own, whatever its hash is, and rows that earlier versions
 * have written under another key are read, replaced and removed. */
#include "holes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/rows.h"

enum { LEN = 3000, STRIPE = 64, AT = 1024 };

static uint8_t one[LEN];
static uint8_t other[LEN];

/* Eight bytes of a stripe enter the hash as a product of their halves, after a secret, and as a sum with those of the
 * stripes beside it. So where the lower halves are the same after the secret, a bit of the upper ones can move from one
 * stripe to the other. */
static bool low_halves(uint8_t *x, uint8_t *y, const uint8_t *secret_x, const uint8_t *secret_y) {
    for (int i = 0; i < 4; i++) {
        int c = 'A';
        while (c <= 'z' && ((c ^ secret_x[i] ^ secret_y[i]) < 'A' || (c ^ secret_x[i] ^ secret_y[i]) > 'z')) {
            c++;
        }
        if (c > 'z') {
            return false;
        }
        x[i] = (uint8_t)c;
        y[i] = (uint8_t)(c ^ secret_x[i] ^ secret_y[i]);
    }
    return true;
}

static bool same_hash(void) {
    XXH128_hash_t x = XXH3_128bits(one, LEN);
    XXH128_hash_t y = XXH3_128bits(other, LEN);
    return XXH128_isEqual(x, y) && memcmp(one, other, LEN) != 0;
}

/* Two texts, equal but for a bit in each of two stripes, that have one XXH3-128. */
static void texts_make(void) {
    for (int try = 0; try < 8 * 16 * 16 * 8; try++) {
        int lane = try % 8;
        int first = try / 8 % 16;
        int second = try / 128 % 16;
        int bit = try / 2048;
        size_t x = (size_t)(AT + STRIPE * first + 8 * lane);
        size_t y = (size_t)(AT + STRIPE * second + 8 * lane);
        const uint8_t *secret = XXH3_kSecret + (size_t)8 * (size_t)lane;
        memset(one, 'm', LEN);
        if (first != second &&
            low_halves(one + x, one + y, secret + (size_t)8 * (size_t)first, secret + (size_t)8 * (size_t)second)) {
            memcpy(other, one, LEN);
            uint8_t flip = (uint8_t)(1U << bit % 4);
            one[x + 5] = other[y + 5] = (uint8_t)('a' | flip);
            one[y + 5] = other[x + 5] = (uint8_t)('a' & ~flip);
            if (same_hash()) {
                return;
            }
        }
    }
    fail_msg("no two texts with one hash");
}

static const char *said(const struct holes *h, const char *what) {
    return strstr((const char *)h->said.ptr, what);
}

static void texts_with_one_hash_are_two(void **state) {
    (void)state;
    texts_make();
    struct span a = span_of(one, LEN);
    struct span b = span_of(other, LEN);
    const struct record records[] = {
        {.kind = RECORD_SESSION, .session = {.client_id = SPAN("c"), .expiry_s = 100}},
        {.kind = RECORD_SUBSCRIBED, .subscribed = {1, a, 1, 0}},
        {.kind = RECORD_SUBSCRIBED, .subscribed = {1, b, 2, 0}},
        {.kind = RECORD_MESSAGE, .message = {.set_retained = true, .parts = {.topic = a, .payload = SPAN("x")}}},
        {.kind = RECORD_MESSAGE, .message = {.set_retained = true, .parts = {.topic = b, .payload = SPAN("yy")}}},
    };
    for (size_t folded = 0; folded <= 5; folded++) {
        struct holes h;
        holes_make(&h, records, 5, folded);
        assert_true(holes_tool(&h, store_local_list));
        assert_non_null(said(&h, " 2 subscriptions"));
        assert_non_null(said(&h, "2 retained messages"));
        assert_true(holes_tool(&h, store_local_check));
        holes_deinit(&h);
    }
}

/* ---- rows of earlier versions ---- */

static void row_move(struct holes *h, enum table_tree tree, const struct row_key *from, const struct row_key *to) {
    struct table *table = table_memory_open(h->disk.table);
    struct table_txn *txn = table->ops->begin(table, true, &h->error);
    struct span value;
    assert_true(table->ops->get(txn, tree, row_key_span(from), &value));
    struct buf copy = {NULL, 0, 0};
    bool checked = row_has_checksum(tree);
    buf_bytes(&copy, span_of(value.ptr, value.len - (checked ? ROW_CHECKSUM_BYTES : 0)));
    if (checked) {
        uint64_t sum = row_checksum(row_key_span(to), buf_span(&copy));
        for (int i = 0; i < 8; i++) {
            buf_u8(&copy, (uint8_t)(sum >> 8 * i));
        }
    }
    assert_true(table->ops->remove(txn, tree, row_key_span(from), &h->error));
    assert_true(table->ops->put(txn, tree, row_key_span(to), buf_span(&copy), &h->error));
    assert_true(table->ops->commit(txn, &h->error));
    table->ops->close(table);
    buf_deinit(&copy);
}

static void stage(struct holes *h, const struct record *records, size_t count) {
    lsn_t last = 0;
    assert_true(holes_open(h));
    for (size_t i = 0; i < count; i++) {
        last = store_stage(h->store, &records[i]);
    }
    while (store_durable(h->store) < last) {
        assert_int_not_equal(store_local_commit_step(h->store), STORE_STEP_FAILED);
    }
    holes_close(h);
}

static void rows_of_earlier_versions_are_known(void **state) {
    (void)state;
    texts_make();
    struct span a = span_of(one, LEN);
    struct span b = span_of(other, LEN);
    const struct record records[] = {
        {.kind = RECORD_SESSION, .session = {.client_id = SPAN("c"), .expiry_s = 100}},
        {.kind = RECORD_SUBSCRIBED, .subscribed = {1, a, 1, 0}},
        {.kind = RECORD_MESSAGE, .message = {.set_retained = true, .parts = {.topic = a, .payload = SPAN("x")}}},
    };
    const struct record beside[] = {
        {.kind = RECORD_SUBSCRIBED, .subscribed = {1, b, 2, 0}},
        {.kind = RECORD_MESSAGE, .message = {.set_retained = true, .parts = {.topic = b, .payload = SPAN("yy")}}},
    };
    const struct record again[] = {
        {.kind = RECORD_SUBSCRIBED, .subscribed = {1, a, 2, 0}},
        {.kind = RECORD_MESSAGE, .message = {.set_retained = true, .parts = {.topic = a, .payload = SPAN("zzz")}}},
    };
    const struct record gone[] = {
        {.kind = RECORD_UNSUBSCRIBED, .unsubscribed = {1, a}},
        {.kind = RECORD_MESSAGE, .message = {.set_retained = true, .parts = {.topic = a}}},
    };
    for (int rewritten = 0; rewritten <= 1; rewritten++) {
        struct holes h;
        struct row_key from;
        struct row_key to;
        holes_make(&h, records, 3, 3);
        row_key_subscription(&from, 1, a);
        assert_true(row_key_subscription_old(&to, 1, a));
        row_move(&h, TABLE_SUBSCRIPTIONS, &from, &to);
        row_key_topic(&from, a);
        assert_true(row_key_topic_old(&to, a));
        row_move(&h, TABLE_RETAINED, &from, &to);
        assert_true(holes_tool(&h, store_local_check));
        stage(&h, beside, 2);
        assert_true(holes_tool(&h, store_local_list));
        assert_non_null(said(&h, " 2 subscriptions"));
        assert_non_null(said(&h, "2 retained messages"));
        if (rewritten) {
            stage(&h, again, 2);
            assert_true(holes_tool(&h, store_local_list));
            assert_non_null(said(&h, " 2 subscriptions"));
            assert_non_null(said(&h, "2 retained messages"));
        }
        stage(&h, gone, 2);
        assert_true(holes_tool(&h, store_local_list));
        assert_non_null(said(&h, " 1 subscriptions"));
        assert_non_null(said(&h, "1 retained messages"));
        assert_true(holes_tool(&h, store_local_check)); /* no body is left behind */
        holes_deinit(&h);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_with_one_hash_are_two),
        cmocka_unit_test(rows_of_earlier_versions_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
