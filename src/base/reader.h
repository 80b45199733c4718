/* A cursor over received bytes with a sticky error.
 *
 * Every read is checked against the end. The first read that goes beyond it marks the reader as failed; from then on
 * all reads give zero or an empty span, so that a parser reads a whole structure and asks once, at the end. Integers
 * are big-endian, as MQTT has them. Pointer arithmetic on input exists here and nowhere else. */
#pragma once

#include "base/span.h"

struct reader {
    const uint8_t *at;  /* the next byte */
    const uint8_t *end; /* one past the last byte */
    bool failed;        /* a read went beyond the end, or a varint was malformed */
};

static inline struct reader reader_of(struct span s) {
    return (struct reader){s.ptr, span_skip(s, s.len).ptr, false};
}

static inline size_t reader_left(const struct reader *r) {
    return r->failed ? 0 : (size_t)(r->end - r->at);
}

/* True when all reads succeeded and nothing is left. */
static inline bool reader_done(const struct reader *r) {
    return !r->failed && r->at == r->end;
}

static inline struct span reader_bytes(struct reader *r, size_t count) {
    if (reader_left(r) < count) {
        r->failed = true;
        return (struct span){NULL, 0};
    }
    struct span s = {r->at, count};
    r->at = span_skip(s, count).ptr;
    return s;
}

static inline struct span reader_rest(struct reader *r) {
    return reader_bytes(r, reader_left(r));
}

static inline uint8_t reader_u8(struct reader *r) {
    struct span s = reader_bytes(r, 1);
    return s.len == 1 ? s.ptr[0] : 0;
}

static inline uint16_t reader_u16(struct reader *r) {
    struct span s = reader_bytes(r, 2);
    if (s.len != 2) {
        return 0;
    }
    return (uint16_t)((unsigned)s.ptr[0] << 8 | s.ptr[1]);
}

static inline uint32_t reader_u32(struct reader *r) {
    struct span s = reader_bytes(r, 4);
    if (s.len != 4) {
        return 0;
    }
    return (uint32_t)s.ptr[0] << 24 | (uint32_t)s.ptr[1] << 16 | (uint32_t)s.ptr[2] << 8 | s.ptr[3];
}

static inline uint64_t reader_u64(struct reader *r) {
    uint64_t high = reader_u32(r);
    return high << 32 | reader_u32(r);
}

/* A span with a two-byte length before it: MQTT's strings and binary data. */
static inline struct span reader_prefixed(struct reader *r) {
    return reader_bytes(r, reader_u16(r));
}

/* MQTT's variable byte integer: at most four bytes, and no more than the value needs [MQTT-1.5.5-1]. */
uint32_t reader_varint(struct reader *r);

/* A little-endian base-128 integer of up to ten bytes: the numbers inside our own records. Most have one. */
uint64_t reader_leb_long(struct reader *r);
static inline uint64_t reader_leb(struct reader *r) {
    if (!r->failed && r->at != r->end && *r->at < 0x80) {
        return *r->at++;
    }
    return reader_leb_long(r);
}
