/* The sender's half of QoS 1 and 2: the flows that have a packet id, in order, and the send quota.
 *
 *                    begin                      PUBREC < 0x80               PUBCOMP
 *     (no flow) ──────────────> PUBLISHED ─────────────────────> RELEASED ───────────> (no flow)
 *                                   │  PUBACK (QoS 1), PUBREC >= 0x80                      ^
 *                                   └──────────────────────────────────────────────────────┘
 *
 *     event \ state   no flow              PUBLISHED QoS 1   PUBLISHED QoS 2      RELEASED
 *     PUBACK          ignored              done              wrong: closed        wrong: closed
 *     PUBREC          PUBREL 0x92 (5.0)    wrong: closed     RELEASED, PUBREL     PUBREL again
 *     PUBREC >= 0x80  ignored              wrong: closed     done                 ignored
 *     PUBCOMP         ignored              wrong: closed     wrong: closed        done
 *
 * An acknowledgement of the wrong kind is a protocol error: its flow would stay for ever. The repeat of one whose flow
 * has ended finds no flow and is ignored (R6), for an id is used again only after all others.
 *
 * A connection resends on resumption only (R7): first the owed PUBRELs in the order of their PUBRECs, then the
 * PUBLISHes in their original order [MQTT-4.4.0-1, 4.6.0-1..6].
 *
 * The quota belongs to the connection (R5): it begins as the peer's Receive Maximum, a PUBLISH sent takes one, and the
 * end of its flow gives it back. A flow that comes from an earlier connection and is not sent again on this one,
 * because PUBREC has come, took none and gives none back: of the readings of section 4.9 the one that can never send
 * more than the peer allows. Memory: one flight for each flow, freed at its end; ids_max bounds them. Knows one peer
 * and messages; does not know records, sockets, time: its caller records each change (B1, B3, B5) and lets the packet
 * wait for it. */
#pragma once

#include "base/list.h"
#include "base/map.h"
#include "base/types.h"
#include "record/message.h"
#include "session/barrier.h"

enum flight_state { FLIGHT_NONE = 0, FLIGHT_PUBLISHED, FLIGHT_RELEASED };

/* One delivery under way. */
struct flight {
    struct link link;        /* in qos_out.published or .released */
    struct message *message; /* one reference; NULL when released, or when the body is in the table only */
    lsn_t message_lsn;       /* with `target` the delivery's name; 0: no record */
    lsn_t body_lsn;          /* of the record that has the body */
    uint32_t target;
    packet_id_t packet_id;
    uint8_t qos;      /* 1 or 2 */
    uint8_t state;    /* enum flight_state */
    bool retain;      /* the RETAIN flag of the PUBLISH */
    bool sent_before; /* on an earlier connection: DUP is set when it is sent again */
    bool sent_here;   /* on this connection */
    bool counted;     /* its PUBLISH took quota of this connection, which its end gives back */
};

struct qos_out {
    struct link published;  /* flights in the order in which they were begun */
    struct link released;   /* flights in the order of their PUBRECs */
    struct link *resend_at; /* in published: the first that this connection has not sent yet; else the list's head */
    struct map64 by_id;
    packet_id_t last_id;   /* the allocator goes on after it */
    packet_id_t ids_max;   /* ids 1 to ids_max are used; 65,535 but in the simulator */
    uint16_t quota;        /* PUBLISH packets that may still be sent on this connection */
    uint16_t quota_max;    /* the peer's Receive Maximum */
    uint32_t count;        /* flights */
    uint64_t body_bytes;   /* of the bodies that flights have in memory */
    uint32_t resend_count; /* published flights that this connection has not sent yet */
    enum mutant mutant;
};

void qos_out_init(struct qos_out *out, uint64_t seed, packet_id_t ids_max, enum mutant mutant);
/* Frees all flights. */
void qos_out_deinit(struct qos_out *out);

/* A new connection: the quota is the peer's Receive Maximum (not 0). What is published must be sent again by
 * qos_out_resend_next(); of what is released its caller sends PUBREL again, in the order of the list. */
void qos_out_connected(struct qos_out *out, uint16_t receive_maximum);

/* True when a new flow may begin now: quota, a free id, and nothing left to resend. */
bool qos_out_ready(const struct qos_out *out);
/* The next id in turn after this one that no flight uses; after last_id, it is the one that the next flow gets. Not
 * when all are in use. */
packet_id_t qos_out_next_id(const struct qos_out *out, packet_id_t after);

/* What a new flow carries; the flight takes the message's reference. The message may be NULL for qos_out_restore()
 * alone: its caller then puts it into the flight before it resends it. */
struct flight_parts {
    struct message *message;
    lsn_t message_lsn;
    uint32_t target;
    uint8_t qos;
    bool retain;
    lsn_t body_lsn; /* of the record that has the body, when it is not message_lsn; else 0 */
};
/* Begins a flow with a message when qos_out_ready(): chooses the id, takes quota. The caller records SENT and sends the
 * PUBLISH. */
struct flight *qos_out_begin(struct qos_out *out, const struct flight_parts *parts);
/* Puts back a flow of the store, in the order of calls; it counts as sent before. */
struct flight *qos_out_restore(struct qos_out *out, packet_id_t packet_id, bool released,
                               const struct flight_parts *parts);
/* True when a published flight is left to resend and quota allows it: qos_out_resend_next() will give one. */
bool qos_out_must_resend(const struct qos_out *out);
/* The next published flight that this connection must resend and has quota for, or NULL; marks it as sent here and
 * takes quota. */
struct flight *qos_out_resend_next(struct qos_out *out);

enum qos_out_answer {
    QOS_OUT_IGNORED = 1, /* nothing changed, nothing to send */
    QOS_OUT_DONE,        /* the flow ended: record DONE, then the flight is freed with qos_out_end() */
    QOS_OUT_RELEASED,    /* record RECEIVED, send PUBREL when it is durable */
    QOS_OUT_AGAIN,       /* a repeat: send PUBREL again, waiting for the same record */
    QOS_OUT_UNKNOWN,     /* 5.0: answer PUBREL 0x92; 3.1.1: PUBREL */
    QOS_OUT_WRONG,       /* an acknowledgement of the wrong kind for this flow: a protocol error */
};
enum qos_out_answer qos_out_puback(struct qos_out *out, packet_id_t packet_id, struct flight **flight);
enum qos_out_answer qos_out_pubrec(struct qos_out *out, packet_id_t packet_id, uint8_t reason, struct flight **flight);
enum qos_out_answer qos_out_pubcomp(struct qos_out *out, packet_id_t packet_id, struct flight **flight);
/* Removes and frees a flight, after QOS_OUT_DONE or when it cannot be sent; gives back the quota that it took on this
 * connection. */
void qos_out_end(struct qos_out *out, struct flight *flight);

/* Gives a flight its body back (takes the reference): it was let go, or is in the store only. */
void qos_out_body(struct qos_out *out, struct flight *flight, struct message *message);
/* Lets go of the bodies that the store can give back: those of recorded messages up to `folded`. For a peer who is
 * away. */
void qos_out_let_go(struct qos_out *out, lsn_t folded);

struct flight *qos_out_find(const struct qos_out *out, packet_id_t packet_id);
