/* The log: one line for a person each time, to standard error, standard output, a file or syslog.
 *
 *     2026-11-22T19:54:18.123Z notice   listening on 127.0.0.1:1883
 *
 * Each line is one write, so lines of several threads do not mix. A kind that is written too often within a second is
 * cut, and how many lines were left out is said in the next: a peer cannot fill the disk. Any thread. */
#pragma once

#include <stdatomic.h>

#include "base/error.h"
#include "broker/broker.h"
#include "config/config.h"

/* Lines of one level in one second; errors are never cut. */
#define LOG_LINES_PER_SECOND 200

struct log_limit {
    _Atomic int64_t second; /* the one that is counted */
    _Atomic uint32_t lines; /* asked for in it */
};

struct log {
    unsigned levels; /* bit (1 << enum log_level) */
    int fds[3];      /* where lines go; -1: none */
    bool to_syslog;
    bool timestamps;
    struct log_limit limits[LOG_DEBUG + 1];
};

/* Opens what the configuration names. Until then a zeroed log writes nothing. False with an error when a file cannot
 * be opened. */
bool log_open(struct log *log, const struct config *config, struct error *error);
void log_close(struct log *log);
/* One line, without newline. */
void log_line(struct log *log, enum log_level level, const char *line);
void log_say(struct log *log, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
