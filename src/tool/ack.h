/* Messages that are done only when somebody says so: a command that reads one from its standard input, or whoever
 * writes lines to ours. They wait in the order in which they came; the first is worked on, the others wait. */
#pragma once

#include <sys/types.h>

#include <quartet/quartet.h>

#include "tool/loop.h"

struct tool_acks {
    struct tool_loop *s;
    struct quartet_message **waiting; /* kept, `count` from `first`, which is worked on */
    size_t first, count, capacity;
    pid_t child;      /* of the command; 0: none runs */
    int64_t again_ms; /* when it may run next */
    uint64_t done;    /* messages, ever */
    bool input_over;  /* no line comes any more */
};

void tool_ack_deinit(struct tool_acks *a);
/* Takes a message; keeps it until it is done. */
void tool_ack_add(struct tool_acks *a, struct quartet_message *m);
/* Starts the command for the first message when it is time. */
void tool_ack_run(struct tool_acks *a);
/* When tool_ack_run() is to be called, in milliseconds; -1: not before something happens. */
int tool_ack_timeout_ms(const struct tool_acks *a);
/* SIGCHLD has come. */
void tool_ack_reap(struct tool_acks *a);
/* The program ends: waits for the command that runs, until the time of -W is over or another SIGINT or SIGTERM comes;
 * then the command is ended. */
void tool_ack_finish(struct tool_acks *a);
/* Reads lines from standard input: each says that the first message is done. */
void tool_ack_read(struct tool_acks *a);
