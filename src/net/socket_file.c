#include "net/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/must.h"
#include "base/span.h"

#define LOCK_TRIES 100
#define LOCK_PATH_BYTES (SOCKET_PATH_BYTES + 5)

_Static_assert(sizeof((struct sockaddr_un *)NULL)->sun_path == SOCKET_PATH_BYTES, "a path fits the system's address");

static void lock_path(const struct socket_file *f, char path[LOCK_PATH_BYTES]) {
    (void)snprintf(path, LOCK_PATH_BYTES, "%s.lock", f->path);
}

static bool cannot_listen(const struct socket_file *f, int failure, struct error *error) {
    const char *advice = failure == EACCES ? " (for the user that the broker runs as)" : "";
    return error_set(error, ERROR_INVALID, 0, "cannot listen on %s: %s%s", f->path, strerror(failure), advice);
}

/* ---- the lock ---- */

/* A broker that stops removes its lock file: what was locked has its name no more then, and locks nobody out. */
static bool lock_has_name(int fd, const char *path) {
    struct stat ours;
    struct stat named;
    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

/* Opens and locks the lock file once: false when it was not there any more, or with `*failure`. */
static bool lock_try(struct socket_file *f, const char *path, int *failure) {
    f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (f->lock < 0) {
        *failure = errno;
        return false;
    }
    *failure = flock(f->lock, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (*failure == 0 && lock_has_name(f->lock, path)) {
        return true;
    }
    (void)close(f->lock);
    return false;
}

static bool take_lock(struct socket_file *f, struct error *error) {
    char path[LOCK_PATH_BYTES];
    lock_path(f, path);
    int failure = 0;
    for (int i = 0; i < LOCK_TRIES && failure == 0; i++) {
        if (lock_try(f, path, &failure)) {
            return true;
        }
    }
    return failure == 0 || failure == EWOULDBLOCK
               ? error_set(error, ERROR_INVALID, 0, "cannot listen on %s: another broker holds %s", f->path, path)
               : cannot_listen(f, failure, error);
}

static void remove_file(const struct socket_file *f, const char *path) {
    if (unlink(path) != 0 && errno != ENOENT && f->log != NULL) {
        log_say(f->log, LOG_WARNING, "%s stays behind: %s", path, strerror(errno));
    }
}

static void give_lock(struct socket_file *f) {
    char path[LOCK_PATH_BYTES];
    lock_path(f, path);
    remove_file(f, path);
    (void)close(f->lock);
    f->path[0] = '\0';
}

/* ---- the socket ---- */

static struct sockaddr_un address_of(const struct socket_file *f) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, f->path, sizeof f->path);
    return address;
}

static int new_socket(void) {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* Why nobody can be reached at the path; 0 when somebody can, EAGAIN when too many are waiting there already. */
static int try_connect(const struct socket_file *f) {
    int fd = new_socket();
    if (fd < 0) {
        return errno;
    }
    struct sockaddr_un address = address_of(f);
    int failure = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    (void)close(fd);
    return failure;
}

/* Makes the path free, if it is nobody's. */
static bool clear_path(struct socket_file *f, struct error *error) {
    struct stat found;
    if (lstat(f->path, &found) != 0) {
        return errno == ENOENT ? true : cannot_listen(f, errno, error);
    }
    if (!S_ISSOCK(found.st_mode)) {
        return error_set(error, ERROR_INVALID, 0, "cannot listen on %s: it is there and not a socket", f->path);
    }
    int failure = try_connect(f);
    if (failure == 0 || failure == EAGAIN || failure == EPROTOTYPE) {
        return error_set(error, ERROR_INVALID, 0,
                         "cannot listen on %s: another program, perhaps mosquitto, is listening there", f->path);
    }
    if (failure != ECONNREFUSED || unlink(f->path) != 0) {
        return cannot_listen(f, failure != ECONNREFUSED ? failure : errno, error);
    }
    f->replaced = true;
    return true;
}

static int bind_path(struct socket_file *f, mode_t mask) {
    int fd = new_socket();
    if (fd < 0) {
        return -1;
    }
    struct sockaddr_un address = address_of(f);
    mode_t before = umask(mask);
    bool bound = bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    int failure = errno;
    (void)umask(before);
    if (bound) {
        return fd;
    }
    (void)close(fd);
    errno = failure;
    return -1;
}

static int bind_at(struct socket_file *f, mode_t mask, struct error *error) {
    if (!clear_path(f, error)) {
        return -1;
    }
    int fd = bind_path(f, mask);
    struct stat made;
    if (fd >= 0 && lstat(f->path, &made) == 0) {
        f->device = made.st_dev;
        f->inode = made.st_ino;
        return fd;
    }
    (void)cannot_listen(f, errno, error);
    if (fd >= 0) {
        (void)unlink(f->path);
        (void)close(fd);
    }
    return -1;
}

int socket_file_open(struct socket_file *f, const char *path, mode_t mask, struct error *error) {
    *f = (struct socket_file){.lock = -1};
    must(strlen(path) < sizeof f->path);
    memcpy(f->path, path, strlen(path) + 1);
    if (!take_lock(f, error)) {
        f->path[0] = '\0';
        return -1;
    }
    int fd = bind_at(f, mask, error);
    if (fd < 0) {
        give_lock(f);
    }
    return fd;
}

void socket_file_close(struct socket_file *f) {
    if (f->path[0] == '\0') {
        return;
    }
    struct stat found;
    if (lstat(f->path, &found) == 0 && found.st_dev == f->device && found.st_ino == f->inode) {
        remove_file(f, f->path);
    }
    give_lock(f);
}
