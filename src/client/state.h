/* The client's own structures. Private to this folder.
 *
 *     client ─┬─ sending     out: queue -> flows (qos_out), and QoS 0 in memory
 *             ├─ receiving   in: held ids (qos_in) -> queue -> what the application has and is not done with
 *             ├─ wire        one connection: outbox, bytes of a packet that is not whole, what the broker allows
 *             └─ subscriptions, events
 *
 *     phase   IDLE ──> WANTED ──> OPENED ──> LIVE ──> CLOSING ──> IDLE or OVER
 *             a pause  a transport CONNECT   CONNACK  bytes that   no connection any more
 *                      is wanted   is sent   has come still leave
 */
#pragma once

#include "base/map.h"
#include "base/prng.h"
#include "client/client.h"
#include "client/fifo.h"
#include "client/open.h"
#include "packet/packet.h"
#include "packet/property.h"
#include "session/outbox.h"
#include "session/qos_in.h"
#include "session/qos_out.h"
#include "store/clock.h"
#include "store/queue.h"

enum {
    WINDOW_MESSAGES = 1024,              /* of a deep queue that are kept in memory */
    OUTBOX_PUMP_BYTES = 256 * 1024,      /* no more messages are put behind so many bytes */
    OUTBOX_ANSWERS_BYTES_MAX = 16 << 20, /* a broker that makes us answer and does not read: the connection ends */
    SUBSCRIBE_FILTERS_MAX = 64,          /* in one packet */
    WIRE_NOTES_MAX = 4096,               /* messages whose packet id is remembered for display */
    WIRE_NOTES_BYTES_MAX = 1 << 20,      /* of their subscription identifiers; more are not remembered */
    LINGER_MS = 2000,                    /* how long the last packet of a connection may wait for the disk */
    TRACE_EVENTS_MAX = 65536,            /* packets that wait to be told; more are not told */
    PROGRESS_MS = 1000,                  /* a connection that lived so long has worked */
    RECEIVE_MAXIMUM_311 = 1000,          /* what a 3.1.1 broker is taken to allow */
};

enum phase {
    PHASE_IDLE = 1, /* until retry_at */
    PHASE_WANTED,
    PHASE_OPENED,
    PHASE_LIVE,
    PHASE_CLOSING,
    PHASE_OVER, /* for good */
};

/* Why a connection ends. */
struct ending {
    int error;      /* enum quartet_error; QUARTET_OK: not known yet */
    uint8_t reason; /* the broker's, or ours */
    int protocol;   /* whose reason codes these are */
    char text[192];
};

/* What the broker of this connection allows. */
struct allowed {
    uint16_t receive_maximum;
    uint8_t maximum_qos;
    bool retain;
    bool wildcards;
    bool shared;
    bool identifiers;
    uint32_t packet_bytes_max;
};

/* A filter: what is wanted and what the broker has. */
struct wish {
    bool present;
    uint32_t options; /* enum wish_option */
    uint32_t identifier;
};
enum wish_option {
    WISH_QOS = 0x03,
    WISH_NO_LOCAL = 0x04,
    WISH_RETAIN_AS_PUBLISHED = 0x08,
    WISH_RETAIN_HANDLING = 0x30, /* times 16 */
    WISH_ALL = 0x3f,
    WISH_GRANTED_SHIFT = 8, /* in SUBSCRIBED records: the reason code of SUBACK */
};

struct subscription {
    struct link link;      /* in subscriptions.all */
    struct link todo_link; /* in subscriptions.todo: a packet is owed; or in .asked: one is under way */
    struct wish want, have, asked;
    uint8_t granted; /* reason code of the SUBACK that `have` is from */
    bool is_asked;   /* in .asked */
    bool changed;    /* by the application, since it was asked for: retained messages are wanted again */
    bool again;      /* ask though `have` is what is wanted */
    uint32_t filter_bytes;
    char filter[]; /* ends with NUL */
};

