/* The way in: PUBLISH of the broker into the inbox, and from there to the application.
 *
 *     PUBLISH ── repeat? ── MESSAGE{in, packet id, target in} ── queue ── taken ── done: DROPPED
 *                  │                    │
 *                PUBREC           PUBREC, PUBACK: behind the record (B2), and withheld while the inbox is full
 *
 * A full inbox takes what comes without answering, so the broker stops at our Receive Maximum. When it goes on, or its
 * messages are so large that twice the bound is reached, what comes is left to it: it is not taken and not answered,
 * the connection ends as soon as our own flows on it have ended, and there is none until there is room. What was not
 * taken it sends again then. */
#include "base/mem.h"
#include "client/state.h"

static uint64_t inbox_bytes(const struct client *c) {
    return c->receiving.queue_bytes + c->receiving.open.bytes;
}

static bool inbox_full(const struct client *c) {
    return inbox_bytes(c) >= c->options.inbox_bytes;
}

bool receive_has_room(const struct client *c) {
    return !inbox_full(c) && store_pressure(c->store) != STORE_FULL;
}

/* ---- answers ---- */

static void answer_send(struct client *c, const struct withheld *w) {
    output_ack(c, w->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, w->packet_id, 0, w->after);
}

/* Answers keep their order (R8): while one is withheld, those behind it are as well. */
static void answer(struct client *c, uint8_t qos, packet_id_t packet_id, lsn_t lsn) {
    struct receiving *r = &c->receiving;
    struct withheld w = {client_barrier(c, MUTANT_B2_ACK, lsn), packet_id, qos};
    if (r->withheld.count == 0 && !inbox_full(c)) {
        answer_send(c, &w);
        return;
    }
    if (qos == 2 && !qos_in_hold(&r->owed, packet_id)) {
        return; /* it is owed already */
    }
    r->withheld_qos1 += qos == 1;
    struct withheld *slot = fifo_push(&r->withheld);
    *slot = w;
}

static void answers_flush(struct client *c, bool all) {
    struct receiving *r = &c->receiving;
    struct withheld *w;
    while (c->phase == PHASE_LIVE && (all || !inbox_full(c)) && (w = fifo_front(&r->withheld)) != NULL) {
        answer_send(c, w);
        (void)qos_in_free(&r->owed, w->qos == 2 ? w->packet_id : 0);
        r->withheld_qos1 -= w->qos == 1;
        fifo_pop(&r->withheld);
    }
}

/* ---- PUBLISH ---- */

/* Asked before anything is taken: it could never be kept. */
static bool publish_storable(const struct client *c, const struct packet_publish *p) {
    struct record record = {
        .kind = RECORD_MESSAGE,
        .message = {.parts = {.topic = p->topic, .properties = p->properties.raw, .payload = p->payload},
                    .target_count = 1}};
    return p->qos == 0 || store_takes(c->store, &record);
}

static bool publish_allowed(struct client *c, const struct packet_publish *p) {
    const struct receiving *r = &c->receiving;
    if (!publish_storable(c, p)) {
        client_wrong(c, &(struct verdict){REASON_PACKET_TOO_LARGE, "MQTT-3.1.2-24",
                                          "a message that is larger than a file of the store's journal"});
        return false;
    }
    if ((p->properties.present & PROPERTY_TOPIC_ALIAS) != 0) {
        client_wrong(c, &(struct verdict){REASON_TOPIC_ALIAS_INVALID, "MQTT-3.3.2-11",
                                          "a topic alias, but our Topic Alias Maximum is 0"});
        return false;
    }
    if (p->qos > 0 && c->protocol == PROTOCOL_5 && r->counted.count + r->withheld_qos1 >= c->options.receive_maximum) {
        client_wrong(c, &(struct verdict){REASON_RECEIVE_MAXIMUM_EXCEEDED, "MQTT-3.3.4-9",
                                          "more QoS 1 and 2 messages in flight than our Receive Maximum"});
        return false;
    }
    return true;
}

/* More cannot be kept: the broker keeps it, and sends it again when there is room. What was taken is answered before:
 * messages of QoS 1 would come again otherwise, and fill the inbox with themselves. */
static bool publish_fits(struct client *c) {
    struct receiving *r = &c->receiving;
    if (!r->full && store_pressure(c->store) != STORE_FULL && inbox_bytes(c) < 2 * c->options.inbox_bytes) {
        return true;
    }
    if (!r->full) {
        r->full = true;
        r->full_until = c->now + LINGER_MS;
        answers_flush(c, true);
    }
    return false;
}

