/* Received messages on standard output: the payload, topic and payload, or as -F says; also the screen of --watch. */
#pragma once

#include <quartet/quartet.h>

#include "tool/options.h"

/* The topics of --watch, each with its line. */
struct tool_output {
    const struct tool_options *options;
    struct buf line;
    char **topics;
    size_t topic_count;
};

void tool_output_init(struct tool_output *out, const struct tool_options *options);
void tool_output_deinit(struct tool_output *out);
/* Prints a message; false when standard output takes no more: then it must not count as printed. */
bool tool_output_message(struct tool_output *out, const struct quartet_message *m);
