/* Inlets: what waits in the queue of a session, by its own bounds and by those of its owner. Private to this folder.
 *
 *     reserve (any shard)  ->  mail, queue  ->  release (the session's shard)
 *
 * The inlet counts each delivery; its owner is charged in portions, so that a message costs no atomic of the owner's:
 * an eighth more than waits, and while a client is there up to a few messages more. At rest it is exactly what waits.
 * How many messages wait is bounded whatever the store has.
 * A queue that is on the disk is charged to the owner's share of it, and refused for that only when the store really
 * has so much: the bodies of one message for many sessions are one. Thread: any; portions are taken under a lock. */
#pragma once

#include "broker/state.h"

/* Who may go how far past the limits of a queue. Each limit is widened by a number, so that the queue is bounded all
 * the same. */
enum inlet_part {
    INLET_LIMITS, /* not at all */
    INLET_OTHERS, /* by a quarter: other owners' publishers that publish little, see overfull.h */
    INLET_WILLS,  /* by queue_wills_max wills more: a will was accepted at CONNECT, and nobody is there any more to wait
                     or to be refused, so one full queue would keep it from everybody else */
};

/* Reserves room for one delivery in a session's queue; NULL, or why not: what a queue is then. */
const char *inlet_reserve(struct shard *shard, struct inlet *inlet, size_t bytes, enum inlet_part part);
/* The same without a look at the limits. */
void inlet_take(struct shard *shard, struct inlet *inlet, size_t bytes);
/* Whether its owner may add to the store, which is nearly full. */
bool inlet_has_part(const struct shard *shard, const struct inlet *inlet);
/* What has left the queue, or could not enter it. */
void inlet_release(struct shard *shard, struct inlet *inlet, size_t bytes);
/* Why such a delivery has no room; NULL: it has. */
const char *inlet_full(struct shard *shard, struct inlet *inlet, size_t bytes);
/* So much came back from the store. */
void inlet_restore(struct broker *broker, struct inlet *inlet, uint64_t messages, uint64_t bytes);
/* Why one such delivery to each session that has a part of its owner's share, or of everybody's, has no room there;
 * NULL: it has, or this session is not the one that is in the way. */
const char *inlet_share_full(const struct shard *shard, struct inlet *inlet, size_t bytes);
/* It is a quiet moment: the owner is charged for exactly what waits. */
void inlet_rest(struct broker *broker, struct inlet *inlet);
/* Another owner is charged from now on; NULL: nobody, the session has ended. */
void inlet_owner(struct broker *broker, struct inlet *inlet, struct account *owner);
