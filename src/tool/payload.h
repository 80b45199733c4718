/* Where the payloads of pub and rr come from: a text, a file, standard input as a whole or line by line. */
#pragma once

#include "tool/options.h"

#define PAYLOAD_BYTES_MAX 268435455 /* of MQTT's remaining length */

/* The one message of -m, -n, -f or -s; appends it. False with a sentence. Not for -l. */
bool tool_payload_load(const struct tool_options *options, struct buf *payload, struct error *error);

/* The lines of standard input as they come; the line's end is not part of it. */
struct tool_payload_lines {
    int fd;
    struct buf bytes; /* read, not taken yet */
    size_t begin;     /* of the next line */
    size_t searched;  /* bytes that hold no end of line */
    bool over;        /* nothing more comes */
};

/* Reads once what is there, which waits when there is nothing; false with a sentence. */
bool tool_payload_lines_read(struct tool_payload_lines *lines, struct error *error);
/* The next whole line; at the end also what has no end of line. A view until the next read. */
bool tool_payload_lines_next(struct tool_payload_lines *lines, struct span *line);
