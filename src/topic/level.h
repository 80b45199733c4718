/* Cutting topics into levels; inside this room only. */
#pragma once

#include "base/map.h"
#include "base/span.h"

/* A level with its hash, ready to be looked for. */
struct topic_key {
    const uint8_t *text;
    uint32_t bytes;
    uint32_t hash;
};

/* The level that begins at offset `from`, which is at most topic.len. It is the last one when it ends at topic.len;
 * else a '/' follows and the next level begins behind that. */
static inline struct span topic_level_at(struct span topic, size_t from) {
    struct span rest = span_skip(topic, from);
    const uint8_t *slash = rest.len == 0 ? NULL : memchr(rest.ptr, '/', rest.len);
    return slash == NULL ? rest : span_of(rest.ptr, (size_t)(slash - rest.ptr));
}

static inline struct topic_key topic_key_of(struct span level, uint64_t seed) {
    return (struct topic_key){level.ptr, (uint32_t)level.len, (uint32_t)hash_bytes(level, seed)};
}

static inline bool topic_level_is(struct span level, uint8_t wildcard) {
    return level.len == 1 && level.ptr[0] == wildcard;
}
