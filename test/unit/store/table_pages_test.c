#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/prng.h"
#include "store/table.h"
#include "store/table_pages.h"
#include "temporary.h"

enum { MAP_BYTES = 64 << 20, PAGE = 4096 };

static char path[128];
static struct error error;

static struct table *opened(void) {
    struct table *t = table_lmdb_open(temporary, MAP_BYTES, &error);
    if (t == NULL) {
        print_error("%s\n", error.text);
    }
    assert_non_null(t);
    return t;
}

static void put(struct table *t, struct table_txn *x, enum table_tree tree, uint32_t number, size_t bytes) {
    static uint8_t value[60000];
    uint8_t key[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    memset(value, (int)number, sizeof value);
    assert_true(t->ops->put(x, tree, span_of(key, 4), span_of(value, bytes), &error));
}

static void take(struct table *t, struct table_txn *x, enum table_tree tree, uint32_t number) {
    uint8_t key[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    assert_true(t->ops->remove(x, tree, span_of(key, 4), &error));
}

/* Trees of several levels, large values, rows that came and went, long lists of free pages. */
static void make_table(uint64_t seed, int rounds) {
    struct prng prng = prng_of(seed);
    (void)temporary_make();
    temporary_path(path, sizeof path, "table.mdb");
    struct table *t = opened();
    for (int round = 0; round < rounds; round++) {
        struct table_txn *x = t->ops->begin(t, true, &error);
        for (int i = 0; i < 400; i++) {
            uint32_t number = (uint32_t)prng_below(&prng, 5000);
            enum table_tree tree = (enum table_tree)prng_below(&prng, TABLE_TREES);
            if (prng_chance(&prng, 1, 3)) {
                take(t, x, tree, number);
            } else {
                put(t, x, tree, number, prng_chance(&prng, 1, 30) ? prng_below(&prng, 60000) : prng_below(&prng, 300));
            }
        }
        assert_true(t->ops->commit(x, &error));
        assert_true(table_pages_check(path, UINT64_MAX, &error));
    }
    t->ops->close(t);
}

static uint64_t file_bytes(void) {
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

/* Whatever is written, it passes; also tables of one page, and empty ones. */
static void a_sound_table_passes(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        make_table(seed, 12);
        if (!table_pages_check(path, UINT64_MAX, &error)) {
            print_error("seed %llu: %s\n", (unsigned long long)seed, error.text);
            fail();
        }
        struct table *t = opened();
        struct table_txn *x = t->ops->begin(t, true, &error);
        for (uint32_t number = 0; number < 5000; number++) {
            for (int tree = 0; tree < TABLE_TREES; tree++) {
                take(t, x, (enum table_tree)tree, number);
            }
        }
        assert_true(t->ops->commit(x, &error));
        t->ops->close(t);
        t = opened();
        t->ops->close(t);
        temporary_remove(temporary);
    }
}

static void no_table_passes(void **state) {
    (void)state;
    (void)temporary_make();
    temporary_path(path, sizeof path, "table.mdb");
    assert_true(table_pages_check(path, UINT64_MAX, &error));
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_true(table_pages_check(path, UINT64_MAX, &error));
    temporary_remove(temporary);
}

static void a_link_is_not_followed(void **state) {
    (void)state;
    (void)temporary_make();
    temporary_path(path, sizeof path, "table.mdb");
    assert_int_equal(symlink("elsewhere.mdb", path), 0);
    assert_null(table_lmdb_open(temporary, MAP_BYTES, &error));
    assert_int_equal(error.kind, ERROR_IO);
    (void)unlink(path);
    temporary_remove(temporary);
}

/* All rows of all trees, or a refusal; false when it refused. */
static bool readable(void) {
    struct table *t = table_lmdb_open(temporary, MAP_BYTES, &error);
    if (t == NULL) {
        return false;
    }
    struct table_txn *x = t->ops->begin(t, true, &error);
    bool ok = x != NULL;
    for (int tree = 0; ok && tree < TABLE_TREES; tree++) {
        struct table_cursor *c = t->ops->cursor_open(x, (enum table_tree)tree, span_of(NULL, 0));
        struct span key;
        struct span value;
        uint64_t sum = 0;
        while (t->ops->cursor_next(c, &key, &value)) {
            for (size_t i = 0; i < value.len; i++) {
                sum += value.ptr[i];
            }
        }
        t->ops->cursor_close(c);
        ok = t->ops->sound(x, &error) && sum < UINT64_MAX;
    }
    for (uint32_t i = 0; ok && i < 300; i++) {
        put(t, x, TABLE_MESSAGES, i * 17, 100);
        take(t, x, TABLE_QUEUE, i * 16);
    }
    if (x != NULL) {
        t->ops->abort(x);
    }
    t->ops->close(t);
    return ok;
}

static struct buf bytes_of_file(void) {
    struct buf b = {NULL, 0, 0};
    uint64_t bytes = file_bytes();
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, buf_extend(&b, bytes), bytes), (ssize_t)bytes);
    (void)close(fd);
    return b;
}

