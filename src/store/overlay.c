#include "store/overlay.h"

#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/must.h"
#include "store/bytes.h"
#include "store/rows.h"

enum {
    KEY_INLINE = 24,
    VALUE_INLINE = 32,
    BLOCK_ENTRIES = 1024,
    CAPACITY_MIN = 256,
};
#define NO_SLOT SIZE_MAX

enum state {
    STATE_KNOWN,  /* as in the table: nothing to write */
    STATE_ABSENT, /* known not to be in the table */
    STATE_PUT,
    STATE_REMOVED, /* perhaps in the table: to be removed there */
};

/* A short key or value lies in its array; of a long one the array holds the address. As large as a cache line, for a
 * fold spends most of its time on waiting for these. */
struct overlay_entry {
    union {
        uint32_t value_bytes;
        uint32_t next_free; /* when it is not in use */
    };
    uint16_t key_bytes;
    uint8_t tree; /* TABLE_TREES: the entry is not in use */
    uint8_t state : 2;
    bool fresh : 1; /* not in the table, whatever happens here */
    _Alignas(8) uint8_t key[KEY_INLINE];
    _Alignas(8) uint8_t value[VALUE_INLINE];
};
static_assert(sizeof(struct overlay_entry) == 64, "one cache line");

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
    e->state = state & 3;
    e->value_bytes = (uint32_t)value.len;
    if (value.len > VALUE_INLINE) {
        memcpy(e->value, &value.ptr, sizeof value.ptr);
    } else if (value.len > 0) {
        memmove(e->value, value.ptr, value.len);
    }
}

static uint32_t hash_of(const struct overlay *o, enum table_tree tree, struct span key) {
    return (uint32_t)XXH3_64bits_withSeed(key.ptr, key.len, o->seed + (uint64_t)tree);
}

void overlay_init(struct overlay *o, struct table *table, struct table_txn *txn, lsn_t flushed, uint64_t seed) {
    *o = (struct overlay){.table = table, .txn = txn, .flushed = flushed, .seed = seed};
}

static void long_key_free(const struct overlay_entry *e) {
    if (e->tree != TABLE_TREES && e->key_bytes > KEY_INLINE) {
        mem_free((void *)(uintptr_t)entry_key(e).ptr);
    }
}

