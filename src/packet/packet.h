/* MQTT control packets of 3.1.1 and 5.0 as values: decode and encode.
 *
 * Knows: the bytes on the wire, every length, flag, property and UTF-8 rule of a single packet (chapters 2 and 3 of
 * both standards). Does not know: sessions, order of packets, topics that match, time, memory. A decoded packet borrows
 * from the bytes that it was decoded from: nothing is copied or allocated, and limits are checked before anything else.
 * What a peer did wrong is a verdict, never an assertion. Thread: any; no state.
 *
 *      byte 0        byte 1..4            the rest
 *     +------+------+-------------------+----------------------------------------+
 *     | type | flags| remaining length  | variable header (properties) | payload |
 *     +------+------+-------------------+----------------------------------------+
 */
#pragma once

#include "base/buf.h"
#include "base/reader.h"
#include "base/span.h"
#include "base/types.h"
#include "packet/reason.h"

enum packet_type {
    PACKET_NONE = 0,
    PACKET_CONNECT = 1,
    PACKET_CONNACK = 2,
    PACKET_PUBLISH = 3,
    PACKET_PUBACK = 4,
    PACKET_PUBREC = 5,
    PACKET_PUBREL = 6,
    PACKET_PUBCOMP = 7,
    PACKET_SUBSCRIBE = 8,
    PACKET_SUBACK = 9,
    PACKET_UNSUBSCRIBE = 10,
    PACKET_UNSUBACK = 11,
    PACKET_PINGREQ = 12,
    PACKET_PINGRESP = 13,
    PACKET_DISCONNECT = 14,
    PACKET_AUTH = 15,
};

/* The protocol level of CONNECT. */
enum protocol {
    PROTOCOL_NONE = 0, /* before CONNECT */
    PROTOCOL_311 = 4,
    PROTOCOL_5 = 5,
};

/* Who sent the bytes: a server never accepts CONNACK, a client never CONNECT. */
enum packet_sender { PACKET_FROM_CLIENT = 1, PACKET_FROM_SERVER = 2 };

/* What a peer did wrong. */
struct verdict {
    uint8_t reason;        /* enum reason, >= 0x80 */
    const char *statement; /* the id of the statement that was broken, such as "MQTT-3.3.1-4"; never NULL */
    const char *text;      /* a short sentence for the log and the reason string; static */
};

/* Bounds on what is accepted. */
struct packet_limits {
    uint32_t packet_bytes_max;    /* whole packet, fixed header included; at most 268,435,460 */
    uint16_t topic_bytes_max;     /* of a topic name or filter */
    uint16_t topic_levels_max;    /* of a topic name or filter */
    uint16_t user_properties_max; /* in one packet (a will's own are counted apart) */
    uint32_t subscriptions_max;   /* filters in one SUBSCRIBE or UNSUBSCRIBE */
};

/* ---- properties ---- */

/* One bit for each property of 5.0, in the order of the rows of property.h; set when the property is there. */
typedef uint32_t property_set;

/* All properties of one packet, flat. A field means something only when its bit is in `present`. */
struct properties {
    property_set present;
    struct span raw; /* the whole block without its length, as received; user properties are read from here */
    uint16_t user_property_count;
    uint16_t subscription_identifier_count; /* more than one is possible in a PUBLISH from a server */

    uint8_t payload_format_indicator;   /* 0 or 1 */
    uint32_t message_expiry_interval_s; /* seconds */
    struct span content_type;
    struct span response_topic;
    struct span correlation_data;
    uint32_t subscription_identifier; /* the first; 1 to 268,435,455 */
    uint32_t session_expiry_interval_s;
    struct span assigned_client_identifier;
    uint16_t server_keep_alive_s;
    struct span authentication_method;
    struct span authentication_data;
    uint8_t request_problem_information;
    uint32_t will_delay_interval_s;
    uint8_t request_response_information;
    struct span response_information;
    struct span server_reference;
    struct span reason_string;
    uint16_t receive_maximum; /* not 0 */
    uint16_t topic_alias_maximum;
    uint16_t topic_alias; /* not 0 */
    uint8_t maximum_qos;
    uint8_t retain_available;
    uint32_t maximum_packet_size; /* bytes, not 0 */
    uint8_t wildcard_subscription_available;
    uint8_t subscription_identifier_available;
    uint8_t shared_subscription_available;
};

/* ---- packets ---- */

struct packet_will {
    struct span topic;
    struct span payload;
    uint8_t qos;
    bool retain;
    struct properties properties;
};

