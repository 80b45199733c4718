/* A growable first-in first-out queue of values of one size. Empty, it owns no memory. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fifo {
    uint8_t *slots;
    size_t slot_bytes; /* of one value */
    uint32_t first;    /* slot of the oldest value */
    uint32_t count;    /* values */
    uint32_t capacity; /* slots, a power of two or 0 */
};

static inline struct fifo fifo_of(size_t slot_bytes) {
    return (struct fifo){NULL, slot_bytes, 0, 0, 0};
}
/* Frees the memory; what the values own is the caller's. The queue is empty and usable again. */
void fifo_deinit(struct fifo *f);
/* Appends a value, not set; valid until the queue changes. */
void *fifo_push(struct fifo *f);
/* Value number `at` from the oldest on; at < count. */
static inline void *fifo_at(const struct fifo *f, uint32_t at) {
    return f->slots + (size_t)((f->first + at) & (f->capacity - 1)) * f->slot_bytes;
}
/* The oldest value, or NULL. */
static inline void *fifo_front(const struct fifo *f) {
    return f->count > 0 ? fifo_at(f, 0) : NULL;
}
/* Takes the oldest value out; its slot is not to be read any more. */
void fifo_pop(struct fifo *f);
