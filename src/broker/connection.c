#include "broker/connection.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"
#include "broker/bring.h"
#include "broker/expiry.h"
#include "broker/session.h"
#include "broker/takeover.h"
#include "broker/will.h"

/* PUBACKs that wait for the disk, a ring, in order: they use receive maximum until they leave. */
struct ack_waits {
    uint32_t first, count, capacity;
    lsn_t after[];
};

enum { ACKS_CAPACITY_MIN = 8 };

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
    struct connection *c = mem_zero(1, sizeof *c + strlen(peer) + 1);
    slot->generation = slot->generation == UINT32_MAX ? 1 : slot->generation + 1;
    slot->connection = c;
    c->handle = (struct conn_handle){(uint32_t)(slot - shard->slots), slot->generation};
    c->shard = shard;
    c->state = CONNECTION_NEW;
    c->wish = CONN_READ;
    memcpy(c->peer, peer, strlen(peer) + 1);
    c->took_at = c->received_at = shard->now;
    c->packet_bytes_max = PACKET_BYTES_MAX;
    expiry_watch(c);
    shard->counters.connections++;
    if (!admit_connection(c)) {
        shard_log(shard, LOG_NOTICE, "closing %s: its address has too many connections", c->peer);
        connection_abort(c);
    }
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
    list_remove(&c->busy_link);
    heap_remove(&shard->connections_due, &c->due);
    takeover_pass_on(c);
    outbox_deinit(&c->out);
    buf_deinit(&c->in);
    qos_in_deinit(&c->counted);
    mem_free(c->acks);
    mem_free(c->waits);
    admit_connection_end(c);
    mem_free(c);
    shard->counters.connections--;
}

struct connection *connection_find(const struct shard *shard, struct conn_handle handle) {
    if (handle.index >= shard->slot_count || shard->slots[handle.index].generation != handle.generation) {
        return NULL;
    }
    return shard->slots[handle.index].connection;
}

/* ---- out ---- */

struct buf *connection_begin(struct connection *c, lsn_t after) {
    if (after > c->shard->durable) {
        outbox_gate(&c->out, after);
        if (!link_linked(&c->gated_link)) {
            list_push_back(&c->shard->gated, &c->gated_link);
        }
    }
    struct buf *out = outbox_buf(&c->out);
    c->begun = out->len;
    return out;
}

/* A packet that is larger than the client takes must not be sent [MQTT-3.1.2-24], nor what comes after it. */
static void connection_check_size(struct connection *c) {
    struct buf *out = outbox_buf(&c->out);
    if (c->too_large || out->len - c->begun > c->packet_bytes_max) {
        c->too_large = true;
        out->len = c->begun;
    }
}

void connection_end_too_large(struct connection *c) {
    bool greeted = c->out.stream_end > 0;
    shard_log(c->shard, LOG_NOTICE, "closing %s (%s): an answer is larger than its Maximum Packet Size", c->peer,
              c->session != NULL ? shard_text(c->session->client_id) : "no session");
    c->too_large = false;
    if (greeted) {
        connection_close(c, REASON_PACKET_TOO_LARGE, false);
    } else {
        connection_abort(c);
    }
}

void connection_commit(struct connection *c) {
    if (__builtin_expect(c->packet_bytes_max != PACKET_BYTES_MAX, 0)) {
        connection_check_size(c);
    }
    outbox_appended(&c->out);
    admit_output_more(c);
    connection_used(c);
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

static lsn_t *ack_at(struct ack_waits *w, uint32_t i) {
    return &w->after[(w->first + i) & (w->capacity - 1)];
}

static struct ack_waits *acks_grow(struct ack_waits *old) {
    uint32_t capacity = old != NULL ? old->capacity * 2 : ACKS_CAPACITY_MIN;
    struct ack_waits *grown = mem_alloc(sizeof *grown + capacity * sizeof *grown->after);
    *grown = (struct ack_waits){0, old != NULL ? old->count : 0, capacity};
    for (uint32_t i = 0; i < grown->count; i++) {
        grown->after[i] = *ack_at(old, i);
    }
    mem_free(old);
    return grown;
}

void connection_ack_waits(struct connection *c, lsn_t after) {
    if (c->acks == NULL || c->acks->count == c->acks->capacity) {
        c->acks = acks_grow(c->acks);
    }
    c->acks->count++;
    *ack_at(c->acks, c->acks->count - 1) = after;
}

void connection_acks_left(struct connection *c, lsn_t durable) {
    while (c->acks != NULL && c->acks->count > 0 && *ack_at(c->acks, 0) <= durable) {
        c->acks->first++;
        c->acks->count--;
    }
}

uint32_t connection_acks(const struct connection *c) {
    return c->acks != NULL ? c->acks->count : 0;
}

/* ---- the end ---- */

/* B10: a client that sees the connection's end after its DISCONNECT may rely on it that its will is not published. */
static void connection_goodbye(struct connection *c, struct session *session) {
    if (session->will.message != NULL) {
        will_clear(session);
        (void)connection_begin(c, shard_barrier(c->shard, MUTANT_B10_GOODBYE, session->last_lsn));
    }
}

static void connection_detach(struct connection *c, uint8_t wish, bool graceful) {
    c->state = CONNECTION_CLOSING;
    c->wish = wish;
    list_remove(&c->pause_link);
    heap_remove(&c->shard->connections_due, &c->due);
    buf_deinit(&c->in);
    (void)admit_input(c);
    struct session *session = c->session;
    c->session = NULL;
    /* Only MUTANT_B9 leaves a session that has another connection by now. */
    if (session != NULL && session->connection == c) {
        bring_cancel(session);
        session->connection = NULL;
        session->left = c->handle;
        if (graceful) {
            connection_goodbye(c, session);
        }
        session_disconnected(session, graceful);
    }
    takeover_pass_on(c);
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
    admit_output_less(c, true);
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