static void write_file(struct span bytes) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, bytes.ptr, bytes.len), (ssize_t)bytes.len);
    (void)close(fd);
}

/* A file that ends early is refused, with its size, unless nothing that is used is missing. */
static void a_table_that_was_cut_is_refused(void **state) {
    (void)state;
    make_table(77, 4);
    struct table *t = opened();
    struct table_txn *x = t->ops->begin(t, true, &error);
    for (uint32_t i = 0; i < 5; i++) {
        put(t, x, TABLE_MESSAGES, 9000 + i, 59000); /* they are the last pages */
    }
    assert_true(t->ops->commit(x, &error));
    t->ops->close(t);
    struct buf whole = bytes_of_file();
    uint64_t refused = 0;
    for (uint64_t bytes = 1; bytes < whole.len; bytes += bytes < 3 * PAGE ? 1365 : PAGE) {
        write_file(span_of(whole.ptr, bytes));
        bool sound = table_pages_check(path, UINT64_MAX, &error);
        assert_int_equal(table_pages_check(path, 0, &error), sound); /* however large it is */
        if (!readable()) {
            char said[64];
            (void)snprintf(said, sizeof said, "table.mdb has %llu bytes", (unsigned long long)bytes);
            assert_int_equal(error.kind, ERROR_DAMAGED);
            assert_non_null(strstr(error.text, said));
            assert_non_null(strstr(error.text, "backup"));
            refused++;
        }
    }
    assert_true(refused > whole.len / PAGE / 2);
    buf_deinit(&whole);
    temporary_remove(temporary);
}

/* Of a file beyond the bound the leaves are not read, but a missing one is still found; a damaged one is not. */
static void the_leaves_of_a_very_large_table_are_not_read(void **state) {
    (void)state;
    make_table(79, 6);
    struct buf whole = bytes_of_file();
    assert_true(table_pages_check(path, 0, &error));
    uint64_t missed = 0;
    for (uint64_t page = 2; page < whole.len / PAGE; page += 3) {
        struct buf copy = {NULL, 0, 0};
        buf_bytes(&copy, buf_span(&whole));
        memset(copy.ptr + page * PAGE + 16, 255, PAGE - 16);
        write_file(buf_span(&copy));
        missed += table_pages_check(path, 0, &error) && !table_pages_check(path, UINT64_MAX, &error);
        buf_deinit(&copy);
    }
    assert_in_range(missed, 10, whole.len / PAGE);
    write_file(span_of(whole.ptr, whole.len / 2));
    assert_false(table_pages_check(path, 0, &error));
    assert_non_null(strstr(error.text, "its end is missing"));
    buf_deinit(&whole);
    temporary_remove(temporary);
}

/* What happens to a damaged file, in a process of its own: 0 all was read, 1 it was refused, 2 it ended in a signal. */
static int fate(void) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGSEGV, SIG_DFL);
        (void)signal(SIGBUS, SIG_DFL);
        (void)signal(SIGABRT, SIG_DFL);
        (void)signal(SIGFPE, SIG_DFL);
        (void)close(STDERR_FILENO);
        _exit(readable() ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) <= 1 ? WEXITSTATUS(status) : 2;
}

