#include "bench/wire.h"

#include "base/must.h"
#include "base/reader.h"

static void put_text(struct buf *out, const char *text) {
    buf_prefixed(out, span_str(text));
}

/* Appends first byte, remaining length and what was collected in `body`, which is emptied. */
static void put_packet(struct buf *out, enum wire_first first, struct buf *body) {
    buf_u8(out, (uint8_t)first);
    buf_varint(out, (uint32_t)body->len);
    buf_bytes(out, buf_span(body));
    buf_deinit(body);
}

void wire_put_connect(struct buf *out, const struct wire_connect *c) {
    struct buf body = {0};
    put_text(&body, "MQTT");
    buf_u8(&body, c->protocol);
    buf_u8(&body, c->clean_start ? 0x02 : 0x00);
    buf_u16(&body, 0); /* no keep alive: an idle connection shall cost the broker no timer traffic */
    if (c->protocol == WIRE_PROTOCOL_5) {
        buf_u8(&body, 8);
        buf_u8(&body, 0x11);
        buf_u32(&body, c->session_expiry_s);
        buf_u8(&body, 0x21);
        buf_u16(&body, c->receive_maximum);
    }
    put_text(&body, c->client_id);
    put_packet(out, WIRE_CONNECT, &body);
}

void wire_put_subscribe(struct buf *out, uint8_t protocol, uint16_t packet_id, const char *filter, uint8_t qos) {
    struct buf body = {0};
    buf_u16(&body, packet_id);
    if (protocol == WIRE_PROTOCOL_5) {
        buf_u8(&body, 0);
    }
    put_text(&body, filter);
    buf_u8(&body, qos);
    put_packet(out, WIRE_SUBSCRIBE, &body);
}

void wire_put_disconnect(struct buf *out) {
    buf_u16(out, WIRE_DISCONNECT << 8);
}

struct wire_template wire_template_of(uint8_t protocol, const char *topic, uint8_t qos, size_t payload_bytes) {
    must(payload_bytes >= sizeof(struct stamp) && qos <= 2);
    struct wire_template t = {0};
    struct buf body = {0};
    put_text(&body, topic);
    size_t packet_id_at = body.len;
    if (qos > 0) {
        buf_u16(&body, 0);
    }
    if (protocol == WIRE_PROTOCOL_5) {
        buf_u8(&body, 0);
    }
    size_t stamp_at = body.len;
    memset(buf_extend(&body, payload_bytes), 'q', payload_bytes);
    size_t head = 1 + varint_size((uint32_t)body.len);
    t.packet_id_at = qos > 0 ? head + packet_id_at : 0;
    t.stamp_at = head + stamp_at;
    put_packet(&t.bytes, (enum wire_first)(WIRE_PUBLISH | (unsigned)qos << 1), &body);
    return t;
}

bool wire_get_publish(const struct wire_packet *packet, uint8_t protocol, struct wire_publish *publish) {
    struct reader r = reader_of(packet->body);
    publish->qos = (uint8_t)(packet->first >> 1 & 3U);
    publish->topic = reader_prefixed(&r);
    publish->packet_id = publish->qos > 0 ? reader_u16(&r) : 0;
    if (protocol == WIRE_PROTOCOL_5) {
        (void)reader_bytes(&r, reader_varint(&r));
    }
    publish->payload = reader_rest(&r);
    return !r.failed && publish->qos <= 2 && (publish->qos == 0 || publish->packet_id != 0);
}

/* How the value of each property of CONNACK is written: 1, 2 and 4 bytes, one string (5), two strings (6). */
static uint8_t property_shape(uint8_t identifier) {
    switch (identifier) {
    case 0x24: /* Maximum QoS */
    case 0x25: /* Retain Available */
    case 0x28: /* Wildcard Subscription Available */
    case 0x29: /* Subscription Identifiers Available */
    case 0x2A: /* Shared Subscription Available */
        return 1;
    case 0x13: /* Server Keep Alive */
    case 0x21: /* Receive Maximum */
    case 0x22: /* Topic Alias Maximum */
        return 2;
    case 0x11: /* Session Expiry Interval */
    case 0x27: /* Maximum Packet Size */
        return 4;
    case 0x12: /* Assigned Client Identifier */
    case 0x15: /* Authentication Method */
    case 0x16: /* Authentication Data */
    case 0x1A: /* Response Information */
    case 0x1C: /* Server Reference */
    case 0x1F: /* Reason String */
        return 5;
    case 0x26: /* User Property */
        return 6;
    default:
        return 0;
    }
}

static uint32_t read_property(struct reader *r, uint8_t identifier) {
    switch (property_shape(identifier)) {
    case 1:
        return reader_u8(r);
    case 2:
        return reader_u16(r);
    case 4:
        return reader_u32(r);
    case 6:
        (void)reader_prefixed(r);
        (void)reader_prefixed(r);
        return 0;
    case 5:
        (void)reader_prefixed(r);
        return 0;
    default:
        r->failed = true;
        return 0;
    }
}

static bool read_connack_properties(struct reader *r, struct wire_connack *connack) {
    struct reader properties = reader_of(reader_bytes(r, reader_varint(r)));
    while (reader_left(&properties) > 0) {
        uint8_t identifier = reader_u8(&properties);
        uint32_t value = read_property(&properties, identifier);
        if (identifier == 0x21) {
            connack->receive_maximum = (uint16_t)value;
        } else if (identifier == 0x24) {
            connack->maximum_qos = (uint8_t)value;
        } else if (identifier == 0x27) {
            connack->packet_bytes_max = value;
        }
    }
    return !properties.failed && connack->receive_maximum > 0;
}

bool wire_get_connack(struct span body, uint8_t protocol, struct wire_connack *connack) {
    struct reader r = reader_of(body);
    *connack = (struct wire_connack){.receive_maximum = 65535, .maximum_qos = 2, .packet_bytes_max = UINT32_MAX};
    uint8_t flags = reader_u8(&r);
    connack->session_present = flags == 1;
    connack->reason = reader_u8(&r);
    /* A broker that refuses the protocol version answers a 5.0 client in the form of 3.1.1. */
    if (protocol == WIRE_PROTOCOL_5 && reader_left(&r) > 0 && !read_connack_properties(&r, connack)) {
        return false;
    }
    return reader_done(&r) && flags <= 1;
}

bool wire_get_suback(struct span body, uint8_t protocol, uint16_t *packet_id, uint8_t *reason) {
    struct reader r = reader_of(body);
    *packet_id = reader_u16(&r);
    if (protocol == WIRE_PROTOCOL_5) {
        (void)reader_bytes(&r, reader_varint(&r));
    }
    *reason = reader_u8(&r);
    return reader_done(&r);
}
