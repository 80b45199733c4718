/* The file with the process id. It is locked (flock) as long as the process lives: a second broker that was started by
 * mistake neither writes nor removes it, and one that a dead broker has left behind is taken over.
 *
 *     pid_file_open   as root, before anything is changed: the lock    pid_file_write   when the store is ours
 *     pid_file_close  removes the file, if it is the one that was opened
 */
#pragma once

#include "base/error.h"

struct pid_file {
    char *path; /* owned; NULL: none */
    int fd;
    bool keep; /* it is another one's: not written by us, and there before */
};

/* `path` NULL: nothing happens here and in what follows. False with an error. */
bool pid_file_open(struct pid_file *f, const char *path, struct error *error);
bool pid_file_write(struct pid_file *f, struct error *error);
void pid_file_close(struct pid_file *f);
