/* The command line of quartetd. */
#pragma once

#include <stdbool.h>

struct arguments {
    const char *config_file; /* -c; NULL: none */
    const char *port;        /* -p; NULL: none */
    const char *data;        /* --data; NULL: none */
    const char *shards;      /* --shards; NULL: none */
    bool verbose;            /* -v */
    bool daemon;             /* -d */
    bool test_config;        /* --test-config */
};

enum arguments_status {
    ARGUMENTS_RUN = 1, /* go on */
    ARGUMENTS_DONE,    /* help or version was printed */
    ARGUMENTS_WRONG,   /* what is wrong was printed */
};

enum arguments_status arguments_parse(int argc, char **argv, struct arguments *a);
