#include "lib/transport.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "lib/lib.h"
#include "lib/resolve.h"

enum {
    INPUT_BYTES = 128 << 10,
    READS_PER_TURN = 4,
    PIECES = 64,
    LINGER_MS = 500, /* how long the broker has to close after us */
};

void transport_init(struct transport *t) {
    *t = (struct transport){.fd = -1};
}

/* ---- ends ---- */

static void drop_addresses(struct transport *t) {
    if (t->addresses != NULL) {
        freeaddrinfo(t->addresses);
    }
    t->addresses = t->next = NULL;
}

/* Epoll would forget the socket by itself only if no child process had inherited it. */
static void drop_socket(struct quartet *q) {
    struct transport *t = &q->transport;
    if (t->events != 0) {
        (void)epoll_ctl(q->epoll, EPOLL_CTL_DEL, t->fd, NULL);
    }
    if (t->fd >= 0) {
        (void)close(t->fd);
    }
    t->fd = -1;
    t->events = 0;
}

static void make_idle(struct quartet *q) {
    struct transport *t = &q->transport;
    drop_socket(q);
    drop_addresses(t);
    resolve_drop(t->resolving);
    t->resolving = NULL;
    t->state = TRANSPORT_IDLE;
    t->deadline = 0;
}

void transport_deinit(struct quartet *q) {
    make_idle(q);
    mem_free(q->transport.input);
}

/* The transport is gone, and the engine is told. */
static void end(struct quartet *q, int error, const char *text) {
    make_idle(q);
    client_closed(q->client, error, text);
}

/* What the network says; and what our own system lacks. */
static int code_of(int number) {
    return number == ENOMEM || number == ENOSPC || number == EMFILE || number == ENFILE ? QUARTET_SYSTEM
                                                                                        : QUARTET_NETWORK;
}

static void end_number(struct quartet *q, const char *what, int number) {
    char text[512];
    const struct server_address *a = &q->transport.where;
    if (a->local) {
        (void)snprintf(text, sizeof text, "%s %s: %s", what, a->path, strerror(number));
    } else {
        (void)snprintf(text, sizeof text, "%s %s port %s: %s", what, a->host, a->port, strerror(number));
    }
    end(q, code_of(number), text);
}

/* ---- connecting ---- */

/* Begins to watch a new socket; false with errno when the system has no memory for that. */
static bool watch_new(struct quartet *q) {
    struct transport *t = &q->transport;
    struct epoll_event event = {.events = EPOLLOUT, .data.fd = t->fd};
    t->events = epoll_ctl(q->epoll, EPOLL_CTL_ADD, t->fd, &event) == 0 ? event.events : 0;
    return t->events != 0;
}

static void watch(struct quartet *q, uint32_t events) {
    struct transport *t = &q->transport;
    if (t->events != events) {
        struct epoll_event event = {.events = events, .data.fd = t->fd};
        must(epoll_ctl(q->epoll, EPOLL_CTL_MOD, t->fd, &event) == 0);
        t->events = events;
    }
}

static void opened(struct quartet *q) {
    struct transport *t = &q->transport;
    drop_addresses(t);
    t->state = TRANSPORT_OPEN;
    t->deadline = 0;
    if (t->input == NULL) {
        t->input = mem_alloc(INPUT_BYTES);
    }
    watch(q, EPOLLIN);
    client_opened(q->client);
}

/* Binds to the local address of the options; false with errno. */
static bool bind_to(const struct quartet *q, int fd, int family) {
    if (q->bind_address == NULL || family == AF_UNIX) {
        return true;
    }
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (getaddrinfo(q->bind_address, NULL, &hints, &found) != 0) {
        errno = EADDRNOTAVAIL;
        return false;
    }
    bool bound = bind(fd, found->ai_addr, found->ai_addrlen) == 0;
    int number = errno;
    freeaddrinfo(found);
    errno = number;
    return bound;
}

