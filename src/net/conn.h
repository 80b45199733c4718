/* One connection's socket, between libuv and the broker. Inside net/ only, on its loop's thread.
 *
 *     OPEN      the broker has a handle for it; its wish says what is done
 *     LINGERING the broker is through with it; we have shut down our side and wait a moment for the peer's, so that
 * what was sent last is not lost to a reset
 *
 * Nothing is buffered here: what is read goes to the broker at once, what is sent comes from the broker's outbox. */
#pragma once

#include "net/loop.h"

struct conn {
    uv_poll_t poll;            /* its loop's data is our loop */
    struct link turn_link;     /* in loop->ready, ->left, ->over, ->writable or ->draining */
    struct link end_link;      /* in loop->ending */
    mono_ms_t end_at;          /* while in loop->ending */
    struct conn_handle handle; /* {0,0}: LINGERING */
    int fd;
    uint32_t drained; /* bytes that were read since the broker wished CONN_DRAIN */
    uint64_t address; /* this and the next are its origin */
    uint16_t listener;
    uint8_t interest;     /* UV_READABLE ... as libuv was told last */
    bool readable : 1;    /* libuv says so, and it was not read since */
    bool writable : 1;    /* libuv says so, and it was not looked at since */
    bool failed : 1;      /* the socket has an error: read what is left, then close */
    bool hung_up : 1;     /* the peer has shut down its side, seen while we did not read */
    bool blocked : 1;     /* the socket took less than it was offered */
    bool eager : 1;       /* the last read took all that it may: more is there */
    bool disk_waiter : 1; /* counted in loop->disk_waiters */
    uint32_t over_at;     /* while in loop->over: until then what it has sent is waited for; half of a mono_ms_t */
};

/* A new connection on this loop; takes the descriptor. `bytes` were read from it already. */
void conn_open(struct loop *loop, int fd, struct conn_origin origin, const char *peer, struct span bytes);
/* Does what the events since the last turn ask for, but sending. */
void conn_events(struct conn *c);
/* One of loop->over: ends it, or goes on with what it has sent. */
void conn_bury(struct conn *c);
/* Sends what may leave and does what the broker wishes. The connection may be gone afterwards. */
void conn_output(struct conn *c);
/* Its deadline has come. */
void conn_end(struct conn *c);
/* Closes the socket at once, without a word to the broker. */
void conn_release(struct conn *c);
