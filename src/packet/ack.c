/* PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7).
 *
 *     +-----------------+-------------+-----------------------------+
 *     | packet id (2)   | reason (1)  | property length, properties |    5.0; the last two, or the last, may be missing
 *     +-----------------+-------------+-----------------------------+
 */
#include "base/must.h"
#include "packet/codec.h"

bool ack_decode(struct decoding *d, struct packet_ack *p) {
    p->reason = REASON_SUCCESS;
    properties_clear(&p->properties);
    if (!decode_packet_id(d, "MQTT-2.2.1-5", &p->packet_id)) {
        return false;
    }
    if (reader_left(&d->r) == 0) { /* always so in 3.1.1: its bounds allow no more */
        return true;
    }
    p->reason = reader_u8(&d->r);
    if (!decode_reason_allowed(d, p->reason)) {
        return false;
    }
    if (reader_left(&d->r) > 0 && !properties_decode(d, 1U << d->frame->type, &p->properties)) {
        return false;
    }
    return decode_end(d);
}

void packet_encode_ack(struct buf *out, enum protocol protocol, enum packet_type type, const struct packet_ack *p) {
    const struct properties *properties = &p->properties;
    must(p->packet_id != 0);
    bool bare = protocol != PROTOCOL_5 || (properties->present == 0 && properties->user_property_count == 0);
    bool reason = protocol == PROTOCOL_5 && (p->reason != REASON_SUCCESS || !bare);
    if (bare) {
        uint8_t *at = buf_extend(out, 4);
        at[0] = (uint8_t)((unsigned)type << 4 | packet_rows[type].flags);
        at[1] = reason ? 3 : 2;
        at[2] = (uint8_t)(p->packet_id >> 8);
        at[3] = (uint8_t)p->packet_id;
        if (reason) {
            buf_u8(out, p->reason);
        }
        return;
    }
    frame_encode(out, type, 0, 3 + properties_size(properties));
    buf_u16(out, p->packet_id);
    buf_u8(out, p->reason);
    properties_encode(out, 1U << type, properties);
}
