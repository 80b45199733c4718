/* A client comes back before its old connection is over. Private to this folder.
 *
 *     CONNECT ──> the old one is open? ── no ──> goes on at once
 *                        │ yes
 *                        v
 *     CONNECT waits in old->heirs->waiting, old is CONN_DRAIN: net/ gives what the system has of it
 *                        │ all was read, or it is closed
 *                        v
 *     old: told 0x8E, silent (B9) ──> the first heir goes on and has the other heirs now
 *
 * How often a client that is there may be thrown out is bounded, for each client id: takeover_rate a second, and as
 * many at once. Beyond it the old one stays until the time has come; one CONNECT waits, and those that come meanwhile
 * are refused. An old connection that ends by itself costs nothing of that.
 *
 * What the client sent last (its QoS 0 messages, its DISCONNECT, which discards its will [MQTT-3.14.4-3]) was sent
 * before its new CONNECT and counts before it, whichever thread saw which first. A CONNECT that comes between the end
 * of an old connection and the turn of its heir is an heir of that one: else the older of the two had the session at
 * last. Limits: net/ bounds what is read; of one client id so many CONNECTs wait as it may have take-overs now, one at
 * least; they are a list that is handed on whole. What is known of a contested client id goes when the id is calm. */
#pragma once

#include "broker/state.h"

enum { HEIR_HEARD = 2 }; /* heirs.key of a connection whose CONNECT has waited and is taken now: it came in time */

enum takeover {
    TAKEOVER_NONE = 0, /* there is nobody to wait for */
    TAKEOVER_WAITS,    /* the CONNECT on `c` must wait for the end of the client's old connection: it stays in c->in */
    TAKEOVER_REFUSED,  /* too many have come with this client id */
};
enum takeover takeover_ask(struct connection *c, struct span client_id);
/* True when a client whose CONNECT has waited is about to take this session: neither the session nor its will is over
 * because time passes. */
bool takeover_awaited(const struct session *s);
/* The CONNECT of `c` has waited: it came in time, whatever time has passed. */
bool takeover_heard(const struct connection *c);
/* `c` has its session now; when others wait for it, it is drained at once. */
void takeover_connected(struct connection *c);
/* All was read of an old connection: it is told and silenced. */
void takeover_end(struct connection *old);
/* A connection is through, or goes to wait no longer: who waits for it is next. */
void takeover_pass_on(struct connection *c);
/* Goes on with the CONNECTs whose turn has come. */
void takeover_go_on(struct shard *shard);
/* At the beginning of a turn: old connections whose time has come are drained. */
void takeover_turn(struct shard *shard);
/* Once a second: client ids that are calm are forgotten. */
void takeover_tick(struct shard *shard);
/* The shard goes, its connections have gone. */
void takeover_deinit(struct shard *shard);
