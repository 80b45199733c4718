/* Records: the durable facts, as values. Encode, decode, print; one row for each kind.
 *
 * A record's lsn is not part of its bytes: it follows from its place in the journal. A session's id is the lsn of the
 * record that opened it. A delivery (one message for one subscription of one session) is named by (lsn of the MESSAGE
 * record, index of the target in it); one of a retained message by (lsn of the SUBSCRIBED record, index among all that
 * the subscription brings), so that it stands before what came after the subscription. All numbers are little-endian
 * base-128 (buf_leb), so that a record of the handshake takes a handful of bytes. */
#pragma once

#include "base/buf.h"
#include "base/reader.h"
#include "base/types.h"
#include "record/message.h"

/*      number, name, field of the union, what it says */
#define RECORD_ROWS(ROW)                                                                                               \
    ROW(1, SESSION, session, "a session was opened (session_id 0: its id is this lsn) or changed")                     \
    ROW(2, SESSION_END, end, "a session and all that belongs to it is gone (B8)")                                      \
    ROW(3, SUBSCRIBED, subscribed, "a session has this subscription now (B7)")                                         \
    ROW(4, UNSUBSCRIBED, unsubscribed, "a session no longer has this subscription")                                    \
    ROW(5, MESSAGE, message, "a message was accepted for these targets; its packet id is held (B2)")                   \
    ROW(6, HELD, flow, "a QoS 2 packet id is held though the message has no durable target (B2)")                      \
    ROW(7, FREED, flow, "PUBREL came: the packet id is forgotten (B4)")                                                \
    ROW(8, SENT, sent, "a delivery got a packet id (B1)")                                                              \
    ROW(9, RECEIVED, flow, "PUBREC came: PUBREL is owed (B3)")                                                         \
    ROW(10, DONE, flow, "PUBACK, PUBCOMP or a refusing PUBREC came: the outbound flow ended (B5)")                     \
    ROW(11, DROPPED, dropped, "a queued delivery will not be sent: it expired before it had a packet id")              \
    ROW(12, WILL, will, "a session has this will (B10)")                                                               \
    ROW(13, WILL_CLEARED, end, "a session has no will any more (B10)")                                                 \
    ROW(14, RETAINED, retained, "a subscription brings its session these retained messages (B7)")                      \
    ROW(15, CLOCK, clock, "store time and the wall clock at one moment: how long it was until the next start")

enum record_kind {
    RECORD_NONE = 0,
#define RECORD_ENUM(number, name, field, text) RECORD_##name = (number),
    RECORD_ROWS(RECORD_ENUM)
#undef RECORD_ENUM
};

#define SESSION_NEVER_EXPIRES 0xffffffffU

/* A change carries all fields, not only those that changed. */
struct record_session {
    session_id_t session_id; /* 0: a new session */
    struct span client_id;
    uint32_t expiry_s;         /* SESSION_NEVER_EXPIRES or seconds after the connection ended */
    wall_ms_t disconnected_at; /* 0: connected */
    uint8_t protocol;          /* of the last CONNECT */
    struct span owner;         /* against whom its sums are held; empty: not known (and not there in old records) */
};

struct record_end {
    session_id_t session_id;
};

struct record_subscribed {
    session_id_t session_id;
    struct span filter;  /* as subscribed, with $share */
    uint32_t options;    /* enum subscription_option bits of the broker */
    uint32_t identifier; /* subscription identifier; 0: none */
};

struct record_unsubscribed {
    session_id_t session_id;
    struct span filter;
};

/* One durable session that the message is for. */
struct record_target {
    session_id_t session_id;
    uint8_t qos; /* 1 or 2 */
    bool retain; /* the RETAIN flag towards this target */
};

struct record_message {
    session_id_t origin;   /* the publisher's session when it is durable, else 0 */
    packet_id_t packet_id; /* held until FREED; 0 when not QoS 2 or the publisher is not durable */
    uint64_t sequence;     /* the publisher's own number, greater with each of its messages; 0: none. Kept as the
                              position of `origin`, so that a message can be told from one that was taken before */
    bool set_retained;     /* it is (an empty payload: it clears) the topic's retained message */
    bool clear_will;       /* it is the will of `origin`, which has none any more */
    wall_ms_t accepted_at;
    struct message_parts parts;          /* decoded: views into the record */
    struct span parts_raw;               /* decoded: the bytes that hold `parts`; see record_parts_decode() */
    const struct record_target *targets; /* to encode; NULL when decoded */
    struct span targets_raw;             /* decoded: walk with record_target_next() */
    uint32_t target_count;
};

struct record_flow {
    session_id_t session_id;
    packet_id_t packet_id;
};

struct record_sent {
    session_id_t session_id;
    packet_id_t packet_id;
    lsn_t message_lsn;
    uint32_t target;
};

struct record_dropped {
    session_id_t session_id;
    lsn_t message_lsn;
    uint32_t target;
};

struct record_will {
    session_id_t session_id;
    uint32_t delay_s;
    uint32_t expiry_s;          /* message expiry interval; 0: none */
    struct message_parts parts; /* expires_at is 0: it starts when the will is published */
};

/* Times in records are store time (store/clock.h): this is where it meets the wall clock. */
struct record_clock {
    wall_ms_t time; /* 0: nothing is known */
    wall_ms_t wall;
};

/* One retained message, which has a record of its own: its body is there. */
struct record_retained_item {
    lsn_t message_lsn;
    uint8_t qos; /* of the delivery: 1 or 2 */
};

/* The retained messages that a new subscription brings, or some of them. */
struct record_retained {
    session_id_t session_id;
    lsn_t subscribed_lsn;                     /* of the SUBSCRIBED record; with an index the delivery's name */
    uint32_t first;                           /* the index of the first of these */
    const struct record_retained_item *items; /* to encode; NULL when decoded */
    struct span items_raw;                    /* decoded: walk with record_retained_next() */
    uint32_t item_count;
};

struct record {
    enum record_kind kind;
    union {
        struct record_session session;
        struct record_end end;
        struct record_subscribed subscribed;
        struct record_unsubscribed unsubscribed;
        struct record_message message;
        struct record_flow flow;
        struct record_sent sent;
        struct record_dropped dropped;
        struct record_will will;
        struct record_clock clock;
        struct record_retained retained;
    };
};

/* Appends the record: its kind and its fields, without a length. */
void record_encode(struct buf *out, const struct record *record);
/* The same into memory that has room for record_bytes_max() bytes; returns one past the last byte written. */
uint8_t *record_encode_at(uint8_t *at, const struct record *record);
/* No record takes more than this to encode; at most some 60 bytes and 11 per target more than it really takes. */
size_t record_bytes_max(const struct record *record);
/* Decodes one whole record (views into `in`); false when `in` is not exactly one record of a known kind. Input may be
 * anything. */
bool record_decode(struct span in, struct record *record);
/* Decodes what `parts_raw` held, on its own: the table keeps bodies in this form. False when `in` is anything else. */
bool record_parts_decode(struct span in, struct message_parts *parts);
/* Walks the targets of a decoded MESSAGE: start with r = reader_of(targets_raw). False at the end. */
bool record_target_next(struct reader *r, struct record_target *target);
/* Walks the messages of a decoded RETAINED in the same way. */
bool record_retained_next(struct reader *r, struct record_retained_item *item);
/* Appends one line for a person, without newline; topics and ids escaped, payloads as a length only. */
void record_print(struct buf *out, lsn_t lsn, const struct record *record);
const char *record_kind_name(enum record_kind kind);
