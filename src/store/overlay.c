#include "store/overlay.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/must.h"
#include "store/bytes.h"
#include "store/rows.h"

enum {
    KEY_INLINE = 24,
    VALUE_INLINE = 24,
    BLOCK_ENTRIES = 1024,
    CAPACITY_MIN = 256,
};

enum state {
    STATE_KNOWN,  /* as in the table: nothing to write */
    STATE_ABSENT, /* known not to be in the table */
    STATE_PUT,
    STATE_REMOVED, /* perhaps in the table: to be removed there */
};

/* A short key or value lies in its array; of a long one the array holds the address. */
struct overlay_entry {
    uint32_t hash;
    uint32_t next_free;
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint8_t tree;
    uint8_t state;
    bool fresh; /* not in the table, whatever happens here */
    _Alignas(8) uint8_t key[KEY_INLINE];
    _Alignas(8) uint8_t value[VALUE_INLINE];
};

struct overlay_slot {
    uint32_t hash;
    uint32_t entry; /* its number, from 1; 0: the slot is free */
};

static struct overlay_entry *entry_at(const struct overlay *o, uint32_t number) {
    return &o->blocks[(number - 1) / BLOCK_ENTRIES][(number - 1) % BLOCK_ENTRIES];
}

static struct span held(const uint8_t *place, size_t bytes, size_t inline_max) {
    const uint8_t *long_place = place;
    if (bytes > inline_max) {
        memcpy(&long_place, place, sizeof long_place);
    }
    return span_of(long_place, bytes);
}

static struct span entry_key(const struct overlay_entry *e) {
    return held(e->key, e->key_bytes, KEY_INLINE);
}

static struct span entry_value(const struct overlay_entry *e) {
    return held(e->value, e->value_bytes, VALUE_INLINE);
}

static void entry_set(struct overlay_entry *e, enum state state, struct span value) {
    must(value.len <= UINT32_MAX);
    e->state = (uint8_t)state;
    e->value_bytes = (uint32_t)value.len;
    if (value.len > VALUE_INLINE) {
        memcpy(e->value, &value.ptr, sizeof value.ptr);
    } else if (value.len > 0) {
        memmove(e->value, value.ptr, value.len);
    }
}

static uint32_t hash_of(enum table_tree tree, struct span key) {
    return (uint32_t)XXH3_64bits_withSeed(key.ptr, key.len, (uint64_t)tree);
}

void overlay_init(struct overlay *o, struct table *table, struct table_txn *txn, lsn_t flushed) {
    *o = (struct overlay){.table = table, .txn = txn, .flushed = flushed};
}

static void free_long_keys(struct overlay *o) {
    for (size_t i = 0; i < o->capacity; i++) {
        if (o->slots[i].entry != 0) {
            const struct overlay_entry *e = entry_at(o, o->slots[i].entry);
            if (e->key_bytes > KEY_INLINE) {
                mem_free((void *)(uintptr_t)entry_key(e).ptr);
            }
        }
    }
}

void overlay_deinit(struct overlay *o) {
    free_long_keys(o);
    for (size_t i = 0; i < o->block_count; i++) {
        mem_free(o->blocks[i]);
    }
    mem_free(o->blocks);
    mem_free(o->slots);
}

static void slots_grow(struct overlay *o) {
    struct overlay_slot *old = o->slots;
    size_t old_capacity = o->capacity;
    o->capacity = old_capacity > 0 ? old_capacity * 2 : CAPACITY_MIN;
    o->slots = mem_zero(o->capacity, sizeof *o->slots);
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].entry != 0) {
            size_t at = old[i].hash & (o->capacity - 1);
            while (o->slots[at].entry != 0) {
                at = (at + 1) & (o->capacity - 1);
            }
            o->slots[at] = old[i];
        }
    }
    mem_free(old);
}

static size_t slot_find(const struct overlay *o, enum table_tree tree, struct span key, uint32_t hash) {
    size_t at = hash & (o->capacity - 1);
    for (; o->slots[at].entry != 0; at = (at + 1) & (o->capacity - 1)) {
        if (o->slots[at].hash == hash) {
            const struct overlay_entry *e = entry_at(o, o->slots[at].entry);
            if (e->tree == tree && span_equal(entry_key(e), key)) {
                break;
            }
        }
    }
    return at;
}

static uint32_t entry_take(struct overlay *o) {
    uint32_t number = o->free;
    if (number != 0) {
        o->free = entry_at(o, number)->next_free;
        return number;
    }
    if (o->used == o->block_count * BLOCK_ENTRIES) {
        o->blocks = mem_resize(o->blocks, (o->block_count + 1) * sizeof(struct overlay_entry *));
        o->blocks[o->block_count++] = mem_alloc(BLOCK_ENTRIES * sizeof(struct overlay_entry));
    }
    return ++o->used;
}

/* The entry of the key; a new one (`*found` false) is not yet set. */
static struct overlay_entry *entry_of(struct overlay *o, enum table_tree tree, struct span key, lsn_t born,
                                      bool *found) {
    if (o->count * 2 >= o->capacity) {
        slots_grow(o);
    }
    uint32_t hash = hash_of(tree, key);
    size_t at = slot_find(o, tree, key, hash);
    *found = o->slots[at].entry != 0;
    if (*found) {
        return entry_at(o, o->slots[at].entry);
    }
    uint32_t number = entry_take(o);
    o->slots[at] = (struct overlay_slot){hash, number};
    o->count++;
    struct overlay_entry *e = entry_at(o, number);
    e->hash = hash;
    e->tree = (uint8_t)tree;
    e->fresh = born > o->flushed;
    e->key_bytes = (uint16_t)key.len;
    if (key.len > KEY_INLINE) {
        const void *copy = mem_copy(key.ptr, key.len);
        memcpy(e->key, &copy, sizeof copy);
    } else {
        memcpy(e->key, key.ptr, key.len);
    }
    return e;
}

