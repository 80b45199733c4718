/* What a run of the load generator shall do: the flags of `quartet bench` as values.
 *
 * One row for each flag drives parsing, bounds and the help. Knows nothing of sockets. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

/* A number that was not given and has not got its default yet. */
#define BENCH_UNSET UINT64_MAX
/* A payload carries publisher, sequence number and time, so it cannot be smaller. */
#define BENCH_PAYLOAD_BYTES_MIN 16

/* Which subscriber hears which publisher. */
enum bench_topology {
    TOPOLOGY_PAIRS = 0, /* publisher i to subscriber i */
    TOPOLOGY_FAN_IN,    /* many publishers to each subscriber */
    TOPOLOGY_FAN_OUT,   /* each publisher to many subscribers */
    TOPOLOGY_FAN_ALL,   /* every publisher to every subscriber */
};

/* A run can be split, so that the broker can be restarted while its queues are full. */
enum bench_stage {
    STAGE_ALL = 0,
    STAGE_FILL,  /* the subscribers subscribe and leave, the publishers publish, the sessions stay */
    STAGE_DRAIN, /* the subscribers come back and take what was queued */
    STAGE_WIPE,  /* nothing but the removal of the sessions */
};

struct bench_options {
    const char *host;
    const char *run; /* part of topics and client identifiers; NULL: made up */
    uint64_t port;
    uint64_t protocol; /* 0 is 3.1.1, 1 is 5.0 */
    uint64_t topology; /* enum bench_topology */
    uint64_t stage;    /* enum bench_stage */
    uint64_t publishers;
    uint64_t subscribers;
    uint64_t qos;
    uint64_t sub_qos;
    uint64_t payload;         /* bytes */
    uint64_t window;          /* messages in flight for each publisher, QoS 1 and 2 */
    uint64_t backlog;         /* messages of one publisher that are not delivered yet; 0 is no bound */
    uint64_t receive_maximum; /* that the subscribers announce, 5.0 */
    uint64_t messages;        /* in all; 0: time decides */
    uint64_t seconds;         /* of measuring */
    uint64_t warmup;          /* seconds before that */
    uint64_t drain;           /* seconds without progress after which the rest is called lost */
    uint64_t rate;            /* messages per second in all; 0: as fast as the windows let us */
    uint64_t idle;            /* connections that do nothing */
    uint64_t connect_rate;    /* connections per second; 0: as fast as possible */
    uint64_t pid;             /* of the broker; 0: not measured */
    bool durable;
    bool clean;
    bool nats;
    bool stub;
    bool json;
    bool progress;
    bool help;
};

/* Reads the flags after argv[0] and fills in the defaults. Borrows the strings of argv. False with a sentence in
 * `error` for the person who typed them. */
bool bench_options_parse(int argc, char **argv, struct bench_options *options, struct error *error);
/* Prints one line for each flag. */
void bench_options_help(FILE *out);
/* The words of a choice, as they are typed: "pairs" and so on. */
const char *bench_topology_name(uint64_t topology);

/* The number of groups that share a topic: publisher i and subscriber j meet when i and j are equal modulo this. */
uint64_t bench_topics(const struct bench_options *o);
/* How many subscribers each message of a publisher reaches. */
uint64_t bench_fan(const struct bench_options *o, uint64_t publisher);
/* The messages that one publisher sends when their number was given. */
uint64_t bench_quota(const struct bench_options *o, uint64_t publisher);
