/* One simulated world: clock, machine, network, clients and judge, and the history that they make.
 *
 * Two phases: in the first, actions are chosen among all that are possible, faults included; in the second, the calm,
 * no fault strikes and everything must complete within a bound (G6), the judge looks at what has arrived (G1 to G3),
 * and nothing may be left over (G5). One thread, no clock, no randomness but that of the choices. */
#pragma once

#include "sim/absence.h"
#include "sim/choice.h"
#include "sim/conn.h"
#include "sim/model.h"
#include "sim/node.h"
#include "sim/oracle.h"
#include "sim/peer.h"
#include "sim/pest.h"
#include "sim/plan.h"
#include "sim/wallclock.h"

struct sim_counts {
    uint64_t histories, steps, messages, deliveries, connections, cuts, kills, power_cuts, forks, restarts, stops,
        audits;
};

struct world {
    const struct plan *plan;
    struct choices *choices;
    FILE *trace;        /* where the history is printed; NULL: nowhere */
    const char *indent; /* before each line of it */
    uint64_t step;      /* counts actions: the oracle's time; begins with 1 */
    mono_ms_t now;
    wall_ms_t wall; /* what the clock of the broker's machine says */
    struct wallclock clock;
    uint32_t serials; /* connections so far */
    unsigned forks_left, disk_losses_left, replacements_left;
    bool calm;
    bool draining;       /* every client ends its session */
    bool leaving;        /* hostile clients take back what they have done */
    bool ticked;         /* in the calm time has passed */
    bool forked;         /* this world asks "what if the power failed" about another one */
    bool expect_refusal; /* queues may be full */
    bool accepted_seen;  /* in this step a publisher has read that its message is accepted */
    bool suback_seen;    /* in this step a client has read the answer to its SUBSCRIBE */
    struct node node;
    struct conn conns[SIM_CONNS_MAX];
    struct model clients[SIM_CLIENTS_MAX]; /* of those that are models */
    struct peer peers[SIM_CLIENTS_MAX];    /* of those that are real; the same numbers */
    struct pest pests[SIM_CLIENTS_MAX];    /* of those that are hostile; the same numbers */
    unsigned client_count;                 /* as the plan says, and one more when it is asked what is retained */
    struct absence absences[SIM_CLIENTS_MAX];
    struct oracle oracle;
    struct sim_counts counts;
    bool failed;
    char failure[320];
};

/* Makes a world; the broker is up. Borrows plan and choices. */
struct world *world_create(const struct plan *plan, struct choices *choices, FILE *trace);
void world_destroy(struct world *w);
/* The phase with faults: so many actions as the plan says. A retained set is published before it. */
void world_run(struct world *w);
/* The calm phase and the judgement. */
void world_calm(struct world *w);

/* Lets everything go on in the calm until all clients are settled; or only one; or until nothing moves by itself. */
void world_settle(struct world *w);
void world_settle_client(struct world *w, int client);
/* Lets all that a client has to send go, the clock too, and then the faults begin (again). */
void world_finish_client(struct world *w, int client);
/* A second passes in the calm. */
void world_calm_tick(struct world *w);
void world_quiet(struct world *w);

/* The first failure is kept. `rule` is G1 to G6 or what was broken. */
void world_fail(struct world *w, const char *rule, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* One line of the history, without newline. */
void world_trace(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A packet in the history: who, which way. */
void world_trace_packet(struct world *w, const char *who, int client, const struct mini_packet *p);

/* Now, as the end of a connection. */
static inline struct conn_end world_end(const struct world *w) {
    return (struct conn_end){w->now, w->step};
}

/* Whether a client is real, so that peers[] is about it; else clients[] is. */
static inline bool world_is_real(const struct world *w, int client) {
    return w->plan->clients[client].real;
}
static inline bool world_is_pest(const struct world *w, int client) {
    return w->plan->clients[client].habits != 0;
}
/* The connection of a client, -1: none; whether CONNACK has come on it. */
static inline int world_conn_of(const struct world *w, int client) {
    return world_is_real(w, client) ? w->peers[client].conn : w->clients[client].conn;
}
static inline bool world_is_connected(const struct world *w, int client) {
    return world_is_real(w, client) ? w->peers[client].spy.connack_seen : w->clients[client].connack_seen;
}
/* A connection for a client, not yet accepted; NULL when there is no place. */
struct conn *world_connect(struct world *w, int client);
/* Whether the session of a client may have been ended, or its connection closed, because its queue was full. */
bool world_may_be_overfull(const struct world *w, int client);
/* Whether this connection may be closed for it: it was there for as long as the broker has to wait for a client. */
bool world_may_be_stalled(const struct world *w, const struct conn *c);
/* The clock was moved: sessions may have expired. */
void world_time(struct world *w);
/* Does one action, of which `arg` says more: the connection, client or shard. */
void world_act(struct world *w, enum action a, int arg);

struct world_option {
    enum action action;
    int arg;
    uint32_t weight;
};
#define WORLD_OPTIONS_MAX 288
/* What can happen now. */
unsigned world_options(struct world *w, struct world_option *out);
/* Asks what would be left if the power failed at this very moment, and whether that keeps the promise. */
void world_fork_check(struct world *w);
/* Nothing is under way between a model and the broker, which reads what it says. */
bool calm_at_rest(const struct world *w, int client);
