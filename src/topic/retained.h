/* The retained index: one value for each topic name, found by name or by filter.
 *
 * Values are opaque pointers that the caller owns (in the broker: messages). One user at a time (the caller holds a
 * lock). Iterative like the trie. Durability: none of its own, retained messages are recorded (B10) before they are set
 * here. */
#pragma once

#include "base/buf.h"

struct topic_retained; /* opaque */

struct topic_retained *topic_retained_create(uint64_t seed);
/* Calls `release` for each value that is left. */
void topic_retained_destroy(struct topic_retained *retained, void (*release)(void *value));
/* Sets the value of a valid topic name (NULL removes it); returns the old value, or NULL. Copies the name. */
void *topic_retained_set(struct topic_retained *retained, struct span name, void *value);
/* The value of a name, or NULL. */
void *topic_retained_get(const struct topic_retained *retained, struct span name);
/* Calls `visit` for each value whose name matches a valid filter (wildcards at the first level do not match `$`
 * topics); stops early when it returns false. The index must not change meanwhile. */
void topic_retained_match(const struct topic_retained *retained, struct span filter,
                          bool (*visit)(void *user, void *value), void *user);

/* Where a search by filter is. It goes on whatever has happened to the index meanwhile: a value that was there all the
 * time is given once, one that came or went may be given or not. {.filter = ...} is at the beginning. */
struct topic_retained_cursor {
    struct span filter; /* valid; borrowed for the cursor's life */
    bool all;           /* wildcards at the first level match `$` topics, too */
    struct buf at;      /* the name up to which all was given */
    uint32_t levels;    /* of `at`; 0: none */
    bool due;           /* the value of that name itself was not taken */
    bool ended;         /* all was given */
};
void topic_retained_cursor_deinit(struct topic_retained_cursor *cursor);
/* Goes on: gives values to `visit` until that does not take one (false), which comes first the next time, or until some
 * `points` nodes were looked at. Returns how many were. The index must not change before it returns. */
size_t topic_retained_walk(const struct topic_retained *retained, struct topic_retained_cursor *cursor, size_t points,
                           bool (*visit)(void *user, void *value), void *user);
size_t topic_retained_count(const struct topic_retained *retained);
