/* The inside of libquartet: what its parts share. Nobody outside lib/ includes this.
 *
 *   open.c       quartet_open, quartet_close                     any thread
 *   options.c    structs of other sizes, checks                  pure
 *   store.c      the store, its two threads                      any thread; what they call takes the lock
 *   drive.c      start, handle, one turn                         the driving thread, one at a time
 *   transport.c  resolve, connect, send, receive                 the driving thread
 *   deliver.c    callbacks                                       the driving thread, without the lock
 *   refusal.c    messages that were not taken                    the lock is held
 *   publish.c    publish and wait                                any thread
 *   receive.c    subscribe, next, done                           any thread
 *   message.c    what an application is given                    any thread
 *   core.c       driven by hand                                  one thread at a time
 *
 * The engine (client/) knows no threads: one lock lies around it, and none is held while a callback runs. Whoever
 * changes something that the driving thread must act upon wakes it, which costs a system call only while it sleeps. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "base/buf.h"
#include "base/lock.h"
#include "client/client.h"
#include "lib/refusal.h"
#include "lib/transport.h"
#include "net/local_store.h"
#include "net/store_work.h"

/* How the client is driven; the first function that needs to know decides. */
enum drive {
    DRIVE_NONE = 0, /* not yet */
    DRIVE_THREAD,   /* quartet_start() */
    DRIVE_LOOP,     /* quartet_fd(), quartet_handle() */
    DRIVE_CORE,     /* quartet_core_*() */
};

/* Events that wait for the driving thread. Their texts are at offsets into `texts`, which grows. */
struct event_list {
    struct quartet_event *events;
    size_t (*texts_at)[3]; /* text, server, client_id */
    size_t count;
    size_t capacity;
    struct buf texts;
};

/* The store of one client. */
struct lib_store {
    struct store *store; /* a local or a memory one */
    bool durable;        /* a local one */
    struct local_store local;
    struct store_work *work; /* its two threads; NULL while they are not needed */
};

struct quartet {
    struct quartet_options options; /* complete; strings and will are not to be read */
    char *bind_address;             /* NULL: any */
    uint8_t epoch[16];
    struct lib_store store;

    struct lock lock;
    _Atomic unsigned inside; /* calls that have begun and not returned; also those that wait for the lock */
    struct client *client;   /* guarded by lock, as is all that follows */
    pthread_cond_t changed;  /* something came, was done, or is over */
    pthread_cond_t stored;   /* the store's threads have done something */
    unsigned changed_waiters;
    unsigned stored_waiters;
    bool staged; /* this thread has staged something since it took the lock */

    enum drive drive;
    bool driving;          /* a thread is inside a turn */
    pthread_t loop_thread; /* DRIVE_LOOP: the thread that called last */
    bool loop_known;
    pthread_t thread; /* DRIVE_THREAD */
    bool closing;     /* nothing new begins */
    bool close_later; /* closed from a callback: the driving thread frees the client */

    uint64_t last_id;      /* given last to a QoS 1 or 2 message, or what the store held at the opening */
    uint64_t no_wait_next; /* the first id that nobody waited for and STORED was not told of; 0: none */
    uint64_t no_wait_last; /* and the last one */
    bool lost_told;        /* the application was told of the lost session */
    bool store_told;       /* STORE_FAILED was told */
    struct event_list events;
    struct refusals refusals;

    int epoll;          /* what quartet_fd() gives */
    int wake;           /* eventfd */
    int timer;          /* timerfd, for loops of the application */
    mono_ms_t timer_at; /* when it fires; 0: never */
    bool asleep;        /* the driving thread waits, or may */
    bool woken;         /* it was woken, or has been asked for another turn */
    struct transport transport;

    mono_ms_t core_now; /* DRIVE_CORE: as the application says */
    wall_ms_t core_wall;
    mono_ms_t seal_at; /* DRIVE_CORE: when an idle journal is sealed; 0: it is */
};

/* ---- the lock ---- */

/* Takes the lock around the engine; what is staged meanwhile is committed once, when it is given back. From the one to
 * the other the client cannot go, and giving the lock back is the last that is done with it. */
void lib_enter(struct quartet *q);
void lib_leave(struct quartet *q);
/* The driving thread has something to do. Lock held. */
void lib_wake(struct quartet *q);
/* Those who wait look again. Lock held. */
void lib_changed(struct quartet *q);

/* ---- errors (error.c) ---- */

/* Sets this thread's quartet_last_error() and returns `code`. */
int lib_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The code for a failure of the store or of the system, with its sentence. */
int lib_fail_error(const struct error *error);
int lib_code_of(const struct error *error);
int lib_fail_closed(void);

/* ---- time ---- */

mono_ms_t lib_mono(void);
wall_ms_t lib_wall(void);
/* Tells the engine the time. Lock held. */
void lib_clock(struct quartet *q, mono_ms_t now);

/* ---- chance (open.c) ---- */

void lib_random(void *to, size_t bytes);

/* ---- options.c ---- */

/* Copies a struct of `size` bytes, which an older or newer program knows, into one of `ours` bytes: what it does not
 * know is zero. False when it sets fields that this library does not know. */
bool lib_copy_sized(void *to, size_t ours, const void *from, size_t size);

/* ---- store.c ---- */

int lib_store_open(struct quartet *q);
void lib_store_close(struct quartet *q);
/* Starts the store's threads when there is a store and they do not run. Lock held. */
int lib_store_work(struct quartet *q);
/* Ends them, with all that was staged on the disk, also when they have not run yet. Lock not held. */
void lib_store_rest(struct quartet *q);
/* QUARTET_STORE_FAILED or what it was, when the store has failed; else QUARTET_OK. */
int lib_store_state(const struct quartet *q);

/* ---- drive.c ---- */

bool lib_in_callback(const struct quartet *q);
/* True when this thread would wait for itself. Lock held. */
bool lib_waits_for_itself(const struct quartet *q);
/* Sends DISCONNECT and ends the transport, within a second. The driving thread, or nobody drives. */
void lib_goodbye(struct quartet *q);
/* Frees everything, when those who are inside have left; nobody drives, nothing new begins. */
void lib_destroy(struct quartet *q);

/* A callback of `q` is running on this thread while this is in the chain. */
struct lib_frame {
    const struct quartet *q;
    struct lib_frame *outer;
};
void lib_callback_begin(struct lib_frame *frame, const struct quartet *q);
void lib_callback_end(struct lib_frame *frame);

/* ---- publish.c ---- */

/* What a waiter looks at; LIB_PENDING: not yet. Lock held. */
enum { LIB_PENDING = 1 };
typedef int (*lib_condition)(struct quartet *q, void *argument);
/* Waits for something that the driving thread does; QUARTET_TIMEOUT when the time is over first. Lock held. */
int lib_wait_changed(struct quartet *q, int timeout_ms, lib_condition look, void *argument);
/* Why nothing will change any more, as an error; LIB_PENDING when it may. Lock held. */
int lib_hopeless(struct quartet *q);

/* ---- deliver.c ---- */

/* Runs the callbacks that are due, up to a number; true when any ran. Lock not held. */
bool lib_deliver(struct quartet *q);
/* Takes the engine's events, so that a refusal is known to those who wait as soon as the message is. Lock held. */
void lib_collect(struct quartet *q);
void lib_events_deinit(struct event_list *list);

/* ---- message.c ---- */

/* What the application is given; takes the reference of `d`. */
struct quartet_message *lib_message(const struct quartet *q, const struct client_delivery *d);
bool lib_message_kept(const struct quartet_message *message);
