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
    TOOL_EXIT_LOST = 7, /* a connection that was there, where none is made again */
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

    bool reconnects;     /* a lost connection is made again; with a store always so */
    int signals;         /* signalfd */
    int64_t deadline_ms; /* of -W, monotonic; -1: none */
    bool connected;
    bool was_connected;
    bool ended;             /* with `status`; nothing more is to be done */
    int status;             /* enum tool_exit or a reason code */
    uint8_t reason;         /* of our DISCONNECT */
    unsigned interruptions; /* SIGINT and SIGTERM so far */
    int killed_by;          /* which of them ended it; 0: none */
};

/* Opens the client as the options say; false, and the session has ended, when that fails. */
bool tool_loop_open(struct tool_loop *s);
/* Waits for the network, a signal, one of `more` or for timeout_ms (-1: no limit), then acts and calls back. */
void tool_loop_turn(struct tool_loop *s, struct pollfd *more, nfds_t count, int timeout_ms);
/* Waits for one descriptor (-1: none) without the network, until it is ready or for timeout_ms; true when it is ready.
 * Signals and the time of -W end it too. */
bool tool_loop_wait(struct tool_loop *s, int fd, short events, int timeout_ms);
/* Writes all of it to standard output. False when that fails, or when the program ends meanwhile because nobody reads
 * on: then some of it may have been written. */
bool tool_loop_write(struct tool_loop *s, struct span bytes);
/* Ends with this exit code; the first one counts. */
void tool_loop_end(struct tool_loop *s, int status);
/* Disconnects, closes; returns the exit code. After SIGINT or SIGTERM pub and rr die by it, for they have not done what
 * they were asked to do. */
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
void tool_trace_packet(struct tool_loop *s, const struct quartet_event *e);
