/* CONNECT (section 3.1).
 *
 *     +-----------------+-------+-------+----------------+------------------+
 *     | 0 4 M Q T T     | level | flags | keep alive (2) | properties (5.0) |
 *     +-----------------+-------+-------+----------------+------------------+
 *     | client id | will properties (5.0), will topic, will payload | user name | password |
 *     +-----------+--------------------------------------------------+-----------+----------+
 *
 *     flags: user name, password, will retain, will QoS (2), will, clean start, reserved
 */
#include "base/must.h"
#include "packet/codec.h"

enum connect_flag {
    FLAG_RESERVED = 0x01,
    FLAG_CLEAN_START = 0x02,
    FLAG_WILL = 0x04,
    FLAG_WILL_QOS = 0x18,
    FLAG_WILL_RETAIN = 0x20,
    FLAG_PASSWORD = 0x40,
    FLAG_USERNAME = 0x80,
};
enum { WILL_QOS_SHIFT = 3, LEVEL_31 = 3, LEVEL_BRIDGE = 0x80 };

/* Which protocol the refusal of a version should speak, so that the client understands it. 3.1 and 3.1.1 share the
 * layout of CONNACK, and 3.1.1 demands return code 1 [MQTT-3.1.2-2 of 3.1.1]. A version above 5 will know the CONNACK
 * of 5.0. Some brokers set the top bit of the level when they connect as a bridge, and try again without it when they
 * are refused in 3.1.1's way. */
static enum protocol protocol_of_refusal(bool mqtt, bool mqisdp, uint8_t level) {
    if (mqtt) {
        return level > PROTOCOL_5 && level < LEVEL_BRIDGE ? PROTOCOL_5 : PROTOCOL_311;
    }
    return mqisdp && (level & ~LEVEL_BRIDGE) == LEVEL_31 ? PROTOCOL_311 : PROTOCOL_NONE;
}

static bool protocol_decode(struct decoding *d, struct packet_connect *p) {
    struct span name = reader_prefixed(&d->r);
    uint8_t level = reader_u8(&d->r);
    p->protocol = PROTOCOL_NONE;
    if (d->r.failed) {
        return refuse_format(d, "the packet ends before the protocol version");
    }
    bool mqtt = span_equal(name, SPAN("MQTT"));
    if (mqtt && (level == PROTOCOL_311 || level == PROTOCOL_5)) {
        p->protocol = level;
        d->protocol = (enum protocol)level;
        return true;
    }
    p->protocol = (uint8_t)protocol_of_refusal(mqtt, span_equal(name, SPAN("MQIsdp")), level);
    return refuse(d, REASON_UNSUPPORTED_PROTOCOL_VERSION, mqtt ? "MQTT-3.1.2-2" : "MQTT-3.1.2-1",
                  mqtt ? "the protocol version is neither 3.1.1 nor 5.0" : "the protocol name is not MQTT");
}

static bool flags_decode(struct decoding *d, struct packet_connect *p) {
    unsigned flags = reader_u8(&d->r);
    p->clean_start = (flags & FLAG_CLEAN_START) != 0;
    p->has_will = (flags & FLAG_WILL) != 0;
    p->has_username = (flags & FLAG_USERNAME) != 0;
    p->has_password = (flags & FLAG_PASSWORD) != 0;
    p->will.qos = (uint8_t)((flags & FLAG_WILL_QOS) >> WILL_QOS_SHIFT);
    p->will.retain = (flags & FLAG_WILL_RETAIN) != 0;
    if ((flags & FLAG_RESERVED) != 0) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-3", "the reserved flag of CONNECT is set");
    }
    if (!p->has_will && p->will.qos != 0) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-11", "there is a will QoS, but no will");
    }
    if (p->will.qos == 3) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-12", "the will QoS is 3");
    }
    if (!p->has_will && p->will.retain) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-13", "there is a will retain flag, but no will");
    }
    if (d->protocol == PROTOCOL_311 && p->has_password && !p->has_username) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-22 (3.1.1)", "there is a password, but no user name");
    }
    return true;
}

static bool will_decode(struct decoding *d, struct packet_will *will) {
    static const struct topic_name_rule wildcard = {REASON_TOPIC_NAME_INVALID, "MQTT-4.7.0-1"};
    properties_clear(&will->properties);
    if (d->protocol == PROTOCOL_5 && !properties_decode(d, PACKET_BIT_WILL, &will->properties)) {
        return false;
    }
    will->topic = reader_prefixed(&d->r);
    will->payload = reader_prefixed(&d->r);
    if (d->r.failed) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-9", "the packet ends before its will does");
    }
    return decode_topic_name(d, will->topic, wildcard);
}

