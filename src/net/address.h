/* Addresses as a person reads them, in log lines. */
#pragma once

#include <stddef.h>

/* [IPv6%zone]:port, or unix:pid=...,uid=..., at most. */
#define PEER_BYTES 80

struct sockaddr;

/* Writes an internet address as 127.0.0.1:1883 or [::1]:1883, any other as ?. */
void address_print(const struct sockaddr *address, char *out, size_t bytes);
/* Writes who is at the other end of the connection `fd`: `address`, as the system has told it, or the process and the
 * user that have connected to a UNIX socket, which have no address. */
void peer_print(int fd, const struct sockaddr *address, char *out, size_t bytes);
