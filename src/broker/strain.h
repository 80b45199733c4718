/* Who waits when a shard is strained: when much is staged and not yet on the disk, or much is accepted and not yet
 * delivered. Those who have sent much do, and those who send little go on, so that a flood does not slow everybody.
 * Private to this folder.
 *
 *     strained ──> what a connection sends is counted ──> beyond its share: it waits
 *        │  all that was to be delivered when the counting began has been, and the store has room:
 *        ├──> counted anew, so that a strain without end does not use up the shares of those who send little
 *     calm ──> all counts are forgotten
 *
 * Limits: strain_share for each connection; STRAIN_ALL_SHARES of them for all connections of the shard, then nobody
 * has one. So what comes in beyond the bounds of store and deliveries is bounded, too. One PUBLISH may cause as much as
 * all shares are: it is one of STRAIN_MOST_SHARES all the same, or one client could make all the others wait. */
#pragma once

#include "broker/own.h"

enum {
    STRAIN_ALL_SHARES = 512,
    STRAIN_MOST_SHARES = 32, /* of those, what one connection can take */
    STRAIN_POINT_BYTES = 64, /* a delivery or a look costs as much as so many bytes */
    STRAIN_LATE_MAX = 8192,  /* late mail: a shard that does not take its mail slows those who publish to it */
};

/* Much is accepted and not yet delivered. */
static inline bool strain_deliveries(const struct shard *shard) {
    return own_count(shard) > OWN_MAX || shard->late_count > STRAIN_LATE_MAX;
}
static inline bool strain_now(const struct shard *shard) {
    return shard->pressure == STORE_BUSY || strain_deliveries(shard);
}
/* In a turn, when it has delivered what it could of what was left. */
void strain_turn(struct shard *shard);
/* Counts what a connection has sent while the shard is strained, and what it has caused. */
void strain_spend(struct connection *c, size_t bytes, int64_t points);
bool strain_share_left(const struct connection *c);
/* The same for what is staged. A packet is looked at when it has come: its bytes are there whatever is left of the
 * shares, so a giant takes one share from the others, not as many as it is large. */
bool strain_store_share_left(const struct connection *c);
