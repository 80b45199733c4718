#include "broker/route.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"
#include "broker/deep.h"
#include "broker/inlet.h"
#include "broker/overfull.h"
#include "broker/own.h"
#include "broker/post.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/strain.h"
#include "broker/will.h"

/* One subscription that takes the message. */
struct route_target {
    struct inlet *inlet;
    uint32_t target; /* index among the durable targets of the record */
    uint8_t qos;
    bool retain;
};

/* What routing one message needs to know on its way. */
struct route {
    struct shard *shard;
    const struct route_request *request;
    size_t count; /* targets */
    uint32_t durable_count;
    size_t bytes; /* what the message costs a queue */
    bool set_retained;
    bool refused;     /* a queue is full, or its owner has its part of a store that nearly is */
    bool said;        /* and the log has it, or will */
    bool waits;       /* and it will not be for long */
    bool past;        /* it has gone past the limits of a queue */
    bool many;        /* more have subscribed than one publish may reach at QoS 1 and 2 */
    const char *what; /* is over a limit, when refused, */
    const char *why;  /* and how */
};

enum { SCRATCH_KEPT = 2048 }; /* matches and targets for which there is always room */

static void targets_reserve(struct shard *shard, size_t count) {
    if (count > shard->targets_capacity) {
        shard->targets_capacity = count * 2;
        shard->targets = mem_resize(shard->targets, shard->targets_capacity * sizeof *shard->targets);
        shard->record_targets =
            mem_resize(shard->record_targets, shard->targets_capacity * sizeof *shard->record_targets);
    }
}

void route_rest(struct shard *shard) {
    if (shard->matches.capacity > SCRATCH_KEPT) {
        topic_matches_deinit(&shard->matches);
    }
    if (shard->targets_capacity > SCRATCH_KEPT) {
        mem_free(shard->targets);
        mem_free(shard->record_targets);
        shard->targets = NULL;
        shard->record_targets = NULL;
        shard->targets_capacity = 0;
    }
}

static size_t parts_bytes(const struct message_parts *p) {
    return sizeof(struct message) + p->topic.len + p->properties.len + p->payload.len;
}

static void route_unreserve(struct route *r) {
    for (size_t i = 0; i < r->count; i++) {
        if (r->shard->targets[i].qos > 0) {
            inlet_release(r->shard, r->shard->targets[i].inlet, r->bytes);
        }
    }
}

/* A queue has no room: its owner is told, and the publisher waits where that may help. */
static void route_overfull(struct route *r, struct inlet *inlet, const char *why) {
    if (broker_mutant(r->shard, MUTANT_QUEUE_DROP)) {
        return;
    }
    r->refused = true;
    r->said = true;
    r->what = "a queue";
    r->why = why;
    r->waits = overfull_ask(r->shard, inlet, r->bytes, r->request->waits) || r->waits;
}

/* Room past the limits of a full queue: for a will, and for who is another owner than its client. That one is told of
 * it all the same. */
static bool route_past(struct route *r, struct inlet *inlet) {
    const struct route_request *request = r->request;
    if (request->is_will) {
        return inlet_reserve(r->shard, inlet, r->bytes, INLET_WILLS) == NULL;
    }
    if (!overfull_lets_past(r->shard, inlet, request->origin->owner) ||
        inlet_reserve(r->shard, inlet, r->bytes, INLET_OTHERS) != NULL) {
        return false;
    }
    r->past = true;
    (void)overfull_ask(r->shard, inlet, r->bytes, NULL);
    return true;
}

/* Whether it is the origin's client that subscribes [MQTT-3.8.3-3]: a will may come from a session that is not the
 * client's any more, or from the keeper of it. */
static bool route_is_local(const struct route *r, const struct inlet *inlet) {
    const struct session *origin = r->request->origin;
    if (inlet->session_id == origin->id || !r->request->is_will) {
        return inlet->session_id == origin->id;
    }
    return inlet->shard == r->shard->index && inlet->session != NULL &&
           span_equal(inlet->session->client_id, will_client(origin->client_id));
}

/* A store that is nearly full is kept for those who have little in it: who has more is refused, and loses nothing. What
 * was reserved is given back then. A will waits for nobody's queue. */
