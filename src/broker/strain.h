/* Who waits when a shard is strained: when much is staged and not yet on the disk, or much is accepted and not yet
 * delivered. Those who have sent much do, and those who send little go on, so that a flood does not slow everybody.
 * Private to this folder.
 *
 *     strained ──> what a connection sends is counted ──> beyond its share: it is not read from until that is over
 *     calm     ──> all counts are forgotten
 *
 * Limits: strain_share for each connection; STRAIN_ALL_SHARES of them for all connections of the shard, then nobody
 * has one. So what comes in beyond the bounds of store and deliveries is bounded, too. */
#pragma once

#include "broker/own.h"

enum {
    STRAIN_ALL_SHARES = 512,
    STRAIN_POINT_BYTES = 64, /* a delivery or a look costs as much as so many bytes */
};

static inline bool strain_now(const struct shard *shard) {
    return shard->pressure == STORE_BUSY || shard->own.count > OWN_MAX;
}
/* At the beginning of a turn. */
void strain_turn(struct shard *shard);
/* Counts what a connection has sent while the shard is strained, and what it has caused. */
void strain_spend(struct connection *c, size_t bytes, int64_t points);
bool strain_share_left(const struct connection *c);
