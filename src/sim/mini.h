/* The model clients' own idea of MQTT's bytes: written apart from packet/, so that one misreading of the standard
 * cannot hide in both.
 *
 * A client's half only: it writes what a client sends, and reads, strictly, what a server may send. Small: one packet
 * is at most MINI_PACKET_BYTES. No state. */
#pragma once

#include <stdio.h>

#include "base/span.h"

#define MINI_PACKET_BYTES 1024

enum mini_type {
    MINI_CONNECT = 1,
    MINI_CONNACK,
    MINI_PUBLISH,
    MINI_PUBACK,
    MINI_PUBREC,
    MINI_PUBREL,
    MINI_PUBCOMP,
    MINI_SUBSCRIBE,
    MINI_SUBACK,
    MINI_UNSUBSCRIBE,
    MINI_UNSUBACK,
    MINI_PINGREQ,
    MINI_PINGRESP,
    MINI_DISCONNECT,
};

/* One packet, flat: what a field means depends on the type. Spans borrow. */
struct mini_packet {
    uint8_t type;
    bool five; /* 5.0, else 3.1.1 */
    bool dup, retain;
    uint8_t qos; /* of a PUBLISH, of a subscription, of a will */
    uint16_t id;
    uint8_t reason;
    bool session_present;
    bool clean;
    struct span client;         /* CONNECT; CONNACK: the assigned identifier */
    struct span topic, payload; /* PUBLISH; SUBSCRIBE and UNSUBSCRIBE: topic is the filter */
    bool has_will;
    bool will_retain;
    uint8_t will_qos;
    uint32_t will_delay; /* seconds; 0: not sent */
    struct span will_topic, will_payload;
    uint16_t keep_alive;      /* seconds */
    uint32_t session_expiry;  /* seconds; not sent when 0; DISCONNECT: sent when has_expiry */
    uint16_t receive_maximum; /* 0: not sent */
    bool no_identifiers;      /* CONNACK: subscription identifiers are not available */
    bool has_expiry;
    uint32_t expiry;          /* seconds; of a message */
    uint32_t subscription[4]; /* identifiers of a PUBLISH; [0] of a SUBSCRIBE */
    unsigned subscription_count;
    struct span filters[4]; /* SUBSCRIBE and UNSUBSCRIBE of a client, read: all of them, and their QoS */
    uint8_t filter_qos[4];
    unsigned filter_count;
    uint8_t options;    /* of a subscription in 5.0: all bits but the QoS */
    uint8_t reasons[8]; /* SUBACK, UNSUBACK */
    unsigned reason_count;
};

/* Writes the packet, which a client may send, to `out` (MINI_PACKET_BYTES); returns its bytes. */
size_t mini_encode(const struct mini_packet *p, uint8_t *out);
/* The bytes of the first packet of `in`; 0 when it is not whole yet; MINI_WRONG when it never will be. */
size_t mini_length(struct span in);
#define MINI_WRONG SIZE_MAX
/* Reads one whole packet of a server; NULL, or what is wrong with it. */
const char *mini_decode(struct span in, bool five, struct mini_packet *p);
/* Reads one whole packet of a client; false when it is malformed. */
bool mini_decode_client(struct span in, bool five, struct mini_packet *p);
/* Prints one line for a person, without newline. */
void mini_print(FILE *out, const struct mini_packet *p);
const char *mini_name(unsigned type);
