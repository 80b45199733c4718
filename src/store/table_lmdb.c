/* The table in LMDB: one file, one named tree for each enum table_tree. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/table.h"
#include "store/table_pages.h"
#include "store/table_space.h"

#define FILE_NAME "table.mdb"
#define MAKING_NAME "table.making" /* while it is made */

enum { READERS_MAX = 512, KEY_MAX = 511, STAT_BLOCK = 512, PAGE_BYTES = 4096 };
#define WHOLE_BYTES_MAX (1ULL << 30) /* of a table: the start looks at all of its pages up to this size */
#define HEADROOM_BYTES (4ULL << 30)  /* of the map, at most, */
#define HEADROOM_TIMES 64            /* and at most so many times what the table may hold */
#define ROOM_MIN (64ULL << 20)       /* of the map, beyond the file, when there is little address space */
#define REST_BYTES_MIN (2ULL << 20)  /* less is not worth a hole */
#define COPY_BYTES_MIN (64ULL << 20) /* a shorter file is not made anew */
#define SPACE_MIN (8ULL << 20)       /* with less, a short write is taken for what it is */

static const char *const tree_names[TABLE_TREES] = {
    [TABLE_META] = "meta",         [TABLE_SESSIONS] = "sessions",     [TABLE_SUBSCRIPTIONS] = "subscriptions",
    [TABLE_HELD] = "held",         [TABLE_FLIGHTS] = "flights",       [TABLE_QUEUE] = "queue",
    [TABLE_MESSAGES] = "messages", [TABLE_REFERENCES] = "references", [TABLE_RETAINED] = "retained",
    [TABLE_WILLS] = "wills",       [TABLE_POSITIONS] = "positions",
};

struct lmdb_table {
    struct table base;
    MDB_env *env;
    MDB_dbi trees[TABLE_TREES];
    char *folder;
    uint64_t bytes_max;
    struct table_space space;
    _Atomic unsigned readers; /* transactions that read */
};

/* Where a tree of a write transaction ends: no key of it is greater. Keys beyond it are appended, which fills pages
 * wholly where ordinary inserts leave them half empty. */
struct tail {
    bool known;
    size_t bytes;
    uint8_t key[KEY_MAX];
};

struct table_txn {
    struct lmdb_table *table;
    MDB_txn *txn;
    int failure; /* the first failure of a read or change; 0: none */
    MDB_cursor *cursors[TABLE_TREES];
    struct tail *tails;          /* TABLE_TREES of them in a write transaction, else NULL */
    uint64_t changed;            /* bytes of the pages that it has changed: LMDB has a copy of each until the end */
    uintptr_t page[TABLE_TREES]; /* a place on the page that was changed last */
};

struct table_cursor {
    struct table_txn *txn;
    MDB_cursor *cursor;
    bool positioned; /* the next report is where the cursor stands */
    bool ended;
};

static enum error_kind kind_of(int code) {
    switch (code) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
        return ERROR_NO_SPACE;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
        return ERROR_DAMAGED;
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        return ERROR_FORMAT;
    default:
        return code > 0 ? error_kind_of(code) : ERROR_IO;
    }
}

/* The map is larger than the table may be, so that it is full only where address space is scarce. */
static bool fail(struct error *error, const char *what, int code) {
    if (code == MDB_MAP_FULL) {
        return error_set(error, ERROR_NO_SPACE, 0,
                         "cannot %s " FILE_NAME ": its map is full; a start makes it larger, if there is address space "
                         "(ulimit -v)",
                         what);
    }
    return error_set(error, kind_of(code), code > 0 ? code : 0, "cannot %s " FILE_NAME ": %s", what,
                     mdb_strerror(code));
}

/* LMDB reports a write that came short, as on a full disk, with the number of an I/O error. Nothing has changed then:
 * what it wrote is not referenced by anything, and the next try writes it anew. */
