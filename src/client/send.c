/* The way out: publications into the queue, flows with the broker, and what becomes of them when it has forgotten the
 * session.
 *
 * The decision about lost flows, record by record. SESSION{out, disconnected_at} is staged when CONNACK says that the
 * session is gone; from then on flows are held, also after a crash and whatever a later CONNACK says. RESEND: the same
 * record with 0, then the flows go out under the ids that SENT gave them: to the broker they are new. DROP: DONE of
 * each flow, then the record with 0; a crash between them leaves fewer flows and the same question. Flows that were
 * released have ended: the broker had the message. */
#include "client/state.h"
#include "topic/topic.h"

enum {
    PUBLISH_BYTES_MAX = 268435455,
    MUTANT_RESEND_MS = 1000,
    CLEAR_IDS_MAX = 1024, /* PUBREL packets at once */
};

/* ---- publications ---- */

static int publish_invalid(struct error *text, const char *what) {
    (void)error_set(text, ERROR_INVALID, 0, "%s", what);
    return QUARTET_INVALID;
}

static int publish_check(const struct client *c, const struct quartet_publication *p, struct error *text) {
    if (p->topic == NULL || !client_text_valid(p->topic) || !topic_name_valid(span_str(p->topic))) {
        return publish_invalid(text, "topic is no topic name: 1 to 65,535 bytes of UTF-8 without wildcards");
    }
    if (p->qos < 0 || p->qos > 2) {
        return publish_invalid(text, "qos is neither 0, 1 nor 2");
    }
    if (p->payload_bytes > 0 && p->payload == NULL) {
        return publish_invalid(text, "payload is NULL but payload_bytes is not 0");
    }
    if (!client_properties_check(&p->properties, text)) {
        return QUARTET_INVALID;
    }
    if (strlen(p->topic) + c->scratch.len + p->payload_bytes > PUBLISH_BYTES_MAX - 64) {
        return publish_invalid(text, "the message is larger than a packet of MQTT can be");
    }
    return QUARTET_OK;
}

static uint64_t sending_bytes(const struct sending *s) {
    return s->queue_bytes + s->open.bytes + s->volatile_bytes;
}

static int publish_room(const struct client *c, size_t bytes, struct error *text) {
    uint64_t used = sending_bytes(&c->sending);
    if (used > 0 && used + bytes > c->options.outbox_bytes) {
        (void)error_set(text, ERROR_NO_SPACE, 0, "the outbox holds %llu bytes; outbox_bytes is %llu",
                        (unsigned long long)used, (unsigned long long)c->options.outbox_bytes);
        return QUARTET_FULL;
    }
    if (store_pressure(c->store) == STORE_FULL) {
        (void)error_set(text, ERROR_NO_SPACE, 0, "the store has no room for more messages");
        return QUARTET_STORE_FULL;
    }
    return QUARTET_OK;
}

/* A message of QoS 0 needs no record. */
static int publish_fits(const struct client *c, const struct quartet_publication *p, struct error *text) {
    struct record record = {.kind = RECORD_MESSAGE,
                            .message = {.parts = {.topic = span_str(p->topic),
                                                  .properties = buf_span(&c->scratch),
                                                  .payload = span_of(p->payload, p->payload_bytes)},
                                        .target_count = 1}};
    return p->qos == 0 || store_takes(c->store, &record)
               ? QUARTET_OK
               : publish_invalid(text, "the message is larger than a file of the store's journal");
}

static int publish_state(const struct client *c, struct error *text) {
    if (store_failed(c->store)) {
        (void)error_set(text, ERROR_IO, 0, "%s", c->store->error.text);
        return QUARTET_STORE_FAILED;
    }
    return QUARTET_OK;
}

static wall_ms_t publish_expires_at(const struct client *c, const struct quartet_properties *p) {
    return p->has_expiry ? c->time + (wall_ms_t)p->expiry_s * 1000 : 0;
}

static bool send_may(const struct client *c) {
    return c->phase == PHASE_LIVE && outbox_bytes(&c->out) <= OUTBOX_PUMP_BYTES;
}

