/* A client's connection: opening, reading, writing, closing, and the session that CONNECT asks for. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"
#include "packet/property.h"
#include "torture/torture.h"

#define INPUT_BYTES 65536U
#define REOPEN_NS (2 * NS_PER_MS)
#define CONNACK_NS (10000 * NS_PER_MS)
#define SESSION_S 600U /* a session that ends sooner may end during a run */

static const struct packet_limits limits = {268435460, 65535, 65535, 65535, 65535};

void actor_init(struct lane *lane, struct actor *c, uint8_t who) {
    const struct torture *t = lane->torture;
    *c = (struct actor){.lane = lane, .who = who, .fd = -1, .late_fd = -1};
    c->message_of = mem_zero(65536, sizeof(*c->message_of));
    (void)snprintf(c->id, sizeof(c->id), "qt%08x%s%u", (unsigned)(t->options->seed & 0xFFFFFFFFU), who == 0 ? "p" : "s",
                   lane->number * 32U + who);
}

void actor_deinit(struct actor *c) {
    if (c->fd >= 0) {
        close(c->fd);
    }
    sender_deinit(c);
    receiver_deinit(c);
    buf_deinit(&c->in);
    buf_deinit(&c->out);
    buf_deinit(&c->late);
    mem_free(c->message_of);
}

void actor_begin(struct actor *c) {
    c->connection = 0;
    c->wiped = c->pinged = c->ponged = false;
    c->wiping = true;
    c->late_fd = -1;
    c->late.len = 0;
    for (size_t i = 0; i < 65536; i++) {
        c->message_of[i] = WIRE_NO_MESSAGE;
    }
    if (c->who == 0) {
        sender_begin(c);
    } else {
        receiver_begin(c);
    }
}

/* ---- the connection ---- */

static void watch(struct actor *c, uint32_t events) {
    if (c->watched != events) {
        struct epoll_event event = {.events = events, .data.ptr = c};
        (void)epoll_ctl(c->lane->torture->epoll, c->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &event);
        c->watched = events;
    }
}

/* Nobody listens there: the host's next address may be the right one, as long as none has answered. */
static void unreachable(struct actor *c, int reason) {
    struct torture *t = c->lane->torture;
    torture_trouble(t, strerror(reason), 0);
    if (!t->answered && c->address == t->address) {
        t->address = (t->address + 1) % t->address_count;
    }
    actor_drop(c, REOPEN_NS);
}

void actor_open(struct actor *c) {
    const struct torture *t = c->lane->torture;
    const int on = 1;
    c->reopen_ns = 0;
    c->in.len = c->out.len = 0;
    c->muted = c->cut = c->dead = c->pinged = c->ponged = false;
    c->address = t->address;
    c->fd = socket(t->addresses[c->address].name.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        torture_fail(c->lane->torture, "cannot make a socket: %s", strerror(errno));
        return;
    }
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->state = ACTOR_OPENING;
    c->opened_ns = t->now_ns;
    const struct address *to = &t->addresses[c->address];
    if (connect(c->fd, (const struct sockaddr *)&to->name, to->length) != 0 && errno != EINPROGRESS) {
        unreachable(c, errno);
        return;
    }
    watch(c, EPOLLOUT);
}

void actor_drop(struct actor *c, int64_t away_ns) {
    if (c->fd >= 0) {
        close(c->fd);
    }
    c->fd = -1;
    c->watched = 0;
    c->state = ACTOR_DOWN;
    c->in.len = c->out.len = 0;
    c->muted = c->cut = c->dead = c->pinged = c->ponged = false;
    c->reopen_ns = away_ns < 0 ? 0 : c->lane->torture->now_ns + away_ns + 1;
}

static bool flush(struct actor *c) {
    size_t sent = 0;
    while (c->fd >= 0 && c->state >= ACTOR_WAITING && sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + sent, c->out.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            bool full = errno == EAGAIN || errno == EWOULDBLOCK;
            buf_drop_front(&c->out, sent);
            watch(c, EPOLLIN | (full ? EPOLLOUT : 0U));
            return full;
        }
        sent += n > 0 ? (size_t)n : 0;
    }
    c->out.len = 0;
    if (c->state >= ACTOR_WAITING) {
        watch(c, EPOLLIN);
    }
    return true;
}

