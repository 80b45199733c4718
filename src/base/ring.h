/* A bounded queue of fixed-size values from one thread to another: one producer, one consumer, no lock.
 * The producer sees room late and the consumer sees values late, never wrongly. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring {
    uint8_t *slots;
    size_t slot_bytes;
    size_t capacity;                  /* slots, a power of two */
    _Alignas(64) _Atomic size_t head; /* next to read; written by the consumer */
    _Alignas(64) _Atomic size_t tail; /* next to write; written by the producer */
};

/* `capacity` is a power of two. */
void ring_init(struct ring *r, size_t slot_bytes, size_t capacity);
void ring_deinit(struct ring *r);
/* Producer: copies a value in; false when the ring is full. */
bool ring_push(struct ring *r, const void *value);
/* Consumer: copies the oldest value out; false when the ring is empty. */
bool ring_pop(struct ring *r, void *value);
/* Either side: a guess that was true a moment ago. */
bool ring_empty(const struct ring *r);
/* Producer: how many values are in it, or fewer by now. */
size_t ring_count(const struct ring *r);