/* Takes the message's reference. */
static void publish_queue(struct client *c, struct message *m, const struct quartet_publication *p) {
    struct sending *s = &c->sending;
    struct record_target target = {s->session, (uint8_t)p->qos, p->retain};
    struct record record = {.kind = RECORD_MESSAGE,
                            .message = {.origin = s->session,
                                        .sequence = client_mutant(c, MUTANT_SEQUENCE) ? 0 : p->sequence,
                                        .accepted_at = c->time,
                                        .parts = message_parts_of(m),
                                        .targets = &target,
                                        .target_count = 1}};
    m->lsn = client_stage_out(c, &record);
    s->last_message = m->lsn;
    struct delivery d = {m, m->lsn, 0, 0, (uint8_t)p->qos, p->retain};
    queue_push(&s->queue, &d);
    s->queue_bytes += message_bytes(m);
}

static void publish_volatile(struct client *c, struct message *m, bool retain) {
    struct volatile_out *v = fifo_push(&c->sending.volatiles);
    *v = (struct volatile_out){m, retain};
    c->sending.volatile_bytes += message_bytes(m);
    c->sending.volatile_taken++;
}

/* A sequence that was taken before: the id is that of the message to wait for, while it is not on disk. */
static bool publish_repeats(const struct client *c, const struct quartet_publication *p, uint64_t *id) {
    if (p->sequence == 0 || p->sequence > c->sending.last_sequence) {
        return false;
    }
    *id = store_durable(c->store) < c->sending.last_sequence_lsn ? c->sending.last_sequence_lsn : 0;
    return true;
}

static struct message *publish_message(struct client *c, const struct quartet_publication *p) {
    struct message_parts parts = {.qos = (uint8_t)p->qos,
                                  .retain = p->retain,
                                  .expires_at = publish_expires_at(c, &p->properties),
                                  .topic = span_str(p->topic),
                                  .properties = buf_span(&c->scratch),
                                  .payload = span_of(p->payload, p->payload_bytes)};
    return message_create(&parts);
}

int client_publish(struct client *c, const struct quartet_publication *p, uint64_t *id, struct error *text) {
    *id = 0;
    c->scratch.len = 0;
    int error = publish_state(c, text);
    error = error != QUARTET_OK ? error : publish_check(c, p, text);
    if (error != QUARTET_OK || publish_repeats(c, p, id)) {
        return error;
    }
    client_properties_encode(&c->scratch, &p->properties);
    error = publish_fits(c, p, text);
    error = error != QUARTET_OK
                ? error
                : publish_room(c, sizeof(struct message) + strlen(p->topic) + c->scratch.len + p->payload_bytes, text);
    if (error != QUARTET_OK) {
        return error;
    }
    struct message *m = publish_message(c, p);
    if (p->qos == 0) {
        publish_volatile(c, m, p->retain);
    } else {
        publish_queue(c, m, p);
        *id = m->lsn;
    }
    if (p->sequence != 0) {
        c->sending.last_sequence = p->sequence;
        c->sending.last_sequence_lsn = *id != 0 ? *id : c->sending.last_sequence_lsn;
    }
    send_pump(c);
    return QUARTET_OK;
}

bool client_publish_stored(const struct client *c, uint64_t id) {
    return client_barrier(c, MUTANT_B0, id) <= store_durable(c->store);
}

uint64_t client_last_sequence(const struct client *c) {
    return c->sending.last_sequence;
}

/* ---- what is open ---- */

static lsn_t queue_first(struct client *c) {
    struct sending *s = &c->sending;
    const struct delivery *d = queue_peek(&s->queue, c->store, s->session, WINDOW_MESSAGES);
    return d != NULL ? d->message_lsn : UINT64_MAX;
}

uint64_t client_oldest(struct client *c) {
    uint64_t open = open_set_first(&c->sending.open);
    return open != UINT64_MAX ? open : queue_first(c);
}

bool client_pending(struct client *c, uint64_t id) {
    return open_set_has(&c->sending.open, id) || (id <= c->sending.last_message && id >= queue_first(c));
}

