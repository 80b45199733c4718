/* Stands before a store and writes down, in words for a story, what is staged in it and what is not yet durable. */
#pragma once

#include "explain/story.h"
#include "store/store.h"

#define TAP_TEXT_BYTES 256

struct tap {
    struct store_ops ops;
    const struct store_ops *real;
    void (*staged)(void *user, const char *record); /* is told of each record: "SENT(1)" */
    void *user;
    char pending[TAP_TEXT_BYTES]; /* what is staged and not on the disk: "SENT(1), DONE(2)" */
    uint64_t digest;              /* of the same records, in their order */
};

/* Stands before this store, unless it does already. The tap outlives the store. */
void tap_in(struct tap *t, struct store *store, void (*staged)(void *user, const char *record), void *user);
/* The power fails: notes what is lost, at the actor whose store it is. */
void tap_lost(const struct tap *t, struct story_event *e, unsigned actor);
/* What was staged is on the disk, or is lost. */
void tap_clear(struct tap *t);