static bool route_has_part(struct route *r, struct inlet *inlet) {
    if (!inlet->durable || r->request->is_will || inlet_has_part(r->shard, inlet)) {
        return true;
    }
    inlet_release(r->shard, inlet, r->bytes);
    r->refused = true;
    if (r->what == NULL) {
        r->what = "the store";
        r->why = "is nearly full, and its queue's address has more than its part of it";
    }
    return false;
}

/* Decides what one subscription gets; reserves it. */
static void route_plan(struct route *r, const struct topic_match *match) {
    struct shard *shard = r->shard;
    struct inlet *inlet = match->subscriber;
    const struct message_parts *parts = &r->request->parts;
    uint8_t qos = (uint8_t)(match->options & SUBSCRIPTION_QOS);
    qos = qos < parts->qos ? qos : parts->qos;
    if ((match->options & SUBSCRIPTION_NO_LOCAL) != 0 && route_is_local(r, inlet)) {
        return;
    }
    if (parts->qos > 0 && atomic_load_explicit(&inlet->ended, memory_order_acquire)) {
        return; /* at QoS 0 nobody is told whether it matched, and nothing arrives there */
    }
    const char *why = qos > 0 ? inlet_reserve(shard, inlet, r->bytes, INLET_LIMITS) : NULL;
    if (why != NULL && !route_past(r, inlet)) {
        route_overfull(r, inlet, why);
        return;
    }
    if (__builtin_expect(shard->store_part != UINT64_MAX, 0) && qos > 0 && !route_has_part(r, inlet)) {
        return;
    }
    struct route_target *t = &shard->targets[r->count++];
    t->inlet = inlet;
    t->qos = qos;
    t->retain = parts->retain && (match->options & SUBSCRIPTION_RETAIN_AS_PUBLISHED) != 0;
    t->target = 0;
    if (qos > 0 && inlet->durable) {
        shard->record_targets[r->durable_count] = (struct record_target){inlet->session_id, qos, t->retain};
        t->target = broker_mutant(shard, MUTANT_R9) ? 0 : r->durable_count;
        r->durable_count++;
    }
}

/* One record holds all who get the message, and one turn stages it: how many these are is bounded. At QoS 0 there is no
 * record, and what does not fit into the turn waits for the next: nothing is counted. */
static bool route_is_many(struct route *r) {
    const struct topic_matches *matches = &r->shard->matches;
    const uint64_t most = r->shard->broker->options.matches_max;
    uint64_t count = 0;
    if (most == 0 || matches->count <= most || r->request->parts.qos == 0) {
        return false;
    }
    for (size_t i = 0; i < matches->count; i++) {
        count += (matches->items[i].options & SUBSCRIPTION_QOS) != 0;
    }
    return !quota_allows(r->request->origin->owner, QUOTA_MATCHES, count);
}

/* All subscriptions, also behind one that is over a limit: all who are in the way hear of it at once. */
static void route_plan_all(struct route *r) {
    struct shard *shard = r->shard;
    topic_trie_match(shard->broker->trie, r->request->parts.topic, &shard->matches);
    if (route_is_many(r)) {
        r->many = true;
        r->refused = true;
        r->what = "the message";
        r->why = "matches more subscriptions than max_matches allows";
        return;
    }
    targets_reserve(shard, shard->matches.count);
    for (size_t i = 0; i < shard->matches.count; i++) {
        route_plan(r, &shard->matches.items[i]);
    }
}

/* Whether the topic's retained message changes; the broker's lock is held. */
static bool route_sets_retained(const struct route *r) {
    const struct message_parts *parts = &r->request->parts;
    return parts->retain &&
           (parts->payload.len > 0 || topic_retained_get(r->shard->broker->retained, parts->topic) != NULL);
}

static bool route_needs_message(const struct route *r) {
    return r->durable_count > 0 || r->set_retained || (r->request->is_will && will_origin(r->request->origin) != 0);
}

/* EMQX's CVE as a mutant: the id is recorded in a later turn than the message. */
static void mutant_hold_later(struct shard *shard, session_id_t session, packet_id_t packet_id) {
    shard->mutant_held = mem_resize(shard->mutant_held, (shard->mutant_held_count + 1) * sizeof *shard->mutant_held);
    shard->mutant_held[shard->mutant_held_count++] = (struct record_flow){session, packet_id};
}

