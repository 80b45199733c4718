/* libquartet: an MQTT 3.1.1 and 5.0 client whose messages survive cut connections, kill -9 and power loss.
 *
 *     publish ──> outbox ══> broker ══> inbox ──> on_message ──> done
 *              on disk                on disk             position kept by the application
 *
 * With a store, a message that quartet_publish() has taken is on disk before the call returns, and a message that came
 * in is on disk before the broker is told so. After a restart everything goes on where it was.
 *
 * Driving it: quartet_start() gives the client its own thread; or quartet_fd() and quartet_handle() put it into a loop
 * of yours; or quartet/core.h leaves even the sockets to you. Rules:
 *
 *   - every function may be called from any thread and from callbacks; no lock is held while a callback runs
 *   - callbacks of one client run one after the other: on its thread, in quartet_handle(), or in core.h's calls
 *   - what is passed in is copied; what a callback is given lives until it returns, unless it is kept
 *   - options and messages are structs in which zero is the default; fill them with designated initialisers
 *   - no global initialisation, no signals, no environment variables
 *
 * Functions return QUARTET_OK or an enum quartet_error, which is negative. */
#ifndef QUARTET_QUARTET_H
#define QUARTET_QUARTET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QUARTET_PUBLIC __attribute__((visibility("default")))
#else
#define QUARTET_PUBLIC
#endif

#define QUARTET_VERSION_MAJOR 0
#define QUARTET_VERSION_MINOR 1
#define QUARTET_VERSION_PATCH 0

/* "0.1.0", of the library that is in use. */
QUARTET_PUBLIC const char *quartet_version(void);

struct quartet; /* a client: one session with one broker, or with one of several */

/* ---- errors ---- */

/*      name, number, what it means, what can be done */
#define QUARTET_ERROR_ROWS(ROW)                                                                                        \
    ROW(OK, 0, "success", "nothing needs to be done")                                                                  \
    ROW(INVALID, -1, "an argument or option makes no sense", "read quartet_last_error(): it names it")                 \
    ROW(UNSAFE, -2, "exactly once cannot hold with these options",                                                     \
        "give a store and a client id, and leave clean_start and a session expiry of 0 out")                           \
    ROW(TIMEOUT, -3, "the time is over", "wait again if you like: what was begun goes on, nothing was lost")           \
    ROW(FULL, -4, "the outbox holds as much as its options allow", "wait for quartet_wait(), or raise outbox_bytes")   \
    ROW(CLOSED, -5, "the client is being closed", "open another")                                                      \
    ROW(IN_CALLBACK, -6, "this would wait for the very thread that it runs on",                                        \
        "call it from another thread, or do not wait: completion is an event")                                         \
    ROW(REFUSED, -7, "the broker refused", "the reason code says why")                                                 \
    ROW(SESSION_LOST, -8, "the broker has forgotten the session while messages were on their way",                     \
        "decide with quartet_session_lost() what becomes of them")                                                     \
    ROW(NETWORK, -9, "the connection cannot be made or was cut", "nothing: it is tried again")                         \
    ROW(PROTOCOL, -10, "the broker broke a rule of the standard", "the text names the statement; report it")           \
    ROW(SYSTEM, -11, "the operating system refused", "read quartet_last_error()")                                      \
    ROW(STORE_LOCKED, -12, "another process uses the store", "end it, or use another directory")                       \
    ROW(STORE_DAMAGED, -13, "the store is damaged", "run: quartet store check DIR")                                    \
    ROW(STORE_FORMAT, -14, "the store is of another kind or of a newer version", "use the version that wrote it")      \
    ROW(STORE_FULL, -15, "the disk is full", "make room: it is tried again; nothing was changed")                      \
    ROW(STORE_FAILED, -16, "the disk failed to write",                                                                 \
        "close the client; what was acknowledged is safe, but the disk is not to be trusted")                          \
    ROW(EMPTY, -17, "there is nothing", "call again later")

enum quartet_error {
#define QUARTET_ERROR_ENUM(name, number, text, advice) QUARTET_##name = (number),
    QUARTET_ERROR_ROWS(QUARTET_ERROR_ENUM)
#undef QUARTET_ERROR_ENUM
};

