/* `quartet explain`: flags in, small worlds run, diagrams out. Exit status: 0; 1 when something else is found than the
 * tables say, or standard output fails; 2: wrong flags. */
#include <stdio.h>
#include <string.h>

#include "apps/quartet.h"
#include "explain/barrier.h"
#include "explain/explain.h"

#define EXIT_WRONG 2

static void usage(FILE *out) {
    (void)fputs(
        "usage: quartet explain [--flow | --cut N | --protocol P | --barrier B] [--hops N]\n"
        "                       [--bare] [--ascii] [--json]\n\n"
        "Why does MQTT's QoS 2 use four packets? Without flags: the whole answer. Each diagram is a run of this\n"
        "program's own session code, each \"shortest\" the result of a search through all that can happen.\n\n"
        "  --flow        the four packets, unbroken\n"
        "  --cut N       the flow broken at its packet N: 1 PUBLISH, 2 PUBREC, 3 PUBREL, 4 PUBCOMP\n"
        "  --protocol P  one protocol with its shortest counterexample; list: which there are\n"
        "  --barrier B   the real broker, or library, with one barrier left out (B0, B1, ...); list: which there are\n"
        "  --hops N      1: publisher and server; 2: the subscriber, too (the flow and --cut, on the second hop)\n"
        "  --bare        the diagrams alone\n"
        "  --ascii       no box-drawing characters\n"
        "  --json        an array of sections, for programs\n",
        out);
}

static bool refuse(const char *flag, const char *wanted, const char *value) {
    (void)fprintf(stderr, "quartet explain: %s takes %s, not \"%s\"\n", flag, wanted, value);
    return false;
}

static bool protocol_parse(const char *value, struct explain_options *o) {
    o->protocols = strcmp(value, "list") == 0;
    o->protocol = protocol_named(value);
    return o->protocols || o->protocol != NULL ||
           refuse("--protocol", "a name that `quartet explain --protocol list` shows", value);
}

static void seen(void *user, const struct barrier_row *row) {
    (void)user;
    (void)row;
}

static bool barrier_parse(const char *value, struct explain_options *o) {
    o->barriers = strcmp(value, "list") == 0;
    o->barrier = o->barriers ? NULL : value;
    return o->barriers || barrier_each(value, seen, NULL) ||
           refuse("--barrier", "a name that `quartet explain --barrier list` shows", value);
}

/* A number of one digit, 1 to `max`. */
static bool digit_parse(const char *value, unsigned max, unsigned *out) {
    *out = value[0] >= '1' && value[1] == '\0' ? (unsigned)(value[0] - '0') : 0;
    return *out >= 1 && *out <= max;
}

static bool value_parse(const char *flag, const char *value, struct explain_options *o) {
    if (strcmp(flag, "--cut") == 0) {
        return digit_parse(value, 4, &o->cut) || refuse(flag, "1, 2, 3 or 4", value);
    }
    if (strcmp(flag, "--hops") == 0) {
        return digit_parse(value, 2, &o->hops) || refuse(flag, "1 or 2", value);
    }
    return strcmp(flag, "--protocol") == 0 ? protocol_parse(value, o) : barrier_parse(value, o);
}

/* Flags without a value; false when it is none of them. */
static bool switch_parse(const char *flag, struct explain_options *o, struct page *page) {
    const struct {
        const char *name;
        bool *on;
    } switches[] = {{"--ascii", &page->ascii}, {"--json", &page->json}, {"--bare", &page->bare}, {"--flow", &o->flow}};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (strcmp(flag, switches[i].name) == 0) {
            *switches[i].on = true;
            return true;
        }
    }
    return false;
}

static bool takes_value(const char *flag) {
    static const char *const flags[] = {"--cut", "--hops", "--protocol", "--barrier"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(flag, flags[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool parse(int argc, char **argv, struct explain_options *o, struct page *page) {
    unsigned subjects = 0;
    for (int i = 1; i < argc; i++) {
        subjects += strcmp(argv[i], "--flow") == 0 || (takes_value(argv[i]) && strcmp(argv[i], "--hops") != 0);
        if (switch_parse(argv[i], o, page)) {
            continue;
        }
        if (!takes_value(argv[i])) {
            (void)fprintf(stderr, "quartet explain: there is no %s\n", argv[i]);
            return false;
        }
        if (i + 1 == argc) {
            (void)fprintf(stderr, "quartet explain: %s needs a value\n", argv[i]);
            return false;
        }
        if (!value_parse(argv[i], argv[i + 1], o)) {
            return false;
        }
        i++;
    }
    if (subjects > 1) {
        (void)fputs("quartet explain: --flow, --cut, --protocol and --barrier: one of them, once\n", stderr);
        return false;
    }
    if (o->hops == 2 && (o->protocol != NULL || o->barrier != NULL || o->protocols || o->barriers)) {
        (void)fputs("quartet explain: --hops 2 is for the flow and --cut\n", stderr);
        return false;
    }
    return true;
}

int quartet_explain_main(int argc, char **argv) {
    struct explain_options options = {.hops = 1};
    struct page page = {.out = stdout};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(stdout);
            return 0;
        }
    }
    if (!parse(argc, argv, &options, &page)) {
        (void)fputs("`quartet explain --help` says more.\n", stderr);
        return EXIT_WRONG;
    }
    if (!explain_run(&page, &options)) {
        (void)fputs("quartet explain: something else was found than its tables say\n", stderr);
        return 1;
    }
    return 0;
}
