#include "store/table_space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    STARVED_MAX = 16,
    MOVED_AT_ONCE = 256, /* pages */
    FREE_TREE = 0
}; /* LMDB's own: number of a transaction -> a count, and so many pages that it has freed */

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

static void pages_add(struct pages *p, size_t page) {
    if (p->count == p->capacity) {
        p->capacity = p->capacity > 0 ? p->capacity * 2 : 256;
        p->at = mem_resize(p->at, p->capacity * sizeof *p->at);
    }
    p->at[p->count++] = page;
}

static int page_compare(const void *a, const void *b) {
    size_t x = *(const size_t *)a;
    size_t y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* 0, or the number of the error. A file system that cannot reserve, or has no holes, is taken as it is. */
static int blocks(int file, int mode, uint64_t from, uint64_t bytes) {
    int code;
    do {
        code = fallocate(file, mode | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)bytes) == 0 ? 0 : errno;
    } while (code == EINTR);
    return code == EOPNOTSUPP || code == ENOSYS ? 0 : code == EFBIG ? ENOSPC : code;
}

/* ---- which pages are known to have blocks ---- */

static bool is_backed(const struct table_space *s, size_t page) {
    return page / 64 < s->words && (s->backed[page / 64] >> page % 64 & 1) != 0;
}

static void backed_set(struct table_space *s, size_t page, bool backed) {
    size_t word = page / 64;
    if (word >= s->words) {
        size_t words = (word + 1) * 2;
        s->backed = mem_resize(s->backed, words * sizeof *s->backed);
        memset(s->backed + s->words, 0, (words - s->words) * sizeof *s->backed);
        s->words = words;
    }
    s->backed[word] = (s->backed[word] & ~(1ULL << page % 64)) | (uint64_t)backed << page % 64;
}

/* Gives pages blocks, or takes them: those that follow one another at once. */
static int pages_change(struct table_space *s, int file, struct pages *p, bool back) {
    int code = 0;
    if (p->count > 0) {
        qsort(p->at, p->count, sizeof *p->at, page_compare);
    }
    for (size_t i = 0, end; i < p->count && code == 0; i = end) {
        for (end = i + 1; end < p->count && p->at[end] == p->at[end - 1] + 1;) {
            end++;
        }
        code = blocks(file, back ? 0 : FALLOC_FL_PUNCH_HOLE, p->at[i] * s->page_bytes, (end - i) * s->page_bytes);
        for (size_t j = i; j < end && (code == 0 || !back); j++) {
            backed_set(s, p->at[j], back);
        }
    }
    return code;
}

/* Blocks behind the end of the file, which were reserved for it: to cut it where it ends gives them back. */
static int cut_behind(struct table_space *s, int file) {
    struct stat status;
    for (uint64_t page = s->end / s->page_bytes; page * s->page_bytes < s->behind; page++) {
        backed_set(s, page, false);
    }
    s->behind = 0;
    return fstat(file, &status) == 0 && ftruncate(file, status.st_size) == 0 ? 0 : errno;
}

/* ---- room ---- */

/* Free pages in the order in which LMDB takes them: those from `first` on and before `end`. */
struct choice {
    const struct table_space *space;
    uint64_t first;
    uint64_t end;
    bool bare; /* but for those that are known to have blocks */
    uint64_t seen;
    struct pages pages;
};

/* LMDB takes what the oldest transaction has freed, and of that the lowest page, which is the last of a list. */
static void visit_choose(void *context, MDB_val list, size_t count) {
    struct choice *c = context;
    for (size_t i = count; i > 0 && c->seen < c->end; i--, c->seen++) {
        size_t page = ((const size_t *)list.mv_data)[i];
        bool inside = page < c->space->end / c->space->page_bytes;
        if (inside && c->seen >= c->first && !(c->bare && is_backed(c->space, page))) {
            pages_add(&c->pages, page);
        }
    }
}

/* Gives some of the first `end` free pages blocks, from `*from` on, and says how far it came. */
static int some_reserve(struct table_space *s, int file, const struct pages *free, size_t *from, size_t end) {
    struct pages some = {NULL, 0, 0};
    size_t at = *from;
    for (; at < end && some.count < MOVED_AT_ONCE; at++) {
        if (!is_backed(s, free->at[at])) {
            pages_add(&some, free->at[at]);
        }
    }
    int code = pages_change(s, file, &some, true);
    *from = code == 0 ? at : *from;
    mem_free(some.at);
    return code;
}

