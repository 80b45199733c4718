#include "broker/session.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"
#include "broker/bring.h"
#include "broker/connection.h"
#include "broker/deep.h"
#include "broker/ending.h"
#include "broker/expiry.h"
#include "broker/inlet.h"
#include "broker/onward.h"
#include "broker/sieve.h"
#include "broker/will.h"

enum {
    INFLIGHT_KEPT = 65536,  /* charged to the owner also when nothing is in flight, until a quiet moment */
    INFLIGHT_FACTOR = 4,    /* and so many times what is */
    DROP_SLICE = 4000,      /* expired deliveries at once */
    WINDOW_BYTES = 1 << 20, /* of a queue that is in memory, about */
    WINDOW_AWAY = 16,       /* messages of the queue of a client that is away */
    READER_MS = 100,        /* a client that took bytes so long ago reads as fast as it can */
    READER_OUTBOXES = 16,   /* so many times the outbox's bound may wait for it at QoS 0 */
};

/* ---- life ---- */

void session_flows_init(const struct session *s, struct flows *flows) {
    const struct broker_options *options = &s->shard->broker->options;
    *flows = (struct flows){.queue = {.gap_count = 0}};
    qos_out_init(&flows->out, s->shard->map_seed, options->packet_ids_max, options->mutant);
    if (s->receive_maximum > 0) {
        qos_out_connected(&flows->out, s->receive_maximum);
    }
}

struct flows *session_flows(struct session *s) {
    if (s->flows == NULL) {
        s->flows = mem_alloc(sizeof *s->flows);
        session_flows_init(s, s->flows);
    }
    return s->flows;
}

/* Nothing is behind. */
static void session_flows_deinit(struct session *s) {
    if (s->flows != NULL) {
        queue_deinit(&s->flows->queue);
        qos_out_deinit(&s->flows->out);
        mem_free(s->flows);
    }
}

static struct session *session_alloc(struct shard *shard, const struct session_parts *parts) {
    struct session *s = mem_zero(1, sizeof *s + parts->client_id.len);
    s->shard = shard;
    s->client_id = span_of(s->client_text, parts->client_id.len);
    if (parts->client_id.len > 0) {
        memcpy(s->client_text, parts->client_id.ptr, parts->client_id.len);
    }
    s->protocol = parts->protocol;
    s->durable = parts->durable;
    s->expiry_s = parts->expiry_s;
    s->owner = parts->owner;
    s->taken = parts->taken;
    s->subscriptions = map_bytes_of(shard->map_seed);
    s->inlet = mem_zero(1, sizeof *s->inlet);
    s->inlet->shard = shard->index;
    s->inlet->durable = parts->durable;
    s->inlet->session = s;
    atomic_init(&s->inlet->expires_at, INT64_MAX);
    atomic_init(&s->inlet->away, true);
    inlet_owner(shard->broker, s->inlet, s->owner);
    return s;
}

static void session_enter(struct session *s) {
    s->inlet->session_id = s->id;
    void *old = map_bytes_put(&s->shard->by_client, s->client_id, s);
    must(old == NULL);
    old = map64_put(&s->shard->by_id, s->id, s);
    must(old == NULL);
    s->shard->counters.sessions++;
}

struct session *session_create(struct shard *shard, const struct session_parts *parts) {
    struct session *s = session_alloc(shard, parts);
    if (s->durable) {
        s->id = session_stage_state(s);
    } else {
        s->id = SESSION_ID_VOLATILE | (uint64_t)shard->index << 48 | ++shard->volatile_ids;
    }
    session_enter(s);
    return s;
}

struct session *session_restore(struct shard *shard, session_id_t id, const struct session_parts *parts,
                                wall_ms_t disconnected_at) {
    struct session *s = session_alloc(shard, parts);
    s->id = id;
    s->disconnected_at = disconnected_at;
    session_enter(s);
    return s;
}

/* MUTANT_B9 lets old connections point to a session that is about to go. */
static void mutant_orphan_connections(const struct session *s) {
    for (uint32_t i = 0; i < s->shard->slot_count; i++) {
        struct connection *c = s->shard->slots[i].connection;
        if (c != NULL && c->session == s) {
            c->session = NULL;
            connection_abort(c);
        }
    }
}