uint64_t client_volatile_taken(const struct client *c) {
    return c->sending.volatile_taken;
}

uint64_t client_volatile_left(const struct client *c) {
    return c->sending.volatile_left;
}

/* ---- QoS 0 ---- */

static void volatile_mark(struct client *c) {
    struct sending *s = &c->sending;
    if (!s->marked && s->volatile_left < s->volatile_sent) {
        s->marked = true;
        s->mark_position = c->out.stream_end;
        s->mark_sent = s->volatile_sent;
    }
}

void send_left(struct client *c) {
    struct sending *s = &c->sending;
    while (s->marked && c->out.stream_begin >= s->mark_position) {
        s->volatile_left = s->mark_sent;
        s->marked = false;
        volatile_mark(c);
    }
}

static bool message_expired(const struct client *c, const struct message *m) {
    return m->expires_at != 0 && m->expires_at <= c->time;
}

static void volatile_pump(struct client *c) {
    struct sending *s = &c->sending;
    struct volatile_out *front;
    while (send_may(c) && (front = fifo_front(&s->volatiles)) != NULL) {
        struct volatile_out v = *front;
        fifo_pop(&s->volatiles);
        s->volatile_bytes -= message_bytes(v.message);
        s->volatile_sent++;
        if (!message_expired(c, v.message) && output_refuses(c, v.message, 0, v.retain) == 0) {
            struct publish_fields fields = {.retain = v.retain};
            output_publish(c, v.message, &fields, 0);
        }
        message_unref(v.message);
    }
    volatile_mark(c);
}

/* ---- flows ---- */

/* The flow is over, for better or worse (B5). */
static void flow_end(struct client *c, struct flight *f, int error, uint8_t reason, const char *text) {
    struct sending *s = &c->sending;
    lsn_t id = f->message_lsn;
    if (!client_mutant(c, MUTANT_B5)) {
        struct record record = {.kind = RECORD_DONE, .flow = {s->session, f->packet_id}};
        (void)client_stage_out(c, &record);
    }
    (void)open_set_end(&s->open, id);
    qos_out_end(&s->flows, f);
    c->progress = true;
    if (error == QUARTET_OK && reason < REASON_UNSPECIFIED_ERROR) {
        c->counters.published++;
    }
    event_published(c, id, error, reason, text);
}

static void flow_send(struct client *c, struct flight *f, lsn_t sent) {
    uint8_t refused = output_refuses(c, f->message, f->qos, f->retain);
    if (refused != 0) {
        flow_end(c, f, QUARTET_REFUSED, refused, "the broker does not take such messages");
        return;
    }
    struct publish_fields fields = {
        .packet_id = f->packet_id, .qos = f->qos, .dup = f->sent_before, .retain = f->retain};
    output_publish(c, f->message, &fields, client_barrier(c, MUTANT_B1, sent));
    connect_ask(c, f->packet_id);
}

/* ---- a session of somebody before us ---- */

static void foreign_set(struct sending *s, bool foreign) {
    s->foreign = foreign;
    if (!foreign) {
        qos_in_deinit(&s->cleared);
        qos_in_deinit(&s->clearing);
        s->clear_count = 0;
    }
}

/* From this id on, twice as many each time: whoever sends one message asks about one id. */
static void ids_clear(struct client *c, packet_id_t id) {
    struct sending *s = &c->sending;
    s->clear_count = s->clear_count == 0 ? 1 : s->clear_count < CLEAR_IDS_MAX ? s->clear_count * 2 : CLEAR_IDS_MAX;
    for (uint32_t i = 0; i < s->clear_count && !qos_in_holds(&s->cleared, id); i++) {
        if (!qos_in_hold(&s->clearing, id)) {
            break; /* all around */
        }
        output_ack(c, PACKET_PUBREL, id, 0, 0);
        id = qos_out_next_id(&s->flows, id);
    }
}