static void free_long_keys(struct overlay *o) {
    for (uint32_t number = 1; number <= o->used; number++) {
        long_key_free(entry_at(o, number));
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

/* The slot of the key, or the free one that it would get; there are slots. */
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

/* The same; NO_SLOT when the key has no entry. */
static size_t slot_of(const struct overlay *o, enum table_tree tree, struct span key) {
    if (o->counts[tree] == 0) {
        return NO_SLOT;
    }
    const size_t at = slot_find(o, tree, key, hash_of(o, tree, key));
    return o->slots[at].entry != 0 ? at : NO_SLOT;
}

/* What the view has of it, if it has. */
static bool entry_shows(const struct overlay_entry *e, struct span *value) {
    *value = entry_value(e);
    return e->state == STATE_KNOWN || e->state == STATE_PUT;
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
    uint32_t hash = hash_of(o, tree, key);
    size_t at = slot_find(o, tree, key, hash);
    *found = o->slots[at].entry != 0;
    if (*found) {
        return entry_at(o, o->slots[at].entry);
    }
    uint32_t number = entry_take(o);
    o->slots[at] = (struct overlay_slot){hash, number};
    o->count++;
    o->counts[tree]++;
    struct overlay_entry *e = entry_at(o, number);
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
    long_key_free(e);
    o->count--;
    o->counts[e->tree]--;
    e->tree = TABLE_TREES;
    e->next_free = o->free;
    o->free = number;
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
        const size_t at = slot_of(o, tree, key);
        return at != NO_SLOT && entry_shows(entry_at(o, o->slots[at].entry), value);
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
    return entry_shows(e, value);
}

bool overlay_take(struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span *value) {
    const size_t at = slot_of(o, tree, key);
    if (at != NO_SLOT && (born > o->flushed || entry_at(o, o->slots[at].entry)->fresh)) {
        const bool there = entry_shows(entry_at(o, o->slots[at].entry), value);
        entry_erase(o, at);
        return there;
    }
    if (!overlay_get(o, tree, key, born, value)) {
        return false;
    }
    struct overlay_entry *e = entry_at(o, o->slots[slot_of(o, tree, key)].entry);
    e->state = STATE_REMOVED;
    return true;
}

bool overlay_look(const struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span *value) {
    const size_t at = slot_of(o, tree, key);
    if (at != NO_SLOT) {
        return entry_shows(entry_at(o, o->slots[at].entry), value);
    }
    if (born > o->flushed || !o->table->ops->get(o->txn, tree, key, value)) {
        return false;
    }
    if (row_has_checksum(tree)) {
        value->len -= value->len < ROW_CHECKSUM_BYTES ? value->len : (size_t)ROW_CHECKSUM_BYTES;
    }
    return true;
}

void overlay_put_new(struct overlay *o, enum table_tree tree, struct span key, struct span value) {
    bool found;
    struct overlay_entry *e = entry_of(o, tree, key, 0, &found);
    if (!found || e->state == STATE_ABSENT) {
        e->fresh = true;
    }
    entry_set(e, STATE_PUT, value);
}

bool overlay_add(struct overlay *o, enum table_tree tree, struct span key, struct span value) {
    bool found;
    struct overlay_entry *e = entry_of(o, tree, key, 0, &found);
    if (!found) {
        e->fresh = true;
        entry_set(e, STATE_PUT, value);
    }
    return !found;
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
    const size_t at = slot_of(o, tree, key);
    if (at != NO_SLOT && (born > o->flushed || entry_at(o, o->slots[at].entry)->fresh)) {
        entry_erase(o, at);
        return;
    }
    if (born > o->flushed) {
        return;
    }
    bool found;
    struct overlay_entry *e = entry_of(o, tree, key, born, &found);
    bool absent = found && e->state == STATE_ABSENT;
    entry_set(e, absent ? STATE_ABSENT : STATE_REMOVED, span_of(NULL, 0));
}

/* ---- flush ---- */

/* What a flush sorts: the first bytes of the key as numbers, so that the entry itself is seldom looked at. */
struct place {
    uint64_t first;  /* bytes 0 to 7 of the key, zeros behind its end */
    uint64_t second; /* bytes 8 to 15 */
    const struct overlay_entry *entry;
};

static struct place place_of(const struct overlay_entry *e) {
    uint8_t start[16] = {0};
    struct span key = entry_key(e);
    memcpy(start, key.ptr, key.len < sizeof start ? key.len : sizeof start);
    return (struct place){be64_get(start), be64_get(start + 8), e};
}

static int place_compare(const void *left, const void *right) {
    const struct place *a = left;
    const struct place *b = right;
    if (a->first != b->first) {
        return a->first < b->first ? -1 : 1;
    }
    if (a->second != b->second) {
        return a->second < b->second ? -1 : 1;
    }
    struct span x = entry_key(a->entry);
    struct span y = entry_key(b->entry);
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : x.len < y.len ? -1 : x.len > y.len;
}

/* Keys that begin with an lsn mostly come in order. */
static void places_sort(struct place *places, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (place_compare(&places[i - 1], &places[i]) > 0) {
            qsort(places, count, sizeof places[0], place_compare);
            return;
        }
    }
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

static bool write_places(struct overlay *o, const struct place *places, size_t count, struct error *error) {
    struct buf scratch = {NULL, 0, 0};
    bool ok = true;
    for (size_t i = 0; i < count && ok; i++) {
        ok = entry_write(o, places[i].entry, &scratch, error);
    }
    buf_deinit(&scratch);
    return ok;
}

static bool to_write(const struct overlay_entry *e) {
    return e->tree != TABLE_TREES && (e->state == STATE_PUT || e->state == STATE_REMOVED);
}

/* Fills `places` with the changes of the first tree, then of the second, ...; `ends` says where each ends. */
static void places_fill(const struct overlay *o, struct place *places, size_t ends[TABLE_TREES]) {
    size_t starts[TABLE_TREES + 1] = {0};
    for (uint32_t number = 1; number <= o->used; number++) {
        const struct overlay_entry *e = entry_at(o, number);
        if (to_write(e)) {
            starts[e->tree + 1]++;
        }
    }
    for (int tree = 0; tree < TABLE_TREES; tree++) {
        starts[tree + 1] += starts[tree];
        ends[tree] = starts[tree];
    }
    for (uint32_t number = 1; number <= o->used; number++) {
        const struct overlay_entry *e = entry_at(o, number);
        if (to_write(e)) {
            places[ends[e->tree]++] = place_of(e);
        }
    }
}

static bool write_all(struct overlay *o, struct error *error) {
    struct place *places = mem_alloc((o->count + 1) * sizeof *places);
    size_t ends[TABLE_TREES];
    places_fill(o, places, ends);
    bool ok = true;
    size_t start = 0;
    for (int tree = 0; tree < TABLE_TREES && ok; tree++) {
        places_sort(places + start, ends[tree] - start);
        ok = write_places(o, places + start, ends[tree] - start, error);
        start = ends[tree];
    }
    mem_free(places);
    return ok;
}

/* Costs as much as there was in the map, also when it was larger once: the end of each session is a flush. */
static void slots_empty(struct overlay *o) {
    if (o->used < o->capacity / 8 && o->capacity > CAPACITY_MIN) {
        mem_free(o->slots);
        o->slots = NULL;
        o->capacity = 0;
    } else if (o->capacity > 0) {
        memset(o->slots, 0, o->capacity * sizeof *o->slots);
    }
}

bool overlay_flush(struct overlay *o, lsn_t flushed, struct error *error) {
    bool ok = o->table->ops->sound(o->txn, error);
    if (ok && o->damaged) {
        ok = error_set(error, ERROR_DAMAGED, 0, "the table has a row of an impossible form; try quartet store check");
    }
    ok = ok && write_all(o, error);
    free_long_keys(o);
    slots_empty(o);
    o->count = 0;
    memset(o->counts, 0, sizeof o->counts);
    o->free = 0;
    o->used = 0;
    o->flushed = flushed;
    return ok;
}