struct subscriptions {
    struct map_bytes by_filter;
    struct link all, todo, asked; /* in the order of the calls */
    bool under_way;               /* a SUBSCRIBE or UNSUBSCRIBE is not answered */
    bool subscribing;             /* that one is a SUBSCRIBE */
};

/* A QoS 0 message that waits to be sent. */
struct volatile_out {
    struct message *message;
    bool retain;
};

/* A QoS 0 message that waits for the application. */
struct volatile_in {
    struct message *message;
    lsn_t after; /* it came after this QoS 1 or 2 message */
    uint8_t *identifiers;
    uint32_t identifiers_bytes;
    bool retain;
};

/* What the wire said of a message that waits for the application and what its record does not keep. */
struct wire_note {
    lsn_t lsn;
    uint8_t *identifiers; /* subscription identifiers, encoded; NULL: none */
    uint32_t identifiers_bytes;
    packet_id_t packet_id;
};

/* An answer that waits until the application has room. */
struct withheld {
    lsn_t after;
    packet_id_t packet_id;
    uint8_t qos;
};

struct event_item {
    struct quartet_event event;
    char *text; /* owned; NULL: none */
};

/* A packet that is told when its last byte has left. */
struct trace_item {
    uint64_t position; /* in the outbox's stream */
    struct event_item item;
};

struct sending {
    session_id_t session;
    lsn_t last_lsn; /* of its last record */
    struct qos_out flows;
    struct queue queue;
    uint64_t queue_bytes;
    struct open_set open; /* messages with a flow */
    lsn_t last_message;   /* the last that was taken */
    uint64_t last_sequence;
    lsn_t last_sequence_lsn;
    bool lost;              /* the broker forgot the session: flows wait for the decision; recorded */
    bool lost_told;         /* by an event of this process */
    bool fresh;             /* flows are sent again as new, without DUP */
    bool foreign;           /* the broker had a session that we knew nothing of: ids may be held there; recorded */
    struct qos_in cleared;  /* ids that are not, then */
    struct qos_in clearing; /* ids whose PUBREL is not answered yet */
    uint32_t clear_count;   /* so many at once next time */
    struct fifo volatiles;  /* struct volatile_out */
    uint64_t volatile_bytes;
    uint64_t volatile_taken, volatile_sent; /* sent: into the outbox, or given up */
    uint64_t volatile_left;
    uint64_t mark_position, mark_sent; /* when the stream has left up to here, so many have left */
    bool marked;
};

struct receiving {
    session_id_t session;
    lsn_t last_lsn;
    struct qos_in held;
    struct qos_in counted; /* QoS 2 ids that take of this connection's Receive Maximum */
    struct qos_in owed;    /* QoS 2 ids whose PUBREC is withheld */
    struct fifo withheld;  /* struct withheld */
    uint32_t withheld_qos1;
    struct queue queue;
    uint64_t queue_bytes;
    struct open_set open;  /* taken and not done */
    lsn_t taken;           /* the last one */
    lsn_t last_message;    /* the last that was accepted */
    lsn_t load_end;        /* what is not above came from the store */
    struct fifo volatiles; /* struct volatile_in */
    uint64_t volatile_bytes;
    struct fifo notes;    /* struct wire_note */
    uint64_t notes_bytes; /* of their identifiers */
    bool full;            /* more came than can be kept: the connection ends, and there is none until there is room */
    mono_ms_t full_until; /* and lasts until its flows have ended, not longer than this */
    packet_id_t mutant_apart; /* MUTANT_B2_ATOMIC: held, and its record comes a turn after the message's; 0: none */
};

struct client {
    struct quartet_options options; /* strings are ours */
    struct fifo owned;              /* void *: copied strings, freed at the end */
    struct packet_will will;        /* from options.will */
    struct buf will_user;           /* its encoded user properties */
    struct store *store;
    enum mutant mutant;
    packet_id_t subscribe_id; /* the highest id: flows never use it */
    struct prng prng;
    mono_ms_t now;
    wall_ms_t wall; /* for what the broker may have done meanwhile; it may be set */
    wall_ms_t time; /* store time: what expires is held against it */
    struct store_clock clock;
    mono_ms_t slept; /* what the boot clock is ahead of `now` */
    bool timed;      /* client_time() has been called */

