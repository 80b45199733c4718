/* One PUBLISH at QoS 0 on its way to many: the second who gets it has it encoded, all who follow get a copy of that.
 * Private to this folder.
 *
 * Limits: one message at a time, with a small body (a large one is not copied anyway). Forgotten when the turn ends,
 * for what is left of its expiry interval changes. */
#pragma once

#include "broker/state.h"

/* The packet for clients of this protocol; empty when it is not worth keeping (yet). Valid until the next call. */
struct span onward_packet(struct shard *shard, struct message *m, enum protocol protocol, bool retain);
void onward_forget(struct shard *shard);
/* The fields of a PUBLISH that come from the message, filled in. */
void onward_head(const struct shard *shard, const struct message *m, struct packet_publish_head *head);
