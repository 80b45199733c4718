#include "net/ctl.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "net/ctl_text.h"
#include "store/store_local.h"

#define TICK_MS 1000
#define LIFE_S 60 /* of a connection */
#define READ_BYTES 4096
#define BACKLOG 16

/* A question on its way through the shards. */
struct ctl_ask {
    struct link link;
    struct ctl *ctl;
    struct ctl_conn *conn; /* NULL: it is gone */
    struct ctl_question question;
    _Atomic unsigned left; /* shards that have not answered */
    struct loop_request parts[];
};

struct ctl_conn {
    struct link link;
    struct ctl *ctl;
    uv_poll_t poll;
    int fd;
    unsigned seconds;
    struct ctl_ask *ask;
    struct buf in;
    struct buf out;
    size_t sent;
};

/* ---- connections ---- */

static void conn_free(uv_handle_t *handle) {
    struct ctl_conn *c = handle->data;
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    mem_free(c);
}

static void conn_close(struct ctl_conn *c) {
    if (c->ask != NULL) {
        c->ask->conn = NULL;
    }
    list_remove(&c->link);
    c->ctl->conn_count--;
    uv_close((uv_handle_t *)&c->poll, conn_free);
    (void)close(c->fd);
}

static void conn_send(struct ctl_conn *c) {
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            break;
        }
        c->sent += (size_t)n;
    }
    conn_close(c);
}

static void conn_polled(uv_poll_t *poll, int status, int events);

static void conn_answer(struct ctl_conn *c) {
    must(uv_poll_start(&c->poll, UV_WRITABLE, conn_polled) == 0);
    conn_send(c);
}

/* ---- questions ---- */

static void ask_free(struct ctl_ask *a) {
    for (unsigned i = 0; i < a->ctl->shared->shards; i++) {
        request_deinit(&a->parts[i].request);
    }
    list_remove(&a->link);
    ctl_question_deinit(&a->question);
    mem_free(a);
}

/* A shard's thread. */
static void part_done(struct loop_request *part) {
    struct ctl_ask *a = part->user;
    struct ctl *ctl = a->ctl;
    if (atomic_fetch_sub(&a->left, 1) == 1) {
        (void)uv_async_send(&ctl->answered);
    }
}

/* What the network knows of; returns how many. */
static size_t bounds_of(const struct loop_shared *shared, struct ctl_bound *bounds) {
    const struct listeners *all = shared->listeners;
    size_t count = 0;
    if (shared->work != NULL) {
        uint64_t busy;
        const uint64_t staged = store_local_staged_bytes(shared->store, &busy);
        bounds[count++] =
            (struct ctl_bound){.name = "staged_bytes", .who = "all", .level = QUOTA_ALL, .used = staged, .limit = busy};
    }
    bounds[count++] = (struct ctl_bound){.name = "connections",
                                         .who = "all listeners",
                                         .level = QUOTA_LISTENER,
                                         .used = atomic_load(&shared->connections),
                                         .limit = shared->connections_max,
                                         .refused = atomic_load(&shared->refused)};
    for (size_t i = 0; i < all->count; i++) {
        const char *name = "?";
        for (size_t k = all->socket_count; k > 0; k--) {
            name = all->sockets[k - 1].listener == i ? all->sockets[k - 1].name : name;
        }
        bounds[count++] = (struct ctl_bound){.name = "connections",
                                             .who = name,
                                             .level = QUOTA_LISTENER,
                                             .used = atomic_load(&all->items[i].connections),
                                             .limit = all->items[i].max_connections,
                                             .refused = atomic_load(&all->items[i].refused)};
    }
    return count;
}

static void ask_answer(struct ctl_ask *a) {
    unsigned shards = a->ctl->shared->shards;
    const struct request_answer *answers[64];
    for (unsigned i = 0; i < shards; i++) {
        answers[i] = &a->parts[i].request.answer;
    }
    struct ctl_conn *c = a->conn;
    if (c != NULL) {
        struct ctl_bound *more = mem_zero(a->ctl->shared->listeners->count + 2, sizeof *more);
        ctl_answer(&c->out, &a->question.ask, answers, shards, more, bounds_of(a->ctl->shared, more));
        mem_free(more);
        c->ask = NULL;
        conn_answer(c);
    }
    ask_free(a);
}

static void ctl_answered(uv_async_t *async) {
    struct ctl *ctl = async->data;
    for (struct link *l = ctl->asks.next; l != &ctl->asks;) {
        struct ctl_ask *a = container_of(l, struct ctl_ask, link);
        l = l->next;
        if (atomic_load(&a->left) == 0) {
            ask_answer(a);
        }
    }
}

static void ask_begin(struct ctl_conn *c, struct span line) {
    struct ctl *ctl = c->ctl;
    struct loop_shared *shared = ctl->shared;
    struct ctl_ask *a = mem_zero(1, sizeof *a + shared->shards * sizeof a->parts[0]);
    const char *wrong;
    a->ctl = ctl;
    list_push_back(&ctl->asks, &a->link);
    if (!ctl_question_read(&a->question, line, &wrong)) {
        ctl_answer_error(&c->out, wrong);
        ask_free(a);
        conn_answer(c);
        return;
    }
    must(uv_poll_stop(&c->poll) == 0);
    a->conn = c;
    c->ask = a;
    atomic_store(&a->left, shared->shards);
    for (unsigned i = 0; i < shared->shards; i++) {
        a->parts[i] = (struct loop_request){.request = {.ask = &a->question.ask}, .done = part_done, .user = a};
        loop_ask(&shared->loops[i], &a->parts[i]);
    }
}

