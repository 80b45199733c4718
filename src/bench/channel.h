/* One TCP connection as two streams of bytes: what is to be sent, and what came but is no whole packet yet.
 *
 * Sockets are non-blocking, watched by one epoll instance, level-triggered. All that is waiting goes out with one
 * send(); all that is readable, up to the size of the shared input buffer, comes with one recv(). Knows no protocol. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/error.h"

/* The most that one recv() takes. */
#define CHANNEL_INPUT_BYTES (256U << 10)

struct channel {
    int fd;          /* -1: closed */
    bool watched;    /* epoll also tells when the socket becomes writable */
    size_t sent;     /* bytes of `out` that are gone already */
    struct buf out;  /* to be sent */
    struct buf left; /* the beginning of a packet whose end has not come */
};

struct channel_address {
    struct sockaddr_storage address;
    socklen_t length;
    bool loopback; /* 127.0.0.0/8: the source address can be varied when ports run out */
};

enum channel_status {
    CHANNEL_OK = 1,  /* nothing is waiting (flush); bytes came (read) */
    CHANNEL_WAITING, /* the socket's buffer is full (flush); nothing there (read) */
    CHANNEL_CLOSED,  /* by the peer, or an error; the channel is still to be closed by the caller */
};

/* Resolves a host name. */
bool channel_resolve(const char *host, uint16_t port, struct channel_address *address, struct error *error);
/* Begins to connect the `number`-th connection; `owner` is what epoll gives back for it. */
bool channel_open(struct channel *c, int epoll, const struct channel_address *to, uint32_t number, void *owner,
                  struct error *error);
/* Closes and frees all. */
void channel_close(struct channel *c);
/* Sends what is waiting. */
enum channel_status channel_flush(struct channel *c, int epoll, void *owner);
/* Reads once into `input` (the shared buffer, CHANNEL_INPUT_BYTES plus what may be left over from before), after the
 * bytes that were left; *in is all of it. */
enum channel_status channel_read(struct channel *c, struct buf *input, struct span *in);
/* Keeps the bytes that were not consumed for the next read. */
void channel_keep(struct channel *c, struct span rest);

static inline size_t channel_pending(const struct channel *c) {
    return c->out.len - c->sent;
}
