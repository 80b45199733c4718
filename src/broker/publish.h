/* What a publisher sends: PUBLISH and PUBREL. Private to this folder. */
#pragma once

#include "broker/state.h"

/* $SYS and what is below it: nobody but the broker publishes there. */
bool publish_reserved_topic(struct span topic);
/* [MQTT-4.3.3-8..13]. A PUBLISH over a limit that may pass soon, or from a 3.1.1 client, sets
 * PAUSE_REFUSED and is tried again; else it is refused with 0x97. */
void publish_packet(struct connection *c, const struct packet_publish *p);
void publish_pubrel(struct connection *c, const struct packet_ack *p);
