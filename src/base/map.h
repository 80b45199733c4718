/* Hash maps: from 64-bit numbers (struct map64) and from byte strings (struct map_bytes) to pointers.
 *
 * Open addressing with linear probing, deletion by moving the followers back: no tombstones, so a map that was drained
 * is as fast as a new one. An empty map owns no memory and a map that empties gives it back. Values are not NULL. The
 * seed makes the places of keys unpredictable to peers who choose them; it is drawn once per process (or by the
 * simulator) and handed in. Not thread-safe. */
#pragma once

#include "base/span.h"

struct map64_slot {
    uint64_t key;
    void *value; /* NULL: the slot is free */
};

struct map64 {
    struct map64_slot *slots;
    size_t count;    /* keys in the map */
    size_t capacity; /* slots, a power of two or 0 */
    uint64_t seed;
};

static inline struct map64 map64_of(uint64_t seed) {
    return (struct map64){NULL, 0, 0, seed};
}
void map64_deinit(struct map64 *m);
/* The value of `key`, or NULL. */
void *map64_get(const struct map64 *m, uint64_t key);
/* Sets the value of `key` (not NULL); returns the old one, or NULL. */
void *map64_put(struct map64 *m, uint64_t key, void *value);
/* Removes `key`; returns its value, or NULL when it was not there. */
void *map64_remove(struct map64 *m, uint64_t key);
/* Walks all keys in no order: start with *at = 0; false at the end. The map must not change meanwhile. */
bool map64_next(const struct map64 *m, size_t *at, uint64_t *key, void **value);

struct map_bytes_slot {
    uint64_t hash;
    struct span key; /* borrowed from the value */
    void *value;     /* NULL: the slot is free */
};

/* The map borrows its keys: the value, which outlives its place in the map, owns the bytes. */
struct map_bytes {
    struct map_bytes_slot *slots;
    size_t count;
    size_t capacity;
    uint64_t seed;
};

static inline struct map_bytes map_bytes_of(uint64_t seed) {
    return (struct map_bytes){NULL, 0, 0, seed};
}
void map_bytes_deinit(struct map_bytes *m);
void *map_bytes_get(const struct map_bytes *m, struct span key);
/* Sets the value of `key`, which the map borrows from now on in place of an equal one; returns the old value. */
void *map_bytes_put(struct map_bytes *m, struct span key, void *value);
void *map_bytes_remove(struct map_bytes *m, struct span key);
bool map_bytes_next(const struct map_bytes *m, size_t *at, struct span *key, void **value);

/* The hash that the maps use; also for choosing a shard. */
uint64_t hash64(uint64_t key, uint64_t seed);
uint64_t hash_bytes(struct span key, uint64_t seed);
