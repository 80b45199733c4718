/* Numbers that travel through all layers. */
#pragma once

#include <stdint.h>

/* Log sequence number of a record: 1, 2, 3, ... for ever, never used twice; 0 is "none" and counts as durable. */
typedef uint64_t lsn_t;

/* Who a session is inside the store: the lsn of the record that opened it. Sessions that are not durable have numbers
 * with the top bit set, which mean nothing after a restart. 0 is "none". */
typedef uint64_t session_id_t;
#define SESSION_ID_VOLATILE (1ULL << 63)

/* MQTT's packet identifier, 1 to 65,535; 0 is "none". */
typedef uint16_t packet_id_t;

/* Milliseconds of a clock that never jumps: for deadlines. */
typedef int64_t mono_ms_t;
/* Milliseconds since 1970: for what must be meaningful after a restart (expiry). 0 is "none". */
typedef int64_t wall_ms_t;
