#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/must.h"
#include "bench/bench.h"

const char *client_name(const struct client *c, char *text, size_t bytes) {
    static const char *const roles[] = {"?", "subscriber", "publisher", "idle connection"};
    (void)snprintf(text, bytes, "%s %" PRIu32, roles[c->role], c->number);
    return text;
}

static bool is_busy(enum client_state state) {
    return state == CLIENT_OPENING || state == CLIENT_SUBSCRIBING || state == CLIENT_LEAVING;
}

void client_become(struct bench *b, struct client *c, enum client_state state) {
    b->busy += is_busy(state) ? 1U : 0U;
    b->busy -= is_busy((enum client_state)c->state) ? 1U : 0U;
    c->state = (uint8_t)state;
    if (state == CLIENT_READY) {
        b->connected++;
    } else if (state == CLIENT_CLOSED) {
        channel_close(&c->channel);
    }
}

void client_mark(struct bench *b, struct client *c) {
    if (!c->dirty) {
        c->dirty = true;
        must(b->dirty_count < b->client_count);
        b->dirty[b->dirty_count++] = c;
    }
}

void client_open(struct bench *b, struct client *c, enum client_aim aim) {
    struct error error = {0};
    must(c->state == CLIENT_CLOSED);
    if (!channel_open(&c->channel, b->epoll, &b->address, (uint32_t)(c - b->clients), c, &error)) {
        bench_fail(b, "%s", error.text);
        return;
    }
    c->aim = (uint8_t)aim;
    client_become(b, c, CLIENT_OPENING);
    b->dialect->hello(b, c);
    b->active_ns = b->now_ns;
}

void client_leave(struct bench *b, struct client *c) {
    b->dialect->goodbye(c);
    client_become(b, c, CLIENT_LEAVING);
    client_mark(b, c);
}

/* The connection is gone: expected after a goodbye, counted for idle ones, otherwise the end of the run. */
static void client_lost(struct bench *b, struct client *c, int reason) {
    char name[48];
    bool leaving = c->state == CLIENT_LEAVING;
    bool idle = c->role == CLIENT_IDLE && c->state == CLIENT_READY;
    bool opening = c->state == CLIENT_OPENING;
    client_become(b, c, CLIENT_CLOSED);
    if (idle) {
        b->idle_lost++;
    } else if (!leaving) {
        bench_fail(b, "%s: the broker closed the connection%s%s%s", client_name(c, name, sizeof(name)),
                   opening ? " before its handshake was through" : "", reason == 0 ? "" : ": ",
                   reason == 0 ? "" : strerror(reason));
    }
}

static void client_read(struct bench *b, struct client *c) {
    struct span in = {0};
    errno = 0;
    enum channel_status status = channel_read(&c->channel, &b->input, &in);
    if (status == CHANNEL_CLOSED) {
        client_lost(b, c, errno);
        return;
    }
    if (status == CHANNEL_WAITING || c->state == CLIENT_LEAVING) {
        return;
    }
    b->now_ns = bench_clock_ns();
    b->active_ns = b->now_ns;
    b->dialect->take(b, c, &in);
    channel_keep(&c->channel, in);
    client_mark(b, c);
}

void client_ready(struct bench *b, struct client *c, uint32_t events) {
    if (c->state == CLIENT_CLOSED) {
        return;
    }
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) {
        client_read(b, c);
    }
    if ((events & EPOLLOUT) != 0 && c->state != CLIENT_CLOSED) {
        client_mark(b, c);
    }
}

static void serve_one(struct bench *b, struct client *c) {
    if (c->state == CLIENT_CLOSED) {
        return;
    }
    if (c->publisher != NULL) {
        publisher_fill(b, c);
    }
    errno = 0;
    enum channel_status status = channel_flush(&c->channel, b->epoll, c);
    if (c->subscriber != NULL) {
        c->subscriber->unsent_acks = 0;
    }
    if (status == CHANNEL_CLOSED) {
        client_lost(b, c, errno);
    } else if (status == CHANNEL_OK && c->state == CLIENT_LEAVING) {
        (void)shutdown(c->channel.fd, SHUT_WR);
    }
}

void client_serve(struct bench *b) {
    uint32_t count = b->dirty_count;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count && !b->failed; i++) {
        struct client *c = b->dirty[i];
        c->dirty = false;
        serve_one(b, c);
        if (c->publisher != NULL && publisher_eager(b, c)) {
            c->dirty = true;
            b->dirty[kept++] = c;
        }
    }
    must(b->dirty_count == count);
    b->dirty_count = kept;
}
