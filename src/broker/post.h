/* Mail to other shards, and what of it their rings have no room for. Private to this folder.
 *
 *     post_send() ──┬─ at once ──────────────────────────────────────────────┬──> ring ──> shard_mail() of the other
 *                   ├─ late: few, as they came ──────────────────────────────┤
 *                   ├─ late: of many, while little waits for the session ────┤    up to seven eighths
 *                   └─ late: of many, the rest ──────────────────────────────┘    up to seven eighths
 *
 * What goes to many takes only seven eighths of a ring and goes behind what goes to few, so that who writes to few does
 * not wait for the fan-outs of others; and who takes what comes does not stand behind the backlog of a session that has
 * subscribed to much. Mail from one shard to one session keeps its order all the same: as long as something for the
 * session is in a later part, all that follows it is.
 *
 * Limits: much late mail makes the shard's publishers wait (strain.h); a fan-out is bounded by what one PUBLISH
 * matches. Durability: what is here has its MESSAGE record. */
#pragma once

#include "broker/state.h"

/* Sends one; its reference goes with it. */
void post_send(struct shard *shard, unsigned to, const struct mail *mail);
/* Late mail is tried again: at the beginning of a turn. */
void post_late(struct shard *shard);
/* Drops all: the shard is destroyed. */
void post_forget(struct shard *shard);
