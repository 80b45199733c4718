#include "bench/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES = 8192 };

/* Reads a small file whole; false when that is not possible. */
static bool read_text(const char *path, char *text) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    size_t length = 0;
    ssize_t n = 0;
    while (length < TEXT_BYTES - 1 && (n = read(fd, text + length, TEXT_BYTES - 1 - length)) > 0) {
        length += (size_t)n;
    }
    close(fd);
    text[length] = 0;
    return n >= 0;
}

static bool read_proc(uint64_t pid, const char *file, char *text) {
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/%s", pid, file);
    return read_text(path, text);
}

uint64_t process_field(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *line = text; line != NULL && *line != 0;) {
        if (strncmp(line, key, length) == 0 && line[length] == ':') {
            return strtoull(line + length + 1, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return 0;
}

/* utime and stime are fields 14 and 15; the name in parentheses before them may hold anything. */
static uint64_t cpu_ticks(const char *stat) {
    const char *at = strrchr(stat, ')');
    if (at == NULL) {
        return 0;
    }
    for (int field = 2; field < 14; field++) {
        at = strchr(at + 1, ' ');
        if (at == NULL) {
            return 0;
        }
    }
    char *end = NULL;
    uint64_t user = strtoull(at, &end, 10);
    return user + strtoull(end, NULL, 10);
}

static void add_thread_switches(uint64_t pid, struct process_sample *sample) {
    char path[320];
    char text[TEXT_BYTES];
    (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/task", pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL) {
        return;
    }
    for (const struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        if (!isdigit((unsigned char)entry->d_name[0])) {
            continue;
        }
        (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/task/%s/status", pid, entry->d_name);
        if (read_text(path, text)) {
            sample->voluntary_switches += process_field(text, "voluntary_ctxt_switches");
            sample->involuntary_switches += process_field(text, "nonvoluntary_ctxt_switches");
        }
    }
    closedir(tasks);
}

bool process_sample(uint64_t pid, struct process_sample *sample, struct error *error) {
    char text[TEXT_BYTES];
    *sample = (struct process_sample){0};
    if (!read_proc(pid, "stat", text)) {
        return error_set(error, ERROR_INVALID, errno, "there is no process %" PRIu64, pid);
    }
    sample->cpu_ns = cpu_ticks(text) * (1000000000ULL / (uint64_t)sysconf(_SC_CLK_TCK));
    if (read_proc(pid, "status", text)) {
        sample->rss_bytes = process_field(text, "VmRSS") * 1024;
        sample->peak_bytes = process_field(text, "VmHWM") * 1024;
    }
    if (read_proc(pid, "smaps_rollup", text)) {
        sample->pss_bytes = process_field(text, "Pss") * 1024;
    }
    if (read_proc(pid, "io", text)) {
        sample->write_bytes = process_field(text, "write_bytes");
    }
    add_thread_switches(pid, sample);
    return true;
}
