/* Looks through everything that can happen in a small world, shortest runs first.
 *
 * Breadth first over the moves of chain.h; a state that was met before (by a 64-bit digest) is not looked at twice. So
 * the first run that ends badly is one of the shortest, and a search that ends without one has seen all there is. */
#pragma once

#include "explain/chain.h"

#define SEARCH_PATH_MAX 64

struct search_result {
    enum verdict verdict;              /* the worst that was found; the search ends at what is worse than LEFTOVER */
    unsigned message;                  /* lost, stuck or passed on twice */
    struct move path[SEARCH_PATH_MAX]; /* a shortest run to it, or to the most that is left; VERDICT_RIGHT: none */
    unsigned path_len;
    unsigned states;   /* distinct ones that were met */
    unsigned depth;    /* moves of the longest run to a new state */
    unsigned held_max; /* ids that the receiver held, at most */
    unsigned left_max; /* the same when all was done */
};

/* Searches. The world has no more than some million states. */
void search_run(const struct chain_limits *limits, struct search_result *result);
/* Plays the path of a result once more, for the story. */
void search_tell(const struct chain_limits *limits, const struct search_result *result, struct story *story);
