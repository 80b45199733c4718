/* What the names that were published lately matched: most are published again, and seldom does a subscription change
 * between. Inside this room only.
 *
 *     name ── hash ──> its place: the same name, and no change of the trie since ──> the subscribers it had
 *
 * One for each reader, in its struct topic_matches. A name is kept when it comes a second time, so that names that come
 * once cost little; long ones, and those with many subscribers, are searched each time.
 * Limits: RECENT_NAMES names of at most RECENT_NAME_BYTES with RECENT_ITEMS subscribers: 48 KB. */
#pragma once

#include "topic/level.h"
#include "topic/trie.h"

enum { RECENT_NAMES = 256, RECENT_ITEMS = 3, RECENT_NAME_BYTES = 118 };

struct topic_recent_name {
    uint64_t hash;      /* of the name that was here last, whether it is kept or not */
    uint64_t changes;   /* of the trie, when it was matched */
    uint8_t name_bytes; /* 0: nothing is kept; a name has at least one */
    uint8_t count;
    uint8_t name[RECENT_NAME_BYTES];
    struct topic_match items[RECENT_ITEMS];
};

struct topic_recent {
    struct topic_recent_name names[RECENT_NAMES];
};

/* True: `matches` has what is known of the name. Else it is to be searched for, and noted at `*place` if that is not
 * NULL. `changes`: how often the trie has changed by now. */
bool topic_recent_recall(struct topic_matches *matches, struct span name, uint64_t seed, uint64_t changes,
                         struct topic_recent_name **place);
/* Keeps what the search has found, which had all those changes, or says that there is too much to keep. */
void topic_recent_note(struct topic_recent_name *place, struct span name, uint64_t changes,
                       const struct topic_matches *matches);
