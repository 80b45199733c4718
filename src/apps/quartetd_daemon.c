#include "apps/quartetd_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int ready_fd = -1;

/* The first process: waits for the word of the second, or for its end. */
static _Noreturn void daemon_wait(int fd, pid_t child) {
    char word;
    ssize_t got;
    do {
        got = read(fd, &word, 1);
    } while (got < 0 && errno == EINTR);
    if (got == 1) {
        _exit(0);
    }
    int status = 0;
    (void)waitpid(child, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

void daemon_begin(void) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) {
        (void)fprintf(stderr, "cannot go to the background: %s\n", strerror(errno));
        exit(1);
    }
    pid_t child = fork();
    if (child < 0) {
        (void)fprintf(stderr, "cannot go to the background: %s\n", strerror(errno));
        exit(1);
    }
    if (child > 0) {
        (void)close(fds[1]);
        daemon_wait(fds[0], child);
    }
    (void)close(fds[0]);
    ready_fd = fds[1];
    (void)setsid();
}

void daemon_ready(void) {
    if (ready_fd < 0) {
        return;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2 && null >= 0; fd++) {
        (void)dup2(null, fd);
    }
    ssize_t ignored = write(ready_fd, "r", 1);
    (void)ignored;
    (void)close(ready_fd);
    ready_fd = -1;
}
