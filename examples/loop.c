/* A client in a loop of the application's own: what is typed is published, what comes is printed.
 * loop [SERVER [TOPIC]] */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <quartet/quartet.h>

static void on_message(struct quartet *client, struct quartet_message *message, void *user) {
    (void)client;
    (void)user;
    printf("%.*s\n", (int)message->payload_bytes, (const char *)message->payload);
    fflush(stdout);
}

/* Publishes one line; no_wait, since a loop should not wait for a disk. 0 at the end of the input. */
static int publish_line(struct quartet *client, const char *topic) {
    char line[4096];
    ssize_t bytes = read(STDIN_FILENO, line, sizeof line);
    if (bytes <= 0) {
        return 0;
    }
    bytes -= line[bytes - 1] == '\n';
    struct quartet_publication p = {
        .topic = topic, .payload = line, .payload_bytes = (size_t)bytes, .qos = 2, .no_wait = true};
    if (quartet_publish(client, &p, NULL) != QUARTET_OK) {
        fprintf(stderr, "%s\n", quartet_last_error());
    }
    return 1;
}

/* Until the input has ended and the broker has acknowledged everything. */
static int run(struct quartet *client, const char *topic) {
    struct pollfd fds[2] = {{.fd = quartet_fd(client), .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    struct quartet_status status = {.outbox_messages = 1};
    while (fds[1].fd >= 0 || status.outbox_messages > 0) {
        (void)poll(fds, 2, quartet_timeout_ms(client));
        int code = quartet_handle(client);
        if (code != QUARTET_OK) {
            return code;
        }
        if (fds[1].fd >= 0 && fds[1].revents != 0 && !publish_line(client, topic)) {
            fds[1].fd = -1;
        }
        quartet_status(client, &status);
    }
    return QUARTET_OK;
}

int main(int argc, char **argv) {
    const char *topic = argc > 2 ? argv[2] : "chat";
    struct quartet_options options = {
        .servers = argc > 1 ? argv[1] : NULL, .end_session = true, .on_message = on_message};
    struct quartet_subscription subscription = {.filter = topic, .qos = 2, .no_local = true};
    struct quartet *client;
    int code = quartet_open(&client, &options);
    if (code == QUARTET_OK) {
        code = quartet_subscribe(client, &subscription, 1);
    }
    if (code == QUARTET_OK) {
        code = run(client, topic);
    }
    if (code != QUARTET_OK) {
        fprintf(stderr, "%s; %s\n", quartet_last_error(), quartet_error_advice(code));
    }
    quartet_close(client);
    return code != QUARTET_OK;
}
