/* Reads JSON and writes it again: the same value in the writer's style. Numbers become doubles on the way. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/reader.h"
#include "tool/json.h"

enum { NUMBER_BYTES_MAX = 63 };

enum expected { EXPECT_VALUE = 1, EXPECT_KEY, EXPECT_AFTER, EXPECT_NOTHING };

struct copy {
    struct reader in;
    struct tool_json_writer *w;
    struct buf text;    /* of the string that is being read */
    unsigned depth_min; /* of the writer before the value */
    enum expected expected;
    bool failed;
};

static int peek(const struct copy *c) {
    return reader_left(&c->in) > 0 ? *c->in.at : -1;
}

static void skip_space(struct copy *c) {
    while (peek(c) >= 0 && peek(c) <= ' ') {
        (void)reader_u8(&c->in);
    }
}

static bool accept(struct copy *c, char wanted) {
    if (peek(c) != wanted) {
        return false;
    }
    (void)reader_u8(&c->in);
    return true;
}

static void fail(struct copy *c) {
    c->failed = true;
}

static uint32_t read_hex(struct copy *c) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t d = reader_u8(&c->in);
        uint32_t digit = d >= '0' && d <= '9'   ? d - (uint32_t)'0'
                         : d >= 'a' && d <= 'f' ? d - (uint32_t)'a' + 10
                         : d >= 'A' && d <= 'F' ? d - (uint32_t)'A' + 10
                                                : 16;
        if (digit > 15) {
            fail(c);
        }
        value = value << 4 | (digit & 15);
    }
    return value;
}

static void append_utf8(struct buf *out, uint32_t code) {
    if (code < 0x80) {
        buf_u8(out, (uint8_t)code);
    } else if (code < 0x800) {
        buf_u8(out, (uint8_t)(0xC0 | code >> 6));
        buf_u8(out, (uint8_t)(0x80 | (code & 0x3F)));
    } else if (code < 0x10000) {
        buf_u8(out, (uint8_t)(0xE0 | code >> 12));
        buf_u8(out, (uint8_t)(0x80 | (code >> 6 & 0x3F)));
        buf_u8(out, (uint8_t)(0x80 | (code & 0x3F)));
    } else {
        buf_u8(out, (uint8_t)(0xF0 | code >> 18));
        buf_u8(out, (uint8_t)(0x80 | (code >> 12 & 0x3F)));
        buf_u8(out, (uint8_t)(0x80 | (code >> 6 & 0x3F)));
        buf_u8(out, (uint8_t)(0x80 | (code & 0x3F)));
    }
}

/* After \u: one character, which may take a second \u. */
static void read_code(struct copy *c) {
    uint32_t code = read_hex(c);
    if (code >= 0xDC00 && code <= 0xDFFF) {
        fail(c);
    } else if (code >= 0xD800 && code <= 0xDBFF) {
        bool second = accept(c, '\\') && accept(c, 'u');
        uint32_t low = second ? read_hex(c) : 0;
        if (low < 0xDC00 || low > 0xDFFF) {
            fail(c);
        }
        code = 0x10000 + ((code & 0x3FF) << 10 | (low & 0x3FF));
    }
    append_utf8(&c->text, code);
}

static void read_escape(struct copy *c) {
    static const char names[] = "\"\\/bfnrt";
    static const char bytes[] = "\"\\/\b\f\n\r\t";
    uint8_t escape = reader_u8(&c->in);
    if (escape == 'u') {
        read_code(c);
        return;
    }
    const char *at = escape == 0 ? NULL : strchr(names, escape);
    if (at == NULL) {
        fail(c);
        return;
    }
    buf_u8(&c->text, (uint8_t)bytes[at - names]);
}

/* Reads a string into c->text. */
static void read_string(struct copy *c) {
    c->text.len = 0;
    if (!accept(c, '"')) {
        fail(c);
    }
    while (!c->failed && !accept(c, '"')) {
        uint8_t byte = reader_u8(&c->in);
        if (c->in.failed) {
            fail(c);
        } else if (byte == '\\') {
            read_escape(c);
        } else {
            buf_u8(&c->text, byte);
        }
    }
}

