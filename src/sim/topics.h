/* The topics and filters of simulated histories: few and short, so that all kinds of matches are common; and the topics
 * of a retained set, one for each of its messages.
 *
 * Topics are matched here once more, in another way than the broker's. */
#pragma once

#include "base/types.h"
#include "sim/plan.h"

/* The first sim_topic_count are drawn; from SIM_SET_FIRST on those of a set. */
#define SIM_SET_FIRST 6
#define SIM_TOPICS_MAX (SIM_SET_FIRST + SIM_SET_MAX)
extern const char *const sim_topics[SIM_TOPICS_MAX];
extern const unsigned sim_topic_count;

/* The first sim_filter_count are drawn; those behind them match a set alone. */
#define SIM_FILTER_SET 12
extern const char *const sim_filters[];
extern const unsigned sim_filter_count;

/* Whether a filter matches a topic, as the standard's section 4.7 has it. */
bool oracle_matches(const char *filter, const char *topic);

/* The topics of a world: those that are drawn, then those of its set. */
unsigned topics_count(const struct plan *plan);
uint8_t topics_at(const struct plan *plan, unsigned nth);
