/* The outbox of one connection and its gate: bytes leave only when what they rest on is durable.
 *
 *     bytes   [ PUBREC 7 | PUBLISH .... | PINGRESP | PUBREL 3 ]
 *     gates     ^ after lsn 41            ^ 0        ^ after lsn 45
 *
 * TCP keeps order, so a packet that waits holds back those behind it: gates only rise (R8 follows). Bodies of 4 KiB and
 * more are not copied: the outbox keeps a reference and gives them out in place. Memory: when all has left, a buffer of
 * more than 16 KiB is given back at once, a smaller one and the rings of gates and bodies by outbox_shrink(). Its size
 * is bounded by its caller, who asks outbox_bytes(). Durability: it holds back what its caller names, nothing more.
 * Knows neither sockets nor packets. Thread: its shard's. */
#pragma once

#include <sys/uio.h>

#include "base/buf.h"
#include "base/types.h"
#include "record/message.h"

struct outbox_gates;  /* a ring: where in the stream, after which lsn */
struct outbox_bodies; /* a ring: where in the stream, which message */

struct outbox {
    struct buf bytes; /* what was copied in; the first `taken` bytes have left */
    size_t taken;
    size_t counted;               /* of bytes.len, what stream_end counts already */
    struct outbox_gates *gates;   /* stream positions from which a higher lsn is needed */
    struct outbox_bodies *bodies; /* message bodies that stand between the bytes */
    uint64_t stream_begin;        /* stream position of the first byte that has not left */
    uint64_t stream_end;          /* one past the last byte */
    lsn_t gate_last;              /* the highest lsn that anything here waits for */
};

/* Zero-initialised is empty. Throws away what is in it, gates too, and frees everything; it is empty and usable again.
 */
void outbox_deinit(struct outbox *o);
/* What is appended from now on waits until `after` is durable (and for all that came before it). */
void outbox_gate(struct outbox *o, lsn_t after);
/* The buffer to encode into; call outbox_appended() afterwards, before anything else. */
static inline struct buf *outbox_buf(struct outbox *o) {
    return &o->bytes;
}
static inline void outbox_appended(struct outbox *o) {
    o->stream_end += o->bytes.len - o->counted;
    o->counted = o->bytes.len;
}
/* Appends a message's payload: copied when small, else by reference. */
void outbox_body(struct outbox *o, struct message *m);
/* Bytes that have not left, those that wait included. */
static inline size_t outbox_bytes(const struct outbox *o) {
    return (size_t)(o->stream_end - o->stream_begin);
}
/* Throws away what waits for more than `durable`: what is left may leave, and whole packets are cut off. */
void outbox_cut(struct outbox *o, lsn_t durable);
/* Fills up to `max` iovecs with what may leave when `durable` is durable; returns how many (0: nothing may). Costs the
 * logarithm of the gates that wait. Views are valid until the outbox changes. */
int outbox_ready(const struct outbox *o, lsn_t durable, struct iovec *iov, int max);
/* So many gates its memory has room for. */
uint32_t outbox_gate_places(const struct outbox *o);
/* Gives back the memory of an outbox that is empty and where no gate waits for its bytes; for quiet moments. */
void outbox_shrink(struct outbox *o);
/* The first `bytes` bytes of what outbox_ready() gave have left. */
void outbox_sent(struct outbox *o, size_t bytes);
