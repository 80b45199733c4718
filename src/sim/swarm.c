#include "sim/swarm.h"

#include <string.h>

#include "base/mem.h"

#define SHRINK_TRIES_MAX 3000

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
    to->audits += from->audits;
}

void sim_counts_print(const struct sim_counts *c, FILE *out) {
    fprintf(out,
            "histories %llu, steps %llu, messages %llu, deliveries %llu, connections %llu, cuts %llu, kills %llu, "
            "power cuts %llu, orderly stops %llu, starts %llu, what-if power cuts %llu, looks at clients' disks %llu\n",
            (unsigned long long)c->histories, (unsigned long long)c->steps, (unsigned long long)c->messages,
            (unsigned long long)c->deliveries, (unsigned long long)c->connections, (unsigned long long)c->cuts,
            (unsigned long long)c->kills, (unsigned long long)c->power_cuts, (unsigned long long)c->stops,
            (unsigned long long)c->restarts, (unsigned long long)c->forks, (unsigned long long)c->audits);
}

/* One history; its choices come from the script, beyond its end at random or 0. */
static bool run(const struct plan *plan, struct choices *choices, FILE *trace, struct sim_counts *counts,
                struct swarm_result *result) {
    struct world *w = world_create(plan, choices, trace);
    world_run(w);
    world_calm(w);
    sim_counts_add(counts, &w->counts);
    result->failed = w->failed;
    result->seed = plan->seed;
    memcpy(result->failure, w->failure, sizeof result->failure);
    world_destroy(w);
    return !result->failed;
}

bool swarm_seed(uint64_t seed, struct plan_variant variant, FILE *trace, struct sim_counts *counts,
                struct swarm_result *result) {
    struct plan plan;
    struct choices choices = {0};
    plan_draw(&plan, seed, variant);
    plan_leave_out(&plan, variant);
    choices_start(&choices, seed, NULL, 0, true);
    bool well = run(&plan, &choices, trace, counts, result);
    choices_deinit(&choices);
    return well;
}

/* ---- a shorter history that breaks the same rule ---- */

struct shrink {
    struct plan plan;
    char rule[24];         /* that is broken: the failure up to its colon */
    struct choice *script; /* the shortest so far */
    size_t count;
    struct choice *candidate; /* as large as the first script */
    unsigned tries;
    struct swarm_result result; /* of the shortest */
};

static void rule_of(const char *failure, char out[24]) {
    snprintf(out, 24, "%.*s", (int)strcspn(failure, ":"), failure);
}

/* Whether the candidate breaks the rule too; then it is the shortest. */
static bool shrink_try(struct shrink *s, size_t count, unsigned steps) {
    struct choices choices = {0};
    struct sim_counts counts = {0};
    struct swarm_result result;
    struct plan plan = s->plan;
    char rule[24];
    plan.steps = steps;
    choices_start(&choices, plan.seed, s->candidate, count, false);
    s->tries++;
    run(&plan, &choices, NULL, &counts, &result);
    choices_deinit(&choices);
    rule_of(result.failure, rule);
    if (!result.failed || strcmp(rule, s->rule) != 0) {
        return false;
    }
    memcpy(s->script, s->candidate, count * sizeof *s->script);
    s->count = count;
    s->plan.steps = steps;
    s->result = result;
    return true;
}

static void shrink_steps(struct shrink *s) {
    for (unsigned part = 2; part <= 64 && s->plan.steps > 8; part *= 2) {
        memcpy(s->candidate, s->script, s->count * sizeof *s->script);
        while (shrink_try(s, s->count, s->plan.steps - s->plan.steps / part) && s->plan.steps > part) {
        }
    }
}

static void shrink_choices(struct shrink *s) {
    for (size_t size = s->count / 2; size > 0 && s->tries < SHRINK_TRIES_MAX; size /= 2) {
        for (size_t at = 0; at + size <= s->count && s->tries < SHRINK_TRIES_MAX;) {
            memcpy(s->candidate, s->script, at * sizeof *s->script);
            memcpy(s->candidate + at, s->script + at + size, (s->count - at - size) * sizeof *s->script);
            if (!shrink_try(s, s->count - size, s->plan.steps)) {
                at += size;
            }
        }
    }
}

static void shrink_print(const struct shrink *s, FILE *out) {
    struct choices choices = {0};
    struct sim_counts counts = {0};
    struct swarm_result result;
    fprintf(out, "a shorter history (%zu choices, %u steps; found in %u tries) that fails as well: %s\n", s->count,
            s->plan.steps, s->tries, s->result.failure);
    choices_start(&choices, s->plan.seed, s->script, s->count, false);
    run(&s->plan, &choices, out, &counts, &result);
    choices_deinit(&choices);
}

static void shrink(const struct plan *plan, const struct choices *taken, const struct swarm_result *first, FILE *out) {
    const size_t bytes = (taken->taken_count + 1) * sizeof(struct choice);
    struct shrink s = {.plan = *plan, .count = taken->taken_count, .result = *first};
    s.script = mem_copy(taken->taken, taken->taken_count * sizeof(struct choice));
    s.candidate = mem_alloc(bytes);
    rule_of(first->failure, s.rule);
    shrink_steps(&s);
    shrink_choices(&s);
    shrink_steps(&s);
    if (s.count < taken->taken_count) {
        shrink_print(&s, out);
    }
    mem_free(s.script);
    mem_free(s.candidate);
}

void swarm_report(uint64_t seed, struct plan_variant variant, FILE *out) {
    struct plan plan;
    struct swarm_result result;
    struct sim_counts counts = {0};
    struct choices choices = {.recording = true};
    plan_draw(&plan, seed, variant);
    plan_leave_out(&plan, variant);
    fprintf(out, "seed %llu:\n", (unsigned long long)seed);
    plan_print(&plan, out);
    choices_start(&choices, seed, NULL, 0, true);
    if (!run(&plan, &choices, out, &counts, &result)) {
        shrink(&plan, &choices, &result, out);
    }
    choices_deinit(&choices);
}