/* A broker that has a session which we know nothing of may hold ids since then, and would take a new message for a
 * repeat. PUBREL frees an id, and is answered also when it was not held. No flow begins before that answer: a PUBREL
 * that is sent again beside a PUBLISH that is would let the message in twice. */
static bool next_id_is_clear(struct client *c) {
    struct sending *s = &c->sending;
    if (!s->foreign || c->allowed.maximum_qos < 2) { /* who takes no QoS 2 holds no ids */
        return true;
    }
    packet_id_t id = qos_out_next_id(&s->flows, s->flows.last_id);
    if (qos_in_holds(&s->cleared, id)) {
        return true;
    }
    if (s->clearing.count == 0) {
        ids_clear(c, id);
    }
    return false;
}

/* PUBCOMP for an id that no flow of ours has. False when nobody asked for it. */
static bool id_cleared(struct client *c, packet_id_t packet_id) {
    struct sending *s = &c->sending;
    if (!qos_in_free(&s->clearing, packet_id)) {
        return false;
    }
    (void)qos_in_hold(&s->cleared, packet_id);
    c->progress = true;
    if (s->cleared.count == s->flows.ids_max) {
        foreign_set(s, false);
        (void)client_record_out(c);
    }
    return true;
}

/* ---- flows begin, and go on ---- */

/* A queued message gets its packet id (B1). Takes the delivery's reference. */
static void flow_begin(struct client *c, struct delivery *d) {
    struct sending *s = &c->sending;
    struct flight_parts parts = {d->message, d->message_lsn, d->target, d->qos, d->retain, 0};
    struct flight *f = qos_out_begin(&s->flows, &parts);
    struct record record = {.kind = RECORD_SENT, .sent = {s->session, f->packet_id, f->message_lsn, f->target}};
    lsn_t sent = client_stage_out(c, &record);
    open_set_add(&s->open, d->message_lsn, (uint32_t)message_bytes(d->message));
    flow_send(c, f, sent);
}

/* A message leaves the queue without a flow: told, and recorded so that it does not come back. */
static void queue_drop(struct client *c, struct delivery *d, int error, uint8_t reason, const char *text) {
    struct record record = {.kind = RECORD_DROPPED, .dropped = {c->sending.session, d->message_lsn, d->target}};
    (void)client_stage_out(c, &record);
    event_published(c, d->message_lsn, error, reason, text);
    message_unref(d->message);
}

static void queue_pump(struct client *c) {
    struct sending *s = &c->sending;
    while (send_may(c) && qos_out_ready(&s->flows) &&
           queue_peek(&s->queue, c->store, s->session, WINDOW_MESSAGES) != NULL && next_id_is_clear(c)) {
        struct delivery d = queue_pop(&s->queue);
        s->queue_bytes -= message_bytes(d.message);
        uint8_t refused = output_refuses(c, d.message, d.qos, d.retain);
        if (message_expired(c, d.message)) {
            queue_drop(c, &d, QUARTET_TIMEOUT, REASON_UNSPECIFIED_ERROR, "the message expired before it was sent");
        } else if (refused != 0) {
            queue_drop(c, &d, QUARTET_REFUSED, refused, "the broker does not take such messages");
        } else {
            flow_begin(c, &d);
        }
    }
}

/* False: the store has failed. */
static bool flows_resend(struct client *c) {
    struct sending *s = &c->sending;
    while (send_may(c) && qos_out_must_resend(&s->flows)) {
        struct flight *f = qos_out_resend_next(&s->flows);
        if (f->message == NULL) {
            qos_out_body(&s->flows, f, store_message(c->store, f->message_lsn));
            if (f->message == NULL) {
                return false;
            }
        }
        if (s->fresh) {
            f->sent_before = false;
        }
        flow_send(c, f, s->last_lsn);
    }
    return true;
}

void send_pump(struct client *c) {
    struct sending *s = &c->sending;
    if (c->phase != PHASE_LIVE) {
        return;
    }
    if (s->volatiles.count > 0) {
        volatile_pump(c);
    }
    if (!s->lost && !c->receiving.full && (s->flows.resend_count == 0 || flows_resend(c))) {
        queue_pump(c);
    }
}

