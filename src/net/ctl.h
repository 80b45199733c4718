/* The broker's side of `quartet ctl`: a UNIX socket on the main thread's loop, to which root and the broker's own user
 * may connect. A question goes to every shard (loop_ask), and what they answer is put together here. One question for
 * each connection; at most CTL_CONNS_MAX connections at once, and a minute for each. See net/ctl_text.h for the words.
 */
#pragma once

#include "net/loop.h"

#define CTL_CONNS_MAX 16

struct ctl {
    struct loop_shared *shared;
    uv_loop_t *uv;
    struct socket_file file;
    int fd;      /* -1: nobody can ask */
    bool paused; /* the process has no descriptor left: who asks is let in at the next tick */
    uv_poll_t poll;
    uv_async_t answered;
    uv_timer_t tick;
    struct link conns;
    size_t conn_count;
    struct link asks; /* under way; their connection may be gone */
};

/* Makes the socket; to be called before there are other threads than the log's. NULL: none. False with an error. */
bool ctl_open(struct ctl *ctl, const char *path, struct error *error);
/* From now on who asks is let in; the loop takes the questions once it runs, and by then the shards must. So whom a
 * listener serves finds this socket listening. Main thread, its loop prepared. */
void ctl_start(struct ctl *ctl, uv_loop_t *uv, struct loop_shared *shared);
/* No more questions; who has asked gets no answer. Main thread; what it has in the loop is closed by the next run. */
void ctl_stop(struct ctl *ctl);
/* Frees the rest; no shard runs any more. */
void ctl_close(struct ctl *ctl);
