/* JSON as text: a writer, and a checker that writes what it has read in the writer's own style. Knows nothing of
 * messages. Without recursion; nesting is bounded. */
#pragma once

#include "base/buf.h"

#define JSON_DEPTH_MAX 1000 /* of a value that is read */

struct tool_json_writer {
    struct buf *out;
    bool pretty;    /* a line for each member of an object, indented by tabs */
    unsigned depth; /* open objects and arrays */
    bool is_object[JSON_DEPTH_MAX + 8];
    bool has_member[JSON_DEPTH_MAX + 8];
};

void tool_json_begin(struct tool_json_writer *w, struct buf *out, bool pretty);
/* Opens an object ('{') or an array ('['); tool_json_close() closes the innermost. At most 8 around a value that is
 * read. */
void tool_json_open(struct tool_json_writer *w, char bracket);
void tool_json_close(struct tool_json_writer *w);
/* The next member of an object; its value follows. */
void tool_json_key(struct tool_json_writer *w, struct span key);
/* The next member of an array; its value follows. */
void tool_json_element(struct tool_json_writer *w);
void tool_json_string(struct tool_json_writer *w, struct span text);
void tool_json_text(struct tool_json_writer *w, const char *literal);
void tool_json_integer(struct tool_json_writer *w, uint64_t number);
/* Reads one JSON value, which must be all of `text`, and writes it again. False and nothing written when it is none. */
bool tool_json_copy(struct tool_json_writer *w, struct span text);