void actor_close(struct actor *c, enum wire_event event) {
    struct torture *t = c->lane->torture;
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (c->fd < 0) {
        return;
    }
    (void)flush(c);
    lane_event(c->lane, c, event);
    if (event == EVENT_RST) {
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
        return;
    }
    if (event == EVENT_FIN) {
        (void)shutdown(c->fd, SHUT_WR);
    }
    if (c->late.len > 0) {
        c->late_fd = c->fd;
    }
    (void)epoll_ctl(t->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    torture_ghost(t, c, event);
    c->fd = -1;
}

/* The broker has closed the connection. Before a CONNACK, that is how a broker that starts or ends looks; one whose
 * disk has died does well to stop. */
static void closed_by_broker(struct actor *c) {
    const struct strike *s = &c->lane->strike;
    bool asked = c->muted || c->cut || c->dead || c->wiping || c->lane->torture->unpowered;
    if (c->state == ACTOR_UP && !asked) {
        lane_event(c->lane, c, EVENT_CLOSED);
    } else if (c->state == ACTOR_WAITING) {
        torture_trouble(c->lane->torture, "it closes the connection instead of sending CONNACK", 0);
    } else if (c->state == ACTOR_UP && !c->wiping) {
        lane_event(c->lane, c, s->row.kind == KIND_FIN ? EVENT_FIN : EVENT_RST);
    }
    actor_drop(c, REOPEN_NS);
}

/* ---- the session ---- */

static void send_connect(struct actor *c) {
    const struct lane *lane = c->lane;
    struct buf *b = &lane->torture->scratch;
    struct packet_connect connect = {
        .protocol = (uint8_t)lane->protocol, .clean_start = c->wiping, .client_id = span_str(c->id)};
    const struct torture_options *o = lane->torture->options;
    connect.has_username = o->username != NULL;
    connect.username = span_str(o->username != NULL ? o->username : "");
    connect.has_password = o->password != NULL;
    connect.password = span_str(o->password != NULL ? o->password : "");
    if (lane->protocol == PROTOCOL_5 && !c->wiping) {
        connect.properties.present =
            PROPERTY_SESSION_EXPIRY_INTERVAL | (c->who > 0 ? (property_set)PROPERTY_RECEIVE_MAXIMUM : 0);
        connect.properties.session_expiry_interval_s = UINT32_MAX;
        connect.properties.receive_maximum = TORTURE_RECEIVE_MAXIMUM;
    }
    b->len = 0;
    packet_encode_connect(b, &connect);
    c->state = ACTOR_WAITING;
    c->connection++;
    lane_event(c->lane, c, EVENT_OPENED);
    proxy_send(c, buf_span(b), (struct wire_record){.type = PACKET_CONNECT});
}

/* What the old, half-open connection held back arrives now, after the takeover. */
static void send_late(struct actor *c) {
    if (c->late_fd >= 0) {
        (void)send(c->late_fd, c->late.ptr, c->late.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        c->late_fd = -1;
        c->late.len = 0;
    }
}

/* What a 5.0 broker grants less than is asked for, and a torture cannot do without. */
static void check_grant(struct actor *c, const struct properties *p) {
    struct torture *t = c->lane->torture;
    if ((p->present & PROPERTY_MAXIMUM_QOS) != 0) {
        torture_fail(t, "the broker does not take QoS 2: its CONNACK says Maximum QoS %u", p->maximum_qos);
    }
    if (!c->wiping && (p->present & PROPERTY_SESSION_EXPIRY_INTERVAL) != 0 &&
        p->session_expiry_interval_s < SESSION_S) {
        torture_fail(t, "the broker keeps no sessions: its CONNACK says Session Expiry Interval %u",
                     p->session_expiry_interval_s);
    }
}

static void take_connack(struct actor *c, const struct packet_connack *p) {
    if (p->reason != 0) {
        torture_trouble(c->lane->torture, "it refuses to connect us with CONNACK", p->reason);
        actor_drop(c, 50 * NS_PER_MS);
        return;
    }
    c->lane->torture->answered = true;
    c->state = ACTOR_UP;
    if (c->lane->protocol == PROTOCOL_5) {
        check_grant(c, &p->properties);
    }
    if (c->wiping) {
        struct buf *b = &c->lane->torture->scratch;
        b->len = 0;
        packet_encode_disconnect(b, c->lane->protocol, &(struct packet_disconnect){0});
        buf_bytes(&c->out, buf_span(b));
        c->wiped = true;
        return;
    }
    send_late(c);
    if (c->who == 0) {
        if (c->lane->protocol == PROTOCOL_5 && (p->properties.present & PROPERTY_RECEIVE_MAXIMUM) != 0 &&
            p->properties.receive_maximum < c->sender.window) {
            c->sender.window = p->properties.receive_maximum;
        }
        sender_up(c, p->session_present);
    } else {
        receiver_up(c, p->session_present);
    }
    if (c->lane->phase == LANE_CALM) {
        actor_ping(c);
    }
}

void actor_ping(struct actor *c) {
    if (c->state == ACTOR_UP && !c->pinged) {
        struct buf *b = &c->lane->torture->scratch;
        c->pinged = true;
        c->ponged = false;
        b->len = 0;
        packet_encode_pingreq(b);
        proxy_send(c, buf_span(b), (struct wire_record){.type = PACKET_PINGREQ});
    }
}

void actor_acknowledge(struct actor *c, enum packet_type type, uint16_t packet_id) {
    struct buf *b = &c->lane->torture->scratch;
    b->len = 0;
    packet_encode_ack(b, c->lane->protocol, type, &(struct packet_ack){.packet_id = packet_id});
    proxy_send(c, buf_span(b), (struct wire_record){.type = (uint8_t)type, .packet_id = packet_id});
}

void actor_take(struct actor *c, const struct packet *packet) {
    if (packet->type == PACKET_CONNACK) {
        take_connack(c, &packet->connack);
    } else if (packet->type == PACKET_PINGRESP) {
        c->pinged = false;
        c->ponged = true;
    } else if (packet->type == PACKET_DISCONNECT) {
        return; /* the close behind it is what counts */
    } else if (c->who == 0) {
        sender_take(c, packet);
    } else {
        receiver_take(c, packet);
    }
}

/* ---- bytes ---- */

/* What a record says of a packet beyond its type. */
static struct wire_record describe(const struct actor *c, const struct packet *p) {
    struct wire_record r = {.message = WIRE_NO_MESSAGE};
    if (p->type == PACKET_PUBLISH) {
        r.message = message_number(c->lane, &p->publish, &r.damaged);
        r.lower = p->publish.qos < 2;
        r.packet_id = p->publish.packet_id;
        r.dup = p->publish.dup;
    } else if (p->type >= PACKET_PUBACK && p->type <= PACKET_PUBCOMP) {
        r.packet_id = p->ack.packet_id;
        r.reason = p->ack.reason;
    } else if (p->type == PACKET_CONNACK) {
        r.session = p->connack.session_present;
        r.reason = p->connack.reason;
    } else if (p->type == PACKET_DISCONNECT) {
        r.reason = p->disconnect.reason;
    }
    return r;
}

/* Takes all whole packets out of what came. */
static void take_packets(struct actor *c) {
    size_t used = 0;
    while (c->fd >= 0) {
        struct span rest = span_skip(buf_span(&c->in), used);
        struct packet_frame frame = {0};
        struct packet packet = {0};
        struct verdict verdict = {0};
        enum protocol spoken = c->state == ACTOR_UP ? c->lane->protocol : PROTOCOL_NONE;
        enum packet_status status = packet_frame(rest, PACKET_FROM_SERVER, spoken, &limits, &frame, &verdict);
        if (status == PACKET_PARTIAL) {
            break;
        }
        bool good = status == PACKET_WHOLE && packet_decode(&frame, c->lane->protocol, &limits, &packet, &verdict);
        struct wire_record r = {.message = WIRE_NO_MESSAGE, .statement = verdict.statement, .text = verdict.text};
        if (good) {
            r = describe(c, &packet);
            used += frame.bytes;
        } else if (verdict.statement == NULL) {
            r.statement = "MQTT-4.8.0-1";
            r.text = "a packet that cannot be read";
        }
        proxy_receive(c, &frame, &packet, r);
        if (!good) {
            used = c->in.len;
            break;
        }
    }
    if (c->fd >= 0) {
        buf_drop_front(&c->in, used);
    }
}

/* Reads once; false when the connection has ended. */
static bool receive(struct actor *c) {
    uint8_t *at = buf_reserve(&c->in, INPUT_BYTES);
    ssize_t n = recv(c->fd, at, INPUT_BYTES, MSG_DONTWAIT);
    if (n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    }
    c->in.len += (size_t)n;
    c->lane->active_ns = c->lane->torture->now_ns;
    take_packets(c);
    return true;
}

void actor_ready(struct actor *c, uint32_t events) {
    if (c->fd < 0) {
        return;
    }
    if (c->state == ACTOR_OPENING) {
        int reason = 0;
        socklen_t length = sizeof(reason);
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &reason, &length) != 0 || reason != 0) {
            unreachable(c, reason);
            return;
        }
        send_connect(c);
        return;
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !receive(c) && c->fd >= 0) {
        closed_by_broker(c);
    }
}

