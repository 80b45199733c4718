#include "net/loop.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "net/conn.h"
#include "net/reclaim.h"
#include "net/store_work.h"
#include "net/thread.h"
#include "quota/owner.h"

#define TICK_MS 1000
#define ACCEPTS_PER_TURN 64  /* of one listening socket */
#define ACCEPT_PAUSE_MS 200  /* when the process has no descriptor left */
#define MAILS_AT_ONCE 32     /* of one other shard */
#define MAIL_ROUNDS 128      /* in one turn */
#define DIRTY_PER_TURN 65536 /* connections in one pass */
#define WRITE_NS 1000000     /* of a turn, for writes that are not urgent: of either kind */
#define MAIL_RETRY_MS 1      /* when another shard's ring is full */
#define PAUSED_LOOK_MS 10    /* while a connection is not read from: the broker tries again */
#define REQUEST_MS 1         /* between two slices of a request */
#define STOP_AFTER_MS 5000   /* for outboxes to become empty at a stop */
#define STOP_LOOK_MS 50
#define RING_AFTER_NS 1000000 /* of a turn: what it has staged goes on its way to the disk */
#define READ_UNTIL_NS 1500000 /* of a turn: then those who have sent much wait for the next one, */
#define READ_MOST_NS 4000000  /* of reading: and all the others */
#define OVER_MOST_NS 2000000  /* of a turn for the ends of connections: each may have a will for many */

static void loop_again(uv_idle_t *idle) {
    (void)idle;
}

/* A timer that fires before the loop waits must keep it from waiting: the turn comes after the wait. */
static void loop_soon(uv_timer_t *timer) {
    struct loop *loop = timer->data;
    must(uv_idle_start(&loop->again, loop_again) == 0);
}

void loop_turn_within(struct loop *loop, uint64_t ms) {
    if (!uv_is_active((uv_handle_t *)&loop->soon) || uv_timer_get_due_in(&loop->soon) > ms) {
        must(uv_timer_start(&loop->soon, loop_soon, ms, 0) == 0);
    }
}

void loop_committed(struct loop *loop) {
    if (atomic_load(&loop->waits)) {
        waker_wake(&loop->waker);
    }
}

/* ---- listening ---- */

static void listening_polled(uv_poll_t *poll, int status, int events) {
    struct loop_listening *l = poll->data;
    (void)events;
    l->failure = status < 0 ? -status : 0; /* libuv watches it no more */
    l->ready = true;
}

static void listening_watch(struct loop_listening *l) {
    must(uv_poll_start(&l->poll, UV_READABLE, listening_polled) == 0);
    l->resume_at = 0;
}

/* Out of descriptors or memory: the socket would stay ready and the loop would spin, so it is left alone for a while;
 * so is one that cannot be watched. */
static void listening_pause(struct loop_listening *l, int failure) {
    struct loop_shared *shared = l->loop->shared;
    must(uv_poll_stop(&l->poll) == 0);
    l->resume_at = l->loop->now + ACCEPT_PAUSE_MS;
    if (!atomic_exchange(&shared->said_full, true)) {
        log_say(shared->log, LOG_WARNING, "a connection to %s could not be accepted: %s; trying again every %d ms",
                l->socket->name, strerror(failure), ACCEPT_PAUSE_MS);
    }
}

/* Counts a new connection; false when a limit refuses it, which is logged once until there is
 * room again. */
static bool loop_admits(struct loop_shared *shared, struct listener *listener, const char *name) {
    uint32_t all = atomic_fetch_add_explicit(&shared->connections, 1, memory_order_relaxed) + 1;
    uint32_t own = atomic_fetch_add_explicit(&listener->connections, 1, memory_order_relaxed) + 1;
    bool all_full = all > shared->connections_max;
    bool own_full = listener->max_connections != 0 && own > listener->max_connections;
    if (!all_full && !own_full) {
        if (all < shared->connections_max / 8 * 7) {
            atomic_store_explicit(&shared->said_full, false, memory_order_relaxed);
        }
        if (own < listener->max_connections / 8 * 7) {
            atomic_store_explicit(&listener->said_full, false, memory_order_relaxed);
        }
        return true;
    }
    atomic_fetch_sub_explicit(&shared->connections, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&listener->connections, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&shared->refused, all_full, memory_order_relaxed);
    atomic_fetch_add_explicit(&listener->refused, own_full, memory_order_relaxed);
    if (all_full && !atomic_exchange(&shared->said_full, true)) {
        log_say(shared->log, LOG_WARNING, "there are %u connections, the most that is allowed; new ones are closed",
                shared->connections_max);
    }
    if (own_full && !atomic_exchange(&listener->said_full, true)) {
        log_say(shared->log, LOG_WARNING, "%s has %u connections, its max_connections; new ones are closed", name,
                listener->max_connections);
    }
    return false;
}

