/* An application that publishes its numbers from 1 to COUNT, each once, although it may be killed anywhere: the number
 * is its sequence, and after a start it goes on after the last that the store took.
 *
 * outbox STORE SERVER COUNT [TOPIC] */
#include <stdio.h>
#include <stdlib.h>

#include <quartet/quartet.h>

static int publish(struct quartet *client, const char *topic, unsigned long number) {
    char text[24];
    int bytes = snprintf(text, sizeof text, "%lu", number);
    struct quartet_publication p = {
        .topic = topic, .payload = text, .payload_bytes = (size_t)bytes, .qos = 2, .sequence = number};
    return quartet_publish(client, &p, NULL);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        (void)fprintf(stderr, "usage: outbox STORE SERVER COUNT [TOPIC]\n");
        return 2;
    }
    unsigned long count = strtoul(argv[3], NULL, 10);
    struct quartet_options options = {
        .client_id = "outbox",
        .store = argv[1],
        .servers = argv[2],
        .guarantee = QUARTET_EXACTLY_ONCE,
        .retry_min_ms = 5,
        .retry_max_ms = 20,
    };
    struct quartet *client;
    int code = quartet_open(&client, &options);
    if (code == QUARTET_OK) {
        code = quartet_start(client);
    }
    unsigned long last = code == QUARTET_OK ? quartet_last_sequence(client) : 0;
    /* The last one is published again: it must not be taken twice. */
    for (unsigned long i = last > 0 ? last : 1; code == QUARTET_OK && i <= count; i++) {
        code = publish(client, argc > 4 ? argv[4] : "numbers", i);
    }
    if (code == QUARTET_OK) {
        code = quartet_wait(client, 0, 30000);
    }
    if (code != QUARTET_OK) {
        (void)fprintf(stderr, "%s: %s\n", quartet_error_name(code), quartet_last_error());
    }
    quartet_close(client);
    return code != QUARTET_OK;
}
