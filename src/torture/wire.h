/* The recorded wire of one run: what each side sent, in the order in which the proxy saw it, and what became of it.
 *
 * One record for each packet and for each event of a connection. The proxy writes it; the judge reads nothing else.
 * Knows no sockets. Numbers of messages are read from their payloads, those of acknowledgements from the packet
 * identifier's last PUBLISH on that session. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "packet/packet.h"

#define WIRE_NO_MESSAGE UINT32_MAX

/* Where a record comes from. */
enum wire_way {
    WIRE_EVENT = 0, /* no packet */
    WIRE_TO_BROKER,
    WIRE_TO_CLIENT,
};

/* What became of a packet. */
enum wire_fate {
    WIRE_PASSED = 0, /* it reached the other side, or at least its socket */
    WIRE_LOST,       /* it was sent and did not arrive */
    WIRE_TORN,       /* only its first bytes arrived */
    WIRE_REPEATED,   /* its sender did not send it: the proxy let it arrive once more */
    WIRE_LATE,       /* held back, and sent on its connection once another one has replaced that */
};

enum wire_event {
    EVENT_NONE = 0,
    EVENT_OPENED,
    EVENT_RST,
    EVENT_FIN,
    EVENT_SILENCE,
    EVENT_KILLED, /* the broker */
    EVENT_POWER,  /* of the broker */
    EVENT_CLOSED, /* by the broker, and nobody had asked for it */
    EVENT_CALM,   /* no more faults from here on */
    EVENT_KEPT,   /* a half-open connection that the broker has not closed, though its client has connected anew */
};

struct wire_record {
    int64_t time_ns;       /* since the run began */
    uint32_t message;      /* its number, or WIRE_NO_MESSAGE */
    uint16_t packet_id;    /* 0: none */
    uint16_t connection;   /* of this client, from 1 */
    uint8_t who;           /* 0 the publisher, n the subscriber n */
    uint8_t way;           /* enum wire_way */
    uint8_t type;          /* enum packet_type */
    uint8_t fate;          /* enum wire_fate */
    uint8_t event;         /* enum wire_event */
    uint8_t reason;        /* of acknowledgements, CONNACK and DISCONNECT */
    bool dup;              /* of PUBLISH */
    bool session;          /* CONNACK: session present */
    bool damaged;          /* a payload or topic that nobody published */
    bool lower;            /* of PUBLISH: a QoS below 2, at which everything is published */
    const char *statement; /* a packet that is malformed: the statement that it breaks; else NULL */
    const char *text;      /* ... and in words */
};

struct wire {
    struct wire_record *records;
    size_t count;
    size_t capacity;
};

void wire_add(struct wire *w, const struct wire_record *record);
void wire_clear(struct wire *w);
void wire_deinit(struct wire *w);
/* Appends one record as a line for a person. */
void wire_print(struct buf *out, const struct wire_record *record);
/* Appends a printf() to a text. */
void wire_text(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