/* What one address may have; who is refused costs the broker no more than the accept. */
static bool loop_welcomes(struct loop *loop, uint64_t address, const char *peer) {
    struct loop_shared *shared = loop->shared;
    bool say;
    enum peers_verdict verdict = peers_enter(&shared->peers, address, loop->now, &say);
    if (verdict != PEERS_WELCOME) {
        char name[QUOTA_OWNER_BYTES];
        quota_refuse_named(broker_quota(shared->broker), quota_owner_of(span_str(peer), name),
                           verdict == PEERS_TOO_MANY ? QUOTA_CONNECTIONS : QUOTA_CONNECTION_RATE);
    }
    if (say && verdict == PEERS_TOO_MANY) {
        log_say(shared->log, LOG_WARNING,
                "the address of %s has %u connections, max_connections_per_address; its new ones are closed", peer,
                shared->peers.connections_max);
    } else if (say) {
        log_say(
            shared->log, LOG_WARNING,
            "the address of %s connects more often than max_connection_rate, %u a second, allows; its new connections "
            "are closed",
            peer, shared->peers.rate);
    }
    return verdict == PEERS_WELCOME;
}

/* False when there is nobody (more) to accept. */
static bool listening_accept_one(struct loop_listening *l) {
    struct loop *loop = l->loop;
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int fd = accept4(l->socket->fds[loop->index], (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            listening_pause(l, errno);
            return false;
        }
        return errno != EAGAIN; /* all else is about that one connection, which is gone */
    }
    char peer[PEER_BYTES];
    struct conn_origin origin = {l->socket->listener, peers_key((struct sockaddr *)&address)};
    peer_print(fd, (struct sockaddr *)&address, peer, sizeof peer);
    if (!loop_welcomes(loop, origin.address, peer)) {
        (void)close(fd);
    } else if (!loop_admits(loop->shared, &loop->shared->listeners->items[origin.listener], l->socket->name)) {
        peers_leave(&loop->shared->peers, origin.address);
        (void)close(fd);
    } else {
        conn_open(loop, fd, origin, peer, (struct span){NULL, 0});
    }
    return true;
}

static void listening_accept(struct loop_listening *l) {
    l->ready = false;
    if (l->failure != 0) {
        listening_pause(l, l->failure);
        return;
    }
    for (int n = 0; n < ACCEPTS_PER_TURN && listening_accept_one(l); n++) {
    }
}

static bool loop_watches(const struct loop *loop, const struct listening *socket) {
    for (size_t i = 0; i < loop->listening_count; i++) {
        if (loop->listening[i].socket == socket) {
            return true;
        }
    }
    return false;
}

/* Accepts also from what listens by now: an address can come late. */
static void loop_find_listening(struct loop *loop) {
    struct listeners *all = loop->shared->listeners;
    for (size_t i = 0; i < all->socket_count; i++) {
        struct listening *socket = &all->sockets[i];
        if (!atomic_load(&socket->listens) || socket->fds[loop->index] < 0 || loop_watches(loop, socket)) {
            continue;
        }
        struct loop_listening *l = &loop->listening[loop->listening_count++];
        l->loop = loop;
        l->socket = socket;
        l->poll.data = l;
        must(uv_poll_init(&loop->uv, &l->poll, socket->fds[loop->index]) == 0);
        listening_watch(l);
    }
}

static void loop_accept(struct loop *loop) {
    for (size_t i = 0; i < loop->listening_count && !loop->stopping; i++) {
        struct loop_listening *l = &loop->listening[i];
        if (l->resume_at != 0 && loop->now >= l->resume_at) {
            listening_watch(l);
        }
        if (l->ready) {
            listening_accept(l);
        }
        if (l->resume_at != 0) { /* each has a time of its own */
            loop_turn_within(loop, (uint64_t)(l->resume_at - loop->now));
        }
    }
}

/* ---- the turn ---- */

/* Some of what this turn does may leave with it already. */
static void loop_durable(struct loop *loop) {
    lsn_t durable = store_durable(loop->shared->store);
    if (durable != loop->durable) {
        loop->durable = durable;
        shard_durable(loop->shard, durable);
    }
}

/* Little of each shard in turn: what they have sent is merged by lsn in the receivers' queues, which is cheap while
 * it comes nearly in order. */
