#include "tool/message_json.h"

#include <stdio.h>

#include "base/mem.h"
#include "tool/json.h"

static void write_time(struct tool_json_writer *w, const struct timespec *when) {
    struct tm parts;
    char text[96], seconds[32], zone[16];
    (void)localtime_r(&when->tv_sec, &parts);
    (void)strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)strftime(zone, sizeof zone, "%z", &parts);
    (void)snprintf(text, sizeof text, "%s.%06ldZ%s", seconds, when->tv_nsec / 1000, zone);
    tool_json_key(w, SPAN("tst"));
    tool_json_string(w, span_str(text));
}

static void write_number(struct tool_json_writer *w, const char *key, uint64_t number) {
    tool_json_key(w, span_str(key));
    tool_json_integer(w, number);
}

static void write_string(struct tool_json_writer *w, const char *key, const char *text) {
    if (text != NULL) {
        tool_json_key(w, span_str(key));
        tool_json_string(w, span_str(text));
    }
}

static void write_user_properties(struct tool_json_writer *w, const struct quartet_properties *p) {
    if (p->user_count == 0) {
        return;
    }
    tool_json_key(w, SPAN("user-properties"));
    tool_json_open(w, '{');
    for (size_t i = 0; i < p->user_count; i++) {
        tool_json_key(w, span_str(p->user[i].name));
        tool_json_string(w, span_str(p->user[i].value));
    }
    tool_json_close(w);
}

static bool has_properties(const struct quartet_properties *p) {
    return p->has_expiry || p->payload_is_text || p->content_type != NULL || p->response_topic != NULL ||
           p->correlation_data != NULL || p->user_count > 0 || p->subscription_identifier_count > 0 ||
           p->topic_alias != 0;
}

static void write_properties(struct tool_json_writer *w, const struct quartet_properties *p) {
    tool_json_key(w, SPAN("properties"));
    tool_json_open(w, '{');
    if (p->topic_alias != 0) {
        write_number(w, "topic-alias", p->topic_alias);
    }
    for (size_t i = 0; i < p->subscription_identifier_count; i++) {
        write_number(w, "subscription-identifier", p->subscription_identifiers[i]);
    }
    if (p->has_expiry) {
        write_number(w, "message-expiry-interval", p->expiry_s);
    }
    write_string(w, "content-type", p->content_type);
    write_string(w, "response-topic", p->response_topic);
    if (p->correlation_data != NULL) {
        tool_json_key(w, SPAN("correlation-data"));
        tool_json_string(w, span_of(p->correlation_data, p->correlation_bytes));
    }
    if (p->payload_is_text) {
        write_number(w, "payload-format-indicator", 1);
    }
    write_user_properties(w, p);
    tool_json_close(w);
}

static bool write_payload(struct tool_json_writer *w, const struct quartet_message *m, bool parsed) {
    tool_json_key(w, SPAN("payload"));
    if (m->payload_bytes == 0) {
        tool_json_text(w, "null");
        return true;
    }
    struct span payload = span_of(m->payload, m->payload_bytes);
    if (parsed) {
        return tool_json_copy(w, payload);
    }
    tool_json_string(w, payload);
    return true;
}

bool tool_message_json(struct buf *out, const struct quartet_message *m, const struct timespec *when, bool parsed,
                       bool pretty) {
    struct tool_json_writer *w = mem_alloc(sizeof *w);
    size_t length = out->len;
    tool_json_begin(w, out, pretty);
    tool_json_open(w, '{');
    write_time(w, when);
    tool_json_key(w, SPAN("topic"));
    tool_json_string(w, span_of(m->topic, m->topic_bytes));
    write_number(w, "qos", (uint64_t)m->qos);
    write_number(w, "retain", m->retain ? 1 : 0);
    write_number(w, "payloadlen", m->payload_bytes);
    if (m->qos > 0) {
        write_number(w, "mid", m->packet_id);
    }
    if (has_properties(&m->properties)) {
        write_properties(w, &m->properties);
    }
    bool good = write_payload(w, m, parsed);
    tool_json_close(w);
    mem_free(w);
    if (!good) {
        out->len = length;
    }
    return good;
}