/* "QUARTET_FULL", what it means, and what can be done; never NULL, also for numbers that are none. */
QUARTET_PUBLIC const char *quartet_error_name(int error);
QUARTET_PUBLIC const char *quartet_error_text(int error);
QUARTET_PUBLIC const char *quartet_error_advice(int error);
/* A sentence about the last call of this thread that failed, with names and numbers; "" when none has. Valid until the
 * next call of this thread fails. */
QUARTET_PUBLIC const char *quartet_last_error(void);
/* The name of an MQTT reason code, such as "Not authorized"; of 3.1.1's return codes when `protocol` is 4. */
QUARTET_PUBLIC const char *quartet_reason_name(int protocol, uint8_t reason);

/* ---- what a message carries beside its payload (5.0) ---- */

struct quartet_user_property {
    const char *name;
    const char *value;
};

/* Flat; nothing needs to be freed. Zero: none of them. All strings are UTF-8 and end with NUL. It lies inside of other
 * structs, as quartet_will and quartet_position do, and so has its size for ever: what the standard has is here. */
struct quartet_properties {
    bool payload_is_text;       /* Payload Format Indicator 1: the payload is UTF-8 */
    bool has_expiry;            /* Message Expiry Interval: of a received message, what was left when it came */
    uint32_t expiry_s;          /* seconds */
    const char *content_type;   /* NULL: none, as below */
    const char *response_topic; /* where the answer is wanted */
    const void *correlation_data;
    size_t correlation_bytes;
    const struct quartet_user_property *user; /* in their order */
    size_t user_count;
    const uint32_t *subscription_identifiers; /* of received messages */
    size_t subscription_identifier_count;
    uint16_t topic_alias; /* of received messages: 0, since this library allows the broker none */
};

struct quartet_will {
    const char *topic; /* NULL: no will */
    const void *payload;
    size_t payload_bytes;
    int qos;
    bool retain;
    uint32_t delay_s; /* Will Delay Interval, 5.0 */
    struct quartet_properties properties;
};

/* ---- options ---- */

enum quartet_guarantee {
    QUARTET_AS_ASKED = 0,     /* each message has its QoS; with a store, QoS 1 and 2 are durable */
    QUARTET_EXACTLY_ONCE = 1, /* refuses every option with which exactly once could not hold */
};

/* What becomes of messages whose flow was under way when the broker forgot the session. */
enum quartet_lost_policy {
    QUARTET_LOST_HOLD = 0, /* hold everything and report QUARTET_EVENT_SESSION_LOST: the application decides */
    QUARTET_LOST_RESEND,   /* send them again as new messages: none is lost, some may arrive twice */
    QUARTET_LOST_DROP,     /* give them up: none arrives twice, some may be lost */
};

struct quartet_event;
struct quartet_message;

struct quartet_options {
    /* Where: mqtt://host:port, mqtt://[::1], unix:///path; several, separated by spaces, are tried in order.
     * NULL: mqtt://localhost:1883 */
    const char *servers;
    const char *client_id; /* NULL or "": the broker (or, for 3.1.1 with a session, nobody) gives one */
    const char *username;  /* NULL: none */
    const void *password;  /* NULL: none */
    size_t password_bytes;
    int protocol;              /* 5 or 4 (which is 3.1.1); 0: 5 */
    bool clean_start;          /* forget the session at the first connection; 3.1.1: at each */
    bool end_session;          /* the session ends with its connection (expiry 0; 3.1.1: clean session) */
    uint32_t session_expiry_s; /* 5.0; 0: never, unless end_session */
    uint16_t keep_alive_s;     /* 0: 60; QUARTET_NO_KEEP_ALIVE: none */
    uint16_t receive_maximum;  /* QoS 1 and 2 messages that the broker may have on their way to us; 0: 1,000 */
    /* Larger packets from the broker end the connection, and with a store larger messages are not taken; 0: 4 MiB.
     * Under load a journal file has room for two of them. */
    uint32_t packet_bytes_max;
    uint16_t send_window; /* QoS 1 and 2 messages on their way to the broker; 0: what it allows, and 1,000 of 3.1.1 */
    struct quartet_will will;