static void loop_mail(struct loop *loop) {
    bool more = loop->shared->shards > 1;
    for (unsigned round = 0; more && round < MAIL_ROUNDS; round++) {
        more = false;
        for (unsigned from = 0; from < loop->shared->shards; from++) {
            more |= from != loop->index && shard_mail(loop->shard, from, MAILS_AT_ONCE) == MAILS_AT_ONCE;
        }
    }
    loop->more |= more;
}

static void loop_moved(struct loop *loop) {
    struct moved *m;
    while (loop->shared->shards > 1 && (m = inbox_take(&loop->inbox)) != NULL) {
        conn_open(loop, m->fd, m->origin, m->peer, buf_span(&m->bytes));
        m->fd = -1;
        moved_destroy(m);
    }
}

void loop_ask(struct loop *loop, struct loop_request *request) {
    lock_take(&loop->asked_lock);
    list_push_back(&loop->asked, &request->link);
    lock_give(&loop->asked_lock);
    atomic_store(&loop->has_asked, true);
    waker_wake(&loop->waker);
}

/* A slice of each request that is under way; the next ones come a moment later. */
static void loop_requests(struct loop *loop) {
    struct link under_way;
    if (atomic_load(&loop->has_asked)) {
        atomic_store(&loop->has_asked, false);
        lock_take(&loop->asked_lock);
        list_splice(&loop->requests, &loop->asked);
        lock_give(&loop->asked_lock);
    }
    if (list_empty(&loop->requests)) {
        return;
    }
    list_init(&under_way);
    list_splice(&under_way, &loop->requests);
    for (struct link *l; (l = list_pop_front(&under_way)) != NULL;) {
        struct loop_request *r = container_of(l, struct loop_request, link);
        if (request_step(loop->shard, &r->request)) {
            r->done(r);
        } else {
            list_push_back(&loop->requests, &r->link);
        }
    }
    if (!list_empty(&loop->requests)) {
        loop_turn_within(loop, REQUEST_MS);
    }
}

/* Rings the commit thread for what this turn has staged so far. */
static void loop_ring(struct loop *loop) {
    if (loop->staged) {
        loop->staged = false;
        store_work_ring(loop->shared->work);
    }
}

/* How much each gets in the next turn, when as many are ready then as were in this one. */
static size_t loop_share(size_t ready) {
    size_t share = LOOP_TURN_BYTES / (ready + 1);
    return share > LOOP_SCRATCH_BYTES     ? LOOP_SCRATCH_BYTES
           : share < LOOP_SHARE_BYTES_MIN ? LOOP_SHARE_BYTES_MIN
                                          : share;
}

/* What the events of one connection ask for. Returns the time by now. */
static uint64_t loop_read_one(struct loop *loop, struct conn *c) {
    conn_events(c);
    const uint64_t now_ns = uv_hrtime();
    if (loop->staged && now_ns - loop->began_ns > RING_AFTER_NS) {
        loop_ring(loop);
    }
    return now_ns;
}

/* The next one of this turn: those who were left in the turn before and those who are ready now take turns, so that
 * many who come at once hold up neither each other nor who comes later. */
static struct link *loop_next_ready(struct loop *loop, bool *left) {
    *left = !*left;
    struct link *l = list_pop_front(*left ? &loop->left : &loop->ready);
    return l != NULL ? l : list_pop_front(*left ? &loop->ready : &loop->left);
}

/* First those who have sent a little, then the others, both for as long as a turn may take. */
static void loop_read(struct loop *loop) {
    struct link *l;
    struct link eager;
    size_t ready = 0;
    bool left = false;
    const uint64_t began_ns = uv_hrtime();
    uint64_t now_ns = began_ns;
    list_init(&eager);
    while (now_ns - began_ns <= READ_MOST_NS && (l = loop_next_ready(loop, &left)) != NULL) {
        struct conn *c = container_of(l, struct conn, turn_link);
        ready++;
        if (c->eager) {
            list_push_back(&eager, l);
        } else {
            now_ns = loop_read_one(loop, c);
        }
    }
    do {
        l = list_pop_front(&eager);
        now_ns = l != NULL ? loop_read_one(loop, container_of(l, struct conn, turn_link)) : now_ns;
    } while (l != NULL && now_ns - loop->began_ns <= READ_UNTIL_NS);
    list_splice(&loop->left, &loop->ready);
    list_splice(&loop->left, &eager);
    loop->more |= !list_empty(&loop->left);
    loop->read_bytes = loop_share(ready);
}