struct packet_connect {
    uint8_t protocol; /* enum protocol */
    bool clean_start; /* 3.1.1: clean session */
    bool has_will;
    bool has_username;
    bool has_password;
    uint16_t keep_alive_s; /* 0: none */
    struct span client_id; /* may be empty */
    struct packet_will will;
    struct span username;
    struct span password;
    struct properties properties;
};

struct packet_connack {
    bool session_present;
    uint8_t reason; /* 3.1.1: the return code 0 to 5 */
    struct properties properties;
};

struct packet_publish {
    bool dup; /* tells nothing about whether the message is new [MQTT-3.3.1-1..3]; R1 */
    uint8_t qos;
    bool retain;
    packet_id_t packet_id; /* 0 at QoS 0 */
    struct span topic;     /* empty when a topic alias stands for it */
    struct properties properties;
    struct span payload;
};

/* PUBACK, PUBREC, PUBREL and PUBCOMP. */
struct packet_ack {
    packet_id_t packet_id;
    uint8_t reason; /* 3.1.1: always 0 */
    struct properties properties;
};

/* SUBSCRIBE and UNSUBSCRIBE; the entries are walked with packet_filter_next(). */
struct packet_subscribe {
    packet_id_t packet_id;
    struct properties properties;
    struct span filters; /* checked as a whole already */
    uint32_t count;      /* at least 1 */
};

struct packet_filter {
    struct span filter;
    uint8_t qos;              /* maximum QoS; SUBSCRIBE only, as are the rest */
    bool no_local;            /* 5.0 */
    bool retain_as_published; /* 5.0 */
    uint8_t retain_handling;  /* 5.0: 0 send, 1 send if new, 2 do not send */
};

/* SUBACK and UNSUBACK. 3.1.1's UNSUBACK has no codes. */
struct packet_suback {
    packet_id_t packet_id;
    struct properties properties;
    struct span reasons; /* one byte for each filter */
};

/* DISCONNECT and AUTH. */
struct packet_disconnect {
    uint8_t reason;
    struct properties properties;
};

struct packet {
    enum packet_type type;
    union {
        struct packet_connect connect;
        struct packet_connack connack;
        struct packet_publish publish;
        struct packet_ack ack;
        struct packet_subscribe subscribe;   /* also UNSUBSCRIBE */
        struct packet_suback suback;         /* also UNSUBACK */
        struct packet_disconnect disconnect; /* also AUTH */
    };
};

/* ---- decode ---- */

enum packet_status {
    PACKET_WHOLE = 1, /* one packet was taken */
    PACKET_PARTIAL,   /* all well so far, more bytes are needed */
    PACKET_BAD,       /* the verdict says what is wrong; the connection cannot go on */
};

/* Where one packet lies in the received bytes. */
struct packet_frame {
    enum packet_type type;
    enum packet_sender sender;
    uint8_t flags;    /* the low four bits of the first byte */
    struct span body; /* what follows the remaining length */
    size_t bytes;     /* of the whole packet; known (for reserving) also when PACKET_PARTIAL, else 0 */
};

/* Finds the first packet in `in`. Checks type, sender, flags and size as soon as those bytes are there, so that a peer
 * that announces too much is refused before anything is kept for it. `protocol` PROTOCOL_NONE accepts CONNECT only
 * (from a client) or CONNACK and AUTH only (from a server) [MQTT-3.1.0-1]; any other refuses a second CONNECT and a
 * second CONNACK [MQTT-3.1.0-2, 3.2.0-2]. So a client passes PROTOCOL_NONE here, and the protocol that it asked for to
 * packet_decode(), until it has its CONNACK. */
enum packet_status packet_frame(struct span in, enum packet_sender sender, enum protocol protocol,
                                const struct packet_limits *limits, struct packet_frame *frame,
                                struct verdict *verdict);

/* Decodes a whole packet; false with a verdict when it breaks a rule. Views point into the frame. For CONNECT the
 * protocol is read from the packet; `protocol` is then ignored. The verdict of a CONNECT says which protocol its
 * answer must speak through packet->connect.protocol (PROTOCOL_NONE: answer nothing, close). Of a version that is not
 * ours (verdict 0x84): a name that is not MQTT's gives PROTOCOL_NONE; "MQTT" above 5 gives PROTOCOL_5, all others, 3.1
 * too, PROTOCOL_311 with return code 1. Only the fields of packets for which it returns true may be read, besides
 * connect.protocol. */
bool packet_decode(const struct packet_frame *frame, enum protocol protocol, const struct packet_limits *limits,
                   struct packet *packet, struct verdict *verdict);