/* ---- acknowledgements ---- */

static enum qos_out_answer ack_ask(struct qos_out *out, enum packet_type type, const struct packet_ack *p,
                                   struct flight **f) {
    if (type == PACKET_PUBACK) {
        return qos_out_puback(out, p->packet_id, f);
    }
    if (type == PACKET_PUBREC) {
        return qos_out_pubrec(out, p->packet_id, p->reason, f);
    }
    return qos_out_pubcomp(out, p->packet_id, f);
}

/* B3: PUBREL leaves when "PUBREC seen" is durable. */
static void ack_released(struct client *c, packet_id_t packet_id) {
    struct record record = {.kind = RECORD_RECEIVED, .flow = {c->sending.session, packet_id}};
    lsn_t lsn = client_stage_out(c, &record);
    c->progress = true;
    output_ack(c, PACKET_PUBREL, packet_id, 0, client_barrier(c, MUTANT_B3, lsn));
}

/* Of PUBCOMP only the fact counts: "not found" ends the flow as well. */
static uint8_t ack_reason(enum packet_type type, const struct packet_ack *p) {
    return type == PACKET_PUBCOMP ? 0 : p->reason;
}

void send_ack(struct client *c, enum packet_type type, const struct packet_ack *p) {
    struct sending *s = &c->sending;
    struct flight *f = NULL;
    if (type != PACKET_PUBCOMP) {
        connect_seen(c, p->packet_id);
    }
    uint8_t unknown = c->protocol == PROTOCOL_5 ? REASON_PACKET_IDENTIFIER_NOT_FOUND : REASON_SUCCESS;
    if (s->lost || (type == PACKET_PUBCOMP && id_cleared(c, p->packet_id))) {
        return; /* of what was lost the session has no flows */
    }
    switch (ack_ask(&s->flows, type, p, &f)) {
    case QOS_OUT_IGNORED:
        break;
    case QOS_OUT_DONE:
        flow_end(c, f, QUARTET_OK, ack_reason(type, p), "");
        break;
    case QOS_OUT_RELEASED:
        ack_released(c, p->packet_id);
        break;
    case QOS_OUT_AGAIN:
        output_ack(c, PACKET_PUBREL, p->packet_id, 0, client_barrier(c, MUTANT_B3, s->last_lsn));
        break;
    case QOS_OUT_UNKNOWN:
        output_ack(c, PACKET_PUBREL, p->packet_id, unknown, s->last_lsn);
        break;
    case QOS_OUT_WRONG:
        client_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-4.13.1-1",
                                          "an acknowledgement of the wrong kind for a message in flight"});
        break;
    }
}

/* ---- a connection, and whether the session is there ---- */

static void pubrels_resend(struct client *c) {
    struct sending *s = &c->sending;
    if (client_mutant(c, MUTANT_REL_RESEND)) {
        return;
    }
    for (struct link *l = s->flows.released.next; l != &s->flows.released; l = l->next) {
        const struct flight *f = container_of(l, struct flight, link);
        output_ack(c, PACKET_PUBREL, f->packet_id, 0, client_barrier(c, MUTANT_B3, s->last_lsn));
    }
}

static void released_end(struct client *c) {
    struct link *head = &c->sending.flows.released;
    while (!list_empty(head)) {
        flow_end(c, container_of(head->next, struct flight, link), QUARTET_OK, 0, "");
    }
}

static uint64_t published_count(const struct client *c, int qos) {
    uint64_t count = 0;
    const struct link *head = &c->sending.flows.published;
    for (struct link *l = head->next; l != head; l = l->next) {
        count += container_of(l, struct flight, link)->qos >= qos;
    }
    return count;
}

/* What becomes of flows when nobody has decided: QoS 1 alone may always come twice; and a session that the application
 * asked to end was not lost. */
