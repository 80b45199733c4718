/* SUBACK and UNSUBACK (sections 3.9 and 3.11).
 *
 *     +---------------+------------------+----------------------------------+
 *     | packet id (2) | properties (5.0) | one reason code for each filter  |    3.1.1's UNSUBACK has no codes
 *     +---------------+------------------+----------------------------------+
 */
#include "base/must.h"
#include "packet/codec.h"

static bool code_allowed(const struct decoding *d, uint8_t code) {
    if (d->protocol == PROTOCOL_5) {
        return decode_reason_allowed(d, code);
    }
    return code <= 2 || code == REASON_UNSPECIFIED_ERROR ||
           refuse(d, REASON_PROTOCOL_ERROR, "MQTT-3.9.3-2", "the return code is reserved");
}

bool suback_decode(struct decoding *d, struct packet_suback *p) {
    bool subscribe = d->frame->type == PACKET_SUBACK;
    properties_clear(&p->properties);
    if (!decode_packet_id(d, "MQTT-2.2.1-6", &p->packet_id)) {
        return false;
    }
    if (d->protocol == PROTOCOL_5 && !properties_decode(d, 1U << d->frame->type, &p->properties)) {
        return false;
    }
    p->reasons = reader_rest(&d->r);
    if (!subscribe && d->protocol == PROTOCOL_311) {
        return p->reasons.len == 0 || refuse_format(d, "bytes follow the last field");
    }
    if (p->reasons.len == 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, subscribe ? "MQTT-3.8.4-6" : "MQTT-3.11.3-2",
                      "there is no reason code");
    }
    for (size_t i = 0; i < p->reasons.len; i++) {
        if (!code_allowed(d, p->reasons.ptr[i])) {
            return false;
        }
    }
    return true;
}

static void encode(struct buf *out, enum protocol protocol, enum packet_type type, const struct packet_suback *p) {
    bool v5 = protocol == PROTOCOL_5;
    bool reasons = v5 || type == PACKET_SUBACK;
    must(p->packet_id != 0);
    frame_encode(out, type, 0, 2 + (v5 ? properties_size(&p->properties) : 0) + (reasons ? p->reasons.len : 0));
    buf_u16(out, p->packet_id);
    if (v5) {
        properties_encode(out, 1U << type, &p->properties);
    }
    if (reasons) {
        buf_bytes(out, p->reasons);
    }
}

void packet_encode_suback(struct buf *out, enum protocol protocol, const struct packet_suback *p) {
    encode(out, protocol, PACKET_SUBACK, p);
}

void packet_encode_unsuback(struct buf *out, enum protocol protocol, const struct packet_suback *p) {
    encode(out, protocol, PACKET_UNSUBACK, p);
}
