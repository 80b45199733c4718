/* PUBLISH (section 3.3).
 *
 *     flags: DUP, QoS, QoS, RETAIN
 *     +-----------------------+---------------------+-----------------------------+---------+
 *     | topic length, topic   | packet id (QoS > 0) | property length, properties | payload |
 *     +-----------------------+---------------------+-----------------------------+---------+
 */
#include "base/must.h"
#include "packet/codec.h"

/* Rules that concern a property and something else. */
static bool check_properties(const struct decoding *d, const struct packet_publish *p) {
    property_set present = p->properties.present;
    if ((present & PROPERTY_SUBSCRIPTION_IDENTIFIER) != 0 && d->frame->sender == PACKET_FROM_CLIENT) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-3.3.4-6", "a client sent a Subscription Identifier in a PUBLISH");
    }
    return true;
}

bool publish_decode(struct decoding *d, struct packet_publish *p) {
    static const struct topic_name_rule wildcard = {REASON_TOPIC_NAME_INVALID, "MQTT-3.3.2-2"};
    uint8_t flags = d->frame->flags;
    p->dup = (flags & 8U) != 0;
    p->qos = flags >> 1 & 3U;
    p->retain = (flags & 1U) != 0;
    p->packet_id = 0;
    properties_clear(&p->properties);
    p->topic = reader_prefixed(&d->r);
    if (d->r.failed) {
        return refuse_format(d, "the packet ends before its topic name does");
    }
    if (p->qos > 0 &&
        !decode_packet_id(d, d->frame->sender == PACKET_FROM_CLIENT ? "MQTT-2.2.1-3" : "MQTT-2.2.1-4", &p->packet_id)) {
        return false;
    }
    if (d->protocol == PROTOCOL_5 &&
        !(properties_decode(d, PACKET_BIT(PUBLISH), &p->properties) && check_properties(d, p))) {
        return false;
    }
    bool aliased = p->topic.len == 0 && (p->properties.present & PROPERTY_TOPIC_ALIAS) != 0;
    if (!aliased && !decode_topic_name(d, p->topic, wildcard)) {
        return false;
    }
    p->payload = reader_rest(&d->r);
    return true;
}

/* ---- encode ---- */

static uint8_t *put_u16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *put_span(uint8_t *at, struct span s) {
    if (s.len > 0) {
        memcpy(at, s.ptr, s.len);
    }
    return at + s.len;
}

static uint8_t *put_varint(uint8_t *at, size_t value) {
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80U);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

/* Bytes of the parts of a PUBLISH that is about to be written. */
struct publish_sizes {
    size_t properties; /* without their length */
    size_t head;       /* of the body, all before the payload */
    size_t body;
};

static struct publish_sizes head_sizes(enum protocol protocol, const struct packet_publish_head *p) {
    struct publish_sizes sizes = {0, 0, 0};
    sizes.head = 2 + p->topic.len + (p->qos > 0 ? 2U : 0U);
    if (protocol == PROTOCOL_5) {
        sizes.properties = p->forwarded.len + p->subscription_identifiers.len + (p->has_message_expiry ? 5U : 0U) +
                           (p->topic_alias != 0 ? 3U : 0U);
        sizes.head += varint_size((uint32_t)sizes.properties) + sizes.properties;
    }
    sizes.body = sizes.head + p->payload_bytes;
    return sizes;
}

static uint8_t *put_properties(uint8_t *at, const struct packet_publish_head *p, size_t bytes) {
    at = put_varint(at, bytes);
    if (p->has_message_expiry) {
        *at++ = property_rows[PROPERTY_INDEX_MESSAGE_EXPIRY_INTERVAL].id;
        at = put_u16(at, (uint16_t)(p->message_expiry_interval_s >> 16));
        at = put_u16(at, (uint16_t)p->message_expiry_interval_s);
    }
    if (p->topic_alias != 0) {
        *at++ = property_rows[PROPERTY_INDEX_TOPIC_ALIAS].id;
        at = put_u16(at, p->topic_alias);
    }
    at = put_span(at, p->subscription_identifiers);
    return put_span(at, p->forwarded);
}

void packet_encode_publish_head(struct buf *out, enum protocol protocol, const struct packet_publish_head *p) {
    struct publish_sizes sizes = head_sizes(protocol, p);
    must(p->qos <= 2 && (p->qos > 0) == (p->packet_id != 0));
    must(p->topic.len <= UINT16_MAX && sizes.body <= REMAINING_LENGTH_MAX);
    uint8_t *at = buf_extend(out, 1 + varint_size((uint32_t)sizes.body) + sizes.head);
    *at++ = (uint8_t)(PACKET_PUBLISH << 4 | (p->dup ? 8 : 0) | p->qos << 1 | (p->retain ? 1 : 0));
    at = put_varint(at, sizes.body);
    at = put_u16(at, (uint16_t)p->topic.len);
    at = put_span(at, p->topic);
    if (p->qos > 0) {
        at = put_u16(at, p->packet_id);
    }
    if (protocol == PROTOCOL_5) {
        at = put_properties(at, p, sizes.properties);
    }
    must(at == out->ptr + out->len);
}

size_t packet_publish_size(enum protocol protocol, const struct packet_publish_head *p) {
    struct publish_sizes sizes = head_sizes(protocol, p);
    return 1 + varint_size((uint32_t)sizes.body) + sizes.body;
}

void packet_encode_publish(struct buf *out, enum protocol protocol, const struct packet_publish *p) {
    bool v5 = protocol == PROTOCOL_5;
    must(p->qos <= 2 && (p->qos > 0) == (p->packet_id != 0) && p->topic.len <= UINT16_MAX);
    size_t body =
        2 + p->topic.len + (p->qos > 0 ? 2U : 0U) + (v5 ? properties_size(&p->properties) : 0) + p->payload.len;
    frame_encode(out, PACKET_PUBLISH, (uint8_t)((p->dup ? 8 : 0) | p->qos << 1 | (p->retain ? 1 : 0)), body);
    buf_prefixed(out, p->topic);
    if (p->qos > 0) {
        buf_u16(out, p->packet_id);
    }
    if (v5) {
        properties_encode(out, PACKET_BIT(PUBLISH), &p->properties);
    }
    buf_bytes(out, p->payload);
}
