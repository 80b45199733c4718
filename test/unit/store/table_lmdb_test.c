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
    for (uint16_t i = 1; i < 1000 && ok; i++) { /* the map is some 65 times as long as what is asked for */
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        ok = t->ops->put(x, TABLE_MESSAGES, span_of(key, 2), span_of(large, sizeof large), &error);
    }
    assert_false(ok);
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    assert_non_null(strstr(error.text, "address space")); /* advice that helps */
    assert_false(t->ops->commit(x, &error));
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    x = t->ops->begin(t, false, &error);
    assert_false(t->ops->get(x, TABLE_MESSAGES, span_of("\0\x01", 2), &value));
    t->ops->abort(x);
    x = t->ops->begin(t, true, &error);
    assert_true(t->ops->put(x, TABLE_MESSAGES, SPAN("\x01"), SPAN("v"), &error));
    assert_true(t->ops->commit(x, &error));
    t->ops->close(t);
    temporary_remove(temporary);
}

/* LMDB has a copy of each page that was changed until the commit: how much that is, is known about. */
static void what_changes_take_is_counted(void **state) {
    (void)state;
    enum { COUNT = 4000, VALUE = 1000, PAGE = 4096 };
    static uint8_t value[60000];
    struct error error;
    struct table *t = table_lmdb_open(temporary_make(), 1ULL << 28, &error);
    assert_non_null(t);
    struct table_txn *x = t->ops->begin(t, true, &error);
    assert_int_equal(t->ops->changed(x), 0);
    for (uint16_t i = 0; i < COUNT; i++) { /* in order: on as few pages as there are */
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        assert_true(t->ops->put(x, TABLE_QUEUE, span_of(key, 2), span_of(value, VALUE), &error));
    }
    assert_in_range(t->ops->changed(x), COUNT * VALUE / 2, COUNT * VALUE * 2);
    assert_true(t->ops->commit(x, &error));
    x = t->ops->begin(t, true, &error);
    for (uint16_t i = 0; i < COUNT; i += 16) { /* each on a page of its own */
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        assert_true(t->ops->remove(x, TABLE_QUEUE, span_of(key, 2), &error));
    }
    assert_in_range(t->ops->changed(x), COUNT / 16 * PAGE / 2, COUNT / 16 * PAGE * 2);
    const uint64_t before = t->ops->changed(x);
    assert_true(t->ops->put(x, TABLE_MESSAGES, SPAN("long"), span_of(value, sizeof value), &error));
    assert_in_range(t->ops->changed(x), before + sizeof value, before + sizeof value + 2 * PAGE);
    t->ops->abort(x);
    t->ops->close(t);
    temporary_remove(temporary);
}

/* ---- space ---- */

enum { ROW_BYTES = 100000, ROWS = 400 };

static void rows_put(struct table *t, uint16_t first, uint16_t end) {
    static uint8_t large[ROW_BYTES];
    struct error error;
    struct table_txn *x = t->ops->begin(t, true, &error);
    for (uint16_t i = first; i < end; i++) {
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        memset(large, (int)i, sizeof large);
        assert_true(t->ops->put(x, TABLE_MESSAGES, span_of(key, 2), span_of(large, sizeof large), &error));
    }
    assert_true(t->ops->commit(x, &error));
}

static void rows_remove(struct table *t, uint16_t first, uint16_t end) {
    struct error error;
    struct table_txn *x = t->ops->begin(t, true, &error);
    for (uint16_t i = first; i < end; i++) {
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        assert_true(t->ops->remove(x, TABLE_MESSAGES, span_of(key, 2), &error));
    }
    assert_true(t->ops->commit(x, &error));
}