    const char *store; /* a directory for this client alone; NULL: in memory, nothing survives the process */
    enum quartet_guarantee guarantee;
    enum quartet_lost_policy session_lost;
    uint64_t outbox_bytes; /* of messages that wait to be sent or acknowledged; 0: 1 GiB with a store, else 64 MiB */
    uint64_t
        inbox_bytes;  /* of messages that wait for the application to be done; beyond, the broker waits; 0: 64 MiB */
    bool manual_done; /* the application calls quartet_done(); else a message is done when on_message returns */

    uint32_t connect_timeout_ms; /* of one attempt, up to CONNACK; 0: 10,000 */
    uint32_t retry_min_ms;       /* the first pause before connecting again; 0: 250 */
    uint32_t retry_max_ms;       /* the longest; 0: 30,000. Pauses grow and are random between the two */
    bool no_retry;               /* the first failure is final: quartet_status() and an event tell it */

    /* NULL: fetch with quartet_next(). With manual_done, or when the message is kept, done is said later. */
    void (*on_message)(struct quartet *client, struct quartet_message *message, void *user);
    void (*on_event)(struct quartet *client, const struct quartet_event *event, void *user);
    void *user;
    bool trace; /* QUARTET_EVENT_PACKET for each packet that comes or goes */

    const char *bind_address;  /* the local address to connect from; NULL: any */
    bool no_delay_off;         /* leave Nagle's algorithm on */
    uint32_t store_timeout_ms; /* how long quartet_publish() waits for a disk that is full or slow; 0: 30,000 */
};

#define QUARTET_NO_KEEP_ALIVE 65535

/* Opens a client: checks the options, opens and recovers the store. Nothing is sent before it is driven. On failure
 * *client is NULL and quartet_last_error() says why. */
QUARTET_PUBLIC int quartet_open_sized(struct quartet **client, const struct quartet_options *options, size_t size);
static inline int quartet_open(struct quartet **client, const struct quartet_options *options) {
    return quartet_open_sized(client, options, sizeof *options);
}
/* Ends the connection (with DISCONNECT when there is one), the thread and the client. What is in the store stays for
 * the next quartet_open(); without a store it is gone. Waits for a callback that is running, a second at most for the
 * network, and for the disk: while that is full, some five seconds, then what was not told as stored is left. Calls of
 * other threads that have begun return, most with QUARTET_CLOSED; none may begin any more. From a callback: the client
 * goes when the callback has returned. NULL is allowed. */
QUARTET_PUBLIC void quartet_close(struct quartet *client);

/* ---- three ways to drive it (the third is quartet/core.h) ---- */

/* Connects, and goes on in a thread of its own. */
QUARTET_PUBLIC int quartet_start(struct quartet *client);

/* In a loop of the application: wait until the descriptor (which stays the same) is readable or quartet_timeout_ms()
 * has passed (-1: no need), then call quartet_handle(), which never waits for the network or the disk. */
QUARTET_PUBLIC int quartet_fd(struct quartet *client);
QUARTET_PUBLIC int quartet_timeout_ms(struct quartet *client);
QUARTET_PUBLIC int quartet_handle(struct quartet *client);

/* ---- publishing ---- */

struct quartet_publication {
    const char *topic;
    const void *payload; /* NULL with 0 bytes: an empty message */
    size_t payload_bytes;
    int qos; /* 0, 1, 2 */
    bool retain;
    /* The application's own number of this message, greater with each; 0: none. With a store, one that was taken before
     * is not taken again: after a crash the application may simply repeat what it is not sure of. */
    uint64_t sequence;
    bool no_wait; /* do not wait for the disk: quartet_wait_stored() or QUARTET_EVENT_STORED tells */
    struct quartet_properties properties;
};

