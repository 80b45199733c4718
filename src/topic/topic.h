/* Topic names and topic filters: their rules, and whether one matches the other. MQTT 5.0 section 4.7, 3.1.1 section
 * 4.7. No state, no allocation, no recursion, any thread. */
#pragma once

#include "base/span.h"

/* True for a topic name: 1 to 65,535 bytes, no wildcard, no U+0000 [MQTT-4.7.1-1, 4.7.3-1, -2]. UTF-8 is checked by
 * the packet layer. */
bool topic_name_valid(struct span name);
/* True for a topic filter: `#` alone at the end, `+` alone in its level [MQTT-4.7.1-1..3]. */
bool topic_filter_valid(struct span filter);
/* The number of levels: one more than the number of '/'. */
size_t topic_levels(struct span topic);
/* Whether a valid filter matches a valid name; wildcards at the first level do not match `$` [MQTT-4.7.2-1]. */
bool topic_matches(struct span filter, struct span name);

/* A filter as it was subscribed, taken apart once. */
struct topic_filter {
    struct span share;  /* the share name of $share/NAME/FILTER, else empty */
    struct span filter; /* what remains */
};

enum topic_filter_status {
    TOPIC_FILTER_OK = 1,
    TOPIC_FILTER_INVALID, /* breaks a rule of section 4.7 */
    TOPIC_SHARE_INVALID,  /* begins with $share/ but has no name, a wildcard in it, or no filter [MQTT-4.8.2-1, -2] */
};
enum topic_filter_status topic_filter_parse(struct span subscribed, struct topic_filter *out);
