#include "bench/channel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Connections from one source address; below the usual range of 28,000 local ports. */
#define CONNECTIONS_PER_SOURCE 20000U

bool channel_resolve(const char *host, uint16_t port, struct channel_address *address, struct error *error) {
    char service[8];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    (void)snprintf(service, sizeof(service), "%u", port);
    int status = getaddrinfo(host, service, &hints, &found);
    if (status != 0) {
        return error_set(error, ERROR_INVALID, 0, "cannot resolve %s: %s", host, gai_strerror(status));
    }
    memcpy(&address->address, found->ai_addr, found->ai_addrlen);
    address->length = found->ai_addrlen;
    address->loopback = false;
    if (found->ai_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, found->ai_addr, sizeof(in));
        address->loopback = ntohl(in.sin_addr.s_addr) >> 24 == 127;
    }
    freeaddrinfo(found);
    return true;
}

/* Gives connections beyond the first 20,000 other source addresses of the loopback network. */
static bool bind_source(int fd, const struct channel_address *to, uint32_t number) {
    uint32_t source = number / CONNECTIONS_PER_SOURCE;
    if (!to->loopback || source == 0) {
        return true;
    }
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7F000001U + source)};
    return setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) == 0 &&
           bind(fd, (const struct sockaddr *)&from, sizeof(from)) == 0;
}

bool channel_open(struct channel *c, int epoll, const struct channel_address *to, uint32_t number, void *owner,
                  struct error *error) {
    *c = (struct channel){.fd = -1};
    int fd = socket(to->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_set(error, ERROR_IO, errno, "cannot make a socket: %s", strerror(errno));
    }
    int on = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = owner};
    if (!bind_source(fd, to, number) || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        (connect(fd, (const struct sockaddr *)&to->address, to->length) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
        int reason = errno;
        close(fd);
        return error_set(error, ERROR_IO, reason, "cannot connect: %s", strerror(reason));
    }
    c->fd = fd;
    c->watched = true;
    return true;
}

void channel_close(struct channel *c) {
    if (c->fd >= 0) {
        close(c->fd);
    }
    buf_deinit(&c->out);
    buf_deinit(&c->left);
    *c = (struct channel){.fd = -1};
}

static void watch_writable(struct channel *c, int epoll, void *owner, bool on) {
    if (c->watched != on) {
        struct epoll_event event = {.events = EPOLLIN | (on ? EPOLLOUT : 0U), .data.ptr = owner};
        (void)epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
        c->watched = on;
    }
}

enum channel_status channel_flush(struct channel *c, int epoll, void *owner) {
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            bool full = errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOTCONN;
            watch_writable(c, epoll, owner, full);
            return full ? CHANNEL_WAITING : CHANNEL_CLOSED;
        }
        c->sent += (size_t)n;
    }
    c->sent = 0;
    c->out.len = 0;
    watch_writable(c, epoll, owner, false);
    return CHANNEL_OK;
}

enum channel_status channel_read(struct channel *c, struct buf *input, struct span *in) {
    input->len = 0;
    buf_bytes(input, buf_span(&c->left));
    uint8_t *at = buf_reserve(input, CHANNEL_INPUT_BYTES);
    ssize_t n = recv(c->fd, at, CHANNEL_INPUT_BYTES, 0);
    if (n < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? CHANNEL_WAITING : CHANNEL_CLOSED;
    }
    if (n == 0) {
        return CHANNEL_CLOSED;
    }
    c->left.len = 0;
    *in = span_of(input->ptr, input->len + (size_t)n);
    return CHANNEL_OK;
}

void channel_keep(struct channel *c, struct span rest) {
    c->left.len = 0;
    buf_bytes(&c->left, rest);
}