    const char **servers;
    uint32_t server_count, server;
    uint32_t failed_servers; /* in this round */
    char *client_id;         /* never NULL; in `owned` */
    enum protocol protocol;
    enum phase phase;
    mono_ms_t retry_at, deadline; /* of the attempt, or of closing */
    mono_ms_t live_since;
    uint32_t pause_ms;
    bool over;       /* no connection after this one */
    bool progress;   /* something was acknowledged on this connection */
    bool taken_over; /* the last connection ended so */
    bool connected_once;
    bool session_known; /* CONNACK came for this session, perhaps before a restart */
    bool uncertain;     /* a CONNECT has left whose CONNACK was not seen and recorded */
    bool was_uncertain; /* and there was such a one before this connection */
    bool asking;        /* subscriptions are asked for once more, and not all are answered; recorded */
    bool ask_again;     /* that, or was_uncertain, held before this connection */
    uint32_t expiry_s;  /* how long the broker keeps the session without a connection, at least */
    wall_ms_t seen;     /* it had the connection then, or later: what left then was answered. 0: never */
    wall_ms_t seen_recorded;
    wall_ms_t asked;         /* when CONNECT, PINGREQ or a PUBLISH left that is not answered; 0: there is none */
    packet_id_t asked_id;    /* of that PUBLISH */
    uint64_t asked_position; /* in the outbox's stream, where it ends; 0: it has left */
    mono_ms_t ask_at;        /* when to ask again, so that `seen` does not grow old; INT64_MAX: need not */
    bool retry_now;          /* the next attempt is made at once, at the same server */
    struct ending ending;

    /* the connection */
    struct outbox out;
    struct buf in;
    struct allowed allowed;
    struct packet_limits limits;
    bool clean;     /* this CONNECT asked for a clean start */
    bool distrusts; /* because the session that the broker has may not be ours: connect.c */
    bool session_present;
    bool closing_gracefully; /* CLOSING waits until the last bytes may leave */
    bool pinging;
    uint64_t keep_alive_ms; /* 0: none */
    mono_ms_t sent_at, received_at, pinged_at;
    mono_ms_t mutant_resent_at;

    struct sending sending;
    struct receiving receiving;
    struct subscriptions subscriptions;
    lsn_t folded; /* queues were let go up to here */
    bool store_failure_told;

    struct fifo events;         /* struct event_item */
    struct fifo tracing;        /* struct trace_item */
    char *event_text;           /* of the event given last */
    uint8_t *taken_identifiers; /* subscription identifiers of the delivery taken last */
    struct buf scratch;
    struct quartet_status counters;
};

static inline bool client_mutant(const struct client *c, enum mutant which) {
    return __builtin_expect(c->mutant == which, 0);
}

static inline lsn_t client_barrier(const struct client *c, enum mutant which, lsn_t after) {
    return barrier(c->mutant, which, after);
}

/* ---- client.c ---- */

