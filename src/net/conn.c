#include "net/conn.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"

#define END_AFTER_MS 1000             /* for the rest of an outbox, and for the peer's side to be closed */
#define IOVECS_MAX 128                /* in one sendmsg */
#define SEND_BYTES_MAX (1024U * 1024) /* on one connection in one turn */
#define DRAIN_BYTES_MAX (8U << 20)    /* of an old connection whose client is back: more than the system keeps */

static struct loop *loop_of(const struct conn *c) {
    return c->poll.loop->data;
}

static struct conn_origin conn_origin(const struct conn *c) {
    return (struct conn_origin){c->listener, c->address};
}

static bool lingering(const struct conn *c) {
    return c->handle.generation == 0;
}

static void conn_polled(uv_poll_t *poll, int status, int events) {
    struct conn *c = poll->data;
    if (status < 0) {
        c->failed = true;
        c->interest = 0; /* libuv has stopped watching */
    }
    c->readable = c->readable || (events & UV_READABLE) != 0;
    c->hung_up = c->hung_up || (events & UV_DISCONNECT) != 0;
    c->writable = c->writable || (events & UV_WRITABLE) != 0;
    if (!link_linked(&c->turn_link)) {
        list_push_back(&loop_of(c)->ready, &c->turn_link);
    }
}

static void conn_interest(struct conn *c, int events) {
    if (c->interest == events) {
        return;
    }
    c->interest = (uint8_t)events;
    if (events == 0) {
        must(uv_poll_stop(&c->poll) == 0);
    } else {
        must(uv_poll_start(&c->poll, events, conn_polled) == 0);
    }
}

/* Counts what the loop must be woken for while this connection waits. */
static void conn_waits(struct conn *c, bool disk) {
    loop_of(c)->disk_waiters += (size_t)disk - (size_t)c->disk_waiter;
    c->disk_waiter = disk;
}

static void conn_place(struct loop *loop, struct conn *c) {
    size_t index = c->handle.index;
    if (index >= loop->conns_capacity) {
        size_t capacity = loop->conns_capacity > 0 ? loop->conns_capacity : 64;
        while (capacity <= index) {
            capacity *= 2;
        }
        loop->conns = mem_resize(loop->conns, capacity * sizeof(struct conn *));
        memset(loop->conns + loop->conns_capacity, 0, (capacity - loop->conns_capacity) * sizeof(struct conn *));
        loop->conns_capacity = capacity;
    }
    must(loop->conns[index] == NULL);
    loop->conns[index] = c;
}

static void conn_uncount(struct loop_shared *shared, struct conn_origin origin) {
    peers_leave(&shared->peers, origin.address);
    atomic_fetch_sub_explicit(&shared->connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&shared->listeners->items[origin.listener].connections, 1, memory_order_relaxed);
}

void conn_open(struct loop *loop, int fd, struct conn_origin origin, const char *peer, struct span bytes) {
    struct conn *c = mem_zero(1, sizeof *c);
    c->fd = fd;
    c->address = origin.address;
    c->listener = origin.listener;
    c->poll.data = c;
    int refused = uv_poll_init(&loop->uv, &c->poll, fd);
    if (refused != 0) {
        log_say(loop->shared->log, LOG_WARNING, "%s cannot be watched and is closed: %s", peer, uv_strerror(refused));
        conn_uncount(loop->shared, origin);
        (void)close(fd);
        mem_free(c);
        return;
    }
    c->handle = shard_opened(loop->shard, peer);
    must(c->handle.generation != 0);
    conn_place(loop, c);
    loop->conn_count++;
    conn_interest(c, UV_READABLE);
    if (bytes.len > 0) {
        shard_bytes(loop->shard, c->handle, bytes);
    }
}

static void conn_free(uv_handle_t *handle) {
    mem_free(handle->data);
}

/* The socket and its place in the loop are given up; the descriptor goes on to whoever has it now. */
static void conn_detach(struct conn *c) {
    if (!lingering(c)) {
        loop_of(c)->conns[c->handle.index] = NULL;
    }
    conn_waits(c, false);
    list_remove(&c->turn_link);
    list_remove(&c->end_link);
    loop_of(c)->conn_count--;
    uv_close((uv_handle_t *)&c->poll, conn_free);
}

void conn_release(struct conn *c) {
    struct loop_shared *shared = loop_of(c)->shared;
    int fd = c->fd;
    conn_uncount(shared, conn_origin(c));
    conn_detach(c);
    (void)close(fd);
}

/* The connection is gone: tells the broker and closes the socket. */
static void conn_gone(struct conn *c) {
    if (!lingering(c)) {
        loop_of(c)->conns[c->handle.index] = NULL;
        shard_closed(loop_of(c)->shard, c->handle);
        c->handle = (struct conn_handle){0, 0};
    }
    conn_release(c);
}

