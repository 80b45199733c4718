/* Finds the addresses of a name in a thread of its own, because that can take many seconds and cannot be stopped. Who
 * has asked may lose interest: the thread then frees what it finds. */
#pragma once

#include <netdb.h>

#include "lib/address.h"

struct resolving;

/* Numbers need no thread: *addresses at once. Otherwise NULL, and *resolving is to be asked; `wake` (an eventfd,
 * borrowed) is written when it is ready. False when the system refuses a thread. */
bool resolve_begin(const struct server_address *address, int wake, struct resolving **resolving,
                   struct addrinfo **addresses);
/* True when it is ready: 0 and the addresses, which the caller frees, or a code for gai_strerror(). It is gone then. */
bool resolve_ready(struct resolving *r, int *code, struct addrinfo **addresses);
/* Loses interest. */
void resolve_drop(struct resolving *r);
