/* Packets of a scenario, from text to bytes: the words that mini_print() prints, and what a client needs besides. */
#pragma once

#include "sim/mini.h"

/* One client of a scenario. */
struct scenario_client {
    char name[16];
    bool five; /* as its last CONNECT said */
    int conn;  /* index in the world's connections; -1: none */
};

/* Encodes `text` ("PUBLISH 1 t qos 2 \"m\"") as the client would send it to `out` (MINI_PACKET_BYTES); 0 when the text
 * is not understood. CONNECT sets client->five and uses the client's name as its identifier. `*type` gets the type. */
size_t scenario_packet(struct scenario_client *client, const char *text, uint8_t *out, uint8_t *type);
