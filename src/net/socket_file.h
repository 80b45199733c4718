/* The file of a UNIX socket on which this process listens.
 *
 * That the file is there tells nothing: a broker that was killed leaves it behind, and nobody could listen at its path
 * again; a broker that lives would lose its clients if it were taken away. Hence
 *
 *     PATH.lock   locked (flock) as long as the socket is open; the kernel lets go of it when the process dies
 *     PATH        removed by the next broker that holds the lock, when nobody answers on it; nothing but a socket is
 *
 * so two brokers of ours never both believe that the path is theirs, and a program that does not know the lock keeps
 * its socket as long as it listens. Both files are removed at a clean stop.
 *
 * Who may connect is said by the umask that the socket is made with. Thread: one at a time; opening is for a time
 * at which no other thread creates files, for it changes the umask for a moment. */
#pragma once

#include <sys/types.h>

#include "net/log.h"

/* Of `path` in bytes, its end included; what is longer cannot be opened. */
#define SOCKET_PATH_BYTES 108

#define SOCKET_FOR_GROUP 0007 /* owner and group may connect, as to mosquitto's */
#define SOCKET_FOR_OWNER 0177

struct socket_file {
    char path[SOCKET_PATH_BYTES]; /* empty: closed */
    int lock;                     /* descriptor */
    dev_t device;                 /* of the socket: one that another program has put there is not removed */
    ino_t inode;
    bool replaced;   /* a dead broker's was removed */
    struct log *log; /* set by who has opened it: hears of a file that cannot be removed; NULL: nobody */
};

/* Binds a socket to `path`; the descriptor is the caller's, who listens when it can serve, and does not block. -1 with
 * an error. */
int socket_file_open(struct socket_file *f, const char *path, mode_t mask, struct error *error);
/* Removes the files, or logs that one stays behind, which the next broker removes. To be called before the socket is
 * closed, so that nobody takes it for a dead one's. Zeroed or closed: nothing happens. */
void socket_file_close(struct socket_file *f);
