/* The public, flat properties and those of the packets. */
#include "base/error.h"
#include "client/state.h"
#include "topic/topic.h"

bool client_text_valid(const char *text) {
    struct span s = span_str(text);
    return s.len <= UINT16_MAX && utf8_valid(s);
}

static bool user_check(const struct quartet_properties *p, struct error *text) {
    for (size_t i = 0; i < p->user_count; i++) {
        const struct quartet_user_property *u = &p->user[i];
        if (u->name == NULL || u->value == NULL || !client_text_valid(u->name) || !client_text_valid(u->value)) {
            return error_set(text, ERROR_INVALID, 0, "user property %zu is no UTF-8 of at most 65,535 bytes", i);
        }
    }
    return true;
}

bool client_properties_check(const struct quartet_properties *p, struct error *text) {
    if (p->content_type != NULL && !client_text_valid(p->content_type)) {
        return error_set(text, ERROR_INVALID, 0, "content_type is no UTF-8 of at most 65,535 bytes");
    }
    if (p->response_topic != NULL &&
        (!client_text_valid(p->response_topic) || !topic_name_valid(span_str(p->response_topic)))) {
        return error_set(text, ERROR_INVALID, 0, "response_topic is no topic name");
    }
    if (p->correlation_bytes > UINT16_MAX || (p->correlation_bytes > 0 && p->correlation_data == NULL)) {
        return error_set(text, ERROR_INVALID, 0, "correlation_data has %zu bytes", p->correlation_bytes);
    }
    if (p->user_count > 0 && p->user == NULL) {
        return error_set(text, ERROR_INVALID, 0, "user_count is %zu but user is NULL", p->user_count);
    }
    return user_check(p, text);
}

void client_properties_fill(const struct quartet_properties *from, struct properties *to, struct buf *user) {
    properties_clear(to);
    if (from->payload_is_text) {
        to->present |= PROPERTY_PAYLOAD_FORMAT_INDICATOR;
        to->payload_format_indicator = 1;
    }
    if (from->has_expiry) {
        to->present |= PROPERTY_MESSAGE_EXPIRY_INTERVAL;
        to->message_expiry_interval_s = from->expiry_s;
    }
    if (from->content_type != NULL) {
        to->present |= PROPERTY_CONTENT_TYPE;
        to->content_type = span_str(from->content_type);
    }
    if (from->response_topic != NULL) {
        to->present |= PROPERTY_RESPONSE_TOPIC;
        to->response_topic = span_str(from->response_topic);
    }
    if (from->correlation_data != NULL) {
        to->present |= PROPERTY_CORRELATION_DATA;
        to->correlation_data = span_of(from->correlation_data, from->correlation_bytes);
    }
    for (size_t i = 0; i < from->user_count; i++) {
        packet_user_property_add(user, span_str(from->user[i].name), span_str(from->user[i].value));
    }
    to->user_property_count = (uint16_t)(from->user_count < UINT16_MAX ? from->user_count : UINT16_MAX);
    to->raw = buf_span(user);
}

static void string_encode(struct buf *out, enum property_index index, struct span value) {
    buf_u8(out, property_rows[index].id);
    buf_prefixed(out, value);
}

void client_properties_encode(struct buf *out, const struct quartet_properties *from) {
    if (from->payload_is_text) {
        buf_u8(out, property_rows[PROPERTY_INDEX_PAYLOAD_FORMAT_INDICATOR].id);
        buf_u8(out, 1);
    }
    if (from->content_type != NULL) {
        string_encode(out, PROPERTY_INDEX_CONTENT_TYPE, span_str(from->content_type));
    }
    if (from->response_topic != NULL) {
        string_encode(out, PROPERTY_INDEX_RESPONSE_TOPIC, span_str(from->response_topic));
    }
    if (from->correlation_data != NULL) {
        string_encode(out, PROPERTY_INDEX_CORRELATION_DATA, span_of(from->correlation_data, from->correlation_bytes));
    }
    for (size_t i = 0; i < from->user_count; i++) {
        packet_user_property_add(out, span_str(from->user[i].name), span_str(from->user[i].value));
    }
}
