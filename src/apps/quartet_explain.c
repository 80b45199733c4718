/* `quartet explain`: flags in, small worlds run, diagrams out. Exit status: 0 as the tables say, 1 otherwise, 2 wrong
 * flags. */
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
        "  --barrier B   the real broker with one barrier left out (B1, B2, ...); list: which there are\n"
        "  --hops N      1: publisher and server; 2: the subscriber, too (the flow and --cut, on the second hop)\n"
        "  --bare        the diagrams alone\n"
        "  --ascii       no box-drawing characters\n"
        "  --json        an array of sections, for programs\n",
        out);
}

static bool protocol_parse(const char *value, struct explain_options *o) {
    o->protocols = strcmp(value, "list") == 0;
    o->protocol = protocol_named(value);
    return o->protocols || o->protocol != NULL;
}

static void seen(void *user, const struct barrier_row *row) {
    (void)user;
    (void)row;
}

static bool barrier_parse(const char *value, struct explain_options *o) {
    o->barriers = strcmp(value, "list") == 0;
    o->barrier = o->barriers ? NULL : value;
    return o->barriers || barrier_each(value, seen, NULL);
}

/* A number of one digit, 1 to `max`. */
static bool digit_parse(const char *value, unsigned max, unsigned *out) {
    *out = value[0] >= '1' && value[1] == '\0' ? (unsigned)(value[0] - '0') : 0;
    return *out >= 1 && *out <= max;
}

static bool value_parse(const char *flag, const char *value, struct explain_options *o) {
    if (strcmp(flag, "--cut") == 0) {
        return digit_parse(value, 4, &o->cut);
    }
    if (strcmp(flag, "--hops") == 0) {
        return digit_parse(value, 2, &o->hops);
    }
    if (strcmp(flag, "--protocol") == 0) {
        return protocol_parse(value, o);
    }
    return strcmp(flag, "--barrier") == 0 && barrier_parse(value, o);
}

static bool parse(int argc, char **argv, struct explain_options *o, struct page *page) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--ascii") == 0) {
            page->ascii = true;
        } else if (strcmp(argv[i], "--json") == 0) {
            page->json = true;
        } else if (strcmp(argv[i], "--bare") == 0) {
            page->bare = true;
        } else if (strcmp(argv[i], "--flow") == 0) {
            o->flow = true;
        } else if (i + 1 == argc || !value_parse(argv[i], argv[i + 1], o)) {
            (void)fprintf(stderr, "quartet explain: %s%s%s makes no sense\n", argv[i], i + 1 < argc ? " " : "",
                          i + 1 < argc ? argv[i + 1] : "");
            return false;
        } else {
            i++;
        }
    }
    const int flows = (o->cut > 0) + o->flow;
    const int searches = (o->protocol != NULL) + (o->barrier != NULL) + o->protocols + o->barriers;
    if (flows + searches > 1 || (o->hops == 2 && searches > 0)) {
        (void)fputs("quartet explain: these flags do not go together\n", stderr);
        return false;
    }
    return true;
}

int quartet_explain_main(int argc, char **argv) {
    struct explain_options options = {.hops = 1};
    struct page page = {.out = stdout};
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return 0;
    }
    if (!parse(argc, argv, &options, &page)) {
        usage(stderr);
        return EXIT_WRONG;
    }
    return explain_run(&page, &options) ? 0 : 1;
}
