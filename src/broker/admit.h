/* Admission: what a peer takes is reserved before anything changes, in one call for each packet. Private to this
 * folder.
 *
 *     CONNECT       a session, its memory and its will's        refused: CONNACK 0x97 (3.1.1: 3)
 *     SUBSCRIBE     a subscription and its memory, each filter  refused: 0x97 in SUBACK (3.1.1: 0x80)
 *     PUBLISH       a retained message: see route.c             refused: 0x97, or it waits
 *     PUBLISH       a place in each queue: see inlet.h          refused: it waits, or the session of the queue ends
 *     a delivery    its body in flight                          never refused; it waits in its queue
 *     any bytes     what was received and waits                 refused: the connection is closed
 *     answers       what waits to be sent                       never refused; deliveries wait, QoS 0 is dropped
 *
 * Acknowledgements, unsubscribing, clearing and ending take nothing and always work. Two things are asked: the accounts
 * of quota/ (has this owner, have all together, taken their share?), and how much memory there really is. */
#pragma once

#include "broker/state.h"

/* How much of memory_limit is used. */
enum memory_pressure {
    MEMORY_EASY = 0,
    MEMORY_BUSY,  /* nothing new is kept: no session, no subscription, no retained message */
    MEMORY_SHORT, /* whoever has the most of what waits is cut off */
    MEMORY_FULL,  /* no message that waits either */
};

/* The bounds of all accounts that follow from the options. */
struct quota_limits admit_limits(const struct broker_options *options);
enum memory_pressure admit_memory(const struct broker_options *options);
/* Whether the store really has so much that one owner may be over its share of it. */
bool admit_store_tight(const struct broker *broker);
/* With how much in the store an owner may still add to it: less, the less is free. UINT64_MAX: any, as long as a
 * quarter is. */
uint64_t admit_store_part(const struct broker *broker);
/* The same for messages that wait in queues, of all that may. */
uint64_t admit_queued_part(const struct broker *broker);

/* What a CONNECT costs that opens a session; NULL: one that the store brought back. */
struct session_taken admit_session_cost(struct span client_id, const struct packet_connect *p);
/* Reserves a new session for the owner of the connection; false: over a bound, and `why` gets a sentence. */
bool admit_session(const struct connection *c, const struct session_taken *cost, const char **why);
/* The same for one that replaces another, or that the store brought back: it cannot be refused. */
void admit_session_anyway(struct account *owner, const struct session_taken *cost);
/* Whether the session's owner has room for one more that keeps a will. */
bool admit_keeper_room(const struct session *session);
/* The session's client is somebody else's now, or has another will. */
void admit_session_resumed(struct session *session, struct account *owner, uint32_t will_bytes);
/* Everything that the session has taken is given back, its owner too. */
void admit_session_end(struct session *session);
/* What the session has in flight is charged: in portions, or (`rest`) exactly. */
void admit_inflight(struct session *session, bool rest);
/* Whether one more flight may begin, as far as its owner and all together are concerned. */
bool admit_inflight_room(const struct session *session);
/* Reserves one more subscription; false: over a bound. */
bool admit_subscription(struct session *session, struct span filter);
/* One that the store brought back. */
void admit_subscription_anyway(struct session *session, struct span filter);
void admit_subscription_end(struct session *session, struct span filter);
/* Reserves a topic's retained message for its owner, where `old` was (NULL: none); a smaller one of the same owner
 * always has room. `old` goes on being accounted for until it is replaced. The broker's lock is held from here on until
 * then. False: over a bound, and `why` gets a sentence. */
bool admit_retained(struct shard *shard, const struct message_parts *parts, const struct message *old,
                    const char **why);
/* One that the store brought back. */
void admit_retained_anyway(struct broker *broker, const struct message *m);
/* One has left the index. */
void admit_retained_end(struct broker *broker, const struct message *old);

/* A connection enters; false: its owner has too many. */
bool admit_connection(struct connection *c);
/* It has gone: all that it took is given back, its owner too. */
void admit_connection_end(struct connection *c);
/* The received bytes that wait are more or less now; false: over a bound, the connection must be closed. */
bool admit_input(struct connection *c);
/* What waits to be sent is more now. */
void admit_output_portion(struct connection *c);
static inline void admit_output_more(struct connection *c) {
    if (c->out.bytes.len - c->out.taken > c->output_taken) {
        admit_output_portion(c);
    }
}
/* Some was sent. `rest`: it is a quiet moment, nothing is kept in reserve. */
void admit_output_less(struct connection *c, bool rest);
/* Whether deliveries may enter the outbox, as far as its owner and all together are concerned. */
static inline bool admit_output_room(const struct connection *c) {
    return c->shard->memory != MEMORY_FULL && quota_has_room(c->owner, QUOTA_OUTPUT_BYTES);
}
