#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "packet/codec.h"

/* More of a string than this is of no use in a line for a person. */
enum { PRINT_BYTES_MAX = 80, PRINT_NUMBER_MAX = 64 };

static void print(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For short texts of our own. */
static void print(struct buf *out, const char *format, ...) {
    char text[PRINT_NUMBER_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length > 0) {
        buf_bytes(out, span_of(text, (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1));
    }
}

/* A peer's string: only printable ASCII reaches the terminal as it is. */
static void print_string(struct buf *out, struct span s) {
    buf_u8(out, '"');
    for (size_t i = 0; i < s.len && i < PRINT_BYTES_MAX; i++) {
        uint8_t c = s.ptr[i];
        if (c == '"' || c == '\\') {
            buf_u8(out, '\\');
            buf_u8(out, c);
        } else if (c >= 0x20 && c < 0x7F) {
            buf_u8(out, c);
        } else {
            print(out, "\\x%02x", c);
        }
    }
    buf_u8(out, '"');
    if (s.len > PRINT_BYTES_MAX) {
        print(out, "... (%zu bytes)", s.len);
    }
}

static void print_user_properties(struct buf *out, const struct properties *p) {
    struct reader r = reader_of(p->raw);
    struct span name, value;
    for (const char *before = ""; packet_user_property_next(&r, &name, &value); before = ", ") {
        buf_bytes(out, span_str(before));
        print_string(out, name);
        buf_u8(out, '=');
        print_string(out, value);
    }
}

static void print_subscription_identifiers(struct buf *out, const struct properties *p) {
    struct reader r = reader_of(p->raw);
    uint32_t identifier = p->subscription_identifier;
    if (p->subscription_identifier_count <= 1) {
        print(out, "%" PRIu32, identifier);
        return;
    }
    for (const char *before = ""; packet_subscription_identifier_next(&r, &identifier); before = " ") {
        print(out, "%s%" PRIu32, before, identifier);
    }
}

static void print_value(struct buf *out, const struct property_row *row, const struct properties *p) {
    const void *field = (const char *)p + row->offset;
    switch (row->kind) {
    case PROPERTY_BYTE:
        print(out, "%u", *(const uint8_t *)field);
        break;
    case PROPERTY_U16:
        print(out, "%u", *(const uint16_t *)field);
        break;
    case PROPERTY_U32:
        print(out, "%" PRIu32, *(const uint32_t *)field);
        break;
    case PROPERTY_VARINT:
        print_subscription_identifiers(out, p);
        break;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
        print_string(out, *(const struct span *)field);
        break;
    case PROPERTY_BINARY:
        print(out, "(%zu bytes)", ((const struct span *)field)->len);
        break;
    case PROPERTY_PAIR:
        print_user_properties(out, p);
        break;
    }
}

void properties_print(struct buf *out, const struct properties *p) {
    const char *before = "";
    for (property_set left = p->present; left != 0; left &= left - 1) {
        const struct property_row *row = &property_rows[__builtin_ctz(left)];
        buf_bytes(out, span_str(before));
        buf_bytes(out, span_str(row->name));
        buf_bytes(out, SPAN(": "));
        print_value(out, row, p);
        before = ", ";
    }
}

/* ---- packets ---- */

static void print_field(struct buf *out, const char *name, struct span value) {
    buf_bytes(out, span_str(name));
    print_string(out, value);
}

static void print_properties(struct buf *out, const struct properties *p) {
    if (p->present != 0) {
        buf_bytes(out, SPAN(" {"));
        properties_print(out, p);
        buf_u8(out, '}');
    }
}

static void print_connect(struct buf *out, const struct packet_connect *p) {
    print(out, " %s%s keep_alive=%u", p->protocol == PROTOCOL_5 ? "5.0" : "3.1.1", p->clean_start ? " clean" : "",
          p->keep_alive_s);
    print_field(out, " client=", p->client_id);
    if (p->has_username) {
        print_field(out, " user=", p->username);
    }
    if (p->has_password) {
        buf_bytes(out, SPAN(" password"));
    }
    print_properties(out, &p->properties);
    if (p->has_will) {
        print_field(out, " will=", p->will.topic);
        print(out, " will_qos=%u%s will_bytes=%zu", p->will.qos, p->will.retain ? " will_retain" : "",
              p->will.payload.len);
        print_properties(out, &p->will.properties);
    }
}

static void print_publish(struct buf *out, const struct packet_publish *p) {
    print(out, " qos=%u%s%s", p->qos, p->dup ? " dup" : "", p->retain ? " retain" : "");
    if (p->qos > 0) {
        print(out, " id=%u", p->packet_id);
    }
    print_field(out, " topic=", p->topic);
    print(out, " bytes=%zu", p->payload.len);
    print_properties(out, &p->properties);
}

static void print_subscribe(struct buf *out, enum protocol protocol, bool subscribe, const struct packet_subscribe *p) {
    struct reader r = reader_of(p->filters);
    struct packet_filter f;
    print(out, " id=%u", p->packet_id);
    while (packet_filter_next(&r, protocol, subscribe, &f)) {
        print_field(out, " ", f.filter);
        if (subscribe) {
            print(out, ":%u", f.qos);
        }
        if (f.no_local || f.retain_as_published || f.retain_handling > 0) {
            print(out, "%s%s:handling=%u", f.no_local ? ":no_local" : "", f.retain_as_published ? ":as_published" : "",
                  f.retain_handling);
        }
    }
    print_properties(out, &p->properties);
}

static void print_suback(struct buf *out, const struct packet_suback *p) {
    print(out, " id=%u", p->packet_id);
    for (size_t i = 0; i < p->reasons.len; i++) {
        print(out, " 0x%02x", p->reasons.ptr[i]);
    }
    print_properties(out, &p->properties);
}

void packet_print(struct buf *out, enum protocol protocol, const struct packet *p) {
    buf_bytes(out, span_str(packet_type_name(p->type)));
    switch (p->type) {
    case PACKET_CONNECT:
        print_connect(out, &p->connect);
        break;
    case PACKET_CONNACK:
        print(out, " %s reason=0x%02x", p->connack.session_present ? "present" : "new", p->connack.reason);
        print_properties(out, &p->connack.properties);
        break;
    case PACKET_PUBLISH:
        print_publish(out, &p->publish);
        break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        print(out, " id=%u reason=0x%02x", p->ack.packet_id, p->ack.reason);
        print_properties(out, &p->ack.properties);
        break;
    case PACKET_SUBSCRIBE:
    case PACKET_UNSUBSCRIBE:
        print_subscribe(out, protocol, p->type == PACKET_SUBSCRIBE, &p->subscribe);
        break;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        print_suback(out, &p->suback);
        break;
    case PACKET_DISCONNECT:
    case PACKET_AUTH:
        print(out, " reason=0x%02x", p->disconnect.reason);
        print_properties(out, &p->disconnect.properties);
        break;
    case PACKET_PINGREQ:
    case PACKET_PINGRESP:
    case PACKET_NONE:
        break;
    }
}
