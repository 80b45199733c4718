/* What bench/compare-clients asks of each library: one client that subscribes to a topic and publishes messages to it;
 * the time runs until all were acknowledged and all have come back. The same main() for all; a library is one file. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

struct load {
    const char *host;
    int port;
    const char *store; /* NULL: in memory */
    int qos;
    int protocol; /* 4 or 5 */
    unsigned messages;
    unsigned window; /* QoS 1 and 2 messages under way */
    unsigned payload_bytes;
    _Atomic unsigned acknowledged;
    _Atomic unsigned received;
    _Atomic bool ready; /* connected and subscribed */
};

#define LOAD_TOPIC "load"

/* Connects and subscribes to LOAD_TOPIC at the load's QoS; sets `ready`. */
void load_open(struct load *load);
/* Publishes one message, waiting where the library says that it must. */
void load_publish(struct load *load, const void *payload);
void load_close(struct load *load);
