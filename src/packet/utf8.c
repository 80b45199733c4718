#include "packet/codec.h"

/* Eight bytes at a time: topic names and user properties are ASCII nearly always, and every publish has a topic. */
#define EACH_BYTE(c) (0x0101010101010101ULL * (c))

/* The high bit of each byte of `word` that equals `c`. All bytes, and c, are below 0x80. */
static inline uint64_t ascii_equal(uint64_t word, uint8_t c) {
    uint64_t difference = word ^ EACH_BYTE(c);
    return ~(difference + EACH_BYTE(0x7FU)) & EACH_BYTE(0x80U);
}

/* The length of the well-formed sequence of two to four bytes at `at`, 0 when there is none (Unicode, table 3-7). */
static size_t utf8_sequence(struct span s, size_t at) {
    uint8_t lead = s.ptr[at];
    size_t left = s.len - at;
    size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (length == 0 || length > left) {
        return 0;
    }
    /* The second byte excludes overlong forms, surrogates and what lies above U+10FFFF. */
    uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (s.ptr[at + 1] < low || s.ptr[at + 1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((s.ptr[at + i] & 0xC0U) != 0x80U) {
            return 0;
        }
    }
    return length;
}

/* What one pass over a string finds out. */
struct utf8_scan {
    bool valid;
    bool wildcard; /* there is a '+' or '#' */
    size_t slashes;
};

/* The next bytes as one word; what the last word lacks is filled up with a harmless letter. Only which bytes there are
 * matters, not their order, so that the order of the machine does not either. */
static inline uint64_t next_word(struct span s, size_t at) {
    size_t left = s.len - at;
    uint64_t word = 0;
    unsigned bits = 0;
    if (left >= sizeof(word)) {
        memcpy(&word, s.ptr + at, sizeof(word));
        return word;
    }
    if ((left & 4U) != 0) {
        uint32_t four;
        memcpy(&four, s.ptr + at, sizeof(four));
        word = four;
        bits = 32;
    }
    if ((left & 2U) != 0) {
        uint16_t two;
        memcpy(&two, s.ptr + at + (left & 4U), sizeof(two));
        word |= (uint64_t)two << bits;
        bits += 16;
    }
    if ((left & 1U) != 0) {
        word |= (uint64_t)s.ptr[s.len - 1] << bits;
        bits += 8;
    }
    return word | EACH_BYTE('a') << bits;
}

/* How many bytes of ascii_equal()'s answer are set: a multiplication adds them up in its top byte. */
static inline size_t ascii_count(uint64_t equal) {
    return (size_t)((equal >> 7) * EACH_BYTE(1) >> 56);
}

/* `topic` is a constant in each caller, so that the compiler leaves out what is not asked for. */
static inline struct utf8_scan utf8_scan(struct span s, bool topic) {
    struct utf8_scan scan = {.valid = true};
    uint64_t wildcards = 0;
    for (size_t at = 0; at < s.len;) {
        uint64_t word = next_word(s, at);
        if ((word & EACH_BYTE(0x80U)) == 0 && ascii_equal(word, 0) == 0) {
            if (topic) {
                wildcards |= ascii_equal(word, '+') | ascii_equal(word, '#');
                scan.slashes += ascii_count(ascii_equal(word, '/'));
            }
            at += sizeof(word);
            continue;
        }
        uint8_t byte = s.ptr[at];
        size_t length = byte < 0x80 ? byte != 0 : utf8_sequence(s, at);
        if (length == 0) {
            scan.valid = false;
            return scan;
        }
        if (topic) {
            wildcards |= (uint64_t)(byte == '+' || byte == '#');
            scan.slashes += byte == '/';
        }
        at += length;
    }
    scan.wildcard = wildcards != 0;
    return scan;
}

bool utf8_valid(struct span s) {
    return utf8_scan(s, false).valid;
}

static bool refuse_utf8(const struct decoding *d, struct span s, const char *text) {
    bool zero = memchr(s.ptr, 0, s.len) != NULL;
    return refuse(d, REASON_MALFORMED_PACKET, zero ? "MQTT-1.5.4-2" : "MQTT-1.5.4-1", text);
}

bool decode_utf8(const struct decoding *d, struct span s, const char *text) {
    return utf8_valid(s) || refuse_utf8(d, s, text);
}

bool decode_topic_name(const struct decoding *d, struct span name, struct topic_name_rule wildcard) {
    struct utf8_scan scan = utf8_scan(name, true);
    if (!scan.valid) {
        return refuse_utf8(d, name, "a topic name is not well-formed UTF-8");
    }
    if (name.len == 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-4.7.3-1", "a topic name is empty");
    }
    if (scan.wildcard) {
        return refuse(d, wildcard.reason, wildcard.statement, "a topic name contains a wildcard");
    }
    if (name.len > d->limits->topic_bytes_max) {
        return refuse(d, REASON_TOPIC_NAME_INVALID, STATEMENT_LIMIT, "a topic name is longer than allowed here");
    }
    if (scan.slashes >= d->limits->topic_levels_max) {
        return refuse(d, REASON_TOPIC_NAME_INVALID, STATEMENT_LIMIT, "a topic name has more levels than allowed here");
    }
    return true;
}

bool decode_topic_filter(const struct decoding *d, struct span filter) {
    struct utf8_scan scan = utf8_scan(filter, true);
    if (!scan.valid) {
        return refuse_utf8(d, filter, "a topic filter is not well-formed UTF-8");
    }
    if (filter.len == 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-4.7.3-1", "a topic filter is empty");
    }
    if (filter.len > d->limits->topic_bytes_max) {
        return refuse(d, REASON_TOPIC_FILTER_INVALID, STATEMENT_LIMIT, "a topic filter is longer than allowed here");
    }
    if (scan.slashes >= d->limits->topic_levels_max) {
        return refuse(d, REASON_TOPIC_FILTER_INVALID, STATEMENT_LIMIT,
                      "a topic filter has more levels than allowed here");
    }
    return true;
}
