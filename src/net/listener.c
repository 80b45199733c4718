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

/* With SO_REUSEPORT alone a second broker would quietly share the port of the first: a bind without it tells. Sockets
 * that are bound and do not listen yet, ours among them, do not count. */
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

static bool cannot_listen(struct error *error, const char *name, int failure) {
    (void)error_set(error, ERROR_INVALID, 0, "cannot listen on %s: %s%s", name, strerror(failure), advice(failure));
    error->system = failure;
    return false;
}

static struct sockaddr *address_of(struct listening *l) {
    return (struct sockaddr *)&l->address;
}

/* Binds the sockets of one address; those that are open stay in `l`, for listeners_close(). False with errno. */
static bool bind_sockets(struct listening *l, unsigned shards) {
    if (shards > 1 && address_port(address_of(l)) != 0 && !port_is_free(address_of(l), l->address_bytes)) {
        return false;
    }
    for (unsigned i = 0; i < shards; i++) {
        l->fds[i] = socket_bind(address_of(l), l->address_bytes, shards > 1);
        if (l->fds[i] < 0) {
            return false;
        }
        if (address_port(address_of(l)) == 0) {
            socklen_t length = l->address_bytes;
            (void)getsockname(l->fds[i], address_of(l), &length);
        }
    }
    return true;
}

/* From here on the kernel takes connections. False with errno. */
static bool listen_sockets(struct listening *l, unsigned shards) {
    if (l->address_bytes != 0 && shards > 1 && !port_is_free(address_of(l), l->address_bytes)) {
        return false;
    }
    for (unsigned i = 0; i < shards; i++) {
        if (l->fds[i] >= 0 && listen(l->fds[i], LISTEN_BACKLOG) != 0) {
            return false;
        }
    }
    atomic_store(&l->listens, true);
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

void listening_close(struct listening *l, unsigned shard) {
    if (l->fds[shard] >= 0) {
        socket_file_close(&l->file);
        (void)close(l->fds[shard]);
        l->fds[shard] = -1;
    }
}

static void close_sockets(struct listening *l, unsigned shards) {
    for (unsigned i = 0; i < shards; i++) {
        listening_close(l, i);
    }
}

/* An address that this machine does not have is kept for listeners_retry(). */
static bool open_address(struct opening *o, const struct sockaddr *address, socklen_t bytes) {
    struct listening *l = add_socket(o->listeners, o->index);
    memcpy(&l->address, address, bytes);
    l->address_bytes = bytes;
    address_set_port(address_of(l), o->port);
    bool opened = bind_sockets(l, o->listeners->shards);
    l->failure = opened ? 0 : errno;
    address_print(address_of(l), l->name, sizeof l->name);
    if (l->failure == EADDRNOTAVAIL) {
        close_sockets(l, o->listeners->shards);
        log_say(o->log, LOG_WARNING,
                "cannot listen on %s yet: this machine does not have that address; it is tried again "
                "every second",
                l->name);
        return true;
    }
    o->port = opened ? address_port(address_of(l)) : o->port;
    return opened ? true : cannot_listen(o->error, l->name, l->failure);
}

/* Takes back what add_socket() has added last. */
static void forget_socket(struct listeners *all) {
    struct listening *l = &all->sockets[--all->socket_count];
    close_sockets(l, all->shards);
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
        if (!open_address(o, a->ai_addr, a->ai_addrlen)) {
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
    int fd = socket_file_open(&l->file, path, SOCKET_FOR_GROUP, error);
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
        struct socket_file *file = &l->sockets[l->socket_count - 1].file;
        file->log = log;
        if (file->replaced) {
            log_say(log, LOG_NOTICE, "nobody answered on %s, which a broker had left behind; it was replaced", path);
        }
    }
    return true;
}

bool listeners_listen(struct listeners *l, struct error *error) {
    for (size_t i = 0; i < l->socket_count; i++) {
        if (l->sockets[i].failure == 0 && !listen_sockets(&l->sockets[i], l->shards)) {
            return cannot_listen(error, l->sockets[i].name, errno);
        }
    }
    return true;
}

bool listeners_missing(const struct listeners *l) {
    for (size_t i = 0; i < l->socket_count; i++) {
        if (l->sockets[i].failure != 0) {
            return true;
        }
    }
    return false;
}

void listeners_retry(struct listeners *l, struct log *log) {
    for (size_t i = 0; i < l->socket_count; i++) {
        struct listening *one = &l->sockets[i];
        if (one->failure == 0) {
            continue;
        }
        int failure = bind_sockets(one, l->shards) && listen_sockets(one, l->shards) ? 0 : errno;
        if (failure == 0) {
            log_say(log, LOG_NOTICE, "listening on %s, which is there now", one->name);
        } else {
            close_sockets(one, l->shards);
        }
        if (failure != 0 && failure != one->failure) {
            log_say(log, LOG_WARNING, "cannot listen on %s yet: %s%s", one->name, strerror(failure), advice(failure));
        }
        one->failure = failure;
    }
}

void listeners_close(struct listeners *l) {
    while (l->socket_count > 0) {
        forget_socket(l);
    }
    mem_free(l->sockets);
    mem_free(l->items);
    *l = (struct listeners){0};
}
