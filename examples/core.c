/* The library without its sockets, threads and clocks: publishes one message over a blocking socket of our own, and
 * says each thing that happens. core [PORT] */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <quartet/core.h>

static int64_t now_ms(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Connects to a port of this machine; where to is told by the name in quartet_core_wish(), which we know. */
static int dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(0x7f000001)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Sends what may leave: -1 when the connection is broken. */
static int flush(struct quartet *client, int fd) {
    struct quartet_core_bytes piece;
    while (quartet_core_output(client, &piece, 1) == 1) {
        ssize_t sent = send(fd, piece.bytes, piece.len, MSG_NOSIGNAL);
        if (sent < 0) {
            return -1;
        }
        quartet_core_sent(client, (size_t)sent);
    }
    return 0;
}

/* Waits for bytes until the deadline; -1 when the connection is broken. */
static int receive(struct quartet *client, int fd) {
    int64_t at = quartet_core_deadline_ms(client);
    int64_t wait_ms = at < 0 ? 1000 : at - now_ms(CLOCK_MONOTONIC);
    wait_ms = wait_ms < 0 ? 0 : wait_ms > 1000 ? 1000 : wait_ms;
    struct timeval wait = {wait_ms / 1000, wait_ms % 1000 * 1000};
    fd_set readable;
    FD_ZERO(&readable);
    if (fd >= 0) {
        FD_SET(fd, &readable);
    }
    if (select(fd + 1, &readable, NULL, NULL, &wait) <= 0) {
        return 0;
    }
    char bytes[4096];
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got > 0) {
        quartet_core_received(client, bytes, (size_t)got);
    }
    return got > 0 ? 0 : -1;
}

/* One round of the loop; returns the socket, which may be another one then. */
static int step(struct quartet *client, int fd, int port) {
    const char *server;
    quartet_core_time(client, now_ms(CLOCK_MONOTONIC), now_ms(CLOCK_REALTIME));
    enum quartet_core_wish wish = quartet_core_wish(client, &server);
    if (wish == QUARTET_CORE_CONNECT && fd < 0) {
        fd = dial(port);
        if (fd >= 0) {
            quartet_core_opened(client);
        } else {
            quartet_core_closed(client, QUARTET_NETWORK, "nobody listens");
        }
    }
    while (quartet_core_store(client) == 1) {
    }
    int broken = fd >= 0 && flush(client, fd) != 0;
    if (fd >= 0 && (broken || quartet_core_wish(client, &server) == QUARTET_CORE_CLOSE)) {
        close(fd);
        quartet_core_closed(client, broken ? QUARTET_NETWORK : QUARTET_OK, NULL);
        fd = -1;
    }
    quartet_core_deliver(client);
    if (receive(client, fd) != 0) {
        close(fd);
        quartet_core_closed(client, QUARTET_NETWORK, "the broker has closed");
        fd = -1;
    }
    return fd;
}

static void on_event(struct quartet *client, const struct quartet_event *event, void *user) {
    (void)client;
    (void)user;
    if (event->kind == QUARTET_EVENT_PACKET) {
        printf("%s %s\n", event->outgoing ? "-->" : "<--", event->text);
    }
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 1883;
    struct quartet_options options = {.client_id = "core", .store = "core-store", .on_event = on_event, .trace = true};
    struct quartet_publication hello = {.topic = "hello", .payload = "by hand", .payload_bytes = 7, .qos = 2};
    struct quartet *client;
    struct quartet_status status;
    int fd = -1;
    if (quartet_open(&client, &options) != QUARTET_OK ||
        quartet_core_time(client, now_ms(CLOCK_MONOTONIC), now_ms(CLOCK_REALTIME)) != QUARTET_OK ||
        quartet_publish(client, &hello, NULL) != QUARTET_OK) {
        fprintf(stderr, "%s\n", quartet_last_error());
        return 1;
    }
    do {
        fd = step(client, fd, port);
        quartet_status(client, &status);
    } while (status.outbox_messages > 0);
    quartet_close(client);
    if (fd >= 0) {
        close(fd);
    }
    return 0;
}
