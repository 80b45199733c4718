/* Connections on their way from one shard to another: a descriptor, and the bytes that were read from it. Any thread
 * may put, the owner takes. */
#pragma once

#include "base/buf.h"
#include "base/list.h"
#include "base/lock.h"
#include "net/address.h"

/* Where a connection has come from, and is counted. */
struct conn_origin {
    uint16_t listener; /* index of the listener that accepted it */
    uint64_t address;  /* peers_key() */
};

struct moved {
    struct link link;
    int fd; /* owned */
    struct conn_origin origin;
    struct buf bytes; /* owned */
    char peer[PEER_BYTES];
};

struct inbox {
    struct lock lock;
    struct link items;
    bool closed; /* its owner takes no more */
};

void inbox_init(struct inbox *inbox);
/* Closes the descriptors of what nobody has taken. */
void inbox_deinit(struct inbox *inbox);
/* Puts one in, which the inbox owns from now on; false when it is closed, and then the caller still owns it. */
bool inbox_put(struct inbox *inbox, struct moved *moved);
/* The oldest; NULL when there is none. The caller owns it. */
struct moved *inbox_take(struct inbox *inbox);
/* Nothing is accepted any more. */
void inbox_close(struct inbox *inbox);
/* Frees one and closes its descriptor unless that was taken out (-1). */
void moved_destroy(struct moved *moved);
