/* SUBSCRIBE and UNSUBSCRIBE. Private to this folder. */
#pragma once

#include "broker/state.h"

void subscribe_packet(struct connection *c, const struct packet_subscribe *p);
void unsubscribe_packet(struct connection *c, const struct packet_subscribe *p);
