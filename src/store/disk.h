/* The disk, as the journal sees it: few calls, each of which can fail, and after each of which the power can go.
 * Implementations: disk_posix.c, and the simulated disk in sim/. A file belongs to one thread at a time, but what was
 * synced may be read while another thread writes elsewhere in the file. */
#pragma once

#include "base/error.h"
#include "base/span.h"

struct disk_file; /* opaque, one for each implementation */

struct disk {
    void *user;
    /* Opens `name` in the store's directory for reading and writing; creates it (empty, 0600) when `create`. The
     * entry of a created file is durable only after sync_directory(). NULL with an error: ERROR_NO_SPACE also when a
     * file cannot be created for want of a descriptor, for that can be waited for as well. */
    struct disk_file *(*open)(void *user, const char *name, bool create, struct error *error);
    void (*close)(void *user, struct disk_file *file);
    /* Size in bytes. */
    bool (*size)(void *user, struct disk_file *file, uint64_t *bytes, struct error *error);
    /* Reads exactly `bytes` bytes; less is an error. */
    bool (*read)(void *user, struct disk_file *file, uint64_t offset, void *to, size_t bytes, struct error *error);
    /* Writes all of `from`; durable only after sync(). */
    bool (*write)(void *user, struct disk_file *file, uint64_t offset, struct span from, struct error *error);
    /* Cuts the file to `bytes` bytes and gives the space behind them back to the disk. Until sync() a crash may bring
     * the old size back. */
    bool (*cut)(void *user, struct disk_file *file, uint64_t bytes, struct error *error);
    /* Makes what was written to the file durable. A failure is final. */
    bool (*sync)(void *user, struct disk_file *file, struct error *error);
    bool (*remove)(void *user, const char *name, struct error *error);
    bool (*sync_directory)(void *user, struct error *error);
    /* Calls `visit` with each name in the directory, in no order. */
    bool (*list)(void *user, void (*visit)(void *context, const char *name), void *context, struct error *error);
};

/* The directory `path` on the operating system's disk: created with mode 0700 when missing, files opened with
 * O_NOFOLLOW and mode 0600. Holds an exclusive lock until disk_posix_close(); ERROR_LOCKED when another process has
 * it. */
bool disk_posix_open(const char *path, struct disk *disk, struct error *error);
void disk_posix_close(struct disk *disk);
