/* What a SUBSCRIBE brings: its subscriptions are entered, the retained messages that match are given to the session,
 * SUBACK is sent. Private to this folder.
 *
 *     SUBSCRIBE ──> enter each filter ──> walk the retained index for each ──> SUBACK, then what was found
 *                   [lock: SUBSCRIBED,    [lock: some names, RETAINED]
 *                    trie]                 wait while queue or outbox has no room
 *
 * All of it happens in one turn when there is little; else it goes on from turn to turn (work.h). What is brought to a
 * durable session at QoS 1 or 2 is recorded (RETAINED) under the lock under which the value is looked at, so that a
 * later value, or none, has a later record; SUBACK waits for these records (B7). Otherwise SUBACK does not wait for
 * them. A value that was set after the subscription was entered came live, and is passed over; live messages of QoS 1
 * and 2 wait behind what is brought.
 *
 * Limits: half of the session's queue and the outbox's bound, whose rest is left to live messages; the place where it
 * stands is kept, not the messages that are still to come. It ends with its connection. An UNSUBSCRIBE, which may have
 * a hundred thousand filters, goes the same way and brings nothing. */
#pragma once

#include "broker/work.h"

/* One filter of the SUBSCRIBE that brings something. */
struct bring_filter {
    struct span filter;   /* lies in bringing.filters */
    lsn_t subscribed_lsn; /* 0: the session is not durable */
    lsn_t until;          /* values with a later record came live */
    uint8_t qos;
};

struct bringing {
    struct work work;
    struct session *session;
    packet_id_t packet_id;
    struct buf filters; /* of the packet, */
    struct reader left; /* those that are not entered yet */
    struct buf reasons; /* for SUBACK */
    lsn_t entered_lsn;  /* of the last SUBSCRIBED */
    lsn_t first_lsn;    /* of the first that brings something: what is older is not kept behind */
    bool leaves;        /* it is an UNSUBSCRIBE: its filters leave, nothing is brought */
    bool orders;        /* live messages must be kept behind */
    bool answered;      /* SUBACK is in the outbox */
    bool answer_waits;  /* SUBACK comes when all was brought */
    bool crowded;       /* it waits for room: what is queued may overtake SUBACK, as when it waits for the store */
    uint8_t needs_qos;  /* crowded: room for a message of this QoS */
    size_t needs_bytes; /* and so many bytes */
    struct bring_filter *brings;
    uint32_t bring_count, bring_capacity;
    uint32_t bring_next;                 /* the one under way */
    struct topic_retained_cursor cursor; /* of it */
    uint32_t index;                      /* how many it has brought */
    struct delivery *found;              /* in this slice, or these slices of one turn; QoS 0, too */
    size_t found_count, found_capacity;
    size_t found_bytes;  /* of those at QoS 0 */
    size_t found_queued; /* those at QoS 1 and 2 */
    uint64_t held_bytes; /* of bodies that are in memory for it: live ones behind, and large ones that it has brought */
};

/* Begins with a SUBSCRIBE, or an UNSUBSCRIBE when it `leaves`; goes on at once as far as this turn allows. */
void bring_begin(struct connection *c, const struct packet_subscribe *p, bool leaves);
/* One slice, out of the shard's list. */
void bring_slice(struct bringing *b);
/* There may be room again. */
void bring_wake(struct session *session);
/* The connection ends. What was brought stays in the queue. */
void bring_cancel(struct session *session);
/* True when a live message with this lsn (0: none) must wait behind what is brought. */
bool bring_keeps_behind(const struct session *session, lsn_t lsn);
/* A message does: it stays in memory until all was brought. */
void bring_holds(struct session *session, const struct message *m);
/* Bytes that leave memory only when the SUBSCRIBE under way, or its connection, is over. */
uint64_t bring_held_bytes(const struct session *session);
