/* One shard's thread: its loop, its listening sockets, its connections, its turns.
 *
 *     epoll_wait ── which connections have something ──┐
 *     turn:  time, durable, mail, moved connections    │ one recv each
 *            accept, read ─────────────────────────────┘
 *            ring the commit thread
 *            one pass over the dirty connections: one sendmsg each
 *            wake the shards that got mail
 *     epoll_wait ...
 *
 * libuv only tells which sockets are ready; the whole turn runs in its check phase. Between turns the thread is offline
 * for liburcu and asleep for its waker. */
#pragma once

#include "broker/request.h"
#include "net/inbox.h"
#include "net/listener.h"
#include "net/log.h"
#include "net/peers.h"
#include "net/waker.h"
#include "store/clock.h"

/* What the loops of one process share. */
struct loop_shared {
    struct broker *broker;
    struct store *store;
    struct store_clock clock;
    struct store_work *work; /* NULL with the memory store */
    struct log *log;
    struct listeners *listeners;
    struct loop *loops; /* one for each shard */
    unsigned shards;
    uint32_t connections_max;
    struct peers peers; /* by address */
    _Atomic uint32_t connections;
    _Atomic uint64_t refused; /* connections beyond connections_max */
    _Atomic bool said_full;   /* that connections_max is reached was logged */
    _Atomic bool stopping;
    void *user;
    void (*failed)(void *user); /* the store has stopped for good; does not return */
    void (*ended)(void *user);  /* a loop has closed all its connections; its thread ends */
};

struct conn;

/* A question to one shard, of whoever has made it: see broker/request.h. */
struct loop_request {
    struct link link;
    struct request request;
    void (*done)(struct loop_request *request); /* on the loop's thread, once; the request is the asker's again */
    void *user;
};

/* A listening socket of this loop. */
struct loop_listening {
    uv_poll_t poll;
    struct loop *loop;
    struct listening *socket;
    bool ready;          /* somebody waits to be accepted, */
    int failure;         /* or the socket cannot be watched: the number of that error */
    mono_ms_t resume_at; /* the process has no descriptor left; tried again then; 0: all is well */
};

struct loop {
    unsigned index;
    struct loop_shared *shared;
    struct shard *shard;
    pthread_t thread;
    uv_loop_t uv;
    uv_check_t check; /* the turn */
    uv_idle_t again;  /* active: do not wait, there is more to do */
    uv_timer_t tick;  /* once a second */
    uv_timer_t soon;  /* something has a deadline before that */
    struct waker waker;
    struct inbox inbox;
    struct loop_listening *listening; /* the sockets that this shard accepts from */
    size_t listening_count;
    struct conn **conns; /* by index of their handle */
    size_t conns_capacity;
    size_t conn_count;    /* sockets that are open, those the broker no longer knows included */
    struct link ready;    /* connections with events, */
    struct link left;     /* and those that the turn before had no time for */
    struct link over;     /* connections whose peer is gone, to be ended */
    struct link writable; /* connections that can be written to again */
    struct link draining; /* connections to be read on in the next turn, to their end */
    struct link ending;   /* connections that end at a deadline, by deadline */
    uint8_t *scratch;     /* what is read goes here first */
    size_t read_bytes;    /* most that one connection gets read in this turn */
    struct lock asked_lock;
    struct link asked; /* requests that others have left here; under the lock */
    _Atomic bool has_asked;
    struct link requests; /* those under way */
    mono_ms_t now;
    mono_ms_t next_tick;
    mono_ms_t stop_at;         /* while stopping: when to give up */
    size_t disk_waiters;       /* connections that the disk holds up */
    _Atomic bool waits;        /* disk_waiters is not 0; for the commit thread */
    lsn_t durable;             /* as the shard was told last */
    uint64_t began_ns;         /* when this turn began, on libuv's clock */
    struct turn_result result; /* of the last turn */
    bool staged;               /* the commit thread is to be rung */
    bool more;                 /* another turn is needed at once */
    bool stopping;
};

/* Most that one recv takes, and so what one connection gets read in one turn; when many are ready they share so much,
 * so that one who waits for an answer waits for a part of what all others send. */
#define LOOP_SCRATCH_BYTES (64U * 1024)
#define LOOP_TURN_BYTES (256U * 1024)
#define LOOP_SHARE_BYTES_MIN (8U * 1024)

/* The wall clock, and the one that nobody can set and that counts sleep. */
wall_ms_t loop_wall(void);
int64_t loop_boot(void);
/* Prepares one loop; all of them are prepared before the first is started. */
void loop_init(struct loop *loop, struct loop_shared *shared, unsigned index);
/* Starts its thread, which ends some time after shared->stopping was set and the loop woken. */
void loop_start(struct loop *loop);
/* Waits for the thread's end. */
void loop_join(struct loop *loop);
/* Frees what it had; no other thread may still wake it. */
void loop_deinit(struct loop *loop);
/* Durable has grown: the loop is woken when one of its connections waits for that. Any thread. */
void loop_committed(struct loop *loop);
/* Leaves a request here. Those that are not done when the loop ends stay undone. Any thread. */
void loop_ask(struct loop *loop, struct loop_request *request);
/* Loop thread: makes sure of a turn within `ms`. */
void loop_turn_within(struct loop *loop, uint64_t ms);
