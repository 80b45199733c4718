/* What comes in on a connection: packets are cut out of the bytes and given to who answers them; what cannot be
 * processed now is kept. Private to this folder.
 *
 *     in   [ PUBLISH, refused | PUBLISH ... | PUBACK PUBREC ... ]
 *            waits, tried again                 are processed at once: they make room
 *
 * Limits: a partial packet has the size that its kind of packet may have; behind a refused PUBLISH one packet's size
 * and 64 KiB are kept, then the connection is not read from. */
#pragma once

#include "broker/state.h"

/* Takes received bytes: processes whole packets, keeps the rest. */
void input_feed(struct connection *c, struct span bytes);
/* Goes on with what was kept, after a pause. */
void input_continue(struct connection *c);
void input_pause(struct connection *c, enum pause why);
/* Nothing leaves any more: that its client does not read is no reason not to hear what it has said at last. */
void input_broken(struct connection *c);
/* Processes what was kept for the next turn, now: the connection is about to end. */
void input_rest(struct connection *c);
/* `over`: a set of enum pause. Goes on with what was received when no reason is left. */
void input_unpause(struct connection *c, unsigned over);
