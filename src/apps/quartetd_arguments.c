#include "apps/quartetd_arguments.h"

#include <getopt.h>
#include <stdio.h>

static const char help[] =
    "Usage: quartetd [-c FILE] [-p PORT] [-v] [-d] [--data DIRECTORY] [--shards N] [--test-config]\n"
    "\n"
    "An MQTT 3.1.1 and 5.0 broker that delivers QoS 2 messages exactly once, also through crashes.\n"
    "\n"
    "  -c, --config FILE     read this configuration; its language is mosquitto.conf's\n"
    "  -p, --port PORT       listen on this port of the loopback addresses instead of 1883\n"
    "  -v, --verbose         log more: what clients do, and details\n"
    "  -d, --daemon          go to the background once connections are accepted\n"
    "      --data DIRECTORY  keep the store there instead of in ./quartet-data\n"
    "      --shards N        threads that serve connections, 1 to 64 (one for each core)\n"
    "      --test-config     check the configuration, start nothing\n"
    "      --version         print the version\n"
    "  -h, --help            print this\n"
    "\n"
    "Without a configuration: port 1883 of the loopback addresses, no passwords, everything durable.\n"
    "Exit codes: 0 stopped by SIGTERM or SIGINT, 1 could not start or the store failed, 2 wrong arguments or\n"
    "configuration, 128 + N ended at once by a second signal N.\n";

enum { OPTION_DATA = 256, OPTION_SHARDS, OPTION_TEST, OPTION_VERSION };

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"port", required_argument, NULL, 'p'},
    {"verbose", no_argument, NULL, 'v'},
    {"daemon", no_argument, NULL, 'd'},
    {"data", required_argument, NULL, OPTION_DATA},
    {"shards", required_argument, NULL, OPTION_SHARDS},
    {"test-config", no_argument, NULL, OPTION_TEST},
    {"version", no_argument, NULL, OPTION_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static enum arguments_status arguments_option(int option, struct arguments *a) {
    switch (option) {
    case 'c':
        a->config_file = optarg;
        return ARGUMENTS_RUN;
    case 'p':
        a->port = optarg;
        return ARGUMENTS_RUN;
    case 'v':
        a->verbose = true;
        return ARGUMENTS_RUN;
    case 'd':
        a->daemon = true;
        return ARGUMENTS_RUN;
    case OPTION_DATA:
        a->data = optarg;
        return ARGUMENTS_RUN;
    case OPTION_SHARDS:
        a->shards = optarg;
        return ARGUMENTS_RUN;
    case OPTION_TEST:
        a->test_config = true;
        return ARGUMENTS_RUN;
    case OPTION_VERSION:
        (void)printf("quartetd %s\n", QUARTET_VERSION);
        return ARGUMENTS_DONE;
    case 'h':
        (void)fputs(help, stdout);
        return ARGUMENTS_DONE;
    default:
        (void)fputs("Try quartetd --help.\n", stderr);
        return ARGUMENTS_WRONG;
    }
}

enum arguments_status arguments_parse(int argc, char **argv, struct arguments *a) {
    *a = (struct arguments){0};
    enum arguments_status status = ARGUMENTS_RUN;
    int option;
    while (status == ARGUMENTS_RUN && (option = getopt_long(argc, argv, "c:p:vdh", long_options, NULL)) != -1) {
        status = arguments_option(option, a);
    }
    if (status == ARGUMENTS_RUN && optind < argc) {
        (void)fprintf(stderr, "quartetd: \"%s\" is not an option\nTry quartetd --help.\n", argv[optind]);
        return ARGUMENTS_WRONG;
    }
    return status;
}