/* All but what it has in the trie. */
static struct ending *session_free(struct session *s) {
    struct shard *shard = s->shard;
    must(s->connection == NULL);
    bring_cancel(s);
    sieve_cancel(s);
    if (broker_mutant(shard, MUTANT_B9)) {
        mutant_orphan_connections(s);
    }
    (void)map_bytes_remove(&shard->by_client, s->client_id);
    (void)map64_remove(&shard->by_id, s->id);
    shard->counters.queued -= s->flows != NULL ? queue_count(&s->flows->queue) + s->flows->out.count : 0;
    shard->counters.held_ids -= s->in.count;
    shard->counters.sessions--;
    list_remove(&s->deep_link);
    heap_remove(&shard->due, &s->due);
    list_remove(&s->overfull_link);
    list_remove(&s->starved_link);
    inlet_owner(shard->broker, s->inlet, NULL);
    admit_session_end(s);
    message_unref(s->will.message);
    session_flows_deinit(s);
    qos_in_deinit(&s->in);
    struct ending *ending = ending_of(s);
    mem_free(s);
    return ending;
}

void session_forget(struct session *s) {
    ending_free(session_free(s));
}

static void lsn_raise(_Atomic lsn_t *at, lsn_t lsn) {
    lsn_t before = atomic_load(at);
    while (before < lsn && !atomic_compare_exchange_weak(at, &before, lsn)) {
    }
}

void session_end(struct session *s, enum mutant unrecorded) {
    will_leave(s); /* one that its delay has kept: it does not outlive the session */
    if (s->durable && !broker_mutant(s->shard, unrecorded)) {
        struct record record = {.kind = RECORD_SESSION_END, .end = {s->id}};
        s->shard->ended_lsn = session_stage(s, &record);
    }
    if (unrecorded == MUTANT_QUEUE_END) { /* known before the inlet lets anybody pass */
        lsn_raise(&s->shard->broker->overfull_lsn, s->shard->ended_lsn);
    }
    atomic_store_explicit(&s->inlet->ended, true, memory_order_release);
    ending_slice(session_free(s));
}

lsn_t session_stage(struct session *s, const struct record *record) {
    if (!s->durable) {
        return 0;
    }
    s->last_lsn = store_stage(s->shard->broker->store, record);
    return s->last_lsn;
}

/* A whole record would be cleared first, for each packet. */
lsn_t session_stage_flow(struct session *s, enum record_kind kind, packet_id_t packet_id) {
    struct record record;
    record.kind = kind;
    record.flow = (struct record_flow){s->id, packet_id};
    return session_stage(s, &record);
}

lsn_t session_stage_state(struct session *s) {
    struct record record = {.kind = RECORD_SESSION,
                            .session = {.session_id = s->id,
                                        .client_id = s->client_id,
                                        .expiry_s = s->expiry_s,
                                        .disconnected_at = s->disconnected_at,
                                        .protocol = s->protocol,
                                        .owner = quota_owner_name(s->owner)}};
    return session_stage(s, &record);
}

void session_disconnected(struct session *s, bool graceful) {
    s->disconnected_at = s->shard->wall;
    atomic_store_explicit(&s->inlet->away, true, memory_order_relaxed);
    inlet_rest(s->shard->broker, s->inlet);
    admit_inflight(s, true);
    qos_in_shrink(&s->in);
    if (graceful) {
        will_clear(s);
    } else if (s->will.delay_s == 0) {
        (void)will_publish(s);
    }
    if (will_keeper(s) && s->will.message != NULL) {
        expiry_arm(s); /* of the disk: it goes on keeping it */
    } else if (s->expiry_s == 0) {
        session_end(s, MUTANT_B8);
    } else {
        (void)session_stage_state(s);
        expiry_arm(s);
        deep_note_away(s);
    }
}

/* ---- deliveries ---- */

/* Encodes one PUBLISH towards the client; false when it is larger than the client accepts (nothing is sent then
 * [MQTT-3.1.2-24, -25]). `head`: what is of the delivery is set, what is of the message is not. `after`: what it waits
 * for. */
static bool session_send_publish(struct session *s, const struct message *m, struct packet_publish_head *head,
                                 lsn_t after) {
    struct connection *c = s->connection;
    onward_head(s->shard, m, head);
    if ((c->packet_bytes_max != PACKET_BYTES_MAX || m->payload_bytes > PACKET_BYTES_MAX / 2) &&
        packet_publish_size((enum protocol)c->protocol, head) > c->packet_bytes_max) {
        s->shard->counters.too_large_dropped++;
        return false;
    }
    packet_encode_publish_head(connection_begin(c, after), (enum protocol)c->protocol, head);
    outbox_appended(&c->out);
    outbox_body(&c->out, (struct message *)(uintptr_t)m);
    connection_commit(c);
    s->shard->counters.publish_sent++;
    return true;
}

