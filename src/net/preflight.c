#include "net/preflight.h"

#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/listener.h"
#include "net/process.h"

static void say(struct config_report *report, bool error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct config_report *report, bool error, const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    report->errors += error;
    report->say(report->user, error, line);
}

/* ---- listeners ---- */

/* Each for itself, so that all that is wrong is said. Returns how many sockets one shard has. */
static size_t check_ports(const struct config *config, struct config_report *report) {
    size_t count = 0;
    for (size_t i = 0; i < config->listener_count; i++) {
        struct config one = {.listener_count = 1, .local_only = config->local_only};
        struct log log = {0};
        struct error error = {0};
        struct listeners l;
        one.listeners[0] = config->listeners[i];
        if (!listeners_open(&l, &one, 1, &log, &error)) {
            bool in_use = error.system == EADDRINUSE;
            say(report, !in_use, "%s%s", error.text, in_use ? "; no matter if it is the one to be replaced" : "");
            continue;
        }
        for (size_t k = 0; k < l.socket_count; k++) {
            if (l.sockets[k].failure != 0) {
                say(report, false,
                    "cannot listen on %s yet: this machine does not have that address; a broker would try "
                    "it again every second",
                    l.sockets[k].name);
            }
        }
        count += l.socket_count + (one.listeners[0].path != NULL);
        listeners_close(&l);
    }
    return count;
}

/* ---- files ---- */

/* The directory that `path` is in; the caller frees it. */
static char *directory_of(const char *path) {
    char *copy = mem_copy(path, strlen(path));
    char *directory = dirname(copy);
    char *result = mem_copy(directory, strlen(directory));
    mem_free(copy);
    return result;
}

/* Whether files can be made where `path` is to be. */
static void check_directory_of(const char *what, const char *path, bool error, struct config_report *report) {
    char *directory = directory_of(path);
    if (access(directory, W_OK | X_OK) != 0) {
        say(report, error, "%s %s cannot be made: %s: %s", what, path, directory, strerror(errno));
    }
    mem_free(directory);
}

/* A file that is written: it is there and may be, or can be made. */
static void check_file(const char *what, const char *path, bool error, struct config_report *report) {
    struct stat status;
    if (lstat(path, &status) != 0) {
        check_directory_of(what, path, error, report);
    } else if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode) && !S_ISFIFO(status.st_mode)) {
        say(report, true, "%s %s cannot be opened: it is not a file, or a link", what, path);
    } else if (access(path, W_OK) != 0) {
        say(report, true, "%s %s cannot be opened: %s", what, path, strerror(errno));
    }
}

static void check_sockets(const struct config *config, struct config_report *report) {
    for (size_t i = 0; i < config->listener_count; i++) {
        const char *path = config->listeners[i].path;
        struct stat status;
        if (path == NULL) {
            continue;
        }
        if (lstat(path, &status) == 0 && !S_ISSOCK(status.st_mode)) {
            say(report, true, "cannot listen on %s: it is there and not a socket", path);
        }
        check_directory_of("the socket", path, true, report);
    }
}

/* ---- the store ---- */

/* Whether some process holds a lock of this file, as the kernel lists them. */
static bool is_locked(const struct stat *file) {
    FILE *locks = fopen("/proc/locks", "re");
    char line[256];
    char wanted[64];
    bool found = false;
    (void)snprintf(wanted, sizeof wanted, ":%llu 0 EOF", (unsigned long long)file->st_ino);
    while (locks != NULL && !found && fgets(line, sizeof line, locks) != NULL) {
        found = strstr(line, "FLOCK") != NULL && strstr(line, wanted) != NULL;
    }
    if (locks != NULL) {
        (void)fclose(locks);
    }
    return found;
}

static void check_lock(const char *path, struct config_report *report) {
    char lock[4096];
    struct stat status;
    (void)snprintf(lock, sizeof lock, "%s/lock", path);
    if (stat(lock, &status) == 0 && is_locked(&status)) {
        say(report, false, "%s is in use by another process; no matter if it is the broker to be replaced", path);
    }
}

static void check_store(const struct config *config, struct config_report *report) {
    const char *path = data_directory(config);
    struct stat status;
    if (!config->persistence) {
        return;
    }
    if (stat(path, &status) != 0) {
        if (errno == ENOENT && lstat(path, &status) != 0) {
            check_directory_of("the directory", path, true, report);
        } else {
            say(report, true, "cannot open %s: %s", path, strerror(errno));
        }
        return;
    }
    if (!S_ISDIR(status.st_mode)) {
        say(report, true, "cannot open %s: %s", path, strerror(ENOTDIR));
    } else if (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        /* Root may look at what a service manager starts as another user. */
        bool of_other = geteuid() == 0 && status.st_uid != 0;
        say(report, !of_other, "%s must belong to the user who runs the broker and must not be writable by others",
            path);
    } else if (access(path, R_OK | W_OK | X_OK) != 0) {
        say(report, true, "cannot open %s: %s", path, strerror(errno));
    }
    check_lock(path, report);
}

void preflight(const struct config *config, struct config_report *report) {
    struct error error = {0};
    uint64_t connections = 0;
    size_t sockets = check_ports(config, report);
    if (!connections_allowed(config, raise_files_limit(), shards_wanted(config), sockets, &connections, &error)) {
        say(report, true, "%s", error.text);
    }
    if ((config->log_dests & CONFIG_LOG_FILE) != 0) {
        check_file("the log file", config->log_file, true, report);
    }
    if (config->pid_file != NULL) {
        check_file("the pid file", config->pid_file, false, report);
    }
    if (!become_user(config->user, &error)) {
        say(report, true, "%s", error.text);
        return;
    }
    check_sockets(config, report);
    check_store(config, report);
}