/* Copies a string that lives as long as the client; NULL stays NULL. */
char *client_keep(struct client *c, const void *bytes, size_t len);
lsn_t client_stage_out(struct client *c, const struct record *record);
lsn_t client_stage_in(struct client *c, const struct record *record);
/* The connection ends for this reason; `disconnect` is the reason code of our DISCONNECT, -1: send none. */
void client_end(struct client *c, int error, uint8_t reason, int disconnect, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The broker broke a rule. */
void client_wrong(struct client *c, const struct verdict *verdict);

/* ---- load.c ---- */

bool client_load(struct client *c, struct error *error);
/* Records what is known of the session: for how long it is kept, and since when. Returns the lsn. */
lsn_t client_record_in(struct client *c);
/* Records whether flows wait for a decision, whether a CONNECT may have left that was not answered, and whether the
 * session may hold ids of somebody before us. */
lsn_t client_record_out(struct client *c);

/* ---- output.c ---- */

/* The buffer to append packets to that wait for `after`. */
struct buf *output_begin(struct client *c, lsn_t after);
/* What was appended since, one packet. */
void output_end(struct client *c);
void output_ack(struct client *c, enum packet_type type, packet_id_t packet_id, uint8_t reason, lsn_t after);
struct publish_fields {
    packet_id_t packet_id;
    uint8_t qos;
    bool dup;
    bool retain;
};
/* Sends a PUBLISH. */
void output_publish(struct client *c, const struct message *m, const struct publish_fields *fields, lsn_t after);
/* Why the broker would not take such a message: a reason code, 0 when it would. */
uint8_t output_refuses(const struct client *c, const struct message *m, uint8_t qos, bool retain);

/* ---- event.c ---- */

void event_push(struct client *c, const struct quartet_event *event, const char *text, size_t text_bytes);
void event_published(struct client *c, lsn_t id, int error, uint8_t reason, const char *text);
/* With options.trace: a packet came, or will have gone when the outbox's stream has left up to now. */
void event_packet(struct client *c, bool outgoing, const struct packet *packet, size_t bytes);
/* Bytes have left. */
void event_sent(struct client *c);
void event_deinit(struct client *c);

/* ---- options.c, properties.c ---- */

bool client_options_copy(struct client *c, const struct quartet_options *options, struct error *error);
void client_properties_fill(const struct quartet_properties *from, struct properties *to, struct buf *user);
/* Appends those that travel with the message. */
void client_properties_encode(struct buf *out, const struct quartet_properties *from);
bool client_properties_check(const struct quartet_properties *p, struct error *text);
bool client_text_valid(const char *text);

/* ---- connect.c ---- */

void connect_send(struct client *c);
/* CONNECT, PINGREQ (0) or a PUBLISH with this id was appended; bytes have left; its answer came. */
void connect_ask(struct client *c, packet_id_t packet_id);
void connect_left(struct client *c);
void connect_seen(struct client *c, packet_id_t packet_id);
void connect_answer(struct client *c, const struct packet_connack *p);
/* True when the broker refuses protocol 5 in the format of 3.1.1. */
bool connect_answer_is_311(const struct client *c, const struct packet_frame *frame);

/* ---- send.c ---- */

/* Sends what may be sent. */
void send_pump(struct client *c);
/* CONNACK has come: flows go on, or have lost their session. */
void send_connected(struct client *c, bool session_gone);
void send_ack(struct client *c, enum packet_type type, const struct packet_ack *p);
void send_disconnected(struct client *c, bool was_live);
void send_left(struct client *c);
void send_deinit(struct client *c);
void send_mutant_resend(struct client *c);

/* ---- receive.c ---- */

void receive_publish(struct client *c, const struct packet_publish *p);
void receive_pubrel(struct client *c, const struct packet_ack *p);
/* CONNACK has come. */
void receive_connected(struct client *c, bool session_gone);
void receive_disconnected(struct client *c);
void receive_deinit(struct client *c);
/* Ends a connection that has brought more than can be kept, when its time has come. */
void receive_settle(struct client *c);
/* There is room to take more. */
bool receive_has_room(const struct client *c);
/* MUTANT_B2_ATOMIC: a turn later the held id is recorded, too. */
void receive_mutant_hold(struct client *c);

/* ---- subscribe.c ---- */

void subscribe_init(struct client *c, uint64_t seed);
void subscribe_load(struct client *c, const struct record_subscribed *r);
void subscribe_connected(struct client *c, bool session_gone);
/* Asks for what is wanted and not there. */
void subscribe_pump(struct client *c);
/* True while subscriptions that are asked for once more are not answered. */
bool subscribe_asks_again(const struct client *c);
void subscribe_disconnected(struct client *c);
void subscribe_answer(struct client *c, enum packet_type type, const struct packet_suback *p);
void subscribe_deinit(struct client *c);