/* Some of those whose peers are gone, each once. */
static void loop_bury(struct loop *loop) {
    struct link over;
    struct link *l;
    if (list_empty(&loop->over)) {
        return;
    }
    list_init(&over);
    list_splice(&over, &loop->over);
    const uint64_t began_ns = uv_hrtime();
    while (uv_hrtime() - began_ns <= OVER_MOST_NS && (l = list_pop_front(&over)) != NULL) {
        conn_bury(container_of(l, struct conn, turn_link));
    }
    loop->more |= !list_empty(&over);
    list_splice(&over, &loop->over);
    list_splice(&loop->over, &over);
}

static void loop_tick(struct loop *loop) {
    if (loop->now >= loop->next_tick) {
        loop->next_tick = loop->now + TICK_MS;
        if (!loop->stopping) {
            loop_find_listening(loop);
        }
        shard_tick(loop->shard);
    }
}

/* The turn's last word to the shard, whose mail wakes other shards. */
static void loop_turn_end(struct loop *loop) {
    loop->result = shard_turn_end(loop->shard);
    uint64_t wake = loop->result.wake;
    loop->more |= loop->result.more;
    for (unsigned i = 0; wake != 0; i++, wake >>= 1) {
        if ((wake & 1) != 0) {
            waker_wake(&loop->shared->loops[i].waker);
        }
    }
}

static void loop_output_to(struct loop *loop, struct conn_handle handle) {
    struct conn *c = handle.index < loop->conns_capacity ? loop->conns[handle.index] : NULL;
    if (c != NULL && c->handle.generation == handle.generation) {
        conn_output(c);
    }
}

/* All that is urgent, and of the rest as much as there is time for: what could not be written before, then what goes to
 * many or is much. What is left comes in the next turn. */
static void loop_output(struct loop *loop) {
    struct link *l;
    struct conn_handle handle;
    list_splice(&loop->writable, &loop->draining);
    for (size_t count = 0; count < DIRTY_PER_TURN && shard_next_urgent(loop->shard, &handle); count++) {
        loop_output_to(loop, handle);
    }
    const uint64_t began = uv_hrtime();
    while (uv_hrtime() - began < WRITE_NS && (l = list_pop_front(&loop->writable)) != NULL) {
        conn_output(container_of(l, struct conn, turn_link));
    }
    while (uv_hrtime() - began < 2 * WRITE_NS && shard_next_dirty(loop->shard, &handle)) {
        loop_output_to(loop, handle);
    }
    loop->more |= !list_empty(&loop->writable);
}

static void loop_deadlines(struct loop *loop) {
    while (!list_empty(&loop->ending)) {
        struct conn *c = container_of(loop->ending.next, struct conn, end_link);
        if (c->end_at > loop->now) {
            loop_turn_within(loop, 100);
            return;
        }
        conn_end(c);
    }
}

/* Nobody comes any more, also not from another shard; who is here is told. */
static void loop_begin_stop(struct loop *loop) {
    loop->stopping = true;
    loop->stop_at = loop->now + STOP_AFTER_MS;
    for (size_t i = 0; i < loop->listening_count; i++) {
        uv_close((uv_handle_t *)&loop->listening[i].poll, NULL);
        listening_close(loop->listening[i].socket, loop->index);
    }
    inbox_close(&loop->inbox);
    loop_moved(loop);
    shard_stop(loop->shard);
}

/* The last turn: what is still open is cut off. */
static void loop_end(struct loop *loop) {
    for (size_t i = 0; i < loop->conns_capacity; i++) {
        if (loop->conns[i] != NULL) {
            conn_release(loop->conns[i]);
        }
    }
    while (!list_empty(&loop->ending)) {
        conn_release(container_of(loop->ending.next, struct conn, end_link));
    }
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->again, NULL);
    uv_close((uv_handle_t *)&loop->tick, NULL);
    uv_close((uv_handle_t *)&loop->soon, NULL);
    uv_stop(&loop->uv);
}

/* Decides whether the loop may wait, and how long. */
static void loop_rest(struct loop *loop) {
    bool waits = loop->disk_waiters > 0;
    if (waits != atomic_load_explicit(&loop->waits, memory_order_relaxed)) {
        atomic_store(&loop->waits, waits);
    }
    if (loop->result.late) {
        loop_turn_within(loop, MAIL_RETRY_MS);
    }
    if (loop->result.again) {
        loop_turn_within(loop, PAUSED_LOOK_MS);
    }
    if (loop->stopping) {
        loop_turn_within(loop, STOP_LOOK_MS);
    }
    bool go_on =
        !waker_sleeps(&loop->waker) || loop->more || (waits && store_durable(loop->shared->store) != loop->durable);
    if (go_on && !uv_is_active((uv_handle_t *)&loop->again)) {
        must(uv_idle_start(&loop->again, loop_again) == 0);
    } else if (!go_on) {
        must(uv_idle_stop(&loop->again) == 0);
    }
}

