/* Configuration files: reading one, and the directory that it includes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "config/walk.h"

#define FILE_BYTES_MAX (1024U * 1024)

/* Reads all of `path` into `text`; false when it was reported why not. */
static bool file_read(const char *path, const struct place *place, struct buf *text, struct config_report *report) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        problem_error(report, place, "%s cannot be opened: %s", path, strerror(errno));
        return false;
    }
    ssize_t got = 1;
    while (got > 0 && text->len <= FILE_BYTES_MAX) {
        uint8_t *at = buf_reserve(text, 4096);
        got = read(fd, at, 4096);
        text->len += got > 0 ? (size_t)got : 0;
    }
    int failure = errno;
    (void)close(fd);
    if (got < 0) {
        problem_error(report, place, "%s cannot be read: %s", path, strerror(failure));
    } else if (text->len > FILE_BYTES_MAX) {
        problem_error(report, place, "%s is larger than %u bytes", path, FILE_BYTES_MAX);
    }
    return got == 0;
}

static void file_walk(struct config *config, const char *path, const struct place *place, config_include *include,
                      struct config_report *report) {
    struct buf text = {0};
    if (file_read(path, place, &text, report)) {
        config_walk(config, path, buf_span(&text), include, report);
    }
    buf_deinit(&text);
}

static int ends_in_conf(const struct dirent *entry) {
    size_t len = strlen(entry->d_name);
    return len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void include_directory(struct config *config, const struct place *place, struct span directory,
                              struct config_report *report) {
    char *path = mem_copy(directory.ptr, directory.len);
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, ends_in_conf, by_bytes);
    if (count < 0) {
        problem_error(report, place, "include_dir: %s cannot be read: %s", path, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        size_t bytes = directory.len + strlen(entries[i]->d_name) + 2;
        char *file = mem_alloc(bytes);
        (void)snprintf(file, bytes, "%s/%s", path, entries[i]->d_name);
        file_walk(config, file, place, NULL, report);
        mem_free(file);
        free(entries[i]);
    }
    free(entries);
    mem_free(path);
}

void config_read_file(struct config *config, const char *path, struct config_report *report) {
    file_walk(config, path, NULL, include_directory, report);
}
