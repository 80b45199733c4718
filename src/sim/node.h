/* The machine that runs the broker, and, while it is up, the shards on its store.
 *
 * Drives the broker as net/ does (turns, commits, checkpoints), each step an event of its own, and can be stopped,
 * killed or robbed of its power between any two of them, in the middle of a turn's output, and at any call of the disk.
 */
#pragma once

#include "sim/conn.h"
#include "sim/machine.h"
#include "sim/plan.h"
#include "store/clock.h"

struct world;

/* A client's address is this and its number. */
#define NODE_NETWORK "10.0.0."
enum { NODE_PEER_BYTES = 32 };

struct node_garbage {
    void *memory;
    void (*free_function)(void *memory);
};

struct node {
    struct machine machine;
    struct broker *broker; /* NULL: down */
    struct store_clock clock;
    bool up;
    uint8_t mail[SIM_SHARDS_MAX];  /* for each shard, the shards that have sent it mail: bits */
    bool waiting[SIM_SHARDS_MAX];  /* its own mail waits for room in a ring */
    lsn_t told[SIM_SHARDS_MAX];    /* durable, as the shard knows it */
    bool dirty[SIM_SHARDS_MAX];    /* a turn is owed for another reason */
    int place[SIM_SHARDS_MAX][64]; /* connection of each handle index; -1: none */
    unsigned power_after_writes;   /* the power goes after so many more outputs; 0: it does not */
    unsigned starts;
    bool was_dark;                /* the power has gone since the last start */
    struct prng random;           /* of the broker */
    bool departed;                /* bytes left for a client in this step */
    struct node_garbage *garbage; /* what the trie let go of in this turn */
    size_t garbage_count, garbage_capacity;
};

void node_init(struct world *w);
void node_deinit(struct world *w);
/* Starts store and broker; false when the disk or the power fails meanwhile (the node is down then). */
bool node_start(struct world *w);
/* In order: DISCONNECT, everything committed and folded. */
void node_stop(struct world *w);
/* kill -9: what was written stays in the cache. */
void node_kill(struct world *w, const char *why);
void node_power_cut(struct world *w, enum sim_power how);
/* The power goes, and the machine that comes back has an empty disk. */
void node_lose_disk(struct world *w);

/* A turn that takes mail (from one shard, or from nobody: -1) and gives out what may leave. */
void node_turn(struct world *w, unsigned shard, int mail_from);
bool node_wants_turn(const struct world *w, unsigned shard);
void node_accept(struct world *w, struct conn *c, unsigned shard);
void node_moved(struct world *w, struct conn *c);
/* The first `bytes` bytes in flight reach the broker. */
void node_bytes(struct world *w, struct conn *c, size_t bytes);
void node_sees_end(struct world *w, struct conn *c);
/* Timers of all shards, then a turn of each. */
void node_tick(struct world *w);
/* One disk operation; true when there was something to do. */
bool node_commit(struct world *w);
bool node_checkpoint(struct world *w, bool all);
bool node_seal(struct world *w);
bool node_wants_commit(const struct world *w);
/* Sums of the shards' counters. */
struct shard_counters node_counters(const struct world *w);
/* Copies what a crash would leave of a node. */
void node_fork(struct world *to, const struct world *from, enum sim_power how);
uint64_t node_digest(struct world *w);
