#include "broker/bring.h"
#include "broker/inlet.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"
#include "broker/connection.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/subscribe.h"

enum bring_state {
    BRING_MORE,    /* another slice is needed */
    BRING_CROWDED, /* the session has no room */
    BRING_STALLED, /* the store has none */
    BRING_ALL,     /* all was brought */
};

/* ---- filters ---- */

static uint32_t subscription_options(const struct packet_filter *f) {
    uint32_t options = f->qos;
    options |= f->no_local ? SUBSCRIPTION_NO_LOCAL : 0U;
    options |= f->retain_as_published ? SUBSCRIPTION_RETAIN_AS_PUBLISHED : 0U;
    return options;
}

static void bring_filter_add(struct bringing *b, const struct bring_filter *filter) {
    if (b->bring_count == b->bring_capacity) {
        b->bring_capacity = b->bring_capacity > 0 ? b->bring_capacity * 2 : 4;
        b->brings = mem_resize(b->brings, b->bring_capacity * sizeof *b->brings);
    }
    if (filter->qos > 0) {
        b->first_lsn = b->orders ? b->first_lsn : filter->subscribed_lsn;
        b->orders = true;
        b->answer_waits = b->session->durable;
    }
    b->brings[b->bring_count++] = *filter;
}

/* An earlier filter of the same packet is this one, and what it brings has not all come: then this one asks for nothing
 * that is not on its way, and a crash would lose that if the subscription counted as brought. */
static bool bring_is_under_way(const struct bringing *b, struct span filter) {
    for (uint32_t i = b->bring_next; i < b->bring_count; i++) {
        if (span_equal(b->brings[i].filter, filter)) {
            return true;
        }
    }
    return false;
}

/* The record, the trie and what is retained until then, under one lock: a retained publish is seen once. */
static void bring_enter(struct bringing *b, const struct packet_filter *f) {
    struct session *session = b->session;
    struct broker *broker = session->shard->broker;
    uint32_t options = subscription_options(f);
    const struct subscription *old = session_subscription(session, f->filter);
    bool unbrought = old == NULL || (old->options & SUBSCRIPTION_UNBROUGHT) != 0;
    bool under_way = old != NULL && unbrought && bring_is_under_way(b, f->filter);
    unbrought = unbrought && !under_way;
    bool asks = f->retain_handling == 0 || (f->retain_handling == 1 && unbrought);
    struct bring_filter filter = {.filter = f->filter, .qos = f->qos};
    lock_take(&broker->lock);
    bool brings = asks && topic_retained_count(broker->retained) > 0;
    uint32_t kept = options | (brings || under_way ? SUBSCRIPTION_UNBROUGHT : 0U);
    bool is_new = session_subscribe(session, f->filter, kept);
    struct record record = {.kind = RECORD_SUBSCRIBED, .subscribed = {session->id, f->filter, kept, 0}};
    filter.subscribed_lsn = session_stage(session, &record);
    if (is_new) {
        topic_trie_add_new(broker->trie, f->filter, session->inlet, options);
    } else {
        (void)topic_trie_add(broker->trie, f->filter, session->inlet, options);
    }
    filter.until = broker->retained_lsn;
    lock_give(&broker->lock);
    b->entered_lsn = session->last_lsn;
    if (brings) {
        bring_filter_add(b, &filter);
    }
}

/* Those of an UNSUBSCRIBE. */
static void bring_leave(struct bringing *b, const struct packet_filter *f) {
    buf_u8(&b->reasons, unsubscribe_filter(b->session, f->filter));
    shard_spend(b->session->shard, 1 + f->filter.len / 64);
}

/* False when all are entered, or have left. */
static bool bring_enter_next(struct bringing *b) {
    struct connection *c = b->session->connection;
    struct packet_filter filter;
    if (!packet_filter_next(&b->left, (enum protocol)c->protocol, !b->leaves, &filter)) {
        return false;
    }
    if (b->leaves) {
        bring_leave(b, &filter);
        return true;
    }
    bool one_more = b->reasons.len < c->shard->broker->options.subscribe_filters_max;
    uint8_t refusal = subscribe_refusal(c, &filter, one_more);
    if (refusal == 0) {
        bring_enter(b, &filter);
    }
    buf_u8(&b->reasons, refusal == 0 ? filter.qos : refusal);
    shard_spend(c->shard, 2 + filter.filter.len / 64);
    return true;
}

