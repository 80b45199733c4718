#include "base/ring.h"

#include <string.h>

#include "base/mem.h"
#include "base/must.h"

void ring_init(struct ring *r, size_t slot_bytes, size_t capacity) {
    must(capacity > 0 && (capacity & (capacity - 1)) == 0);
    r->slots = mem_zero(capacity, slot_bytes);
    r->slot_bytes = slot_bytes;
    r->capacity = capacity;
    atomic_init(&r->head, 0);
    atomic_init(&r->tail, 0);
}

void ring_deinit(struct ring *r) {
    mem_free(r->slots);
    r->slots = NULL;
}

bool ring_push(struct ring *r, const void *value) {
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    if (tail - atomic_load_explicit(&r->head, memory_order_acquire) == r->capacity) {
        return false;
    }
    memcpy(r->slots + (tail & (r->capacity - 1)) * r->slot_bytes, value, r->slot_bytes);
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
    return true;
}

bool ring_pop(struct ring *r, void *value) {
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == atomic_load_explicit(&r->tail, memory_order_acquire)) {
        return false;
    }
    memcpy(value, r->slots + (head & (r->capacity - 1)) * r->slot_bytes, r->slot_bytes);
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return true;
}

bool ring_empty(const struct ring *r) {
    return atomic_load_explicit(&r->head, memory_order_acquire) == atomic_load_explicit(&r->tail, memory_order_acquire);
}

size_t ring_count(const struct ring *r) {
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    return tail - atomic_load_explicit(&r->head, memory_order_acquire);
}
