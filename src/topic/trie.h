/* The subscription trie: from topic names to subscribers.
 *
 * Shared by all shards. Readers match without locks at any time; one writer at a time (the caller holds a lock)
 * changes it. What a change leaves behind is handed to `reclaim`, which frees it when every reader has finished the
 * turn in which it may have seen it. Matching is iterative: neither depth nor width of the input can overflow the
 * stack. Does not know what a subscriber is: an opaque pointer with an opaque 32-bit option word.
 *
 * Limits: filters of 65,535 bytes, 2^31 subscribers of one filter; a filter takes some 100 to 200 bytes and its text,
 * however deep it is. Durability: none of its own, subscriptions are recorded (B7) before they are added here.
 *
 *      root ── "home" ─┬─ "+/temperature"  [subscriber, options] ...
 *                      └─ "#"              [subscriber, options] ...
 */
#pragma once

#include "base/span.h"

struct topic_trie; /* opaque */

/* Must call free_function(memory) once no reader that was active can still see it; may be at once when there are no
 * concurrent readers. */
typedef void topic_reclaim(void *user, void *memory, void (*free_function)(void *memory));

/* Returns an empty trie; destroy it with topic_trie_destroy(). `seed` makes hash places unpredictable. */
struct topic_trie *topic_trie_create(uint64_t seed, topic_reclaim *reclaim, void *user);
/* Frees everything at once; no reader may be active. */
void topic_trie_destroy(struct topic_trie *trie);

enum topic_trie_change { TOPIC_TRIE_ADDED = 1, TOPIC_TRIE_REPLACED, TOPIC_TRIE_REMOVED, TOPIC_TRIE_ABSENT };

/* Writer: subscribes `subscriber` (not NULL) to a valid filter (without $share), or replaces its options.
 * Amortised O(levels), however many subscribers the filter has. Copies the filter. */
enum topic_trie_change topic_trie_add(struct topic_trie *trie, struct span filter, void *subscriber, uint32_t options);
/* Writer: as topic_trie_add() when the caller knows that this subscriber is not yet at this filter: does not search. */
void topic_trie_add_new(struct topic_trie *trie, struct span filter, void *subscriber, uint32_t options);
/* Writer: removes one; nodes that serve nobody any more are reclaimed. */
enum topic_trie_change topic_trie_remove(struct topic_trie *trie, struct span filter, const void *subscriber);

struct topic_match {
    void *subscriber;
    uint32_t options;
};

/* Where matches go, and the memory of the search, kept by the caller from match to match: zero to begin, for one trie.
 */
struct topic_matches {
    struct topic_match *items;
    size_t count;
    size_t capacity;
    void *stack; /* internal */
    size_t stack_capacity;
    struct topic_recent *recent; /* internal: what names matched lately */
};
void topic_matches_deinit(struct topic_matches *matches);

/* Reader: fills `matches` (count starts from 0) with one entry for each matching (subscriber, filter), in no
 * particular order; a subscriber with overlapping filters appears once for each (R9). What the writer changes meanwhile
 * is seen or not; what it does not change is seen. */
void topic_trie_match(const struct topic_trie *trie, struct span name, struct topic_matches *matches);

/* Counters for tests and metrics; approximate for readers. */
size_t topic_trie_subscriptions(const struct topic_trie *trie);
size_t topic_trie_nodes(const struct topic_trie *trie);
