/* Random names and filters over so few levels that they meet all the time. */
#pragma once

#include <stdio.h>

#include "base/prng.h"
#include "base/span.h"

enum { RANDOM_TOPIC_LEVELS = 5, RANDOM_TOPIC_BYTES = 32 };

struct random_topic {
    char text[RANDOM_TOPIC_BYTES];
};

static inline struct span random_topic_span(const struct random_topic *topic) {
    return span_str(topic->text);
}

static inline struct random_topic random_topic_of(struct prng *prng, bool filter) {
    static const char *const levels[] = {"", "a", "b", "$x", "+", "#"};
    struct random_topic topic;
    do {
        topic.text[0] = '\0';
        uint64_t count = 1 + prng_below(prng, RANDOM_TOPIC_LEVELS);
        for (uint64_t i = 0; i < count; i++) {
            const char *level = levels[prng_below(prng, filter ? 6 : 4)];
            size_t used = strlen(topic.text);
            (void)snprintf(topic.text + used, sizeof topic.text - used, "%s%s", i > 0 ? "/" : "", level);
            if (level[0] == '#') {
                break;
            }
        }
    } while (topic.text[0] == '\0');
    return topic;
}
