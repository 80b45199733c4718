/* How a failure of the environment (disk, memory, operating system) is carried.
 *
 * A function that can fail returns false and fills a struct error: what kind, the system's number, and a sentence that
 * says what was tried on which file. The kind tells the caller what can be done; the sentence is for a person. */
#pragma once

#include <stdbool.h>

enum error_kind {
    ERROR_NONE = 0,
    ERROR_IO,       /* a read, write or sync failed: stop acknowledging, say so, exit; never try again */
    ERROR_NO_SPACE, /* nothing was changed; refuse new publishes and try again later */
    ERROR_DAMAGED,  /* what was read is not what was acknowledged: refuse to start, name the repair command */
    ERROR_LOCKED,   /* another process owns the store: refuse to start */
    ERROR_FORMAT,   /* a file of another kind or of a newer version: refuse to start */
    ERROR_INVALID,  /* an option or argument makes no sense: say which */
    ERROR_CRASHED,  /* simulator only: the machine has lost power; unwind and return */
};

struct error {
    enum error_kind kind;
    int system;     /* errno, or 0 */
    char text[384]; /* a sentence without full stop, zero-terminated */
};

/* Fills `error` and returns false, so that a caller writes: return error_set(...). */
bool error_set(struct error *error, enum error_kind kind, int system, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The kind that fits an errno of a disk operation: ENOSPC and EDQUOT give ERROR_NO_SPACE, all else ERROR_IO. */
enum error_kind error_kind_of(int system);
