/* One simulated connection: two streams of bytes that neither lose nor reorder, until somebody cuts them.
 *
 *     client ── to_broker ──> broker          in flight: what was written and not yet read
 *            <── to_client ──                 `fin` behind the bytes: the reader will see the end after them
 *
 * Each end learns of a cut in its own time; what is written after a cut goes nowhere. */
#pragma once

#include "base/span.h"
#include "base/types.h"
#include "broker/broker.h"
#include "sim/mini.h"

#define SIM_CONNS_MAX 16
#define SIM_PIPE_BYTES 2048

/* When a connection ended. */
struct conn_end {
    mono_ms_t at;
    uint64_t step;
};

struct pipe {
    uint8_t bytes[SIM_PIPE_BYTES];
    size_t len;
    bool fin; /* nothing follows the bytes */
};

enum broker_end {
    BROKER_END_NONE = 0, /* not accepted yet, or the broker was down */
    BROKER_END_OPEN,
    BROKER_END_MOVING, /* between two shards */
    BROKER_END_CLOSED,
};

struct conn {
    bool used;
    int client;
    uint32_t serial;  /* which connection of the history it is */
    bool client_open; /* the client still reads and writes here */
    bool cut;         /* what is written now arrives nowhere */
    bool excused;     /* the broker may close it without being blamed */
    bool overtaken;   /* the broker has handled the CONNECT of an older connection of this client after its own */
    enum broker_end broker;
    unsigned shard; /* BROKER_END_OPEN: owner; BROKER_END_MOVING: where to */
    struct conn_handle handle;
    bool paused;        /* the broker does not want to read */
    bool closing;       /* the broker wants to close it when its output is gone */
    bool half;          /* the client's last packet is a half */
    bool want_write;    /* the broker's outbox had more than there was space for */
    mono_ms_t close_at; /* while closing: patience ends */
    mono_ms_t opened_at;
    mono_ms_t unread_ms;  /* for so long something of the client's has been on its way: half a packet may have come */
    size_t received;      /* bytes that the broker has read */
    size_t connect_bytes; /* of its CONNECT */
    bool connect_clean;   /* which starts clean */
    bool session_due;     /* when the broker had read it, the session was away for its expiry */
    bool forgotten;       /* the broker has lost its disk since: what still arrives here is void */
    uint8_t answer[4];    /* what the broker has written first: CONNACK up to its reason */
    uint8_t answer_len;
    struct conn_end end; /* when it was cut or lost its first end; zero: it was not */
    struct pipe to_broker, to_client;
    uint8_t inbox[SIM_PIPE_BYTES]; /* the client has read it, but not a whole packet */
    size_t inbox_len;
    uint8_t moved[SIM_PIPE_BYTES * 2]; /* read by the old shard, to be given to the new one */
    size_t moved_len;
};

/* Appends; the caller has looked for space. */
void pipe_write(struct pipe *p, struct span bytes);
void pipe_drop_front(struct pipe *p, size_t bytes);
static inline size_t pipe_space(const struct pipe *p) {
    return SIM_PIPE_BYTES - p->len;
}
/* Cuts it: the first so many bytes of each direction still arrive. A CONNECT that starts clean does not arrive after
 * its connection has ended: it would end a session that a later connection has begun, and no client could help it. */
void conn_cut(struct conn *c, struct conn_end end, size_t keep_to_broker, size_t keep_to_client);
/* The client's end is gone; what it wrote may still arrive. */
void conn_abandon(struct conn *c, struct conn_end end);
/* The broker's end is gone; what it wrote may still arrive. */
void conn_broker_gone(struct conn *c, struct conn_end end);
/* Frees the place when both ends are gone. */
void conn_tidy(struct conn *c);
