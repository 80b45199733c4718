/* CONNACK (section 3.2).
 *
 *     +------------------------+-------------------------+------------------+
 *     | 0 0 0 0 0 0 0 present  | reason or return code   | properties (5.0) |
 *     +------------------------+-------------------------+------------------+
 */
#include "packet/codec.h"

enum { RETURN_CODE_MAX = 5 };

bool connack_decode(struct decoding *d, struct packet_connack *p) {
    bool v5 = d->protocol == PROTOCOL_5;
    uint8_t flags = reader_u8(&d->r);
    properties_clear(&p->properties);
    p->session_present = (flags & 1U) != 0;
    p->reason = reader_u8(&d->r);
    if (v5 && !decode_shortest_length(d)) {
        return false;
    }
    if (flags > 1) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-3.2.2-1", "reserved flags of CONNACK are set");
    }
    if (!v5 && p->reason > RETURN_CODE_MAX) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-3.2.2-8", "the return code is reserved");
    }
    if (v5 && !decode_reason_allowed(d, p->reason)) {
        return false;
    }
    if (p->session_present && p->reason != REASON_SUCCESS) {
        return refuse(d, REASON_PROTOCOL_ERROR, "MQTT-3.2.2-6", "a refusal says that a session is present");
    }
    if (v5 && !properties_decode(d, PACKET_BIT(CONNACK), &p->properties)) {
        return false;
    }
    return decode_end(d);
}

void packet_encode_connack(struct buf *out, enum protocol protocol, const struct packet_connack *p) {
    bool v5 = protocol == PROTOCOL_5;
    frame_encode(out, PACKET_CONNACK, 0, 2 + (v5 ? properties_size(&p->properties) : 0));
    buf_u8(out, p->session_present);
    buf_u8(out, p->reason);
    if (v5) {
        properties_encode(out, PACKET_BIT(CONNACK), &p->properties);
    }
}
