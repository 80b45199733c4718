#include "quota/owner.h"

#include <stdio.h>
#include <string.h>

enum { GROUPS = 8, NETWORK_GROUPS = 4 };

/* Digits behind the last colon are a port, unless that colon is one of several of an address without brackets. */
static struct span without_port(struct span peer) {
    size_t len = peer.len;
    if (len >= 4 && memcmp(peer.ptr, "unix", 4) == 0) {
        return span_of(peer.ptr, 4);
    }
    if (len > 0 && peer.ptr[0] == '[') {
        const uint8_t *end = memchr(peer.ptr, ']', len);
        return end != NULL ? span_of(peer.ptr + 1, (size_t)(end - peer.ptr) - 1) : peer;
    }
    while (len > 0 && peer.ptr[len - 1] >= '0' && peer.ptr[len - 1] <= '9') {
        len--;
    }
    bool port = len > 0 && len < peer.len && peer.ptr[len - 1] == ':' && memchr(peer.ptr, ':', len - 1) == NULL;
    return port ? span_of(peer.ptr, len - 1) : peer;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20U;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One to four digits; returns how many, 0: there is no group. */
static size_t group_read(struct span in, unsigned *group) {
    size_t at = 0;
    *group = 0;
    for (int digit; at < in.len && at < 4 && (digit = hex_digit(in.ptr[at])) >= 0; at++) {
        *group = *group << 4 | (unsigned)digit;
    }
    return at;
}

/* The groups of an IPv6 address; what follows them (a zone, an IPv4 address in it) is left. False: it is none. */
static bool groups_read(struct span in, unsigned groups[GROUPS], struct span *rest) {
    size_t count = 0, gap = GROUPS + 1, at = 0;
    if (in.len >= 2 && in.ptr[0] == ':' && in.ptr[1] == ':') {
        gap = 0;
        at = 2;
    }
    while (count < GROUPS) {
        size_t digits = group_read(span_skip(in, at), &groups[count]);
        size_t end = at + digits;
        if (digits == 0 || (end < in.len && in.ptr[end] == '.')) {
            break;
        }
        count++;
        at = end;
        if (at + 1 < in.len && in.ptr[at] == ':' && in.ptr[at + 1] == ':' && gap > GROUPS) {
            gap = count;
            at += 2;
        } else if (at + 1 < in.len && in.ptr[at] == ':') {
            at++;
        } else {
            break;
        }
    }
    *rest = span_skip(in, at);
    size_t most = rest->len > 0 && rest->ptr[0] != '%' ? GROUPS - 2 : GROUPS; /* an IPv4 address is two groups */
    if (count > most || (gap > GROUPS && count < most)) {
        return false;
    }
    if (gap <= GROUPS) {
        size_t behind = count - gap;
        memmove(&groups[most - behind], &groups[gap], behind * sizeof groups[0]);
        memset(&groups[gap], 0, (most - count) * sizeof groups[0]);
    }
    return true;
}

static struct span copy(struct span s, char text[QUOTA_OWNER_BYTES]) {
    size_t len = s.len < QUOTA_OWNER_BYTES ? s.len : QUOTA_OWNER_BYTES;
    if (len > 0) {
        memcpy(text, s.ptr, len);
    }
    return span_of((const uint8_t *)text, len);
}

struct span quota_owner_of(struct span peer, char text[QUOTA_OWNER_BYTES]) {
    struct span address = without_port(peer);
    struct span rest;
    unsigned g[GROUPS] = {0};
    if (address.len < 2 || memchr(address.ptr, ':', address.len) == NULL || !groups_read(address, g, &rest)) {
        return copy(address, text);
    }
    bool mapped = (g[0] | g[1] | g[2] | g[3] | g[4]) == 0 && g[5] == 0xffff;
    if (mapped && rest.len > 0 && rest.ptr[0] != '%') {
        return copy(rest, text); /* it came by IPv4 */
    }
    int len = snprintf(text, QUOTA_OWNER_BYTES, "%x:%x:%x:%x::", g[0], g[1], g[2], g[NETWORK_GROUPS - 1]);
    return span_of((const uint8_t *)text, (size_t)len);
}
