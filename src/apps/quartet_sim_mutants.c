/* `quartet sim --mutants`: leaves out each barrier and rule once; the scenarios or the histories must notice.
 *
 * For each mutant, in a process of its own (a mutant may well run into an assertion, which also counts as noticed): the
 * scenarios of the directory, then the seed that its file names, then seeds from 1 on. The last row is the broker with
 * nothing left out: it must pass all scenarios, all named seeds and as many more. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/quartet_sim.h"
#include "base/must.h"
#include "sim/scenario.h"
#include "sim/swarm.h"

#define DIRECTORY "test/scenario"
#define SEEDS_FILE DIRECTORY "/mutants.seeds"

struct trial {
    const char *name; /* of a client's: client/NAME */
    struct plan_variant mutants;
    bool exists;         /* on this side */
    uint64_t seeds[128]; /* that are tried first */
    unsigned seed_count;
    uint64_t more; /* seeds from 1 on, after them */
};

/* What the child says; shared with it. */
struct verdict_shared {
    uint64_t seed;      /* that runs */
    uint64_t histories; /* run so far */
    bool scenario_fails, seed_fails, finished;
    char scenario[64]; /* the first file that fails */
    char failure[200];
};

static void try_scenarios(struct plan_variant mutants, struct verdict_shared *v) {
    glob_t files;
    if (glob(DIRECTORY "/*.txt", 0, NULL, &files) != 0) {
        return;
    }
    for (size_t i = 0; i < files.gl_pathc && !v->scenario_fails; i++) {
        struct scenario_counts counts = {0, 0};
        v->scenario_fails = !scenario_file(files.gl_pathv[i], mutants, NULL, false, &counts) || counts.failed > 0;
        const char *slash = strrchr(files.gl_pathv[i], '/');
        (void)snprintf(v->scenario, sizeof v->scenario, "%.60s", slash + 1);
    }
    globfree(&files);
}

static void try_seed(const struct trial *t, uint64_t seed, struct verdict_shared *v) {
    struct sim_counts counts = {0};
    struct swarm_result result;
    v->seed = seed;
    v->histories++;
    if (!swarm_seed(seed, t->mutants, NULL, &counts, &result)) {
        v->seed_fails = true;
        (void)snprintf(v->failure, sizeof v->failure, "%.190s", result.failure);
    }
}

static void try_all(const struct trial *t, struct verdict_shared *v) {
    try_scenarios(t->mutants, v);
    for (unsigned i = 0; i < t->seed_count && !v->seed_fails; i++) {
        try_seed(t, t->seeds[i], v);
    }
    for (uint64_t seed = 1; seed <= t->more && !v->seed_fails; seed++) {
        try_seed(t, seed, v);
    }
    v->finished = true;
}

/* Runs the trial in a child. */
static void run(const struct trial *t, struct verdict_shared *v) {
    memset(v, 0, sizeof *v);
    (void)fflush(stdout);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        if (t->exists) {
            must(freopen("/dev/null", "w", stderr) != NULL); /* what an assertion says */
        }
        try_all(t, v);
        _exit(0);
    }
    int status = 0;
    must(waitpid(child, &status, 0) == child);
    if (!v->finished) {
        v->seed_fails = true;
        (void)snprintf(v->failure, sizeof v->failure, "it ran into an assertion");
    }
}

/* Lines "NAME SEED"; the seeds of all go to `all`, too. */
static void seeds_read(struct trial *trials, size_t count, struct trial *all) {
    FILE *in = fopen(SEEDS_FILE, "r");
    char line[200];
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        const size_t name_bytes = strcspn(line, " ");
        const uint64_t seed = strtoull(line + name_bytes, NULL, 10);
        for (size_t i = 0; i < count; i++) {
            if (strlen(trials[i].name) == name_bytes && memcmp(trials[i].name, line, name_bytes) == 0 &&
                trials[i].seed_count < 128 && all->seed_count < 128) {
                trials[i].seeds[trials[i].seed_count++] = seed;
                all->seeds[all->seed_count++] = seed;
            }
        }
    }
    if (in != NULL) {
        (void)fclose(in);
    }
}

static void print(const struct trial *t, const struct verdict_shared *v) {
    char seed[32] = "-";
    if (v->seed_fails) {
        (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)v->seed);
    }
    (void)printf("%-19s %-26s %8s %10llu  %.110s\n", t->name, v->scenario_fails ? v->scenario : "-", seed,
                 (unsigned long long)v->histories, v->failure);
}

/* Each mutant on each side where it exists. */
static struct trial trials[] = {
#define TRIAL(name, side, text)                                                                                        \
    {#name, {.broker = MUTANT_##name}, (MUTANT_OF_##side & MUTANT_OF_BROKER) != 0, {0}, 0, 0},
    MUTANT_ROWS(TRIAL)
#undef TRIAL
#define TRIAL(name, side, text)                                                                                        \
    {"client/" #name, {.client = MUTANT_##name}, (MUTANT_OF_##side & MUTANT_OF_CLIENT) != 0, {0}, 0, 0},
        MUTANT_ROWS(TRIAL)
#undef TRIAL
};

int quartet_sim_mutants(uint64_t seeds) {
    const unsigned count = sizeof trials / sizeof trials[0];
    struct trial none = {.name = "(none)", .more = seeds};
    struct verdict_shared *v = mmap(NULL, sizeof *v, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(v != MAP_FAILED);
    seeds_read(trials, count, &none);
    (void)printf("%-19s %-26s %8s %10s  %s\n", "left out", "scenario that fails", "seed", "histories", "what is seen");
    unsigned mutants = 0, killed = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!trials[i].exists) {
            continue;
        }
        trials[i].more = seeds;
        run(&trials[i], v);
        print(&trials[i], v);
        mutants++;
        killed += v->scenario_fails || v->seed_fails ? 1 : 0;
    }
    run(&none, v);
    print(&none, v);
    const bool well = !v->scenario_fails && !v->seed_fails;
    (void)munmap(v, sizeof *v);
    (void)printf("summary: mutants=%u killed=%u passed=%u failed=%u\n", mutants, killed, killed + well,
                 mutants - killed + !well);
    return well && killed == mutants ? 0 : 1;
}
