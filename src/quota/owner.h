/* Whom a peer belongs to, by its text. Pure. */
#pragma once

#include "base/span.h"

/* The longest is that of an IPv6 network; longer texts that are no address are cut. */
enum { QUOTA_OWNER_BYTES = 64 };

/* The owner in the text of a peer: an IPv4 address without the port; of an IPv6 address the first half
 * ("2001:db8:0:1::"), for whoever has one address of a /64 has all of it; "unix" for a UNIX socket; else the text
 * without its port. Written to `text`; returns a view of it. */
struct span quota_owner_of(struct span peer, char text[QUOTA_OWNER_BYTES]);