/* Begins one connection: 0 when it is made, EINPROGRESS, or why it cannot be. */
static int connect_to(struct quartet *q, int family, const struct sockaddr *address, socklen_t bytes) {
    struct transport *t = &q->transport;
    t->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0) {
        return errno;
    }
    int on = 1;
    if (family != AF_UNIX && !q->options.no_delay_off) {
        (void)setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (!watch_new(q) || !bind_to(q, t->fd, family)) {
        return errno;
    }
    return connect(t->fd, address, bytes) == 0 ? 0 : errno;
}

static int connect_local(struct quartet *q) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, q->transport.where.path, strlen(q->transport.where.path) + 1);
    return connect_to(q, AF_UNIX, (const struct sockaddr *)&address, sizeof address);
}

static void connecting(struct quartet *q, int code, mono_ms_t now) {
    struct transport *t = &q->transport;
    unsigned left = 1;
    for (const struct addrinfo *a = t->next; a != NULL; a = a->ai_next) {
        left++;
    }
    t->state = TRANSPORT_CONNECTING;
    t->deadline = now + q->options.connect_timeout_ms / left;
    if (code == 0) {
        opened(q);
    }
}

/* Tries the addresses that are left, until one can be waited for. */
static void connect_next(struct quartet *q, mono_ms_t now) {
    struct transport *t = &q->transport;
    while (t->next != NULL) {
        const struct addrinfo *a = t->next;
        t->next = a->ai_next;
        int code = connect_to(q, a->ai_family, a->ai_addr, a->ai_addrlen);
        if (code == 0 || code == EINPROGRESS) {
            connecting(q, code, now);
            return;
        }
        drop_socket(q);
        t->last_error = code;
    }
    end_number(q, "cannot connect to", t->last_error);
}

static void connect_addresses(struct quartet *q, struct addrinfo *addresses, mono_ms_t now) {
    q->transport.addresses = q->transport.next = addresses;
    q->transport.last_error = EADDRNOTAVAIL;
    connect_next(q, now);
}

static void begin(struct quartet *q, uint32_t server, mono_ms_t now) {
    struct transport *t = &q->transport;
    struct error error;
    must(address_parse(span_str(client_server(q->client, server)), &t->where, &error));
    struct addrinfo *addresses = NULL;
    if (t->where.local) {
        int code = connect_local(q);
        if (code == 0 || code == EINPROGRESS) {
            connecting(q, code, now);
        } else {
            end_number(q, "cannot connect to", code);
        }
    } else if (!resolve_begin(&t->where, q->wake, &t->resolving, &addresses)) {
        end_number(q, "cannot look up", EAGAIN);
    } else if (addresses != NULL) {
        connect_addresses(q, addresses, now);
    } else {
        t->state = TRANSPORT_RESOLVING;
    }
}

static bool resolving(struct quartet *q, mono_ms_t now) {
    struct transport *t = &q->transport;
    int code = 0;
    struct addrinfo *addresses = NULL;
    if (!resolve_ready(t->resolving, &code, &addresses)) {
        return false;
    }
    t->resolving = NULL;
    if (code == 0) {
        connect_addresses(q, addresses, now);
    } else {
        char text[384];
        (void)snprintf(text, sizeof text, "cannot find %s: %s", t->where.host, gai_strerror(code));
        end(q, QUARTET_NETWORK, text);
    }
    return true;
}

/* Whether the connection that was begun is made, or its time is over; false while there is nothing to say. */
static bool connect_ended(struct quartet *q, mono_ms_t now) {
    struct transport *t = &q->transport;
    struct sockaddr_storage peer;
    socklen_t bytes = sizeof peer;
    int code = 0;
    socklen_t code_bytes = sizeof code;
    if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &code, &code_bytes) != 0) {
        code = errno;
    }
    if (code == 0 && getpeername(t->fd, (struct sockaddr *)&peer, &bytes) == 0) {
        opened(q);
        return true;
    }
    if (code == 0 && now < t->deadline) {
        return false;
    }
    t->last_error = code != 0 ? code : ETIMEDOUT;
    drop_socket(q);
    connect_next(q, now);
    return true;
}

/* ---- bytes ---- */

