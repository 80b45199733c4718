/* -F: how a received message is printed.
 *
 *     %[-][0][WIDTH][.PRECISION]X    something about the message
 *     @X                             what strftime() makes of %X, and @N: nanoseconds
 *     \X                             a character
 *
 * The formats are those of mosquitto_sub 2.0 and, for %d, %f and the groups of %:x, 2.1. */
#pragma once

#include <time.h>

#include <quartet/quartet.h>

#include "base/buf.h"
#include "base/error.h"

#define FORMAT_WIDTH_MAX 65535

/* Whether the format is well-formed; false with a sentence. */
bool tool_format_check(const char *format, struct error *error);
/* Appends the message as a well-formed format says. False when a %J found a payload that is not JSON; it appends
 * nothing then, but the rest is there. */
bool tool_format_print(struct buf *out, const char *format, const struct quartet_message *m,
                       const struct timespec *when, bool pretty);
