/* Driving: one turn is "wait, receive, act, send, call back, send". A thread of ours and a loop of the application run
 * the same turn; the one waits in it, the other before it. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"
#include "lib/lib.h"
#include "net/thread.h"

enum { GOODBYE_MS = 1000 };

/* The thread's callbacks under way, innermost first. */
static _Thread_local struct lib_frame *frames;

/* ---- time ---- */

mono_ms_t lib_mono(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (mono_ms_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void lib_clock(struct quartet *q, mono_ms_t now) {
    struct timespec boot;
    (void)clock_gettime(CLOCK_BOOTTIME, &boot);
    client_slept(q->client, (mono_ms_t)boot.tv_sec * 1000 + boot.tv_nsec / 1000000 - now);
    client_clock(q->client, now, lib_wall());
}

wall_ms_t lib_wall(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (wall_ms_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- lock, wake-ups, callbacks ---- */

void lib_enter(struct quartet *q) {
    atomic_fetch_add(&q->inside, 1);
    lock_take(&q->lock);
    store_work_note(&q->staged);
}

void lib_leave(struct quartet *q) {
    lib_collect(q);
    if (q->staged) {
        q->staged = false;
        if (q->store.work != NULL) {
            store_work_ring(q->store.work);
        }
    }
    store_work_note(NULL);
    if (atomic_fetch_sub(&q->inside, 1) == 1 && q->closing) {
        must(pthread_cond_broadcast(&q->changed) == 0); /* whoever closes waits until nobody is inside */
    }
    lock_give(&q->lock);
}

void lib_wake(struct quartet *q) {
    if (!q->woken && q->asleep) {
        uint64_t one = 1;
        (void)!write(q->wake, &one, sizeof one);
    }
    q->woken = true;
}

void lib_changed(struct quartet *q) {
    if (q->changed_waiters > 0) {
        must(pthread_cond_broadcast(&q->changed) == 0);
    }
}

void lib_callback_begin(struct lib_frame *frame, const struct quartet *q) {
    *frame = (struct lib_frame){q, frames};
    frames = frame;
}

void lib_callback_end(struct lib_frame *frame) {
    frames = frame->outer;
}

bool lib_in_callback(const struct quartet *q) {
    const struct lib_frame *frame = frames;
    while (frame != NULL && frame->q != q) {
        frame = frame->outer;
    }
    return frame != NULL;
}

bool lib_waits_for_itself(const struct quartet *q) {
    bool loop = q->drive == DRIVE_LOOP && q->loop_known && pthread_equal(q->loop_thread, pthread_self());
    return loop || q->drive == DRIVE_CORE || lib_in_callback(q);
}

/* ---- the turn ---- */

/* When there is something to do without a wake-up; -1: no need. Lock held. */
static mono_ms_t deadline(struct quartet *q, mono_ms_t now) {
    mono_ms_t engine = client_deadline(q->client);
    mono_ms_t transport = transport_deadline(&q->transport);
    uint32_t server;
    if (q->woken || (q->transport.state == TRANSPORT_IDLE && client_wish(q->client, &server) == CLIENT_CONNECT)) {
        return now;
    }
    return engine < 0 ? transport : transport < 0 || engine < transport ? engine : transport;
}

static int timeout_of(mono_ms_t at, mono_ms_t now) {
    return at < 0 ? -1 : at <= now ? 0 : at - now > INT_MAX ? INT_MAX : (int)(at - now);
}

/* Time, disk and transport, as far as nobody has to be called back. Lock held. */
static void act(struct quartet *q) {
    mono_ms_t now = lib_mono();
    lib_clock(q, now);
    client_time(q->client, now, lib_wall());
    client_stored(q->client);
    transport_run(q, now);
    transport_send(q);
}

/* What epoll has said. The lock is not held: only the driving thread touches the socket. */
static void hear(struct quartet *q, const struct epoll_event *events, int count) {
    uint64_t number;
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == q->wake || events[i].data.fd == q->timer) {
            (void)!read(events[i].data.fd, &number, sizeof number);
        } else {
            transport_receive(q, events[i].events);
        }
    }
}

/* One turn; `called` are callbacks allowed. */
static void turn(struct quartet *q, int timeout_ms, bool called) {
    struct epoll_event events[4];
    int count = epoll_wait(q->epoll, events, 4, timeout_ms);
    lock_take(&q->lock);
    q->asleep = false;
    q->woken = false;
    lock_give(&q->lock);
    hear(q, events, count > 0 ? count : 0);
    lib_enter(q);
    act(q);
    lib_changed(q);
    lib_leave(q);
    if (called && lib_deliver(q)) {
        lib_enter(q);
        act(q);
        lib_changed(q);
        lib_leave(q);
    }
}

/* The end of a turn: how long the thread may sleep. Lock held. */
static int sleeps(struct quartet *q) {
    mono_ms_t now = lib_mono();
    int timeout = timeout_of(deadline(q, now), now);
    q->asleep = true;
    return timeout;
}

/* ---- a thread of our own ---- */

static void *drive_main(void *argument) {
    struct quartet *q = argument;
    for (;;) {
        lock_take(&q->lock);
        bool closing = q->closing;
        int timeout = closing ? 0 : sleeps(q);
        lock_give(&q->lock);
        if (closing) {
            break;
        }
        turn(q, timeout, true);
    }
    lib_goodbye(q);
    lock_take(&q->lock);
    bool later = q->close_later;
    lock_give(&q->lock);
    if (later) {
        must(pthread_detach(pthread_self()) == 0);
        lib_destroy(q);
    }
    return NULL;
}

int quartet_start(struct quartet *q) {
    lib_enter(q);
    int code = QUARTET_OK;
    if (q->closing) {
        code = lib_fail_closed();
    } else if (q->drive != DRIVE_NONE) {
        code = lib_fail(QUARTET_INVALID, "the client is driven already, by %s",
                        q->drive == DRIVE_THREAD ? "its own thread" : "the application");
    } else {
        code = lib_store_work(q);
    }
    if (code == QUARTET_OK) {
        int refused = thread_try(&q->thread, "quartet", drive_main, q);
        q->drive = refused == 0 ? DRIVE_THREAD : DRIVE_NONE;
        code = refused == 0 ? QUARTET_OK : lib_fail(QUARTET_SYSTEM, "no thread: %s", strerror(refused));
    }
    lib_leave(q);
    return code;
}

/* ---- a loop of the application ---- */

/* False with an error when this client is driven in another way. Lock held. */
static int drive_by_loop(struct quartet *q) {
    if (q->closing) {
        return lib_fail_closed();
    }
    if (q->drive != DRIVE_NONE && q->drive != DRIVE_LOOP) {
        return lib_fail(QUARTET_INVALID, "the client is driven already, by %s",
                        q->drive == DRIVE_THREAD ? "its own thread" : "quartet_core functions");
    }
    int code = lib_store_work(q);
    if (code == QUARTET_OK && q->drive == DRIVE_NONE) {
        q->drive = DRIVE_LOOP;
        lib_wake(q);
    }
    return code;
}

int quartet_fd(struct quartet *q) {
    lib_enter(q);
    int code = drive_by_loop(q);
    int fd = q->epoll;
    lib_leave(q);
    return code == QUARTET_OK ? fd : code;
}

int quartet_timeout_ms(struct quartet *q) {
    lib_enter(q);
    mono_ms_t now = lib_mono();
    int timeout = q->closing ? 0 : timeout_of(deadline(q, now), now);
    lib_leave(q);
    return timeout;
}

/* Makes the descriptor readable when it is time, also for a loop that does not ask for the timeout. A timer that fires
 * too early costs one turn; so it is only ever moved to an earlier time. Lock held. */
static void set_timer(struct quartet *q) {
    mono_ms_t now = lib_mono();
    mono_ms_t at = deadline(q, now);
    if (at < 0 || (q->timer_at > now && q->timer_at <= at)) {
        return;
    }
    mono_ms_t until = at > now ? at : now;
    struct itimerspec when = {.it_value = {until / 1000, until % 1000 * 1000000 + 1}};
    must(timerfd_settime(q->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0);
    q->timer_at = until;
}

int quartet_handle(struct quartet *q) {
    lib_enter(q);
    int code = lib_in_callback(q) ? lib_fail(QUARTET_IN_CALLBACK, "quartet_handle() is called from a callback")
                                  : drive_by_loop(q);
    bool busy = q->driving;
    if (code == QUARTET_OK && !busy) {
        q->driving = true;
        q->loop_thread = pthread_self();
        q->loop_known = true;
    }
    lib_leave(q);
    if (code != QUARTET_OK || busy) {
        return code; /* another thread is at it: there is nothing left to do */
    }
    turn(q, 0, true);
    lib_enter(q);
    q->driving = false;
    bool later = q->close_later;
    if (!q->closing) {
        q->asleep = true;
        set_timer(q);
    }
    lib_leave(q);
    if (later) {
        lib_goodbye(q);
        lib_destroy(q);
        return lib_fail_closed();
    }
    return QUARTET_OK;
}

/* ---- the end ---- */

void lib_goodbye(struct quartet *q) {
    mono_ms_t until = lib_mono() + GOODBYE_MS;
    lib_enter(q);
    client_disconnect(q->client, 0);
    act(q);
    mono_ms_t now = lib_mono();
    while (q->transport.state != TRANSPORT_IDLE && now < until) {
        mono_ms_t at = deadline(q, now);
        lib_leave(q);
        turn(q, timeout_of(at >= 0 && at < until ? at : until, now), false);
        lib_enter(q);
        now = lib_mono();
    }
    lib_leave(q);
}
