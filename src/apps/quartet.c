/* `quartet VERB ...`: finds the verb. */
#include <stdio.h>
#include <string.h>

#include "apps/quartet.h"

struct verb {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *text;
};

static const struct verb verbs[] = {
    {"bench", quartet_bench_main, "load a broker and measure it"},
    {"explain", quartet_explain_main, "why QoS 2 has four packets: diagrams of small worlds that run while you look"},
    {"sim", quartet_sim_main, "run the broker in the simulator: seeds, scenarios, whole small worlds, mutants"},
    {"store", quartet_store_main, "check, dump or repair a store that no broker has open"},
    {"torture", quartet_torture_main, "exactly-once trials of any broker: cuts, kills, repeats, judged by the wire"},
};

static void usage(FILE *out) {
    (void)fputs("usage: quartet VERB [ARGUMENT ...]\n\n", out);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        (void)fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].text);
    }
    (void)fputs("\n`quartet VERB --help` says more.\n", out);
}

int main(int argc, char **argv) {
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; argc >= 2 && i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            return verbs[i].main(argc - 1, argv + 1);
        }
    }
    if (argc >= 2) {
        (void)fprintf(stderr, "quartet: unknown verb: %s\n", argv[1]);
    }
    usage(stderr);
    return 2;
}
