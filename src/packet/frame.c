#include "base/must.h"
#include "packet/codec.h"

enum { CLIENT = PACKET_FROM_CLIENT, SERVER = PACKET_FROM_SERVER, BOTH = CLIENT | SERVER };
#define ANY REMAINING_LENGTH_MAX

const struct packet_row packet_rows[PACKET_TYPES] = {
#define FORMAT .statement_format = STATEMENT_MALFORMED
#define FLAGS .statement_flags = "MQTT-2.1.3-1"
    [PACKET_NONE] = {"?", 0, 0, 0, {0, 0}, {0, 0}, FLAGS, FORMAT, STATEMENT_MALFORMED},
    [PACKET_CONNECT] = {"CONNECT", 0, CLIENT, CLIENT, {10, ANY}, {10, ANY}, FLAGS, "MQTT-3.1.4-1", STATEMENT_MALFORMED},
    [PACKET_CONNACK] = {"CONNACK", 0, SERVER, SERVER, {2, 2}, {3, ANY}, FLAGS, FORMAT, "MQTT-3.2.2-8"},
    [PACKET_PUBLISH] = {"PUBLISH", 0, BOTH, BOTH, {2, ANY}, {3, ANY}, FLAGS, FORMAT, STATEMENT_MALFORMED},
    [PACKET_PUBACK] = {"PUBACK", 0, BOTH, BOTH, {2, 2}, {2, ANY}, FLAGS, FORMAT, "MQTT-3.4.2-1"},
    [PACKET_PUBREC] = {"PUBREC", 0, BOTH, BOTH, {2, 2}, {2, ANY}, FLAGS, FORMAT, "MQTT-3.5.2-1"},
    [PACKET_PUBREL] = {"PUBREL", 2, BOTH, BOTH, {2, 2}, {2, ANY}, "MQTT-3.6.1-1", FORMAT, "MQTT-3.6.2-1"},
    [PACKET_PUBCOMP] = {"PUBCOMP", 0, BOTH, BOTH, {2, 2}, {2, ANY}, FLAGS, FORMAT, "MQTT-3.7.2-1"},
    [PACKET_SUBSCRIBE] =
        {"SUBSCRIBE", 2, CLIENT, CLIENT, {2, ANY}, {3, ANY}, "MQTT-3.8.1-1", FORMAT, STATEMENT_MALFORMED},
    [PACKET_SUBACK] = {"SUBACK", 0, SERVER, SERVER, {2, ANY}, {3, ANY}, FLAGS, FORMAT, "MQTT-3.9.3-2"},
    [PACKET_UNSUBSCRIBE] =
        {"UNSUBSCRIBE", 2, CLIENT, CLIENT, {2, ANY}, {3, ANY}, "MQTT-3.10.1-1", FORMAT, STATEMENT_MALFORMED},
    [PACKET_UNSUBACK] = {"UNSUBACK", 0, SERVER, SERVER, {2, 2}, {3, ANY}, FLAGS, FORMAT, "MQTT-3.11.3-2"},
    [PACKET_PINGREQ] = {"PINGREQ", 0, CLIENT, CLIENT, {0, 0}, {0, 0}, FLAGS, FORMAT, STATEMENT_MALFORMED},
    [PACKET_PINGRESP] = {"PINGRESP", 0, SERVER, SERVER, {0, 0}, {0, 0}, FLAGS, FORMAT, STATEMENT_MALFORMED},
    [PACKET_DISCONNECT] = {"DISCONNECT", 0, CLIENT, BOTH, {0, 0}, {0, ANY}, "MQTT-3.14.1-1", FORMAT, "MQTT-3.14.2-1"},
    [PACKET_AUTH] = {"AUTH", 0, 0, BOTH, {0, 0}, {0, ANY}, "MQTT-3.15.1-1", FORMAT, "MQTT-3.15.2-1"},
#undef FORMAT
#undef FLAGS
};

const char *packet_type_name(enum packet_type type) {
    return (unsigned)type < PACKET_TYPES ? packet_rows[type].name : packet_rows[PACKET_NONE].name;
}

/* ---- finding a packet ---- */

