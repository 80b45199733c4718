/* `quartet sim`: flags in, histories run, verdict out. Exit status: 0 all well, 1 something failed, 2 wrong flags. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "apps/quartet.h"
#include "apps/quartet_sim.h"
#include "sim/explore.h"
#include "sim/scenario.h"
#include "sim/swarm.h"

#define EXIT_WRONG 2
#define EXHAUSTIVE_STATES_MAX 400000 /* of one world, unless told otherwise */

struct sim_flags {
    bool seeds_given;
    uint64_t from, count;
    double minutes;
    bool verbose;
    bool keep_going;
    bool mutants;
    const char *world; /* of the exhaustive walk */
    struct plan_variant variant;
};

/* The seed that runs, for the case that an assertion of ours ends the process. */
static volatile uint64_t seed_running;

static void on_abort(int signal_number) {
    static const char text[] = "quartet sim: aborted in seed ";
    char line[sizeof text + 24];
    size_t at = sizeof line;
    uint64_t seed = seed_running;
    line[--at] = '\n';
    do {
        line[--at] = (char)('0' + seed % 10);
        seed /= 10;
    } while (seed > 0);
    at -= sizeof text - 1;
    memcpy(line + at, text, sizeof text - 1);
    ssize_t ignored = write(STDERR_FILENO, line + at, sizeof line - at);
    (void)ignored;
    (void)signal(signal_number, SIG_DFL);
    (void)raise(signal_number);
}

static void usage(FILE *out) {
    (void)fputs("usage: quartet sim [--seed S] [--seeds N [--from S]] [--minutes M] [--mutant NAME] [--keep-going]\n"
                "                   [--verbose] [--world NAME]\n"
                "       quartet sim --scenario [--rewrite | --mutant NAME] FILE...\n"
                "       quartet sim --mutants [--seeds N]\n"
                "       quartet sim --exhaustive WORLD|all [--seeds THOUSANDS_OF_STATES]\n\n"
                "  --seed S      one history; with --verbose it is printed even when all is well\n"
                "  --seeds N     N histories, from seed 1 or --from on\n"
                "  --minutes M   as many histories as fit\n"
                "  --mutant NAME breaks one barrier or rule of the broker; client/NAME: of the clients\n"
                "  --world NAME  worlds of one kind alone, which seeds draw now and then or not at all\n"
                "  --keep-going  goes on after a failing seed and lists all of them\n"
                "  --mutants     breaks each of them in turn; each must be noticed\n",
                out);
}

static const char *const mutant_names[] = {"NONE",
#define MUTANT_NAME(name, side, text) #name,
                                           MUTANT_ROWS(MUTANT_NAME)
#undef MUTANT_NAME
};

/* NAME, or client/NAME. */
static bool mutant_parse(const char *text, struct plan_variant *out) {
    static const char client[] = "client/";
    const bool of_client = strncmp(text, client, sizeof client - 1) == 0;
    const char *name = of_client ? text + sizeof client - 1 : text;
    for (size_t i = 0; i < sizeof mutant_names / sizeof mutant_names[0]; i++) {
        if (strcmp(name, mutant_names[i]) == 0) {
            *(of_client ? &out->client : &out->broker) = (enum mutant)i;
            return true;
        }
    }
    return false;
}

static const char *const world_names[] = {"DRAWN",
#define WORLD_NAME(name, share, text) #name,
                                          PLAN_WORLD_ROWS(WORLD_NAME)
#undef WORLD_NAME
};

static bool world_parse(const char *text, enum plan_world *out) {
    for (size_t i = 0; i < sizeof world_names / sizeof world_names[0]; i++) {
        if (strcmp(text, world_names[i]) == 0) {
            *out = (enum plan_world)i;
            return true;
        }
    }
    return false;
}

static double seconds_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool parse(int argc, char **argv, struct sim_flags *f) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        bool takes = true;
        if (strcmp(argv[i], "--verbose") == 0) {
            f->verbose = true;
            takes = false;
        } else if (strcmp(argv[i], "--keep-going") == 0) {
            f->keep_going = true;
            takes = false;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            f->mutants = true;
            takes = false;
        } else if (value == NULL) {
            return false;
        } else if (strcmp(argv[i], "--seed") == 0) {
            f->from = strtoull(value, NULL, 10);
            f->count = 1;
            f->seeds_given = true;
        } else if (strcmp(argv[i], "--seeds") == 0) {
            f->count = strtoull(value, NULL, 10);
            f->seeds_given = true;
        } else if (strcmp(argv[i], "--exhaustive") == 0) {
            f->world = value;
        } else if (strcmp(argv[i], "--from") == 0) {
            f->from = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i], "--minutes") == 0) {
            f->minutes = strtod(value, NULL);
            f->seeds_given = true;
        } else if (strcmp(argv[i], "--world") == 0) {
            if (!world_parse(value, &f->variant.world)) {
                return false;
            }
        } else if (strcmp(argv[i], "--mutant") != 0 || !mutant_parse(value, &f->variant)) {
            return false;
        }
        i += takes ? 1 : 0;
    }
    return f->seeds_given || f->mutants || f->world != NULL;
}

