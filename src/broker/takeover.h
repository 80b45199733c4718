/* A client comes back before its old connection is over. Private to this folder.
 *
 *     CONNECT ──> the old one is open? ── no ──> goes on at once
 *                        │ yes
 *                        v
 *     CONNECT waits in old->heirs, old is CONN_DRAIN: net/ gives what the system has of it
 *                        │ all was read, or it is closed
 *                        v
 *     old: told 0x8E, silent (B9) ──> the first heir goes on and has the other heirs now
 *
 * What the client sent last (its QoS 0 messages, its DISCONNECT, which discards its will [MQTT-3.14.4-3]) was sent
 * before its new CONNECT and counts before it, whichever thread saw which first. A CONNECT that comes between the end
 * of an old connection and the turn of its heir is an heir of that one: else the older of the two had the session at
 * last. Limits: net/ bounds what is read; many CONNECTs with one client id are a list that is handed on whole. */
#pragma once

#include "broker/state.h"

enum { HEIR_HEARD = 2 }; /* heir_key of a connection whose CONNECT has waited and is taken now: it came in time */

/* True when the CONNECT on `c` must wait for the end of the client's old connection: it stays in c->in. */
bool takeover_waits(struct connection *c, struct span client_id);
/* True when a client whose CONNECT has waited is about to take this session: neither the session nor its will is over
 * because time passes. */
bool takeover_awaited(const struct session *s);
/* `c` has its session now; when others wait for it, it is drained at once. */
void takeover_connected(struct connection *c);
/* All was read of an old connection: it is told and silenced. */
void takeover_end(struct connection *old);
/* A connection is through, or goes to wait no longer: who waits for it is next. */
void takeover_pass_on(struct connection *c);
/* Goes on with the CONNECTs whose turn has come. */
void takeover_go_on(struct shard *shard);
