/* Deliveries to a shard's own sessions that do not fit into the turn in which they were accepted. Private to this
 * folder.
 *
 *     route ──> session_deliver, while the turn has points
 *          └──> the rest, and all that follows it to the same session, some in each turn:
 *               ├──> ahead, while little waits for the session: first
 *               └──> own: what goes beyond that, until nothing waits for it any more
 *
 * Each session has its deliveries in order. Who takes what comes does not stand behind the backlog of those who have
 * subscribed to much.
 *
 * Limits: beyond OWN_MAX no further PUBLISH is taken, and no will at QoS 1 or 2 that goes to many: it stays due. What
 * comes all the same gets to no receiver at QoS 0 beyond OWN_QOS0_MAX, wills beyond OWN_QOS0_WILLS_MAX. Durability:
 * what is here has its MESSAGE record. */
#pragma once

#include "broker/state.h"

enum {
    OWN_MAX = 16384,
    OWN_QOS0_MAX = 1 << 20,       /* with late mail to other shards */
    OWN_QOS0_WILLS_MAX = 1 << 18, /* the same for wills, whose clients cannot be made to wait */
    OWN_QOS0_PER_POINT =
        4, /* a delivery at QoS 0 is an append to an outbox; that many make a point, and one write more */
};

/* All that waits. */
static inline size_t own_count(const struct shard *shard) {
    return shard->ahead.count + shard->own.count;
}
/* True when a delivery to this session has to wait, because something for it waits already, or because it is one of
 * many and the turn has done enough: one of few does not wait for many. */
bool own_waits(const struct session *session, bool many);
/* Adds one; its reference goes with it. */
void own_push(struct session *session, const struct mail *mail);
/* Delivers some, for about so many points. */
void own_deliver(struct shard *shard, int64_t points);
/* Drops all: the shard is destroyed. */
void own_forget(struct shard *shard);