static int code_of_table(const struct lmdb_table *t, int code) {
    struct statvfs vfs;
    mdb_filehandle_t file;
    if (code != EIO || mdb_env_get_fd(t->env, &file) != 0 || fstatvfs(file, &vfs) != 0) {
        return code;
    }
    return (uint64_t)vfs.f_bavail * vfs.f_frsize < SPACE_MIN ? ENOSPC : code;
}

static bool noted(struct table_txn *x, int code) {
    if (code != 0 && code != MDB_NOTFOUND && x->failure == 0) {
        x->failure = code;
    }
    return code == 0;
}

static MDB_val value_of(struct span s) {
    return (MDB_val){s.len, (void *)(uintptr_t)s.ptr};
}

static struct span span_of_value(MDB_val v) {
    return span_of(v.mv_data, v.mv_size);
}

static struct lmdb_table *of(struct table *t) {
    return (struct lmdb_table *)t;
}

static void lmdb_close(struct table *t) {
    table_space_deinit(&of(t)->space);
    if (of(t)->env != NULL) {
        mdb_env_close(of(t)->env);
    }
    mem_free(of(t)->folder);
    mem_free(t);
}

static struct table_txn *lmdb_begin(struct table *t, bool write, struct error *error) {
    struct table_txn *x = mem_zero(1, sizeof *x);
    x->table = of(t);
    atomic_fetch_add(&x->table->readers, write ? 0 : 1);
    int code = mdb_txn_begin(x->table->env, NULL, write ? 0 : MDB_RDONLY, &x->txn);
    if (code != 0) {
        atomic_fetch_sub(&x->table->readers, write ? 0 : 1);
        mem_free(x);
        fail(error, "begin a transaction in", code);
        return NULL;
    }
    if (write) {
        x->tails = mem_zero(TABLE_TREES, sizeof *x->tails);
    }
    return x;
}

static void release(struct table_txn *x) {
    for (int i = 0; i < TABLE_TREES; i++) {
        if (x->cursors[i] != NULL) {
            mdb_cursor_close(x->cursors[i]);
        }
    }
    mem_free(x->tails);
}

static void lmdb_abort(struct table_txn *x) {
    bool reads = x->tails == NULL;
    if (!reads && x->failure != 0 && code_of_table(x->table, x->failure) == ENOSPC) {
        table_space_ended(&x->table->space, false);
    }
    release(x);
    mdb_txn_abort(x->txn);
    atomic_fetch_sub(&x->table->readers, reads ? 1 : 0);
    mem_free(x);
}

static bool lmdb_sound(struct table_txn *x, struct error *error) {
    return x->failure == 0 || fail(error, "read or change", code_of_table(x->table, x->failure));
}

/* After a failure in the middle of its meta page LMDB refuses all further changes: then there is nothing to wait for.
 */
static bool environment_lives(const struct lmdb_table *t) {
    MDB_txn *probe;
    if (mdb_txn_begin(t->env, NULL, 0, &probe) != 0) {
        return false;
    }
    mdb_txn_abort(probe);
    return true;
}

static bool lmdb_commit(struct table_txn *x, struct error *error) {
    if (!lmdb_sound(x, error)) {
        lmdb_abort(x);
        return false;
    }
    struct lmdb_table *table = x->table;
    bool reads = x->tails == NULL;
    release(x);
    int code = mdb_txn_commit(x->txn);
    atomic_fetch_sub(&table->readers, reads ? 1 : 0);
    mem_free(x);
    code = code_of_table(table, code);
    if (!reads && (code == 0 || code == ENOSPC)) {
        table_space_ended(&table->space, code == 0);
    }
    if (code == 0) {
        return true;
    }
    fail(error, "commit to", code);
    if (!environment_lives(table)) {
        error->kind = ERROR_IO;
    }
    return false;
}

static MDB_cursor *cursor_of(struct table_txn *x, enum table_tree tree) {
    if (x->cursors[tree] == NULL) {
        noted(x, mdb_cursor_open(x->txn, x->table->trees[tree], &x->cursors[tree]));
    }
    return x->cursors[tree];
}

