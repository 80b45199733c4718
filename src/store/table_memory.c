/* The table in memory: each tree is an array sorted by key. A write transaction copies the array of a tree before its
 * first change to it and puts the copy in its place when it commits; entries themselves never change. */
#include "base/mem.h"
#include "base/must.h"
#include "store/table.h"

struct entry {
    uint64_t txn; /* the write transaction that made it */
    size_t key_bytes;
    size_t value_bytes;
    uint8_t bytes[]; /* key, value */
};

struct tree {
    struct entry **at;
    size_t count;
    size_t capacity;
};

struct table_memory {
    struct tree trees[TABLE_TREES];
    uint64_t txn; /* number of the last write transaction */
    bool writing;
    bool (*fail)(void *user, struct error *error);
    void *user;
};

struct memory_table {
    struct table base;
    struct table_memory *memory;
};

struct table_txn {
    struct table_memory *memory;
    bool write;
    bool copied[TABLE_TREES];
    struct tree trees[TABLE_TREES]; /* views of the committed trees, or copies */
    struct tree replaced;           /* committed entries that are not in the copies any more */
    uint64_t changed;
};

struct table_cursor {
    const struct tree *tree;
    size_t at;
};

static struct span key_of(const struct entry *e) {
    return span_of(e->bytes, e->key_bytes);
}

static struct span value_of(const struct entry *e) {
    return span_of(e->bytes + e->key_bytes, e->value_bytes);
}

