/* Packets of a scenario, from text to bytes: the words that mini_print() prints, and what a client needs besides. */
#pragma once

#include "sim/mini.h"

/* Encodes `text` ("PUBLISH 1 t qos 2 \"m\"") as the client `name` would send it to `out` (MINI_PACKET_BYTES); 0 when
 * the text is not understood. CONNECT sets *five and uses the name as the client identifier. `*type` gets the type. */
size_t scenario_packet(const char *name, bool *five, const char *text, uint8_t *out, uint8_t *type);
/* The same for what a broker sends. */
size_t scenario_answer(bool five, const char *text, uint8_t *out);