/* Answers to us, which may be on their way behind what was not taken, are worth some patience: what is not acknowledged
 * is sent again on the next connection, and may come back to us; a SUBSCRIBE brings the retained messages once more,
 * and they could fill the inbox before SUBACK comes each time. */
void receive_settle(struct client *c) {
    const struct qos_out *flows = &c->sending.flows;
    bool answered =
        c->sending.clearing.count == 0 && flows->count == flows->resend_count && !c->subscriptions.under_way;
    if (c->receiving.full && (answered || c->now >= c->receiving.full_until)) {
        client_end(c, QUARTET_FULL, REASON_QUOTA_EXCEEDED, REASON_QUOTA_EXCEEDED,
                   "the inbox is full: no connection until there is room");
    }
}

static uint8_t *publish_identifiers(const struct packet_publish *p, uint32_t *bytes) {
    struct buf out = {NULL, 0, 0};
    struct reader r = reader_of(p->properties.raw);
    uint32_t identifier;
    if (p->properties.subscription_identifier_count > 0) {
        while (packet_subscription_identifier_next(&r, &identifier)) {
            packet_subscription_identifier_add(&out, identifier);
        }
    }
    *bytes = (uint32_t)out.len;
    return out.ptr;
}

static struct message *publish_message(struct client *c, const struct packet_publish *p) {
    const struct properties *properties = &p->properties;
    struct message_parts parts = {.qos = p->qos, .retain = p->retain, .topic = p->topic, .payload = p->payload};
    c->scratch.len = 0;
    if (properties->present != 0 || properties->user_property_count > 0) {
        packet_properties_forward(&c->scratch, properties);
        parts.properties = buf_span(&c->scratch);
        if ((properties->present & PROPERTY_MESSAGE_EXPIRY_INTERVAL) != 0) {
            parts.expires_at = c->time + (wall_ms_t)properties->message_expiry_interval_s * 1000;
        }
    }
    return message_create(&parts);
}

static uint64_t volatile_bytes(const struct volatile_in *v) {
    return message_bytes(v->message) + v->identifiers_bytes;
}

/* Nobody promised anything of QoS 0: what the application does not fetch in time is gone. */
static void publish_volatile(struct client *c, const struct packet_publish *p) {
    struct receiving *r = &c->receiving;
    if (r->volatile_bytes >= c->options.inbox_bytes) {
        return;
    }
    struct volatile_in v = {.message = publish_message(c, p),
                            .after = queue_count(&r->queue) > 0 ? r->last_message : 0,
                            .retain = p->retain};
    v.identifiers = publish_identifiers(p, &v.identifiers_bytes);
    struct volatile_in *slot = fifo_push(&r->volatiles);
    *slot = v;
    r->volatile_bytes += volatile_bytes(&v);
    c->counters.received++;
}

static void publish_note(struct client *c, const struct packet_publish *p, lsn_t lsn) {
    struct receiving *r = &c->receiving;
    if (r->notes.count >= WIRE_NOTES_MAX) {
        return;
    }
    struct wire_note note = {.lsn = lsn, .packet_id = p->packet_id};
    if (r->notes_bytes < WIRE_NOTES_BYTES_MAX) {
        note.identifiers = publish_identifiers(p, &note.identifiers_bytes);
        r->notes_bytes += note.identifiers_bytes;
    }
    struct wire_note *slot = fifo_push(&r->notes);
    *slot = note;
}

void receive_mutant_hold(struct client *c) {
    struct receiving *r = &c->receiving;
    if (r->mutant_apart != 0 && qos_in_holds(&r->held, r->mutant_apart)) {
        struct record held = {.kind = RECORD_HELD, .flow = {r->session, r->mutant_apart}};
        (void)client_stage_in(c, &held);
    }
    r->mutant_apart = 0;
}

/* The message, its packet id and the inbox it is for, in one record (B2). Returns its lsn. */
static lsn_t publish_keep(struct client *c, const struct packet_publish *p) {
    struct receiving *r = &c->receiving;
    struct message *m = publish_message(c, p);
    struct record_target target = {r->session, p->qos, p->retain};
    bool apart = client_mutant(c, MUTANT_B2_ATOMIC);
    struct record record = {.kind = RECORD_MESSAGE,
                            .message = {.origin = r->session,
                                        .packet_id = p->qos == 2 && !apart ? p->packet_id : 0,
                                        .accepted_at = c->time,
                                        .parts = message_parts_of(m),
                                        .targets = &target,
                                        .target_count = 1}};
    lsn_t lsn = client_stage_in(c, &record);
    if (apart && p->qos == 2) {
        receive_mutant_hold(c);
        r->mutant_apart = p->packet_id;
    }
    m->lsn = lsn;
    r->last_message = lsn;
    struct delivery d = {m, lsn, 0, 0, p->qos, p->retain};
    queue_push(&r->queue, &d);
    r->queue_bytes += message_bytes(m);
    c->counters.received++;
    publish_note(c, p, lsn);
    return lsn;
}

