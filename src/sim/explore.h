/* Walks all choices of a small world: every order of what can happen, every cut, every crash, within a budget of
 * faults.
 *
 * Depth first, by running again from the beginning with another list of choices; a state that was met before is not
 * walked twice. A state is a 64-bit hash over everything that can matter later: the disk with what is not synced, the
 * table, the shards, the network, the clients, the judge's books and what is left of the budget. At the end of each
 * path comes the calm and the judgement. */
#pragma once

#include "sim/world.h"

struct explore_world {
    const char *name;
    const char *text;
    unsigned messages;
    unsigned ids;
    bool publisher_walks, subscriber_walks; /* whose connection is part of the walk; the others come in the calm */
    bool five;
    uint8_t qos;
    unsigned shards;
    unsigned cuts, powers, kills, takeovers, repeats; /* budget of a path */
    bool real; /* the clients are real; powers and kills may strike them as well as the broker */
};

extern const struct explore_world explore_worlds[];
extern const unsigned explore_world_count;

struct explore_result {
    uint64_t states; /* distinct */
    uint64_t paths;  /* run to their end */
    uint64_t runs;
    bool complete; /* all were walked within the limit */
    bool failed;
    char failure[sizeof((struct world *)0)->failure];
};

/* Walks the world, at most `states_max` states of it. `trace` (may be NULL): a failing path is printed there. */
struct explore_result explore_walk(const struct explore_world *world, struct plan_variant mutants, uint64_t states_max,
                                   FILE *trace);