void transport_send(struct quartet *q) {
    struct transport *t = &q->transport;
    struct iovec pieces[PIECES];
    while (t->state == TRANSPORT_OPEN) {
        int count = client_output(q->client, pieces, PIECES);
        if (count == 0) {
            watch(q, EPOLLIN);
            return;
        }
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(t->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) {
            client_sent(q->client, (size_t)sent);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            watch(q, EPOLLIN | EPOLLOUT);
            return;
        } else if (errno != EINTR) {
            end_number(q, "cannot send to", errno);
        }
    }
}

/* Throws away what still comes; true when the broker has closed too. */
static bool closed_by_broker(const struct transport *t) {
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t got = recv(t->fd, t->input, INPUT_BYTES, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
            return true;
        }
        if (got < 0) {
            return false;
        }
    }
    return false;
}

/* Receives once: true when there may be more. */
static bool receive_once(struct quartet *q) {
    struct transport *t = &q->transport;
    ssize_t got = recv(t->fd, t->input, INPUT_BYTES, MSG_DONTWAIT);
    int number = errno;
    lib_enter(q);
    if (got > 0) {
        client_received(q->client, span_of(t->input, (size_t)got));
    } else if (got == 0) {
        end(q, QUARTET_NETWORK, "the broker closed the connection");
    } else if (number != EAGAIN && number != EWOULDBLOCK && number != EINTR) {
        end_number(q, "cannot receive from", number);
    }
    uint32_t server;
    bool more = got == INPUT_BYTES && client_wish(q->client, &server) != CLIENT_CLOSE;
    lib_leave(q);
    return more;
}

void transport_receive(struct quartet *q, uint32_t events) {
    struct transport *t = &q->transport;
    if (t->state != TRANSPORT_OPEN || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) {
        return;
    }
    for (int i = 0; i < READS_PER_TURN && receive_once(q); i++) {
    }
}

/* ---- what the engine wishes ---- */

/* Our last bytes have left: shut down, and wait a little for the broker's end. */
static void close_gently(struct quartet *q, mono_ms_t now) {
    struct transport *t = &q->transport;
    if (t->deadline == 0) {
        t->deadline = now + LINGER_MS;
    }
    transport_send(q);
    struct iovec piece;
    if (t->state == TRANSPORT_OPEN && client_output(q->client, &piece, 1) == 0) {
        (void)shutdown(t->fd, SHUT_WR);
        watch(q, EPOLLIN);
        t->state = TRANSPORT_CLOSING;
    }
}

/* One step; true when there may be another at once. */
static bool step(struct quartet *q, mono_ms_t now) {
    struct transport *t = &q->transport;
    uint32_t server = 0;
    enum client_wish wish = client_wish(q->client, &server);
    bool over = t->deadline != 0 && now >= t->deadline;
    switch (t->state) {
    case TRANSPORT_IDLE:
        if (wish == CLIENT_CONNECT) {
            begin(q, server, now);
        } else if (wish == CLIENT_CLOSE) {
            client_closed(q->client, QUARTET_OK, NULL);
        }
        return wish == CLIENT_CLOSE;
    case TRANSPORT_RESOLVING:
    case TRANSPORT_CONNECTING:
        if (wish != CLIENT_CONNECT) {
            end(q, QUARTET_OK, NULL);
            return true;
        }
        return t->state == TRANSPORT_RESOLVING ? resolving(q, now) : connect_ended(q, now);
    case TRANSPORT_OPEN:
        if (wish != CLIENT_CLOSE) {
            return false;
        }
        if (over) {
            end(q, QUARTET_OK, NULL);
            return true;
        }
        close_gently(q, now);
        return t->state == TRANSPORT_CLOSING;
    case TRANSPORT_CLOSING:
        if (over || closed_by_broker(t)) {
            end(q, QUARTET_OK, NULL);
            return true;
        }
        return false;
    }
    return false;
}

void transport_run(struct quartet *q, mono_ms_t now) {
    while (step(q, now)) {
    }
}

mono_ms_t transport_deadline(const struct transport *t) {
    return t->deadline != 0 ? t->deadline : -1;
}
