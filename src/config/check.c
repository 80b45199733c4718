/* What can only be judged when the whole configuration was read. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "config/problem.h"

static const struct place *origin_of(const struct config_listener *l, struct place *place) {
    *place = (struct place){l->origin, 0};
    return l->origin != NULL ? place : NULL;
}

/* Without a listener of its own a configuration serves this machine alone, as mosquitto's does. */
static void settle_listeners(struct config *config, struct config_report *report) {
    struct config_listener *first = &config->default_listener;
    config->local_only = !config->default_listener_given && config->listener_count == 0;
    if (config->default_listener_given || config->local_only) {
        if (config->listener_count == CONFIG_LISTENERS_MAX) {
            problem_error(report, NULL, "more than %d listeners", CONFIG_LISTENERS_MAX);
            return;
        }
        config->listeners[config->listener_count++] = *first;
        first->address = first->origin = NULL;
    } else if (first->max_connections != 0 || first->family != 0) {
        struct place place;
        problem_error(report, origin_of(&config->listeners[0], &place),
                      "max_connections and socket_domain stand before the first listener and would have no effect");
    }
}

static bool same_text(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Two that could not both listen. */
static void check_twice(const struct config *config, struct config_report *report) {
    for (size_t i = 1; i < config->listener_count; i++) {
        const struct config_listener *l = &config->listeners[i];
        for (size_t k = 0; k < i; k++) {
            const struct config_listener *other = &config->listeners[k];
            if (same_text(l->path, other->path) && l->port == other->port && same_text(l->address, other->address) &&
                (l->port != 0 || l->path != NULL) &&
                (l->family == other->family || l->family == 0 || other->family == 0)) {
                struct place place;
                problem_error(report, origin_of(l, &place), "a listener of %s is there already",
                              l->path != NULL ? l->path : "this port and address");
                break;
            }
        }
    }
}

static void check_anonymous(const struct config *config, struct config_report *report) {
    bool anonymous =
        config->local_only ? config->allow_anonymous : config->allow_anonymous && config->allow_anonymous_given;
    if (anonymous) {
        return;
    }
    struct place place;
    problem_error(report, origin_of(&config->listeners[0], &place),
                  "%s, and there is no authentication yet, so every client would be refused; "
                  "write `allow_anonymous true` to let all clients in without a password",
                  config->allow_anonymous_given ? "allow_anonymous is false"
                                                : "a listener is named without `allow_anonymous true`");
}

static void check_journal(const struct config *config, struct config_report *report) {
    if (config->segment_size % 4096 != 0) {
        problem_error(report, NULL, "segment_size: %llu is not a multiple of 4096",
                      (unsigned long long)config->segment_size);
    }
    if (config->store_limit != 0 && config->store_limit / 8 < config->segment_size) {
        problem_error(report, NULL, "store_limit: %llu is less than eight times segment_size",
                      (unsigned long long)config->store_limit);
    }
    if (config->frame_size > config->segment_size / 2) {
        problem_error(report, NULL, "frame_size: %llu is more than half of segment_size",
                      (unsigned long long)config->frame_size);
    }
    if (config->max_packet_size > config->segment_size / 2) {
        problem_error(report, NULL, "max_packet_size: %llu is more than half of segment_size, which must hold it",
                      (unsigned long long)config->max_packet_size);
    }
}

void config_check(struct config *config, struct config_report *report) {
    settle_listeners(config, report);
    check_twice(config, report);
    check_anonymous(config, report);
    if (config->persistence) {
        check_journal(config, report);
    }
    if (config->connect_packet_size > config->max_packet_size) {
        config->connect_packet_size = config->max_packet_size;
    }
}
