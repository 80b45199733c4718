#include "broker/connection.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/acks.h"
#include "broker/connect.h"
#include "broker/publish.h"
#include "broker/session.h"
#include "broker/subscribe.h"

/* A connection that does not read its answers is not read from either: beyond so many times the outbox's bound. */
enum { OUTPUT_PAUSE_FACTOR = 2 };

struct ack_wait {
    lsn_t after;
    uint32_t count;
};

static struct connection_slot *slot_take(struct shard *shard) {
    if (shard->slot_free != 0) {
        struct connection_slot *slot = &shard->slots[shard->slot_free - 1];
        shard->slot_free = slot->next_free;
        return slot;
    }
    if (shard->slot_count == shard->slot_capacity) {
        shard->slot_capacity = shard->slot_capacity > 0 ? shard->slot_capacity * 2 : 64;
        shard->slots = mem_resize(shard->slots, shard->slot_capacity * sizeof *shard->slots);
    }
    struct connection_slot *slot = &shard->slots[shard->slot_count++];
    *slot = (struct connection_slot){NULL, 0, 0};
    return slot;
}

struct connection *connection_create(struct shard *shard, const char *peer) {
    struct connection_slot *slot = slot_take(shard);
    struct connection *c = mem_zero(1, sizeof *c);
    slot->generation = slot->generation == UINT32_MAX ? 1 : slot->generation + 1;
    slot->connection = c;
    c->handle = (struct conn_handle){(uint32_t)(slot - shard->slots), slot->generation};
    c->shard = shard;
    c->state = CONNECTION_NEW;
    c->wish = CONN_READ;
    c->peer = mem_copy(peer, strlen(peer));
    c->opened_at = c->received_at = shard->now;
    c->packet_bytes_max = UINT32_MAX;
    shard->counters.connections++;
    return c;
}

void connection_destroy(struct connection *c) {
    struct shard *shard = c->shard;
    must(c->session == NULL);
    struct connection_slot *slot = &shard->slots[c->handle.index];
    slot->connection = NULL;
    slot->next_free = shard->slot_free;
    shard->slot_free = c->handle.index + 1;
    list_remove(&c->dirty_link);
    list_remove(&c->gated_link);
    list_remove(&c->pause_link);
    outbox_deinit(&c->out);
    buf_deinit(&c->in);
    qos_in_deinit(&c->counted);
    mem_free(c->ack_waits);
    mem_free(c->peer);
    mem_free(c);
    shard->counters.connections--;
}

struct connection *connection_find(const struct shard *shard, struct conn_handle handle) {
    if (handle.index >= shard->slot_count || shard->slots[handle.index].generation != handle.generation) {
        return NULL;
    }
    return shard->slots[handle.index].connection;
}

void connection_mark_dirty(struct connection *c) {
    if (!link_linked(&c->dirty_link)) {
        list_push_back(&c->shard->dirty, &c->dirty_link);
    }
}

/* ---- out ---- */

struct buf *connection_begin(struct connection *c, lsn_t after) {
    if (after > c->shard->durable) {
        outbox_gate(&c->out, after);
        if (!link_linked(&c->gated_link)) {
            list_push_back(&c->shard->gated, &c->gated_link);
        }
    }
    return outbox_buf(&c->out);
}

void connection_commit(struct connection *c) {
    outbox_appended(&c->out);
    c->busy = true;
    connection_mark_dirty(c);
}

void connection_send_ack(struct connection *c, enum packet_type type, packet_id_t packet_id, uint8_t reason,
                         lsn_t after) {
    struct packet_ack ack;
    ack.packet_id = packet_id;
    ack.reason = reason;
    ack.properties.present = 0;
    ack.properties.user_property_count = 0;
    packet_encode_ack(connection_begin(c, after), (enum protocol)c->protocol, type, &ack);
    connection_commit(c);
}

/* ---- receive maximum ---- */

void connection_ack_waits(struct connection *c, lsn_t after) {
    if (c->ack_count == c->ack_capacity) {
        uint32_t capacity = c->ack_capacity > 0 ? c->ack_capacity * 2 : 8;
        struct ack_wait *grown = mem_alloc(capacity * sizeof *grown);
        for (uint32_t i = 0; i < c->ack_count; i++) {
            grown[i] = c->ack_waits[(c->ack_first + i) & (c->ack_capacity - 1)];
        }
        mem_free(c->ack_waits);
        c->ack_waits = grown;
        c->ack_first = 0;
        c->ack_capacity = capacity;
    }
    c->ack_waits[(c->ack_first + c->ack_count) & (c->ack_capacity - 1)] = (struct ack_wait){after, 1};
    c->ack_count++;
}

void connection_acks_left(struct connection *c, lsn_t durable) {
    while (c->ack_count > 0 && c->ack_waits[c->ack_first & (c->ack_capacity - 1)].after <= durable) {
        c->ack_first++;
        c->ack_count--;
    }
}

/* ---- the end ---- */

static void connection_detach(struct connection *c, uint8_t wish, bool graceful) {
    c->state = CONNECTION_CLOSING;
    c->wish = wish;
    list_remove(&c->pause_link);
    buf_deinit(&c->in);
    struct session *session = c->session;
    c->session = NULL;
    /* Only MUTANT_B9 leaves a session that has another connection by now. */
    if (session != NULL && session->connection == c) {
        session->connection = NULL;
        session->left = c->handle;
        session_disconnected(session, graceful);
    }
    connection_mark_dirty(c);
}

void connection_close(struct connection *c, uint8_t reason, bool graceful) {
    if (c->state == CONNECTION_CLOSING) {
        return;
    }
    if (reason != 0 && c->protocol == PROTOCOL_5 && c->state == CONNECTION_LIVE) {
        struct packet_disconnect p = {.reason = reason};
        packet_encode_disconnect(connection_begin(c, 0), PROTOCOL_5, &p);
        connection_commit(c);
    }
    connection_detach(c, CONN_CLOSE, graceful);
}

