/* The log's buffer and its thread. Inside net/ only, behind log.h. */
#pragma once

#include "base/error.h"
#include "broker/broker.h"
#include "config/config.h"

struct log_writer;

/* NULL with an error. */
struct log_writer *log_writer_start(const struct config *config, struct error *error);
/* Writes what is there and ends, within `ms`: a thread that cannot write any more is left behind with its memory. */
void log_writer_end(struct log_writer *w, int64_t ms);
void log_writer_flush(struct log_writer *w, int64_t ms);
void log_writer_reopen(struct log_writer *w);
void log_writer_put(struct log_writer *w, enum log_level level, const char *kind, const char *line);
void log_writer_last_words(struct log_writer *w, const char *line);
