/* What one subscriber has had of one publisher: the judge of "exactly once".
 *
 * A publisher numbers its messages 0, 1, 2, ... In the normal case the numbers come in order and one comparison
 * settles it. A jump leaves a gap behind; a number that comes later than a higher one either fills a gap or is a
 * duplicate. Gaps are kept exactly, so the counts of new and duplicated messages are exact too.
 *
 *      0 ........ next                      numbers seen, except
 *         [first,end)   [first,end)         the gaps, ascending and disjoint
 */
#pragma once

#include <stdint.h>

struct flow_gap {
    uint32_t first; /* the lowest number that is missing */
    uint32_t end;   /* one past the highest */
};

struct flow {
    uint32_t next;         /* one past the highest number seen */
    uint32_t gap_count;    /* gaps in use */
    uint32_t gap_capacity; /* gaps allocated */
    struct flow_gap *gaps; /* NULL while there was never one */
};

enum flow_verdict {
    FLOW_NEXT = 1,  /* new and in order, or after a jump */
    FLOW_LATE,      /* new, but a higher number was there before: the order was broken */
    FLOW_DUPLICATE, /* seen already */
};

/* The part of flow_take() behind the fast path. */
enum flow_verdict flow_take_other(struct flow *f, uint32_t sequence);

/* Takes note of one received number. */
static inline enum flow_verdict flow_take(struct flow *f, uint32_t sequence) {
    if (sequence == f->next) {
        f->next++;
        return FLOW_NEXT;
    }
    return flow_take_other(f, sequence);
}

/* Frees the gaps; the flow is as new. */
void flow_deinit(struct flow *f);
