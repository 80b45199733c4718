/* `quartet VERB ...`: finds the verb; mosquitto_pub, mosquitto_sub and mosquitto_rr are names of three of them. */
#include <stdio.h>
#include <string.h>

#include "apps/descriptors.h"
#include "apps/ending.h"
#include "apps/quartet.h"

struct verb {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *text;
};

static const struct verb verbs[] = {
    {"bench", quartet_bench_main, "load a broker and measure it"},
    {"ctl", quartet_ctl_main, "ask a running broker who is there, end sessions, clear retained messages"},
    {"explain", quartet_explain_main, "why QoS 2 has four packets: diagrams of small worlds that run while you look"},
    {"pub", quartet_pub_main, "publish messages; the flags are those of mosquitto_pub and more"},
    {"rr", quartet_rr_main, "publish a request and print the response, as mosquitto_rr does"},
    {"sim", quartet_sim_main, "run the broker in the simulator: seeds, scenarios, whole small worlds, mutants"},
    {"store", quartet_store_main, "check, repair or empty a store that no broker has open"},
    {"sub", quartet_sub_main, "print what is published; the flags are those of mosquitto_sub and more"},
    {"torture", quartet_torture_main, "exactly-once trials of any broker: cuts, kills, repeats, judged by the wire"},
};

static void usage(FILE *out) {
    (void)fputs("usage: quartet VERB [ARGUMENT ...]\n\n", out);
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        (void)fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].text);
    }
    (void)fputs("\n`quartet VERB --help` says more.\n", out);
}

static const struct verb *find(const char *name) {
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(name, verbs[i].name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

/* The verb of a link to this program that is named as one of mosquitto's tools; NULL when it is not. */
static const struct verb *find_by_link(const char *path) {
    static const char prefix[] = "mosquitto_";
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    return strncmp(name, prefix, sizeof prefix - 1) == 0 ? find(name + sizeof prefix - 1) : NULL;
}

static int run(int argc, char **argv) {
    const struct verb *linked = argc >= 1 ? find_by_link(argv[0]) : NULL;
    if (linked != NULL) {
        return linked->main(argc, argv);
    }
    if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return 0;
    }
    const struct verb *verb = argc >= 2 ? find(argv[1]) : NULL;
    if (verb != NULL) {
        return verb->main(argc - 1, argv + 1);
    }
    if (argc >= 2) {
        (void)fprintf(stderr, "quartet: unknown verb: %s\n", argv[1]);
    }
    usage(stderr);
    return 2;
}

int main(int argc, char **argv) {
    return descriptors_occupy() ? ending("quartet", run(argc, argv)) : 1;
}
