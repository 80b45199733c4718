/* A queue that is full, and what is done so that it is nobody's problem but its own session's. Private to this folder.
 *
 *     publisher's shard                               the shard that owns the session
 *     no room: overfull_ask()  ──own list, or mail──> away:       the session is ended (or stays: QUEUE_REFUSE)
 *     the PUBLISH waits, and is tried again           connected:  its client has time to make room; a stalled one is
 *                                                                 disconnected, and counts as away
 *
 * No PUBLISH passes by a full queue: it waits until the session has left the trie. So SESSION_END always stands
 * before the MESSAGE record that no longer has the session as a target, and a crash between the two brings back a
 * session that lacks nothing (QUEUE_END). A client is stalled when it took no byte and acknowledged nothing for
 * stall_ms, or when one publisher has waited for its very queue for so long, and it was connected for as long: what was
 * waited for another queue, or before it came, does not count, so one who comes back has stall_ms to make room.
 *
 * Nobody waits so long because two others fill a queue and do not take from it: a quarter more than the limits is for
 * publishers of another owner than the client's, PAST_BYTES_PER_S for each owner. Who fills queues does not get far
 * with that, and waits; who publishes now and then goes on, for longer than stall_ms. So a slow client still holds back
 * those who publish more than it takes. Within one owner, and when the quarter is full as well, all wait.
 *
 * Limits: one question to a session at a time, whoever asks; the ids of 1,024 ended sessions are remembered (as
 * hashes), so that their clients can be told why; of the queues that a publisher waits for, OVERFULL_WAITS_MAX at a
 * time are waited for with a clock. */
#pragma once

#include "broker/state.h"

enum { OVERFULL_WAITS_MAX = 16 };

/* The queues that one refused PUBLISH waits for, and since when each. Freed by mem_free(). */
struct overfull_waits {
    unsigned count;
    struct overfull_wait {
        session_id_t session_id;
        mono_ms_t since;
        bool met; /* by the try that is under way */
    } of[OVERFULL_WAITS_MAX];
};

/* What publishers have said of an inlet. */
enum overfull {
    OVERFULL_ASKED = 1,  /* its owner knows, or will: it need not be told again */
    OVERFULL_WAITED = 2, /* one has waited for as long as a publisher is to wait */
    OVERFULL_SHARE = 4,  /* a share that many sessions have together was taken, maybe by one message for them all */
};

enum { OVERFULL_LOOKS = 128 }; /* in one turn: each may end a session */

struct overfull_waits *overfull_waits_create(void);
/* A try is over: what was not in its way is not waited for any more. NULL is allowed. */
void overfull_waits_tried(struct overfull_waits *waits);

/* A publisher found no room for a message of `bytes`. `waits`: what it waits for (may be NULL). Returns true when
 * another try may succeed soon. */
bool overfull_ask(struct shard *shard, struct inlet *inlet, size_t bytes, struct overfull_waits *waits);
/* Whether a publisher of this owner may go past the limits of a queue. */
bool overfull_lets_past(const struct shard *shard, const struct inlet *inlet, const struct account *owner);
/* It has done so with a message of `bytes`. */
void overfull_past(const struct shard *shard, struct account *owner, size_t bytes);
/* Such a question by mail. */
void overfull_heard(struct shard *shard, session_id_t session_id, size_t bytes);
/* Looks at some of the sessions that have been asked about; true when one was ended, or its connection closed, and none
 * is left to be looked at. */
bool overfull_work(struct shard *shard);
/* Whether the last session of this client id was ended for its full queue; says so once. */
bool overfull_was_ended(struct shard *shard, struct span client_id);