static bool publish_is_repeat(const struct client *c, const struct packet_publish *p) {
    if (client_mutant(c, MUTANT_R1)) {
        return p->dup;
    }
    return qos_in_holds(&c->receiving.held, p->packet_id);
}

static void publish_repeat(struct client *c, const struct packet_publish *p) {
    struct receiving *r = &c->receiving;
    c->counters.repeated++;
    if (client_mutant(c, MUTANT_DUP_FORWARD)) {
        (void)publish_keep(c, p);
    }
    if (c->protocol == PROTOCOL_5) {
        (void)qos_in_hold(&r->counted, p->packet_id);
    }
    answer(c, 2, p->packet_id, r->last_lsn);
}

void receive_publish(struct client *c, const struct packet_publish *p) {
    struct receiving *r = &c->receiving;
    if (p->qos == 2 && publish_is_repeat(c, p)) {
        publish_repeat(c, p);
        return;
    }
    if (!publish_allowed(c, p)) {
        return;
    }
    if (p->qos == 0) {
        publish_volatile(c, p);
        return;
    }
    if (client_mutant(c, MUTANT_QUEUE_DROP) && inbox_full(c)) {
        answer_send(c, &(struct withheld){0, p->packet_id, p->qos});
        return;
    }
    if (!publish_fits(c)) {
        return;
    }
    lsn_t lsn = publish_keep(c, p);
    if (p->qos == 2) {
        (void)qos_in_hold(&r->held, p->packet_id);
        if (c->protocol == PROTOCOL_5) {
            (void)qos_in_hold(&r->counted, p->packet_id);
        }
    }
    c->progress = true;
    answer(c, p->qos, p->packet_id, lsn);
}

/* B4: the id is forgotten in the log before PUBCOMP says so. An unknown id is answered too (R6). */
void receive_pubrel(struct client *c, const struct packet_ack *p) {
    struct receiving *r = &c->receiving;
    (void)qos_in_free(&r->counted, p->packet_id);
    if (qos_in_free(&r->held, p->packet_id)) {
        struct record record = {.kind = RECORD_FREED, .flow = {r->session, p->packet_id}};
        lsn_t lsn = client_stage_in(c, &record);
        c->progress = true;
        output_ack(c, PACKET_PUBCOMP, p->packet_id, 0, client_barrier(c, MUTANT_B4, lsn));
        return;
    }
    if (client_mutant(c, MUTANT_R6_PUBREL)) {
        return;
    }
    uint8_t reason = c->protocol == PROTOCOL_5 ? REASON_PACKET_IDENTIFIER_NOT_FOUND : REASON_SUCCESS;
    output_ack(c, PACKET_PUBCOMP, p->packet_id, reason, client_barrier(c, MUTANT_B4, r->last_lsn));
}

/* ---- to the application ---- */

static bool take_volatile(struct client *c, struct client_delivery *d) {
    struct receiving *r = &c->receiving;
    const struct volatile_in *v = fifo_front(&r->volatiles);
    if (v == NULL || (v->after > r->taken && queue_count(&r->queue) > 0)) {
        return false;
    }
    *d = (struct client_delivery){.message = v->message, .retain = v->retain};
    mem_free(c->taken_identifiers);
    c->taken_identifiers = v->identifiers;
    d->subscription_identifiers = span_of(v->identifiers, v->identifiers_bytes);
    r->volatile_bytes -= volatile_bytes(v);
    fifo_pop(&r->volatiles);
    return true;
}

/* What the wire said of it, if that is still known. */
static void take_note(struct client *c, struct client_delivery *d) {
    struct fifo *notes = &c->receiving.notes;
    struct wire_note *note;
    while ((note = fifo_front(notes)) != NULL && note->lsn <= d->sequence) {
        mem_free(c->taken_identifiers);
        c->taken_identifiers = note->identifiers;
        c->receiving.notes_bytes -= note->identifiers_bytes;
        if (note->lsn == d->sequence) {
            d->packet_id = note->packet_id;
            d->subscription_identifiers = span_of(note->identifiers, note->identifiers_bytes);
        }
        fifo_pop(notes);
    }
}

