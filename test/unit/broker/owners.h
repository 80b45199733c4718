/* Worlds with peers of several owners, and what each has taken. */
#pragma once

#include "world.h"

#include "broker/state.h"

/* One that all can be told apart in: owners are addresses. */
static inline void join_from(struct peer *p, struct world *w, const char *address, const char *id, bool durable) {
    peer_open_from(p, w, PROTOCOL_5, address);
    say_connect(p, &(struct connecting){.id = id, .clean = !durable, .expiry_s = durable ? 3600 : 0});
    turn(w);
}

/* A limit far above what this process really has, so that only the accounts refuse. */
static inline struct world *world_limited(uint64_t memory_limit) {
    struct world *w = world_new();
    w->options.memory_limit = memory_limit;
    w->at_once = true;
    world_open(w, 1);
    return w;
}

static inline uint64_t taken(const struct world *w, enum quota_row row) {
    return quota_taken(quota_all(w->broker->quota), row);
}

static inline void assert_nothing_taken(const struct world *w) {
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        assert_int_equal(taken(w, row), 0);
    }
}

static inline uint64_t taken_by(const struct world *w, const char *name, enum quota_row row) {
    struct account *owner = quota_owner(w->broker->quota, span_str(name));
    const uint64_t taken = quota_taken(owner, row);
    quota_owner_unref(w->broker->quota, owner);
    return taken;
}

static inline void publish_sized(struct peer *p, packet_id_t id, const char *topic, size_t bytes) {
    char *text = mem_zero(1, bytes + 1);
    memset(text, 'x', bytes);
    say_publish(p, &(struct publishing){.qos = 1, .id = id, .topic = topic, .payload = text});
    turn(p->w);
    mem_free(text);
}

static inline void publish_retained_sized(struct peer *p, packet_id_t id, const char *topic, size_t bytes) {
    char *text = mem_zero(1, bytes + 1);
    memset(text, 'x', bytes);
    say_publish(p, &(struct publishing){.qos = 1, .id = id, .topic = topic, .payload = text, .retain = true});
    turn(p->w);
    mem_free(text);
}
