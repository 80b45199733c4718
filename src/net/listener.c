#include "net/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/address.h"

#define LISTEN_BACKLOG 4096

/* What opening one listener needs. */
struct opening {
    struct listeners *listeners;
    uint16_t index;
    uint16_t port; /* once a free one was found, that one */
    struct log *log;
    struct error *error;
};

static void address_set_port(struct sockaddr *address, uint16_t port) {
    if (address->sa_family == AF_INET6) {
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    }
}

static uint16_t address_port(const struct sockaddr *address) {
    return address->sa_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port)
                                          : ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static bool set_option(int fd, int level, int name) {
    static const int on = 1;
    return setsockopt(fd, level, name, &on, sizeof on) == 0;
}

/* Accepted sockets inherit the TCP options. Returns -1 with errno when anything fails. */
static int socket_bind(const struct sockaddr *address, socklen_t bytes, bool share) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    bool ready = set_option(fd, SOL_SOCKET, SO_REUSEADDR) && set_option(fd, SOL_SOCKET, SO_KEEPALIVE) &&
                 set_option(fd, IPPROTO_TCP, TCP_NODELAY) && (!share || set_option(fd, SOL_SOCKET, SO_REUSEPORT)) &&
                 (address->sa_family != AF_INET6 || set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    if (!ready || bind(fd, address, bytes) != 0) {
        int failure = errno;
        (void)close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

/* With SO_REUSEPORT alone a second broker would quietly share the port of the first: a bind without it tells. */
static bool port_is_free(const struct sockaddr *address, socklen_t bytes) {
    int fd = socket_bind(address, bytes, false);
    if (fd < 0) {
        return false;
    }
    (void)close(fd);
    return true;
}

static const char *advice(int failure) {
    switch (failure) {
    case EADDRINUSE:
        return " (another broker, perhaps mosquitto's service, is listening there)";
    case EACCES:
        return " (ports below 1024 need root or CAP_NET_BIND_SERVICE)";
    case EADDRNOTAVAIL:
        return " (this machine does not have that address)";
    default:
        return "";
    }
}

static bool cannot_listen(struct opening *o, const char *name, int failure) {
    return error_set(o->error, ERROR_INVALID, 0, "cannot listen on %s: %s%s", name, strerror(failure), advice(failure));
}

/* Fills the sockets of one address; those that are open stay in `l`, for listeners_close(). */
static bool open_sockets(struct opening *o, struct listening *l, struct sockaddr *address, socklen_t bytes) {
    unsigned shards = o->listeners->shards;
    if (shards > 1 && o->port != 0 && !port_is_free(address, bytes)) {
        return false;
    }
    for (unsigned i = 0; i < shards; i++) {
        l->fds[i] = socket_bind(address, bytes, shards > 1);
        if (l->fds[i] < 0 || listen(l->fds[i], LISTEN_BACKLOG) != 0) {
            return false;
        }
        if (o->port == 0) {
            socklen_t length = bytes;
            (void)getsockname(l->fds[i], address, &length);
            o->port = address_port(address);
        }
    }
    return true;
}

/* One more in `all`, which nobody accepts from yet. */
static struct listening *add_socket(struct listeners *all, uint16_t index) {
    all->sockets = mem_resize(all->sockets, (all->socket_count + 1) * sizeof *all->sockets);
    struct listening *l = &all->sockets[all->socket_count++];
    *l = (struct listening){.listener = index, .fds = mem_alloc(all->shards * sizeof(int))};
    for (unsigned i = 0; i < all->shards; i++) {
        l->fds[i] = -1;
    }
    return l;
}

static bool open_address(struct opening *o, struct sockaddr *address, socklen_t bytes) {
    struct listening *l = add_socket(o->listeners, o->index);
    address_set_port(address, o->port);
    bool opened = open_sockets(o, l, address, bytes);
    int failure = errno;
    address_print(address, l->name, sizeof l->name);
    return opened ? true : cannot_listen(o, l->name, failure);
}

void listening_close(struct listening *l, unsigned shard) {
    if (l->fds[shard] >= 0) {
        socket_file_close(&l->file);
        (void)close(l->fds[shard]);
        l->fds[shard] = -1;
    }
}

/* Takes back what add_socket() has added last. */
static void forget_socket(struct listeners *all) {
    struct listening *l = &all->sockets[--all->socket_count];
    for (unsigned i = 0; i < all->shards; i++) {
        listening_close(l, i);
    }
    mem_free(l->fds);
}

/* Whether this machine has IPv6 at all. */
static bool ipv6_available(void) {
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool available = bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;
    (void)close(fd);
    return available;
}

static bool open_found(struct opening *o, const struct addrinfo *found, bool named) {
    size_t before = o->listeners->socket_count;
    bool without_ipv6 = false;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (a->ai_family == AF_INET6 && !named && !ipv6_available()) {
            without_ipv6 = true;
            continue;
        }
        struct sockaddr_storage address = {0};
        memcpy(&address, a->ai_addr, a->ai_addrlen);
        if (!open_address(o, (struct sockaddr *)&address, a->ai_addrlen)) {
            forget_socket(o->listeners);
            return false;
        }
    }
    if (o->listeners->socket_count == before) {
        return error_set(o->error, ERROR_INVALID, 0, "cannot listen on port %u: there is no usable address", o->port);
    }
    if (without_ipv6) {
        log_line(o->log, LOG_NOTICE, "IPv6 is not available on this machine; listening on IPv4 only");
    }
    return true;
}

/* `address` NULL is all addresses, or with `local` those of the loopback interface. */
static bool open_listener(struct opening *o, const char *address, uint8_t family, bool local) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = local ? 0 : AI_PASSIVE};
    hints.ai_family = family == 4 ? AF_INET : family == 6 ? AF_INET6 : AF_UNSPEC;
    struct addrinfo *found = NULL;
    int status = getaddrinfo(address, "0", &hints, &found);
    if (status != 0) {
        return error_set(o->error, ERROR_INVALID, 0, "cannot listen on %s: %s", address != NULL ? address : "*",
                         gai_strerror(status));
    }
    bool opened = open_found(o, found, family == 6 || (address != NULL && strcmp(address, "localhost") != 0));
    freeaddrinfo(found);
    return opened;
}

