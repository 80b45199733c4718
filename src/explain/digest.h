/* What makes two states of a session the same: appended to a buf, for a hash over it. */
#pragma once

#include "base/buf.h"
#include "session/qos_in.h"
#include "session/qos_out.h"

/* The flights of qos_out.published or .released, in order. */
void digest_flights(struct buf *b, const struct link *list);
/* The ids that are held. */
void digest_held(struct buf *b, const struct qos_in *in);
