/* Which messages were not taken, for those who wait for them later: refused by the broker, expired before they were
 * sent, or given up with a lost session. The last 65,536 are known; of older ones it is known that they are too old.
 * The lock of the client is held. */
#pragma once

#include <stdint.h>

#include <quartet/quartet.h>

#include "base/map.h"
#include "client/fifo.h"

enum { REFUSALS_MAX = 65536 };

struct refusals {
    struct map64 by_id; /* error and reason, as one number that is not 0 */
    struct fifo ids;    /* uint64_t, in the order in which they were told */
    uint64_t forgotten; /* the highest id that is not known any more; 0: none */
};

struct refusal {
    int error;      /* QUARTET_OK or QUARTET_REFUSED: the broker refused; QUARTET_TIMEOUT, QUARTET_SESSION_LOST */
    uint8_t reason; /* the broker's */
};

void lib_refusals_init(struct refusals *r, uint64_t seed);
void lib_refusals_deinit(struct refusals *r);
/* Takes note of a QUARTET_EVENT_PUBLISHED that says no. */
void lib_refusal_note(struct refusals *r, const struct quartet_event *event);
/* False when the message is not known to have been refused. */
bool lib_refusal_of(const struct refusals *r, uint64_t id, struct refusal *refusal);
