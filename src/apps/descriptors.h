/* Descriptors 0 to 2 of a program that may have been started without them. */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

/* Gives /dev/null to those that are closed, before anything else is opened: a socket or a journal in their place would
 * be what messages are printed into. It is open for the wrong direction, so that every use fails. False when it cannot
 * be had. */
static inline bool descriptors_occupy(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            return false;
        }
    }
    return true;
}