static uint64_t damage_pages(uint64_t seed, bool bits) {
    struct prng prng = prng_of(seed);
    make_table(seed, 5);
    struct buf whole = bytes_of_file();
    uint64_t refused = 0;
    for (int round = 0; round < 30; round++) {
        struct buf copy = {NULL, 0, 0};
        buf_bytes(&copy, buf_span(&whole));
        uint64_t page = prng_chance(&prng, 1, 5) ? prng_below(&prng, 2) : prng_below(&prng, whole.len / PAGE);
        uint8_t *at = copy.ptr + page * PAGE;
        if (bits) {
            for (uint64_t n = 1 + prng_below(&prng, 4); n > 0; n--) {
                at[prng_below(&prng, prng_chance(&prng, 2, 3) ? 200 : PAGE)] ^= (uint8_t)(1U << prng_below(&prng, 8));
            }
        } else if (prng_chance(&prng, 1, 2)) {
            memset(at, round % 2 == 0 ? 0 : 255, PAGE);
        } else {
            memcpy(at, whole.ptr + prng_below(&prng, whole.len / PAGE) * PAGE, PAGE);
        }
        write_file(buf_span(&copy));
        buf_deinit(&copy);
        int what = fate();
        if (what == 2) {
            print_error("seed %llu round %d page %llu: a signal\n", (unsigned long long)seed, round,
                        (unsigned long long)page);
            fail();
        }
        refused += what == 1;
    }
    buf_deinit(&whole);
    temporary_remove(temporary);
    return refused;
}

/* Flipped bits, lost pages, pages in the place of others: a sentence, never a signal. */
static void no_damage_ends_in_a_signal(void **state) {
    (void)state;
    uint64_t refused = 0;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        refused += damage_pages(seed, true) + damage_pages(seed, false);
    }
    assert_true(refused > 20);
}

/* Pages that a transaction took and gave back were never written: the file may end before them. */
static void free_pages_behind_the_end_are_not_missed(void **state) {
    (void)state;
    make_table(78, 4);
    struct table *t = opened();
    struct table_txn *x = t->ops->begin(t, true, &error);
    for (uint32_t i = 0; i < 20; i++) {
        put(t, x, TABLE_MESSAGES, 9000 + i, 59000);
    }
    for (uint32_t i = 0; i < 20; i++) {
        take(t, x, TABLE_MESSAGES, 9000 + i);
    }
    assert_true(t->ops->commit(x, &error));
    t->ops->close(t);
    uint64_t last = 0;
    struct buf whole = bytes_of_file();
    for (size_t meta = 0; meta < 2; meta++) {
        uint64_t page;
        memcpy(&page, whole.ptr + meta * PAGE + 16 + 120, sizeof page);
        last = page > last ? page : last;
    }
    buf_deinit(&whole);
    assert_true((last + 1) * PAGE > file_bytes());
    assert_true(table_pages_check(path, UINT64_MAX, &error));
    assert_true(readable());
    temporary_remove(temporary);
}

static void poke(uint64_t at, uint16_t value) {
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &value, sizeof value, (off_t)at), sizeof value);
    (void)close(fd);
}

/* Writes two bytes, looks, and writes back what was there. */
static bool passes_with(const struct buf *whole, uint64_t at, uint16_t value) {
    uint16_t was;
    memcpy(&was, whole->ptr + at, sizeof was);
    poke(at, value);
    bool ok = table_pages_check(path, UINT64_MAX, &error);
    assert_true(ok || (error.kind == ERROR_DAMAGED && strstr(error.text, "at byte") != NULL));
    poke(at, was);
    return ok;
}

static uint16_t number_at(const struct buf *whole, uint64_t at) {
    uint16_t value;
    memcpy(&value, whole->ptr + at, sizeof value);
    return value;
}

