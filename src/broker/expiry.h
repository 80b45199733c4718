/* What time alone brings about: connections that said nothing, sessions that expired, wills whose delay has passed,
 * retained messages. Each has its deadline in a heap (shard.due and shard.connections_due, retained.h), so that a tick
 * costs what is due and not what there is; what is due at once is done in slices. Private to this folder. */
#pragma once

#include "broker/state.h"

/* About once a second: connect timeout, keep alive [MQTT-3.1.2-22], a refused 3.1.1 publish that waited too long;
 * sessions whose expiry interval has passed since their connection ended [MQTT-4.1.0-2]; wills whose delay has; buffers
 * of quiet connections. */
void expiry_tick(struct shard *shard);
/* In each turn: what the last has not finished, and retained messages. */
void expiry_go_on(struct shard *shard);
/* The session's client has come or gone, or its will: sets its deadline. */
void expiry_arm(struct session *session);
/* The connection has another state: sets its deadline. What only moves it on need not be told. */
void expiry_watch(struct connection *c);
/* A packet was begun and is not whole: its deadline counts, too. */
void expiry_begun(struct connection *c);
/* Whether that is so for this session; its client may come before the second is over. */
bool expiry_due(const struct session *session);
void expiry_session_end(struct session *session);
/* Whether its delay has passed [MQTT-3.1.3-9]. */
bool expiry_will_due(const struct session *session);
