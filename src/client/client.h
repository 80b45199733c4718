/* The client engine: one MQTT session towards one broker at a time, without I/O.
 *
 *     application  publish --> outbox queue --> qos_out --> wire --> broker       the same session code as the
 *                  messages <-- inbox queue <-- qos_in  <-- wire <-- broker       broker's, the other way round
 *
 * Bytes, time and "durable up to lsn" go in; staged records, bytes that may leave, messages and events come out. It
 * calls no socket, file, clock, random or thread function, and no function of the application. Not thread-safe:
 * src/lib/ holds a lock around it and none around callbacks.
 *
 * In the store a client is two sessions: "out:CLIENT-ID" owns the queue and the flights towards the broker,
 * "in:CLIENT-ID" the held packet ids, the queue of messages that wait for the application, and the granted
 * subscriptions. So the records, the fold and the tools of the broker serve it unchanged:
 *
 *     quartet_publish     MESSAGE{origin out, sequence, target out}   durable before it says stored          B0
 *     PUBLISH leaves      SENT{out, id, message}                      durable before its first byte          B1
 *     PUBREC came         RECEIVED{out, id}                           durable before PUBREL                  B3
 *     PUBACK, PUBCOMP     DONE{out, id}                               before its id is used again            B5
 *     PUBLISH came        MESSAGE{origin in, packet id, target in}    durable before PUBREC or PUBACK, and
 *                                                                     before the application sees it         B2
 *     PUBREL came         FREED{in, id}                               durable before PUBCOMP                 B4
 *     done                DROPPED{in, message}                        in any order; may be lost with a crash:
 *                                                                     delivered again, same position         B6
 *     SUBACK came         SUBSCRIBED{in, filter}                      so that a restart does not ask again
 *     CONNECT leaves      SESSION{out}: not answered                  durable before its first byte
 *     CONNACK came        FREED, UNSUBSCRIBED when the session is
 *                         gone; then SESSION{in}, SESSION{out}        durable before SUBSCRIBE               R3
 *     flows are lost      SESSION{out}: lost, or no more              see send.c
 *
 * A message's name (its id towards the application, the sequence of its position) is the lsn of its MESSAGE record. The
 * memory store gives lsns too and everything is durable at once, so that there is one way through this code.
 *
 * Session Present 0 with flows of ours open or ids held: held ids are forgotten (R3, FREED); a flow that was released
 * has ended (the broker had the message), one that is published waits for the decision (QUARTET_LOST_*): it is sent
 * again as new, under its id, or is dropped. QUARTET_LOST_HOLD resends when that cannot break what was promised: when
 * all of them are QoS 1, or when it was we who asked the broker to forget (clean_start, end_session). While flows are
 * held, nothing of QoS 1 and 2 is sent. Session Present 1 when we know of no session: nothing is wrong; what comes is
 * taken, and before a packet id is first used a PUBREL frees it at the broker, and is answered.
 *
 * What an MQTT client cannot know: when CONNACK is cut off, and the broker had forgotten the session, the next CONNACK
 * says that a session is present. If it may have expired, it is not trusted: connect.c asks for a clean start. Else it
 * is taken for the old one; 5.0: subscriptions are then asked for once more, with Retain Handling 1.
 *
 * Publications that will never be sent are told by QUARTET_EVENT_PUBLISHED: expired before their flow began
 * (QUARTET_TIMEOUT), or of a kind that this broker does not take (QUARTET_REFUSED and the reason code: QoS, RETAIN,
 * size). A flow that has begun is finished also when its message expires (R10).
 *
 * Limits: packets of the broker are checked as by the broker (packet/). The inbox is bounded: from inbox_bytes on,
 * PUBREC and PUBACK are withheld, in order (R8); at twice that, or when the store is full, the connection ends with
 * QUARTET_FULL until there is room; QoS 0 beyond inbox_bytes is dropped. A broker that makes us answer and does not
 * read loses the connection at 16 MiB. Nothing a broker sends makes it allocate without bound or deliver twice. */
#pragma once

#include <sys/uio.h>

#include <quartet/quartet.h>

#include "base/error.h"
#include "base/span.h"
#include "base/types.h"
#include "record/message.h"
#include "session/barrier.h"
#include "store/store.h"

struct client;

struct client_setup {
    const struct quartet_options *options; /* checked and complete: client_options_complete() */
    struct store *store;                   /* loaded by client_create(); outlives the client */
    uint8_t epoch[16];                     /* of the store */
    uint64_t seed;                         /* for pauses and hash tables */
    packet_id_t ids_max;                   /* 65,535; less in the simulator */
    enum mutant mutant;                    /* MUTANT_NONE but in the simulator */
};

