/* What every engine of the table must do: run by table_memory_test.c and table_lmdb_test.c. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "store/table.h"

enum { SUITE_KEYS = 60, SUITE_KEY_MAX = 300 };

/* A naive table: for each tree an array of keys, sorted by nothing. */
struct suite_row {
    bool there;
    uint64_t value;
};

struct suite_model {
    struct suite_row rows[TABLE_TREES][SUITE_KEYS];
};

/* Key `index`: some short, some long, some the beginning of another, all different, in this order as bytes. */
static struct span suite_key(uint8_t out[SUITE_KEY_MAX], size_t index) {
    size_t len = index % 3 == 0 ? 1 : index % 3 == 1 ? 9 : SUITE_KEY_MAX;
    memset(out, 0, len);
    out[0] = (uint8_t)(index / 3 + 1);
    return span_of(out, len);
}

static struct span suite_value(uint8_t out[512], uint64_t value) {
    size_t len = (size_t)(8 + value % 500);
    memset(out, (int)(value & 0xff), len);
    memcpy(out, &value, 8);
    return span_of(out, len);
}

static void suite_same_rows(struct table *t, struct table_txn *x, const struct suite_model *model) {
    uint8_t key_bytes[SUITE_KEY_MAX];
    uint8_t value_bytes[512];
    for (int tree = 0; tree < TABLE_TREES; tree++) {
        struct table_cursor *c = t->ops->cursor_open(x, (enum table_tree)tree, span_of(NULL, 0));
        struct span key;
        struct span value;
        for (size_t i = 0; i < SUITE_KEYS; i++) {
            struct span expected = suite_key(key_bytes, i);
            const struct suite_row *row = &model->rows[tree][i];
            assert_int_equal(t->ops->get(x, (enum table_tree)tree, expected, &value), row->there);
            if (row->there) {
                assert_true(span_equal(value, suite_value(value_bytes, row->value)));
                assert_true(t->ops->cursor_next(c, &key, &value));
                assert_true(span_equal(key, expected));
                assert_true(span_equal(value, suite_value(value_bytes, row->value)));
            }
        }
        assert_false(t->ops->cursor_next(c, &key, &value));
        t->ops->cursor_close(c);
    }
}

/* The first row at or after each key. */
static void suite_same_seeks(struct table *t, struct table_txn *x, const struct suite_model *model) {
    uint8_t key_bytes[SUITE_KEY_MAX];
    uint8_t found_bytes[SUITE_KEY_MAX];
    for (size_t i = 0; i < SUITE_KEYS; i++) {
        struct span key;
        struct span value;
        size_t next = i;
        while (next < SUITE_KEYS && !model->rows[TABLE_QUEUE][next].there) {
            next++;
        }
        struct span from = suite_key(key_bytes, i);
        assert_int_equal(t->ops->seek(x, TABLE_QUEUE, from, &key, &value), next < SUITE_KEYS);
        struct table_cursor *c = t->ops->cursor_open(x, TABLE_QUEUE, from);
        if (next < SUITE_KEYS) {
            assert_true(span_equal(key, suite_key(found_bytes, next)));
            assert_true(t->ops->cursor_next(c, &key, &value));
            assert_true(span_equal(key, suite_key(found_bytes, next)));
        } else {
            assert_false(t->ops->cursor_next(c, &key, &value));
        }
        t->ops->cursor_close(c);
    }
}

static void suite_change(struct table *t, struct table_txn *x, struct suite_model *model, struct prng *p) {
    uint8_t key_bytes[SUITE_KEY_MAX];
    uint8_t value_bytes[512];
    struct error error;
    enum table_tree tree = (enum table_tree)prng_below(p, TABLE_TREES);
    size_t index = (size_t)prng_below(p, SUITE_KEYS);
    struct span key = suite_key(key_bytes, index);
    if (prng_chance(p, 3, 5)) {
        uint64_t value = prng_next(p);
        assert_true(t->ops->put(x, tree, key, suite_value(value_bytes, value), &error));
        model->rows[tree][index] = (struct suite_row){true, value};
    } else {
        assert_true(t->ops->remove(x, tree, key, &error));
        model->rows[tree][index].there = false;
    }
}

/* Random transactions, committed or aborted. What a reader sees is the last commit; what the writer sees is its own.
 * `again` closes and opens the table. */
static void suite_random(struct table *(*again)(struct table *old), uint64_t seed, int rounds) {
    struct prng p = prng_of(seed);
    struct suite_model committed;
    memset(&committed, 0, sizeof committed);
    struct table *t = again(NULL);
    for (int round = 0; round < rounds; round++) {
        struct error error;
        struct suite_model mine = committed;
        struct table_txn *x = t->ops->begin(t, true, &error);
        assert_non_null(x);
        for (uint64_t n = prng_below(&p, 60); n > 0; n--) {
            suite_change(t, x, &mine, &p);
        }
        suite_same_rows(t, x, &mine);
        suite_same_seeks(t, x, &mine);
        struct table_txn *reader = t->ops->begin(t, false, &error);
        assert_non_null(reader);
        suite_same_rows(t, reader, &committed);
        assert_true(t->ops->sound(reader, &error));
        t->ops->abort(reader);
        if (prng_chance(&p, 3, 4)) {
            assert_true(t->ops->commit(x, &error));
            committed = mine;
        } else {
            t->ops->abort(x);
        }
        if (prng_chance(&p, 1, 4)) {
            t = again(t);
        }
        reader = t->ops->begin(t, false, &error);
        suite_same_rows(t, reader, &committed);
        t->ops->abort(reader);
    }
    t->ops->close(t);
}

static void suite_empty(struct table *t) {
    struct error error;
    struct span key;
    struct span value;
    struct table_txn *x = t->ops->begin(t, false, &error);
    assert_non_null(x);
    assert_false(t->ops->get(x, TABLE_META, SPAN("meta"), &value));
    assert_false(t->ops->seek(x, TABLE_META, span_of(NULL, 0), &key, &value));
    t->ops->abort(x);
}
