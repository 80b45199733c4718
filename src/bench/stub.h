/* A broker that keeps nothing: the floor under every real one, and the load generator's own yardstick.
 *
 * One epoll loop accepts, answers every handshake, and copies each PUBLISH to the subscribers of the very same topic
 * (or of a filter that ends with '#'). It has no sessions, no windows, no packet identifiers of its own worth the name
 * and no resends: what a real broker needs above this is the price of its promises. Waits in send() when a receiver is
 * slow. Never use it for anything but measuring. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Serves until it is killed; returns false when it cannot. */
bool stub_run(const char *host, uint16_t port, struct error *error);
