/* Store time: the time by which sessions, messages and wills expire. It never jumps and never goes back.
 *
 *     wall clock   ----------/  a step        store time runs on by the boot clock, and the step is marked:
 *                  ---------´                 CLOCK {store time, wall clock}
 *     store time   ----------------- stop ............ start ------
 *                                    └ goes on by the wall clock's difference since the last mark, never below 0
 *
 * When a store is first opened it is the wall clock. While running it advances by a clock that nobody can set and that
 * counts sleep (CLOCK_BOOTTIME); over a stop only the wall clock is left. So a machine that boots with a wrong time and
 * learns the right one later expires nothing by that, and a message that came in with an interval never leaves with a
 * longer one. Between marks the times of accepted messages move the mark on (store/fold.c), so that an idle store need
 * not be written to.
 *
 * Pure: reads no clock. Thread: one starts it; then any (the mark is atomic). */
#pragma once

#include <stdatomic.h>

#include "store/store.h"

/* Times are less than this, in both directions: some thirty million years, and no sum overflows. */
#define CLOCK_MOST_MS ((wall_ms_t)1 << 59)

/* The wall clock and the boot clock drift apart by so much before that is marked. */
#define CLOCK_STEP_MS 1000

struct store_clock {
    int64_t ahead;          /* store time less the boot clock */
    _Atomic int64_t marked; /* the wall clock less the boot clock, as the last CLOCK record has it */
};

/* True when a mark from the disk can be one. */
static inline bool clock_mark_good(const struct record_clock *mark) {
    return mark->time > 0 && mark->time < CLOCK_MOST_MS && mark->wall > -CLOCK_MOST_MS && mark->wall < CLOCK_MOST_MS;
}

/* At the start, before anything is staged: `mark` is the opened store's. */
void clock_start(struct store_clock *c, const struct record_clock *mark, wall_ms_t wall, int64_t boot);
/* Store time. */
static inline wall_ms_t clock_time(const struct store_clock *c, int64_t boot) {
    return c->ahead + boot;
}
/* Store time; stages a CLOCK record when it stands otherwise to the wall clock than the last one says, or there is
 * none.
 */
wall_ms_t clock_now(struct store_clock *c, struct store *store, wall_ms_t wall, int64_t boot);
