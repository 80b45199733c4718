/* The common ending of every program of ours that prints: what did not reach standard output (a full disk, a closed
 * pipe) makes the exit status, whatever the verb has found. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EXIT_OUTPUT 1

/* `status`, or EXIT_OUTPUT with a sentence when that is 0 and something that was printed is lost. */
static inline int ending(const char *program, int status) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return status;
    }
    (void)fprintf(stderr, "%s: standard output takes no more%s%s\n", program, errno != 0 ? ": " : "",
                  errno != 0 ? strerror(errno) : "");
    return status == 0 ? EXIT_OUTPUT : status;
}