static int64_t clock_ms(clockid_t clock) {
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

wall_ms_t loop_wall(void) {
    return clock_ms(CLOCK_REALTIME);
}

int64_t loop_boot(void) {
    return clock_ms(CLOCK_BOOTTIME);
}

static void loop_turn_begin(struct loop *loop) {
    struct loop_shared *shared = loop->shared;
    loop->now = (mono_ms_t)uv_now(&loop->uv);
    loop->began_ns = uv_hrtime();
    loop->durable = store_durable(shared->store);
    wall_ms_t time = clock_now(&shared->clock, shared->store, loop_wall(), loop_boot());
    shard_turn_begin(loop->shard, loop->now, time, loop->durable);
}

static void loop_turn(uv_check_t *check) {
    struct loop *loop = check->data;
    waker_begin(&loop->waker);
    if (store_failed(loop->shared->store)) {
        loop->shared->failed(loop->shared->user);
    }
    reclaim_online();
    loop->more = false;
    loop_turn_begin(loop);
    loop_mail(loop);
    loop_moved(loop);
    loop_accept(loop);
    loop_read(loop);
    loop_bury(loop);
    loop_tick(loop);
    loop_requests(loop);
    if (!loop->stopping && atomic_load_explicit(&loop->shared->stopping, memory_order_relaxed)) {
        loop_begin_stop(loop);
    }
    loop_ring(loop);
    loop_durable(loop);
    loop_output(loop);
    loop_deadlines(loop);
    loop_ring(loop);
    loop_turn_end(loop);
    if (loop->stopping && (loop->conn_count == 0 || loop->now >= loop->stop_at)) {
        loop_end(loop);
    } else {
        loop_rest(loop);
    }
    reclaim_offline();
}

/* ---- the thread ---- */

static void loop_open_listening(struct loop *loop) {
    loop->listening = mem_zero(loop->shared->listeners->socket_count, sizeof *loop->listening);
    loop_find_listening(loop);
}

static void *loop_main(void *argument) {
    struct loop *loop = argument;
    reclaim_enter();
    reclaim_offline();
    store_work_note(&loop->staged);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    store_work_note(NULL);
    reclaim_leave();
    loop->shared->ended(loop->shared->user);
    return NULL;
}

void loop_init(struct loop *loop, struct loop_shared *shared, unsigned index) {
    *loop = (struct loop){.index = index, .shared = shared, .shard = broker_shard(shared->broker, index)};
    list_init(&loop->ready);
    list_init(&loop->left);
    list_init(&loop->over);
    list_init(&loop->writable);
    list_init(&loop->draining);
    list_init(&loop->ending);
    list_init(&loop->asked);
    list_init(&loop->requests);
    lock_init(&loop->asked_lock);
    inbox_init(&loop->inbox);
    loop->scratch = mem_alloc(LOOP_SCRATCH_BYTES);
    loop->read_bytes = LOOP_SCRATCH_BYTES;
    must(uv_loop_init(&loop->uv) == 0);
    must(uv_check_init(&loop->uv, &loop->check) == 0);
    must(uv_idle_init(&loop->uv, &loop->again) == 0);
    must(uv_timer_init(&loop->uv, &loop->tick) == 0);
    must(uv_timer_init(&loop->uv, &loop->soon) == 0);
    loop->uv.data = loop;
    waker_init(&loop->waker, &loop->uv);
    loop->check.data = loop;
    must(uv_check_start(&loop->check, loop_turn) == 0);
    loop->tick.data = loop->soon.data = loop;
    must(uv_timer_start(&loop->tick, loop_soon, TICK_MS, TICK_MS) == 0);
    loop_open_listening(loop);
}

void loop_start(struct loop *loop) {
    char name[16];
    (void)snprintf(name, sizeof name, "shard %u", loop->index);
    loop->thread = thread_start(name, loop_main, loop);
}

void loop_join(struct loop *loop) {
    must(pthread_join(loop->thread, NULL) == 0);
}

void loop_deinit(struct loop *loop) {
    waker_close(&loop->waker);
    must(uv_run(&loop->uv, UV_RUN_DEFAULT) == 0);
    must(uv_loop_close(&loop->uv) == 0);
    inbox_deinit(&loop->inbox);
    lock_deinit(&loop->asked_lock);
    mem_free(loop->listening);
    mem_free(loop->conns);
    mem_free(loop->scratch);
}