void connection_abort(struct connection *c) {
    outbox_deinit(&c->out);
    list_remove(&c->gated_link);
    if (c->state == CONNECTION_CLOSING) {
        c->wish = CONN_ABORT;
        connection_mark_dirty(c);
        return;
    }
    connection_detach(c, CONN_ABORT, false);
}

void connection_wrong(struct connection *c, const struct verdict *verdict) {
    struct shard *shard = c->shard;
    if (c->state == CONNECTION_CLOSING) {
        return;
    }
    shard->counters.protocol_errors++;
    shard_log(shard, LOG_NOTICE, "closing %s (%s): %s [%s]", c->peer,
              c->session != NULL ? shard_text(c->session->client_id) : "no session", verdict->text, verdict->statement);
    if (c->protocol == PROTOCOL_5 && c->state == CONNECTION_LIVE && c->problem_information &&
        c->packet_bytes_max >= 256) {
        struct packet_disconnect p = {.reason = verdict->reason};
        p.properties.present = PROPERTY_REASON_STRING;
        p.properties.reason_string = span_str(verdict->text);
        packet_encode_disconnect(connection_begin(c, 0), PROTOCOL_5, &p);
        connection_commit(c);
        connection_detach(c, CONN_CLOSE, false);
        return;
    }
    connection_close(c, verdict->reason, false);
}

/* ---- in ---- */

/* Only what this table names is accepted in each state; the packet layer has refused what a client never sends. */
static void connection_packet(struct connection *c, struct packet *p) {
    c->shard->counters.packets_received++;
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

static void connection_bad(struct connection *c, const struct packet *p, const struct verdict *verdict) {
    if (c->state == CONNECTION_NEW && p != NULL && p->type == PACKET_CONNECT) {
        connect_refuse(c, p->connect.protocol, verdict);
    } else {
        connection_wrong(c, verdict);
    }
}

static bool connection_reads(const struct connection *c) {
    return c->pause == 0 && (c->state == CONNECTION_NEW || c->state == CONNECTION_LIVE);
}

/* Processes whole packets; returns how many bytes were used. Stops at a pause, at the end of the connection, and where
 * it must move. A PUBLISH that is refused for now sets PAUSE_REFUSED and stays. */
static size_t connection_process(struct connection *c, struct span in) {
    const struct broker *broker = c->shard->broker;
    size_t used = 0;
    while (connection_reads(c)) {
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
            connection_bad(c, NULL, &verdict);
            break;
        }
        packet.type = frame.type;
        if (!packet_decode(&frame, (enum protocol)c->protocol, &broker->options.packet, &packet, &verdict)) {
            connection_bad(c, &packet, &verdict);
            break;
        }
        connection_packet(c, &packet);
        if ((c->pause & PAUSE_REFUSED) != 0 || c->state == CONNECTION_MOVING) {
            break;
        }
        used += frame.bytes;
        if (outbox_bytes(&c->out) > OUTPUT_PAUSE_FACTOR * broker->options.outbox_bytes_max) {
            connection_pause(c, PAUSE_OUTPUT);
        }
    }
    return used;
}

/* Bytes that the packet at the beginning of `in` still lacks: 0 when it is whole or bad, 1 while its length is not
 * known. */
static size_t connection_lacks(const struct connection *c) {
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
static struct span connection_complete(struct connection *c, struct span bytes) {
    while (bytes.len > 0 && c->in.len > 0 && connection_reads(c)) {
        size_t lacks = connection_lacks(c);
        size_t take = lacks < bytes.len ? lacks : bytes.len;
        buf_bytes(&c->in, span_of(bytes.ptr, take));
        bytes = span_skip(bytes, take);
        if (take == lacks) {
            connection_continue(c);
        }
    }
    return bytes;
}

void connection_feed(struct connection *c, struct span bytes) {
    if (c->state == CONNECTION_CLOSING || bytes.len == 0) {
        return;
    }
    c->received_at = c->shard->now;
    c->busy = true;
    bytes = connection_complete(c, bytes);
    size_t used = c->in.len == 0 ? connection_process(c, bytes) : 0;
    if (c->state != CONNECTION_CLOSING && used < bytes.len) {
        buf_bytes(&c->in, span_skip(bytes, used));
    }
}

void connection_continue(struct connection *c) {
    if (c->state == CONNECTION_CLOSING || c->in.len == 0) {
        return;
    }
    /* What is processed may close the connection and with it free `in`: the bytes are taken out meanwhile. */
    struct buf in = c->in;
    c->in = (struct buf){NULL, 0, 0};
    size_t used = connection_process(c, buf_span(&in));
    if (c->state == CONNECTION_CLOSING || used == in.len) {
        buf_deinit(&in);
        return;
    }
    buf_drop_front(&in, used);
    c->in = in;
}

void connection_pause(struct connection *c, enum pause why) {
    if (c->state == CONNECTION_CLOSING) {
        return;
    }
    c->pause |= (uint8_t)why;
    c->wish = CONN_PAUSE;
    if (!link_linked(&c->pause_link)) {
        list_push_back(&c->shard->paused, &c->pause_link);
    }
    connection_mark_dirty(c);
}

void connection_unpause(struct connection *c, unsigned over) {
    c->pause &= (uint8_t)~over;
    if (c->pause != 0 || c->state == CONNECTION_CLOSING) {
        return;
    }
    list_remove(&c->pause_link);
    c->wish = CONN_READ;
    connection_mark_dirty(c);
    connection_continue(c);
}
