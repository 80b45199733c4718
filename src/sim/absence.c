#include "sim/absence.h"

#include "sim/world.h"

#define ABSENCE_NEVER 0xffffffffU

static struct absence_moment this_moment(const struct world *w) {
    return (struct absence_moment){true, w->now, w->wall};
}

/* By the wall clock, from the disk's time on, to the clock that never jumps. */
static void clocks_join(const struct world *w, struct absence *a) {
    if (a->by_wall) {
        const wall_ms_t away = w->wall - a->since.wall;
        a->since.at = w->now - (away > 0 ? away : 0);
        a->by_wall = false;
    }
}

static bool is_due(const struct world *w, const struct absence *a, int client) {
    const struct plan_client *plan = &w->plan->clients[client];
    return a->owner == 0 && a->since.set && plan->five && plan->session_expiry != ABSENCE_NEVER &&
           w->now - a->since.at >= (mono_ms_t)plan->session_expiry * 1000;
}

/* The broker looks at its clocks. */
static void look(struct world *w, int client) {
    struct absence *a = &w->absences[client];
    clocks_join(w, a);
    if (!a->due && is_due(w, a, client)) {
        a->due = true;
        if (world_is_real(w, client)) {
            spy_session_due(w, &w->peers[client]);
        }
    }
}

void absence_connect(struct world *w, struct conn *c, bool takes) {
    struct absence *a = &w->absences[c->client];
    look(w, c->client);
    c->session_due = a->due;
    a->stored = a->stored.set ? a->stored : this_moment(w); /* a connection that it takes over ends now */
    if (takes) {
        a->owner = c->serial;
        a->since.set = a->at_start = false;
    }
}

void absence_answered(struct world *w, const struct conn *c) {
    struct absence *a = &w->absences[c->client];
    a->due = false;
    a->stored.set = a->at_start = false;
    a->owner = c->serial;
    a->since.set = false;
}

void absence_ended(struct world *w, const struct conn *c) {
    struct absence *a = &w->absences[c->client];
    if (a->owner == c->serial) {
        a->owner = 0;
        a->since = this_moment(w);
        a->by_wall = false;
        a->stored = a->stored.set ? a->stored : a->since;
    }
}

void absence_down(struct world *w) {
    for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct absence *a = &w->absences[i];
        a->at_start = a->at_start || (a->owner != 0 && !a->stored.set);
        a->owner = 0;
        a->since = a->stored;
    }
}

void absence_up(struct world *w) {
    for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++) {
        struct absence *a = &w->absences[i];
        if (a->at_start) {
            a->since = a->stored = this_moment(w);
            a->at_start = false;
        }
        a->by_wall = a->since.set;
    }
}

void absence_tick(struct world *w) {
    for (unsigned i = 0; i < w->client_count; i++) {
        look(w, (int)i);
    }
}
