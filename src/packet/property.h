/* The 27 properties of MQTT 5.0 (section 2.2.2.2) as rows: one row drives decode, encode, printing and the fuzzer's
 * dictionary.
 *
 * Knows: what a single property may be, in which packets it may stand and whether it may stand there twice. Does not
 * know: rules between properties or between a property and other fields; those live with the packet that they concern.
 * Thread: any; no state.
 */
#pragma once

#include "packet/packet.h"

/* How a value is written. */
enum property_kind {
    PROPERTY_BYTE = 1,
    PROPERTY_U16,
    PROPERTY_U32,
    PROPERTY_VARINT,
    PROPERTY_STRING, /* UTF-8 */
    PROPERTY_TOPIC,  /* UTF-8 that is a topic name */
    PROPERTY_BINARY,
    PROPERTY_PAIR, /* two UTF-8 strings; counted, never stored */
};

/* A set of packet types, one bit each. Bit 0, which no packet has, stands for the will properties in a CONNECT. */
#define PACKET_BIT(type) (1U << PACKET_##type)
#define PACKET_BIT_WILL PACKET_BIT(NONE)

#define PROPERTY_IN_MESSAGE (PACKET_BIT(PUBLISH) | PACKET_BIT_WILL)
#define PROPERTY_IN_ACKS (PACKET_BIT(PUBACK) | PACKET_BIT(PUBREC) | PACKET_BIT(PUBREL) | PACKET_BIT(PUBCOMP))
#define PROPERTY_IN_BOTH_CONNECTS (PACKET_BIT(CONNECT) | PACKET_BIT(CONNACK))
#define PROPERTY_IN_ANSWERS                                                                                            \
    (PACKET_BIT(CONNACK) | PROPERTY_IN_ACKS | PACKET_BIT(SUBACK) | PACKET_BIT(UNSUBACK) | PACKET_BIT(DISCONNECT) |     \
     PACKET_BIT(AUTH))
#define PROPERTY_IN_ALL                                                                                                \
    (PROPERTY_IN_ANSWERS | PROPERTY_IN_MESSAGE | PACKET_BIT(CONNECT) | PACKET_BIT(SUBSCRIBE) | PACKET_BIT(UNSUBSCRIBE))

/* One row each: identifier, NAME, field of struct properties, kind, least and greatest value of a number,
 * packets in which it may stand, packets in which it may stand more than once, the standard's name. */
#define PROPERTY_ROWS(ROW)                                                                                             \
    ROW(0x01, PAYLOAD_FORMAT_INDICATOR, payload_format_indicator, BYTE, 0, 1, PROPERTY_IN_MESSAGE, 0,                  \
        "Payload Format Indicator")                                                                                    \
    ROW(0x02, MESSAGE_EXPIRY_INTERVAL, message_expiry_interval_s, U32, 0, UINT32_MAX, PROPERTY_IN_MESSAGE, 0,          \
        "Message Expiry Interval")                                                                                     \
    ROW(0x03, CONTENT_TYPE, content_type, STRING, 0, 0, PROPERTY_IN_MESSAGE, 0, "Content Type")                        \
    ROW(0x08, RESPONSE_TOPIC, response_topic, TOPIC, 0, 0, PROPERTY_IN_MESSAGE, 0, "Response Topic")                   \
    ROW(0x09, CORRELATION_DATA, correlation_data, BINARY, 0, 0, PROPERTY_IN_MESSAGE, 0, "Correlation Data")            \
    ROW(0x0B, SUBSCRIPTION_IDENTIFIER, subscription_identifier, VARINT, 1, 268435455,                                  \
        PACKET_BIT(PUBLISH) | PACKET_BIT(SUBSCRIBE), PACKET_BIT(PUBLISH), "Subscription Identifier")                   \
    ROW(0x11, SESSION_EXPIRY_INTERVAL, session_expiry_interval_s, U32, 0, UINT32_MAX,                                  \
        PROPERTY_IN_BOTH_CONNECTS | PACKET_BIT(DISCONNECT), 0, "Session Expiry Interval")                              \
    ROW(0x12, ASSIGNED_CLIENT_IDENTIFIER, assigned_client_identifier, STRING, 0, 0, PACKET_BIT(CONNACK), 0,            \
        "Assigned Client Identifier")                                                                                  \
    ROW(0x13, SERVER_KEEP_ALIVE, server_keep_alive_s, U16, 0, UINT16_MAX, PACKET_BIT(CONNACK), 0, "Server Keep Alive") \
    ROW(0x15, AUTHENTICATION_METHOD, authentication_method, STRING, 0, 0,                                              \
        PROPERTY_IN_BOTH_CONNECTS | PACKET_BIT(AUTH), 0, "Authentication Method")                                      \
    ROW(0x16, AUTHENTICATION_DATA, authentication_data, BINARY, 0, 0, PROPERTY_IN_BOTH_CONNECTS | PACKET_BIT(AUTH), 0, \
        "Authentication Data")                                                                                         \
    ROW(0x17, REQUEST_PROBLEM_INFORMATION, request_problem_information, BYTE, 0, 1, PACKET_BIT(CONNECT), 0,            \
        "Request Problem Information")                                                                                 \
    ROW(0x18, WILL_DELAY_INTERVAL, will_delay_interval_s, U32, 0, UINT32_MAX, PACKET_BIT_WILL, 0,                      \
        "Will Delay Interval")                                                                                         \
    ROW(0x19, REQUEST_RESPONSE_INFORMATION, request_response_information, BYTE, 0, 1, PACKET_BIT(CONNECT), 0,          \
        "Request Response Information")                                                                                \
    ROW(0x1A, RESPONSE_INFORMATION, response_information, STRING, 0, 0, PACKET_BIT(CONNACK), 0,                        \
        "Response Information")                                                                                        \
    ROW(0x1C, SERVER_REFERENCE, server_reference, STRING, 0, 0, PACKET_BIT(CONNACK) | PACKET_BIT(DISCONNECT), 0,       \
        "Server Reference")                                                                                            \
    ROW(0x1F, REASON_STRING, reason_string, STRING, 0, 0, PROPERTY_IN_ANSWERS, 0, "Reason String")                     \
    ROW(0x21, RECEIVE_MAXIMUM, receive_maximum, U16, 1, UINT16_MAX, PROPERTY_IN_BOTH_CONNECTS, 0, "Receive Maximum")   \
    ROW(0x22, TOPIC_ALIAS_MAXIMUM, topic_alias_maximum, U16, 0, UINT16_MAX, PROPERTY_IN_BOTH_CONNECTS, 0,              \
        "Topic Alias Maximum")                                                                                         \
    ROW(0x23, TOPIC_ALIAS, topic_alias, U16, 1, UINT16_MAX, PACKET_BIT(PUBLISH), 0, "Topic Alias")                     \
    ROW(0x24, MAXIMUM_QOS, maximum_qos, BYTE, 0, 1, PACKET_BIT(CONNACK), 0, "Maximum QoS")                             \
    ROW(0x25, RETAIN_AVAILABLE, retain_available, BYTE, 0, 1, PACKET_BIT(CONNACK), 0, "Retain Available")              \
    ROW(0x26, USER_PROPERTY, user_property_count, PAIR, 0, 0, PROPERTY_IN_ALL, PROPERTY_IN_ALL, "User Property")       \
    ROW(0x27, MAXIMUM_PACKET_SIZE, maximum_packet_size, U32, 1, UINT32_MAX, PROPERTY_IN_BOTH_CONNECTS, 0,              \
        "Maximum Packet Size")                                                                                         \
    ROW(0x28, WILDCARD_SUBSCRIPTION_AVAILABLE, wildcard_subscription_available, BYTE, 0, 1, PACKET_BIT(CONNACK), 0,    \
        "Wildcard Subscription Available")                                                                             \
    ROW(0x29, SUBSCRIPTION_IDENTIFIER_AVAILABLE, subscription_identifier_available, BYTE, 0, 1, PACKET_BIT(CONNACK),   \
        0, "Subscription Identifier Available")                                                                        \
    ROW(0x2A, SHARED_SUBSCRIPTION_AVAILABLE, shared_subscription_available, BYTE, 0, 1, PACKET_BIT(CONNACK), 0,        \
        "Shared Subscription Available")

