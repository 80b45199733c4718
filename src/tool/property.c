#include "tool/property.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "packet/property.h"
#include "tool/options.h"
#include "topic/topic.h"

struct command_row {
    const char *name;
    uint32_t packets;    /* the bit of its packet */
    property_set barred; /* what only a server may put there */
};

/* By enum tool_command. */
static const struct command_row commands[TOOL_COMMANDS] = {
    {"connect", PACKET_BIT(CONNECT), 0},
    {"publish", PACKET_BIT(PUBLISH), PROPERTY_SUBSCRIPTION_IDENTIFIER},
    {"subscribe", PACKET_BIT(SUBSCRIBE), 0},
    {"unsubscribe", PACKET_BIT(UNSUBSCRIBE), 0},
    {"disconnect", PACKET_BIT(DISCONNECT), PROPERTY_SERVER_REFERENCE},
    {"will", PACKET_BIT_WILL, 0},
};

static char small(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == ' ' ? '-' : c;
}

/* Whether a flag's word such as payload-format-indicator is the standard's "Payload Format Indicator". */
static bool same_name(const char *word, const char *name) {
    while (*name != 0 && *word != ' ' && small(*word) == small(*name)) {
        word++;
        name++;
    }
    return *word == 0 && *name == 0;
}

static size_t find_property(const char *word) {
    for (size_t i = 0; i < PROPERTY_COUNT; i++) {
        if (same_name(word, property_rows[i].name)) {
            return i;
        }
    }
    return PROPERTY_COUNT;
}

bool tool_property_is_pair(const char *word) {
    size_t index = find_property(word);
    return index < PROPERTY_COUNT && property_rows[index].kind == PROPERTY_PAIR;
}

static size_t find_command(const char *word) {
    for (size_t i = 0; i < TOOL_COMMANDS; i++) {
        if (strcasecmp(word, commands[i].name) == 0) {
            return i;
        }
    }
    return TOOL_COMMANDS;
}

static bool take_number(const struct property_row *row, const char *word, const char *text, struct properties *p,
                        struct error *error) {
    uint64_t value = 0;
    char *field = (char *)p + row->offset;
    if (!tool_number(word, text, row->min, row->max, &value, error)) {
        return false;
    }
    if (row->kind == PROPERTY_BYTE) {
        *(uint8_t *)field = (uint8_t)value;
    } else if (row->kind == PROPERTY_U16) {
        *(uint16_t *)(void *)field = (uint16_t)value;
    } else {
        *(uint32_t *)(void *)field = (uint32_t)value;
    }
    return true;
}

static void add_user_property(struct tool_properties *p, const char *name, const char *value) {
    p->user = mem_resize(p->user, (p->user_count + 1) * sizeof *p->user);
    p->user[p->user_count++] = (struct quartet_user_property){.name = name, .value = value};
}

static bool take_value(const struct property_row *row, struct tool_properties *p, const char *const *values,
                       struct error *error) {
    bool is_text = false;
    switch (row->kind) {
    case PROPERTY_BYTE:
    case PROPERTY_U16:
    case PROPERTY_U32:
    case PROPERTY_VARINT:
        return take_number(row, values[0], values[1], &p->values, error);
    case PROPERTY_PAIR:
        add_user_property(p, values[1], values[2]);
        return true;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
        is_text = true;
        break;
    case PROPERTY_BINARY:
        break;
    }
    struct span text = span_str(values[1]);
    if (text.len > UINT16_MAX || (is_text && !utf8_valid(text))) {
        return error_set(error, ERROR_INVALID, 0, "the value of %s must be %s of at most 65,535 bytes", values[0],
                         is_text ? "well-formed UTF-8" : "a string");
    }
    if (row->kind == PROPERTY_TOPIC && !topic_name_valid(text)) {
        return error_set(error, ERROR_INVALID, 0, "the value of %s must be a topic name, not \"%s\"", values[0],
                         values[1]);
    }
    *(struct span *)(void *)((char *)&p->values + row->offset) = text;
    return true;
}

bool tool_property_take(struct tool_properties *properties, const char *const *values, size_t count, size_t *used,
                        struct error *error) {
    if (count < 3) {
        return error_set(error, ERROR_INVALID, 0, "-D needs a command, a property and its value");
    }
    size_t command = find_command(values[0]);
    if (command == TOOL_COMMANDS) {
        return error_set(error, ERROR_INVALID, 0,
                         "-D knows no command \"%s\": connect, publish, subscribe, unsubscribe, disconnect, will",
                         values[0]);
    }
    size_t index = find_property(values[1]);
    if (index == PROPERTY_COUNT) {
        return error_set(error, ERROR_INVALID, 0, "there is no property \"%s\"", values[1]);
    }
    const struct property_row *row = &property_rows[index];
    property_set bit = (property_set)1 << index;
    if ((row->packets & commands[command].packets) == 0 || (commands[command].barred & bit) != 0) {
        return error_set(error, ERROR_INVALID, 0, "the property %s cannot stand in %s", values[1], values[0]);
    }
    *used = row->kind == PROPERTY_PAIR ? 4 : 3;
    if (count < *used) {
        return error_set(error, ERROR_INVALID, 0, "the property %s needs a name and a value", values[1]);
    }
    struct tool_properties *p = &properties[command];
    if (row->kind != PROPERTY_PAIR && (p->values.present & bit) != 0) {
        return error_set(error, ERROR_INVALID, 0, "the property %s can stand in %s once", values[1], values[0]);
    }
    p->values.present |= bit;
    return take_value(row, p, values + 1, error);
}

void tool_properties_deinit(struct tool_properties *p) {
    mem_free(p->user);
    *p = (struct tool_properties){0};
}

bool tool_property_present(const struct tool_properties *p, enum property property) {
    return (p->values.present & (property_set)property) != 0;
}

static const char *text_of(const struct tool_properties *p, enum property property, struct span value) {
    return tool_property_present(p, property) ? (const char *)value.ptr : NULL;
}

struct quartet_properties tool_properties_of_message(const struct tool_properties *p) {
    const struct properties *v = &p->values;
    bool correlated = tool_property_present(p, PROPERTY_CORRELATION_DATA);
    return (struct quartet_properties){
        .payload_is_text =
            tool_property_present(p, PROPERTY_PAYLOAD_FORMAT_INDICATOR) && v->payload_format_indicator == 1,
        .has_expiry = tool_property_present(p, PROPERTY_MESSAGE_EXPIRY_INTERVAL),
        .expiry_s = v->message_expiry_interval_s,
        .content_type = text_of(p, PROPERTY_CONTENT_TYPE, v->content_type),
        .response_topic = text_of(p, PROPERTY_RESPONSE_TOPIC, v->response_topic),
        .correlation_data = correlated ? v->correlation_data.ptr : NULL,
        .correlation_bytes = correlated ? v->correlation_data.len : 0,
        .user = p->user,
        .user_count = p->user_count,
    };
}