/* Fills in the defaults and checks; strings are still the caller's. False with a reason: QUARTET_INVALID or
 * QUARTET_UNSAFE and a text. */
bool client_options_complete(struct quartet_options *options, int *error, struct error *text);

/* Loads the store; nothing is sent before client_time(). NULL with an error. Copies the options. */
struct client *client_create(const struct client_setup *setup, struct error *error);
void client_destroy(struct client *c);

/* ---- what happens to it ---- */

/* Before one of the next two: how much the clock that also counts sleep is ahead of the `now` that comes. Never said:
 * not at all. */
void client_slept(struct client *c, mono_ms_t ms);
/* What time it is, and nothing else: before client_publish() when client_time() was long ago, for message expiry. */
void client_clock(struct client *c, mono_ms_t now, wall_ms_t wall);
/* What time it is; runs what is due. */
void client_time(struct client *c, mono_ms_t now, wall_ms_t wall);
/* When client_time() must be called next; -1: no need. */
mono_ms_t client_deadline(const struct client *c);

enum client_wish {
    CLIENT_NOTHING = 0,
    CLIENT_CONNECT, /* open a transport to the server with this index; then client_opened() or client_closed() */
    CLIENT_CLOSE,   /* write what may leave, close, client_closed() */
};
enum client_wish client_wish(const struct client *c, uint32_t *server);
/* How many servers options.servers names, and one of them as text. */
uint32_t client_server_count(const struct client *c);
const char *client_server(const struct client *c, uint32_t index);

void client_opened(struct client *c);
void client_received(struct client *c, struct span bytes);
/* The transport is gone or could not be opened; error is an enum quartet_error, text may be NULL. */
void client_closed(struct client *c, int error, const char *text);
/* store_durable() or store_folded() has grown, or the store has failed. */
void client_stored(struct client *c);

/* Up to `max` pieces that may leave now; views until the next call. */
int client_output(struct client *c, struct iovec *iov, int max);
void client_sent(struct client *c, size_t bytes);

/* ---- what the application does ---- */

/* The message is in the outbox; it is stored when client_publish_stored(). QoS 0: *id 0. Of a sequence that was taken
 * before: 0, or the id of the message to wait for while that one is not stored. */
int client_publish(struct client *c, const struct quartet_publication *p, uint64_t *id, struct error *text);
/* store_durable() >= id (B0). */
bool client_publish_stored(const struct client *c, uint64_t id);
uint64_t client_last_sequence(const struct client *c);
/* The oldest message that is neither acknowledged nor given up; UINT64_MAX: none. And whether this one is such. */
uint64_t client_oldest(struct client *c);
bool client_pending(struct client *c, uint64_t id);
/* QoS 0 messages taken, and those that have left or were given up. */
uint64_t client_volatile_taken(const struct client *c);
uint64_t client_volatile_left(const struct client *c);

int client_subscribe(struct client *c, const struct quartet_subscription *s, size_t count, struct error *text);
int client_unsubscribe(struct client *c, const char *filter, struct error *text);

/* A message for the application. */
struct client_delivery {
    struct message *message; /* one reference, the taker's */
    uint64_t sequence;       /* 0: QoS 0 */
    packet_id_t packet_id;   /* on the wire; 0 when it came from the store */
    uint8_t qos;
    bool retain;
    bool redelivered;
    bool has_expiry;
    uint32_t expiry_s;
    struct span subscription_identifiers; /* as received, only for messages that did not come from the store; valid
                                             until the next client_take() */
};
/* The next one that is durable and not taken yet, in order; false when there is none. */
bool client_take(struct client *c, struct client_delivery *d);
/* The application is done with what it has taken; false when the sequence is not open. */
bool client_done(struct client *c, uint64_t sequence);
/* Everything up to `sequence` is done; before anything was taken. */
int client_resume(struct client *c, uint64_t sequence);

/* The next event; its text is valid until the next call about this client. Without options.on_event only those are kept
 * that src/lib needs: refusals, lost sessions, packets. QUARTET_EVENT_STORED is made there. */
bool client_event(struct client *c, struct quartet_event *event);

int client_session_lost(struct client *c, enum quartet_lost_policy decision);
/* DISCONNECT with this reason and no connection any more. */
void client_disconnect(struct client *c, uint8_t reason);
void client_status(const struct client *c, struct quartet_status *status);
/* Equal for equal protocol states wherever they lie in memory; clocks and counters are not in it. For the simulator. */
uint64_t client_digest(const struct client *c);