/* Takes the blocks of some of the last free pages before `*end`, but of none before `from`. */
static int some_punch(struct table_space *s, int file, const struct pages *free, size_t from, size_t *end) {
    struct pages some = {NULL, 0, 0};
    for (; *end > from && some.count < MOVED_AT_ONCE; (*end)--) {
        pages_add(&some, free->at[*end - 1]);
    }
    int code = some.count > 0 ? pages_change(s, file, &some, false) : ENOSPC;
    mem_free(some.at);
    return code;
}

/* The disk is full: what LMDB takes last gives its blocks to what it takes first, for it would come to a hole before it
 * came to them. Others that write to the disk may be faster, so a little at a time. */
static int blocks_move(struct table_space *s, int file, uint64_t count) {
    MDB_txn *txn;
    int code = mdb_txn_begin(s->env, NULL, 0, &txn);
    if (code != 0) {
        return code;
    }
    struct choice c = {.space = s, .end = UINT64_MAX};
    lists_visit(s->env, false, visit_choose, &c); /* as long as the transaction lasts nobody writes */
    size_t from = 0;
    size_t end = c.pages.count;
    while (code == 0 && from < end && from < count) {
        code = some_reserve(s, file, &c.pages, &from, end < count ? end : count);
        if (code == ENOSPC) {
            code = some_punch(s, file, &c.pages, from, &end);
        }
    }
    const bool all = end == c.pages.count || from >= count;
    mdb_txn_abort(txn);
    mem_free(c.pages.at);
    return code != 0 || all ? code : ENOSPC;
}

static int inside_reserve(struct table_space *s, int file, uint64_t count, bool may_punch) {
    struct choice c = {.space = s, .end = count, .bare = true};
    lists_visit(s->env, true, visit_choose, &c);
    int code = pages_change(s, file, &c.pages, true);
    if (code == ENOSPC && s->behind > s->end) {
        code = cut_behind(s, file); /* LMDB comes to these last: they are of no use before the pages inside */
        code = code != 0 ? code : pages_change(s, file, &c.pages, true);
    }
    mem_free(c.pages.at);
    return code == ENOSPC && may_punch ? blocks_move(s, file, c.seen) : code;
}

static int behind_reserve(struct table_space *s, int file, uint64_t bytes) {
    uint64_t from = s->behind > s->end ? s->behind : s->end;
    uint64_t to = s->end + bytes;
    int code = to > from ? blocks(file, 0, from, to - from) : 0;
    for (uint64_t at = from; at < to && code == 0; at += s->page_bytes) {
        backed_set(s, at / s->page_bytes, true);
    }
    s->behind = code == 0 && to > s->behind ? to : s->behind;
    return code;
}

static int look(struct table_space *s, mdb_filehandle_t *file) {
    MDB_envinfo info;
    MDB_stat stat;
    int code = mdb_env_get_fd(s->env, file);
    code = code != 0 ? code : mdb_env_info(s->env, &info);
    code = code != 0 ? code : mdb_env_stat(s->env, &stat);
    if (code == 0) {
        s->page_bytes = stat.ms_psize;
        s->end = ((uint64_t)info.me_last_pgno + 1) * s->page_bytes;
    }
    return code;
}

int table_space_reserve(struct table_space *s, uint64_t bytes, bool may_punch) {
    mdb_filehandle_t file;
    int code = look(s, &file);
    if (code != 0) {
        return code;
    }
    uint64_t wanted = (bytes + s->page_bytes - 1) / s->page_bytes;
    uint64_t inside = s->starved > 0 ? 0 : table_space_free(s->env);
    code = inside_reserve(s, file, wanted << s->starved, may_punch);
    return code != 0 || inside >= wanted ? code : behind_reserve(s, file, (wanted - inside) * s->page_bytes);
}

void table_space_ended(struct table_space *s, bool space) {
    s->starved = space ? 0 : s->starved < STARVED_MAX ? s->starved + 1 : s->starved;
}

int table_space_punch(struct table_space *s, uint64_t keep) {
    MDB_txn *txn;
    mdb_filehandle_t file;
    int code = look(s, &file);
    code = code != 0 ? code : mdb_txn_begin(s->env, NULL, 0, &txn);
    if (code != 0) {
        return code;
    }
    struct choice c = {.space = s, .first = keep / s->page_bytes, .end = UINT64_MAX};
    lists_visit(s->env, false, visit_choose, &c); /* as long as the transaction lasts nobody writes */
    code = pages_change(s, file, &c.pages, false);
    code = code != 0 ? code : cut_behind(s, file);
    mdb_txn_abort(txn);
    mem_free(c.pages.at);
    return code;
}

void table_space_deinit(struct table_space *s) {
    mem_free(s->backed);
    *s = (struct table_space){.env = NULL};
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
