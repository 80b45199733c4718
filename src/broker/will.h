/* Wills. Private to this folder. */
#pragma once

#include "broker/state.h"

/* The will of a CONNECT, recorded before CONNACK (B10). */
void will_set(struct session *session, const struct packet_will *will);
/* DISCONNECT came: no will any more [MQTT-3.1.2-10]. */
void will_clear(struct session *session);
/* The connection ended without DISCONNECT [MQTT-3.1.2-8], and the will's delay has passed or the session ends
 * [MQTT-3.1.3-9]: one record publishes the will and clears it. */
void will_publish(struct session *session);
