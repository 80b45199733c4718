/* Wills: recorded when they are set (B10), published or cancelled. Private to this folder.
 *
 * A will is durable whatever its session is: that of a session which is not durable has a SESSION record of its own
 * (expiry 0, ended with the will), and at the next start it is a session whose connection the stop has ended. The full
 * queue of one does not keep a will from the others: a queue takes so many wills past its bounds (inlet_reserve). A
 * will that finds no room even so, or none in the store, stays due for all, since it is accepted once, in one record,
 * and is tried again each second. When its session ends meanwhile, it goes to a keeper: a session with nothing but a
 * will, whose client id begins with a zero byte, as no client's does, and ends with that of the client. Limits: a
 * keeper is in its owner's account, with what its session had taken for the will: who has a share full of them gets no
 * new session, and none of his with another will. So no will is lost that was accepted. A store that is full keeps no
 * wills that it has not got: who brings one, and has no durable session, is refused (connect.c). */
#pragma once

#include "broker/state.h"

/* A session has this will from now on; its CONNACK waits for session.last_lsn. */
void will_set(struct session *session, const struct packet_will *will);
/* It has none any more. */
void will_clear(struct session *session);
/* Publishes it. False: there is no room now, and the session still has it. */
bool will_publish(struct session *session);
/* The session goes on or ends without its will, which is due: published now, or given to a keeper. */
void will_leave(struct session *session);
/* Whether another will may follow the one that is due: it was published now, or its owner has room for a keeper. */
bool will_may_follow(struct session *session);
/* By what its records name the session that the will belongs to; 0: it has no record. */
static inline session_id_t will_origin(const struct session *session) {
    return session->durable ? session->id : session->will_id;
}
/* At the start, before anything is published: a will that a crash has left in two places has one. */
void will_load_kept(struct session *keeper);
/* The client of a client id: of a keeper's, whose will it keeps. */
struct span will_client(struct span client_id);
/* True for a session that is there for a will alone. */
static inline bool will_keeper(const struct session *session) {
    return session->client_id.len > 0 && session->client_id.ptr[0] == 0;
}