/* ---- retained messages ---- */

enum {
    READ_BYTES_MAX = 256 * 1024, /* of bodies, under one lock; and one message more */
    READ_BYTES_PER_POINT = 4096,
};

/* What one look at the index gives. */
struct look {
    struct bringing *b;
    const struct bring_filter *filter;
    struct record_retained_item items[WORK_SLICE_POINTS];
    uint32_t item_count;
    size_t begin;      /* of b->found, what this look has added */
    size_t read_bytes; /* of bodies, from the table */
    struct message *read[WORK_SLICE_POINTS];
    uint32_t read_count;
    bool crowded;
};

/* A queue that is empty takes a message of any size, so that nothing waits for ever. */
static bool bring_has_room(const struct bringing *b, size_t bytes, uint8_t qos) {
    const struct session *s = b->session;
    const struct broker_options *options = &s->shard->broker->options;
    if (qos == 0) {
        size_t waits = outbox_bytes(&s->connection->out) + b->found_bytes;
        return waits == 0 || (waits + bytes <= options->outbox_bytes_max && admit_output_room(s->connection));
    }
    uint64_t messages = session_queued(s) + b->found_queued;
    uint64_t sum = atomic_load_explicit(&s->inlet->waiting_bytes, memory_order_relaxed) + bytes;
    uint64_t bytes_max = s->durable ? options->queue_bytes_max : options->queue_memory_max;
    return messages == 0 || (messages < options->queue_messages_max / 2 && sum <= bytes_max / 2);
}

/* The whole message: only the table may have its body, which it keeps as long as the index has the message. One
 * reference; NULL when the store has failed. */
static struct message *look_whole(struct look *look, struct message *m) {
    if (!m->shell) {
        return message_ref(m);
    }
    struct message *whole = store_message(look->b->session->shard->broker->store, m->lsn);
    if (whole != NULL) {
        look->read[look->read_count++] = whole;
        look->read_bytes += message_bytes(whole);
        (void)message_ref(whole);
    }
    return whole;
}

/* What was read stays in the index for those who ask next; not during the walk. */
static void look_keep_read(struct look *look) {
    for (uint32_t i = 0; i < look->read_count; i++) {
        retained_keep(look->b->session->shard->broker, look->read[i]);
    }
}

static void look_take(struct look *look, struct message *found, uint8_t qos) {
    struct bringing *b = look->b;
    struct message *m = look_whole(look, found);
    if (m == NULL) {
        return;
    }
    if (b->found_count == b->found_capacity) {
        b->found_capacity = b->found_capacity > 0 ? b->found_capacity * 2 : 16;
        b->found = mem_resize(b->found, b->found_capacity * sizeof *b->found);
    }
    struct delivery *d = &b->found[b->found_count++];
    *d = (struct delivery){.message = m, .qos = qos, .retain = true};
    if (qos == 0) {
        b->found_bytes += message_bytes(m);
        return;
    }
    b->found_queued++;
    if ((uint64_t)m->properties_bytes + m->payload_bytes >
        b->session->shard->broker->options.retained_body_bytes) { /* else it is in memory all the same */
        bring_holds(b->session, m);
    }
    inlet_take(b->session->shard, b->session->inlet, message_bytes(m));
    if (b->session->durable) {
        d->message_lsn = look->filter->subscribed_lsn;
        d->target = b->index + look->item_count;
        look->items[look->item_count++] = (struct record_retained_item){m->lsn, qos};
    }
}

static bool look_at(void *user, void *value) {
    struct look *look = user;
    struct message *m = value;
    const struct shard *shard = look->b->session->shard;
    uint8_t qos = look->filter->qos < m->qos ? look->filter->qos : m->qos;
    if (m->lsn > look->filter->until || !retained_fresh(m, shard->wall)) {
        return true;
    }
    if (look->b->found_count - look->begin == work_slice_points(shard) || look->read_bytes > READ_BYTES_MAX) {
        return false;
    }
    look->crowded = !bring_has_room(look->b, message_bytes(m), qos);
    if (look->crowded) {
        look->b->needs_bytes = message_bytes(m);
        look->b->needs_qos = qos;
        return false;
    }
    look_take(look, m, qos);
    return true;
}

