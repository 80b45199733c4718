/* A table of which most is free is made anew at a start: faults at every call that changes the directory.
 *
 * The calls of LMDB and of the table come here first: this program has functions of their names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/table.h"
#include "temporary.h"

enum { TABLE_BYTES = 1 << 30, ROW_BYTES = 100000, ROWS = 800, KEPT = 10, CALLS_MAX = 100, CHUNK = 1 << 16 };

/* What happens at the call with the number fault_at: FULL also to all later ones that need room; HALF: the process ends
 * in the middle of a write. */
enum fault { NONE, KILLED, HALF, BROKEN, FULL, FAULTS };

static bool armed;
static enum fault fault;
static int fault_at;
static int calls;
static char called[CALLS_MAX + 1]; /* a letter for each call */

/* 0, or the number of the error with which this call fails. */
static int call(char letter, bool needs_room) {
    if (!armed) {
        return 0;
    }
    if (calls < CALLS_MAX) {
        called[calls] = letter;
    }
    calls++;
    if (fault == FULL) {
        return calls >= fault_at && needs_room ? ENOSPC : 0;
    }
    if (calls != fault_at || fault == NONE) {
        return 0;
    }
    if (fault != BROKEN && !(fault == HALF && letter == 'w')) {
        _exit(KILLED);
    }
    return EIO;
}

/* LMDB, which is a library of its own, finds them too. */
#define SEEN __attribute__((visibility("default")))

static int failed(int code) {
    errno = code;
    return -1;
}

SEEN int fsync(int file) {
    int code = call('s', true);
    return code != 0 ? failed(code) : (int)syscall(SYS_fsync, file);
}

SEEN int fdatasync(int file) {
    int code = call('d', true);
    return code != 0 ? failed(code) : (int)syscall(SYS_fdatasync, file);
}

