/* -D COMMAND IDENTIFIER VALUE [VALUE]: the properties of MQTT 5.0 that a user may give. Their names, kinds and bounds
 * are those of packet/property.h. */
#pragma once

#include <quartet/quartet.h>

#include "base/error.h"
#include "packet/packet.h"
#include "packet/property.h"

/* The packets that -D names. */
enum tool_command {
    TOOL_COMMAND_CONNECT = 0,
    TOOL_COMMAND_PUBLISH,
    TOOL_COMMAND_SUBSCRIBE,
    TOOL_COMMAND_UNSUBSCRIBE,
    TOOL_COMMAND_DISCONNECT,
    TOOL_COMMAND_WILL,
    TOOL_COMMANDS,
};

struct tool_properties {
    struct properties values; /* strings are borrowed and end with NUL */
    struct quartet_user_property *user;
    size_t user_count;
};

/* Whether the property has a name and a value, as user-property has: one value more than others. */
bool tool_property_is_pair(const char *word);
/* Takes the three or four values of -D; *used says how many. False with a sentence. */
bool tool_property_take(struct tool_properties *properties, const char *const *values, size_t count, size_t *used,
                        struct error *error);
void tool_properties_deinit(struct tool_properties *p);
bool tool_property_present(const struct tool_properties *p, enum property property);
/* Those that a message carries, as the library takes them; borrows. */
struct quartet_properties tool_properties_of_message(const struct tool_properties *p);
