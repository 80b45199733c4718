/* What the two halves of the model client (sending and receiving) share. */
#pragma once

#include "sim/model.h"

/* An answer to a packet of ours must come, in this order. */
void model_expect(struct model *m, uint8_t type, uint16_t id, int what, bool optional);
/* The session has ended: what belongs to it is dropped (R3). */
void model_forget_session(struct world *w, struct model *m);
/* We owe an answer; ACTION_RESPOND sends it. */
void model_owe(struct model *m, uint8_t type, uint16_t id, uint8_t reason);
