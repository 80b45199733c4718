/* How many connections each address has, and how often it comes: one address cannot take the places of all others.
 *
 * An address is an IPv4 address, or the /64 that an IPv6 address is in, for whoever has one has all of it. Peers of
 * UNIX sockets are not counted: file permissions say who may connect. Any thread. Limits: of addresses without a
 * connection PEERS_IDLE_MAX are remembered. */
#pragma once

#include <sys/socket.h>

#include "base/lock.h"
#include "base/map.h"
#include "base/types.h"

#define PEERS_IDLE_MAX 65536
#define PEERS_BURST_S 10 /* seconds of the rate that may come at once */

struct peers {
    struct lock lock;
    struct map64 map;         /* key -> struct peer_address */
    size_t idle;              /* of them without a connection */
    size_t sweep;             /* where forgetting goes on */
    uint32_t connections_max; /* of one address */
    uint32_t rate;            /* of one address, connections a second; 0: no bound */
};

enum peers_verdict { PEERS_WELCOME = 1, PEERS_TOO_MANY, PEERS_TOO_OFTEN };

void peers_init(struct peers *p, uint64_t seed);
void peers_deinit(struct peers *p);
/* What an address is counted by; 0: not at all. */
uint64_t peers_key(const struct sockaddr *address);
/* A connection has come at `now`; it is counted when it is welcome. `*say`: it is not, and this is news. */
enum peers_verdict peers_enter(struct peers *p, uint64_t key, mono_ms_t now, bool *say);
/* One that was welcome has gone. */
void peers_leave(struct peers *p, uint64_t key);
