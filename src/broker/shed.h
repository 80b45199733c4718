/* When memory is nearly full: whoever has the most of what waits is cut off, before others must wait or are refused.
 * Private to this folder.
 *
 *     memory is short ──> each shard looks for its fattest connection, some in each turn, and offers it
 *                         the fattest of the fattest owner is closed; then all look again, a little later
 *
 * What counts is what is in memory and goes with the connection: its outbox, bodies in flight, the queue of a session
 * that is not durable, what a SUBSCRIBE holds that is under way. What sums an owner has decides first, so that nobody
 * pays for somebody else. A session that is durable goes on without its connection, and lacks nothing; another ends
 * with it, as with any connection. Limits: one connection of all in SHED_AGAIN_MS; none of an owner who has less than
 * SHED_BYTES_MIN. */
#pragma once

#include "broker/state.h"

enum { SHED_AGAIN_MS = 100, SHED_BYTES_MIN = 64 * 1024 };

/* In each turn: does nothing as long as there is memory. */
void shed_turn(struct shard *shard);