/* Records what was found, before the lock is given: the bodies are there for the record as long as they are retained.
 */
static void look_record(struct look *look) {
    struct bringing *b = look->b;
    if (look->item_count == 0 || broker_mutant(b->session->shard, MUTANT_B7_BODIES)) {
        return;
    }
    struct record record = {.kind = RECORD_RETAINED,
                            .retained = {.session_id = b->session->id,
                                         .subscribed_lsn = look->filter->subscribed_lsn,
                                         .first = b->index,
                                         .items = look->items,
                                         .item_count = look->item_count}};
    lsn_t lsn = session_stage(b->session, &record);
    for (size_t i = look->begin; i < b->found_count; i++) {
        b->found[i].record_lsn = b->found[i].qos > 0 ? lsn : 0;
    }
}

/* All of one filter was brought: until this is recorded, a client that asks again after a crash, for what is retained
 * if the subscription is new, gets it. */
static void bring_filter_done(struct bringing *b) {
    struct session *session = b->session;
    const struct bring_filter *f = &b->brings[b->bring_next];
    struct subscription *subscription = session_subscription(session, f->filter);
    subscription->options &= ~(uint32_t)SUBSCRIPTION_UNBROUGHT;
    struct record record = {.kind = RECORD_SUBSCRIBED,
                            .subscribed = {session->id, f->filter, subscription->options, 0}};
    (void)session_stage(session, &record);
    topic_retained_cursor_deinit(&b->cursor);
    b->cursor.ended = false;
    b->index = 0;
    b->bring_next++;
}

/* Looks at some names for the filter under way. A store that is busy or full is waited for, once it has begun. */
static enum bring_state bring_look(struct bringing *b) {
    struct shard *shard = b->session->shard;
    struct broker *broker = shard->broker;
    struct look look = {.b = b, .filter = &b->brings[b->bring_next], .begin = b->found_count};
    bool begun = b->bring_next > 0 || b->cursor.levels > 0;
    if (begun && b->session->durable && look.filter->qos > 0 && shard->pressure != STORE_EASY) {
        return BRING_STALLED;
    }
    b->cursor.filter = look.filter->filter;
    lock_take(&broker->lock);
    size_t points = topic_retained_walk(broker->retained, &b->cursor, work_slice_points(shard), look_at, &look);
    look_record(&look);
    look_keep_read(&look);
    b->index += look.item_count;
    lock_give(&broker->lock);
    shard_spend(shard, 1 + points / 4 + 2 * (b->found_count - look.begin) + look.read_bytes / READ_BYTES_PER_POINT);
    if (b->cursor.ended) {
        bring_filter_done(b);
    }
    return look.crowded ? BRING_CROWDED : BRING_MORE;
}

/* ---- the way of a SUBSCRIBE ---- */

/* SUBACK waits for the subscriptions, and for what they bring to a durable session (B7). */
static void bring_answer(struct bringing *b) {
    struct session *session = b->session;
    struct shard *shard = session->shard;
    struct packet_suback ack = {.packet_id = b->packet_id, .reasons = buf_span(&b->reasons)};
    lsn_t after = broker_mutant(shard, MUTANT_B7_RETAINED) ? b->entered_lsn : session->last_lsn;
    b->answered = true;
    session->queue_held = false;
    if (b->leaves) {
        unsubscribe_unsuback(session->connection, &ack, session->last_lsn);
        return;
    }
    subscribe_suback(session->connection, &ack, shard_barrier(shard, MUTANT_B7_SUBACK, after));
}

/* What was found goes to the outbox and to the queue. */
static void bring_give(struct bringing *b) {
    struct session *session = b->session;
    for (size_t i = 0; i < b->found_count; i++) {
        session_take_retained(session, &b->found[i]);
    }
    b->found_count = b->found_bytes = b->found_queued = 0;
}

static void bring_free(struct bringing *b) {
    struct session *session = b->session;
    must(b->found_count == 0);
    list_remove(&b->work.link);
    session->bringing = NULL;
    session->queue_held = false;
    session_join_behind(session);
    topic_retained_cursor_deinit(&b->cursor);
    buf_deinit(&b->filters);
    buf_deinit(&b->reasons);
    mem_free(b->brings);
    mem_free(b->found);
    mem_free(b);
}

