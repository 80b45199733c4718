/* The retained messages that all shards share, and the one place where they expire. Private to this folder.
 *
 * A large one is in memory while it is news: once the table has it and nobody else uses it, only its shell stays here,
 * and a subscriber that asks for it has it read back, which keeps it for those who ask next.
 *
 * A message that expires has its deadline here exactly as long as the index has the message: whoever replaces or clears
 * it goes through retained_set(). Those that are due are cleared by one shard, some in each turn, and their clearing is
 * recorded (B10); until then nobody is given them any more (retained_fresh). Thread: the broker's lock is held, or no
 * shard runs yet. */
#pragma once

#include "broker/state.h"

/* Against whom a message of a session's is held should it be retained: it goes into the message and its record. */
static inline struct span retained_owner(const struct session *session, bool retain, struct span payload) {
    struct span owner = retain && payload.len > 0 ? quota_owner_name(session->owner) : span_of(NULL, 0);
    return owner.len <= MESSAGE_OWNER_MAX ? owner : span_of(owner.ptr, MESSAGE_OWNER_MAX);
}
/* Sets the retained message of a topic (takes a reference), which is accounted for already, or clears it (NULL). What
 * was there is given back. */
void retained_set(struct broker *broker, struct span topic, struct message *m);
/* False when it has expired and only waits to be cleared. */
static inline bool retained_fresh(const struct message *m, wall_ms_t time) {
    return m->expires_at == 0 || m->expires_at > time;
}
/* Clears one that is there, which may be freed by it, and records that. */
void retained_forget(struct shard *shard, const struct message *m);
/* At the start: a message that the table has. Takes the reference. */
void retained_load(struct broker *broker, struct message *m);
/* A shell in the index is replaced by the message itself (takes the reference). */
void retained_keep(struct broker *broker, struct message *m);
/* Large ones leave memory, some in each turn; takes the lock. */
void retained_let_go(struct shard *shard);
/* Clears some of those that have expired; takes the lock. True when there are more. */
bool retained_expire(struct shard *shard);
/* Frees what keeps the deadlines. */
void retained_deinit(struct broker *broker);
