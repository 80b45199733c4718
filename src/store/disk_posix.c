/* The directory of a store on the operating system's disk. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "store/disk.h"

#define LOCK_NAME "lock"

struct disk_file {
    int fd;
    char *name;
};

struct posix {
    int directory;
    int lock;
    char *path;
};

static bool failed(struct error *error, const struct posix *p, const char *what, const char *name) {
    int system = errno;
    return error_set(error, error_kind_of(system), system, "cannot %s %s%s%s", what, p->path,
                     name[0] != '\0' ? "/" : "", name);
}

static int open_again(int directory, const char *name, int flags) {
    int fd;
    do {
        fd = openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static struct disk_file *posix_open(void *user, const char *name, bool create, struct error *error) {
    struct posix *p = user;
    int fd = open_again(p->directory, name, O_RDWR | (create ? O_CREAT : 0));
    if (fd < 0) {
        bool waits = create && (errno == EMFILE || errno == ENFILE);
        failed(error, p, "open", name);
        error->kind = waits ? ERROR_NO_SPACE : error->kind;
        return NULL;
    }
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        (void)close(fd);
        error_set(error, ERROR_FORMAT, 0, "%s/%s is not a regular file", p->path, name);
        return NULL;
    }
    struct disk_file *file = mem_alloc(sizeof *file);
    file->fd = fd;
    file->name = mem_copy(name, strlen(name));
    return file;
}

static void posix_close(void *user, struct disk_file *file) {
    (void)user;
    (void)close(file->fd);
    mem_free(file->name);
    mem_free(file);
}

static bool posix_size(void *user, struct disk_file *file, uint64_t *bytes, struct error *error) {
    struct stat status;
    if (fstat(file->fd, &status) != 0) {
        return failed(error, user, "ask the size of", file->name);
    }
    *bytes = (uint64_t)status.st_size;
    return true;
}

static bool posix_read(void *user, struct disk_file *file, uint64_t offset, void *to, size_t bytes,
                       struct error *error) {
    uint8_t *at = to;
    while (bytes > 0) {
        ssize_t n = pread(file->fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return failed(error, user, "read", file->name);
        }
        if (n == 0) {
            return error_set(error, ERROR_IO, 0, "%s/%s ends at byte %llu, before the %zu bytes that were to be read",
                             ((struct posix *)user)->path, file->name, (unsigned long long)offset, bytes);
        }
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool posix_write(void *user, struct disk_file *file, uint64_t offset, struct span from, struct error *error) {
    while (from.len > 0) {
        ssize_t n = pwrite(file->fd, from.ptr, from.len, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return failed(error, user, "write", file->name);
        }
        from = span_skip(from, (size_t)n);
        offset += (uint64_t)n;
    }
    return true;
}

static bool posix_cut(void *user, struct disk_file *file, uint64_t bytes, struct error *error) {
    return ftruncate(file->fd, (off_t)bytes) == 0 || failed(error, user, "cut", file->name);
}

/* An interrupted sync may have lost its verdict on what it had begun to write, so it counts as failed like any other.
 */
static bool posix_sync(void *user, struct disk_file *file, struct error *error) {
    return fdatasync(file->fd) == 0 || failed(error, user, "sync", file->name);
}

static bool posix_remove(void *user, const char *name, struct error *error) {
    struct posix *p = user;
    return unlinkat(p->directory, name, 0) == 0 || errno == ENOENT || failed(error, p, "remove", name);
}

static bool posix_sync_directory(void *user, struct error *error) {
    struct posix *p = user;
    return fsync(p->directory) == 0 || failed(error, p, "sync the directory", "");
}

static bool posix_list(void *user, void (*visit)(void *context, const char *name), void *context, struct error *error) {
    struct posix *p = user;
    int fd = open_again(p->directory, ".", O_RDONLY | O_DIRECTORY);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (d == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return failed(error, p, "list", "");
    }
    errno = 0;
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            visit(context, e->d_name);
        }
        errno = 0;
    }
    bool ok = errno == 0 || failed(error, p, "list", "");
    (void)closedir(d);
    return ok;
}

static bool sync_parent(const struct posix *p, struct error *error) {
    char *copy = mem_copy(p->path, strlen(p->path));
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok) {
        failed(error, p, "sync the directory above", "");
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    mem_free(copy);
    return ok;
}

static bool open_directory(struct posix *p, struct error *error) {
    if (mkdir(p->path, 0700) == 0) {
        if (!sync_parent(p, error)) {
            return false;
        }
    } else if (errno != EEXIST) {
        return failed(error, p, "create", "");
    }
    /* The directory itself may be a link, to a larger disk perhaps: whoever could change it owns the directory above.
     * The files in it are not followed. */
    do {
        p->directory = open(p->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (p->directory < 0 && errno == EINTR);
    struct stat status;
    if (p->directory < 0 || fstat(p->directory, &status) != 0) {
        return failed(error, p, "open", "");
    }
    if (status.st_uid != geteuid() || (status.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return error_set(error, ERROR_INVALID, 0,
                         "%s must belong to the user who runs this and must not be writable by others", p->path);
    }
    return true;
}

static bool take_lock(struct posix *p, struct error *error) {
    p->lock = open_again(p->directory, LOCK_NAME, O_RDWR | O_CREAT);
    if (p->lock < 0) {
        return failed(error, p, "open", LOCK_NAME);
    }
    if (flock(p->lock, LOCK_EX | LOCK_NB) == 0) {
        return true;
    }
    if (errno == EWOULDBLOCK) {
        return error_set(error, ERROR_LOCKED, errno, "%s is in use by another process", p->path);
    }
    return failed(error, p, "lock", LOCK_NAME);
}

bool disk_posix_open(const char *path, struct disk *disk, struct error *error) {
    struct posix *p = mem_alloc(sizeof *p);
    *p = (struct posix){-1, -1, mem_copy(path, strlen(path))};
    *disk = (struct disk){
        .user = p,
        .open = posix_open,
        .close = posix_close,
        .size = posix_size,
        .read = posix_read,
        .write = posix_write,
        .cut = posix_cut,
        .sync = posix_sync,
        .remove = posix_remove,
        .sync_directory = posix_sync_directory,
        .list = posix_list,
    };
    if (!open_directory(p, error) || !take_lock(p, error)) {
        disk_posix_close(disk);
        return false;
    }
    return true;
}

void disk_posix_close(struct disk *disk) {
    struct posix *p = disk->user;
    must(p != NULL);
    if (p->lock >= 0) {
        (void)close(p->lock);
    }
    if (p->directory >= 0) {
        (void)close(p->directory);
    }
    mem_free(p->path);
    mem_free(p);
    disk->user = NULL;
}
