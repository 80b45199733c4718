/* The connection of one client: resolves a server's name, connects to its addresses in turn, sends, receives, and ends
 * in such a way that the last bytes arrive.
 *
 *     IDLE --> RESOLVING --> CONNECTING --> OPEN --> CLOSING --> IDLE
 *                  |             |           |
 *                  +-------------+-----------+--> IDLE        every failure, and what the engine wishes no more
 *
 * CLOSING: our side is shut down, what still comes is thrown away until the broker has closed too. Closing at once with
 * bytes unread would let the kernel send RST, and the broker might never see the DISCONNECT.
 *
 * The driving thread only. Does not know: packets. */
#pragma once

#include <netdb.h>
#include <stddef.h>

#include "base/types.h"
#include "lib/address.h"

struct quartet;
struct resolving;

enum transport_state {
    TRANSPORT_IDLE = 0,
    TRANSPORT_RESOLVING,
    TRANSPORT_CONNECTING,
    TRANSPORT_OPEN,
    TRANSPORT_CLOSING,
};

struct transport {
    enum transport_state state;
    int fd;                      /* -1: none */
    uint32_t events;             /* what epoll waits for */
    mono_ms_t deadline;          /* of this state; 0: none */
    struct server_address where; /* being resolved, connected to, or connected */
    struct resolving *resolving;
    struct addrinfo *addresses; /* found; NULL: none, or a UNIX socket */
    struct addrinfo *next;      /* to be tried */
    int last_error;             /* of connecting */
    uint8_t *input;             /* what was received; kept from the first connection on */
};

void transport_init(struct transport *t);
/* Closes whatever is open and frees. */
void transport_deinit(struct quartet *q);
/* Receives what there is, without the lock, and gives it to the engine. `events`: what epoll said of the socket. */
void transport_receive(struct quartet *q, uint32_t events);
/* Does what the engine wishes, as far as possible without waiting. Lock held. */
void transport_run(struct quartet *q, mono_ms_t now);
/* Sends what may leave. Lock held. */
void transport_send(struct quartet *q);
/* When transport_run() must be called next; -1: no need. */
mono_ms_t transport_deadline(const struct transport *t);
