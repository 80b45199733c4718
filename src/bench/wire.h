/* The few MQTT packets that a load generator needs, written and read fast.
 *
 * It shares no code with the packet layer of the broker on purpose: a mistake there must not be mirrored here, and the
 * hot path must cost a few nanoseconds. A PUBLISH is copied from a template; only its packet identifier and its stamp
 * are set. Everything read is checked against the end of the packet; what is malformed is reported, never trusted.
 *
 *      PUBLISH   | 0x30+qos*2 | length | topic length, topic | packet id | 0 (5.0) | stamp | filler |
 *      stamp     | publisher, 4 bytes | sequence, 4 bytes | time in ns, 8 bytes |     (the sender's byte order)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

/* The protocol level in CONNECT. */
#define WIRE_PROTOCOL_311 4
#define WIRE_PROTOCOL_5 5

/* First bytes of packets with their fixed flags. */
enum wire_first {
    WIRE_CONNECT = 0x10,
    WIRE_CONNACK = 0x20,
    WIRE_PUBLISH = 0x30, /* flags vary */
    WIRE_PUBACK = 0x40,
    WIRE_PUBREC = 0x50,
    WIRE_PUBREL = 0x62,
    WIRE_PUBCOMP = 0x70,
    WIRE_SUBSCRIBE = 0x82,
    WIRE_SUBACK = 0x90,
    WIRE_PINGRESP = 0xD0,
    WIRE_DISCONNECT = 0xE0,
};

/* What each message carries in front of its filler. */
struct stamp {
    uint32_t publisher; /* number of the publisher, from 0 */
    uint32_t sequence;  /* number of the message, from 0 */
    uint64_t time_ns;   /* when it was sent, or should have been */
};

/* A message that is ready but for identifier and stamp. */
struct wire_template {
    struct buf bytes;    /* the whole packet */
    size_t packet_id_at; /* offset of the packet identifier; 0: there is none */
    size_t stamp_at;     /* offset of the stamp */
};

struct wire_connect {
    uint8_t protocol; /* WIRE_PROTOCOL_ */
    bool clean_start;
    uint32_t session_expiry_s; /* 5.0 */
    uint16_t receive_maximum;  /* 5.0 */
    const char *client_id;
};

struct wire_connack {
    bool session_present;
    uint8_t reason;            /* 0: accepted */
    uint16_t receive_maximum;  /* 65,535 when the broker names none */
    uint8_t maximum_qos;       /* 2 when the broker names none */
    uint32_t packet_bytes_max; /* UINT32_MAX when the broker names none */
};

/* One whole packet inside received bytes. */
struct wire_packet {
    uint8_t first;    /* type and flags */
    struct span body; /* after the remaining length */
    size_t bytes;     /* of the whole packet */
};

/* A received PUBLISH. */
struct wire_publish {
    uint8_t qos;
    uint16_t packet_id; /* 0 at QoS 0 */
    struct span topic;
    struct span payload;
};

enum wire_status { WIRE_WHOLE = 1, WIRE_PARTIAL, WIRE_BAD };

/* ---- writing: each appends to `out` ---- */

void wire_put_connect(struct buf *out, const struct wire_connect *c);
void wire_put_subscribe(struct buf *out, uint8_t protocol, uint16_t packet_id, const char *filter, uint8_t qos);
void wire_put_disconnect(struct buf *out);

/* PUBACK, PUBREC, PUBREL, PUBCOMP in their short form. */
static inline void wire_put_ack(struct buf *out, enum wire_first first, uint16_t packet_id) {
    uint8_t *at = buf_extend(out, 4);
    at[0] = (uint8_t)first;
    at[1] = 2;
    at[2] = (uint8_t)(packet_id >> 8);
    at[3] = (uint8_t)packet_id;
}

/* Builds a template; the caller frees its bytes. payload_bytes >= sizeof(struct stamp). */
struct wire_template wire_template_of(uint8_t protocol, const char *topic, uint8_t qos, size_t payload_bytes);

/* Appends one message from its template. */
static inline void wire_put_message(struct buf *out, const struct wire_template *t, uint16_t packet_id,
                                    const struct stamp *stamp) {
    uint8_t *at = buf_extend(out, t->bytes.len);
    memcpy(at, t->bytes.ptr, t->bytes.len);
    if (t->packet_id_at != 0) {
        at[t->packet_id_at] = (uint8_t)(packet_id >> 8);
        at[t->packet_id_at + 1] = (uint8_t)packet_id;
    }
    memcpy(at + t->stamp_at, stamp, sizeof(*stamp));
}

/* ---- reading ---- */

/* Finds the first packet in `in`. */
static inline enum wire_status wire_next(struct span in, struct wire_packet *packet) {
    size_t length = 0;
    for (size_t i = 0; i < 4; i++) {
        if (in.len < i + 2) {
            return WIRE_PARTIAL;
        }
        uint8_t byte = in.ptr[i + 1];
        length |= (size_t)(byte & 0x7FU) << (7 * i);
        if (byte < 0x80) {
            if (in.len - (i + 2) < length) {
                return WIRE_PARTIAL;
            }
            *packet = (struct wire_packet){in.ptr[0], {in.ptr + i + 2, length}, i + 2 + length};
            return WIRE_WHOLE;
        }
    }
    return WIRE_BAD;
}

/* The packet identifier of an acknowledgement, and its reason (0 where there is none); false when it is malformed. */
static inline bool wire_get_ack(struct span body, uint16_t *packet_id, uint8_t *reason) {
    if (body.len < 2) {
        return false;
    }
    *packet_id = (uint16_t)((unsigned)body.ptr[0] << 8 | body.ptr[1]);
    *reason = body.len > 2 ? body.ptr[2] : 0;
    return *packet_id != 0;
}

bool wire_get_publish(const struct wire_packet *packet, uint8_t protocol, struct wire_publish *publish);
bool wire_get_connack(struct span body, uint8_t protocol, struct wire_connack *connack);
/* The first return code of a SUBACK (0x80 and above: refused); false when it is malformed. */
bool wire_get_suback(struct span body, uint8_t protocol, uint16_t *packet_id, uint8_t *reason);
