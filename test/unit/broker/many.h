/* A client with many filters that all match one topic: one PUBLISH to that is many deliveries. */
#pragma once

#include "world.h"

enum { MANY_LEVELS = 12, MANY_FILTERS = 1 << MANY_LEVELS };
static const char many_topic[] = "a/a/a/a/a/a/a/a/a/a/a/a";

/* The client takes what has come, and forgets it. */
static inline void many_heard(struct peer *to) {
    peer_read(to, SIZE_MAX);
    to->received.len = 0;
}

/* At QoS 0. Its session goes with the broker: its filters make more garbage than the world can hold. */
static inline void many_subscribe(struct peer *to) {
    for (unsigned set = 0; set < MANY_FILTERS; set++) {
        char filter[sizeof many_topic];
        memcpy(filter, many_topic, sizeof many_topic);
        for (unsigned i = 0; i < MANY_LEVELS; i++) {
            filter[i * 2] = (set >> i & 1) != 0 ? '+' : 'a';
        }
        say_subscribe(to, 1, filter, 0);
        if (set % 10 == 0) {
            turn(to->w);
            many_heard(to);
        }
    }
    turn(to->w);
    many_heard(to);
}