/* What may wait at QoS 0: the outbox's bound, and more of it for a client that reads as fast as it can, so that a burst
 * comes whole. One that has stopped reading has the bound alone. */
static uint64_t session_qos0_most(const struct session *s, uint64_t bytes_max) {
    return s->shard->now - s->connection->took_at <= READER_MS ? bytes_max * READER_OUTBOXES : bytes_max;
}

/* What waits for the client is less than it may be, and so is what waits for its owner's others. */
static bool session_qos0_room(const struct session *s) {
    const struct connection *c = s->connection;
    uint64_t bytes = outbox_bytes(&c->out);
    uint64_t bytes_max = s->shard->broker->options.outbox_bytes_max;
    return (bytes <= bytes_max || bytes <= session_qos0_most(s, bytes_max)) && admit_output_room(c);
}

void session_deliver_qos0(struct session *s, struct message *m, bool retain) {
    struct shard *shard = s->shard;
    struct connection *c = s->connection;
    if (c == NULL || c->too_large) {
        return;
    }
    if (!session_qos0_room(s)) {
        shard->counters.qos0_dropped++;
        return;
    }
    lsn_t after = shard_barrier(shard, MUTANT_B2_ONWARD, m->lsn);
    struct span packet = {NULL, 0};
    if (shard->shared) {
        packet = onward_packet(shard, m, (enum protocol)c->protocol, retain);
    }
    if (packet.len == 0 || packet.len > c->packet_bytes_max) {
        struct packet_publish_head head = {.qos = 0, .retain = retain};
        (void)session_send_publish(s, m, &head, after);
        return;
    }
    buf_bytes(connection_begin(c, after), packet);
    connection_commit(c);
    shard->counters.publish_sent++;
}

/* A delivery leaves the queue without being sent: recorded, so that it does not come back. */
lsn_t session_expired(struct session *s, struct delivery *d) {
    struct record record = {.kind = RECORD_DROPPED, .dropped = {s->id, d->message_lsn, d->target}};
    lsn_t lsn = session_stage(s, &record);
    inlet_release(s->shard, s->inlet, message_bytes(d->message));
    s->shard->counters.messages_expired++;
    s->shard->counters.queued--;
    message_unref(d->message);
    return lsn;
}

/* Sends the PUBLISH of a flight; one that the client cannot take counts as done. It waits for the message's record also
 * when the session is not durable and the record is there for others (B2). */
static void session_send_flight(struct session *s, struct flight *f, lsn_t sent_lsn) {
    lsn_t after = shard_barrier(s->shard, MUTANT_B1, sent_lsn);
    lsn_t message = shard_barrier(s->shard, MUTANT_B2_ONWARD, f->message->lsn);
    struct packet_publish_head head = {
        .dup = f->sent_before, .qos = f->qos, .retain = f->retain, .packet_id = f->packet_id};
    if (!session_send_publish(s, f->message, &head, after > message ? after : message)) {
        (void)session_stage_flow(s, RECORD_DONE, f->packet_id);
        s->shard->counters.queued--;
        qos_out_end(&s->flows->out, f);
    }
}

/* What is in flight is more or much less than its owner is charged for. */
static void session_charge_flights(struct session *s) {
    const uint64_t charged = s->taken.inflight_bytes;
    const uint64_t bytes = s->flows != NULL ? s->flows->out.body_bytes : 0;
    if (bytes > charged || charged > INFLIGHT_KEPT + INFLIGHT_FACTOR * bytes) {
        admit_inflight(s, false);
    }
}

/* A queued delivery gets its packet id (B1). Takes the delivery's reference. */
static void session_begin_flight(struct session *s, struct delivery *d) {
    struct flight_parts parts = {d->message, d->message_lsn, d->target,
                                 d->qos,     d->retain,      s->durable ? d->message->lsn : 0};
    if (s->flows->out.count == 0) {
        s->progress_at = s->shard->now; /* it had nothing to acknowledge until now */
    }
    struct flight *f = qos_out_begin(&s->flows->out, &parts);
    struct record record; /* not cleared first: it is one for each message */
    record.kind = RECORD_SENT;
    record.sent = (struct record_sent){s->id, f->packet_id, f->message_lsn, f->target};
    session_charge_flights(s);
    session_send_flight(s, f, session_stage(s, &record));
}