/* The one record (B2); false when nothing must outlive a crash. */
static bool route_record(const struct route *r, struct record *record) {
    const struct session *origin = r->request->origin;
    const struct shard *shard = r->shard;
    packet_id_t hold_id = origin->durable ? r->request->hold_id : 0;
    session_id_t will_of = r->request->is_will ? will_origin(origin) : 0;
    if (!route_needs_message(r)) {
        record->kind = RECORD_HELD;
        record->flow = (struct record_flow){origin->id, hold_id};
        return hold_id != 0;
    }
    record->kind = RECORD_MESSAGE;
    record->message =
        (struct record_message){.origin = origin->durable ? origin->id : will_of,
                                .packet_id = hold_id,
                                .set_retained = r->set_retained && !broker_mutant(shard, MUTANT_B10_RETAINED),
                                .clear_will = will_of != 0,
                                .accepted_at = shard->wall,
                                .parts = r->request->parts,
                                .targets = shard->record_targets,
                                .target_count = r->durable_count};
    return true;
}

static lsn_t route_stage(const struct route *r, struct record *record) {
    struct session *origin = r->request->origin;
    if (record->kind == RECORD_HELD) {
        return session_stage(origin, record);
    }
    if (record->message.packet_id != 0 && broker_mutant(r->shard, MUTANT_B2_ATOMIC)) {
        mutant_hold_later(r->shard, origin->id, record->message.packet_id);
        record->message.packet_id = 0;
    }
    origin->last_lsn = store_stage(r->shard->broker->store, record);
    return origin->last_lsn;
}

/* A retained message is cleared: that is how a full store gets room. */
static bool route_makes_room(const struct route *r) {
    return r->set_retained && r->request->parts.payload.len == 0;
}

/* The broker's lock is held. */
static void route_retain(struct route *r, struct message *m) {
    struct broker *broker = r->shard->broker;
    struct message *value = m->payload_bytes > 0 ? message_ref(m) : NULL;
    if (value == NULL) {
        broker->cleared_lsn = m->lsn;
    } else {
        broker->retained_lsn = m->lsn;
    }
    retained_set(broker, message_topic(m), value);
}

/* ---- mail ---- */

void route_mail(struct shard *shard, struct mail *mail) {
    struct session *session = map64_get(&shard->by_id, mail->session_id);
    if (mail->kind == MAIL_OVERFULL) {
        overfull_heard(shard, mail->session_id, mail->target);
        return;
    }
    if (session == NULL) {
        message_unref(mail->message);
        return;
    }
    shard->many = mail->many;
    shard->shared = mail->shared;
    session_deliver(session, mail->message, mail->qos, mail->retain, mail->target);
    shard->many = shard->shared = false;
}

/* ---- the way of a message ---- */

enum {
    AHEAD_INLET = 12, /* targets: so far ahead each of them is fetched, a pointer further at each step */
    AHEAD_SESSION = 9,
    AHEAD_CONNECTION = 6,
    AHEAD_BYTES = 3,
    CACHE_LINE = 64,
    SHARED_TARGETS = 3, /* for so few nothing is prepared, and they do not wait for the table */
    MANY_TARGETS = 64,  /* beyond so many they have time: see own.h and connection_mark_dirty() */
};

static const struct session *target_session(const struct route *r, size_t i) {
    const struct inlet *inlet = i < r->count ? r->shard->targets[i].inlet : NULL;
    return inlet != NULL && inlet->shard == r->shard->index ? inlet->session : NULL;
}

static const struct connection *target_connection(const struct route *r, size_t i) {
    const struct session *session = target_session(r, i);
    return session != NULL ? session->connection : NULL;
}

/* A fan-out waits for memory more than for anything else: what the next targets need is fetched meanwhile. */
static void route_fetch(const struct route *r, size_t i) {
    const struct connection *c = target_connection(r, i + AHEAD_CONNECTION);
    const struct connection *near = target_connection(r, i + AHEAD_BYTES);
    if (i + AHEAD_INLET < r->count) {
        __builtin_prefetch(r->shard->targets[i + AHEAD_INLET].inlet);
    }
    __builtin_prefetch(target_session(r, i + AHEAD_SESSION));
    for (unsigned at = 0; c != NULL && at < CONNECTION_HOT_BYTES; at += CACHE_LINE) {
        __builtin_prefetch((const char *)c + at, 1);
    }
    if (near != NULL && near->out.bytes.ptr != NULL) {
        __builtin_prefetch(near->out.bytes.ptr + near->out.bytes.len, 1);
    }
}

