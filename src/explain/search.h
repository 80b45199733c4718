/* Looks through everything that can happen in a small world, shortest runs first.
 *
 * A world is made from nothing and a list of moves. Breadth first over the moves; a state that was met before (by a
 * 64-bit digest) is not looked at twice. So the first run that ends badly is one of the shortest, and a search that
 * ends without one has seen all there is. Knows nothing of the worlds: they come as a row of functions. */
#pragma once

#include <stdint.h>

#include "explain/protocol.h"
#include "explain/story.h"

#define SEARCH_PATH_MAX 64
#define SEARCH_MOVES_MAX 16

/* One thing that can happen; what the numbers mean is the world's. */
struct move {
    uint8_t kind;
    uint8_t who;
};

struct finding {
    enum outcome outcome;
    unsigned message; /* lost, stuck or passed on twice */
    unsigned held;    /* ids that are kept now */
};

/* A kind of world. `what` says which one of the kind. */
struct search_world {
    void *(*create)(const void *what, struct story *story);
    void (*destroy)(void *world);
    void (*act)(void *world, struct move move);
    unsigned (*moves)(void *world, struct move out[SEARCH_MOVES_MAX]);
    uint64_t (*digest)(void *world);
    /* Comes last: it may let the world go on to its end, without faults. */
    struct finding (*judge)(void *world);
};

struct search_result {
    struct finding worst;              /* the search ends at what is worse than LEFTOVER */
    struct move path[SEARCH_PATH_MAX]; /* a shortest run to it, or to the most that is left; OUTCOME_RIGHT: none */
    unsigned path_len;
    unsigned states;   /* distinct ones that were met */
    unsigned depth;    /* moves of the longest run to a new state */
    unsigned held_max; /* ids that were kept, at most */
};

/* Searches. The world has no more than some million states. */
void search_run(const struct search_world *world, const void *what, struct search_result *result);
/* Plays the path of a result once more, and the end that the judge looked at, for the story. */
void search_tell(const struct search_world *world, const void *what, const struct search_result *result,
                 struct story *story);
