/* Received messages on standard output: the payload, topic and payload, or as -F says; also the screen of --watch. */
#pragma once

#include <quartet/quartet.h>

#include "tool/loop.h"

/* The topics of --watch, each with its line. */
struct tool_output {
    struct tool_loop *s;
    const struct tool_options *options;
    struct buf line;
    char **topics;
    size_t topic_count;
};

void tool_output_init(struct tool_output *out, struct tool_loop *s);
void tool_output_deinit(struct tool_output *out);
/* Prints `before` and a message. When standard output takes no more the program ends and the result is false: then the
 * message must not count as printed. */
bool tool_output_message(struct tool_output *out, const char *before, const struct quartet_message *m);
