#include "bench/flow.h"

#include <string.h>

#include "base/mem.h"
#include "base/must.h"

static void gaps_insert(struct flow *f, uint32_t at, struct flow_gap gap) {
    must(gap.first < gap.end && at <= f->gap_count);
    if (f->gap_count == f->gap_capacity) {
        f->gap_capacity = f->gap_capacity == 0 ? 4 : f->gap_capacity * 2;
        f->gaps = mem_resize(f->gaps, f->gap_capacity * sizeof(*f->gaps));
    }
    memmove(f->gaps + at + 1, f->gaps + at, (f->gap_count - at) * sizeof(*f->gaps));
    f->gaps[at] = gap;
    f->gap_count++;
}

static void gaps_remove(struct flow *f, uint32_t at) {
    must(at < f->gap_count);
    f->gap_count--;
    memmove(f->gaps + at, f->gaps + at + 1, (f->gap_count - at) * sizeof(*f->gaps));
}

/* The first gap that ends after the number. */
static uint32_t gaps_find(const struct flow *f, uint32_t sequence) {
    uint32_t low = 0;
    uint32_t high = f->gap_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (f->gaps[middle].end <= sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Takes one number out of a gap that holds it. */
static void gap_fill(struct flow *f, uint32_t at, uint32_t sequence) {
    struct flow_gap *gap = &f->gaps[at];
    struct flow_gap above = {sequence + 1, gap->end};
    if (gap->first == sequence && gap->end == sequence + 1) {
        gaps_remove(f, at);
    } else if (gap->first == sequence) {
        gap->first++;
    } else {
        gap->end = sequence;
        if (above.first < above.end) {
            gaps_insert(f, at + 1, above);
        }
    }
}

enum flow_verdict flow_take_other(struct flow *f, uint32_t sequence) {
    if (sequence > f->next) {
        gaps_insert(f, f->gap_count, (struct flow_gap){f->next, sequence});
        f->next = sequence + 1;
        return FLOW_NEXT;
    }
    uint32_t at = gaps_find(f, sequence);
    if (at == f->gap_count || f->gaps[at].first > sequence) {
        return FLOW_DUPLICATE;
    }
    gap_fill(f, at, sequence);
    return FLOW_LATE;
}

void flow_deinit(struct flow *f) {
    mem_free(f->gaps);
    *f = (struct flow){0};
}
