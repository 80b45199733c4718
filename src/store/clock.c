#include "store/clock.h"

#define NEVER_MARKED INT64_MIN

void clock_start(struct store_clock *c, const struct record_clock *mark, wall_ms_t wall, int64_t boot) {
    if (mark->time == 0) {
        c->ahead = (wall > 0 ? wall : 1) - boot; /* a time of 0 is none */
        atomic_store(&c->marked, NEVER_MARKED);
        return;
    }
    c->ahead = mark->time + (wall > mark->wall ? wall - mark->wall : 0) - boot;
    atomic_store(&c->marked, c->ahead + mark->wall - mark->time);
}

wall_ms_t clock_now(struct store_clock *c, struct store *store, wall_ms_t wall, int64_t boot) {
    int64_t marked = atomic_load_explicit(&c->marked, memory_order_relaxed);
    int64_t now = wall - boot;
    bool stepped = marked == NEVER_MARKED || now - marked >= CLOCK_STEP_MS || marked - now >= CLOCK_STEP_MS;
    if (stepped && atomic_compare_exchange_strong(&c->marked, &marked, now)) {
        struct record record = {.kind = RECORD_CLOCK, .clock = {clock_time(c, boot), wall}};
        (void)store_stage(store, &record);
    }
    return clock_time(c, boot);
}
