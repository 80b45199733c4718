/* Deliveries that come nearly, but not always, in the order of the log: what one shard sends is in order, and mail of
 * several shards is mixed. They are kept as runs, each of them in order, and given out in the order of all.
 *
 *     push: 12, 15, 11, 13, 17, 14        runs: 12 15 17        pop: 11, 12, 13, 14, 15, 17
 *                                               11 13 14
 *
 * A delivery goes to the first run that it does not come before: so there are never more runs than sequences that are
 * mixed, and nothing is ever sorted or moved, however many there are. Deliveries without lsn stay as they came. */
#pragma once

#include "record/message.h"
#include "store/store.h"

struct delivery {
    struct message *message; /* one reference; in a queue NULL: it was taken out */
    lsn_t message_lsn;       /* with `target` its name; 0: not recorded */
    lsn_t record_lsn;        /* of the record that queued it, when it is not message_lsn; else 0; when it was taken out,
                                of the one that says so */
    uint32_t target;
    uint8_t qos;
    bool retain;
};

/* In the order of the log. */
static inline bool delivery_before(const struct delivery *a, const struct delivery *b) {
    return a->message_lsn < b->message_lsn ||
           (a->message_lsn == b->message_lsn && a->message_lsn != 0 && a->target < b->target);
}

/* One of them: a ring of pieces. */
struct run {
    struct delivery **pieces;
    uint32_t piece_first, piece_count, piece_capacity;
    uint32_t room;  /* deliveries in a piece: less than RUN_PIECE as long as there is one */
    uint32_t first; /* of the first piece: so many were taken */
    uint32_t count;
};

struct runs {
    struct run *items; /* that which ends last comes first */
    uint32_t run_count;
    uint32_t count; /* deliveries in all of them */
};

enum { RUN_PIECE = 64 };

/* Adds a delivery; its reference is taken over. */
void runs_push(struct runs *r, const struct delivery *d);
/* The first of all in order; there must be one. Valid until they change. */
struct delivery *runs_first(struct runs *r);
/* Takes it; its reference is the caller's. */
struct delivery runs_pop(struct runs *r);
/* Number i of those that are there, in an order of no meaning. A push may put others behind, and none before, where
 * they were. */
struct delivery *runs_at(const struct runs *r, uint32_t i);
/* Gives all references back. */
void runs_deinit(struct runs *r);
