/* A queue that is full, and what is done so that it is nobody's problem but its own session's. Private to this folder.
 *
 *     publisher's shard                               the shard that owns the session
 *     no room: overfull_ask()  ──own list, or mail──> away:       the session is ended (or stays: QUEUE_REFUSE)
 *     the PUBLISH waits, and is tried again           connected:  its client has time to make room; a stalled one is
 *                                                                 disconnected, and counts as away
 *
 * No PUBLISH is accepted past a full queue: it waits until the session has left the trie. So SESSION_END always stands
 * before the MESSAGE record that no longer has the session as a target, and a crash between the two brings back a
 * session that lacks nothing (QUEUE_END). A client is stalled when it took no byte and acknowledged nothing for
 * stall_ms, or when one publisher has waited for its queue for so long, and it was connected for as long: what was
 * waited before it came does not count, so one who comes back has stall_ms to make room.
 *
 * Limits: one question to a session at a time, whoever asks; the ids of 1,024 ended sessions are remembered (as
 * hashes), so that their clients can be told why. */
#pragma once

#include "broker/state.h"

/* A publisher found no room for a message of `bytes`. `waited`: for as long as one is to wait for a client. Returns
 * true when another try may succeed soon. */
bool overfull_ask(struct shard *shard, struct inlet *inlet, size_t bytes, bool waited);
/* Such a question by mail. */
void overfull_heard(struct shard *shard, session_id_t session_id, size_t bytes);
/* Looks at the sessions that this shard's own publishers have asked; true when one was ended, or
 * its connection closed. */
bool overfull_work(struct shard *shard);
/* Whether the last session of this client id was ended for its full queue; says so once. */
bool overfull_was_ended(struct shard *shard, struct span client_id);
