/* The whole broker as a running process: listeners, store, shards, threads, signals, from the opening to the exit code.
 *
 *     ports bound -> user -> store -> pid file -> broker, load -> listen -> threads -> ready
 *     ... SIGTERM -> shards end -> last commit, fold -> 0
 */
#pragma once

#include "net/log.h"

/* Exit codes. */
enum server_exit {
    SERVER_EXIT_OK = 0,     /* stopped by SIGTERM or SIGINT; all is on the disk */
    SERVER_EXIT_FAILED = 1, /* could not start, or the store failed */
};

struct server_options {
    const struct config *config; /* checked */
    struct log *log;
    void *user;
    void (*ready)(void *user); /* called once, when connections are accepted */
};

/* Runs until a signal stops it. */
enum server_exit server_run(const struct server_options *options);
