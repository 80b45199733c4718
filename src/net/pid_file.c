#include "net/pid_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define LOCK_TRIES 100
#define FLAGS (O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)

/* One that stops removes its file: what was locked may have its name no more. */
static bool has_name(int fd, const char *path) {
    struct stat ours;
    struct stat named;
    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

/* The file, made if it is not there; -1 with errno. */
static int open_or_make(struct pid_file *f) {
    int fd = open(f->path, FLAGS | O_CREAT | O_EXCL, 0600);
    f->keep = fd < 0;
    return fd >= 0 || errno != EEXIST ? fd : open(f->path, FLAGS, 0600);
}

/* Opens and locks it once. False with errno; 0: the file was removed meanwhile. */
static bool try_lock(struct pid_file *f) {
    f->fd = open_or_make(f);
    if (f->fd < 0) {
        return false;
    }
    int failure = flock(f->fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (failure == 0 && has_name(f->fd, f->path)) {
        return true;
    }
    (void)close(f->fd);
    f->fd = -1;
    errno = failure;
    return false;
}

static bool cannot(struct pid_file *f, struct error *error) {
    int failure = errno;
    if (failure == EWOULDBLOCK) {
        (void)error_set(error, ERROR_INVALID, 0, "the pid file %s belongs to a broker that runs", f->path);
    } else {
        (void)error_set(error, ERROR_INVALID, failure, "the pid file %s cannot be written", f->path);
    }
    pid_file_close(f);
    return false;
}

bool pid_file_open(struct pid_file *f, const char *path, struct error *error) {
    *f = (struct pid_file){.fd = -1, .keep = true};
    if (path == NULL) {
        return true;
    }
    f->path = mem_copy(path, strlen(path));
    errno = 0;
    for (int i = 0; i < LOCK_TRIES; i++) {
        if (try_lock(f)) {
            return true;
        }
        if (errno != 0 && errno != ENOENT) {
            break;
        }
    }
    return cannot(f, error);
}

bool pid_file_write(struct pid_file *f, struct error *error) {
    if (f->path == NULL) {
        return true;
    }
    char text[32];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    f->keep = false;
    return (ftruncate(f->fd, 0) == 0 && pwrite(f->fd, text, (size_t)len, 0) == len) || cannot(f, error);
}

void pid_file_close(struct pid_file *f) {
    if (f->fd >= 0) {
        /* Who has become another user may not remove it from root's directory: an empty one names nobody. */
        if (!f->keep && has_name(f->fd, f->path) && unlink(f->path) != 0) {
            int ignored = ftruncate(f->fd, 0);
            (void)ignored;
        }
        (void)close(f->fd);
    }
    mem_free(f->path);
    *f = (struct pid_file){.fd = -1};
}