/* It is tried again next turn. */
static void session_starves(struct session *s) {
    if (!link_linked(&s->starved_link)) {
        list_push_back(&s->shard->starved, &s->starved_link);
    }
}

/* One that waits for others' outboxes is tried again next turn. */
static bool session_may_send(struct session *s) {
    if (s->connection == NULL || s->queue_held || s->connection->too_large ||
        outbox_bytes(&s->connection->out) > s->shard->broker->options.outbox_bytes_max) {
        return false;
    }
    /* An empty outbox takes one more, so that nobody waits for ever. */
    if (outbox_bytes(&s->connection->out) > 0 && !admit_output_room(s->connection)) {
        session_starves(s);
        return false;
    }
    return true;
}

/* How much of the queue stays in memory: so many messages that they are about WINDOW_BYTES; of a client that is
 * away, few. */
uint32_t session_window(const struct session *s) {
    uint64_t messages = atomic_load_explicit(&s->inlet->waiting_messages, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&s->inlet->waiting_bytes, memory_order_relaxed);
    uint64_t window = s->shard->broker->options.window_messages;
    if (s->connection == NULL && window > WINDOW_AWAY) {
        window = WINDOW_AWAY;
    }
    if (bytes > WINDOW_BYTES && messages * WINDOW_BYTES < window * bytes) {
        window = messages * WINDOW_BYTES / bytes;
    }
    return window > 0 ? (uint32_t)window : 1;
}

/* Bodies in flight are bounded by bytes, too; one of any size may always go. */
static bool session_may_begin(struct session *s) {
    const struct qos_out *out = &s->flows->out;
    if (!qos_out_ready(out)) {
        return false;
    }
    if (out->count > 0 && !admit_inflight_room(s)) {
        session_starves(s);
        return false;
    }
    return out->count == 0 || out->body_bytes < s->shard->broker->options.inflight_bytes_max;
}

static bool message_expired(const struct message *m, wall_ms_t wall) {
    return m->expires_at != 0 && m->expires_at <= wall;
}

static bool session_resend(struct session *s) {
    const struct broker *broker = s->shard->broker;
    while (session_may_send(s) && qos_out_must_resend(&s->flows->out)) {
        struct flight *f = qos_out_resend_next(&s->flows->out);
        if (f->message == NULL) {
            qos_out_body(&s->flows->out, f, store_message(broker->store, f->body_lsn));
            if (f->message == NULL) {
                return false;
            }
        }
        if (broker_mutant(s->shard, MUTANT_R10) && message_expired(f->message, s->shard->wall)) {
            (void)session_stage_flow(s, RECORD_DONE, f->packet_id);
            s->shard->counters.queued--;
            qos_out_end(&s->flows->out, f);
            continue;
        }
        session_send_flight(s, f, s->last_lsn);
    }
    return true;
}

/* More expired deliveries are in front than one turn takes out. */
static void session_go_on_later(struct session *s) {
    if (queue_count(&s->flows->queue) > 0 && !store_failed(s->shard->broker->store) && !link_linked(&s->starved_link)) {
        list_push_back(&s->shard->starved, &s->starved_link);
    }
}

static void session_send_queued(struct session *s) {
    struct shard *shard = s->shard;
    struct broker *broker = shard->broker;
    if (s->connection == NULL || s->flows == NULL || !session_resend(s)) {
        return;
    }
    for (unsigned expired = 0; queue_count(&s->flows->queue) > 0 && session_may_send(s) && session_may_begin(s);) {
        if (expired >= DROP_SLICE || queue_peek(&s->flows->queue, broker->store, s->id, session_window(s)) == NULL) {
            session_go_on_later(s);
            return;
        }
        struct delivery d = queue_pop(&s->flows->queue);
        if (message_expired(d.message, shard->wall)) {
            (void)session_expired(s, &d);
            expired++;
        } else {
            inlet_release(s->shard, s->inlet, message_bytes(d.message));
            session_begin_flight(s, &d);
        }
    }
}

