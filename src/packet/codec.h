/* What the files of this folder share and nobody else needs: the state of one decode, verdicts, the packet table. */
#pragma once

#include "packet/property.h"

/* One packet while it is decoded. */
struct decoding {
    struct reader r;                    /* over the body */
    const struct packet_frame *frame;   /* borrowed */
    const struct packet_limits *limits; /* borrowed */
    struct verdict *verdict;            /* written when a rule is broken */
    enum protocol protocol;
};

/* Malformed packet (0x81): the standard says so, or the bytes cannot be parsed. Protocol error (0x82): they can, but
 * what they say is not allowed. A more specific code where section 3.14.2.1 has one. Rules without a number of their
 * own are cited by the statement that makes all of them binding. */
#define STATEMENT_MALFORMED "MQTT-4.13.1-1"
/* Our own limits: not a peer's mistake, yet the connection ends. */
#define STATEMENT_LIMIT "MQTT-4.13.2-1"

/* Writes the verdict and returns false. */
static inline bool verdict_set(struct verdict *verdict, uint8_t reason, const char *statement, const char *text) {
    *verdict = (struct verdict){reason, statement, text};
    return false;
}

static inline bool refuse(const struct decoding *d, uint8_t reason, const char *statement, const char *text) {
    return verdict_set(d->verdict, reason, statement, text);
}

enum { REMAINING_LENGTH_MAX = 268435455, PACKET_TYPES = 16 };

/* Bounds of the remaining length. */
struct packet_bounds {
    uint32_t min, max;
};

/* What the standards fix for each packet type; frame.c has the rows. */
struct packet_row {
    const char *name;
    uint8_t flags;       /* that must be set; PUBLISH has its own rules */
    uint8_t senders_311; /* enum packet_sender, or-ed; 0: the type is reserved */
    uint8_t senders_5;
    struct packet_bounds body_311;
    struct packet_bounds body_5;
    const char *statement_flags;  /* broken by other flags */
    const char *statement_format; /* broken by a body that cannot be parsed */
    const char *statement_reason; /* broken by a reason code that this packet cannot carry */
};
extern const struct packet_row packet_rows[PACKET_TYPES];

/* Malformed: the format of the packet is broken in a way that has no statement of its own. */
bool refuse_format(const struct decoding *d, const char *text);
/* True when all fields could be read and nothing is left. */
bool decode_end(const struct decoding *d);
/* 5.0: true when the remaining length was written in its shortest form [MQTT-1.5.5-1]; packet_frame() could not ask
 * while the protocol was unknown. */
bool decode_shortest_length(const struct decoding *d);
/* True when the sender may put this reason code into this packet. */
bool decode_reason_allowed(const struct decoding *d, uint8_t reason);
/* Reads a packet identifier, which is not 0; `statement` is what 0 breaks. False when it is 0 or missing. */
bool decode_packet_id(struct decoding *d, const char *statement, packet_id_t *id);

/* True when `s` is well-formed UTF-8 without U+0000; else `text` says which string was not. */
bool decode_utf8(const struct decoding *d, struct span s, const char *text);

/* What breaks when a topic name has a wildcard in it. */
struct topic_name_rule {
    uint8_t reason;
    const char *statement;
};
/* True when `name` is a topic name: well-formed, not empty, no wildcard, within the limits. */
bool decode_topic_name(const struct decoding *d, struct span name, struct topic_name_rule wildcard);
/* True when a topic filter is well-formed UTF-8, not empty and within the limits. Its syntax is checked elsewhere. */
bool decode_topic_filter(const struct decoding *d, struct span filter);

/* Reads a property length and its block. `packet` is one PACKET_BIT(). */
bool properties_decode_block(struct decoding *d, uint32_t packet, struct properties *p);

static inline bool properties_decode(struct decoding *d, uint32_t packet, struct properties *p) {
    struct reader ahead = d->r;
    properties_clear(p);
    if (reader_u8(&ahead) == 0 && !ahead.failed) {
        d->r = ahead;
        return true;
    }
    return properties_decode_block(d, packet, p);
}

/* The bytes of the property length and its block. */
size_t properties_size(const struct properties *p);
/* Appends the property length and its block. `packet` is one PACKET_BIT(). */
void properties_encode(struct buf *out, uint32_t packet, const struct properties *p);

bool connect_decode(struct decoding *d, struct packet_connect *p);
bool connack_decode(struct decoding *d, struct packet_connack *p);
bool publish_decode(struct decoding *d, struct packet_publish *p);
bool ack_decode(struct decoding *d, struct packet_ack *p);
bool subscribe_decode(struct decoding *d, struct packet_subscribe *p);
bool suback_decode(struct decoding *d, struct packet_suback *p);
bool disconnect_decode(struct decoding *d, struct packet_disconnect *p);

/* Appends the first byte and the remaining length. */
void frame_encode(struct buf *out, enum packet_type type, uint8_t flags, size_t body_bytes);
