#include "bench/stub.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/reader.h"
#include "bench/channel.h"
#include "bench/wire.h"

enum { EVENTS_MAX = 1024 };

/* Bytes that may wait for one receiver before the stub stops to wait for it. */
#define PENDING_MAX (1U << 20)

struct stub_peer {
    struct channel channel;
    struct stub_peer *next_dirty; /* list of those with something to send */
    bool dirty;
    bool closing;
    uint8_t protocol;
    uint16_t packet_id; /* of the last message to it */
};

struct stub_subscription {
    struct stub_peer *peer;
    uint8_t qos;
};

/* Those who want one topic, or, with '#', all topics that begin with it. */
struct stub_topic {
    struct buf name;
    struct buf subscriptions; /* struct stub_subscription, one after the other */
    struct stub_topic *next_wildcard;
};

struct stub {
    int epoll;
    int listener;
    struct buf input;
    struct map_bytes topics;      /* exact ones */
    struct stub_topic *wildcards; /* list */
    struct stub_peer *dirty;      /* list */
};

static void mark(struct stub *s, struct stub_peer *p) {
    if (!p->dirty) {
        p->dirty = true;
        p->next_dirty = s->dirty;
        s->dirty = p;
    }
}

static void flush(struct stub *s, struct stub_peer *p) {
    enum channel_status status = channel_flush(&p->channel, s->epoll, p);
    while (status == CHANNEL_WAITING && channel_pending(&p->channel) > PENDING_MAX) {
        struct pollfd writable = {.fd = p->channel.fd, .events = POLLOUT};
        (void)poll(&writable, 1, -1);
        status = channel_flush(&p->channel, s->epoll, p);
    }
    p->closing = p->closing || status == CHANNEL_CLOSED;
}

/* ---- subscriptions ---- */

static struct stub_topic *topic_add(struct stub *s, struct span filter) {
    struct stub_topic *t = map_bytes_get(&s->topics, filter);
    if (t != NULL) {
        return t;
    }
    t = mem_zero(1, sizeof(*t));
    buf_bytes(&t->name, filter);
    (void)map_bytes_put(&s->topics, buf_span(&t->name), t);
    if (filter.len > 0 && filter.ptr[filter.len - 1] == '#') {
        t->next_wildcard = s->wildcards;
        s->wildcards = t;
    }
    return t;
}

static void topic_subscribe(struct stub *s, struct stub_peer *p, struct span filter, uint8_t qos) {
    struct stub_subscription subscription = {p, qos};
    buf_bytes(&topic_add(s, filter)->subscriptions, span_of(&subscription, sizeof(subscription)));
}

static size_t topic_count(const struct stub_topic *t) {
    return t->subscriptions.len / sizeof(struct stub_subscription);
}

static struct stub_subscription *topic_at(const struct stub_topic *t, size_t i) {
    return &((struct stub_subscription *)(void *)t->subscriptions.ptr)[i];
}

static void topics_forget(struct stub *s, const struct stub_peer *p) {
    size_t at = 0;
    struct span name;
    void *value = NULL;
    while (map_bytes_next(&s->topics, &at, &name, &value)) {
        struct stub_topic *t = value;
        for (size_t i = 0; i < topic_count(t);) {
            if (topic_at(t, i)->peer == p) {
                *topic_at(t, i) = *topic_at(t, topic_count(t) - 1);
                t->subscriptions.len -= sizeof(struct stub_subscription);
            } else {
                i++;
            }
        }
    }
}

/* ---- packets ---- */

static void forward_one(struct stub *s, const struct stub_subscription *to, const struct wire_publish *m) {
    struct stub_peer *p = to->peer;
    uint8_t qos = m->qos < to->qos ? m->qos : to->qos;
    bool five = p->protocol == WIRE_PROTOCOL_5;
    struct buf *out = &p->channel.out;
    size_t length = 2 + m->topic.len + (qos > 0 ? 2U : 0U) + (five ? 1U : 0U) + m->payload.len;
    buf_u8(out, (uint8_t)(WIRE_PUBLISH | (unsigned)qos << 1));
    buf_varint(out, (uint32_t)length);
    buf_prefixed(out, m->topic);
    if (qos > 0) {
        p->packet_id = p->packet_id == UINT16_MAX ? 1 : (uint16_t)(p->packet_id + 1);
        buf_u16(out, p->packet_id);
    }
    if (five) {
        buf_u8(out, 0);
    }
    buf_bytes(out, m->payload);
    mark(s, p);
}

static void forward(struct stub *s, const struct wire_publish *m) {
    const struct stub_topic *exact = map_bytes_get(&s->topics, m->topic);
    for (size_t i = 0; exact != NULL && i < topic_count(exact); i++) {
        forward_one(s, topic_at(exact, i), m);
    }
    for (const struct stub_topic *t = s->wildcards; t != NULL; t = t->next_wildcard) {
        size_t prefix = t->name.len - 1;
        if (m->topic.len < prefix || memcmp(m->topic.ptr, t->name.ptr, prefix) != 0) {
            continue;
        }
        for (size_t i = 0; i < topic_count(t); i++) {
            forward_one(s, topic_at(t, i), m);
        }
    }
}

