/* An application that publishes numbers as far as it is told to, and says what is stored: power cuts are judged by
 * that.
 *
 *     standard input    a line with a number: publish up to it; the end: wait until the broker has all, and end
 *     standard output   "last N" at the start: the last that the store took; "stored N": all up to N are on disk
 *
 * Who started it keeps its place. It publishes FIRST and so on, each number being its own sequence; every fifth at QoS
 * 1 to TOPIC/1, the others at QoS 2 to TOPIC/2; BATCH of them before it waits for the disk.
 *
 * feeder STORE SERVER TOPIC FIRST BATCH */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <quartet/quartet.h>

enum { PAYLOAD_BYTES_MAX = 20000, QOS1_EVERY = 5, FINISH_MS = 60000 };

/* A number and blanks: most messages are small, some fill several blocks of the disk. */
static size_t payload(unsigned long number, char text[static PAYLOAD_BYTES_MAX]) {
    size_t bytes = number % 50 == 0 ? PAYLOAD_BYTES_MAX : 30 + number * 37 % 700;
    memset(text, ' ', bytes);
    int digits = snprintf(text, bytes, "%lu", number);
    text[digits] = ' ';
    return bytes;
}

static int publish(struct quartet *client, const char *topic, unsigned long number, bool wait) {
    char name[64];
    char text[PAYLOAD_BYTES_MAX];
    int qos = number % QOS1_EVERY == 0 ? 1 : 2;
    (void)snprintf(name, sizeof name, "%s/%d", topic, qos);
    struct quartet_publication p = {.topic = name, .payload = text, .qos = qos, .sequence = number, .no_wait = !wait};
    p.payload_bytes = payload(number, text);
    return quartet_publish(client, &p, NULL);
}

static int feed(struct quartet *client, const char *topic, unsigned long first, unsigned long batch) {
    char line[32];
    int code = QUARTET_OK;
    while (code == QUARTET_OK && fgets(line, sizeof line, stdin) != NULL) {
        unsigned long end = strtoul(line, NULL, 10);
        while (code == QUARTET_OK && first <= end) {
            unsigned long last = first + batch - 1 < end ? first + batch - 1 : end;
            for (; code == QUARTET_OK && first <= last; first++) {
                code = publish(client, topic, first, batch == 1);
            }
            if (code == QUARTET_OK && batch > 1) {
                code = quartet_wait_stored(client, 0, -1);
            }
            if (code == QUARTET_OK) {
                (void)printf("stored %lu\n", last);
            }
        }
    }
    return code == QUARTET_OK ? quartet_wait(client, 0, FINISH_MS) : code;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        (void)fprintf(stderr, "usage: feeder STORE SERVER TOPIC FIRST BATCH\n");
        return 2;
    }
    struct quartet_options options = {
        .client_id = "feeder",
        .store = argv[1],
        .servers = argv[2],
        .guarantee = QUARTET_EXACTLY_ONCE,
        .packet_bytes_max = 65536, /* small files: they are filled and folded into the table under the cuts, too */
        .retry_min_ms = 5,
        .retry_max_ms = 20,
    };
    struct quartet *client;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    int code = quartet_open(&client, &options);
    if (code == QUARTET_OK) {
        (void)printf("last %llu\n", (unsigned long long)quartet_last_sequence(client));
        code = quartet_start(client);
    }
    if (code == QUARTET_OK) {
        code = feed(client, argv[3], strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
    }
    if (code != QUARTET_OK) {
        (void)fprintf(stderr, "%s: %s\n", quartet_error_name(code), quartet_last_error());
    }
    quartet_close(client);
    return code != QUARTET_OK;
}