static bool lmdb_get(struct table_txn *x, enum table_tree tree, struct span key, struct span *value) {
    MDB_val k = value_of(key);
    MDB_val v = {0, NULL};
    if (!noted(x, mdb_get(x->txn, x->table->trees[tree], &k, &v))) {
        return false;
    }
    *value = span_of_value(v);
    return true;
}

static int compare(struct span a, struct span b) {
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* True when `key` lies beyond all keys of the tree; then it is the new end. */
static bool beyond_tail(struct table_txn *x, enum table_tree tree, MDB_cursor *cursor, struct span key) {
    struct tail *tail = &x->tails[tree];
    if (!tail->known) {
        MDB_val k = {0, NULL};
        MDB_val v;
        if (noted(x, mdb_cursor_get(cursor, &k, &v, MDB_LAST)) && noted(x, k.mv_size <= KEY_MAX ? 0 : MDB_CORRUPTED)) {
            memcpy(tail->key, k.mv_data, k.mv_size);
            tail->bytes = k.mv_size;
        }
        tail->known = true;
    }
    if (tail->bytes > 0 && compare(key, span_of(tail->key, tail->bytes)) <= 0) {
        return false;
    }
    memcpy(tail->key, key.ptr, key.len);
    tail->bytes = key.len;
    return true;
}

/* A row there was changed. Rows that are changed in the order of their keys are on few pages, and then each of these is
 * counted once. `bytes`: of a value that is new. */
static void count_page(struct table_txn *x, enum table_tree tree, const void *at, size_t bytes) {
    const uintptr_t place = (uintptr_t)at;
    const uintptr_t last = x->page[tree];
    if ((place > last ? place - last : last - place) >= PAGE_BYTES) {
        x->changed += PAGE_BYTES;
        x->page[tree] = place;
    }
    x->changed += bytes > PAGE_BYTES / 2 ? bytes : 0; /* it has pages of its own */
}

static uint64_t lmdb_changed(const struct table_txn *x) {
    return x->changed;
}

static bool lmdb_put(struct table_txn *x, enum table_tree tree, struct span key, struct span value,
                     struct error *error) {
    must(key.len > 0 && key.len <= KEY_MAX);
    MDB_cursor *cursor = cursor_of(x, tree);
    if (cursor == NULL) {
        return lmdb_sound(x, error);
    }
    MDB_val k = value_of(key);
    MDB_val v = value_of(value);
    unsigned flags = beyond_tail(x, tree, cursor, key) ? MDB_APPEND : 0;
    if (!noted(x, mdb_cursor_put(cursor, &k, &v, flags))) {
        return lmdb_sound(x, error);
    }
    if (noted(x, mdb_cursor_get(cursor, &k, &v, MDB_GET_CURRENT))) {
        count_page(x, tree, k.mv_data, value.len);
    }
    return lmdb_sound(x, error);
}

static bool lmdb_remove(struct table_txn *x, enum table_tree tree, struct span key, struct error *error) {
    MDB_cursor *cursor = cursor_of(x, tree);
    MDB_val k = value_of(key);
    MDB_val v;
    if (cursor != NULL && noted(x, mdb_cursor_get(cursor, &k, &v, MDB_SET_KEY))) {
        count_page(x, tree, k.mv_data, 0);
        noted(x, mdb_cursor_del(cursor, 0));
    }
    return lmdb_sound(x, error);
}

static bool lmdb_seek(struct table_txn *x, enum table_tree tree, struct span from, struct span *key,
                      struct span *value) {
    MDB_cursor *cursor = cursor_of(x, tree);
    MDB_val k = value_of(from);
    MDB_val v;
    if (cursor == NULL || !noted(x, mdb_cursor_get(cursor, &k, &v, from.len > 0 ? MDB_SET_RANGE : MDB_FIRST))) {
        return false;
    }
    *key = span_of_value(k);
    *value = span_of_value(v);
    return true;
}

static struct table_cursor *lmdb_cursor_open(struct table_txn *x, enum table_tree tree, struct span from) {
    struct table_cursor *c = mem_zero(1, sizeof *c);
    c->txn = x;
    c->ended = !noted(x, mdb_cursor_open(x->txn, x->table->trees[tree], &c->cursor));
    if (!c->ended) {
        MDB_val k = value_of(from);
        MDB_val v;
        c->ended = !noted(x, mdb_cursor_get(c->cursor, &k, &v, from.len > 0 ? MDB_SET_RANGE : MDB_FIRST));
        c->positioned = true;
    }
    return c;
}

static bool lmdb_cursor_next(struct table_cursor *c, struct span *key, struct span *value) {
    if (c->ended) {
        return false;
    }
    MDB_val k;
    MDB_val v;
    if (!noted(c->txn, mdb_cursor_get(c->cursor, &k, &v, c->positioned ? MDB_GET_CURRENT : MDB_NEXT))) {
        c->ended = true;
        return false;
    }
    c->positioned = false;
    *key = span_of_value(k);
    *value = span_of_value(v);
    return true;
}

static void lmdb_cursor_close(struct table_cursor *c) {
    if (c->cursor != NULL) {
        mdb_cursor_close(c->cursor);
    }
    mem_free(c);
}

/* Bytes of the file up to its last page, and of those the ones that no tree uses. */
struct space {
    mdb_filehandle_t file;
    uint64_t end;
    uint64_t free;
    uint64_t page_bytes;
};

static int space_of(struct lmdb_table *t, struct space *s) {
    MDB_envinfo info;
    MDB_stat stat;
    int code = mdb_env_get_fd(t->env, &s->file);
    code = code != 0 ? code : mdb_env_info(t->env, &info);
    code = code != 0 ? code : mdb_env_stat(t->env, &stat);
    if (code == 0) {
        s->page_bytes = stat.ms_psize;
        s->end = ((uint64_t)info.me_last_pgno + 1) * s->page_bytes;
        atomic_fetch_add(&t->readers, 1);
        s->free = table_space_free(t->env) * s->page_bytes;
        atomic_fetch_sub(&t->readers, 1);
        s->free = s->free < s->end ? s->free : s->end;
    }
    return code;
}

/* What the disk has of the file. */
static uint64_t block_bytes(mdb_filehandle_t file) {
    struct stat status;
    return fstat(file, &status) == 0 ? (uint64_t)status.st_blocks * STAT_BLOCK : 0;
}

/* What the disk has of the file and no tree uses: free pages that are no holes, and what is reserved behind its end. */
static uint64_t room_bytes(const struct space *s) {
    uint64_t there = block_bytes(s->file);
    uint64_t used = s->end - s->free;
    return there > used ? there - used : 0;
}

/* Free pages inside the file are room; for the rest blocks behind its end become the table's, so that a full disk
 * cannot cut its writes short. */
static bool lmdb_reserve(struct table *t, uint64_t bytes, struct error *error) {
    struct space s;
    int code = space_of(of(t), &s);
    if (code != 0) {
        return fail(error, "look at", code);
    }
    uint64_t limit = of(t)->bytes_max - of(t)->bytes_max / 4;
    if (s.end - s.free > limit) {
        return error_set(error, ERROR_NO_SPACE, 0,
                         "the table holds %llu bytes: more than three quarters of table_size, which is %llu",
                         (unsigned long long)(s.end - s.free), (unsigned long long)of(t)->bytes_max);
    }
    code = table_space_reserve(&of(t)->space, bytes, atomic_load(&of(t)->readers) == 0);
    return code == 0 || fail(error, "reserve room for", code);
}

/* What is kept is counted by reserve() as room; it is inside the file, as far as there is so much, else behind its end.
 * No reader may look at what an older commit refers to. */
static bool lmdb_rest(struct table *t, uint64_t keep, struct error *error) {
    struct space s;
    int code = space_of(of(t), &s);
    if (code == 0 && room_bytes(&s) > keep + REST_BYTES_MIN && atomic_load(&of(t)->readers) == 0) {
        code = table_space_punch(&of(t)->space, keep);
        code = code != 0 ? code : table_space_reserve(&of(t)->space, keep, true);
    }
    return code == 0 || fail(error, "give back what is free of", code);
}

static uint64_t lmdb_bytes(struct table *t, uint64_t *used) {
    struct space s;
    *used = 0;
    if (space_of(of(t), &s) != 0) {
        return 0;
    }
    *used = s.end - s.free;
    return block_bytes(s.file);
}

static int open_trees(struct lmdb_table *t) {
    MDB_txn *txn;
    int code = mdb_txn_begin(t->env, NULL, 0, &txn);
    if (code != 0) {
        return code;
    }
    for (int i = 0; i < TABLE_TREES && code == 0; i++) {
        code = mdb_dbi_open(txn, tree_names[i], MDB_CREATE, &t->trees[i]);
    }
    if (code != 0) {
        mdb_txn_abort(txn);
        return code;
    }
    return mdb_txn_commit(txn);
}

static int open_env_with(struct lmdb_table *t, const char *file, uint64_t map_bytes) {
    int code = mdb_env_create(&t->env);
    if (code != 0) {
        t->env = NULL;
        return code;
    }
    code = mdb_env_set_mapsize(t->env, map_bytes);
    code = code != 0 ? code : mdb_env_set_maxdbs(t->env, TABLE_TREES);
    code = code != 0 ? code : mdb_env_set_maxreaders(t->env, READERS_MAX);
    code = code != 0 ? code : mdb_env_open(t->env, file, MDB_NOSUBDIR | MDB_NOTLS, 0600);
    return code != 0 ? code : open_trees(t);
}

/* Beyond the table and a quarter of it: for what is under way when it is full, and for what makes it less. */
static uint64_t headroom(uint64_t bytes_max) {
    uint64_t most = HEADROOM_BYTES;
    return bytes_max < most / HEADROOM_TIMES ? bytes_max * HEADROOM_TIMES : most;
}

/* The map is not memory, but address space, of which there may be little: then it takes half of what is allowed, and
 * less while even that is refused; the file fits at least, or what is in it cannot be read. */
static int open_env(struct lmdb_table *t, const char *file, uint64_t bytes_max) {
    struct stat status;
    struct rlimit limit;
    uint64_t file_bytes = stat(file, &status) == 0 ? (uint64_t)status.st_size : 0;
    uint64_t least = file_bytes + ROOM_MIN;
    uint64_t bytes = (bytes_max > file_bytes ? bytes_max : file_bytes) + bytes_max / 4 + headroom(bytes_max);
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur / 2 < bytes) {
        bytes = limit.rlim_cur / 2;
    }
    t->bytes_max = bytes_max;
    for (;;) {
        bytes = bytes > least ? bytes : least;
        int code = open_env_with(t, file, bytes);
        if (code != ENOMEM || bytes == least) {
            return code;
        }
        mdb_env_close(t->env);
        t->env = NULL;
        bytes /= 2;
    }
}

