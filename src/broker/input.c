#include "broker/input.h"

#include "broker/acks.h"
#include "broker/admit.h"
#include "broker/connect.h"
#include "broker/connection.h"
#include "broker/expiry.h"
#include "broker/publish.h"
#include "broker/strain.h"
#include "broker/subscribe.h"
#include "broker/takeover.h"

enum {
    POINT_BYTES = 1024,      /* of a packet are as much work as one more packet */
    LIGHT_PACKETS = 4,       /* of a connection are taken also when the turn has done enough */
    OUTPUT_PAUSE_FACTOR = 2, /* a client that does not read its answers is not read from either: beyond so many
                                times the outbox's bound */
    PAUSES_BEFORE = PAUSE_REFUSED | PAUSE_WORK | PAUSE_BRING, /* the packet that they are about was not taken */
    BEHIND_REFUSED_BYTES = 64U * 1024, /* kept behind a refused PUBLISH, besides what one packet may have */
};

/* Only what this table names is accepted in each state; the packet layer has refused what a client never sends. */
static void input_packet(struct connection *c, struct packet *p) {
    switch (p->type) {
    case PACKET_CONNECT:
        connect_packet(c, &p->connect);
        return;
    case PACKET_PUBLISH:
        publish_packet(c, &p->publish);
        return;
    case PACKET_PUBREL:
        publish_pubrel(c, &p->ack);
        return;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBCOMP:
        acks_packet(c, p->type, &p->ack);
        return;
    case PACKET_SUBSCRIBE:
        subscribe_packet(c, &p->subscribe);
        return;
    case PACKET_UNSUBSCRIBE:
        unsubscribe_packet(c, &p->subscribe);
        return;
    case PACKET_PINGREQ:
        packet_encode_pingresp(connection_begin(c, 0));
        connection_commit(c);
        return;
    case PACKET_DISCONNECT:
        connect_disconnect_packet(c, &p->disconnect);
        return;
    case PACKET_AUTH:
        connection_wrong(
            c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-4.12.0-1", "AUTH without an authentication method"});
        return;
    case PACKET_NONE:
    case PACKET_CONNACK:
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
    case PACKET_PINGRESP:
        break;
    }
    connection_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-3.1.0-1", "a packet that no client sends"});
}

static void input_bad(struct connection *c, const struct packet *p, const struct verdict *verdict) {
    if (c->state == CONNECTION_NEW && p != NULL && p->type == PACKET_CONNECT) {
        connect_refuse(c, p->connect.protocol, verdict);
    } else {
        connection_wrong(c, verdict);
    }
}

static bool input_reads(const struct connection *c) {
    unsigned pause = c->draining ? c->pause & (unsigned)(PAUSES_BEFORE | PAUSE_TURN) : c->pause;
    return pause == 0 && (c->state == CONNECTION_NEW || c->state == CONNECTION_LIVE);
}

/* A client that does not read its answers is not read from. */
static inline void input_pause_full(struct connection *c) {
    if (__builtin_expect(outbox_bytes(&c->out) > OUTPUT_PAUSE_FACTOR * c->shard->broker->options.outbox_bytes_max, 0) &&
        !c->broken) {
        input_pause(c, PAUSE_OUTPUT);
    }
}

/* The shard is strained. Much is staged: whoever has staged much of it waits for the disk; what makes room goes on.
 * `points`: what the packet has cost. */
static void input_pause_busy(struct connection *c, const struct packet_frame *frame, int64_t points) {
    struct shard *shard = c->shard;
    bool stages = frame->type == PACKET_PUBLISH || frame->type == PACKET_SUBSCRIBE || frame->type == PACKET_UNSUBSCRIBE;
    if (!stages) {
        return;
    }
    strain_spend(c, frame->bytes, points);
    if (shard->pressure == STORE_BUSY && !strain_store_share_left(c)) {
        input_pause(c, PAUSE_STORE);
    }
}

/* One connection's input does not hold up the others: what this turn cannot take waits for the next. */
static void input_pause_turn(struct connection *c) {
    c->shard->input_left = true;
    input_pause(c, PAUSE_TURN);
}

/* Processes whole packets; returns how many bytes were used. Stops at a pause, at the end of the connection, where it
 * must move, and at the end of the turn's work; a few packets are taken all the same, up to twice that, so that who
 * sends little does not wait for those who send much. A packet that is not taken for now has set one of PAUSES_BEFORE,
 * and stays. */
static size_t input_process(struct connection *c, struct span in) {
    struct shard *shard = c->shard;
    const struct broker *broker = shard->broker;
    size_t used = 0;
    unsigned taken = 0;
    for (; used < in.len && input_reads(c); taken++) {
        const int64_t points = shard->points;
        const bool waits = c->state != CONNECTION_NEW; /* a CONNECT does not, or a newer one could pass it by */
        if (waits && points <= 0 && (taken >= LIGHT_PACKETS || points <= -(int64_t)broker->options.turn_points)) {
            input_pause_turn(c);
            break;
        }
        const struct packet_limits *limits =
            c->state == CONNECTION_NEW ? &broker->connect_limits : &broker->options.packet;
        struct packet_frame frame;
        struct verdict verdict;
        struct packet packet;
        enum packet_status status =
            packet_frame(span_skip(in, used), PACKET_FROM_CLIENT, (enum protocol)c->protocol, limits, &frame, &verdict);
        if (status == PACKET_PARTIAL) {
            break;
        }
        if (status == PACKET_BAD) {
            input_bad(c, NULL, &verdict);
            break;
        }
        packet.type = frame.type;
        if (!packet_decode(&frame, (enum protocol)c->protocol, &broker->options.packet, &packet, &verdict)) {
            input_bad(c, &packet, &verdict);
            break;
        }
        input_packet(c, &packet);
        shard_spend(shard, 1 + frame.bytes / POINT_BYTES);
        if ((c->pause & (PAUSES_BEFORE | PAUSE_TAKEOVER)) != 0 || c->state == CONNECTION_MOVING) {
            break;
        }
        if (__builtin_expect(strain_now(shard), 0)) {
            input_pause_busy(c, &frame, points - shard->points);
        }
        used += frame.bytes;
        input_pause_full(c);
    }
    if (taken > 0) {
        shard->counters.packets_received += taken;
        c->received_at = shard->now;
        c->begun_at = 0;
    }
    return used;
}

/* Bytes that the packet at the beginning of `in` still lacks: 0 when it is whole or bad, 1 while its length is not
 * known. */
static size_t input_lacks(const struct connection *c) {
    const struct broker *broker = c->shard->broker;
    const struct packet_limits *limits = c->state == CONNECTION_NEW ? &broker->connect_limits : &broker->options.packet;
    struct packet_frame frame;
    struct verdict verdict;
    if (packet_frame(buf_span(&c->in), PACKET_FROM_CLIENT, (enum protocol)c->protocol, limits, &frame, &verdict) !=
        PACKET_PARTIAL) {
        return 0;
    }
    return frame.bytes > c->in.len ? frame.bytes - c->in.len : 1;
}

/* Completes the packet that was begun, so that only its bytes are copied and not all that came behind it. Returns what
 * is left of `bytes`. */
static struct span input_complete(struct connection *c, struct span bytes) {
    while (bytes.len > 0 && c->in.len > 0 && input_reads(c)) {
        size_t lacks = input_lacks(c);
        size_t take = lacks < bytes.len ? lacks : bytes.len;
        buf_bytes(&c->in, span_of(bytes.ptr, take));
        bytes = span_skip(bytes, take);
        if (take == lacks) {
            input_continue(c);
        }
    }
    return bytes;
}

/* ---- behind a refused PUBLISH ---- */

/* Whether a packet may overtake a PUBLISH that is refused for now. Acknowledgements may: they are what makes room.
 * After DISCONNECT nobody is there to whom the PUBLISH could be answered. All else keeps its order. */
static bool input_passes(enum packet_type type) {
    return type == PACKET_PUBACK || type == PACKET_PUBREC || type == PACKET_PUBCOMP || type == PACKET_PINGREQ ||
           type == PACKET_DISCONNECT;
}

/* A refused PUBLISH, or a packet that waits for work, is the only reason to wait. */
static bool input_waits_for_room(const struct connection *c) {
    unsigned pause = c->draining ? c->pause & (unsigned)PAUSES_BEFORE : c->pause;
    return (pause & PAUSES_BEFORE) != 0 && (pause & ~(unsigned)PAUSES_BEFORE) == 0 && c->state == CONNECTION_LIVE;
}

/* Processes what may pass of the bytes behind `looked` and takes it out. Returns false when the connection ended. */
static bool input_pass_some(struct connection *c, struct buf *in) {
    const struct packet_limits *limits = &c->shard->broker->options.packet;
    size_t at = c->looked;
    size_t kept = c->looked;
    while (input_waits_for_room(c)) {
        struct packet_frame frame;
        struct verdict verdict;
        struct packet packet;
        if (packet_frame(span_skip(buf_span(in), at), PACKET_FROM_CLIENT, (enum protocol)c->protocol, limits, &frame,
                         &verdict) != PACKET_WHOLE) {
            break;
        }
        packet.type = frame.type;
        bool passes = input_passes(frame.type);
        if (passes && !packet_decode(&frame, (enum protocol)c->protocol, limits, &packet, &verdict)) {
            break; /* it is judged when its turn has come */
        }
        if (passes) {
            c->shard->counters.packets_received++;
            input_packet(c, &packet);
            input_pause_full(c);
        } else {
            memmove(in->ptr + kept, in->ptr + at, frame.bytes);
            kept += frame.bytes;
        }
        at += frame.bytes;
    }
    memmove(in->ptr + kept, in->ptr + at, in->len - at);
    in->len -= at - kept;
    c->looked = (uint32_t)kept;
    return c->state != CONNECTION_CLOSING;
}

/* Who serves the connection hears of it: one that is still watched, and not read, would be reported in every turn. */
static void input_wish(struct connection *c, enum conn_wish wish) {
    if (c->wish != wish) {
        c->wish = (uint8_t)wish;
        connection_mark_dirty(c);
    }
}

/* A client whose PUBLISH waits for room is read from further: without its acknowledgements, or those of a client that
 * waits for it in the same way, there would never be any. */
static void input_pass(struct connection *c) {
    if (!input_waits_for_room(c)) {
        return;
    }
    struct buf in = c->in;
    c->in = (struct buf){NULL, 0, 0};
    if (!input_pass_some(c, &in)) {
        buf_deinit(&in);
        return;
    }
    c->in = in;
    if (!input_waits_for_room(c)) {
        return;
    }
    bool room = in.len <= c->shard->broker->options.packet.packet_bytes_max + (size_t)BEHIND_REFUSED_BYTES;
    if (!room && (c->pause & PAUSE_BRING) != 0 && c->refused_since == 0) {
        c->refused_since = c->shard->now; /* the acknowledgements that SUBACK waits for may be behind all that */
        expiry_watch(c);
    }
    if (!c->draining) {
        input_wish(c, room ? CONN_READ : CONN_PAUSE);
    } else if (!room) {
        takeover_end(c);
    }
}

/* ---- from outside ---- */

/* What waits is counted; who makes too much of it wait is closed. */
static void input_count(struct connection *c) {
    if (c->state != CONNECTION_CLOSING && !admit_input(c)) {
        shard_log(c->shard, LOG_WARNING, "closing %s (%s): too many bytes of its address wait for the rest of a packet",
                  c->peer, c->session != NULL ? shard_text(c->session->client_id) : "no session");
        connection_close(c, REASON_QUOTA_EXCEEDED, false);
    }
}

void input_feed(struct connection *c, struct span bytes) {
    if (c->state == CONNECTION_CLOSING || bytes.len == 0) {
        return;
    }
    connection_used(c);
    if ((c->pause & PAUSES_BEFORE) != 0) {
        c->received_at = c->shard->now; /* packets that come have to wait, and count all the same */
    }
    bytes = input_complete(c, bytes);
    size_t used = c->in.len == 0 ? input_process(c, bytes) : 0;
    if (c->state != CONNECTION_CLOSING && used < bytes.len) {
        buf_bytes(&c->in, span_skip(bytes, used));
    }
    if (c->in.len > 0 && c->begun_at == 0) {
        c->begun_at = c->shard->now;
        expiry_begun(c);
    }
    input_pass(c);
    input_count(c);
}

void input_continue(struct connection *c) {
    if (c->state == CONNECTION_CLOSING || c->in.len == 0) {
        return;
    }
    /* What is processed may close the connection and with it free `in`: the bytes are taken out meanwhile. */
    struct buf in = c->in;
    c->in = (struct buf){NULL, 0, 0};
    size_t used = input_process(c, buf_span(&in));
    c->looked = c->looked > used ? c->looked - (uint32_t)used : 0;
    if (c->state == CONNECTION_CLOSING || used == in.len) {
        buf_deinit(&in);
    } else {
        buf_drop_front(&in, used);
        c->in = in;
        c->begun_at = c->begun_at != 0 ? c->begun_at : c->shard->now;
        expiry_begun(c);
        input_pass(c);
    }
    input_count(c);
}

void input_pause(struct connection *c, enum pause why) {
    if (c->state == CONNECTION_CLOSING) {
        return;
    }
    c->pause |= (uint8_t)why;
    c->wish = c->draining && (c->pause & PAUSE_TURN) == 0 ? CONN_DRAIN : CONN_PAUSE;
    if (!link_linked(&c->pause_link)) {
        list_push_back(&c->shard->paused, &c->pause_link);
    }
    connection_mark_dirty(c);
}

/* The time of the pause is not held against a client that was not read from. */
void input_unpause(struct connection *c, unsigned over) {
    c->pause &= (uint8_t)~over;
    if ((over & PAUSE_BRING) != 0) {
        c->refused_since = 0;
    }
    if (c->state == CONNECTION_CLOSING) {
        return;
    }
    if (c->pause != 0 && !(c->draining && (over & PAUSE_TURN) != 0)) {
        input_pass(c); /* when all that is left is a packet that waits, what may overtake it is read again */
        return;
    }
    if (c->pause == 0) {
        list_remove(&c->pause_link);
    }
    c->wish = c->draining ? CONN_DRAIN : CONN_READ;
    c->received_at = c->begun_at = c->shard->now;
    connection_mark_dirty(c);
    input_continue(c);
}

void input_broken(struct connection *c) {
    c->broken = true;
    if ((c->pause & PAUSE_OUTPUT) != 0) {
        input_unpause(c, PAUSE_OUTPUT);
    }
}

void input_rest(struct connection *c) {
    if ((c->pause & PAUSE_TURN) != 0) {
        int64_t points = c->shard->points;
        c->shard->points = INT64_MAX / 2;
        input_unpause(c, PAUSE_TURN);
        c->shard->points = points;
    }
}