/* Takes a message, connected or not. QoS 1 and 2 with a store: it is on disk when the call returns QUARTET_OK (B0),
 * unless no_wait. *id (may be NULL) names it to quartet_wait() and in events; it is 0 at QoS 0 and for a sequence that
 * was taken before. QoS 0 while there is no connection: kept in memory within outbox_bytes.
 *
 * After an error with *id 0 nothing was taken. With another *id the message is in the outbox but not known to be on
 * disk: QUARTET_TIMEOUT (store_timeout_ms is over; quartet_wait_stored() waits on), QUARTET_CLOSED,
 * QUARTET_STORE_FAILED. Publishing it again could send it twice, unless it has a `sequence`. */
QUARTET_PUBLIC int quartet_publish_sized(struct quartet *client, const struct quartet_publication *publication,
                                         size_t size, uint64_t *id);
static inline int quartet_publish(struct quartet *client, const struct quartet_publication *publication, uint64_t *id) {
    return quartet_publish_sized(client, publication, sizeof *publication, id);
}
/* Waits until this message (0: every one of QoS 1 and 2 so far) is on disk. timeout_ms -1: for ever. */
QUARTET_PUBLIC int quartet_wait_stored(struct quartet *client, uint64_t id, int timeout_ms);
/* Waits until the broker has acknowledged this message for good (PUBACK, PUBCOMP), or (0) until of every message so far
 * it is known what became of it (QoS 0: until it is written). timeout_ms -1: for ever. QUARTET_REFUSED: the broker does
 * not have it: it refused it, or the message expired first, or was given up with a lost session; quartet_last_error()
 * says which. QUARTET_INVALID: there is no such id, or 65,536 messages were refused since. */
QUARTET_PUBLIC int quartet_wait(struct quartet *client, uint64_t id, int timeout_ms);
/* The highest `sequence` that is in the store or was, 0 when none: where an application that lost its place goes on. */
QUARTET_PUBLIC uint64_t quartet_last_sequence(struct quartet *client);

/* ---- subscribing ---- */

struct quartet_subscription {
    const char *filter;
    int qos; /* the most that is wanted */
    bool no_local;
    bool retain_as_published;
    int retain_handling; /* 0: send retained messages, 1: only when the subscription is new, 2: never */
    uint32_t identifier; /* comes back in the properties of its messages, 5.0; 0: none */
};

/* Declares subscriptions. They are asked for when there is a connection, again when the broker has forgotten the
 * session, and not again while it remembers them, so that retained messages do not come twice. The answers are
 * QUARTET_EVENT_SUBSCRIBED, one for each filter. */
QUARTET_PUBLIC int quartet_subscribe_sized(struct quartet *client, const struct quartet_subscription *subscriptions,
                                           size_t count, size_t size);
static inline int quartet_subscribe(struct quartet *client, const struct quartet_subscription *subscriptions,
                                    size_t count) {
    return quartet_subscribe_sized(client, subscriptions, count, sizeof *subscriptions);
}
QUARTET_PUBLIC int quartet_unsubscribe(struct quartet *client, const char *filter);

/* ---- receiving ---- */

/* Where a message stands among all that this store has taken in: the same after every crash. */
struct quartet_position {
    uint8_t epoch[16]; /* of the store: another store, another epoch */
    uint64_t sequence; /* grows from message to message; 0 at QoS 0, which is not to be kept, and for "before all" */
};

/* Counted, and never changed: any thread may read it. */
struct quartet_message {
    const char *topic;
    size_t topic_bytes;
    const void *payload; /* followed by a NUL that does not count */
    size_t payload_bytes;
    int qos;
    bool retain;
    bool redelivered;   /* it may have been given to the application before a restart */
    uint16_t packet_id; /* on the wire, for display; 0 when it comes from the store */
    struct quartet_position position;
    struct quartet_properties properties;
};

/* The next message, for applications without on_message; waits up to timeout_ms (-1: for ever). The caller owns it:
 * quartet_done() when its work is done, then quartet_message_free(). QUARTET_EMPTY: none came in that time. */
QUARTET_PUBLIC int quartet_next(struct quartet *client, struct quartet_message **message, int timeout_ms);
/* The application is done with it: it will not be delivered again. Takes effect on disk with the next commit; to make
 * it one with an effect in a database, keep the position there instead and call quartet_resume() at the start. */
