#include "sim/swarm.h"

#include <string.h>

void sim_counts_add(struct sim_counts *to, const struct sim_counts *from) {
    to->histories += from->histories;
    to->steps += from->steps;
    to->messages += from->messages;
    to->deliveries += from->deliveries;
    to->connections += from->connections;
    to->cuts += from->cuts;
    to->kills += from->kills;
    to->power_cuts += from->power_cuts;
    to->forks += from->forks;
    to->restarts += from->restarts;
    to->stops += from->stops;
}

void sim_counts_print(const struct sim_counts *c, FILE *out) {
    fprintf(out,
            "histories %llu, steps %llu, messages %llu, deliveries %llu, connections %llu, cuts %llu, kills %llu, "
            "power cuts %llu, orderly stops %llu, starts %llu, what-if power cuts %llu\n",
            (unsigned long long)c->histories, (unsigned long long)c->steps, (unsigned long long)c->messages,
            (unsigned long long)c->deliveries, (unsigned long long)c->connections, (unsigned long long)c->cuts,
            (unsigned long long)c->kills, (unsigned long long)c->power_cuts, (unsigned long long)c->stops,
            (unsigned long long)c->restarts, (unsigned long long)c->forks);
}

bool swarm_seed(uint64_t seed, enum mutant mutant, FILE *trace, struct sim_counts *counts,
                struct swarm_result *result) {
    struct plan plan;
    struct choices choices = {0};
    plan_draw(&plan, seed);
    plan.broker.mutant = mutant;
    choices_start(&choices, seed, NULL, 0, true);
    struct world *w = world_create(&plan, &choices, trace);
    world_run(w);
    world_calm(w);
    sim_counts_add(counts, &w->counts);
    result->failed = w->failed;
    result->seed = seed;
    memcpy(result->failure, w->failure, sizeof result->failure);
    world_destroy(w);
    choices_deinit(&choices);
    return !result->failed;
}

void swarm_report(uint64_t seed, enum mutant mutant, FILE *out) {
    struct plan plan;
    struct swarm_result result;
    struct sim_counts counts = {0};
    plan_draw(&plan, seed);
    fprintf(out, "seed %llu:\n", (unsigned long long)seed);
    plan_print(&plan, out);
    swarm_seed(seed, mutant, out, &counts, &result);
}
