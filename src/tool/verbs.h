/* `quartet pub`, `sub` and `rr`: each runs to its end and returns the exit code. */
#pragma once

#include "tool/options.h"

int tool_pub(const struct tool_options *options);
int tool_sub(const struct tool_options *options);
int tool_rr(const struct tool_options *options);
