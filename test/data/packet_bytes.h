/* Bytes of packets as text, for tables that people read and write.
 *
 *     30        one byte in hexadecimal; blanks do not matter
 *     'a/b'     these characters
 *     ( ... )   the bytes within, their length before them as a variable byte integer: remaining length, property
 * length { ... }   the bytes within, their length before them in two bytes: strings and binary data < ... >   the bytes
 * within: a group x5        what stands before it (a byte, a string, a bracket), five times in all
 *
 * So a PUBLISH of 5.0 with a topic alias is: 30 ({'a/b'} (23 00 05) 'payload')
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PACKET_BYTES_DEPTH = 16 };

/* The text while it is read. */
struct packet_bytes {
    uint8_t *out;
    size_t capacity, len;
    size_t last; /* where the thing begins that 'x' repeats */
    size_t depth;
    struct {
        char closing;
        size_t at;
    } open[PACKET_BYTES_DEPTH];
};

/* Writes `bytes` at `at`, moving what follows. */
static inline bool packet_bytes_insert(struct packet_bytes *b, size_t at, const void *bytes, size_t count) {
    if (b->len + count > b->capacity) {
        return false;
    }
    memmove(b->out + at + count, b->out + at, b->len - at);
    memcpy(b->out + at, bytes, count);
    b->len += count;
    return true;
}

static inline bool packet_bytes_open(struct packet_bytes *b, char closing) {
    if (b->depth == PACKET_BYTES_DEPTH) {
        return false;
    }
    b->open[b->depth].closing = closing;
    b->open[b->depth].at = b->len;
    b->depth++;
    return true;
}

static inline bool packet_bytes_close(struct packet_bytes *b, char closing) {
    if (b->depth == 0 || b->open[b->depth - 1].closing != closing) {
        return false;
    }
    size_t at = b->open[--b->depth].at;
    size_t length = b->len - at;
    uint8_t prefix[4];
    size_t count = 0;
    if (closing == '}') {
        prefix[0] = (uint8_t)(length >> 8);
        prefix[1] = (uint8_t)length;
        count = 2;
    } else if (closing == ')') {
        for (; length >= 0x80; length >>= 7) {
            prefix[count++] = (uint8_t)(length | 0x80U);
        }
        prefix[count++] = (uint8_t)length;
    }
    b->last = at;
    return packet_bytes_insert(b, at, prefix, count);
}

static inline bool packet_bytes_repeat(struct packet_bytes *b, size_t times) {
    size_t length = b->len - b->last;
    if (times == 0 || b->len + length * (times - 1) > b->capacity) {
        return false;
    }
    for (size_t i = 1; i < times; i++) {
        memcpy(b->out + b->len, b->out + b->last, length);
        b->len += length;
    }
    return true;
}

static inline int packet_bytes_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Takes one word of the text and moves behind it; false when the text makes no sense. */
static inline bool packet_bytes_word(struct packet_bytes *b, const char **text) {
    static const char openings[] = "({<", closings[] = ")}>";
    const char *at = *text;
    const char *opening = strchr(openings, *at);
    if (opening != NULL) {
        *text = at + 1;
        return packet_bytes_open(b, closings[opening - openings]);
    }
    if (strchr(closings, *at) != NULL) {
        *text = at + 1;
        return packet_bytes_close(b, *at);
    }
    if (*at == 'x') {
        char *end;
        size_t times = strtoul(at + 1, &end, 10);
        *text = end;
        return packet_bytes_repeat(b, times);
    }
    b->last = b->len;
    if (*at == '\'') {
        const char *end = strchr(at + 1, '\'');
        *text = end != NULL ? end + 1 : at;
        return end != NULL && packet_bytes_insert(b, b->len, at + 1, (size_t)(end - at - 1));
    }
    int high = packet_bytes_digit(at[0]);
    int low = high < 0 ? -1 : packet_bytes_digit(at[1]);
    uint8_t byte = (uint8_t)(high * 16 + low);
    *text = at + 2;
    return low >= 0 && packet_bytes_insert(b, b->len, &byte, 1);
}

/* Writes the bytes of `text` and how many they are; false when the text makes no sense or they are too many. */
static inline bool packet_bytes_read(const char *text, uint8_t *out, size_t capacity, size_t *len) {
    struct packet_bytes b = {.out = out, .capacity = capacity};
    *len = 0;
    while (*text != '\0') {
        if (*text == ' ') {
            text++;
        } else if (!packet_bytes_word(&b, &text)) {
            return false;
        }
    }
    *len = b.len;
    return b.depth == 0;
}
