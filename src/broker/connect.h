/* CONNECT and DISCONNECT: who a connection is, which session it gets, how it leaves. Private to this folder. */
#pragma once

#include "broker/state.h"

void connect_packet(struct connection *c, const struct packet_connect *p);
/* A CONNECT that is wrong, or that is not accepted: CONNACK when the protocol has a code for it, then the end. */
void connect_refuse(struct connection *c, uint8_t protocol, const struct verdict *verdict);
void connect_disconnect_packet(struct connection *c, const struct packet_disconnect *p);
/* The shard that owns the session of a client id. */
unsigned connect_owner(const struct broker *broker, struct span client_id);