static struct mail route_mail_of(const struct shard *shard, const struct route_target *t, struct message *m) {
    return (struct mail){.session_id = t->inlet->session_id,
                         .message = message_ref(m),
                         .target = t->target,
                         .qos = t->qos,
                         .retain = t->retain,
                         .kind = MAIL_DELIVERY,
                         .many = shard->many,
                         .shared = shard->shared};
}

/* To look at a match is work as well, whatever becomes of it: when most of those have ended, say. `delivered`: those
 * that are paid for. */
static void route_spend_looks(const struct route *r, size_t delivered) {
    const size_t looks = r->shard->matches.count - delivered;
    shard_spend(r->shard, (looks + OWN_QOS0_PER_POINT - 1) / OWN_QOS0_PER_POINT);
}

/* Nobody is there to whom a message at QoS 0 could be given: it need not wait for its turn to be told so. */
static bool route_is_away(const struct inlet *inlet) {
    return atomic_load_explicit(&inlet->away, memory_order_relaxed);
}

/* What does not fit into this turn waits for the next, and all that follows it: it is accepted, and in order. */
static void route_deliver(struct route *r, struct message *m) {
    struct shard *shard = r->shard;
    const bool many = r->count > MANY_TARGETS;
    const size_t qos0_max = r->request->is_will ? OWN_QOS0_WILLS_MAX : OWN_QOS0_MAX;
    const bool crowded = many && own_count(shard) + shard->late_count > qos0_max;
    shard->many = many;
    shard->shared = r->count > SHARED_TARGETS;
    shard_spend(shard, r->request->parts.qos > 0 ? r->count : r->count / OWN_QOS0_PER_POINT);
    for (size_t i = 0; i < r->count; i++) {
        const struct route_target *t = &shard->targets[i];
        if (shard->shared) {
            route_fetch(r, i);
        }
        if (many && t->qos == 0 && route_is_away(t->inlet)) {
            continue;
        }
        if (crowded && t->qos == 0) {
            shard->counters.qos0_dropped++;
        } else if (t->inlet->shard != shard->index) {
            struct mail mail = route_mail_of(shard, t, m);
            post_send(shard, t->inlet->shard, &mail);
        } else if (t->inlet->session != NULL && own_waits(t->inlet->session, many)) {
            struct mail mail = route_mail_of(shard, t, m);
            own_push(t->inlet->session, &mail);
        } else if (t->inlet->session != NULL && t->qos == 0) {
            session_deliver_qos0(t->inlet->session, m, t->retain);
        } else if (t->inlet->session != NULL) {
            session_deliver(t->inlet->session, message_ref(m), t->qos, t->retain, t->target);
        }
    }
    shard->many = shard->shared = false;
}

/* `record`: NULL when there is none. */
static void route_carry_out(struct route *r, struct record *record, struct route_result *result) {
    result->lsn = record != NULL ? route_stage(r, record) : 0;
    result->matched = r->count > 0;
    if (r->past) {
        overfull_past(r->shard, r->request->origin->owner, r->bytes);
    }
    /* The topic was clear already: what cleared it may be undone by a crash as long as it is not durable (B10). */
    if (r->request->parts.retain && !r->set_retained && result->lsn < r->shard->broker->cleared_lsn) {
        result->lsn = r->shard->broker->cleared_lsn;
    }
    if (r->count == 0 && !r->set_retained) {
        return;
    }
    struct message *m = message_create(&r->request->parts);
    m->lsn = result->lsn;
    if (r->set_retained) {
        route_retain(r, m);
    }
    route_deliver(r, m);
    message_unref(m);
}

/* Memory keeps much for the table already: what goes to many waits, and what goes to some whose queues are deep. Who
 * writes to those that keep up, or to few, does not. */
static bool route_waits_for_table(const struct route *r) {
    uint32_t deep = 0;
    if (!deep_crowded(r->shard)) {
        return false;
    }
    for (size_t i = 0; i < r->count && deep <= SHARED_TARGETS && r->durable_count <= MANY_TARGETS; i++) {
        deep += r->shard->targets[i].qos > 0 && deep_is(r->shard, r->shard->targets[i].inlet);
    }
    return deep > SHARED_TARGETS || r->durable_count > MANY_TARGETS;
}

