#include "net/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "net/syslog_out.h"

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
    *log = (struct log){.levels = levels_of(config->log_types), .fds = {-1, -1, -1}};
    log->timestamps = config->log_timestamp;
    if ((config->log_dests & CONFIG_LOG_STDERR) != 0) {
        log->fds[0] = STDERR_FILENO;
    }
    if ((config->log_dests & CONFIG_LOG_STDOUT) != 0) {
        log->fds[1] = STDOUT_FILENO;
    }
    if ((config->log_dests & CONFIG_LOG_FILE) != 0) {
        log->fds[2] = open(config->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (log->fds[2] < 0) {
            return error_set(error, ERROR_INVALID, errno, "the log file %s cannot be opened", config->log_file);
        }
    }
    if ((config->log_dests & CONFIG_LOG_SYSLOG) != 0) {
        syslog_out_open();
        log->to_syslog = true;
    }
    return true;
}

void log_close(struct log *log) {
    if (log->fds[2] >= 0) {
        (void)close(log->fds[2]);
    }
    if (log->to_syslog) {
        syslog_out_close();
    }
    *log = (struct log){.fds = {-1, -1, -1}};
}

/* Counts a line; false when its kind has had enough in this second. `left_out` is how many were cut in the last. */
static bool limit_allows(struct log_limit *limit, int64_t second, uint32_t *left_out) {
    int64_t counted = atomic_load_explicit(&limit->second, memory_order_relaxed);
    if (counted != second && atomic_compare_exchange_strong(&limit->second, &counted, second)) {
        uint32_t lines = atomic_exchange(&limit->lines, 0);
        *left_out = lines > LOG_LINES_PER_SECOND ? lines - LOG_LINES_PER_SECOND : 0;
    }
    return atomic_fetch_add(&limit->lines, 1) < LOG_LINES_PER_SECOND;
}

static int put_time(char *out, size_t bytes, const struct timespec *now) {
    struct tm utc;
    (void)gmtime_r(&now->tv_sec, &utc);
    size_t len = strftime(out, bytes, "%Y-%m-%dT%H:%M:%S", &utc);
    return (int)len + snprintf(out + len, bytes - len, ".%03ldZ ", now->tv_nsec / 1000000);
}

static void write_line(const struct log *log, enum log_level level, const struct timespec *now, const char *line) {
    static const char *const names[] = {"", "error  ", "warning", "notice ", "info   ", "debug  "};
    char text[LINE_BYTES_MAX];
    int head = log->timestamps ? put_time(text, sizeof text, now) : 0;
    int len = head + snprintf(text + head, sizeof text - (size_t)head, "%s  %s\n", names[level], line);
    if (len >= (int)sizeof text) {
        len = (int)sizeof text - 1;
        text[len - 1] = '\n';
    }
    for (size_t i = 0; i < sizeof log->fds / sizeof *log->fds; i++) {
        if (log->fds[i] >= 0) {
            /* A log that cannot be written must not stop the broker. */
            ssize_t ignored = write(log->fds[i], text, (size_t)len);
            (void)ignored;
        }
    }
    if (log->to_syslog) {
        syslog_out_line((int)level + 2, line);
    }
}

void log_line(struct log *log, enum log_level level, const char *line) {
    if ((log->levels & 1U << level) == 0) {
        return;
    }
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint32_t left_out = 0;
    if (!limit_allows(&log->limits[level], now.tv_sec, &left_out) && level != LOG_ERROR) {
        return;
    }
    if (left_out > 0) {
        char text[64];
        (void)snprintf(text, sizeof text, "%u more lines of this kind were left out", left_out);
        write_line(log, level, &now, text);
    }
    write_line(log, level, &now, line);
}

void log_say(struct log *log, enum log_level level, const char *format, ...) {
    char line[LINE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    log_line(log, level, line);
}
