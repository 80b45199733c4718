#include "net/waker.h"

#include "base/must.h"

static void waker_heard(uv_async_t *async) {
    (void)async; /* that the loop turns is all that is wanted */
}

void waker_init(struct waker *w, uv_loop_t *loop) {
    must(uv_async_init(loop, &w->async, waker_heard) == 0);
    atomic_init(&w->wanted, false);
    atomic_init(&w->asleep, true); /* a loop that has not turned yet must be woken for its first turn */
}

void waker_close(struct waker *w) {
    uv_close((uv_handle_t *)&w->async, NULL);
}

void waker_wake(struct waker *w) {
    if (!atomic_exchange(&w->wanted, true) && atomic_load(&w->asleep)) {
        must(uv_async_send(&w->async) == 0);
    }
}

void waker_begin(struct waker *w) {
    atomic_store(&w->asleep, false);
    (void)atomic_exchange(&w->wanted, false);
}

bool waker_sleeps(struct waker *w) {
    atomic_store(&w->asleep, true);
    return !atomic_load(&w->wanted);
}
