#include "base/map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "base/must.h"

enum { MAP_CAPACITY_MIN = 8 };

uint64_t hash64(uint64_t key, uint64_t seed) {
    uint64_t x = (key ^ seed) * 0x9e3779b97f4a7c15ULL;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ULL;
    return x ^ x >> 32;
}

uint64_t hash_bytes(struct span key, uint64_t seed) {
    return XXH3_64bits_withSeed(key.ptr, key.len, seed);
}

/* A table is grown when three quarters are full and halved when less than an eighth is in use. */
static bool map_must_grow(size_t count, size_t capacity) {
    return capacity == 0 || (count + 1) * 4 > capacity * 3;
}

static bool map_must_shrink(size_t count, size_t capacity) {
    return capacity > MAP_CAPACITY_MIN && count * 8 < capacity;
}

void map64_deinit(struct map64 *m) {
    mem_free(m->slots);
    *m = map64_of(m->seed);
}

/* The slot of `key`, or the free slot where it would go; there is always a free one. */
static size_t map64_find(const struct map64 *m, uint64_t key) {
    size_t mask = m->capacity - 1;
    size_t i = hash64(key, m->seed) & mask;
    while (m->slots[i].value != NULL && m->slots[i].key != key) {
        i = (i + 1) & mask;
    }
    return i;
}

static void map64_resize(struct map64 *m, size_t capacity) {
    struct map64 old = *m;
    m->slots = mem_zero(capacity, sizeof *m->slots);
    m->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL) {
            m->slots[map64_find(m, old.slots[i].key)] = old.slots[i];
        }
    }
    mem_free(old.slots);
}

void *map64_get(const struct map64 *m, uint64_t key) {
    return m->count == 0 ? NULL : m->slots[map64_find(m, key)].value;
}

void *map64_put(struct map64 *m, uint64_t key, void *value) {
    must(value != NULL);
    if (map_must_grow(m->count, m->capacity)) {
        map64_resize(m, m->capacity > 0 ? m->capacity * 2 : MAP_CAPACITY_MIN);
    }
    struct map64_slot *slot = &m->slots[map64_find(m, key)];
    void *old = slot->value;
    m->count += old == NULL;
    *slot = (struct map64_slot){key, value};
    return old;
}

void *map64_remove(struct map64 *m, uint64_t key) {
    if (m->count == 0) {
        return NULL;
    }
    size_t mask = m->capacity - 1;
    size_t hole = map64_find(m, key);
    void *old = m->slots[hole].value;
    if (old == NULL) {
        return NULL;
    }
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = hash64(m->slots[i].key, m->seed) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole].value = NULL;
    m->count--;
    if (m->count == 0) {
        map64_deinit(m);
    } else if (map_must_shrink(m->count, m->capacity)) {
        map64_resize(m, m->capacity / 2);
    }
    return old;
}

bool map64_next(const struct map64 *m, size_t *at, uint64_t *key, void **value) {
    for (; *at < m->capacity; (*at)++) {
        if (m->slots[*at].value != NULL) {
            *key = m->slots[*at].key;
            *value = m->slots[*at].value;
            (*at)++;
            return true;
        }
    }
    return false;
}

void map_bytes_deinit(struct map_bytes *m) {
    mem_free(m->slots);
    *m = map_bytes_of(m->seed);
}

static size_t map_bytes_find(const struct map_bytes *m, struct span key, uint64_t hash) {
    size_t mask = m->capacity - 1;
    size_t i = hash & mask;
    while (m->slots[i].value != NULL && (m->slots[i].hash != hash || !span_equal(m->slots[i].key, key))) {
        i = (i + 1) & mask;
    }
    return i;
}

static void map_bytes_resize(struct map_bytes *m, size_t capacity) {
    struct map_bytes old = *m;
    m->slots = mem_zero(capacity, sizeof *m->slots);
    m->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL) {
            m->slots[map_bytes_find(m, old.slots[i].key, old.slots[i].hash)] = old.slots[i];
        }
    }
    mem_free(old.slots);
}

void *map_bytes_get(const struct map_bytes *m, struct span key) {
    return m->count == 0 ? NULL : m->slots[map_bytes_find(m, key, hash_bytes(key, m->seed))].value;
}

void *map_bytes_put(struct map_bytes *m, struct span key, void *value) {
    must(value != NULL);
    if (map_must_grow(m->count, m->capacity)) {
        map_bytes_resize(m, m->capacity > 0 ? m->capacity * 2 : MAP_CAPACITY_MIN);
    }
    uint64_t hash = hash_bytes(key, m->seed);
    struct map_bytes_slot *slot = &m->slots[map_bytes_find(m, key, hash)];
    void *old = slot->value;
    m->count += old == NULL;
    *slot = (struct map_bytes_slot){hash, key, value};
    return old;
}

void *map_bytes_remove(struct map_bytes *m, struct span key) {
    if (m->count == 0) {
        return NULL;
    }
    size_t mask = m->capacity - 1;
    size_t hole = map_bytes_find(m, key, hash_bytes(key, m->seed));
    void *old = m->slots[hole].value;
    if (old == NULL) {
        return NULL;
    }
    for (size_t i = (hole + 1) & mask; m->slots[i].value != NULL; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole].value = NULL;
    m->count--;
    if (m->count == 0) {
        map_bytes_deinit(m);
    } else if (map_must_shrink(m->count, m->capacity)) {
        map_bytes_resize(m, m->capacity / 2);
    }
    return old;
}

bool map_bytes_next(const struct map_bytes *m, size_t *at, struct span *key, void **value) {
    for (; *at < m->capacity; (*at)++) {
        if (m->slots[*at].value != NULL) {
            *key = m->slots[*at].key;
            *value = m->slots[*at].value;
            (*at)++;
            return true;
        }
    }
    return false;
}
