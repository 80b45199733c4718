#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { PATIENCE_S = 45 };

static double now(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Sleeps in steps of a millisecond until the count is there. */
static void await(const _Atomic unsigned *count, unsigned wanted, const char *what) {
    double end = now() + PATIENCE_S;
    while (atomic_load(count) < wanted) {
        if (now() > end) {
            (void)fprintf(stderr, "%u of %u %s\n", atomic_load(count), wanted, what);
            exit(1);
        }
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}

static void run(struct load *load) {
    char *payload = calloc(1, load->payload_bytes);
    double begin = now();
    double cpu_begin = cpu();
    for (unsigned i = 0; i < load->messages; i++) {
        load_publish(load, payload);
    }
    await(&load->acknowledged, load->messages, "acknowledged");
    await(&load->received, load->messages, "received");
    double seconds = now() - begin;
    double cpu_seconds = cpu() - cpu_begin;
    printf("{\"messages\": %u, \"seconds\": %.4f, \"per_second\": %.0f, \"cpu_us\": %.3f}\n", load->messages, seconds,
           load->messages / seconds, cpu_seconds / load->messages * 1e6);
    free(payload);
}

int main(int argc, char **argv) {
    if (argc < 6) {
        (void)fprintf(stderr, "usage: load PORT PROTOCOL QOS MESSAGES WINDOW [STORE]\n");
        return 2;
    }
    struct load load = {
        .host = "127.0.0.1",
        .port = atoi(argv[1]),
        .protocol = atoi(argv[2]),
        .qos = atoi(argv[3]),
        .messages = (unsigned)atoi(argv[4]),
        .window = (unsigned)atoi(argv[5]),
        .store = argc > 6 ? argv[6] : NULL,
        .payload_bytes = 64,
    };
    load_open(&load);
    double end = now() + PATIENCE_S;
    while (!atomic_load(&load.ready) && now() < end) {
        (void)nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    if (!atomic_load(&load.ready)) {
        (void)fprintf(stderr, "not connected\n");
        return 1;
    }
    run(&load);
    load_close(&load);
    return 0;
}