static void write_number(struct copy *c, double number) {
    char text[40];
    if (!isfinite(number)) {
        tool_json_text(c->w, "null");
        return;
    }
    (void)snprintf(text, sizeof text, "%1.15g", number);
    double again = strtod(text, NULL);
    if (fabs(again - number) > fmax(fabs(again), fabs(number)) * DBL_EPSILON) {
        (void)snprintf(text, sizeof text, "%1.17g", number);
    }
    tool_json_text(c->w, text);
}

static void read_number(struct copy *c) {
    char text[NUMBER_BYTES_MAX + 1];
    size_t length = 0;
    while (length < NUMBER_BYTES_MAX && length < reader_left(&c->in) && c->in.at[length] != 0 &&
           strchr("0123456789+-eE.", c->in.at[length]) != NULL) {
        text[length] = (char)c->in.at[length];
        length++;
    }
    text[length] = 0;
    char *end = NULL;
    double number = strtod(text, &end);
    if (end == text) {
        fail(c);
        return;
    }
    (void)reader_bytes(&c->in, (size_t)(end - text));
    write_number(c, number);
}

static bool accept_word(struct copy *c, const char *word) {
    size_t length = strlen(word);
    if (reader_left(&c->in) < length || memcmp(c->in.at, word, length) != 0) {
        return false;
    }
    (void)reader_bytes(&c->in, length);
    tool_json_text(c->w, word);
    return true;
}

static void open_container(struct copy *c, char bracket, char closing) {
    if (c->w->depth - c->depth_min >= JSON_DEPTH_MAX) {
        fail(c);
        return;
    }
    (void)reader_u8(&c->in);
    tool_json_open(c->w, bracket);
    skip_space(c);
    if (accept(c, closing)) {
        tool_json_close(c->w);
        c->expected = EXPECT_AFTER;
    } else if (bracket == '{') {
        c->expected = EXPECT_KEY;
    } else {
        tool_json_element(c->w);
        c->expected = EXPECT_VALUE;
    }
}

static void read_value(struct copy *c) {
    skip_space(c);
    int first = peek(c);
    c->expected = EXPECT_AFTER;
    if (first == '{') {
        open_container(c, '{', '}');
    } else if (first == '[') {
        open_container(c, '[', ']');
    } else if (first == '"') {
        read_string(c);
        tool_json_string(c->w, buf_span(&c->text));
    } else if (first == '-' || (first >= '0' && first <= '9')) {
        read_number(c);
    } else if (!accept_word(c, "null") && !accept_word(c, "true") && !accept_word(c, "false")) {
        fail(c);
    }
}

static void read_key(struct copy *c) {
    skip_space(c);
    read_string(c);
    tool_json_key(c->w, buf_span(&c->text));
    skip_space(c);
    if (!accept(c, ':')) {
        fail(c);
    }
    c->expected = EXPECT_VALUE;
}

/* A comma or the end of what encloses the value. */
static void read_after(struct copy *c) {
    if (c->w->depth == c->depth_min) {
        c->expected = EXPECT_NOTHING;
        return;
    }
    bool in_object = c->w->is_object[c->w->depth - 1];
    skip_space(c);
    if (accept(c, ',')) {
        if (!in_object) {
            tool_json_element(c->w);
        }
        c->expected = in_object ? EXPECT_KEY : EXPECT_VALUE;
    } else if (accept(c, in_object ? '}' : ']')) {
        tool_json_close(c->w);
    } else {
        fail(c);
    }
}

bool tool_json_copy(struct tool_json_writer *w, struct span text) {
    static const uint8_t mark[] = {0xEF, 0xBB, 0xBF}; /* a byte order mark may come first */
    size_t length = w->out->len;
    if (text.len >= sizeof mark && memcmp(text.ptr, mark, sizeof mark) == 0) {
        text = span_skip(text, sizeof mark);
    }
    struct copy c = {.in = reader_of(text), .w = w, .depth_min = w->depth, .expected = EXPECT_VALUE};
    while (!c.failed && c.expected != EXPECT_NOTHING) {
        if (c.expected == EXPECT_VALUE) {
            read_value(&c);
        } else if (c.expected == EXPECT_KEY) {
            read_key(&c);
        } else {
            read_after(&c);
        }
    }
    skip_space(&c);
    buf_deinit(&c.text);
    if (c.failed || !reader_done(&c.in)) {
        w->out->len = length;
        w->depth = c.depth_min;
        return false;
    }
    return true;
}
