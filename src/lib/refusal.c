#include "lib/refusal.h"

/* In the map's pointers; never NULL, since a reason that says no is 0x80 at least. */
static void *packed(const struct quartet_event *event) {
    return (void *)((uintptr_t)event->reason | (uintptr_t)(unsigned)-event->error << 8);
}

void lib_refusals_init(struct refusals *r, uint64_t seed) {
    *r = (struct refusals){.by_id = map64_of(seed), .ids = fifo_of(sizeof(uint64_t))};
}

void lib_refusals_deinit(struct refusals *r) {
    map64_deinit(&r->by_id);
    fifo_deinit(&r->ids);
}

static void forget_oldest(struct refusals *r) {
    const uint64_t *oldest = fifo_front(&r->ids);
    (void)map64_remove(&r->by_id, *oldest);
    r->forgotten = *oldest > r->forgotten ? *oldest : r->forgotten;
    fifo_pop(&r->ids);
}

void lib_refusal_note(struct refusals *r, const struct quartet_event *event) {
    if (map64_put(&r->by_id, event->id, packed(event)) != NULL) {
        return;
    }
    uint64_t *slot = fifo_push(&r->ids);
    *slot = event->id;
    if (r->ids.count > REFUSALS_MAX) {
        forget_oldest(r);
    }
}

bool lib_refusal_of(const struct refusals *r, uint64_t id, struct refusal *refusal) {
    uintptr_t found = (uintptr_t)map64_get(&r->by_id, id);
    *refusal = (struct refusal){-(int)(found >> 8), (uint8_t)found};
    return found != 0;
}
