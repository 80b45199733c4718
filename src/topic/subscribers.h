/* The subscribers of one filter: an array that readers walk while the writer changes it; inside this room only.
 *
 * A place holds one subscriber for ever or is emptied, it never gets another one: so a reader who sees a subscriber
 * sees options that belong to it. New ones are appended behind the count; an array that is full, or nearly empty, is
 * replaced by a copy. Large arrays have an index for the writer, so that adding, replacing and removing cost the same
 * with one subscriber as with a million. */
#pragma once

#include <stdatomic.h>

#include "base/map.h"
#include "topic/trie.h"

struct topic_place {
    _Atomic(void *) subscriber; /* NULL: it was removed */
    _Atomic uint32_t options;
};

struct topic_subscribers {
    _Atomic uint32_t count; /* places in use, emptied ones included */
    uint32_t capacity;      /* places, fixed */
    uint32_t live;          /* for the writer: places that hold a subscriber */
    struct map64 *index;    /* for the writer: from subscriber to 1 + place; NULL while the array is small */
    struct topic_place places[];
};

/* Writer: adds a subscriber that is not there yet. Returns the array that takes the place of `s` (NULL: none yet), or
 * `s`. The caller publishes it and then retires and reclaims the old one. */
struct topic_subscribers *topic_subscribers_append(struct topic_subscribers *s, uint64_t seed, void *subscriber,
                                                   uint32_t options);
/* Writer: empties a place. Returns the array that takes the place of `s`, which is NULL after the last subscriber, or
 * `s`; the caller does as above. */
struct topic_subscribers *topic_subscribers_remove(struct topic_subscribers *s, uint64_t seed,
                                                   struct topic_place *place);
/* Writer: the place of a subscriber, or NULL. */
struct topic_place *topic_subscribers_find(struct topic_subscribers *s, const void *subscriber);
/* Writer: frees what only the writer uses of an array that was replaced; the array itself is then reclaimed. */
void topic_subscribers_retire(struct topic_subscribers *s);
