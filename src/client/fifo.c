#include "client/fifo.h"

#include <string.h>

#include "base/mem.h"
#include "base/must.h"

enum { FIFO_CAPACITY_MIN = 8 };

void fifo_deinit(struct fifo *f) {
    mem_free(f->slots);
    *f = fifo_of(f->slot_bytes);
}

static void fifo_grow(struct fifo *f) {
    uint32_t capacity = f->capacity > 0 ? f->capacity * 2 : FIFO_CAPACITY_MIN;
    must(capacity > f->capacity);
    uint8_t *slots = mem_alloc(capacity * f->slot_bytes);
    uint32_t straight = f->capacity - f->first < f->count ? f->capacity - f->first : f->count;
    if (f->count > 0) {
        memcpy(slots, fifo_at(f, 0), straight * f->slot_bytes);
        memcpy(slots + straight * f->slot_bytes, f->slots, (f->count - straight) * f->slot_bytes);
    }
    mem_free(f->slots);
    f->slots = slots;
    f->first = 0;
    f->capacity = capacity;
}

void *fifo_push(struct fifo *f) {
    if (f->count == f->capacity) {
        fifo_grow(f);
    }
    f->count++;
    return fifo_at(f, f->count - 1);
}

void fifo_pop(struct fifo *f) {
    must(f->count > 0);
    f->first = (f->first + 1) & (f->capacity - 1);
    f->count--;
    if (f->count == 0 && f->capacity > 1024) {
        fifo_deinit(f);
    }
}
