/* SUBSCRIBE and UNSUBSCRIBE. Private to this folder. */
#pragma once

#include "broker/state.h"

void subscribe_packet(struct connection *c, const struct packet_subscribe *p);
/* 0 when the filter may be subscribed, and then a new one has its place; else what SUBACK says; logged. `one_more`: the
 * packet may have it. */
uint8_t subscribe_refusal(const struct connection *c, const struct packet_filter *f, bool one_more);
/* Sends SUBACK, which waits for `after`. */
void subscribe_suback(struct connection *c, const struct packet_suback *ack, lsn_t after);
/* A filter of an UNSUBSCRIBE leaves; returns the reason for UNSUBACK. */
uint8_t unsubscribe_filter(struct session *session, struct span filter);
/* Sends UNSUBACK, which waits for `after`. */
void unsubscribe_unsuback(struct connection *c, const struct packet_suback *ack, lsn_t after);
void unsubscribe_packet(struct connection *c, const struct packet_subscribe *p);
