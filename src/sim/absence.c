#include "sim/absence.h"

#include "sim/world.h"

#define ABSENCE_NEVER 0xffffffffU

/* The disk may say that it has been away since then, too; the longest absence is taken, by either clock. */
static void stored_since(struct absence *a, const struct absence_moment *m) {
    if (!a->stored.set) {
        a->stored = *m;
    }
    a->stored.wall = a->stored.wall < m->wall ? a->stored.wall : m->wall;
}

static struct absence_moment this_moment(const struct world *w) {
    return (struct absence_moment){true, w->now, w->wall};
}

/* By the wall clock, from the disk's time on, to the clock that never jumps; whichever says that it is longer. */
static void clocks_join(const struct world *w, struct absence *a) {
    if (a->by_wall) {
        const mono_ms_t by_wall = w->now - (w->wall - a->since.wall);
        a->since.at = by_wall < a->since.at ? by_wall : a->since.at;
        a->by_wall = false;
    }
}

static bool expires(const struct world *w, int client) {
    return w->plan->clients[client].five && w->plan->clients[client].session_expiry != ABSENCE_NEVER;
}

static bool is_due(const struct world *w, const struct absence *a, int client) {
    return a->owner == 0 && a->since.set && expires(w, client) &&
           w->now - a->since.at >= (mono_ms_t)w->plan->clients[client].session_expiry * 1000;
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
    const struct absence_moment now = this_moment(w);
    stored_since(a, &now); /* a connection that it takes over ends now */
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
        stored_since(a, &a->since);
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
        if (a->at_start || a->since.set) {
            const struct absence_moment now = this_moment(w);
            stored_since(a, &now); /* where the disk still says "connected" */
            a->since = a->stored;
            a->at_start = false;
            a->by_wall = true;
            if (i < w->client_count) {
                look(w, (int)i); /* store time begins with the wall clock of this moment */
            }
        }
    }
}

void absence_tick(struct world *w) {
    for (unsigned i = 0; i < w->client_count; i++) {
        look(w, (int)i);
    }
}

void absence_clock_back(struct world *w, wall_ms_t by) {
    for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++) {
        w->absences[i].since.wall -= by;
        w->absences[i].stored.wall -= by;
    }
}

void absence_all_lost(struct world *w) {
    for (unsigned i = 0; i < w->client_count; i++) {
        w->absences[i] = (struct absence){.due = true};
    }
}

mono_ms_t absence_left(const struct world *w) {
    mono_ms_t least = 0;
    for (unsigned i = 0; i < w->client_count; i++) {
        const struct absence *a = &w->absences[i];
        if (a->owner == 0 && a->since.set && expires(w, (int)i)) {
            const mono_ms_t away = a->by_wall ? w->wall - a->since.wall : w->now - a->since.at;
            const mono_ms_t left = (mono_ms_t)w->plan->clients[i].session_expiry * 1000 - away;
            least = left > 0 && (least == 0 || left < least) ? left : least;
        }
    }
    return least;
}
