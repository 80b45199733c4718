#include "store/table_space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum { FREE_TREE = 0 }; /* LMDB's own: number of a transaction -> a count, and so many pages that it has freed */

/* Free pages, and how many. */
struct pages {
    size_t *at;
    size_t count;
    size_t capacity;
};

typedef void visit_list(void *context, MDB_val list, size_t count);

/* Visits the lists of pages that transactions have freed: all, or all but the last. LMDB shows them to readers only. */
static void lists_visit(MDB_env *env, bool last, visit_list *visit, void *context) {
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val list;
    if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0) {
        return;
    }
    if (mdb_cursor_open(txn, FREE_TREE, &cursor) != 0) {
        mdb_txn_abort(txn);
        return;
    }
    size_t end = mdb_txn_id(txn) + (last ? 1 : 0);
    while (mdb_cursor_get(cursor, &key, &list, MDB_NEXT) == 0) {
        size_t number = 0;
        size_t count = 0;
        memcpy(&number, key.mv_data, key.mv_size < sizeof number ? key.mv_size : sizeof number);
        memcpy(&count, list.mv_data, list.mv_size < sizeof count ? list.mv_size : sizeof count);
        if (number < end && count < list.mv_size / sizeof count) {
            visit(context, list, count);
        }
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
}

static void visit_count(void *context, MDB_val list, size_t count) {
    (void)list;
    *(uint64_t *)context += count;
}

uint64_t table_space_free(MDB_env *env) {
    uint64_t pages = 0;
    lists_visit(env, true, visit_count, &pages);
    return pages;
}

static void visit_take(void *context, MDB_val list, size_t count) {
    struct pages *p = context;
    if (p->count + count > p->capacity) {
        p->capacity = (p->count + count) * 2;
        p->at = mem_resize(p->at, p->capacity * sizeof *p->at);
    }
    if (count > 0) {
        memcpy(p->at + p->count, (const size_t *)list.mv_data + 1, count * sizeof *p->at);
    }
    p->count += count;
}

static int page_compare(const void *a, const void *b) {
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

static int punch(int file, uint64_t from, uint64_t bytes) {
    int code;
    do {
        code = fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes) == 0 ? 0 : errno;
    } while (code == EINTR);
    return code;
}

/* Pages that follow one another are one hole. */
static int punch_all(int file, const struct pages *p, uint64_t keep, uint64_t page_bytes) {
    int code = 0;
    for (size_t i = keep, end; i < p->count && code == 0; i = end) {
        for (end = i + 1; end < p->count && p->at[end] == p->at[end - 1] + 1;) {
            end++;
        }
        code = punch(file, p->at[i] * page_bytes, (end - i) * page_bytes);
    }
    return code == EOPNOTSUPP || code == ENOSYS ? 0 : code;
}

/* Blocks behind the end of the file, which were reserved for it: to cut it where it ends gives them back. */
static int cut_behind(int file) {
    struct stat status;
    return fstat(file, &status) == 0 && ftruncate(file, status.st_size) == 0 ? 0 : errno;
}

int table_space_punch(MDB_env *env, uint64_t keep) {
    struct pages p = {NULL, 0, 0};
    MDB_stat stat;
    MDB_txn *txn;
    mdb_filehandle_t file;
    int code = mdb_env_get_fd(env, &file);
    code = code != 0 ? code : mdb_env_stat(env, &stat);
    code = code != 0 ? code : mdb_txn_begin(env, NULL, 0, &txn);
    if (code != 0) {
        return code;
    }
    lists_visit(env, false, visit_take, &p); /* as long as the transaction lasts nobody writes */
    if (p.count > keep) {
        qsort(p.at, p.count, sizeof *p.at, page_compare);
        code = punch_all(file, &p, keep, stat.ms_psize);
    }
    code = code != 0 ? code : cut_behind(file);
    mdb_txn_abort(txn);
    mem_free(p.at);
    return code;
}

/* LMDB would make the file for everybody to read, but for the process's mask. */
static int copy_into(MDB_env *env, int file) {
    mdb_filehandle_t from;
    struct stat status;
    int code = mdb_env_get_fd(env, &from);
    if (code != 0) {
        return code;
    }
    if (fstat(from, &status) != 0 || fchmod(file, status.st_mode & 0777) != 0) {
        return errno;
    }
    code = mdb_env_copyfd2(env, file, MDB_CP_COMPACT);
    return code != 0 ? code : fsync(file) == 0 ? 0 : errno;
}

int table_space_copy(MDB_env *env, const char *to) {
    (void)unlink(to);
    int file = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) {
        return errno;
    }
    int code = copy_into(env, file);
    (void)close(file);
    if (code != 0) {
        (void)unlink(to);
    }
    return code;
}