/* Before CONNECT only CONNECT may come, before CONNACK only CONNACK and AUTH; afterwards neither of the first two. */
static bool check_order(const struct packet_frame *frame, enum protocol protocol, struct verdict *verdict) {
    bool connecting = protocol == PROTOCOL_NONE;
    if (frame->sender == PACKET_FROM_CLIENT) {
        if (connecting && frame->type != PACKET_CONNECT) {
            return verdict_set(verdict, REASON_PROTOCOL_ERROR, "MQTT-3.1.0-1", "the first packet is not CONNECT");
        }
        if (!connecting && frame->type == PACKET_CONNECT) {
            return verdict_set(verdict, REASON_PROTOCOL_ERROR, "MQTT-3.1.0-2", "CONNECT was sent a second time");
        }
        return true;
    }
    if (connecting && frame->type == PACKET_DISCONNECT) {
        return verdict_set(verdict, REASON_PROTOCOL_ERROR, "MQTT-3.14.0-1", "DISCONNECT was sent before CONNACK");
    }
    if (connecting && frame->type != PACKET_CONNACK && frame->type != PACKET_AUTH) {
        return verdict_set(verdict, REASON_PROTOCOL_ERROR, "MQTT-3.2.0-1", "the first packet is not CONNACK");
    }
    if (!connecting && frame->type == PACKET_CONNACK) {
        return verdict_set(verdict, REASON_PROTOCOL_ERROR, "MQTT-3.2.0-2", "CONNACK was sent a second time");
    }
    return true;
}

static bool check_flags(const struct packet_frame *frame, struct verdict *verdict) {
    if (frame->type != PACKET_PUBLISH) {
        const struct packet_row *row = &packet_rows[frame->type];
        return frame->flags == row->flags || verdict_set(verdict, REASON_MALFORMED_PACKET, row->statement_flags,
                                                         "reserved flags are not as required");
    }
    if ((frame->flags & 6U) == 6U) {
        return verdict_set(verdict, REASON_MALFORMED_PACKET, "MQTT-3.3.1-4", "the QoS of a PUBLISH is 3");
    }
    if ((frame->flags & 14U) == 8U) {
        return verdict_set(verdict, REASON_MALFORMED_PACKET, "MQTT-3.3.1-2", "DUP is set at QoS 0");
    }
    return true;
}

/* All that the first byte tells. */
static bool check_first_byte(const struct packet_frame *frame, enum protocol protocol, struct verdict *verdict) {
    const struct packet_row *row = &packet_rows[frame->type];
    unsigned senders = protocol == PROTOCOL_311 ? row->senders_311 : row->senders_5;
    if (senders == 0) {
        return verdict_set(verdict, REASON_MALFORMED_PACKET, STATEMENT_MALFORMED, "the packet type is reserved");
    }
    if (!check_order(frame, protocol, verdict)) {
        return false;
    }
    if ((senders & (unsigned)frame->sender) == 0) {
        return verdict_set(verdict, REASON_PROTOCOL_ERROR, STATEMENT_MALFORMED,
                           "this packet is not for this side to send");
    }
    return check_flags(frame, verdict);
}

/* All that the remaining length tells. */
static bool check_length(const struct packet_frame *frame, enum protocol protocol, const struct packet_limits *limits,
                         size_t body, struct verdict *verdict) {
    const struct packet_row *row = &packet_rows[frame->type];
    size_t min = protocol == PROTOCOL_5 ? row->body_5.min : row->body_311.min;
    size_t max = protocol == PROTOCOL_311 ? row->body_311.max : row->body_5.max;
    if (protocol == PROTOCOL_5 && frame->bytes - body != 1 + varint_size((uint32_t)body)) {
        return verdict_set(verdict, REASON_MALFORMED_PACKET, "MQTT-1.5.5-1", "the remaining length is not minimal");
    }
    if (frame->bytes > limits->packet_bytes_max) {
        return verdict_set(verdict, REASON_PACKET_TOO_LARGE,
                           frame->sender == PACKET_FROM_CLIENT ? "MQTT-3.2.2-15" : "MQTT-3.1.2-24",
                           "the packet is larger than allowed");
    }
    if (body < min) {
        return verdict_set(verdict, REASON_MALFORMED_PACKET, row->statement_format,
                           "the packet is shorter than its type can be");
    }
    if (body > max) {
        return verdict_set(verdict, REASON_MALFORMED_PACKET, row->statement_format,
                           "the packet is longer than its type can be");
    }
    return true;
}

/* Reads the remaining length. 3.1.1 asks for no more than four bytes, 5.0 also for the shortest form; before CONNECT we
 * do not know which of them holds, so only the first is asked here. */
