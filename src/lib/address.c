#include "lib/address.h"

#define PORT_DEFAULT "1883"

static bool wrong(struct error *error, struct span text, const char *why) {
    return error_set(error, ERROR_INVALID, 0, "server \"%.*s\": %s", (int)text.len, (const char *)text.ptr, why);
}

static bool begins_with(struct span text, struct span with) {
    return text.len >= with.len && memcmp(text.ptr, with.ptr, with.len) == 0;
}

static void copy(char *to, struct span from) {
    memcpy(to, from.ptr, from.len);
    to[from.len] = '\0';
}

static struct span until(struct span text, uint8_t end) {
    const uint8_t *at = text.len > 0 ? memchr(text.ptr, end, text.len) : NULL;
    return at == NULL ? text : span_of(text.ptr, (size_t)(at - text.ptr));
}

static bool port_parse(struct span digits, struct server_address *address) {
    unsigned port = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.ptr[i] < '0' || digits.ptr[i] > '9' || i >= sizeof address->port - 1) {
            return false;
        }
        port = port * 10 + (unsigned)(digits.ptr[i] - '0');
    }
    if (port == 0 || port > 65535) {
        return false;
    }
    copy(address->port, digits);
    return true;
}

static bool tcp_parse(struct span text, struct span rest, struct server_address *address, struct error *error) {
    struct span host = until(rest, ':');
    struct span after = span_skip(rest, host.len);
    if (rest.len > 0 && rest.ptr[0] == '[') {
        host = until(span_skip(rest, 1), ']');
        if (host.len + 2 > rest.len) {
            return wrong(error, text, "the bracket is not closed");
        }
        after = span_skip(rest, host.len + 2);
    }
    if (host.len == 0 || host.len >= sizeof address->host) {
        return wrong(error, text, "a host name is missing or too long");
    }
    if (memchr(host.ptr, '/', host.len) != NULL || memchr(host.ptr, '@', host.len) != NULL) {
        return wrong(error, text, "a host may be followed by a port only; user name and password are options");
    }
    copy(address->host, host);
    copy(address->port, SPAN(PORT_DEFAULT));
    if (after.len > 0 && (after.ptr[0] != ':' || !port_parse(span_skip(after, 1), address))) {
        return wrong(error, text, "a port is a number from 1 to 65535");
    }
    return true;
}

bool address_parse(struct span text, struct server_address *address, struct error *error) {
    *address = (struct server_address){.local = begins_with(text, SPAN("unix://"))};
    if (address->local) {
        struct span path = span_skip(text, sizeof "unix://" - 1);
        if (path.len == 0 || path.ptr[0] != '/' || path.len >= sizeof address->path) {
            return wrong(error, text, "a path of at most 107 bytes that begins with / is missing");
        }
        copy(address->path, path);
        return true;
    }
    if (begins_with(text, SPAN("mqtt://"))) {
        return tcp_parse(text, span_skip(text, sizeof "mqtt://" - 1), address, error);
    }
    return wrong(error, text, "it must begin with mqtt:// or unix:///");
}

bool address_check_all(const char *servers, struct error *error) {
    struct span rest = span_str(servers);
    bool any = false;
    while (rest.len > 0) {
        struct span one = until(rest, ' ');
        struct server_address address;
        if (one.len > 0 && !address_parse(one, &address, error)) {
            return false;
        }
        any = any || one.len > 0;
        rest = span_skip(rest, one.len < rest.len ? one.len + 1 : one.len);
    }
    return any ? true : error_set(error, ERROR_INVALID, 0, "servers names no server");
}
