/* What pub, sub and rr share: a client of the library in a loop of ours, with signals, a time limit and an exit code.
 *
 *     tool_loop_open()  ... tool_loop_turn() until `ended` ...  tool_loop_close() gives the exit code
 *
 * One thread. SIGINT, SIGTERM and SIGCHLD come through a descriptor, so that nothing runs in a signal handler. */
#pragma once

#include <poll.h>

#include <quartet/quartet.h>

#include "tool/options.h"

/* Exit codes are those of the mosquitto tools: the numbers of libmosquitto's errors, a CONNACK's reason code. */
enum tool_exit {
    TOOL_EXIT_OK = 0,
    TOOL_EXIT_FAILED = 1, /* arguments, files, no connection */
    TOOL_EXIT_PROTOCOL = 2,
    TOOL_EXIT_INVALID = 3,
    TOOL_EXIT_SYSTEM = 14,
    TOOL_EXIT_TIMEOUT = 27,
};

struct tool_loop {
    const struct tool_options *options;
    struct quartet *quartet;
    void *verb; /* of the three functions below, each may be NULL */
    void (*on_event)(struct tool_loop *s, const struct quartet_event *e);
    void (*on_message)(struct tool_loop *s, struct quartet_message *m);
    void (*on_signal)(struct tool_loop *s, int number); /* SIGCHLD */

    int signals;         /* signalfd */
    int64_t deadline_ms; /* of -W, monotonic; -1: none */
    bool was_connected;
    bool ended;     /* with `status`; nothing more is to be done */
    int status;     /* enum tool_exit or a reason code */
    uint8_t reason; /* of our DISCONNECT */
};

/* Opens the client as the options say; false, and the session has ended, when that fails. */
bool tool_loop_open(struct tool_loop *s);
/* Waits for the network, a signal, one of `more` or for timeout_ms (-1: no limit), then acts and calls back. */
void tool_loop_turn(struct tool_loop *s, struct pollfd *more, nfds_t count, int timeout_ms);
/* Ends with this exit code; the first one counts. */
void tool_loop_end(struct tool_loop *s, int status);
/* Disconnects, closes; returns the exit code. */
int tool_loop_close(struct tool_loop *s);

/* Prints "quartet VERB: ..." to standard error unless --quiet. */
void tool_loop_say(const struct tool_loop *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says what the library's last error was, and ends with the exit code for it. */
void tool_loop_fail(struct tool_loop *s, const char *what, int error);
int64_t tool_loop_now_ms(void);
/* The shorter of two timeouts, of which -1 is none. */
int tool_loop_sooner(int a, int b);

/* The exit code for an error of the library. */
int tool_exit_of(int error);

/* A packet that came or went, to standard error (--trace) or standard output (-d). */
void tool_trace_packet(const struct tool_loop *s, const struct quartet_event *e);
