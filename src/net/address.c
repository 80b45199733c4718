#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

void address_print(const struct sockaddr *address, char *out, size_t bytes) {
    char text[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        (void)snprintf(out, bytes, "[%s]:%u", text, ntohs(in6->sin6_port));
    } else if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        (void)snprintf(out, bytes, "%s:%u", text, ntohs(in->sin_port));
    } else {
        (void)snprintf(out, bytes, "?");
    }
}

void peer_print(int fd, const struct sockaddr *address, char *out, size_t bytes) {
    struct ucred who;
    socklen_t length = sizeof who;
    if (address->sa_family == AF_UNIX && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0) {
        (void)snprintf(out, bytes, "unix:pid=%d,uid=%u", who.pid, who.uid);
    } else {
        address_print(address, out, bytes);
    }
}
