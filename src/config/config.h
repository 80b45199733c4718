/* The configuration of quartetd: read, checked, and as plain numbers.
 *
 * The language is mosquitto.conf's: one option a line, its name, a space, its value; a line that begins with # is a
 * comment. All problems are reported, each with file and line; when one of them is an error nothing may be started.
 * Does not know what an option does. Thread: one. Limits: files of 1 MiB, lines of any length, 64 listeners. */
#pragma once

#include "base/span.h"
#include "config/rows.h"

/* One listener as it was written. */
struct config_listener {
    char *path;               /* owned; of a UNIX socket, which has no port; NULL: none */
    uint16_t port;            /* 0: any free one */
    uint8_t family;           /* 4 or 6; 0: both */
    char *address;            /* owned; NULL: all addresses */
    uint32_t max_connections; /* 0: no limit of its own */
    char *origin;             /* owned; where it was named, for messages; NULL: nowhere */
};

#define CONFIG_LISTENERS_MAX 64
#define CONFIG_PATH_BYTES_MAX 107 /* of a UNIX socket; the system's limit */

/* Kinds of log lines, one bit each. */
enum config_log_type {
    CONFIG_LOG_ERROR = 1,
    CONFIG_LOG_WARNING = 2,
    CONFIG_LOG_NOTICE = 4,
    CONFIG_LOG_INFORMATION = 8,
    CONFIG_LOG_DEBUG = 16,
    CONFIG_LOG_ALL = 31,
};

/* Where log lines go, one bit each. */
enum config_log_dest {
    CONFIG_LOG_STDERR = 1,
    CONFIG_LOG_STDOUT = 2,
    CONFIG_LOG_SYSLOG = 4,
    CONFIG_LOG_FILE = 8,
};

struct config {
#define CONFIG_NUMBER_FIELD(name, unit, min, max, initial, text) uint64_t name;
    CONFIG_NUMBER_ROWS(CONFIG_NUMBER_FIELD)
#undef CONFIG_NUMBER_FIELD
#define CONFIG_FLAG_FIELD(name, initial, text) bool name;
    CONFIG_FLAG_ROWS(CONFIG_FLAG_FIELD)
#undef CONFIG_FLAG_FIELD
#define CONFIG_TEXT_FIELD(name, text) char *name;
    CONFIG_TEXT_ROWS(CONFIG_TEXT_FIELD)
#undef CONFIG_TEXT_FIELD
    uint64_t given[4]; /* which options were set, one bit each */
    bool allow_anonymous_given;
    bool default_listener_given;             /* port or bind_address was */
    struct config_listener default_listener; /* options before the first `listener` are about it */
    struct config_listener listeners[CONFIG_LISTENERS_MAX];
    size_t listener_count;
    bool local_only;    /* set by config_check(): no listener was named, the loopback addresses are served */
    bool queue_refuses; /* max_queued_policy refuse: publishers into a full queue are, and its session stays */
    unsigned log_types; /* enum config_log_type bits */
    bool log_types_given;
    unsigned log_dests; /* enum config_log_dest bits */
    bool log_dests_given;
    char *log_file; /* owned; with CONFIG_LOG_FILE */
};

/* Who hears of problems: `line` is a sentence that begins with file and line. */
struct config_report {
    void (*say)(void *user, bool error, const char *line);
    void *user;
    unsigned errors; /* how many were said */
};

/* Sets every option to its default. */
void config_init(struct config *config);
void config_deinit(struct config *config);
/* Reads one file and what it includes. Problems go to `report`; options that are fine are set all the same. */
void config_read_file(struct config *config, const char *path, struct config_report *report);
/* Reads text as if it stood in a file called `name`; include_dir is refused in it. */
void config_read_text(struct config *config, const char *name, struct span text, struct config_report *report);
/* Sets one option from elsewhere (the command line); `place` begins the message when something is wrong. */
void config_set(struct config *config, const char *place, const char *option, const char *value,
                struct config_report *report);
/* What can only be judged when everything was read: options against each other. Settles which listeners there are:
 * afterwards `listeners` is complete. Call it once, last. */
void config_check(struct config *config, struct config_report *report);

/* Calls `visit` for every option there is (those that are refused or ignored too). */
void config_each_option(void (*visit)(void *user, const char *name), void *user);
