/* Messages that are open: begun and not ended, in the order of their numbers. Few at a time; they end nearly in that
 * order. A number costs 16 bytes until all before it have ended. */
#pragma once

#include "client/fifo.h"

struct open_entry {
    uint64_t number;
    uint32_t bytes; /* what the message costs while it is open */
    bool ended;
};

struct open_set {
    struct fifo entries; /* of struct open_entry, rising; the first has not ended */
    uint32_t count;      /* of them that have not ended */
    uint64_t bytes;      /* of those */
};

static inline struct open_set open_set_of(void) {
    return (struct open_set){fifo_of(sizeof(struct open_entry)), 0, 0};
}
void open_set_deinit(struct open_set *s);
/* Adds a number that is not in the set; cheap when it is the highest. */
void open_set_add(struct open_set *s, uint64_t number, uint32_t bytes);
bool open_set_has(const struct open_set *s, uint64_t number);
/* Ends a number; false when it is not open. */
bool open_set_end(struct open_set *s, uint64_t number);
/* The lowest number that is open; UINT64_MAX when none is. */
uint64_t open_set_first(const struct open_set *s);
