/* A received message as one JSON object: %j and %J of -F. */
#pragma once

#include <time.h>

#include <quartet/quartet.h>

#include "base/buf.h"

/* Appends the object. `parsed`: the payload stands in it as the JSON that it is, not as a string; false and nothing
 * appended when it is none. */
bool tool_message_json(struct buf *out, const struct quartet_message *m, const struct timespec *when, bool parsed,
                       bool pretty);
