/* SUBSCRIBE and UNSUBSCRIBE (sections 3.8 and 3.10).
 *
 *     +---------------+------------------+---------------------------+------------------------+
 *     | packet id (2) | properties (5.0) | filter length, filter     | options (SUBSCRIBE)    |   the last two at least
 * once
 *     +---------------+------------------+---------------------------+------------------------+
 *
 *     options: reserved (2), retain handling (2), retain as published, no local, QoS (2); 3.1.1 has the QoS alone
 */
#include "base/must.h"
#include "packet/codec.h"

enum subscription_option {
    OPTION_QOS = 0x03,
    OPTION_NO_LOCAL = 0x04,
    OPTION_RETAIN_AS_PUBLISHED = 0x08,
    OPTION_RETAIN_HANDLING = 0x30,
    OPTION_RESERVED = 0xC0,
};
enum { RETAIN_HANDLING_SHIFT = 4 };

static bool is_shared(struct span filter) {
    struct span prefix = SPAN("$share/");
    return filter.len >= prefix.len && memcmp(filter.ptr, prefix.ptr, prefix.len) == 0;
}

static bool check_options(const struct decoding *d, struct span filter, unsigned options) {
    if (d->protocol == PROTOCOL_311) {
        return options <= 2 ||
               refuse(d, REASON_MALFORMED_PACKET, "MQTT-3-8.3-4 (3.1.1)", "a requested QoS is not 0, 1 or 2");
    }
    if ((options & OPTION_RESERVED) != 0) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.8.3-5", "reserved subscription options are set");
    }
    if ((options & OPTION_QOS) == 3) {
        return refuse(d, REASON_PROTOCOL_ERROR, STATEMENT_MALFORMED, "the maximum QoS of a subscription is 3");
    }
    if ((options & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING) {
        return refuse(d, REASON_PROTOCOL_ERROR, STATEMENT_MALFORMED, "the retain handling of a subscription is 3");
    }
    if ((options & OPTION_NO_LOCAL) != 0 && is_shared(filter)) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-3.8.3-4", "no local is set on a shared subscription");
    }
    return true;
}

static bool filter_check(struct decoding *d, bool subscribe) {
    struct span filter = reader_prefixed(&d->r);
    unsigned options = subscribe ? reader_u8(&d->r) : 0;
    if (d->r.failed) {
        return refuse_format(d, "the packet ends before its last topic filter does");
    }
    return decode_topic_filter(d, filter) && (!subscribe || check_options(d, filter, options));
}

bool subscribe_decode(struct decoding *d, struct packet_subscribe *p) {
    bool subscribe = d->frame->type == PACKET_SUBSCRIBE;
    properties_clear(&p->properties);
    if (!decode_packet_id(d, "MQTT-2.2.1-3", &p->packet_id)) {
        return false;
    }
    if (d->protocol == PROTOCOL_5 && !properties_decode(d, 1U << d->frame->type, &p->properties)) {
        return false;
    }
    struct reader filters = d->r;
    p->filters = reader_rest(&filters);
    p->count = 0;
    if (p->filters.len == 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, subscribe ? "MQTT-3.8.3-2" : "MQTT-3.10.3-2",
                      "there is no topic filter");
    }
    while (reader_left(&d->r) > 0) {
        if (p->count >= d->limits->subscriptions_max) {
            return refuse(d, REASON_QUOTA_EXCEEDED, STATEMENT_LIMIT, "there are more topic filters than allowed here");
        }
        if (!filter_check(d, subscribe)) {
            return false;
        }
        p->count++;
    }
    return true;
}

bool packet_filter_next(struct reader *r, enum protocol protocol, bool subscribe, struct packet_filter *filter) {
    if (reader_left(r) == 0) {
        return false;
    }
    *filter = (struct packet_filter){.filter = reader_prefixed(r)};
    unsigned options = subscribe ? reader_u8(r) : 0;
    filter->qos = options & OPTION_QOS;
    if (protocol == PROTOCOL_5) {
        filter->no_local = (options & OPTION_NO_LOCAL) != 0;
        filter->retain_as_published = (options & OPTION_RETAIN_AS_PUBLISHED) != 0;
        filter->retain_handling = (uint8_t)((options & OPTION_RETAIN_HANDLING) >> RETAIN_HANDLING_SHIFT);
    }
    return !r->failed;
}

static unsigned options_of(enum protocol protocol, const struct packet_filter *f) {
    must(f->qos <= 2 && f->retain_handling <= 2);
    return protocol != PROTOCOL_5 ? f->qos
                                  : f->qos | (f->no_local ? OPTION_NO_LOCAL : 0U) |
                                        (f->retain_as_published ? OPTION_RETAIN_AS_PUBLISHED : 0U) |
                                        (unsigned)f->retain_handling << RETAIN_HANDLING_SHIFT;
}

static void encode(struct buf *out, enum protocol protocol, enum packet_type type, packet_id_t packet_id,
                   const struct properties *properties, const struct packet_filter *filters, size_t count) {
    bool subscribe = type == PACKET_SUBSCRIBE;
    size_t body = 2 + (protocol == PROTOCOL_5 ? properties_size(properties) : 0);
    must(packet_id != 0 && count > 0);
    for (size_t i = 0; i < count; i++) {
        must(filters[i].filter.len <= UINT16_MAX);
        body += 2 + filters[i].filter.len + subscribe;
    }
    frame_encode(out, type, 0, body);
    buf_u16(out, packet_id);
    if (protocol == PROTOCOL_5) {
        properties_encode(out, 1U << type, properties);
    }
    for (size_t i = 0; i < count; i++) {
        buf_prefixed(out, filters[i].filter);
        if (subscribe) {
            buf_u8(out, (uint8_t)options_of(protocol, &filters[i]));
        }
    }
}

void packet_encode_subscribe(struct buf *out, enum protocol protocol, packet_id_t packet_id,
                             const struct properties *properties, const struct packet_filter *filters, size_t count) {
    encode(out, protocol, PACKET_SUBSCRIBE, packet_id, properties, filters, count);
}

void packet_encode_unsubscribe(struct buf *out, enum protocol protocol, packet_id_t packet_id,
                               const struct properties *properties, const struct packet_filter *filters, size_t count) {
    encode(out, protocol, PACKET_UNSUBSCRIBE, packet_id, properties, filters, count);
}
