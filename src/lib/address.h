/* Where a broker listens: mqtt://host:port, mqtt://[::1], unix:///path. Pure. */
#pragma once

#include "base/error.h"
#include "base/span.h"

struct server_address {
    bool local;     /* a UNIX socket */
    char path[108]; /* of it */
    char host[256]; /* name or number, without brackets */
    char port[6];
};

/* False with an error that says what is wrong with it. */
bool address_parse(struct span text, struct server_address *address, struct error *error);
/* Checks each of several addresses, separated by spaces. */
bool address_check_all(const char *servers, struct error *error);
