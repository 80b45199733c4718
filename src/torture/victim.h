/* The broker as a process: started by a command, killed, started again on the same port and the same data; and its
 * disk, an ext4 file system in a file whose power can fail.
 *
 * The command runs in a shell under a guardian, a process of ours to which falls whatever the command starts, also what
 * it puts into the background. The guardian kills all of it when it is told to, when the command ends, and when the
 * torture itself dies, however it dies. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"

struct victim {
    const char *command; /* NULL: it is not ours */
    uint16_t port;
    pid_t pid;              /* of the guardian; 0: does not run */
    volatile pid_t *broker; /* the command's process, shared with the guardian; 0: it has ended */
    char data[256];         /* {data} */
    char log[300];          /* what it printed */
    char scratch[200];      /* a directory of ours, removed at the end; empty: none */
    const char *image;      /* NULL: none */
    char mount[256];        /* where the image is mounted */
    bool mounted;
};

/* A port on which nobody listens, outside the range from which the kernel gives ports to outgoing connections: nobody
 * else gets it while the broker is down. `draw` chooses. 0 when there is none. */
uint16_t victim_free_port(uint64_t draw);
/* Makes directories, and the file system when `image` is not NULL. */
bool victim_init(struct victim *b, const char *command, uint16_t port, const char *data, const char *image,
                 struct error *error);
void victim_deinit(struct victim *b);
bool victim_start(struct victim *b, struct error *error);
/* SIGKILL; the processes are gone when it returns. */
void victim_kill(struct victim *b);
/* False, with its status in `error`, when it has ended by itself. */
bool victim_alive(struct victim *b, struct error *error);
/* Prints the last lines of what it printed itself. */
void victim_log(const struct victim *b, FILE *out);
/* The power is gone: nothing reaches the disk any more. The broker is to be killed before power_on. */
bool victim_power_off(struct victim *b, struct error *error);
bool victim_power_on(struct victim *b, struct error *error);
