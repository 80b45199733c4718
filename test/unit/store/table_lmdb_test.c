#include <sys/stat.h>
#include <unistd.h>

#include "table_suite.h"
#include "temporary.h"

enum { MAP_BYTES = 64 << 20 };

static struct table *again(struct table *old) {
    struct error error;
    if (old != NULL) {
        old->ops->close(old);
    }
    struct table *t = table_lmdb_open(temporary, MAP_BYTES, &error);
    if (t == NULL) {
        print_error("%s\n", error.text);
    }
    assert_non_null(t);
    return t;
}

static void random_transactions(void **state) {
    (void)state;
    (void)temporary_make();
    struct table *t = again(NULL);
    suite_empty(t);
    t->ops->close(t);
    suite_random(again, 2, 40);
    temporary_remove(temporary);
}

/* Rows that come in order, in several transactions, some of them removed: the way that appends. */
static void rows_in_order_are_appended(void **state) {
    (void)state;
    (void)temporary_make();
    struct error error;
    struct table *t = again(NULL);
    for (uint32_t round = 0; round < 4; round++) {
        struct table_txn *x = t->ops->begin(t, true, &error);
        for (uint32_t i = 0; i < 2000; i++) {
            uint8_t key[4] = {(uint8_t)round, (uint8_t)(i >> 8), (uint8_t)i, 0};
            assert_true(t->ops->put(x, TABLE_MESSAGES, span_of(key, 4), span_of(key, 4), &error));
            if (i % 3 == 0) {
                assert_true(t->ops->remove(x, TABLE_MESSAGES, span_of(key, 4), &error));
            }
            if (i % 7 == 0) {
                key[3] = 1;
                assert_true(t->ops->put(x, TABLE_MESSAGES, span_of(key, 4), span_of(key, 4), &error));
                key[3] = 0;
                assert_true(t->ops->put(x, TABLE_MESSAGES, span_of(key, 3), span_of(key, 4), &error));
            }
        }
        assert_true(t->ops->commit(x, &error));
    }
    struct table_txn *x = t->ops->begin(t, false, &error);
    struct table_cursor *c = t->ops->cursor_open(x, TABLE_MESSAGES, span_of(NULL, 0));
    struct span key;
    struct span value;
    struct span last = {NULL, 0};
    size_t count = 0;
    while (t->ops->cursor_next(c, &key, &value)) {
        int order = count > 0 ? memcmp(last.ptr, key.ptr, last.len < key.len ? last.len : key.len) : -1;
        assert_true(order < 0 || (order == 0 && last.len < key.len));
        last = key;
        count++;
    }
    assert_int_equal(count, 4 * (2000 - 667 + 286 * 2));
    t->ops->cursor_close(c);
    t->ops->abort(x);
    t->ops->close(t);
    temporary_remove(temporary);
}

static void a_full_map_is_no_space_and_changes_nothing(void **state) {
    (void)state;
    (void)temporary_make();
    struct error error;
    struct span value;
    struct table *t = table_lmdb_open(temporary, 1 << 20, &error);
    assert_non_null(t);
    uint8_t large[100000];
    memset(large, 7, sizeof large);
    struct table_txn *x = t->ops->begin(t, true, &error);
    bool ok = true;
    for (uint8_t i = 1; i < 100 && ok; i++) {
        ok = t->ops->put(x, TABLE_MESSAGES, span_of(&i, 1), span_of(large, sizeof large), &error);
    }
    assert_false(ok);
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    assert_false(t->ops->commit(x, &error));
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    x = t->ops->begin(t, false, &error);
    assert_false(t->ops->get(x, TABLE_MESSAGES, SPAN("\x01"), &value));
    t->ops->abort(x);
    x = t->ops->begin(t, true, &error);
    assert_true(t->ops->put(x, TABLE_MESSAGES, SPAN("\x01"), SPAN("v"), &error));
    assert_true(t->ops->commit(x, &error));
    t->ops->close(t);
    temporary_remove(temporary);
}

static void the_file_is_for_nobody_else(void **state) {
    (void)state;
    (void)temporary_make();
    char path[128];
    struct stat status;
    struct table *t = again(NULL);
    t->ops->close(t);
    temporary_path(path, sizeof path, "table.mdb");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    temporary_remove(temporary);
}

static void what_is_no_table_is_refused(void **state) {
    (void)state;
    (void)temporary_make();
    char path[128];
    struct error error;
    temporary_path(path, sizeof path, "table.mdb");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 10000; i++) {
        (void)fputs("no table ", f);
    }
    (void)fclose(f);
    assert_null(table_lmdb_open(temporary, MAP_BYTES, &error));
    assert_int_equal(error.kind, ERROR_FORMAT);
    assert_non_null(strstr(error.text, "table.mdb"));
    temporary_remove(temporary);
    assert_null(table_lmdb_open(temporary, MAP_BYTES, &error));
    assert_int_equal(error.kind, ERROR_IO);
}

/* As a power cut may leave it: the file has its size, but nothing in it was written. */
static void a_table_whose_making_was_cut_short_is_made_anew(void **state) {
    (void)state;
    (void)temporary_make();
    char path[128];
    temporary_path(path, sizeof path, "table.making");
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fclose(f);
    assert_int_equal(truncate(path, 12288), 0);
    struct table *t = again(NULL);
    assert_int_equal(access(path, F_OK), -1);
    t = again(t);
    t->ops->close(t);
    temporary_path(path, sizeof path, "table.making-lock");
    assert_int_equal(access(path, F_OK), -1);
    temporary_remove(temporary);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_transactions),
        cmocka_unit_test(rows_in_order_are_appended),
        cmocka_unit_test(a_full_map_is_no_space_and_changes_nothing),
        cmocka_unit_test(the_file_is_for_nobody_else),
        cmocka_unit_test(what_is_no_table_is_refused),
        cmocka_unit_test(a_table_whose_making_was_cut_short_is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