static int run_seeds(const struct sim_flags *f) {
    const double begin = seconds_now();
    struct sim_counts counts = {0};
    uint64_t failures = 0;
    for (uint64_t i = 0; f->minutes > 0 ? seconds_now() - begin < f->minutes * 60 : i < f->count; i++) {
        struct swarm_result result;
        bool alone = f->verbose && f->count == 1;
        seed_running = f->from + i;
        if (swarm_seed(seed_running, f->variant, alone ? stdout : NULL, &counts, &result)) {
            continue;
        }
        failures++;
        (void)printf("seed %llu fails: %s\n", (unsigned long long)seed_running, result.failure);
        (void)fflush(stdout);
        if (!f->keep_going) {
            swarm_report(seed_running, f->variant, stdout);
            break;
        }
    }
    const double seconds = seconds_now() - begin;
    sim_counts_print(&counts, stdout);
    (void)printf("%.1f s, %.0f histories/s\n", seconds, (double)counts.histories / seconds);
    (void)printf("summary: histories=%llu failed=%llu\n", (unsigned long long)counts.histories,
                 (unsigned long long)failures);
    return failures == 0 ? 0 : 1;
}

/* --exhaustive WORLD|all: --seeds bounds the states of each world, in thousands. */
static int run_exhaustive(const struct sim_flags *f) {
    const uint64_t states_max = f->count > 0 ? f->count * 1000 : EXHAUSTIVE_STATES_MAX;
    uint64_t states = 0;
    unsigned walked = 0, whole = 0, failed = 0;
    for (unsigned i = 0; i < explore_world_count; i++) {
        const struct explore_world *world = &explore_worlds[i];
        if (strcmp(f->world, "all") != 0 && strcmp(f->world, world->name) != 0) {
            continue;
        }
        const double begin = seconds_now();
        const struct explore_result r = explore_walk(world, f->variant, states_max, stdout);
        (void)printf("%-14s %9llu states, %9llu runs, %8llu paths to their end, %6.1f s%s: %s\n", world->name,
                     (unsigned long long)r.states, (unsigned long long)r.runs, (unsigned long long)r.paths,
                     seconds_now() - begin, r.complete ? "" : ", not all walked", r.failed ? r.failure : world->text);
        (void)fflush(stdout);
        states += r.states;
        walked++;
        failed += r.failed ? 1 : 0;
        whole += r.complete ? 1 : 0;
    }
    (void)printf("summary: states=%llu worlds=%u whole=%u failed=%u\n", (unsigned long long)states, walked, whole,
                 failed);
    return walked > 0 && failed == 0 ? 0 : 1;
}

/* --scenario [--rewrite | --mutant NAME] FILE...: each file's scenarios; the summary line counts them. */
static int run_scenarios(int count, char **files) {
    struct scenario_counts counts = {0, 0};
    struct plan_variant variant = {0};
    const bool rewrite = strcmp(files[0], "--rewrite") == 0;
    const bool mutant = count > 1 && strcmp(files[0], "--mutant") == 0;
    if (mutant && !mutant_parse(files[1], &variant)) {
        usage(stderr);
        return EXIT_WRONG;
    }
    for (int i = rewrite ? 1 : mutant ? 2 : 0; i < count; i++) {
        if (!scenario_file(files[i], variant, rewrite ? NULL : stdout, rewrite, &counts)) {
            (void)fprintf(stderr, "%s cannot be read or written\n", files[i]);
            return EXIT_WRONG;
        }
    }
    (void)printf("summary: scenarios=%u passed=%u failed=%u\n", counts.passed + counts.failed, counts.passed,
                 counts.failed);
    return counts.failed == 0 || rewrite ? 0 : 1;
}

/* Worlds come and go by the thousand: their memory is kept for the next one. */
static void keep_memory(void) {
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
}

int quartet_sim_main(int argc, char **argv) {
    struct sim_flags flags = {.from = 1};
    keep_memory();
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (argc > 2 && strcmp(argv[1], "--scenario") == 0) {
        return run_scenarios(argc - 2, argv + 2);
    }
    if (!parse(argc, argv, &flags)) {
        usage(stderr);
        return EXIT_WRONG;
    }
    (void)signal(SIGABRT, on_abort);
    (void)signal(SIGSEGV, on_abort);
    if (flags.world != NULL) {
        return run_exhaustive(&flags);
    }
    return flags.mutants ? quartet_sim_mutants(flags.count > 0 ? flags.count : 2000) : run_seeds(&flags);
}
