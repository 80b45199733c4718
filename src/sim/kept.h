/* What a real client's store would hold if the power went now: the store's own recovery says so, on a copy of the
 * machine. For the judge, who compares it with what the client says, and for the scenarios, which show it. */
#pragma once

#include "sim/machine.h"

enum { KEPT_MAX = 64 };

struct kept {
    session_id_t out, in;                  /* the two sessions of a client's store */
    struct store_flight flights[KEPT_MAX]; /* by order */
    unsigned flight_count;
    packet_id_t held[KEPT_MAX];
    unsigned held_count;
    uint64_t sequence; /* the application's own number of its last message; 0: none */
};

/* False with an error when it could not be opened. `copy` is made in any case and stays open for questions: the caller
 * calls machine_deinit(). */
bool kept_look(struct kept *k, struct machine *copy, const struct machine *machine,
               const struct store_local_options *options, struct choices *choices, struct error *error);
/* The flow under this packet id; NULL: none. */
const struct store_flight *kept_flight(const struct kept *k, packet_id_t packet_id);
bool kept_holds(const struct kept *k, packet_id_t packet_id);