static void conn_end_within(struct conn *c, mono_ms_t ms) {
    list_remove(&c->end_link);
    c->end_at = loop_of(c)->now + ms;
    list_push_back(&loop_of(c)->ending, &c->end_link);
    loop_turn_within(loop_of(c), 100);
}

/* Everything was sent: we close our side, and keep reading until the peer has closed its own. */
static void conn_linger(struct conn *c) {
    struct loop *loop = loop_of(c);
    loop->conns[c->handle.index] = NULL;
    shard_closed(loop->shard, c->handle);
    c->handle = (struct conn_handle){0, 0};
    conn_waits(c, false);
    if (c->failed || shutdown(c->fd, SHUT_WR) != 0) {
        conn_release(c);
        return;
    }
    conn_end_within(c, END_AFTER_MS);
    conn_interest(c, UV_READABLE);
}

/* A disk may be slower than that: its client would take the end for one that no crash takes back (B10). */
void conn_end(struct conn *c) {
    if (lingering(c) || shard_may_cut(loop_of(c)->shard, c->handle)) {
        conn_gone(c);
    } else {
        conn_end_within(c, END_AFTER_MS);
    }
}

/* One recv: returns how much has come, 0 when there is nothing now, -1 when the peer is gone. */
static ssize_t conn_receive(struct conn *c) {
    struct loop *loop = loop_of(c);
    c->readable = false;
    ssize_t got = recv(c->fd, loop->scratch, loop->read_bytes, 0);
    c->eager = got == (ssize_t)loop->read_bytes;
    if (got > 0 && !lingering(c)) {
        shard_bytes(loop->shard, c->handle, span_of(loop->scratch, (size_t)got));
    }
    if (got > 0) {
        return got;
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

/* One recv. False when the peer is gone. */
static bool conn_read(struct conn *c) {
    return conn_receive(c) >= 0;
}

static bool conn_wishes(const struct conn *c, enum conn_wish wish) {
    return !lingering(c) && shard_wish(loop_of(c)->shard, c->handle) == wish;
}

static bool conn_may_read(const struct conn *c) {
    return lingering(c) || conn_wishes(c, CONN_READ) || conn_wishes(c, CONN_DRAIN);
}

/* Hands the connection to the shard that owns its session. */
static void conn_move(struct conn *c) {
    struct loop *loop = loop_of(c);
    struct moved *moved = mem_zero(1, sizeof *moved);
    moved->fd = c->fd;
    moved->origin = conn_origin(c);
    (void)snprintf(moved->peer, sizeof moved->peer, "%s", shard_peer(loop->shard, c->handle));
    unsigned target = shard_move(loop->shard, c->handle, &moved->bytes);
    must(target < loop->shared->shards);
    conn_detach(c);
    struct loop *to = &loop->shared->loops[target];
    if (inbox_put(&to->inbox, moved)) {
        waker_wake(&to->waker);
        return;
    }
    conn_uncount(loop->shared, moved->origin);
    moved_destroy(moved);
}

/* The socket has an error; what came before it may still be there, and may be a DISCONNECT. It is read as all else is,
 * a slice in each turn: who has sent much is paused meanwhile. */
static bool conn_has_rest(struct conn *c) {
    struct loop *loop = loop_of(c);
    const int32_t left_ms = (int32_t)(c->over_at - (uint32_t)loop->now);
    if (!c->failed || left_ms <= 0) {
        return false;
    }
    if (!conn_may_read(c)) {
        return conn_wishes(c, CONN_PAUSE);
    }
    loop->more = true;
    return conn_receive(c) > 0;
}

void conn_bury(struct conn *c) {
    if (conn_has_rest(c)) {
        list_push_back(&loop_of(c)->over, &c->turn_link);
    } else if (conn_wishes(c, CONN_MOVE)) {
        conn_move(c);
    } else {
        conn_gone(c);
    }
}

/* The peer is gone. What that means may be much work for the broker, and many may go at once: first those who are there
 * are heard. */
static void conn_over(struct conn *c) {
    if (lingering(c)) {
        conn_gone(c);
        return;
    }
    conn_interest(c, 0);
    c->over_at = (uint32_t)(loop_of(c)->now + END_AFTER_MS);
    list_remove(&c->turn_link);
    list_push_back(&loop_of(c)->over, &c->turn_link);
    if (c->failed) {
        shard_broken(loop_of(c)->shard, c->handle);
    }
}

void conn_events(struct conn *c) {
    if (c->failed || (c->readable && conn_may_read(c) && !conn_read(c))) {
        conn_over(c);
        return;
    }
    if (!lingering(c) && (c->writable || c->hung_up)) {
        c->blocked = c->blocked && !c->writable;
        c->writable = false;
        list_push_back(&loop_of(c)->writable, &c->turn_link);
    }
}

enum sending { SENDING_DONE = 1, SENDING_BLOCKED, SENDING_FAILED };

/* Offers the socket what may leave, once; `bytes` counts what it took. */
static enum sending conn_send_once(struct conn *c, size_t *bytes) {
    struct iovec iov[IOVECS_MAX];
    struct shard *shard = loop_of(c)->shard;
    int count = shard_output(shard, c->handle, iov, IOVECS_MAX);
    if (count == 0) {
        return SENDING_DONE;
    }
    size_t offered = 0;
    for (int i = 0; i < count; i++) {
        offered += iov[i].iov_len;
    }
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (sent < 0) {
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? SENDING_BLOCKED : SENDING_FAILED;
    }
    shard_sent(shard, c->handle, (size_t)sent);
    *bytes += (size_t)sent;
    return (size_t)sent < offered || *bytes >= SEND_BYTES_MAX ? SENDING_BLOCKED : SENDING_DONE;
}

/* Sends all that may leave. False when the socket has an error. */
static bool conn_send(struct conn *c) {
    size_t bytes = 0;
    size_t before;
    enum sending result = SENDING_DONE;
    do {
        before = bytes;
        result = conn_send_once(c, &bytes);
    } while (result == SENDING_DONE && bytes > before && shard_output_bytes(loop_of(c)->shard, c->handle) > 0);
    c->blocked = result == SENDING_BLOCKED;
    return result != SENDING_FAILED;
}

/* What libuv is to watch while the connection is open. A peer that hung up while we do not read is not watched for
 * that again: it would be reported in every turn. */
static int conn_wanted(const struct conn *c, bool read) {
    int idle = c->hung_up ? 0 : UV_DISCONNECT;
    return (read ? UV_READABLE : idle) | (c->blocked ? UV_WRITABLE : 0);
}

static void conn_settle(struct conn *c) {
    enum conn_wish wish = shard_wish(loop_of(c)->shard, c->handle);
    size_t left = shard_output_bytes(loop_of(c)->shard, c->handle);
    switch (wish) {
    case CONN_READ:
    case CONN_PAUSE:
    case CONN_DRAIN:
        conn_waits(c, wish == CONN_PAUSE || (left > 0 && !c->blocked));
        conn_interest(c, conn_wanted(c, wish != CONN_PAUSE));
        return;
    case CONN_CLOSE:
        if (shard_may_close(loop_of(c)->shard, c->handle)) {
            conn_linger(c);
            return;
        }
        conn_waits(c, !c->blocked);
        conn_interest(c, conn_wanted(c, false));
        if (!link_linked(&c->end_link)) {
            conn_end_within(c, END_AFTER_MS);
        }
        return;
    case CONN_ABORT:
        conn_gone(c);
        return;
    case CONN_MOVE:
        conn_move(c);
        return;
    }
}

/* The client is back on another connection: what the system has of this one is read to its end, a slice in each turn.
 * False when the connection is gone. */
static bool conn_drain(struct conn *c) {
    struct loop *loop = loop_of(c);
    uint32_t slice = 0;
    while (slice < LOOP_SCRATCH_BYTES && c->drained < DRAIN_BYTES_MAX) {
        ssize_t got = conn_receive(c);
        if (got < 0) {
            conn_gone(c);
            return false;
        }
        slice += (uint32_t)got;
        c->drained = got > 0 ? c->drained + (uint32_t)got : DRAIN_BYTES_MAX;
        if (!conn_wishes(c, CONN_DRAIN)) {
            return true;
        }
    }
    if (c->drained >= DRAIN_BYTES_MAX) {
        shard_drained(loop->shard, c->handle);
    } else {
        list_remove(&c->turn_link);
        list_push_back(&loop->draining, &c->turn_link);
        loop->more = true;
    }
    return true;
}

void conn_output(struct conn *c) {
    if (lingering(c)) { /* all was said since this turn was given to it */
        return;
    }
    if (c->failed) {
        if (!link_linked(&c->turn_link)) { /* its turn here has hidden it from those who are over */
            conn_over(c);
        }
        loop_of(c)->more |= !conn_wishes(c, CONN_PAUSE);
        return;
    }
    if (conn_wishes(c, CONN_DRAIN) && !conn_drain(c)) {
        return;
    }
    enum conn_wish wish = shard_wish(loop_of(c)->shard, c->handle);
    bool send = wish != CONN_ABORT && wish != CONN_MOVE && !c->blocked;
    if (send && !conn_send(c)) {
        c->failed = true;
        conn_over(c);
        loop_of(c)->more = true;
        return;
    }
    conn_settle(c);
}
