/* The log: one line for a person each time, to standard error, standard output, a file or syslog.
 *
 *     2026-11-22T19:54:18.123Z notice   listening on 127.0.0.1:1883
 *
 *     any thread ── log_say ── limit of its kind ── buffer of 128 KiB ──>  the log's own thread ── write, syslog
 *
 * Who logs never waits for who reads the log: when the buffer is full (a pipe that nobody reads, a disk that hangs)
 * lines are dropped and counted, and "N lines were dropped" is written when there is room again; so are lines that
 * could not be written (a full disk). Kinds of lines that come too often are cut, and how many were left out is said: a
 * peer cannot fill the disk. Errors are never cut. Any thread. */
#pragma once

#include <stdatomic.h>

#include "base/error.h"
#include "broker/broker.h"
#include "config/config.h"

struct log_writer;

struct log {
    unsigned levels;           /* bit (1 << enum log_level) */
    struct log_writer *writer; /* NULL: nothing is written */
};

#define LOG_CLOSE_MS 1000 /* the most that the end waits for who reads the log */

/* Opens what the configuration names and starts the log's thread. Until then a zeroed log writes nothing. False with an
 * error when a file cannot be opened. */
bool log_open(struct log *log, const struct config *config, struct error *error);
/* Waits until all is written, at most LOG_CLOSE_MS. */
void log_close(struct log *log);
/* Waits until what was logged so far is written, at most `ms`. */
void log_flush(struct log *log, int64_t ms);
/* The log file was renamed: opens it again by its name, for the next line. Async-signal-safe. */
void log_reopen(struct log *log);
/* One line, without newline. */
void log_line(struct log *log, enum log_level level, const char *line);
void log_say(struct log *log, enum log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* One line that was made from `kind`, the literal that counts it. */
void log_kind_line(struct log *log, enum log_level level, const char *kind, const char *line);
/* An error line of a process that is about to end in the middle of anything: no lock is taken, and a second at most is
 * waited for the log's thread. Once. Async-signal-safe. */
void log_last_words(struct log *log, const char *line);
