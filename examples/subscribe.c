/* Prints what comes, from a thread of the library, until Enter is pressed: subscribe [TOPIC-FILTER [SERVER]] */
#include <stdio.h>

#include <quartet/quartet.h>

static void on_message(struct quartet *client, struct quartet_message *message, void *user) {
    (void)client;
    (void)user;
    printf("%s: %.*s%s\n", message->topic, (int)message->payload_bytes, (const char *)message->payload,
           message->redelivered ? " (perhaps printed before a restart)" : "");
}

static void on_event(struct quartet *client, const struct quartet_event *event, void *user) {
    (void)client;
    (void)user;
    if (event->kind == QUARTET_EVENT_CONNECTED) {
        printf("connected to %s, which %s us\n", event->server, event->session_present ? "remembers" : "does not know");
    } else if (event->kind == QUARTET_EVENT_DISCONNECTED) {
        printf("not connected: %s; %s\n", event->text, quartet_error_advice(event->error));
    } else if (event->kind == QUARTET_EVENT_SUBSCRIBED) {
        printf("subscribed to %s: %s\n", event->text, quartet_reason_name(5, event->reason));
    }
}

int main(int argc, char **argv) {
    struct quartet_options options = {
        .client_id = "subscribe-example",
        .servers = argc > 2 ? argv[2] : NULL,
        .store = "subscribe-store",
        .on_message = on_message,
        .on_event = on_event,
    };
    struct quartet_subscription subscription = {.filter = argc > 1 ? argv[1] : "#", .qos = 2};
    struct quartet *client;
    int code = quartet_open(&client, &options);
    if (code == QUARTET_OK) {
        code = quartet_subscribe(client, &subscription, 1);
    }
    if (code == QUARTET_OK) {
        code = quartet_start(client);
    }
    if (code == QUARTET_OK) {
        (void)getchar();
    } else {
        fprintf(stderr, "%s; %s\n", quartet_last_error(), quartet_error_advice(code));
    }
    quartet_close(client);
    return code != QUARTET_OK;
}
