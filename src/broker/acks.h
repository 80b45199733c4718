/* What a subscriber answers: PUBACK, PUBREC, PUBCOMP. Private to this folder. */
#pragma once

#include "broker/state.h"

void acks_packet(struct connection *c, enum packet_type type, const struct packet_ack *p);