static bool credentials_decode(struct decoding *d, struct packet_connect *p) {
    p->username = p->password = (struct span){NULL, 0};
    if (p->has_username) {
        p->username = reader_prefixed(&d->r);
        if (d->r.failed) {
            return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-17", "the packet ends before its user name does");
        }
        if (!decode_utf8(d, p->username, "the user name is not well-formed UTF-8")) {
            return false;
        }
    }
    if (p->has_password) {
        p->password = reader_prefixed(&d->r);
        if (d->r.failed) {
            return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.2-19", "the packet ends before its password does");
        }
    }
    return true;
}

static bool payload_decode(struct decoding *d, struct packet_connect *p) {
    p->client_id = reader_prefixed(&d->r);
    if (d->r.failed) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.1.3-3", "the packet ends before its client identifier does");
    }
    return decode_utf8(d, p->client_id, "the client identifier is not well-formed UTF-8") &&
           (!p->has_will || will_decode(d, &p->will)) && credentials_decode(d, p) && decode_end(d);
}

bool connect_decode(struct decoding *d, struct packet_connect *p) {
    properties_clear(&p->properties);
    if (!protocol_decode(d, p)) {
        return false;
    }
    if (d->protocol == PROTOCOL_5 && !decode_shortest_length(d)) {
        return false;
    }
    if (!flags_decode(d, p)) {
        return false;
    }
    p->keep_alive_s = reader_u16(&d->r);
    if (d->protocol == PROTOCOL_5 && !properties_decode(d, PACKET_BIT(CONNECT), &p->properties)) {
        return false;
    }
    property_set authentication = PROPERTY_AUTHENTICATION_METHOD | PROPERTY_AUTHENTICATION_DATA;
    if ((p->properties.present & authentication) == PROPERTY_AUTHENTICATION_DATA) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-3.1.4-1", "there is Authentication Data, but no method");
    }
    if (!payload_decode(d, p)) {
        return false;
    }
    if (d->protocol == PROTOCOL_311 && p->client_id.len == 0 && !p->clean_start) {
        return refuse(d, REASON_CLIENT_IDENTIFIER_NOT_VALID, "MQTT-3.1.3-8 (3.1.1)",
                      "an empty client identifier needs a clean session");
    }
    return true;
}

static unsigned flags_of(const struct packet_connect *p) {
    return (p->clean_start ? FLAG_CLEAN_START : 0U) | (p->has_username ? FLAG_USERNAME : 0U) |
           (p->has_password ? FLAG_PASSWORD : 0U) | (p->has_will ? FLAG_WILL : 0U) |
           (p->has_will ? (unsigned)p->will.qos << WILL_QOS_SHIFT : 0U) |
           (p->has_will && p->will.retain ? FLAG_WILL_RETAIN : 0U);
}

static size_t body_size(const struct packet_connect *p) {
    bool v5 = p->protocol == PROTOCOL_5;
    return 10 + (v5 ? properties_size(&p->properties) : 0) + 2 + p->client_id.len +
           (p->has_will ? 4 + p->will.topic.len + p->will.payload.len : 0) +
           (v5 && p->has_will ? properties_size(&p->will.properties) : 0) +
           (p->has_username ? 2 + p->username.len : 0) + (p->has_password ? 2 + p->password.len : 0);
}

void packet_encode_connect(struct buf *out, const struct packet_connect *p) {
    bool v5 = p->protocol == PROTOCOL_5;
    must(v5 || p->protocol == PROTOCOL_311);
    must(p->client_id.len <= UINT16_MAX && (!p->has_username || p->username.len <= UINT16_MAX) &&
         (!p->has_password || p->password.len <= UINT16_MAX));
    must(!p->has_will || (p->will.qos <= 2 && p->will.topic.len <= UINT16_MAX && p->will.payload.len <= UINT16_MAX));
    frame_encode(out, PACKET_CONNECT, 0, body_size(p));
    buf_prefixed(out, SPAN("MQTT"));
    buf_u8(out, p->protocol);
    buf_u8(out, (uint8_t)flags_of(p));
    buf_u16(out, p->keep_alive_s);
    if (v5) {
        properties_encode(out, PACKET_BIT(CONNECT), &p->properties);
    }
    buf_prefixed(out, p->client_id);
    if (p->has_will && v5) {
        properties_encode(out, PACKET_BIT_WILL, &p->will.properties);
    }
    if (p->has_will) {
        buf_prefixed(out, p->will.topic);
        buf_prefixed(out, p->will.payload);
    }
    if (p->has_username) {
        buf_prefixed(out, p->username);
    }
    if (p->has_password) {
        buf_prefixed(out, p->password);
    }
}