/* The name of a file in the folder of the store, for the caller to free. */
static char *path_of(const char *folder, const char *name) {
    size_t room = strlen(folder) + 1 + strlen(name) + 1;
    char *path = mem_alloc(room);
    (void)snprintf(path, room, "%s/%s", folder, name);
    return path;
}

/* What names its files have is on stable storage then. 0, or the number of the error. */
static int folder_sync(const char *folder) {
    int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int code = directory >= 0 && fsync(directory) == 0 ? 0 : errno;
    if (directory >= 0) {
        (void)close(directory);
    }
    return code;
}

/* LMDB names a file before the first pages in it are safe: after a power cut it could be there with nothing but zeros,
 * and no start would come past it. So a new table has another name until its first commit is on the disk. What a cut
 * has left of an earlier try is of no use. */
static bool make_file(const char *folder, const char *file, uint64_t bytes_max, struct error *error) {
    struct lmdb_table made = {.env = NULL};
    char *making = path_of(folder, MAKING_NAME);
    char *lock = path_of(folder, MAKING_NAME "-lock");
    (void)unlink(making);
    int code = open_env(&made, making, bytes_max);
    if (made.env != NULL) {
        mdb_env_close(made.env);
    }
    (void)unlink(lock);
    code = code != 0 ? code : rename(making, file) == 0 ? folder_sync(folder) : errno;
    mem_free(making);
    mem_free(lock);
    return code == 0 || fail(error, "make", code);
}