void actor_broker_died(struct actor *c) {
    c->dead = true;
    if (c->fd >= 0 && c->state >= ACTOR_WAITING && !c->wiping) {
        size_t before;
        do {
            before = c->lane->wire.count;
        } while (receive(c) && c->fd >= 0 && c->lane->wire.count > before);
    }
    actor_drop(c, REOPEN_NS);
}

void actor_turn(struct actor *c) {
    const int64_t now = c->lane->torture->now_ns;
    if (c->state == ACTOR_DOWN) {
        if (c->reopen_ns > 0 && now >= c->reopen_ns) {
            actor_open(c);
        }
        return;
    }
    /* The answer that is to be lost does not come at all. */
    if (c->muted && !c->cut && now - c->muted_ns > (int64_t)c->lane->torture->options->patience_ms * NS_PER_MS) {
        c->cut = true;
    }
    if (c->cut) {
        (void)flush(c);
        proxy_cut(c);
        return;
    }
    if (c->state < ACTOR_UP && now - c->opened_ns > CONNACK_NS) {
        actor_drop(c, REOPEN_NS);
        return;
    }
    if (c->who == 0 && c->sender.again.count > 0) {
        sender_fill(c);
    }
    if (!flush(c)) {
        /* What it still said before it closed comes first: epoll reports it. */
        c->out.len = 0;
    }
    if (c->wiping && c->wiped) {
        (void)shutdown(c->fd, SHUT_WR);
        actor_drop(c, -1);
    }
}
