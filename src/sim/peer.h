/* A real client: the engine of libquartet and its store on a machine of its own, driven as src/lib/ drives it, each
 * step an event; an application on top (app.h), a judge on the wire (spy.h).
 *
 * Its process can be killed between any two steps, also between two parts of its output; its machine can lose power at
 * any call of the disk; its disk can be full or fail. Then it starts again from what the disk has kept. */
#pragma once

#include "client/client.h"
#include "sim/app.h"
#include "sim/machine.h"
#include "sim/spy.h"

struct world;

struct peer {
    int index;
    const struct plan_client *plan;
    struct machine machine;
    struct client *client; /* NULL: down */
    struct app app;
    struct spy spy;
    int conn;                /* -1: none */
    bool dirty;              /* a turn is owed */
    bool stopping;           /* it ends in order */
    bool disk_was_full;      /* its disk has been full or failing: what it publishes may be refused here */
    bool replaced;           /* another one has gone on with its session: ids may be held there */
    lsn_t told, told_folded; /* what the engine knows to be durable, in the table */
    unsigned starts;
    wall_ms_t wall_ahead; /* its wall clock is ahead of the broker's by so much */
};

/* What its wall clock says. */
wall_ms_t peer_wall(const struct world *w, const struct peer *p);

void peer_init(struct world *w, struct peer *p, int index, const struct plan_client *plan);
void peer_deinit(struct world *w, struct peer *p);
/* Starts the process; false when its disk or power fails meanwhile. */
bool peer_start(struct world *w, struct peer *p);
void peer_kill(struct world *w, struct peer *p, const char *why);
void peer_power_cut(struct world *w, struct peer *p, enum sim_power how);
/* One disk operation of its store; true when there was something to do and the process is up. */
bool peer_commit(struct world *w, struct peer *p);
/* Its machine is gone for good, with the application's database: another one, with an empty store, goes on under its
 * client identifier and takes its connection over. */
void peer_replace(struct world *w, struct peer *p);
/* In order: DISCONNECT, everything committed. */
void peer_stop(struct world *w, struct peer *p);

bool peer_can(struct world *w, const struct peer *p, enum action a);
void peer_act(struct world *w, struct peer *p, enum action a);
/* A turn: time, durable, what may leave. */
void peer_turn(struct world *w, struct peer *p);
bool peer_wants_turn(const struct world *w, const struct peer *p);
/* Bytes have arrived on its connection; it sees that the connection has ended. */
void peer_bytes(struct world *w, struct peer *p, struct span bytes);
void peer_sees_end(struct world *w, struct peer *p);
/* True when nothing of it is under way. */
bool peer_settled(const struct world *w, const struct peer *p);
/* What it waits for; empty when it is settled. */
void peer_describe(const struct world *w, const struct peer *p, char *out, size_t bytes);
/* After the drain: nothing may be left in its table. */
void peer_judge_rest(struct world *w, struct peer *p);
/* Makes the peer of a copied world, which is down, from what a crash would leave. */
void peer_fork(struct world *to, struct peer *p, const struct peer *from, enum sim_power how);
uint64_t peer_digest(const struct world *w, const struct peer *p);

/* What a packet that leaves, a message that is given to the application or a publication that is called stored rests
 * on, must be found on the disk after a power cut: asked of a copy of the machine, now and then. */
void audit_packet(struct world *w, const struct peer *p, const struct mini_packet *packet);
void audit_stored(struct world *w, const struct peer *p, uint64_t sequence);
void audit_delivery(struct world *w, const struct peer *p, uint64_t sequence);