static void delivery_drop(struct client *c, lsn_t lsn) {
    struct record record = {.kind = RECORD_DROPPED, .dropped = {c->receiving.session, lsn, 0}};
    (void)client_stage_in(c, &record);
}

/* B2: not before a crash could no longer take it back. */
static bool take_queued(struct client *c, struct client_delivery *d) {
    struct receiving *r = &c->receiving;
    const struct delivery *front = queue_peek(&r->queue, c->store, r->session, WINDOW_MESSAGES);
    if (front == NULL || client_barrier(c, MUTANT_B2_ONWARD, front->message_lsn) > store_durable(c->store)) {
        return false;
    }
    struct delivery taken = queue_pop(&r->queue);
    size_t bytes = message_bytes(taken.message);
    r->queue_bytes -= bytes;
    r->taken = taken.message_lsn;
    open_set_add(&r->open, taken.message_lsn, (uint32_t)bytes);
    if (client_mutant(c, MUTANT_B6_DONE)) {
        delivery_drop(c, taken.message_lsn);
    }
    *d = (struct client_delivery){.message = taken.message,
                                  .sequence = taken.message_lsn,
                                  .qos = taken.qos,
                                  .retain = taken.retain,
                                  .redelivered = taken.message_lsn <= r->load_end};
    take_note(c, d);
    return true;
}

bool client_take(struct client *c, struct client_delivery *d) {
    if (!take_volatile(c, d) && !take_queued(c, d)) {
        return false;
    }
    wall_ms_t expires_at = d->message->expires_at;
    if (expires_at != 0) {
        wall_ms_t left_s = expires_at > c->time ? (expires_at - c->time + 999) / 1000 : 0;
        d->has_expiry = true;
        d->expiry_s = left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX;
    }
    return true;
}

bool client_done(struct client *c, uint64_t sequence) {
    if (sequence == 0) {
        return true;
    }
    if (!open_set_end(&c->receiving.open, sequence)) {
        return false;
    }
    if (!client_mutant(c, MUTANT_B6_DONE)) {
        delivery_drop(c, sequence);
    }
    answers_flush(c, false);
    return true;
}

int client_resume(struct client *c, uint64_t sequence) {
    struct receiving *r = &c->receiving;
    if (r->taken != 0 || sequence > r->load_end) {
        return QUARTET_INVALID;
    }
    if (client_mutant(c, MUTANT_B6_RESUME)) {
        return QUARTET_OK;
    }
    const struct delivery *front;
    while ((front = queue_peek(&r->queue, c->store, r->session, WINDOW_MESSAGES)) != NULL &&
           front->message_lsn <= sequence) {
        struct delivery d = queue_pop(&r->queue);
        r->queue_bytes -= message_bytes(d.message);
        delivery_drop(c, d.message_lsn);
        message_unref(d.message);
    }
    return QUARTET_OK;
}

/* ---- connections ---- */

/* R3: packet ids live as long as their session. Recorded before the broker can use them anew. */
static void held_forget(struct client *c) {
    struct receiving *r = &c->receiving;
    for (packet_id_t id; (id = qos_in_next(&r->held, 1)) != 0;) {
        (void)qos_in_free(&r->held, id);
        struct record record = {.kind = RECORD_FREED, .flow = {r->session, id}};
        (void)client_stage_in(c, &record);
    }
}

void receive_connected(struct client *c, bool session_gone) {
    if (session_gone && !client_mutant(c, MUTANT_R3)) {
        held_forget(c);
    }
}

void receive_disconnected(struct client *c) {
    struct receiving *r = &c->receiving;
    qos_in_deinit(&r->counted);
    qos_in_deinit(&r->owed);
    fifo_deinit(&r->withheld);
    r->withheld_qos1 = 0;
    qos_in_shrink(&r->held);
}

void receive_deinit(struct client *c) {
    struct receiving *r = &c->receiving;
    for (struct volatile_in *v; (v = fifo_front(&r->volatiles)) != NULL; fifo_pop(&r->volatiles)) {
        message_unref(v->message);
        mem_free(v->identifiers);
    }
    for (struct wire_note *n; (n = fifo_front(&r->notes)) != NULL; fifo_pop(&r->notes)) {
        mem_free(n->identifiers);
    }
    mem_free(c->taken_identifiers);
    fifo_deinit(&r->volatiles);
    fifo_deinit(&r->notes);
    fifo_deinit(&r->withheld);
    queue_deinit(&r->queue);
    open_set_deinit(&r->open);
    qos_in_deinit(&r->held);
    qos_in_deinit(&r->counted);
    qos_in_deinit(&r->owed);
}
