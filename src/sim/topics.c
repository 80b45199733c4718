#include "sim/topics.h"

#include <string.h>

#define SET_ROW(h)                                                                                                     \
    "s/" h "0", "s/" h "1", "s/" h "2", "s/" h "3", "s/" h "4", "s/" h "5", "s/" h "6", "s/" h "7", "s/" h "8",        \
        "s/" h "9", "s/" h "a", "s/" h "b", "s/" h "c", "s/" h "d", "s/" h "e", "s/" h "f"

const char *const sim_topics[SIM_TOPICS_MAX] = {
    "a",          "a/b",        "a/c",        "b",          "/",          "$x/a",       SET_ROW("0"),
    SET_ROW("1"), SET_ROW("2"), SET_ROW("3"), SET_ROW("4"), SET_ROW("5"), SET_ROW("6"), SET_ROW("7"),
    SET_ROW("8"), SET_ROW("9"), SET_ROW("a"), SET_ROW("b"), SET_ROW("c"), SET_ROW("d"), SET_ROW("e")};
const unsigned sim_topic_count = SIM_SET_FIRST;
const char *const sim_filters[] = {"a", "a/b", "a/#",  "+",   "#",  "+/b", "a/+",
                                   "b", "+/+", "$x/#", "a/c", "/+", "s/+", "s/#"};
const unsigned sim_filter_count = SIM_FILTER_SET;

/* Level by level, from the left; both are short and known. */
bool oracle_matches(const char *filter, const char *topic) {
    if (topic[0] == '$' && (filter[0] == '#' || filter[0] == '+')) {
        return false;
    }
    for (;;) {
        size_t f = strcspn(filter, "/"), t = strcspn(topic, "/");
        if (f == 1 && filter[0] == '#') {
            return true;
        }
        bool any = f == 1 && filter[0] == '+';
        if (!any && (f != t || strncmp(filter, topic, f) != 0)) {
            return false;
        }
        filter += f;
        topic += t;
        if (*topic == '\0') {
            return *filter == '\0' || strcmp(filter, "/#") == 0;
        }
        if (*filter == '\0') {
            return false;
        }
        filter++;
        topic++;
    }
}

unsigned topics_count(const struct plan *plan) {
    return plan->topics + plan->set;
}

uint8_t topics_at(const struct plan *plan, unsigned nth) {
    return (uint8_t)(nth < plan->topics ? nth : SIM_SET_FIRST + nth - plan->topics);
}
