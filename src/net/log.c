#include "net/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "net/log_writer.h"

#define LINE_BYTES_MAX 1024

static unsigned levels_of(unsigned types) {
    unsigned levels = 0;
    levels |= (types & CONFIG_LOG_ERROR) != 0 ? 1U << LOG_ERROR : 0;
    levels |= (types & CONFIG_LOG_WARNING) != 0 ? 1U << LOG_WARNING : 0;
    levels |= (types & CONFIG_LOG_NOTICE) != 0 ? 1U << LOG_NOTICE : 0;
    levels |= (types & CONFIG_LOG_INFORMATION) != 0 ? 1U << LOG_INFO : 0;
    levels |= (types & CONFIG_LOG_DEBUG) != 0 ? 1U << LOG_DEBUG : 0;
    return levels;
}

bool log_open(struct log *log, const struct config *config, struct error *error) {
    *log = (struct log){.levels = levels_of(config->log_types)};
    log->writer = log_writer_start(config, error);
    return log->writer != NULL;
}

void log_close(struct log *log) {
    if (log->writer != NULL) {
        log_writer_end(log->writer, LOG_CLOSE_MS);
    }
    *log = (struct log){0};
}

void log_flush(struct log *log, int64_t ms) {
    if (log->writer != NULL) {
        log_writer_flush(log->writer, ms);
    }
}

void log_reopen(struct log *log) {
    if (log->writer != NULL) {
        log_writer_reopen(log->writer);
    }
}

void log_last_words(struct log *log, const char *line) {
    if (log->writer != NULL && (log->levels & 1U << LOG_ERROR) != 0) {
        log_writer_last_words(log->writer, line);
    }
}

void log_kind_line(struct log *log, enum log_level level, const char *kind, const char *line) {
    if (log->writer != NULL && (log->levels & 1U << level) != 0) {
        log_writer_put(log->writer, level, kind, line);
    }
}

void log_line(struct log *log, enum log_level level, const char *line) {
    log_kind_line(log, level, NULL, line);
}

void log_say(struct log *log, enum log_level level, const char *format, ...) {
    char line[LINE_BYTES_MAX];
    if (log->writer == NULL || (log->levels & 1U << level) == 0) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log_kind_line(log, level, format, line);
}