static enum packet_status read_length(struct reader *r, size_t *length, struct verdict *verdict) {
    *length = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        if (reader_left(r) == 0) {
            return PACKET_PARTIAL;
        }
        uint8_t byte = reader_u8(r);
        *length |= (size_t)(byte & 0x7FU) << shift;
        if ((byte & 0x80U) == 0) {
            return PACKET_WHOLE;
        }
    }
    (void)verdict_set(verdict, REASON_MALFORMED_PACKET, "MQTT-1.5.5-1",
                      "the remaining length has more than four bytes");
    return PACKET_BAD;
}

enum packet_status packet_frame(struct span in, enum packet_sender sender, enum protocol protocol,
                                const struct packet_limits *limits, struct packet_frame *frame,
                                struct verdict *verdict) {
    struct reader r = reader_of(in);
    *frame = (struct packet_frame){.sender = sender};
    if (in.len == 0) {
        return PACKET_PARTIAL;
    }
    uint8_t first = reader_u8(&r);
    frame->type = (enum packet_type)(first >> 4);
    frame->flags = first & 15U;
    if (!check_first_byte(frame, protocol, verdict)) {
        return PACKET_BAD;
    }
    size_t length;
    enum packet_status status = read_length(&r, &length, verdict);
    if (status != PACKET_WHOLE) {
        return status;
    }
    frame->bytes = in.len - reader_left(&r) + length;
    if (!check_length(frame, protocol, limits, length, verdict)) {
        return PACKET_BAD;
    }
    if (reader_left(&r) < length) {
        return PACKET_PARTIAL;
    }
    frame->body = reader_bytes(&r, length);
    return PACKET_WHOLE;
}

void frame_encode(struct buf *out, enum packet_type type, uint8_t flags, size_t body_bytes) {
    must(body_bytes <= REMAINING_LENGTH_MAX);
    buf_u8(out, (uint8_t)((unsigned)type << 4 | packet_rows[type].flags | flags));
    buf_varint(out, (uint32_t)body_bytes);
}

/* ---- what all decoders share ---- */

bool refuse_format(const struct decoding *d, const char *text) {
    return refuse(d, REASON_MALFORMED_PACKET, packet_rows[d->frame->type].statement_format, text);
}

bool decode_end(const struct decoding *d) {
    if (d->r.failed) {
        return refuse_format(d, "the packet ends before its last field");
    }
    return reader_done(&d->r) || refuse_format(d, "bytes follow the last field");
}

bool decode_shortest_length(const struct decoding *d) {
    size_t header = d->frame->bytes - d->frame->body.len;
    return header == 1 + varint_size((uint32_t)d->frame->body.len) ||
           refuse(d, REASON_MALFORMED_PACKET, "MQTT-1.5.5-1", "the remaining length is not minimal");
}

bool decode_reason_allowed(const struct decoding *d, uint8_t reason) {
    return packet_reason_allowed(d->frame->type, d->frame->sender, reason) ||
           refuse(d, REASON_PROTOCOL_ERROR, packet_rows[d->frame->type].statement_reason,
                  "the reason code is none of this packet");
}

bool decode_packet_id(struct decoding *d, const char *statement, packet_id_t *id) {
    *id = reader_u16(&d->r);
    if (d->r.failed) {
        return refuse_format(d, "the packet ends before its packet identifier");
    }
    return *id != 0 || refuse(d, REASON_PROTOCOL_ERROR, statement, "the packet identifier is 0");
}

bool packet_decode(const struct packet_frame *frame, enum protocol protocol, const struct packet_limits *limits,
                   struct packet *packet, struct verdict *verdict) {
    struct decoding d = {reader_of(frame->body), frame, limits, verdict, protocol};
    must(protocol != PROTOCOL_NONE || frame->type == PACKET_CONNECT);
    packet->type = frame->type;
    switch (frame->type) {
    case PACKET_CONNECT:
        return connect_decode(&d, &packet->connect);
    case PACKET_CONNACK:
        return connack_decode(&d, &packet->connack);
    case PACKET_PUBLISH:
        return publish_decode(&d, &packet->publish);
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        return ack_decode(&d, &packet->ack);
    case PACKET_SUBSCRIBE:
    case PACKET_UNSUBSCRIBE:
        return subscribe_decode(&d, &packet->subscribe);
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        return suback_decode(&d, &packet->suback);
    case PACKET_PINGREQ:
    case PACKET_PINGRESP:
        return decode_end(&d);
    case PACKET_DISCONNECT:
    case PACKET_AUTH:
        return disconnect_decode(&d, &packet->disconnect);
    case PACKET_NONE:
        break;
    }
    return refuse(&d, REASON_MALFORMED_PACKET, STATEMENT_MALFORMED, "the packet type is reserved");
}
