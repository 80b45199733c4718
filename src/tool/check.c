/* What must hold between the options, and the defaults that follow from others. */
#include <string.h>
#include <unistd.h>

#include "tool/format.h"
#include "tool/options.h"
#include "topic/topic.h"

static bool wrong(struct error *error, const char *text) {
    return error_set(error, ERROR_INVALID, 0, "%s", text);
}

static bool check_filters(const char *option, const struct tool_strings *filters, struct error *error) {
    for (size_t i = 0; i < filters->count; i++) {
        struct topic_filter parsed;
        struct span filter = span_str(filters->items[i]);
        if (!utf8_valid(filter) || topic_filter_parse(filter, &parsed) != TOPIC_FILTER_OK) {
            return error_set(error, ERROR_INVALID, 0,
                             "%s: \"%s\" is no topic filter; '+' stands alone in its level, '#' alone in the last one",
                             option, filters->items[i]);
        }
    }
    return true;
}

static bool check_topic(const char *option, const char *topic, struct error *error) {
    struct span name = span_str(topic);
    return (utf8_valid(name) && topic_name_valid(name)) ||
           error_set(error, ERROR_INVALID, 0, "%s: \"%s\" is no topic name; it is empty or has '+' or '#' in it",
                     option, topic);
}

static bool check_will(const struct tool_options *o, struct error *error) {
    if (o->will_topic == NULL) {
        return (o->will_payload == NULL && !o->will_retain) ||
               wrong(error, "--will-payload and --will-retain need --will-topic");
    }
    return check_topic("--will-topic", o->will_topic, error);
}

static bool check_server(const struct tool_options *o, struct error *error) {
    if (o->unix_path == NULL && o->host != NULL && *o->host == 0) {
        return wrong(error, "the name of the broker's host is empty");
    }
    if (o->unix_path != NULL && *o->unix_path == 0) {
        return wrong(error, "the path of --unix is empty");
    }
    if (tool_property_present(&o->properties[TOOL_COMMAND_CONNECT], PROPERTY_AUTHENTICATION_METHOD)) {
        return wrong(error, "authentication-method is not supported: only a user name and a password are");
    }
    return true;
}

static bool check_session(struct tool_options *o, struct error *error) {
    if (o->client_id != NULL && o->id_prefix != NULL) {
        return wrong(error, "-i and -I cannot be used together");
    }
    if (o->client_id != NULL && *o->client_id == 0) {
        return wrong(error, "the client identifier of -i is empty");
    }
    if (o->keep_session && o->client_id == NULL) {
        return wrong(error, "-c needs a client identifier that stays the same: give -i");
    }
    if (o->session_expiry_s == TOOL_NEVER && o->client_id == NULL) {
        return wrong(error, "a session that never expires needs a client identifier: give -i");
    }
    if (o->password != NULL && o->username == NULL && tool_protocol(o) == 4) {
        return wrong(error, "-P needs -u in MQTT 3.1.1");
    }
    return true;
}

/* Exactly once is a session that never ends and a store; the library checks the rest. */
static bool check_store(struct tool_options *o, struct error *error) {
    if (o->exactly_once) {
        o->qos = 2;
        if (o->store == NULL) {
            return wrong(error, "--exactly-once needs --store DIR: without a disk nothing survives a crash");
        }
        if (o->session_expiry_s == 0) {
            return wrong(error, "--exactly-once cannot hold with -x 0: the session must outlive its connection");
        }
    }
    if (o->store == NULL) {
        return !(o->stored_is_enough || o->flush || o->numbered) ||
               wrong(error, "--stored, --flush and --numbered need --store DIR");
    }
    if (o->client_id == NULL) {
        return wrong(error, "--store needs a client identifier that stays the same: give -i");
    }
    if (o->stored_is_enough && (o->flush || o->qos == 0)) {
        return wrong(error, o->flush ? "--stored and --flush exclude each other" : "--stored needs -q 1 or -q 2");
    }
    if (o->numbered && (o->payload != TOOL_PAYLOAD_LINES || o->qos == 0)) {
        return wrong(error, "--numbered needs -l, and -q 1 or -q 2");
    }
    o->keep_session = true;
    return true;
}

/* A filter that is named twice is one subscription, and is answered once. */
static bool check_sub(struct tool_options *o, struct error *error) {
    tool_strings_unique(&o->topics);
    tool_strings_unique(&o->unsubscribe);
    if (o->topics.count == 0) {
        return wrong(error, "there is nothing to subscribe to: give -t TOPIC");
    }
    if (o->no_retained && o->retained_only) {
        return wrong(error, "-R and --retained-only exclude each other");
    }
    if (o->random_filter < 0.1) {
        return wrong(error, "--random-filter must be between 0.1 and 100");
    }
    if (o->format != NULL && !tool_format_check(o->format, error)) {
        return false;
    }
    if (o->ack == TOOL_ACK_COMMAND && o->ack_command == NULL) {
        return wrong(error, "--ack command needs --ack-cmd COMMAND");
    }
    return check_filters("-t", &o->topics, error) && check_filters("-T", &o->filters_out, error) &&
           check_filters("-U", &o->unsubscribe, error);
}

static bool check_publication(const struct tool_options *o, struct error *error) {
    if (o->flush) {
        return o->payload == TOOL_PAYLOAD_NONE || wrong(error, "--flush publishes nothing new");
    }
    if (o->topics.count == 0) {
        return wrong(error, "give a topic with -t");
    }
    if (o->payload == TOOL_PAYLOAD_NONE) {
        return wrong(error, "give a message with one of -f, -l, -m, -n and -s");
    }
    if (o->payload_text != NULL && strlen(o->payload_text) > 268435455) {
        return wrong(error, "the message of -m is too long");
    }
    return check_topic("-t", tool_publish_topic(o), error);
}

static bool check_program(struct tool_options *o, struct error *error) {
    if (o->program == TOOL_SUB) {
        return check_sub(o, error);
    }
    if (o->program == TOOL_RR && o->response_topic == NULL) {
        return wrong(error, "give the topic of the response with -e");
    }
    if (o->program == TOOL_RR && o->format != NULL && !tool_format_check(o->format, error)) {
        return false;
    }
    return check_publication(o, error) && (o->program == TOOL_PUB || check_topic("-e", o->response_topic, error));
}

bool tool_options_check(struct tool_options *o, struct error *error) {
    if (!check_server(o, error) || !check_store(o, error) || !check_session(o, error) || !check_will(o, error) ||
        !check_program(o, error)) {
        return false;
    }
    if (o->id_prefix != NULL) {
        char number[24];
        struct buf *text = &o->texts[TOOL_TEXT_ID];
        (void)snprintf(number, sizeof number, "%d", (int)getpid());
        buf_bytes(text, span_str(o->id_prefix));
        buf_bytes(text, span_str(number));
        buf_u8(text, 0);
        o->client_id = (const char *)text->ptr;
    }
    return true;
}