static void rows_there(struct table *t, uint16_t first, uint16_t end) {
    struct error error;
    struct span value;
    struct table_txn *x = t->ops->begin(t, false, &error);
    for (uint16_t i = 0; i < ROWS; i++) {
        uint8_t key[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        bool there = t->ops->get(x, TABLE_MESSAGES, span_of(key, 2), &value);
        assert_int_equal(there, i >= first && i < end);
        if (there) {
            assert_int_equal(value.len, ROW_BYTES);
            assert_true(value.ptr[0] == (uint8_t)i && value.ptr[ROW_BYTES - 1] == (uint8_t)i);
        }
    }
    t->ops->abort(x);
}

/* Nothing is under way, and a commit has passed since: so a store rests. */
static void rest(struct table *t, uint64_t keep) {
    struct error error;
    for (int i = 0; i < 2; i++) {
        struct table_txn *x = t->ops->begin(t, true, &error);
        assert_true(t->ops->put(x, TABLE_META, SPAN("k"), SPAN("v"), &error));
        assert_true(t->ops->commit(x, &error));
    }
    assert_true(t->ops->rest(t, keep, &error));
}

static uint64_t file_length(void) {
    struct stat status;
    char path[128];
    temporary_path(path, sizeof path, "table.mdb");
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

static mode_t file_mode(void) {
    struct stat status;
    char path[128];
    temporary_path(path, sizeof path, "table.mdb");
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 0777;
}

static void what_is_free_is_given_back(void **state) {
    (void)state;
    (void)temporary_make();
    uint64_t used;
    struct table *t = again(NULL);
    for (uint16_t i = 0; i < ROWS; i += 50) {
        rows_put(t, i, i + 50);
    }
    assert_true(t->ops->bytes(t, &used) > 40000000);
    assert_true(used > 40000000);
    for (uint16_t i = 0; i < 390; i += 39) {
        rows_remove(t, i, i + 39);
    }
    assert_true(t->ops->bytes(t, &used) > 40000000);
    assert_true(used < 4000000);
    struct error error;
    assert_true(t->ops->reserve(t, 80000000, &error)); /* behind the end of the file */
    assert_true(t->ops->bytes(t, &used) > 75000000);
    struct table_txn *reader = t->ops->begin(t, false, &error);
    rest(t, 0); /* not while somebody reads */
    assert_true(t->ops->bytes(t, &used) > 40000000);
    t->ops->abort(reader);
    rest(t, 10000000);
    assert_in_range(t->ops->bytes(t, &used), 10000000, 20000000);
    rest(t, 0);
    assert_true(t->ops->bytes(t, &used) < 6000000);
    rows_there(t, 390, ROWS);
    t = again(t);
    rows_there(t, 390, ROWS);
    rows_put(t, 0, 390); /* into the holes */
    rows_there(t, 0, ROWS);
    t = again(t);
    rows_there(t, 0, ROWS);
    t->ops->close(t);
    temporary_remove(temporary);
}

static uint64_t taken(struct table *t) {
    uint64_t used;
    uint64_t bytes = t->ops->bytes(t, &used);
    return bytes - used;
}

/* Also when the file is too short to have so much of it inside. */
static void what_is_reserved_beyond_need_is_given_back(void **state) {
    (void)state;
    (void)temporary_make();
    struct error error;
    struct table *t = again(NULL);
    rows_put(t, 0, 60);
    for (uint16_t i = 0; i < 50; i += 10) {
        rows_remove(t, i, i + 10);
    }
    assert_true(t->ops->reserve(t, 90000000, &error));
    assert_true(taken(t) >= 90000000);
    rest(t, 20000000);
    assert_in_range(taken(t), 20000000, 29000000);
    rows_there(t, 50, 60);
    t->ops->close(t);
    temporary_remove(temporary);
}

/* With holes in the file its blocks do not tell how much of the room is behind its end. */
static void room_is_reserved_in_steps_whatever_holes_there_are(void **state) {
    (void)state;
    (void)temporary_make();
    struct error error;
    struct table *t = again(NULL);
    for (uint16_t i = 0; i < ROWS; i += 50) {
        rows_put(t, i, i + 50);
    }
    for (uint16_t i = 0; i < 390; i += 39) {
        rows_remove(t, i, i + 39);
    }
    rest(t, 3000000);
    for (uint64_t bytes = 4000000; bytes < 80000000; bytes += bytes / 4) {
        assert_true(t->ops->reserve(t, bytes, &error));
        assert_true(taken(t) >= bytes);
    }
    rest(t, 3000000);
    assert_in_range(taken(t), 3000000, 12000000);
    rows_there(t, 390, ROWS);
    t->ops->close(t);
    temporary_remove(temporary);
}

/* LMDB takes first what was freed first, not the lowest pages: on a full disk a hole among them is a write that fails.
 */
static void what_the_table_takes_next_has_blocks(void **state) {
    (void)state;
    (void)temporary_make();
    struct table *t = again(NULL);
    for (uint16_t i = 0; i < ROWS; i += 50) {
        rows_put(t, i, i + 50);
    }
    for (uint16_t i = 390; i > 0; i -= 39) {
        rows_remove(t, i - 39, i);
    }
    rest(t, 8000000);
    uint64_t used;
    uint64_t before = t->ops->bytes(t, &used);
    rows_put(t, 0, 20);
    rows_put(t, 20, 40);
    assert_true(t->ops->bytes(t, &used) <= before + 65536); /* the file system's own blocks */
    struct error error;
    rest(t, 8000000);
    assert_true(t->ops->reserve(t, 20000000, &error)); /* into the holes: there are enough */
    before = t->ops->bytes(t, &used);
    rows_put(t, 40, 100);
    rows_put(t, 100, 160);
    assert_true(t->ops->bytes(t, &used) <= before + 65536);
    rows_remove(t, 0, 160);
    rows_there(t, 390, ROWS);
    t->ops->close(t);
    temporary_remove(temporary);
}

static void a_long_file_that_is_mostly_free_is_made_anew(void **state) {
    (void)state;
    (void)temporary_make();
    struct error error;
    struct table *t = again(NULL);
    rows_put(t, 0, ROWS);
    rows_remove(t, 0, 300);
    rows_put(t, 0, 300);
    rows_put(t, 0, ROWS); /* all of it once more: the file is twice as long as what it holds */
    assert_true(file_length() > 64000000);
    rows_remove(t, 0, 390);
    mode_t mask = umask(022);
    t = again(t);
    assert_true(file_length() > 64000000); /* to open it changes nothing */
    assert_true(t->ops->anew(t, &error));
    (void)umask(mask);
    assert_true(file_length() < 4000000);
    assert_int_equal(file_mode(), 0600);
    rows_there(t, 390, ROWS);
    rows_put(t, 0, 20);
    t = again(t);
    rows_remove(t, 390, ROWS);
    rows_there(t, 0, 20);
    t->ops->close(t);
    temporary_remove(temporary);
}

/* From three quarters on there is no more room, but for what makes the rows fewer; then there is room again. */
static void a_full_table_takes_what_makes_it_less(void **state) {
    (void)state;
    (void)temporary_make();
    struct error error;
    struct table *t = again(NULL);
    uint16_t rows = 0;
    for (; t->ops->reserve(t, 1 << 20, &error); rows += 20) {
        rows_put(t, rows, rows + 20);
        assert_true(rows < 2000);
    }
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    assert_non_null(strstr(error.text, "table_size"));
    assert_in_range(rows, MAP_BYTES / ROW_BYTES / 2, MAP_BYTES / ROW_BYTES * 4 / 5);
    rows_put(t, rows, rows + 300); /* what is under way */
    t = again(t);
    assert_false(t->ops->reserve(t, 1 << 20, &error));
    for (uint16_t i = 0; i < rows + 280; i += 20) {
        rows_remove(t, i, i + 20);
    }
    assert_true(t->ops->reserve(t, 1 << 20, &error));
    t->ops->close(t);
    temporary_remove(temporary);
}

static void the_file_is_for_nobody_else(void **state) {
    (void)state;
    (void)temporary_make();
    struct table *t = again(NULL);
    t->ops->close(t);
    assert_int_equal(file_mode(), 0600);
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
        cmocka_unit_test(what_changes_take_is_counted),
        cmocka_unit_test(what_is_free_is_given_back),
        cmocka_unit_test(what_is_reserved_beyond_need_is_given_back),
        cmocka_unit_test(room_is_reserved_in_steps_whatever_holes_there_are),
        cmocka_unit_test(what_the_table_takes_next_has_blocks),
        cmocka_unit_test(a_long_file_that_is_mostly_free_is_made_anew),
        cmocka_unit_test(a_full_table_takes_what_makes_it_less),
        cmocka_unit_test(the_file_is_for_nobody_else),
        cmocka_unit_test(what_is_no_table_is_refused),
        cmocka_unit_test(a_table_whose_making_was_cut_short_is_made_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
