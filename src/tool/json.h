/* JSON as text: a writer, and a checker that writes what it has read in the writer's own style. Knows nothing of
 * messages. Without recursion; nesting is bounded. */
#pragma once

#include "base/buf.h"

#define JSON_DEPTH_MAX 1000 /* of a value that is read */

struct json_writer {
    struct buf *out;
    bool pretty;    /* a line for each member of an object, indented by tabs */
    unsigned depth; /* open objects and arrays */
    bool is_object[JSON_DEPTH_MAX + 8];
    bool has_member[JSON_DEPTH_MAX + 8];
};

void json_begin(struct json_writer *w, struct buf *out, bool pretty);
/* Opens an object ('{') or an array ('['); json_close() closes the innermost. At most 8 around a value that is read. */
void json_open(struct json_writer *w, char bracket);
void json_close(struct json_writer *w);
/* The next member of an object; its value follows. */
void json_key(struct json_writer *w, struct span key);
/* The next member of an array; its value follows. */
void json_element(struct json_writer *w);
void json_string(struct json_writer *w, struct span text);
void json_text(struct json_writer *w, const char *literal);
void json_integer(struct json_writer *w, uint64_t number);
/* Reads one JSON value, which must be all of `text`, and writes it again. False and nothing written when it is none. */
bool json_copy(struct json_writer *w, struct span text);
