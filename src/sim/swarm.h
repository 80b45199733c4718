/* Many histories, each from its own seed; and one history in full when it fails. */
#pragma once

#include "sim/world.h"

struct swarm_result {
    bool failed;
    uint64_t seed; /* that failed */
    char failure[sizeof((struct world *)0)->failure];
};

/* Runs the history of a seed; adds to `counts`. `trace` may be NULL. False when it fails. */
bool swarm_seed(uint64_t seed, struct plan_variant variant, FILE *trace, struct sim_counts *counts,
                struct swarm_result *result);
/* A failing seed once more: prints its plan and history, then looks for a shorter one of the same rule and prints that
 * too. */
void swarm_report(uint64_t seed, struct plan_variant variant, FILE *out);
void sim_counts_add(struct sim_counts *to, const struct sim_counts *from);
void sim_counts_print(const struct sim_counts *c, FILE *out);
