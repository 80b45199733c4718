/* Sessions: their life, and the way of deliveries through queue, flights and outbox. Private to this folder. */
#pragma once

#include "broker/state.h"

/* What a session is opened with. */
struct session_parts {
    struct span client_id; /* copied */
    uint8_t protocol;
    bool durable;
    uint32_t expiry_s;
    struct account *owner;      /* one reference, which the session takes over */
    struct session_taken taken; /* and what was reserved of it */
};

/* Opens a new session: recorded when durable (B7). */
struct session *session_create(struct shard *shard, const struct session_parts *parts);
/* Puts back a session of the store. */
struct session *session_restore(struct shard *shard, session_id_t id, const struct session_parts *parts,
                                wall_ms_t disconnected_at);
/* Ends it: recorded when durable (B8: shard.ended_lsn), but for the mutant that is named; everything of it is gone, its
 * will is published. It has no connection. */
void session_end(struct session *session, enum mutant unrecorded);
/* Frees the memory without a record: the broker stops. */
void session_forget(struct session *session);

/* Its flights and queues, made when there are none yet. */
struct flows *session_flows(struct session *session);
/* What they are when there was no delivery yet. */
void session_flows_init(const struct session *session, struct flows *flows);
/* Deliveries that wait in its queue. */
static inline uint64_t session_queued(const struct session *s) {
    return s->flows != NULL ? queue_count(&s->flows->queue) : 0;
}
/* True when there is something to send, now or when there is room. */
static inline bool session_sends(const struct session *s) {
    return s->flows != NULL && queue_count(&s->flows->queue) + s->flows->out.resend_count > 0;
}

/* Stages a record about the session when it is durable; returns its lsn (0 when there is none). */
lsn_t session_stage(struct session *session, const struct record *record);
/* The same for a record that is a packet id and nothing more: HELD, FREED, RECEIVED, DONE. */
lsn_t session_stage_flow(struct session *session, enum record_kind kind, packet_id_t packet_id);
/* Records how the session is now (expiry, connected or not). */
lsn_t session_stage_state(struct session *session);

/* The connection is gone: the will is published, at once or after its delay, unless `graceful`; a session without
 * expiry ends here. */
void session_disconnected(struct session *session, bool graceful);
/* The session has a new connection: owed PUBRELs, then PUBLISHes, then what waits. */
void session_resume(struct session *session, uint16_t receive_maximum);

/* Takes a delivery (and one reference to its message); QoS 1 and 2 were reserved in the inlet's accounts. */
void session_deliver(struct session *session, struct message *m, uint8_t qos, bool retain, uint32_t target);
/* The same at QoS 0; the message is borrowed. */
void session_deliver_qos0(struct session *session, struct message *m, bool retain);
/* Takes a retained message that a SUBSCRIBE has brought (and the delivery's reference); QoS 1 and 2 as above. */
void session_take_retained(struct session *session, const struct delivery *d);
/* What was kept behind that joins the queue. */
void session_join_behind(struct session *session);
/* Drops what has expired at the head of its queue, recorded and counted: it takes no room from others. */
void session_drop_expired(struct session *session);
/* A delivery that has expired was taken out of its queue (and its reference with it): the same. Returns its record. */
lsn_t session_expired(struct session *session, struct delivery *d);
/* So many of its queued messages stay in memory. */
uint32_t session_window(const struct session *session);
/* Sends what may be sent: resends first, then the queue. */
void session_pump(struct session *session);
/* Resends everything unanswered on the live connection: what R7 forbids, for its mutant. */
void session_resend_now(struct session *session);

/* The subscription of a filter, or NULL. */
struct subscription *session_subscription(const struct session *session, struct span filter);
/* Adds or replaces without records and without the trie's lock; true when it is new. */
bool session_subscribe(struct session *session, struct span filter, uint32_t options);
/* Removes; true when it was there. */
bool session_unsubscribe(struct session *session, struct span filter);
