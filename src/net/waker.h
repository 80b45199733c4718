/* Wakes a loop that sleeps, and costs nothing when it does not: a system call is made only when the loop's thread has
 * gone to sleep (or is about to) and nobody has woken it yet.
 *
 *     other threads:  post what there is to do;  waker_wake()
 *     the loop:       waker_begin();  do what there is;  if (!waker_sleeps()) go on at once;  else wait in epoll
 *
 * Both sides write their own flag before they read the other's, so one of them always sees the other. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <uv.h>

struct waker {
    uv_async_t async;
    _Atomic bool wanted; /* somebody has something for the loop */
    _Atomic bool asleep; /* the loop waits, or is about to */
};

/* Loop thread (or before it starts). */
void waker_init(struct waker *w, uv_loop_t *loop);
/* Loop thread; the memory may be freed once the loop has run its closing callbacks. */
void waker_close(struct waker *w);
/* Any thread. */
void waker_wake(struct waker *w);
/* Loop thread: a turn begins; what was posted before is seen in it. */
void waker_begin(struct waker *w);
/* Loop thread: the turn is over. True when the loop may wait; false when something was posted meanwhile. */
bool waker_sleeps(struct waker *w);
