/* What time alone brings about, looked at once a second: connections that said nothing, sessions that expired. Private
 * to this folder. */
#pragma once

#include "broker/state.h"

/* Connect timeout, keep alive [MQTT-3.1.2-22], a refused 3.1.1 publish that waited too long. */
void expiry_connection(struct connection *c);
/* Sessions whose expiry interval has passed since their connection ended [MQTT-4.1.0-2]; wills whose delay has. */
void expiry_sessions(struct shard *shard);
/* Whether that is so for this session; its client may come before the second is over. */
bool expiry_due(const struct session *session);
void expiry_session_end(struct session *session);