/* Walks the filters of a decoded SUBSCRIBE (or UNSUBSCRIBE: `subscribe` false). Start with r = reader_of(filters).
 * False at the end. */
bool packet_filter_next(struct reader *r, enum protocol protocol, bool subscribe, struct packet_filter *filter);

/* Walks the user properties of a decoded block: start with r = reader_of(properties->raw). False at the end. */
bool packet_user_property_next(struct reader *r, struct span *name, struct span *value);

/* Walks all subscription identifiers of a decoded PUBLISH in the same way. */
bool packet_subscription_identifier_next(struct reader *r, uint32_t *identifier);

/* Appends those properties of a PUBLISH (or will) that travel with the message to its receivers, as they were received
 * and in their order: payload format, content type, response topic, correlation data, user properties
 * [MQTT-3.3.2-4, -15, -16, -17, -18, -20]. Expiry, alias and subscription identifiers do not. */
void packet_properties_forward(struct buf *out, const struct properties *properties);

/* ---- encode: each appends one whole packet to `out` ---- */

/* Properties are written from `present` and the fields. Those that may stand there several times are taken from `raw`,
 * as they are there and in their order: user properties when user_property_count > 0, subscription identifiers when
 * subscription_identifier_count > 1; `raw` may be what was decoded, or a block of encoded user properties alone. All
 * are ignored for 3.1.1. What is to be written is ours and must be right: strings of at most 65,535 bytes, packet
 * identifiers that are not 0, properties where they may stand. */
void packet_encode_connect(struct buf *out, const struct packet_connect *p);
void packet_encode_connack(struct buf *out, enum protocol protocol, const struct packet_connack *p);
void packet_encode_publish(struct buf *out, enum protocol protocol, const struct packet_publish *p);
/* `type` is PUBACK, PUBREC, PUBREL or PUBCOMP; the short form is written when reason is 0 and properties are none. */
void packet_encode_ack(struct buf *out, enum protocol protocol, enum packet_type type, const struct packet_ack *p);
void packet_encode_subscribe(struct buf *out, enum protocol protocol, packet_id_t packet_id,
                             const struct properties *properties, const struct packet_filter *filters, size_t count);
void packet_encode_unsubscribe(struct buf *out, enum protocol protocol, packet_id_t packet_id,
                               const struct properties *properties, const struct packet_filter *filters, size_t count);
void packet_encode_suback(struct buf *out, enum protocol protocol, const struct packet_suback *p);
void packet_encode_unsuback(struct buf *out, enum protocol protocol, const struct packet_suback *p);
void packet_encode_pingreq(struct buf *out);
void packet_encode_pingresp(struct buf *out);
/* 3.1.1: from a client only, without reason. */
void packet_encode_disconnect(struct buf *out, enum protocol protocol, const struct packet_disconnect *p);
void packet_encode_auth(struct buf *out, const struct packet_disconnect *p);

/* The hot path of a broker: everything of a PUBLISH before its payload. `forwarded` is what
 * packet_properties_forward() wrote. The caller appends or sends the payload. */
struct packet_publish_head {
    bool dup;
    uint8_t qos;
    bool retain;
    packet_id_t packet_id;
    struct span topic;
    struct span forwarded; /* encoded properties, 5.0 only */
    struct span
        subscription_identifiers; /* as packet_subscription_identifier_add() of property.h wrote them, 5.0 only */
    uint16_t topic_alias;         /* 0: none; 5.0 only */
    bool has_message_expiry;
    uint32_t message_expiry_interval_s;
    size_t payload_bytes;
};
void packet_encode_publish_head(struct buf *out, enum protocol protocol, const struct packet_publish_head *p);
/* The bytes of the whole packet that the head above begins, payload included; for Maximum Packet Size. */
size_t packet_publish_size(enum protocol protocol, const struct packet_publish_head *p);

/* True when 5.0 lets `sender` put this reason code into a packet of this type. */
bool packet_reason_allowed(enum packet_type type, enum packet_sender sender, uint8_t reason);

/* "PUBLISH" and so on; "?" for a number that is none. */
const char *packet_type_name(enum packet_type type);

/* Appends a decoded packet as one line for a person, without newline: PUBLISH qos=2 id=7 topic="a/b" bytes=12. Payloads
 * and secrets are shown as numbers of bytes; strings are cut and escaped. */
void packet_print(struct buf *out, enum protocol protocol, const struct packet *packet);

/* True when `s` is well-formed UTF-8 without U+0000 and surrogates [MQTT-1.5.4-1, -2]. */
bool utf8_valid(struct span s);
