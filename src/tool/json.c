#include "tool/json.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/must.h"

void tool_json_begin(struct tool_json_writer *w, struct buf *out, bool pretty) {
    w->out = out;
    w->pretty = pretty;
    w->depth = 0;
}

static void indent(struct tool_json_writer *w, unsigned depth) {
    for (unsigned i = 0; i < depth; i++) {
        buf_u8(w->out, '\t');
    }
}

void tool_json_open(struct tool_json_writer *w, char bracket) {
    must(w->depth < sizeof w->is_object);
    w->is_object[w->depth] = bracket == '{';
    w->has_member[w->depth] = false;
    w->depth++;
    buf_u8(w->out, (uint8_t)bracket);
    if (w->pretty && bracket == '{') {
        buf_u8(w->out, '\n');
    }
}

void tool_json_close(struct tool_json_writer *w) {
    must(w->depth > 0);
    w->depth--;
    if (!w->is_object[w->depth]) {
        buf_u8(w->out, ']');
        return;
    }
    if (w->pretty) {
        if (w->has_member[w->depth]) {
            buf_u8(w->out, '\n');
        }
        indent(w, w->depth);
    }
    buf_u8(w->out, '}');
}

void tool_json_key(struct tool_json_writer *w, struct span key) {
    bool *some = &w->has_member[w->depth - 1];
    if (*some) {
        buf_bytes(w->out, w->pretty ? SPAN(",\n") : SPAN(","));
    }
    *some = true;
    if (w->pretty) {
        indent(w, w->depth);
    }
    tool_json_string(w, key);
    buf_bytes(w->out, w->pretty ? SPAN(":\t") : SPAN(":"));
}

void tool_json_element(struct tool_json_writer *w) {
    bool *some = &w->has_member[w->depth - 1];
    if (*some) {
        buf_bytes(w->out, w->pretty ? SPAN(", ") : SPAN(","));
    }
    *some = true;
}

static char short_escape(uint8_t c) {
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

void tool_json_string(struct tool_json_writer *w, struct span text) {
    buf_u8(w->out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        char escape = short_escape(c);
        if (escape != 0) {
            buf_u8(w->out, '\\');
            buf_u8(w->out, (uint8_t)escape);
        } else if (c < 0x20) {
            char code[8];
            (void)snprintf(code, sizeof code, "\\u%04x", c);
            buf_bytes(w->out, span_str(code));
        } else {
            buf_u8(w->out, c);
        }
    }
    buf_u8(w->out, '"');
}

void tool_json_text(struct tool_json_writer *w, const char *literal) {
    buf_bytes(w->out, span_str(literal));
}

void tool_json_integer(struct tool_json_writer *w, uint64_t number) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, number);
    tool_json_text(w, text);
}