bool listeners_open(struct listeners *l, const struct config *config, unsigned shards, struct log *log,
                    struct error *error) {
    *l = (struct listeners){.count = config->listener_count, .shards = shards};
    l->items = mem_zero(l->count, sizeof *l->items);
    for (size_t i = 0; i < l->count; i++) {
        const struct config_listener *c = &config->listeners[i];
        struct opening o = {l, (uint16_t)i, c->port, log, error};
        l->items[i].max_connections = c->max_connections;
        if (c->path == NULL && !open_listener(&o, c->address, c->family, config->local_only)) {
            listeners_close(l);
            return false;
        }
    }
    return true;
}

/* Listeners take turns in who accepts. */
static bool open_file(struct listeners *all, uint16_t index, const char *path, struct error *error) {
    struct listening *l = add_socket(all, index);
    (void)snprintf(l->name, sizeof l->name, "%s", path);
    int fd = socket_file_open(&l->file, path, LISTEN_BACKLOG, error);
    l->fds[index % all->shards] = fd;
    return fd >= 0;
}

bool listeners_open_files(struct listeners *l, const struct config *config, struct log *log, struct error *error) {
    for (size_t i = 0; i < l->count; i++) {
        const char *path = config->listeners[i].path;
        if (path == NULL) {
            continue;
        }
        if (!open_file(l, (uint16_t)i, path, error)) {
            listeners_close(l);
            return false;
        }
        if (l->sockets[l->socket_count - 1].file.replaced) {
            log_say(log, LOG_NOTICE, "nobody answered on %s, which a broker had left behind; it was replaced", path);
        }
    }
    return true;
}

void listeners_close(struct listeners *l) {
    while (l->socket_count > 0) {
        forget_socket(l);
    }
    mem_free(l->sockets);
    mem_free(l->items);
    *l = (struct listeners){0};
}
