/* A view of bytes that somebody else owns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const uint8_t *ptr; /* the first byte; may be NULL when len is 0 */
    size_t len;         /* bytes */
};

/* A span over a string literal, without its terminating zero. */
#define SPAN(literal) ((struct span){(const uint8_t *)(literal), sizeof(literal) - 1})

static inline struct span span_of(const void *ptr, size_t len) {
    return (struct span){(const uint8_t *)ptr, len};
}

/* The bytes of a zero-terminated string, without the zero. */
static inline struct span span_str(const char *text) {
    return span_of(text, strlen(text));
}

static inline bool span_equal(struct span a, struct span b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* What remains after the first `bytes` bytes; the caller knows that there are as many. Nothing may be added to NULL,
 * not even 0. */
static inline struct span span_skip(struct span s, size_t bytes) {
    return (struct span){bytes > 0 ? s.ptr + bytes : s.ptr, s.len - bytes};
}