/* Whether store and memory have room for what is kept of it. What waits may go on waiting for memory, which comes back
 * by itself. */
static bool route_admit(struct route *r) {
    struct shard *shard = r->shard;
    const struct message_parts *parts = &r->request->parts;
    if (route_needs_message(r) && shard->pressure == STORE_FULL && !route_makes_room(r)) {
        r->what = "the store";
        r->why = "is full";
        return false;
    }
    if (parts->qos > 0 && r->count > 0 && shard->memory == MEMORY_FULL) {
        r->waits = true;
        r->what = "memory";
        r->why = "is short";
        return false;
    }
    if (__builtin_expect(r->request->is_will && r->count > MANY_TARGETS, 0) && parts->qos > 0 &&
        strain_deliveries(shard)) { /* no client is there who could wait for it */
        r->waits = true;
        r->what = "what is accepted already";
        r->why = "has to be delivered first";
        return false;
    }
    if (__builtin_expect(r->durable_count > SHARED_TARGETS, 0) && route_waits_for_table(r)) {
        store_want_fold(shard->broker->store);
        r->waits = true;
        r->what = "the table";
        r->why = "has to take what waits in memory first";
        return false;
    }
    if (!r->set_retained || parts->payload.len == 0) {
        return true;
    }
    const struct message *old = topic_retained_get(shard->broker->retained, parts->topic);
    r->what = "the memory for retained messages";
    return admit_retained(shard, parts, old, &r->why);
}

/* Who is answered relies on the end of a session that was in the way: else a crash could bring it back without the
 * message. */
static void route_answer_later(const struct shard *shard, struct route_result *result) {
    lsn_t ended = shard_barrier(shard, MUTANT_QUEUE_END_ACK, atomic_load(&shard->broker->overfull_lsn));
    result->lsn = result->lsn > ended ? result->lsn : ended;
}

/* At QoS 0 nothing is kept, unless it is retained or a will: so nothing is reserved, recorded or refused. Returns
 * whether somebody subscribed. */
static bool route_pass(struct route *r) {
    struct shard *shard = r->shard;
    topic_trie_match(shard->broker->trie, r->request->parts.topic, &shard->matches);
    targets_reserve(shard, shard->matches.count);
    for (size_t i = 0; i < shard->matches.count; i++) {
        const struct topic_match *match = &shard->matches.items[i];
        if ((match->options & SUBSCRIPTION_NO_LOCAL) == 0 || !route_is_local(r, match->subscriber)) {
            shard->targets[r->count++] = (struct route_target){.inlet = match->subscriber};
        }
    }
    route_spend_looks(r, r->count);
    if (r->count > 0) {
        struct message *m = message_create(&r->request->parts);
        route_deliver(r, m);
        message_unref(m);
    }
    return r->count > 0;
}

/* A retained publish excludes subscribers' looks at the retained index, so that a new subscription gets the message
 * once: live, or as the retained one. */
struct route_result route_message(struct shard *shard, const struct route_request *request) {
    struct broker *broker = shard->broker;
    struct route r = {.shard = shard, .request = request, .bytes = parts_bytes(&request->parts)};
    struct route_result result = {.lsn = 0};
    if (request->parts.qos == 0 && !request->parts.retain && !request->is_will) {
        result.matched = route_pass(&r);
        return result;
    }
    if (request->parts.retain) {
        lock_take(&broker->lock);
        r.set_retained = route_sets_retained(&r);
    }
    route_plan_all(&r);
    struct record record;
    bool records = !r.refused && route_record(&r, &record);
    result.never = records && record.kind == RECORD_MESSAGE && !store_takes(broker->store, &record);
    if (result.never) {
        r.what = "the message";
        r.why = "fits into no journal file with all of its receivers";
    }
    if (r.refused || result.never || !route_admit(&r)) {
        route_unreserve(&r);
        route_spend_looks(&r, 0);
        result.refused = true;
        result.waits = r.waits;
        result.many = r.many;
        result.said = r.said || r.many || result.never;
        result.what = r.what;
        result.why = r.why;
    } else {
        route_spend_looks(&r, r.count);
        route_carry_out(&r, records ? &record : NULL, &result);
        route_answer_later(shard, &result);
    }
    if (request->parts.retain) {
        lock_give(&broker->lock);
    }
    return result;
}
