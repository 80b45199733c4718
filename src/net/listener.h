/* Listening sockets: for each address of each listener one socket for each shard. */
#pragma once

#include "base/error.h"
#include "config/config.h"
#include "net/log.h"

/* One listener of the configuration, shared by the shards. */
struct listener {
    uint32_t max_connections; /* 0: no limit of its own */
    _Atomic uint32_t connections;
    _Atomic bool said_full; /* its limit was logged */
};

/* One address: `fds[i]` belongs to shard i. */
struct listening {
    uint16_t listener; /* index */
    int *fds;          /* owned, one for each shard */
    char name[80];     /* 127.0.0.1:1883 */
};

struct listeners {
    struct listener *items; /* as in the configuration */
    size_t count;
    struct listening *sockets;
    size_t socket_count;
    unsigned shards;
};

/* Opens all that a checked configuration names. False with an error, everything closed again, when one of them cannot
 * be opened; a missing IPv6 is not an error where IPv4 serves the same listener. */
bool listeners_open(struct listeners *l, const struct config *config, unsigned shards, struct log *log,
                    struct error *error);
void listeners_close(struct listeners *l);

struct sockaddr;
/* Writes an address as 127.0.0.1:1883 or [::1]:1883. */
void address_print(const struct sockaddr *address, char *out, size_t bytes);
