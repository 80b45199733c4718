/* Publishes one message that will not be lost, whether a broker is there yet or not. */
#include <stdio.h>

#include <quartet/quartet.h>

int main(int argc, char **argv) {
    struct quartet_options options = {
        .client_id = "hello", .store = "hello-store", .servers = argc > 1 ? argv[1] : NULL};
    struct quartet_publication hello = {.topic = "hello", .payload = "Hello, world", .payload_bytes = 12, .qos = 2};
    struct quartet *client;
    int code = quartet_open(&client, &options);
    if (code == QUARTET_OK) {
        code = quartet_start(client);
    }
    if (code == QUARTET_OK) {
        code = quartet_publish(client, &hello, NULL);
    }
    if (code == QUARTET_OK) {
        puts("on disk: from now on it cannot be lost, kill me if you like");
        code = quartet_wait(client, 0, -1);
    }
    if (code == QUARTET_OK) {
        puts("the broker has it, exactly once");
    } else {
        fprintf(stderr, "%s; %s\n", quartet_last_error(), quartet_error_advice(code));
    }
    quartet_close(client);
    return code != QUARTET_OK;
}