SEEN int rename(const char *from, const char *to) {
    int code = call('r', false);
    return code != 0 ? failed(code) : (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

SEEN int unlink(const char *path) {
    int code = call('u', false);
    return code != 0 ? failed(code) : (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

SEEN ssize_t write(int file, const void *from, size_t bytes) {
    int code = call('w', true);
    if (code != 0 && fault == HALF) {
        (void)syscall(SYS_write, file, from, bytes / 2);
        _exit(KILLED);
    }
    return code != 0 ? failed(code) : syscall(SYS_write, file, from, bytes);
}

static struct table *opened(const char *folder, struct error *error) {
    struct table *t = table_lmdb_open(folder, TABLE_BYTES, error);
    if (t != NULL && !t->ops->anew(t, error)) {
        t->ops->close(t);
        t = NULL;
    }
    return t;
}

static void key_of(uint8_t *key, int row) {
    key[0] = (uint8_t)(row >> 8);
    key[1] = (uint8_t)row;
}

static void rows_change(struct table *t, int first, int end, bool put) {
    static uint8_t row[ROW_BYTES];
    struct error error;
    struct table_txn *x = t->ops->begin(t, true, &error);
    for (int i = first; i < end; i++) {
        uint8_t key[2];
        key_of(key, i);
        memset(row, i % 251, sizeof row);
        assert_true(put ? t->ops->put(x, TABLE_MESSAGES, span_of(key, 2), span_of(row, sizeof row), &error)
                        : t->ops->remove(x, TABLE_MESSAGES, span_of(key, 2), &error));
    }
    assert_true(t->ops->commit(x, &error));
}

static void rows_there(struct table *t) {
    struct error error;
    struct span value;
    struct table_txn *x = t->ops->begin(t, false, &error);
    for (int i = 0; i < ROWS; i++) {
        uint8_t key[2];
        key_of(key, i);
        bool there = t->ops->get(x, TABLE_MESSAGES, span_of(key, 2), &value);
        assert_int_equal(there, i < KEPT);
        assert_true(!there || (value.len == ROW_BYTES && value.ptr[0] == i && value.ptr[ROW_BYTES - 1] == i));
    }
    t->ops->abort(x);
}

/* A long table with few rows, and holes for the others. */
static void make_long(const char *folder) {
    struct error error;
    struct table *t = opened(folder, &error);
    assert_non_null(t);
    for (int i = 0; i < ROWS; i += 100) {
        rows_change(t, i, i + 100, true);
    }
    rows_change(t, KEPT, ROWS, false);
    rows_change(t, 0, 1, true);
    rows_change(t, 0, 1, true);
    assert_true(t->ops->rest(t, 0, &error));
    t->ops->close(t);
}

static void path_in(char *out, size_t room, const char *folder, const char *name) {
    must(snprintf(out, room, "%s/%s", folder, name) < (int)room);
}

/* Zeros stay holes. */
static void copy_table(const char *from, const char *to) {
    static uint8_t chunk[CHUNK];
    static const uint8_t zeros[CHUNK];
    char path[128];
    path_in(path, sizeof path, from, "table.mdb");
    int in = open(path, O_RDONLY);
    path_in(path, sizeof path, to, "table.mdb");
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(in >= 0 && out >= 0);
    off_t at = 0;
    for (ssize_t n; (n = pread(in, chunk, sizeof chunk, at)) > 0; at += n) {
        assert_true(memcmp(chunk, zeros, (size_t)n) == 0 || pwrite(out, chunk, (size_t)n, at) == n);
    }
    assert_int_equal(ftruncate(out, at), 0);
    (void)close(in);
    (void)close(out);
}

/* Opens the table with a fault; what became of that: KILLED, 1 when it was opened and is whole, 0 when it was refused
 * with the error that was met. */
static int open_with(const char *folder, enum fault what, int at, bool *met) {
    int through[2];
    assert_int_equal(pipe(through), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct error error;
        fault = what;
        fault_at = at;
        calls = 0;
        armed = true;
        struct table *t = opened(folder, &error);
        armed = false;
        bool reached = calls >= at;
        (void)!write(through[1], &reached, sizeof reached);
        bool named = t != NULL || error.kind == (what == FULL ? ERROR_NO_SPACE : ERROR_IO);
        if (t != NULL) {
            rows_there(t);
            t->ops->close(t);
        }
        _exit(t != NULL ? 10 : named ? 11 : 12);
    }
    (void)close(through[1]);
    *met = true; /* of one that was killed */
    (void)!read(through[0], met, sizeof *met);
    (void)close(through[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void opens_whole(const char *folder) {
    struct error error;
    struct stat status;
    char path[128];
    struct table *t = opened(folder, &error);
    if (t == NULL) {
        fail_msg("%s", error.text);
    }
    rows_there(t);
    t->ops->close(t);
    path_in(path, sizeof path, folder, "table.making");
    assert_int_equal(access(path, F_OK), -1);
    path_in(path, sizeof path, folder, "table.mdb");
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_size < 8000000);
}

static void a_fault_at_every_call(void **state) {
    (void)state;
    char from[64];
    (void)snprintf(from, sizeof from, "%s", temporary_make());
    make_long(from);
    const char *folder = temporary_make();
    for (enum fault what = KILLED; what < FAULTS; what++) {
        bool met = true;
        int at = 1;
        for (; met; at++) {
            copy_table(from, folder);
            int end = open_with(folder, what, at, &met);
            if (end != 10 && end != 11 && !(end == KILLED && what <= HALF)) {
                fail_msg("fault %d at call %d: %d", (int)what, at, end);
            }
            opens_whole(folder);
        }
        assert_in_range(at, 9, CALLS_MAX);
    }
    temporary_remove(folder);
    temporary_remove(from);
}

/* The name that a table has is for good before anything is committed to it: it may be that of a copy whose maker was
 * killed before it had seen to that. And a copy is on the disk before it gets the name. */
static void names_are_for_good_before_use(void **state) {
    (void)state;
    struct error error;
    const char *folder = temporary_make();
    make_long(folder);
    fault = NONE;
    calls = 0;
    armed = true;
    struct table *t = opened(folder, &error);
    armed = false;
    assert_non_null(t);
    rows_there(t);
    t->ops->close(t);
    called[calls] = '\0';
    assert_memory_equal(called, "usuw", 4);
    assert_string_equal(strrchr(called, 'w'), "wsrsu");
    temporary_remove(folder);
}

/* A copy that cannot get the name: the table stays as it was, and is of use. */
static void a_copy_without_a_name_is_forgotten(void **state) {
    (void)state;
    char path[128];
    bool met;
    const char *folder = temporary_make();
    make_long(folder);
    int at = (int)(strchr(called, 'r') - called) + 1;
    assert_int_equal(open_with(folder, BROKEN, at, &met), 10);
    assert_true(met);
    path_in(path, sizeof path, folder, "table.making");
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(open_with(folder, BROKEN, at + 1, &met), 11); /* which of the two has it is not known */
    opens_whole(folder);
    temporary_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_at_every_call),
        cmocka_unit_test(names_are_for_good_before_use),
        cmocka_unit_test(a_copy_without_a_name_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
