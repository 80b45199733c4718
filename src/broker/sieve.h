/* What has expired and is not at the front of a full queue: found by a walk over the queue, so that it takes no room
 * from anybody. Private to this folder.
 *
 *     inlet.expires_at   nothing that waits expires before; the owner's word, and never too late
 *
 * No deadline is kept for each message: a walk costs a look at every one, and is only begun when the queue is full and
 * some may have expired; while it goes on, publishers into the queue wait. It is work in slices; after one that has
 * found little the next has to wait, so that all in vain together take a small part of the time. Durability: as of any
 * message that expires (DROPPED); what a crash brings back has expired all the same. */
#pragma once

#include "broker/state.h"

/* A delivery enters the queue. */
void sieve_queued(struct session *session, const struct message *m);
/* The queue was loaded, or others have joined it: nothing is known of what is in it. */
void sieve_unknown(struct session *session);
/* Whether something may be found; a publisher that has found no room waits for it. */
bool sieve_may_help(const struct shard *shard, const struct inlet *inlet);
/* Begins a walk when one may help; true while one is under way. */
bool sieve_begin(struct session *session);
/* One slice of it. */
void sieve_work(struct work *work);
/* The session ends. */
void sieve_cancel(struct session *session);
