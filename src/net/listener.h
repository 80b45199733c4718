/* Listening sockets, and which shard accepts from which.
 *
 *     a port          for each address one socket for each shard (SO_REUSEPORT): the kernel deals connections out
 *     a UNIX socket   one socket, and one shard accepts from it; after CONNECT the connection moves to the shard that
 *                     owns its session, as every other does
 *
 *     open (bind: a port that is taken is an error)  ->  the store is loaded  ->  listen: from here on the kernel takes
 *     connections
 *
 * An address that this machine does not have (yet: DHCP, a VPN) is tried again each second while the others serve. */
#pragma once

#include <sys/socket.h>

#include "base/error.h"
#include "config/config.h"
#include "net/log.h"
#include "net/socket_file.h"

/* One listener of the configuration, shared by the shards. */
struct listener {
    uint32_t max_connections; /* 0: no limit of its own */
    _Atomic uint32_t connections;
    _Atomic uint64_t refused; /* connections that were too many */
    _Atomic bool said_full;   /* its limit was logged */
};

/* One address or path: `fds[i]` belongs to shard i. */
struct listening {
    uint16_t listener;               /* index */
    int *fds;                        /* owned, one for each shard; -1: this one does not accept from it */
    struct socket_file file;         /* zeroed for an address; belongs to the shard that accepts from it */
    struct sockaddr_storage address; /* unless it is a path */
    socklen_t address_bytes;         /* 0: a path */
    int failure;                     /* errno of the last try to open it, which was logged; 0: it is open */
    _Atomic bool listens;            /* set last: the shards may use `fds` */
    char name[SOCKET_PATH_BYTES];    /* 127.0.0.1:1883 or /run/quartet.sock */
};

struct listeners {
    struct listener *items; /* as in the configuration */
    size_t count;
    struct listening *sockets;
    size_t socket_count;
    unsigned shards;
};

/* Opens all ports that a checked configuration names; nobody can connect yet. False with an error, everything closed
 * again, when one of them cannot be opened; a missing IPv6 is not an error where IPv4 serves the same listener, nor is
 * an address that this machine does not have, which is logged. */
bool listeners_open(struct listeners *l, const struct config *config, unsigned shards, struct log *log,
                    struct error *error);
/* Then its UNIX sockets, which belong to the user that the process has become by now. */
bool listeners_open_files(struct listeners *l, const struct config *config, struct log *log, struct error *error);
/* Then, when there is something to serve: connections are taken. False with an error when somebody else has begun to
 * listen on one of them. */
bool listeners_listen(struct listeners *l, struct error *error);
/* Whether there are addresses that this machine does not have. */
bool listeners_missing(const struct listeners *l);
/* Tries those again; those that are there now take connections. */
void listeners_retry(struct listeners *l, struct log *log);
/* Shard `shard` accepts no more from this one. */
void listening_close(struct listening *l, unsigned shard);
void listeners_close(struct listeners *l);