/* Takes an entry out of the map; followers that it had displaced move up. */
static void entry_erase(struct overlay *o, size_t at) {
    uint32_t number = o->slots[at].entry;
    struct overlay_entry *e = entry_at(o, number);
    if (e->key_bytes > KEY_INLINE) {
        mem_free((void *)(uintptr_t)entry_key(e).ptr);
    }
    e->next_free = o->free;
    o->free = number;
    o->count--;
    size_t mask = o->capacity - 1;
    size_t hole = at;
    for (size_t next = (at + 1) & mask; o->slots[next].entry != 0; next = (next + 1) & mask) {
        size_t home = o->slots[next].hash & mask;
        if (((next - home) & mask) >= ((next - hole) & mask)) {
            o->slots[hole] = o->slots[next];
            hole = next;
        }
    }
    o->slots[hole].entry = 0;
}

bool overlay_get(struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span *value) {
    if (born > o->flushed) {
        if (o->count == 0) {
            return false;
        }
        size_t at = slot_find(o, tree, key, hash_of(tree, key));
        if (o->slots[at].entry == 0) {
            return false;
        }
        const struct overlay_entry *e = entry_at(o, o->slots[at].entry);
        *value = entry_value(e);
        return e->state == STATE_PUT;
    }
    bool found;
    struct overlay_entry *e = entry_of(o, tree, key, born, &found);
    if (!found) {
        struct span stored;
        bool there = o->table->ops->get(o->txn, tree, key, &stored);
        if (there && stored.len > VALUE_INLINE) {
            o->damaged = true;
            there = false;
        }
        entry_set(e, there ? STATE_KNOWN : STATE_ABSENT, there ? stored : span_of(NULL, 0));
    }
    *value = entry_value(e);
    return e->state == STATE_KNOWN || e->state == STATE_PUT;
}

void overlay_put(struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span value) {
    bool found;
    struct overlay_entry *e = entry_of(o, tree, key, born, &found);
    if (found && e->state == STATE_ABSENT) {
        e->fresh = true;
    }
    entry_set(e, STATE_PUT, value);
}

void overlay_remove(struct overlay *o, enum table_tree tree, struct span key, lsn_t born) {
    if (born > o->flushed) {
        if (o->count > 0) {
            size_t at = slot_find(o, tree, key, hash_of(tree, key));
            if (o->slots[at].entry != 0) {
                entry_erase(o, at);
            }
        }
        return;
    }
    bool found;
    struct overlay_entry *e = entry_of(o, tree, key, born, &found);
    bool absent = found && (e->fresh || e->state == STATE_ABSENT);
    e->fresh = absent;
    entry_set(e, absent ? STATE_ABSENT : STATE_REMOVED, span_of(NULL, 0));
}

/* ---- flush ---- */

static int entry_compare(const void *left, const void *right) {
    const struct overlay_entry *a = *(const struct overlay_entry *const *)left;
    const struct overlay_entry *b = *(const struct overlay_entry *const *)right;
    if (a->tree != b->tree) {
        return a->tree < b->tree ? -1 : 1;
    }
    struct span x = entry_key(a);
    struct span y = entry_key(b);
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : x.len < y.len ? -1 : x.len > y.len;
}

static bool entry_write(struct overlay *o, const struct overlay_entry *e, struct buf *scratch, struct error *error) {
    enum table_tree tree = (enum table_tree)e->tree;
    if (e->state == STATE_REMOVED) {
        return o->table->ops->remove(o->txn, tree, entry_key(e), error);
    }
    struct span value = entry_value(e);
    if (row_has_checksum(tree)) {
        scratch->len = 0;
        buf_bytes(scratch, value);
        le64_put(buf_extend(scratch, ROW_CHECKSUM_BYTES), row_checksum(entry_key(e), value));
        value = buf_span(scratch);
    }
    return o->table->ops->put(o->txn, tree, entry_key(e), value, error);
}

static bool write_all(struct overlay *o, struct error *error) {
    struct overlay_entry **all = mem_alloc((o->count + 1) * sizeof(struct overlay_entry *));
    size_t count = 0;
    for (size_t i = 0; i < o->capacity; i++) {
        if (o->slots[i].entry != 0) {
            struct overlay_entry *e = entry_at(o, o->slots[i].entry);
            if (e->state == STATE_PUT || e->state == STATE_REMOVED) {
                all[count++] = e;
            }
        }
    }
    qsort(all, count, sizeof all[0], entry_compare);
    struct buf scratch = {NULL, 0, 0};
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        ok = entry_write(o, all[i], &scratch, error);
    }
    buf_deinit(&scratch);
    mem_free(all);
    return ok;
}

bool overlay_flush(struct overlay *o, lsn_t flushed, struct error *error) {
    bool ok = o->table->ops->sound(o->txn, error);
    if (ok && o->damaged) {
        ok = error_set(error, ERROR_DAMAGED, 0, "the table has a row of an impossible form; try quartet store check");
    }
    ok = ok && write_all(o, error);
    free_long_keys(o);
    if (o->capacity > 0) {
        memset(o->slots, 0, o->capacity * sizeof *o->slots);
    }
    o->count = 0;
    o->free = 0;
    o->used = 0;
    o->flushed = flushed;
    return ok;
}
