/* The receiver's half of QoS 2: which packet ids are held.
 *
 *              PUBLISH: message goes on, PUBREC            PUBREL: PUBCOMP
 *     FREE ──────────────────────────────────────> HELD ───────────────────> FREE
 *      PUBREL: PUBCOMP (0x92)  ^                    PUBLISH: PUBREC, nothing more
 *
 * Method B of the standard (figure 4.3): the message goes on at PUBLISH, the id is forgotten at PUBREL. The DUP flag
 * has no say (R1), ids have no timer (R2), repeats are counted by nobody (R6). Statements MQTT-4.3.3-8 to -13.
 *
 * Limits: the 65,535 ids that there are, at most 8.5 KiB. Memory comes with the ids, 128 bytes for 1,024 of them, and
 * stays until qos_in_shrink() finds none held, so that a busy flow does not allocate for each id. Knows one peer; does
 * not know messages, records, time. Its durability duty is its caller's: what changes here is recorded (B2, B4) before
 * the answer leaves. */
#pragma once

#include <stdbool.h>

#include "base/types.h"

/* Zero-initialised: nothing is held. */
struct qos_in {
    uint64_t **pages; /* 64 pages of 1,024 ids each, NULL where none was held since the last shrink; NULL: all are */
    uint32_t count;   /* ids held */
};

void qos_in_deinit(struct qos_in *in);
bool qos_in_holds(const struct qos_in *in, packet_id_t packet_id);
/* PUBLISH was accepted: FREE -> HELD; false (nothing changes) when it is held already: a repeat. */
bool qos_in_hold(struct qos_in *in, packet_id_t packet_id);
/* PUBREL came: HELD -> FREE; false when the id was not held: an unknown PUBREL. */
bool qos_in_free(struct qos_in *in, packet_id_t packet_id);
/* Gives all memory back when no id is held; for quiet moments. */
void qos_in_shrink(struct qos_in *in);
/* The lowest held id that is >= from, or 0. */
packet_id_t qos_in_next(const struct qos_in *in, uint32_t from);