static bool is_missing(const char *file) {
    struct stat status;
    return lstat(file, &status) == 0 ? status.st_size == 0 : errno == ENOENT;
}

/* A long file of which most is free is made anew, and then is to be opened again: `*made`. A copy that fails, as on a
 * full disk, or cannot get the name, has changed nothing. 0, or the number of the error. */
static int make_anew(struct lmdb_table *t, const char *file, bool *made) {
    struct space s;
    *made = false;
    if (space_of(t, &s) != 0 || s.end < COPY_BYTES_MIN || s.free < s.end / 4 * 3) {
        return 0;
    }
    char *making = path_of(t->folder, MAKING_NAME);
    int code = 0;
    if (table_space_copy(t->env, making) == 0) {
        *made = rename(making, file) == 0;
        code = *made ? folder_sync(t->folder) : 0;
        (void)unlink(making);
    }
    mem_free(making);
    return code;
}

static bool lmdb_anew(struct table *table, struct error *error) {
    struct lmdb_table *t = of(table);
    char *file = path_of(t->folder, FILE_NAME);
    bool made;
    int code = make_anew(t, file, &made);
    if (code == 0 && made) {
        mdb_env_close(t->env);
        t->env = NULL;
        code = open_env(t, file, t->bytes_max);
        t->space.env = t->env;
    }
    mem_free(file);
    return code == 0 || fail(error, "make anew", code);
}

