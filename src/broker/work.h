/* Work that is larger than what asked for it, cut into slices that a shard does one after the other. Private to this
 * folder.
 *
 *     a turn has so many points:   [ slices of work, round robin | what came in ]
 *                                    at most half of them          the rest
 *
 * A point is about a packet, a delivery, or a name that was looked at, so that a turn takes some 2 ms whatever comes
 * in. Work lies in the shard's list while it can go on, and is taken out while it waits for something. */
#pragma once

#include "broker/state.h"

enum {
    WORK_SLICE_POINTS = 256, /* about the most that one slice takes, and for how long it holds a lock */
};

/* Puts it at the end of the list, where it may be already. */
void work_add(struct shard *shard, struct work *work);
/* For a while, because the store is full or busy. */
void work_add_stalled(struct shard *shard, struct work *work);
/* How large the slices are. */
uint32_t work_slice_points(const struct shard *shard);
/* At the beginning of a turn. */
void work_run(struct shard *shard);