static int compare(struct span a, struct span b) {
    size_t shorter = a.len < b.len ? a.len : b.len;
    int order = shorter > 0 ? memcmp(a.ptr, b.ptr, shorter) : 0;
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

/* Where `key` is or would be. New keys mostly go to the end. */
static size_t place_of(const struct tree *t, struct span key, bool *found) {
    size_t low = 0;
    size_t high = t->count;
    if (high > 0 && compare(key_of(t->at[high - 1]), key) < 0) {
        low = high;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare(key_of(t->at[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *found = low < t->count && span_equal(key_of(t->at[low]), key);
    return low;
}

static void tree_insert(struct tree *t, size_t place, struct entry *e) {
    if (t->count == t->capacity) {
        t->capacity = t->capacity > 0 ? t->capacity * 2 : 8;
        t->at = mem_resize(t->at, t->capacity * sizeof(struct entry *));
    }
    memmove(t->at + place + 1, t->at + place, (t->count - place) * sizeof(struct entry *));
    t->at[place] = e;
    t->count++;
}

static struct tree *tree_to_change(struct table_txn *x, enum table_tree tree) {
    must(x->write);
    struct tree *t = &x->trees[tree];
    if (!x->copied[tree]) {
        struct entry **copy = mem_alloc((t->count + 8) * sizeof(struct entry *));
        if (t->count > 0) {
            memcpy(copy, t->at, t->count * sizeof(struct entry *));
        }
        *t = (struct tree){copy, t->count, t->count + 8};
        x->copied[tree] = true;
    }
    return t;
}

/* An entry leaves the copy: gone at once when this transaction made it, at the commit when it is committed. */
static void entry_drop(struct table_txn *x, struct entry *e) {
    if (e->txn == x->memory->txn) {
        mem_free(e);
    } else {
        tree_insert(&x->replaced, x->replaced.count, e);
    }
}

static void memory_close(struct table *t) {
    mem_free(t);
}

static struct table_txn *memory_begin(struct table *table, bool write, struct error *error) {
    (void)error;
    struct table_memory *m = ((struct memory_table *)table)->memory;
    must(!write || !m->writing);
    struct table_txn *x = mem_zero(1, sizeof *x);
    x->memory = m;
    x->write = write;
    memcpy(x->trees, m->trees, sizeof x->trees);
    if (write) {
        m->writing = true;
        m->txn++;
    }
    return x;
}

static void end(struct table_txn *x) {
    if (x->write) {
        x->memory->writing = false;
    }
    mem_free(x->replaced.at);
    mem_free(x);
}

static void memory_abort(struct table_txn *x) {
    for (int i = 0; i < TABLE_TREES; i++) {
        if (!x->copied[i]) {
            continue;
        }
        for (size_t j = 0; j < x->trees[i].count; j++) {
            if (x->trees[i].at[j]->txn == x->memory->txn) {
                mem_free(x->trees[i].at[j]);
            }
        }
        mem_free(x->trees[i].at);
    }
    end(x);
}

static bool memory_commit(struct table_txn *x, struct error *error) {
    struct table_memory *m = x->memory;
    if (x->write && m->fail != NULL && !m->fail(m->user, error)) {
        memory_abort(x);
        return false;
    }
    for (int i = 0; i < TABLE_TREES; i++) {
        if (x->copied[i]) {
            mem_free(m->trees[i].at);
            m->trees[i] = x->trees[i];
        }
    }
    for (size_t i = 0; i < x->replaced.count; i++) {
        mem_free(x->replaced.at[i]);
    }
    end(x);
    return true;
}

static bool memory_sound(struct table_txn *x, struct error *error) {
    (void)x;
    (void)error;
    return true;
}

static bool memory_get(struct table_txn *x, enum table_tree tree, struct span key, struct span *value) {
    bool found;
    size_t place = place_of(&x->trees[tree], key, &found);
    if (found) {
        *value = value_of(x->trees[tree].at[place]);
    }
    return found;
}

static uint64_t memory_changed(const struct table_txn *x) {
    return x->changed;
}

static bool memory_put(struct table_txn *x, enum table_tree tree, struct span key, struct span value,
                       struct error *error) {
    (void)error;
    struct tree *t = tree_to_change(x, tree);
    x->changed += key.len + value.len;
    struct entry *e = mem_alloc(sizeof *e + key.len + value.len);
    *e = (struct entry){x->memory->txn, key.len, value.len};
    memcpy(e->bytes, key.ptr, key.len);
    if (value.len > 0) {
        memcpy(e->bytes + key.len, value.ptr, value.len);
    }
    bool found;
    size_t place = place_of(t, key, &found);
    if (found) {
        entry_drop(x, t->at[place]);
        t->at[place] = e;
    } else {
        tree_insert(t, place, e);
    }
    return true;
}

static bool memory_remove(struct table_txn *x, enum table_tree tree, struct span key, struct error *error) {
    (void)error;
    bool found;
    size_t place = place_of(&x->trees[tree], key, &found);
    if (found) {
        struct tree *t = tree_to_change(x, tree);
        x->changed += key.len;
        entry_drop(x, t->at[place]);
        t->count--;
        memmove(t->at + place, t->at + place + 1, (t->count - place) * sizeof(struct entry *));
    }
    return true;
}

static bool memory_seek(struct table_txn *x, enum table_tree tree, struct span from, struct span *key,
                        struct span *value) {
    bool found;
    const struct tree *t = &x->trees[tree];
    size_t place = place_of(t, from, &found);
    if (place == t->count) {
        return false;
    }
    *key = key_of(t->at[place]);
    *value = value_of(t->at[place]);
    return true;
}

static struct table_cursor *memory_cursor_open(struct table_txn *x, enum table_tree tree, struct span from) {
    bool found;
    struct table_cursor *c = mem_alloc(sizeof *c);
    *c = (struct table_cursor){&x->trees[tree], place_of(&x->trees[tree], from, &found)};
    return c;
}

static bool memory_cursor_next(struct table_cursor *c, struct span *key, struct span *value) {
    if (c->at == c->tree->count) {
        return false;
    }
    *key = key_of(c->tree->at[c->at]);
    *value = value_of(c->tree->at[c->at]);
    c->at++;
    return true;
}

static void memory_cursor_close(struct table_cursor *c) {
    mem_free(c);
}

static const struct table_ops memory_ops = {
    .close = memory_close,
    .begin = memory_begin,
    .commit = memory_commit,
    .abort = memory_abort,
    .changed = memory_changed,
    .sound = memory_sound,
    .get = memory_get,
    .put = memory_put,
    .remove = memory_remove,
    .seek = memory_seek,
    .cursor_open = memory_cursor_open,
    .cursor_next = memory_cursor_next,
    .cursor_close = memory_cursor_close,
};

struct table_memory *table_memory_create(bool (*fail)(void *user, struct error *error), void *user) {
    struct table_memory *m = mem_zero(1, sizeof *m);
    m->fail = fail;
    m->user = user;
    return m;
}

void table_memory_destroy(struct table_memory *m) {
    must(!m->writing);
    for (int i = 0; i < TABLE_TREES; i++) {
        for (size_t j = 0; j < m->trees[i].count; j++) {
            mem_free(m->trees[i].at[j]);
        }
        mem_free(m->trees[i].at);
    }
    mem_free(m);
}

struct table *table_memory_open(struct table_memory *m) {
    struct memory_table *t = mem_alloc(sizeof *t);
    *t = (struct memory_table){{&memory_ops}, m};
    return &t->base;
}
