#include "sim/wallclock.h"

#include "sim/world.h"

#define TOLERANCE_MS 2000
#define HOUR_MS 3600000LL
#define DAY_MS (24 * HOUR_MS)

static void set_to(struct world *w, wall_ms_t wall, const char *why) {
    struct wallclock *k = &w->clock;
    const int64_t by = wall - w->wall;
    world_trace(w, "the wall clock of the broker %s: %+lld s", why, (long long)by / 1000);
    k->ahead += by > 0 ? by : 0;
    k->back += by < 0 ? -by : 0;
    w->wall = wall;
}

void wallclock_step(struct world *w) {
    static const int64_t steps[] = {2500, 60000, HOUR_MS, DAY_MS, 10 * DAY_MS};
    const uint32_t how = choose(w->choices, 2 * sizeof steps / sizeof steps[0] + 1);
    if (how == 0) {
        set_to(w, SIM_WALL_BEGIN + w->now, "is set right");
    } else {
        const int64_t step = steps[(how - 1) / 2];
        set_to(w, w->wall + (how % 2 == 0 ? step : -step), "steps");
    }
}

void wallclock_forgotten(struct world *w) {
    set_to(w, 946684800000, "begins again");
}

/* So much time has passed for what waits, though it has not. */
static void time_taken(struct world *w, int64_t ms) {
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        struct sim_message *m = &w->oracle.messages[i];
        m->sent_at -= ms;
        m->accepted_at -= ms;
    }
    for (unsigned i = 0; i < w->plan->client_count; i++) {
        w->clients[i].ended_at -= w->clients[i].ended_at != 0 ? ms : 0;
    }
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        w->conns[i].opened_at -= ms;
        w->conns[i].end.at -= w->conns[i].end.at != 0 ? ms : 0;
    }
    world_time(w);
}

static void judge_start(struct world *w, wall_ms_t store) {
    struct wallclock *k = &w->clock;
    const int64_t more = store - k->store - (w->now - k->at); /* than has passed */
    if (more > k->ahead + TOLERANCE_MS || more < -k->back - (w->now - k->at) - TOLERANCE_MS ||
        (k->back == 0 && more < -TOLERANCE_MS)) {
        world_fail(w, "clock",
                   "over the stop store time is off by %lld s; steps of %lld s forward and %lld s back are not noted",
                   (long long)more / 1000, (long long)k->ahead / 1000, (long long)k->back / 1000);
    }
    if (more > 0) {
        time_taken(w, more);
    }
    k->ahead_seen = k->back_seen = 0;
    k->time_lost = k->time_lost || more < -TOLERANCE_MS;
}

void wallclock_judge(struct world *w, wall_ms_t store, bool starts) {
    struct wallclock *k = &w->clock;
    if (!w->plan->steps_of_days) {
        return;
    }
    if (k->set && starts) {
        judge_start(w, store);
    } else if (k->set && store - k->store != w->now - k->at) {
        world_fail(w, "clock", "store time goes on by %lld ms in %lld ms", (long long)(store - k->store),
                   (long long)(w->now - k->at));
    }
    k->set = true;
    k->store = store;
    k->at = w->now;
}

void wallclock_seen(struct world *w) {
    w->clock.ahead_seen = w->clock.ahead;
    w->clock.back_seen = w->clock.back;
}

void wallclock_noted(struct world *w) {
    struct wallclock *k = &w->clock;
    k->ahead -= k->ahead_seen;
    k->back -= k->back_seen;
    k->ahead_seen = k->back_seen = 0;
}
