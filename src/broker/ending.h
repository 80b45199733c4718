/* The end of a session's subscriptions: they leave the trie some at a time, however many there are. Private to this
 * folder.
 *
 *     session_end ──> SESSION_END, no client id, no queue, nothing matches ──> some filters in each turn ──> freed
 *
 * The session is gone from the first moment: its inlet says so to whoever still finds it in the trie, and its client id
 * is free for another session. Its account was given back at once, so that its client can begin anew: ends are gone
 * through at least as fast as filters can be entered. Durability: its SESSION_END is recorded before. */
#pragma once

#include "broker/work.h"

struct ending {
    struct work work;
    struct shard *shard;
    struct inlet *inlet;
    struct map_bytes subscriptions;
    size_t at; /* in the map: what is before has left the trie and is freed */
};

/* Takes over what a session leaves: its inlet and subscriptions. */
struct ending *ending_of(struct session *session);
/* One slice, out of the shard's list; frees it with the last. */
void ending_slice(struct ending *e);
/* Frees all at once; the trie is left alone, because it goes itself. */
void ending_free(struct ending *e);
