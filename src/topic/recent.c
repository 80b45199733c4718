#include "topic/recent.h"

#include "base/mem.h"

static struct topic_recent_name *place_of(struct topic_matches *matches, uint64_t hash) {
    if (matches->recent == NULL) {
        matches->recent = mem_zero(1, sizeof *matches->recent);
    }
    return &matches->recent->names[hash % RECENT_NAMES];
}

/* As items have room for what is kept. */
static void matches_reserve(struct topic_matches *matches) {
    if (matches->capacity < RECENT_ITEMS) {
        matches->capacity = RECENT_ITEMS;
        matches->items = mem_resize(matches->items, matches->capacity * sizeof matches->items[0]);
    }
}

bool topic_recent_recall(struct topic_matches *matches, struct span name, uint64_t seed, uint64_t changes,
                         struct topic_recent_name **place) {
    *place = NULL;
    if (name.len > RECENT_NAME_BYTES) {
        return false;
    }
    const uint64_t hash = hash_bytes(name, seed);
    struct topic_recent_name *known = place_of(matches, hash);
    if (known->hash != hash) {
        known->hash = hash;
        known->name_bytes = 0;
        return false;
    }
    if (known->changes != changes || !span_equal(span_of(known->name, known->name_bytes), name)) {
        *place = known;
        return false;
    }
    matches_reserve(matches);
    memcpy(matches->items, known->items, sizeof known->items);
    matches->count = known->count;
    return true;
}

void topic_recent_note(struct topic_recent_name *place, struct span name, uint64_t changes,
                       const struct topic_matches *matches) {
    if (matches->count > RECENT_ITEMS) {
        place->name_bytes = 0;
        return;
    }
    place->changes = changes;
    place->count = (uint8_t)matches->count;
    place->name_bytes = (uint8_t)name.len;
    memcpy(place->name, name.ptr, name.len);
    if (matches->count > 0) {
        memcpy(place->items, matches->items, matches->count * sizeof place->items[0]);
    }
}