QUARTET_PUBLIC int quartet_done(struct quartet *client, const struct quartet_message *message);
/* Before driving the client: everything up to this position, which the application has kept, is done.
 * QUARTET_INVALID when the position is of another store. */
QUARTET_PUBLIC int quartet_resume(struct quartet *client, const struct quartet_position *position);
/* Keeps a message beyond the callback that was given it; it is then not done when the callback returns. */
QUARTET_PUBLIC struct quartet_message *quartet_message_keep(struct quartet_message *message);
QUARTET_PUBLIC void quartet_message_free(struct quartet_message *message);

/* ---- events and state ---- */

enum quartet_event_kind {
    QUARTET_EVENT_CONNECTED = 1, /* session_present, protocol, server */
    QUARTET_EVENT_DISCONNECTED,  /* error, reason (the broker's, or 0), text; it is tried again unless `final` */
    QUARTET_EVENT_STORED,        /* every message up to `id` is on disk; only when some were published with no_wait */
    QUARTET_EVENT_PUBLISHED,     /* id, reason: the broker has it for good (reason < 0x80), or has refused it */
    QUARTET_EVENT_SUBSCRIBED,    /* text: the filter, reason: the granted QoS or why not */
    QUARTET_EVENT_UNSUBSCRIBED,  /* text: the filter, reason */
    QUARTET_EVENT_SESSION_LOST,  /* count: messages whose flows were under way; see quartet_session_lost() */
    QUARTET_EVENT_STORE_FAILED,  /* error, text: nothing more is taken or acknowledged */
    QUARTET_EVENT_PACKET,        /* `outgoing`, text: the packet in a line, bytes; with options.trace */
};

struct quartet_event {
    enum quartet_event_kind kind;
    int error; /* enum quartet_error */
    uint8_t reason;
    bool session_present;
    bool final;    /* the client does not connect again */
    bool outgoing; /* PACKET: from us to the broker */
    int protocol;  /* 5 or 4 */
    uint64_t id;
    uint64_t count;
    size_t bytes;
    int64_t time_ns;       /* since 1970, when it happened */
    const char *text;      /* never NULL */
    const char *server;    /* CONNECTED, DISCONNECTED: which one; never NULL */
    const char *client_id; /* CONNECTED: ours, perhaps assigned by the broker; never NULL */
};

/* The application's decision after QUARTET_EVENT_SESSION_LOST: QUARTET_LOST_RESEND or QUARTET_LOST_DROP. */
QUARTET_PUBLIC int quartet_session_lost(struct quartet *client, enum quartet_lost_policy decision);

struct quartet_status {
    bool connected;       /* CONNACK has come */
    bool final;           /* and will not be again: `error` and `reason` say why */
    bool session_is_lost; /* waits for quartet_session_lost() */
    int error;            /* of the last connection or attempt */
    uint8_t reason;
    int protocol;
    uint64_t outbox_messages; /* not yet acknowledged for good, `in_flight` included */
    uint64_t outbox_bytes;
    uint64_t in_flight;      /* QoS 1 and 2 messages under way to the broker */
    uint64_t inbox_messages; /* not yet done */
    uint64_t inbox_bytes;
    uint64_t connections; /* how often CONNACK has come */
    uint64_t published;   /* acknowledged for good, since the client was opened */
    uint64_t received;    /* messages, repeats not counted */
    uint64_t repeated;    /* PUBLISH packets that were repeats and were not delivered again */
};
QUARTET_PUBLIC void quartet_status_sized(struct quartet *client, struct quartet_status *status, size_t size);
static inline void quartet_status(struct quartet *client, struct quartet_status *status) {
    quartet_status_sized(client, status, sizeof *status);
}
/* Ends the session as MQTT's DISCONNECT with this reason code does (0: normal; 4: the will is published) and does not
 * connect again. Waits up to timeout_ms for what is in the outbox to be acknowledged first. QUARTET_TIMEOUT and
 * QUARTET_SESSION_LOST: not all of it was, it is disconnected nevertheless. */
QUARTET_PUBLIC int quartet_disconnect(struct quartet *client, uint8_t reason, int timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