static void conn_read(struct ctl_conn *c) {
    uint8_t bytes[READ_BYTES];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0 || c->in.len + (size_t)n > CTL_QUESTION_BYTES_MAX) {
        conn_close(c);
        return;
    }
    buf_bytes(&c->in, span_of(bytes, (size_t)n));
    const uint8_t *end = memchr(c->in.ptr, '\n', c->in.len);
    if (end != NULL) {
        ask_begin(c, span_of(c->in.ptr, (size_t)(end - c->in.ptr)));
    }
}

static void conn_polled(uv_poll_t *poll, int status, int events) {
    struct ctl_conn *c = poll->data;
    if (status < 0) {
        conn_close(c);
    } else if ((events & UV_WRITABLE) != 0) {
        conn_send(c);
    } else {
        conn_read(c);
    }
}

/* ---- accepting ---- */

static bool may_ask(int fd) {
    struct ucred who;
    socklen_t length = sizeof who;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static void ctl_polled(uv_poll_t *poll, int status, int events) {
    struct ctl *ctl = poll->data;
    (void)status;
    (void)events;
    int fd = accept4(ctl->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
        must(uv_poll_stop(poll) == 0); /* it would stay ready and the loop would spin: until the next tick */
        ctl->paused = true;
    }
    if (fd < 0) {
        return;
    }
    struct ctl_conn *c = mem_zero(1, sizeof *c);
    if (ctl->conn_count >= CTL_CONNS_MAX || !may_ask(fd) || uv_poll_init(ctl->uv, &c->poll, fd) != 0) {
        (void)close(fd);
        mem_free(c);
        return;
    }
    c->ctl = ctl;
    c->fd = fd;
    c->poll.data = c;
    list_push_back(&ctl->conns, &c->link);
    ctl->conn_count++;
    must(uv_poll_start(&c->poll, UV_READABLE, conn_polled) == 0);
}

static void ctl_ticked(uv_timer_t *timer) {
    struct ctl *ctl = timer->data;
    if (ctl->paused) {
        ctl->paused = false;
        must(uv_poll_start(&ctl->poll, UV_READABLE, ctl_polled) == 0);
    }
    for (struct link *l = ctl->conns.next; l != &ctl->conns;) {
        struct ctl_conn *c = container_of(l, struct ctl_conn, link);
        l = l->next;
        if (++c->seconds >= LIFE_S && c->ask == NULL) {
            conn_close(c);
        }
    }
}

/* ---- life ---- */

bool ctl_open(struct ctl *ctl, const char *path, struct error *error) {
    *ctl = (struct ctl){.fd = -1};
    list_init(&ctl->conns);
    list_init(&ctl->asks);
    if (path == NULL) {
        return true;
    }
    if (strlen(path) >= SOCKET_PATH_BYTES) {
        return error_set(error, ERROR_INVALID, 0, "the path %s is too long for a UNIX socket (%d bytes)", path,
                         SOCKET_PATH_BYTES - 1);
    }
    ctl->fd = socket_file_open(&ctl->file, path, SOCKET_FOR_OWNER, error);
    return ctl->fd >= 0;
}

void ctl_start(struct ctl *ctl, uv_loop_t *uv, struct loop_shared *shared) {
    ctl->uv = uv;
    ctl->shared = shared;
    ctl->file.log = shared->log;
    if (ctl->fd < 0) {
        return;
    }
    if (listen(ctl->fd, BACKLOG) != 0) {
        log_say(shared->log, LOG_WARNING, "nobody can use %s: %s", ctl->file.path, strerror(errno));
        ctl_close(ctl);
        return;
    }
    must(uv_poll_init(uv, &ctl->poll, ctl->fd) == 0 && uv_timer_init(uv, &ctl->tick) == 0);
    must(uv_async_init(uv, &ctl->answered, ctl_answered) == 0);
    ctl->poll.data = ctl->tick.data = ctl->answered.data = ctl;
    must(uv_poll_start(&ctl->poll, UV_READABLE, ctl_polled) == 0);
    must(uv_timer_start(&ctl->tick, ctl_ticked, TICK_MS, TICK_MS) == 0);
}

void ctl_stop(struct ctl *ctl) {
    if (ctl->uv == NULL || ctl->fd < 0) {
        return;
    }
    must(uv_poll_stop(&ctl->poll) == 0 && uv_timer_stop(&ctl->tick) == 0);
    while (!list_empty(&ctl->conns)) {
        conn_close(container_of(ctl->conns.next, struct ctl_conn, link));
    }
}

void ctl_close(struct ctl *ctl) {
    while (ctl->asks.next != NULL && !list_empty(&ctl->asks)) {
        ask_free(container_of(ctl->asks.next, struct ctl_ask, link));
    }
    if (ctl->fd >= 0) {
        socket_file_close(&ctl->file);
        (void)close(ctl->fd);
    }
    ctl->fd = -1;
}