void session_drop_expired(struct session *s) {
    const struct broker *broker = s->shard->broker;
    const struct delivery *first;
    for (unsigned i = 0; s->flows != NULL && i < DROP_SLICE; i++) {
        first = queue_peek(&s->flows->queue, broker->store, s->id, session_window(s));
        if (first == NULL || !message_expired(first->message, s->shard->wall)) {
            return;
        }
        struct delivery d = queue_pop(&s->flows->queue);
        (void)session_expired(s, &d);
    }
}

void session_pump(struct session *s) {
    session_send_queued(s);
    session_charge_flights(s);
    if (s->bringing != NULL) {
        bring_wake(s);
    }
}

void session_take_retained(struct session *s, const struct delivery *d) {
    if (d->qos == 0) {
        struct packet_publish_head head = {.qos = 0, .retain = true};
        lsn_t after = shard_barrier(s->shard, MUTANT_B2_ONWARD, d->message->lsn);
        (void)session_send_publish(s, d->message, &head, after);
        message_unref(d->message);
        return;
    }
    s->shard->counters.queued++;
    sieve_queued(s, d->message);
    queue_push(&session_flows(s)->queue, d);
    deep_note(s);
}

void session_join_behind(struct session *s) {
    if (s->flows == NULL) {
        return;
    }
    sieve_unknown(s);
    queue_append(&s->flows->queue, &s->flows->behind);
    deep_note(s);
}

void session_deliver(struct session *s, struct message *m, uint8_t qos, bool retain, uint32_t target) {
    struct shard *shard = s->shard;
    if (qos == 0) {
        session_deliver_qos0(s, m, retain);
        message_unref(m);
        return;
    }
    struct delivery d = {m, s->durable ? m->lsn : 0, 0, target, qos, retain};
    struct flows *flows = session_flows(s);
    shard->counters.queued++;
    if (bring_keeps_behind(s, d.message_lsn)) {
        queue_push(&flows->behind, &d);
        bring_holds(s, m);
        return;
    }
    if (session_may_send(s) && queue_count(&flows->queue) == 0 && session_may_begin(s)) {
        inlet_release(s->shard, s->inlet, message_bytes(m));
        queue_passed(&flows->queue, &d);
        session_begin_flight(s, &d);
        return;
    }
    sieve_queued(s, m);
    queue_push(&flows->queue, &d);
    deep_note(s);
}

/* Owed PUBRELs in the order of their PUBRECs [MQTT-4.6.0-4], before anything else. */
static void session_resend_pubrels(struct session *s) {
    if (broker_mutant(s->shard, MUTANT_REL_RESEND) || s->flows == NULL) {
        return;
    }
    for (struct link *l = s->flows->out.released.next; l != &s->flows->out.released; l = l->next) {
        const struct flight *f = container_of(l, struct flight, link);
        connection_send_ack(s->connection, PACKET_PUBREL, f->packet_id, 0,
                            shard_barrier(s->shard, MUTANT_B3, s->last_lsn));
    }
}

void session_resume(struct session *s, uint16_t receive_maximum) {
    atomic_store_explicit(&s->inlet->away, false, memory_order_relaxed);
    s->progress_at = s->connected_at = s->shard->now;
    s->receive_maximum = receive_maximum;
    if (s->flows != NULL) {
        qos_out_connected(&s->flows->out, receive_maximum);
    }
    session_resend_pubrels(s);
    session_pump(s);
}

void session_resend_now(struct session *s) {
    if (s->connection != NULL && s->flows != NULL && s->flows->out.count > 0) {
        qos_out_connected(&s->flows->out, s->receive_maximum);
        session_resend_pubrels(s);
        session_pump(s);
    }
}

/* ---- subscriptions ---- */

struct subscription *session_subscription(const struct session *s, struct span filter) {
    return map_bytes_get(&s->subscriptions, filter);
}

bool session_subscribe(struct session *s, struct span filter, uint32_t options) {
    struct subscription *old = session_subscription(s, filter);
    if (old != NULL) {
        old->options = options;
        return false;
    }
    struct subscription *new = mem_alloc(sizeof *new + filter.len);
    new->options = options;
    new->filter_bytes = (uint32_t)filter.len;
    memcpy(new->filter, filter.ptr, filter.len);
    (void)map_bytes_put(&s->subscriptions, span_of(new->filter, filter.len), new);
    return true;
}

bool session_unsubscribe(struct session *s, struct span filter) {
    struct subscription *old = map_bytes_remove(&s->subscriptions, filter);
    mem_free(old);
    return old != NULL;
}