/* The place of each row, from 0. */
enum property_index {
#define PROPERTY_INDEX(id, name, ...) PROPERTY_INDEX_##name,
    PROPERTY_ROWS(PROPERTY_INDEX)
#undef PROPERTY_INDEX
        PROPERTY_COUNT,
};

/* The bit of each property in `present`: PROPERTY_TOPIC_ALIAS and so on. */
enum property {
#define PROPERTY_ENUM(id, name, ...) PROPERTY_##name = 1 << PROPERTY_INDEX_##name,
    PROPERTY_ROWS(PROPERTY_ENUM)
#undef PROPERTY_ENUM
};

/* Those of a PUBLISH or will that travel with the message to its receivers. */
#define PROPERTIES_FORWARDED                                                                                           \
    ((property_set)(PROPERTY_PAYLOAD_FORMAT_INDICATOR | PROPERTY_CONTENT_TYPE | PROPERTY_RESPONSE_TOPIC |              \
                    PROPERTY_CORRELATION_DATA | PROPERTY_USER_PROPERTY))

struct property_row {
    uint8_t id; /* the identifier on the wire */
    enum property_kind kind;
    uint32_t min, max;       /* bounds of a number */
    uint32_t packets;        /* PACKET_BIT()s: may stand there */
    uint32_t repeats;        /* PACKET_BIT()s: may stand there more than once */
    size_t offset;           /* of the field in struct properties */
    const char *name;        /* the standard's */
    const char *text_place;  /* what is said when it stands where it may not */
    const char *text_repeat; /* ... when it stands there twice */
    const char *text_value;  /* ... when its value is not allowed */
    const char *text_utf8;   /* ... when it is not well-formed UTF-8 */
};

/* All rows, PROPERTY_COUNT of them, by enum property_index. */
extern const struct property_row property_rows[PROPERTY_COUNT];

/* The row of an identifier; NULL when there is none. */
const struct property_row *property_row_of(uint32_t id);

/* No properties at all; the fields stay as they are, for none of them is present. */
static inline void properties_clear(struct properties *p) {
    p->present = 0;
    p->raw = (struct span){NULL, 0};
    p->user_property_count = 0;
    p->subscription_identifier_count = 0;
}

/* Appends one encoded user property: for a block that struct properties' `raw` is to show. Both strings are well-formed
 * UTF-8 of at most 65,535 bytes. */
void packet_user_property_add(struct buf *out, struct span name, struct span value);

/* Appends one encoded subscription identifier: for struct packet_publish_head. */
void packet_subscription_identifier_add(struct buf *out, uint32_t identifier);

/* Appends the properties as text for a person: Topic Alias: 5, Content Type: "text". What could be a secret is shown as
 * a number of bytes; what could disturb a terminal is escaped. Appends nothing when there are none. */
void properties_print(struct buf *out, const struct properties *p);