/* One field of a page after the other; a page that is free may be anything. */
static void every_field_of_a_page_is_looked_at(void **state) {
    (void)state;
    make_table(79, 3);
    struct buf whole = bytes_of_file();
    unsigned used[3] = {0, 0, 0};
    for (uint64_t page = 2 * PAGE; page < whole.len; page += PAGE) {
        uint16_t kind = number_at(&whole, page + 10);
        if ((kind != 1 && kind != 2) || passes_with(&whole, page + 10, 3 - kind)) {
            continue;
        }
        uint64_t node = page + number_at(&whole, page + 16);
        used[kind]++;
        assert_false(passes_with(&whole, page, 1));                /* its number */
        assert_false(passes_with(&whole, page + 10, kind | 0x20)); /* its kind */
        assert_false(passes_with(&whole, page + 12, 16));          /* no rows */
        assert_false(passes_with(&whole, page + 12, PAGE));        /* more rows than there is room for */
        assert_false(passes_with(&whole, page + 14, PAGE + 2));    /* rows outside */
        assert_false(passes_with(&whole, page + 16, 16));          /* a row in the header, */
        assert_false(passes_with(&whole, page + 16, PAGE - 2));    /* at the end, */
        assert_false(passes_with(&whole, page + 16, 0xfff0));      /* behind it */
        assert_false(passes_with(&whole, node + 6, 0xffff));       /* a key that is too long */
        assert_false(passes_with(&whole, node, 0xfff0));           /* a value, or a page, beyond all */
        if (kind == 2) {
            assert_false(passes_with(&whole, node + 6, 0)); /* no key */
            assert_false(passes_with(&whole, node + 4, 4)); /* a value of another kind */
        }
        if (kind == 2 && number_at(&whole, page + 12) >= 20) { /* the first two rows change places */
            uint16_t second = number_at(&whole, page + 18);
            poke(page + 16, second);
            assert_false(passes_with(&whole, page + 18, number_at(&whole, page + 16)));
            poke(page + 16, number_at(&whole, page + 16));
        }
    }
    assert_true(used[1] >= 3 && used[2] > 30);
    assert_true(table_pages_check(path, UINT64_MAX, &error));
    buf_deinit(&whole);
    temporary_remove(temporary);
}

/* Two rows cannot share the pages of a large value. */
static void a_page_is_used_once(void **state) {
    (void)state;
    (void)temporary_make();
    temporary_path(path, sizeof path, "table.mdb");
    struct table *t = opened();
    struct table_txn *x = t->ops->begin(t, true, &error);
    put(t, x, TABLE_MESSAGES, 1, 30000);
    put(t, x, TABLE_MESSAGES, 2, 30000);
    assert_true(t->ops->commit(x, &error));
    t->ops->close(t);
    struct buf whole = bytes_of_file();
    unsigned shared = 0;
    for (uint64_t page = 2 * PAGE; page < whole.len; page += PAGE) {
        uint64_t nodes[2] = {page + number_at(&whole, page + 16), page + number_at(&whole, page + 18)};
        if (number_at(&whole, page + 10) == 2 && number_at(&whole, page + 12) == 20 &&
            number_at(&whole, nodes[0] + 4) == 1 && number_at(&whole, nodes[1] + 4) == 1) {
            shared++;
            assert_false(passes_with(&whole, nodes[0] + 12, number_at(&whole, nodes[1] + 12)));
            assert_non_null(strstr(error.text, "used twice"));
            assert_false(passes_with(&whole, nodes[0], 0xfff0)); /* a value that is larger than its pages */
        }
    }
    assert_int_equal(shared, 1);
    assert_true(table_pages_check(path, UINT64_MAX, &error));
    buf_deinit(&whole);
    temporary_remove(temporary);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_table_passes),
        cmocka_unit_test(no_table_passes),
        cmocka_unit_test(a_link_is_not_followed),
        cmocka_unit_test(a_table_that_was_cut_is_refused),
        cmocka_unit_test(free_pages_behind_the_end_are_not_missed),
        cmocka_unit_test(every_field_of_a_page_is_looked_at),
        cmocka_unit_test(a_page_is_used_once),
        cmocka_unit_test(the_leaves_of_a_very_large_table_are_not_read),
        cmocka_unit_test(no_damage_ends_in_a_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
