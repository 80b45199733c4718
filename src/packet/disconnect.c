/* DISCONNECT and AUTH (sections 3.14 and 3.15), PINGREQ and PINGRESP (3.12 and 3.13, nothing but their first byte).
 *
 *     +-------------+-----------------------------+
 *     | reason (1)  | property length, properties |    5.0; DISCONNECT: both, or the last, may be missing; AUTH: both
 *     +-------------+-----------------------------+
 */
#include "packet/codec.h"

/* Rules that concern a property and who sent it. */
static bool check_disconnect(const struct decoding *d, const struct packet_disconnect *p) {
    property_set present = p->properties.present;
    bool client = d->frame->sender == PACKET_FROM_CLIENT;
    if (!client && (present & PROPERTY_SESSION_EXPIRY_INTERVAL) != 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-3.14.2-2",
                      "a server sent a Session Expiry Interval in DISCONNECT");
    }
    if (client && (present & PROPERTY_SERVER_REFERENCE) != 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, STATEMENT_MALFORMED, "a client sent a Server Reference");
    }
    return true;
}

bool disconnect_decode(struct decoding *d, struct packet_disconnect *p) {
    bool auth = d->frame->type == PACKET_AUTH;
    p->reason = REASON_SUCCESS;
    properties_clear(&p->properties);
    if (d->protocol != PROTOCOL_5) {
        return auth ? refuse_format(d, "the packet type is reserved") : decode_end(d);
    }
    if (auth && !decode_shortest_length(d)) {
        return false;
    }
    bool short_form = reader_left(&d->r) == 0;
    if (!short_form) {
        p->reason = reader_u8(&d->r);
    }
    if (!decode_reason_allowed(d, p->reason)) {
        return false;
    }
    if (!short_form && (auth || reader_left(&d->r) > 0) &&
        !properties_decode(d, 1U << d->frame->type, &p->properties)) {
        return false;
    }
    if (!decode_end(d)) {
        return false;
    }
    if (auth && !short_form && (p->properties.present & PROPERTY_AUTHENTICATION_METHOD) == 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, STATEMENT_MALFORMED, "AUTH has no Authentication Method");
    }
    return auth || check_disconnect(d, p);
}

static bool has_properties(const struct packet_disconnect *p) {
    return p->properties.present != 0 || p->properties.user_property_count > 0;
}

void packet_encode_disconnect(struct buf *out, enum protocol protocol, const struct packet_disconnect *p) {
    if (protocol != PROTOCOL_5 || (p->reason == REASON_SUCCESS && !has_properties(p))) {
        frame_encode(out, PACKET_DISCONNECT, 0, 0);
        return;
    }
    frame_encode(out, PACKET_DISCONNECT, 0, 1 + (has_properties(p) ? properties_size(&p->properties) : 0));
    buf_u8(out, p->reason);
    if (has_properties(p)) {
        properties_encode(out, PACKET_BIT(DISCONNECT), &p->properties);
    }
}

void packet_encode_auth(struct buf *out, const struct packet_disconnect *p) {
    if (p->reason == REASON_SUCCESS && !has_properties(p)) {
        frame_encode(out, PACKET_AUTH, 0, 0);
        return;
    }
    frame_encode(out, PACKET_AUTH, 0, 1 + properties_size(&p->properties));
    buf_u8(out, p->reason);
    properties_encode(out, PACKET_BIT(AUTH), &p->properties);
}

void packet_encode_pingreq(struct buf *out) {
    frame_encode(out, PACKET_PINGREQ, 0, 0);
}

void packet_encode_pingresp(struct buf *out) {
    frame_encode(out, PACKET_PINGRESP, 0, 0);
}