static enum quartet_lost_policy lost_policy(const struct client *c) {
    const struct quartet_options *o = &c->options;
    bool own_will = (c->clean && !c->distrusts) || o->end_session;
    if (o->session_lost == QUARTET_LOST_HOLD && (own_will || published_count(c, 2) == 0)) {
        return QUARTET_LOST_RESEND;
    }
    return o->session_lost;
}

/* The mark comes before all else that is recorded of the loss. */
static void lost_set(struct client *c, bool lost) {
    if (c->sending.lost != lost) {
        c->sending.lost = lost;
        c->sending.lost_told = false;
        (void)client_record_out(c);
    }
}

static void lost_drop(struct client *c) {
    struct link *head = &c->sending.flows.published;
    while (!list_empty(head)) {
        flow_end(c, container_of(head->next, struct flight, link), QUARTET_SESSION_LOST, REASON_UNSPECIFIED_ERROR,
                 "the broker forgot the session");
    }
    lost_set(c, false);
}

static void lost_resend(struct client *c) {
    lost_set(c, false);
    c->sending.fresh = true;
}

static void lost_tell(struct client *c) {
    if (!c->sending.lost_told) {
        c->sending.lost_told = true;
        struct quartet_event event = {
            .kind = QUARTET_EVENT_SESSION_LOST, .error = QUARTET_SESSION_LOST, .count = published_count(c, 1)};
        event_push(c, &event, "", 0);
    }
}

static void send_lost(struct client *c) {
    enum quartet_lost_policy policy = lost_policy(c);
    if (list_empty(&c->sending.flows.published)) {
        policy = QUARTET_LOST_RESEND;
    }
    lost_set(c, policy != QUARTET_LOST_RESEND);
    released_end(c);
    if (policy == QUARTET_LOST_RESEND) {
        lost_resend(c);
    } else if (policy == QUARTET_LOST_DROP) {
        lost_drop(c);
    } else {
        lost_tell(c);
    }
}

void send_connected(struct client *c, bool session_gone) {
    struct sending *s = &c->sending;
    bool strange = !c->session_known && c->session_present;
    foreign_set(s, (s->foreign && !session_gone) || strange);
    if (strange) {
        (void)client_record_out(c); /* before the record that makes it known */
    }
    if ((session_gone && !client_mutant(c, MUTANT_LOST)) || s->lost) {
        send_lost(c);
    }
    qos_out_connected(&s->flows, c->allowed.receive_maximum);
    pubrels_resend(c);
}

int client_session_lost(struct client *c, enum quartet_lost_policy decision) {
    struct sending *s = &c->sending;
    if (!s->lost || (decision != QUARTET_LOST_RESEND && decision != QUARTET_LOST_DROP)) {
        return QUARTET_INVALID;
    }
    if (decision == QUARTET_LOST_RESEND) {
        lost_resend(c);
    } else {
        lost_drop(c);
    }
    if (c->phase == PHASE_LIVE) {
        qos_out_connected(&s->flows, c->allowed.receive_maximum);
        send_pump(c);
    }
    return QUARTET_OK;
}

void send_disconnected(struct client *c, bool was_live) {
    struct sending *s = &c->sending;
    s->fresh = s->fresh && !was_live;
    s->marked = false;
    s->volatile_left = s->volatile_sent;
    qos_in_deinit(&s->clearing);
    s->clear_count = 0;
}

void send_mutant_resend(struct client *c) {
    struct sending *s = &c->sending;
    if (c->now - c->mutant_resent_at >= MUTANT_RESEND_MS && s->flows.count > 0) {
        c->mutant_resent_at = c->now;
        qos_out_connected(&s->flows, s->flows.quota_max);
        pubrels_resend(c);
        send_pump(c);
    }
}

void send_deinit(struct client *c) {
    struct sending *s = &c->sending;
    for (struct volatile_out *v; (v = fifo_front(&s->volatiles)) != NULL; fifo_pop(&s->volatiles)) {
        message_unref(v->message);
    }
    fifo_deinit(&s->volatiles);
    foreign_set(s, false);
    queue_deinit(&s->queue);
    qos_out_deinit(&s->flows);
    open_set_deinit(&s->open);
}
