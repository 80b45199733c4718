/* Bytes that we own and that grow at their end: the target of all encoders.
 *
 * A buf that holds nothing owns no memory. Offsets into it stay valid while it grows; pointers do not. */
#pragma once

#include "base/mem.h"
#include "base/span.h"

struct buf {
    uint8_t *ptr;    /* NULL while capacity is 0 */
    size_t len;      /* bytes in use */
    size_t capacity; /* bytes allocated */
};

/* Makes room for `bytes` more and returns where they begin; len is not changed. */
uint8_t *buf_reserve(struct buf *b, size_t bytes);
/* Frees the memory; the buf is empty and usable again. */
static inline void buf_deinit(struct buf *b) {
    if (b->ptr != NULL) {
        mem_free(b->ptr);
        *b = (struct buf){NULL, 0, 0};
    }
}
/* Removes the first `bytes` bytes, moving the rest to the front. */
void buf_drop_front(struct buf *b, size_t bytes);

static inline struct span buf_span(const struct buf *b) {
    return (struct span){b->ptr, b->len};
}

/* Appends `bytes` bytes without setting them and returns where they begin. */
static inline uint8_t *buf_extend(struct buf *b, size_t bytes) {
    uint8_t *at = b->capacity - b->len >= bytes && b->ptr != NULL ? b->ptr + b->len : buf_reserve(b, bytes);
    b->len += bytes;
    return at;
}

static inline void buf_u8(struct buf *b, uint8_t value) {
    buf_extend(b, 1)[0] = value;
}

static inline void buf_u16(struct buf *b, uint16_t value) {
    uint8_t *at = buf_extend(b, 2);
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void buf_u32(struct buf *b, uint32_t value) {
    uint8_t *at = buf_extend(b, 4);
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static inline void buf_u64(struct buf *b, uint64_t value) {
    buf_u32(b, (uint32_t)(value >> 32));
    buf_u32(b, (uint32_t)value);
}

static inline void buf_bytes(struct buf *b, struct span s) {
    if (s.len > 0) {
        memcpy(buf_extend(b, s.len), s.ptr, s.len);
    }
}

/* Appends a two-byte length and the bytes; the caller knows that s.len <= 65,535. */
static inline void buf_prefixed(struct buf *b, struct span s) {
    buf_u16(b, (uint16_t)s.len);
    buf_bytes(b, s);
}

/* MQTT's variable byte integer; value <= 268,435,455. */
void buf_varint(struct buf *b, uint32_t value);
/* The number of bytes that buf_varint() appends: 1 to 4. */
size_t varint_size(uint32_t value);
/* A little-endian base-128 integer, 1 to 10 bytes. */
void buf_leb(struct buf *b, uint64_t value);