/* MUTANT_B7_BODIES: what an earlier step has found is recorded now. */
static void mutant_record(struct bringing *b) {
    for (size_t i = 0; i < b->found_count; i++) {
        struct delivery *d = &b->found[i];
        if (d->qos > 0 && d->message_lsn != 0 && d->record_lsn == 0) {
            struct record_retained_item item = {d->message->lsn, d->qos};
            struct record record = {.kind = RECORD_RETAINED,
                                    .retained = {b->session->id, d->message_lsn, d->target, &item, {NULL, 0}, 1}};
            d->record_lsn = session_stage(b->session, &record);
        }
    }
}

static enum bring_state bring_step(struct bringing *b) {
    if (bring_enter_next(b)) {
        return BRING_MORE;
    }
    return b->bring_next < b->bring_count ? bring_look(b) : BRING_ALL;
}

/* After some steps: SUBACK when it is due, then what they have found, then what is next. */
static void bring_settle(struct bringing *b, enum bring_state state) {
    struct session *session = b->session;
    bool entered = reader_left(&b->left) == 0;
    if (broker_mutant(session->shard, MUTANT_B7_BODIES)) {
        if (state == BRING_MORE) {
            work_add(session->shard, &b->work);
            return;
        }
        mutant_record(b);
    }
    if (!b->answered && entered && (state == BRING_ALL || !b->answer_waits)) {
        bring_answer(b);
    }
    bring_give(b);
    if (state == BRING_ALL) {
        bring_free(b);
    } else if (state == BRING_MORE) {
        work_add(session->shard, &b->work);
    } else if (state == BRING_STALLED) {
        session->queue_held = false; /* it may be this queue that the store is full of */
        work_add_stalled(session->shard, &b->work);
    } else {
        b->crowded = true;
        session->queue_held = false;
    }
    session_pump(session);
}

void bring_slice(struct bringing *b) {
    bring_settle(b, bring_step(b));
}

void bring_begin(struct connection *c, const struct packet_subscribe *p, bool leaves) {
    struct session *session = c->session;
    struct shard *shard = c->shard;
    struct bringing *b = mem_zero(1, sizeof *b);
    must(session->bringing == NULL);
    b->work.kind = WORK_BRING;
    b->session = session;
    b->leaves = leaves;
    b->packet_id = p->packet_id;
    buf_bytes(&b->filters, p->filters);
    b->left = reader_of(buf_span(&b->filters));
    session->bringing = b;
    session->queue_held = !leaves;
    enum bring_state state;
    do {
        state = bring_step(b);
    } while (state == BRING_MORE && shard->points > 0);
    bring_settle(b, state);
}

void bring_wake(struct session *session) {
    struct bringing *b = session->bringing;
    if (b->crowded && bring_has_room(b, b->needs_bytes, b->needs_qos)) {
        b->crowded = false;
        work_add(session->shard, &b->work);
    }
}

void bring_cancel(struct session *session) {
    struct bringing *b = session->bringing;
    if (b == NULL) {
        return;
    }
    for (size_t i = 0; i < b->found_count; i++) { /* it ends in the middle of a step: what is recorded must be queued */
        struct delivery *d = &b->found[i];
        if (d->qos > 0) {
            session_take_retained(session, d);
        } else {
            message_unref(d->message);
        }
    }
    b->found_count = 0;
    bring_free(b);
}

bool bring_keeps_behind(const struct session *session, lsn_t lsn) {
    const struct bringing *b = session->bringing;
    if (b == NULL || !b->orders) {
        return false;
    }
    return b->first_lsn == 0 || lsn > b->first_lsn;
}

void bring_holds(struct session *session, const struct message *m) {
    session->bringing->held_bytes += message_bytes(m);
}

/* What its client has taken meanwhile is not held any more; which messages these were does not matter. */
uint64_t bring_held_bytes(const struct session *session) {
    uint64_t waiting = atomic_load_explicit(&session->inlet->waiting_bytes, memory_order_relaxed);
    uint64_t held = session->bringing != NULL ? session->bringing->held_bytes : 0;
    return held < waiting ? held : waiting;
}