/* What a cut has left of a file that was being made. */
static void forget_making(const char *folder) {
    char *making = path_of(folder, MAKING_NAME);
    (void)unlink(making);
    mem_free(making);
}

/* LMDB sees only a file whose pages it can follow without harm. One that was made by a process that was killed then may
 * have its name for now alone: before anything is committed to it, the name is for good. */
static bool open_file(struct lmdb_table *t, const char *folder, const char *file, uint64_t bytes_max,
                      struct error *error) {
    forget_making(folder);
    bool missing = is_missing(file);
    if (missing ? !make_file(folder, file, bytes_max, error) : !table_pages_check(file, WHOLE_BYTES_MAX, error)) {
        return false;
    }
    int code = missing ? 0 : folder_sync(folder);
    code = code != 0 ? code : open_env(t, file, bytes_max);
    return code == 0 || fail(error, "open", code);
}

static const struct table_ops lmdb_ops = {
    .close = lmdb_close,
    .reserve = lmdb_reserve,
    .rest = lmdb_rest,
    .anew = lmdb_anew,
    .bytes = lmdb_bytes,
    .begin = lmdb_begin,
    .commit = lmdb_commit,
    .abort = lmdb_abort,
    .changed = lmdb_changed,
    .sound = lmdb_sound,
    .get = lmdb_get,
    .put = lmdb_put,
    .remove = lmdb_remove,
    .seek = lmdb_seek,
    .cursor_open = lmdb_cursor_open,
    .cursor_next = lmdb_cursor_next,
    .cursor_close = lmdb_cursor_close,
};

bool table_lmdb_missing(const char *path) {
    char *file = path_of(path, FILE_NAME);
    bool missing = is_missing(file);
    mem_free(file);
    return missing;
}

struct table *table_lmdb_open(const char *path, uint64_t bytes_max, struct error *error) {
    struct lmdb_table *t = mem_zero(1, sizeof *t);
    t->base.ops = &lmdb_ops;
    t->folder = mem_copy(path, strlen(path));
    char *file = path_of(path, FILE_NAME);
    bool ok = open_file(t, path, file, bytes_max, error);
    mem_free(file);
    t->space.env = t->env;
    if (!ok) {
        lmdb_close(&t->base);
        return NULL;
    }
    return &t->base;
}
