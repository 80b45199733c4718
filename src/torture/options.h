/* What a torture shall do: the flags of `quartet torture` as values. Knows nothing of sockets. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

enum torture_protocol { TORTURE_311 = 0, TORTURE_5, TORTURE_BOTH };

struct torture_options {
    const char *host;
    const char *username;   /* for CONNECT; NULL: none */
    const char *password;   /* for CONNECT; NULL: none */
    const char *broker;     /* command that starts one; NULL: it is there already */
    const char *data;       /* its directory; NULL: made, and removed at the end */
    const char *data_image; /* a file with an ext4 file system whose power can fail; NULL: none */
    const char *only;       /* rows whose name contains this; NULL: all */
    uint64_t port;          /* 0: a free one, for a broker of our own */
    uint64_t messages;      /* in all; 0: 40 for each run */
    uint64_t kills;         /* runs with SIGKILL */
    uint64_t cuts;          /* runs with a cut connection */
    uint64_t power_cuts;    /* runs with a power cut */
    uint64_t seed;          /* of the schedule */
    uint64_t window;        /* messages in flight */
    uint64_t protocol;      /* enum torture_protocol */
    uint64_t publishers;    /* that work side by side, each with subscribers of its own */
    uint64_t subscribers;   /* of each publisher */
    uint64_t patience_ms;   /* without any packet until what is missing counts as missing */
    uint64_t mix_cuts;      /* cuts in each run of the family mix */
    bool seed_given;
    bool list;
    bool json;
    bool trace;
    bool progress;
    bool help;
};

/* Reads the flags after argv[0] and fills in the defaults. Borrows the strings of argv. False with a sentence in
 * `error` for the person who typed them. */
bool torture_options_parse(int argc, char **argv, struct torture_options *options, struct error *error);
void torture_options_help(FILE *out);