static void take_publish(struct stub *s, struct stub_peer *p, const struct wire_packet *packet) {
    struct wire_publish m;
    if (!wire_get_publish(packet, p->protocol, &m)) {
        p->closing = true;
        return;
    }
    if (m.qos > 0) {
        wire_put_ack(&p->channel.out, m.qos == 1 ? WIRE_PUBACK : WIRE_PUBREC, m.packet_id);
    }
    forward(s, &m);
}

static void take_connect(struct stub_peer *p, struct span body) {
    struct reader r = reader_of(body);
    (void)reader_prefixed(&r);
    p->protocol = reader_u8(&r);
    struct buf *out = &p->channel.out;
    bool five = p->protocol == WIRE_PROTOCOL_5;
    buf_u8(out, WIRE_CONNACK);
    buf_u8(out, five ? 3 : 2);
    buf_u16(out, 0);
    if (five) {
        buf_u8(out, 0);
    }
}

static void take_subscribe(struct stub *s, struct stub_peer *p, struct span body) {
    struct reader r = reader_of(body);
    uint16_t packet_id = reader_u16(&r);
    bool five = p->protocol == WIRE_PROTOCOL_5;
    if (five) {
        (void)reader_bytes(&r, reader_varint(&r));
    }
    struct span filter = reader_prefixed(&r);
    uint8_t qos = reader_u8(&r) & 3U;
    topic_subscribe(s, p, filter, qos);
    struct buf *out = &p->channel.out;
    buf_u8(out, WIRE_SUBACK);
    buf_u8(out, five ? 4 : 3);
    buf_u16(out, packet_id);
    if (five) {
        buf_u8(out, 0);
    }
    buf_u8(out, qos);
}

static void answer(struct stub_peer *p, struct span body, enum wire_first with) {
    uint16_t packet_id = 0;
    uint8_t reason = 0;
    if (wire_get_ack(body, &packet_id, &reason)) {
        wire_put_ack(&p->channel.out, with, packet_id);
    }
}

static void take_packet(struct stub *s, struct stub_peer *p, const struct wire_packet *packet) {
    switch (packet->first) {
    case WIRE_CONNECT:
        take_connect(p, packet->body);
        break;
    case WIRE_SUBSCRIBE:
        take_subscribe(s, p, packet->body);
        break;
    case WIRE_PUBREC:
        answer(p, packet->body, WIRE_PUBREL);
        break;
    case WIRE_PUBREL:
        answer(p, packet->body, WIRE_PUBCOMP);
        break;
    case WIRE_DISCONNECT:
        p->closing = true;
        break;
    default:
        if ((packet->first & 0xF0U) == WIRE_PUBLISH) {
            take_publish(s, p, packet);
        }
        break;
    }
}

/* ---- connections ---- */

static void accept_all(struct stub *s) {
    for (;;) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        int on = 1;
        struct stub_peer *p = mem_zero(1, sizeof(*p));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
        p->channel.fd = fd;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        (void)epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static void read_one(struct stub *s, struct stub_peer *p) {
    struct span in = {0};
    struct wire_packet packet;
    enum channel_status status = channel_read(&p->channel, &s->input, &in);
    if (status == CHANNEL_OK) {
        enum wire_status found = WIRE_PARTIAL;
        while (!p->closing && (found = wire_next(in, &packet)) == WIRE_WHOLE) {
            in = span_skip(in, packet.bytes);
            take_packet(s, p, &packet);
        }
        channel_keep(&p->channel, in);
        p->closing = p->closing || found == WIRE_BAD;
    } else if (status == CHANNEL_CLOSED) {
        p->closing = true;
    }
    mark(s, p);
}

static void serve_dirty(struct stub *s) {
    struct stub_peer *p = s->dirty;
    s->dirty = NULL;
    while (p != NULL) {
        struct stub_peer *next = p->next_dirty;
        p->dirty = false;
        flush(s, p);
        if (p->closing) {
            topics_forget(s, p);
            channel_close(&p->channel);
            mem_free(p);
        }
        p = next;
    }
}

static bool stub_listen(struct stub *s, const char *host, uint16_t port, struct error *error) {
    struct channel_address address;
    int on = 1;
    if (!channel_resolve(host, port, &address, error)) {
        return false;
    }
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->listener = socket(address.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (s->epoll < 0 || s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(s->listener, (const struct sockaddr *)&address.address, address.length) != 0 ||
        listen(s->listener, 1024) != 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &event) != 0) {
        return error_set(error, ERROR_IO, errno, "cannot listen on %s:%u: %s", host, port, strerror(errno));
    }
    return true;
}

bool stub_run(const char *host, uint16_t port, struct error *error) {
    struct stub s = {.topics = map_bytes_of(1)};
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (!stub_listen(&s, host, port, error)) {
        return false;
    }
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(s.epoll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR) {
            return error_set(error, ERROR_IO, errno, "epoll failed: %s", strerror(errno));
        }
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                accept_all(&s);
            } else {
                read_one(&s, events[i].data.ptr);
            }
        }
        serve_dirty(&s);
    }
}
