#include "store/fold.h"

#include "base/mem.h"
#include "base/must.h"
#include "store/bytes.h"
#include "store/clock.h"

enum {
    OVERLAY_ENTRIES_MAX = 1 << 17, /* beyond it the overlay is flushed: some 12 MiB, which a cache can hold */
    PAGE_BYTES = 4096,             /* what a row that is changed may take, when it is alone on its page */
    ENTRIES_PER_ROW = 2,           /* of the overlay at most, when the row leaves */
};

/* The values of f->sessions. */
static char session_there;
static char session_gone;

void fold_init(struct fold *f, struct table *table, struct table_txn *txn, const struct chain *after, bool whole) {
    lsn_t folded = after->next_lsn - 1;
    overlay_init(&f->overlay, table, txn, folded, after->salt);
    f->sessions = map64_of(after->salt);
    f->last_lsn = folded;
    f->records = 0;
    f->clock_moved = false;
    row_clock_get(table, txn, &f->clock);
    f->whole = whole;
    f->changed_max = 0;
    f->spilled = false;
    f->trimmed = NULL;
    f->giant = false;
}

void fold_deinit(struct fold *f) {
    overlay_deinit(&f->overlay);
    map64_deinit(&f->sessions);
}

static bool session_exists(struct fold *f, session_id_t session) {
    const void *known = map64_get(&f->sessions, session);
    if (known == NULL) {
        struct row_key key;
        struct span value;
        row_key_session(&key, session);
        struct overlay *o = &f->overlay;
        known = o->table->ops->get(o->txn, TABLE_SESSIONS, row_key_span(&key), &value) ? &session_there : &session_gone;
        map64_put(&f->sessions, session, (void *)(uintptr_t)known);
    }
    return known == &session_there;
}

/* ---- messages and their references ---- */

static void references_put(struct fold *f, lsn_t lsn, uint32_t count) {
    struct row_key key;
    uint8_t value[4];
    row_key_message(&key, lsn);
    le32_put(value, count);
    overlay_put(&f->overlay, TABLE_REFERENCES, row_key_span(&key), lsn, span_of(value, sizeof value));
}

static void message_keep(struct fold *f, lsn_t lsn, struct span parts, uint32_t references) {
    struct row_key key;
    row_key_message(&key, lsn);
    overlay_put(&f->overlay, TABLE_MESSAGES, row_key_span(&key), lsn, parts);
    if (references > 1) {
        references_put(f, lsn, references);
    }
}

static uint32_t references_of(struct fold *f, const struct row_key *key, lsn_t lsn) {
    struct span value;
    uint32_t count = 1;
    if (overlay_get(&f->overlay, TABLE_REFERENCES, row_key_span(key), lsn, &value) && !row_count_read(value, &count)) {
        f->overlay.damaged = true;
    }
    return count;
}

static void message_release(struct fold *f, lsn_t lsn) {
    struct row_key key;
    row_key_message(&key, lsn);
    uint32_t count = references_of(f, &key, lsn);
    if (count > 2) {
        references_put(f, lsn, count - 1);
        return;
    }
    if (count == 2) {
        overlay_remove(&f->overlay, TABLE_REFERENCES, row_key_span(&key), lsn);
        return;
    }
    overlay_remove(&f->overlay, TABLE_MESSAGES, row_key_span(&key), lsn);
}

/* One more reference to a message that has a body; false when it has none (any more). */
static bool message_refer(struct fold *f, lsn_t lsn, struct message_parts *parts) {
    struct row_key key;
    struct span body;
    row_key_message(&key, lsn);
    if (!overlay_look(&f->overlay, TABLE_MESSAGES, row_key_span(&key), lsn, &body)) {
        return false;
    }
    if (!record_parts_decode(body, parts)) {
        f->overlay.damaged = true;
        return false;
    }
    references_put(f, lsn, references_of(f, &key, lsn) + 1);
    return true;
}

static void retained_forget(struct fold *f, const struct row_key *key) {
    struct span value;
    lsn_t old;
    if (overlay_get(&f->overlay, TABLE_RETAINED, row_key_span(key), 0, &value)) {
        if (row_lsn_read(value, &old)) {
            message_release(f, old);
        } else {
            f->overlay.damaged = true;
        }
    }
}

/* The row that an earlier version may have made for a long topic, unless it is another topic's. */
static void retained_forget_old(struct fold *f, struct span topic) {
    struct overlay *o = &f->overlay;
    struct row_key key;
    struct row_key message;
    struct span value;
    struct message_parts parts;
    lsn_t old;
    if (!row_key_topic_old(&key, topic) || !overlay_get(o, TABLE_RETAINED, row_key_span(&key), 0, &value) ||
        !row_lsn_read(value, &old)) {
        return;
    }
    row_key_message(&message, old);
    if (o->table->ops->get(o->txn, TABLE_MESSAGES, row_key_span(&message), &value) &&
        row_checked(row_key_span(&message), &value) && record_parts_decode(value, &parts) &&
        span_equal(parts.topic, topic)) {
        message_release(f, old);
        overlay_remove(o, TABLE_RETAINED, row_key_span(&key), 0);
    }
}

/* The same for a long filter. */
static void subscription_forget_old(struct fold *f, session_id_t session, struct span filter) {
    struct overlay *o = &f->overlay;
    struct row_key key;
    struct span value;
    struct record r;
    if (row_key_subscription_old(&key, session, filter) &&
        o->table->ops->get(o->txn, TABLE_SUBSCRIPTIONS, row_key_span(&key), &value) &&
        row_checked(row_key_span(&key), &value) && record_decode(value, &r) && r.kind == RECORD_SUBSCRIBED &&
        span_equal(r.subscribed.filter, filter)) {
        overlay_remove(o, TABLE_SUBSCRIPTIONS, row_key_span(&key), 0);
    }
}

/* Returns 1 when the message is referenced as its topic's retained message from now on. */
static uint32_t retained_set(struct fold *f, lsn_t lsn, const struct message_parts *parts) {
    struct row_key key;
    row_key_topic(&key, parts->topic);
    retained_forget_old(f, parts->topic);
    retained_forget(f, &key);
    if (parts->payload.len == 0) {
        overlay_remove(&f->overlay, TABLE_RETAINED, row_key_span(&key), 0);
        return 0;
    }
    uint8_t value[8];
    le64_put(value, lsn);
    overlay_put(&f->overlay, TABLE_RETAINED, row_key_span(&key), 0, span_of(value, sizeof value));
    return 1;
}

static uint32_t queued_bytes(const struct message_parts *p) {
    size_t bytes = sizeof(struct message) + p->topic.len + p->properties.len + p->payload.len;
    return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

static void queue_put(struct fold *f, const struct row_key *key, lsn_t lsn, const struct row_queued *queued) {
    uint8_t value[ROW_QUEUE_BYTES];
    size_t bytes = row_queued_write(value, queued);
    overlay_put(&f->overlay, TABLE_QUEUE, row_key_span(key), lsn, span_of(value, bytes));
}

/* Queues the message for those of its targets that exist; returns how many. */
static uint32_t targets_queue(struct fold *f, lsn_t lsn, const struct record_message *m) {
    struct row_queued queued = {.bytes = queued_bytes(&m->parts)};
    struct reader r = reader_of(m->targets_raw);
    struct record_target t;
    uint32_t count = 0;
    for (uint32_t index = 0; record_target_next(&r, &t); index++) {
        if (!session_exists(f, t.session_id)) {
            continue;
        }
        struct row_key key;
        queued.qos = t.qos;
        queued.retain = t.retain;
        row_key_delivery(&key, t.session_id, lsn, index);
        queue_put(f, &key, lsn, &queued);
        count++;
    }
    return count;
}

/* Takes a delivery out of its queue; false when it is not there. */
static bool queue_take(struct fold *f, session_id_t session, lsn_t lsn, uint32_t target, struct row_queued *queued) {
    struct row_key key;
    struct span value;
    row_key_delivery(&key, session, lsn, target);
    if (!overlay_take(&f->overlay, TABLE_QUEUE, row_key_span(&key), lsn, &value)) {
        return false;
    }
    const bool good = row_queued_read(value, queued);
    f->overlay.damaged = f->overlay.damaged || !good;
    return good;
}

/* ---- flows ---- */

static void held_set(struct fold *f, session_id_t session, packet_id_t packet_id, bool held) {
    struct row_key key;
    row_key_packet(&key, session, packet_id);
    if (held && f->whole) {
        overlay_put_new(&f->overlay, TABLE_HELD, row_key_span(&key), span_of(NULL, 0));
    } else if (held) {
        overlay_put(&f->overlay, TABLE_HELD, row_key_span(&key), 0, span_of(NULL, 0));
    } else {
        overlay_remove(&f->overlay, TABLE_HELD, row_key_span(&key), 0);
    }
}

static bool flight_read(struct fold *f, struct span value, struct store_flight *flight) {
    const bool good = row_flight_read(value, flight);
    f->overlay.damaged = f->overlay.damaged || !good;
    return good;
}

static bool flight_get(struct fold *f, const struct row_key *key, struct store_flight *flight) {
    struct span value;
    return overlay_get(&f->overlay, TABLE_FLIGHTS, row_key_span(key), 0, &value) && flight_read(f, value, flight);
}

static void flight_put(struct fold *f, const struct row_key *key, const struct store_flight *flight) {
    uint8_t value[ROW_FLIGHT_BYTES];
    size_t bytes = row_flight_write(value, flight);
    overlay_put(&f->overlay, TABLE_FLIGHTS, row_key_span(key), 0, span_of(value, bytes));
}

static lsn_t flight_body(const struct store_flight *flight) {
    return flight->body_lsn != 0 ? flight->body_lsn : flight->message_lsn;
}

/* Ends the outbound flow of a packet id, if there is one. */
static void flight_end(struct fold *f, const struct row_key *key) {
    struct store_flight flight;
    struct span value;
    if (overlay_take(&f->overlay, TABLE_FLIGHTS, row_key_span(key), 0, &value) && flight_read(f, value, &flight) &&
        !flight.released) {
        message_release(f, flight_body(&flight));
    }
}

/* The flow of a packet id begins. In a log with holes the end of an earlier one may be missing. */
static void flight_begin(struct fold *f, const struct row_key *key, const struct store_flight *flight) {
    uint8_t value[ROW_FLIGHT_BYTES];
    const struct span row = span_of(value, row_flight_write(value, flight));
    if (!f->whole || !overlay_add(&f->overlay, TABLE_FLIGHTS, row_key_span(key), row)) {
        flight_end(f, key);
        overlay_put(&f->overlay, TABLE_FLIGHTS, row_key_span(key), 0, row);
    }
}

/* ---- the end of a session ---- */

/* Gives back the body that a row of QUEUE or FLIGHTS refers to. */
static void row_release(struct fold *f, enum table_tree tree, struct span key, struct span value) {
    session_id_t session;
    lsn_t lsn;
    uint32_t target;
    struct store_flight flight;
    struct row_queued queued;
    if (tree == TABLE_QUEUE && row_key_delivery_read(key, &session, &lsn, &target) && row_queued_read(value, &queued)) {
        message_release(f, queued.body_lsn != 0 ? queued.body_lsn : lsn);
    } else if (tree == TABLE_FLIGHTS && row_flight_read(value, &flight) && !flight.released) {
        message_release(f, flight_body(&flight));
    }
}

static bool fold_is_large(const struct fold *f) {
    const struct overlay *o = &f->overlay;
    return f->changed_max != 0 && o->table->ops->changed != NULL && o->table->ops->changed(o->txn) > f->changed_max;
}

/* More changes than that the overlay should not have, or the transaction could not take if each is on another page. */
static uint32_t fold_entries_max(const struct fold *f) {
    const uint64_t most = f->changed_max != 0 ? f->changed_max / PAGE_BYTES + 1 : OVERLAY_ENTRIES_MAX;
    return most < OVERLAY_ENTRIES_MAX ? (uint32_t)most : OVERLAY_ENTRIES_MAX;
}

static bool fold_must_spill(const struct fold *f) {
    return f->overlay.count > fold_entries_max(f);
}

static bool fold_spill(struct fold *f, lsn_t lsn, struct error *error) {
    const bool ok = overlay_flush(&f->overlay, lsn, error);
    f->spilled = f->spilled || f->changed_max == 0 || fold_is_large(f);
    return ok;
}

/* Which rows of a session leave one tree, and what has become of that. */
struct portion {
    bool may_stop;  /* when the transaction is large */
    uint32_t most;  /* so many rows; 0: any */
    lsn_t until;    /* of the queue: up to this message; 0: all */
    bool stopped;   /* the transaction was large */
    bool left;      /* there are more rows, or may be */
    lsn_t last_lsn; /* of the queue: of the last row that has left */
};

/* Whether the row stays for now. */
static bool portion_ends(const struct fold *f, struct portion *p, uint32_t removed, lsn_t lsn) {
    p->stopped = p->may_stop && fold_is_large(f);
    p->left = p->stopped || (p->most != 0 && removed == p->most) || (p->until != 0 && lsn > p->until);
    return p->left;
}

static bool rows_remove(struct fold *f, enum table_tree tree, session_id_t session, struct portion *p,
                        struct error *error) {
    struct overlay *o = &f->overlay;
    struct row_key prefix;
    struct span key;
    struct span value;
    session_id_t owner;
    row_key_session(&prefix, session);
    for (uint32_t removed = 0; o->table->ops->seek(o->txn, tree, row_key_span(&prefix), &key, &value) &&
                               row_key_session_read(key, &owner) && owner == session;
         removed++) {
        struct row_key copy;
        lsn_t lsn = 0;
        uint32_t target;
        if (!row_key_copy(&copy, key)) {
            f->overlay.damaged = true;
            break;
        }
        if (tree == TABLE_QUEUE) {
            (void)row_key_delivery_read(key, &owner, &lsn, &target);
        }
        if (portion_ends(f, p, removed, lsn)) {
            return true;
        }
        p->last_lsn = lsn;
        row_release(f, tree, key, value);
        if (!o->table->ops->remove(o->txn, tree, row_key_span(&copy), error)) {
            return false;
        }
        if (fold_must_spill(f) && !fold_spill(f, o->flushed, error)) {
            return false;
        }
    }
    return o->table->ops->sound(o->txn, error);
}

/* Trees that may have many rows of a session; the last of them the most. */
static const enum table_tree many_trees[] = {TABLE_SUBSCRIPTIONS, TABLE_HELD, TABLE_FLIGHTS, TABLE_QUEUE};
enum { MANY_TREES = sizeof many_trees / sizeof many_trees[0] };

/* `*all` is false when it has stopped because the transaction is large, which it does when it may. */
static bool rows_remove_many(struct fold *f, session_id_t session, int trees, bool may_stop, bool *all,
                             struct error *error) {
    *all = true;
    for (int i = 0; i < trees && *all; i++) {
        struct portion p = {.may_stop = may_stop};
        if (!rows_remove(f, many_trees[i], session, &p, error)) {
            return false;
        }
        *all = !p.left;
    }
    return true;
}

/* A round over the queues of some sessions: the first gives some rows, the others up to the same message. Those that
 * have no more leave the list. `*all` is false when the transaction is large. */
static bool queues_trim(struct fold *f, session_id_t *sessions, size_t *count, bool *all, struct error *error) {
    const uint32_t fourth = fold_entries_max(f) / ENTRIES_PER_ROW / 2;
    const uint32_t most = fourth > 0 ? fourth : 1;
    lsn_t until = 0;
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) {
        struct portion p = {.may_stop = true, .most = until == 0 ? most : 0, .until = until};
        if (*all && !rows_remove(f, TABLE_QUEUE, sessions[i], &p, error)) {
            return false;
        }
        *all = *all && !p.stopped;
        until = until == 0 && p.left ? p.last_lsn : until;
        if (p.left || !*all) {
            sessions[kept++] = sessions[i];
        }
    }
    *count = kept;
    /* The next round must not be in the middle when the overlay is full. */
    return f->overlay.count <= fold_entries_max(f) / 2 || fold_spill(f, f->overlay.flushed, error);
}

bool fold_trim(struct fold *f, session_id_t *sessions, size_t count, bool *all, struct error *error) {
    *all = true;
    for (size_t i = 0; i < count && *all; i++) {
        if (!rows_remove_many(f, sessions[i], MANY_TREES - 1, true, all, error)) {
            return false;
        }
    }
    while (*all && count > 0) {
        if (!queues_trim(f, sessions, &count, all, error)) {
            return false;
        }
    }
    return fold_flush(f, error);
}

/* All rows of the session must be in the transaction before they can be found there. */
static bool session_remove(struct fold *f, session_id_t session, lsn_t lsn, struct error *error) {
    static const enum table_tree trees[] = {TABLE_WILLS, TABLE_POSITIONS, TABLE_SESSIONS};
    if (!session_exists(f, session)) {
        return true;
    }
    bool may_stop = f->trimmed == NULL || map64_get(f->trimmed, session) == NULL;
    bool all = true;
    if (!overlay_flush(&f->overlay, lsn, error) || !rows_remove_many(f, session, MANY_TREES, may_stop, &all, error)) {
        return false;
    }
    for (size_t i = 0; i < sizeof trees / sizeof trees[0] && all; i++) {
        struct portion p = {.may_stop = false};
        if (!rows_remove(f, trees[i], session, &p, error)) {
            return false;
        }
    }
    map64_put(&f->sessions, session, &session_gone);
    f->giant = !all;
    return all || error_set(error, ERROR_NO_SPACE, 0, "there is too much of a session for one commit");
}

/* ---- one function for each field of the union; `encoded` is the record itself ---- */

struct step {
    struct fold *fold;
    lsn_t lsn;
    enum record_kind kind;
    struct span encoded;
    struct error *error;
};

static bool fold_session(const struct step *s, const struct record_session *r) {
    session_id_t session = r->session_id != 0 ? r->session_id : s->lsn;
    if (r->session_id == 0) {
        map64_put(&s->fold->sessions, session, &session_there);
    } else if (!session_exists(s->fold, session)) {
        return true;
    }
    struct row_key key;
    row_key_session(&key, session);
    overlay_put(&s->fold->overlay, TABLE_SESSIONS, row_key_span(&key), session, s->encoded);
    return true;
}

/* A message was accepted then: no start may find it earlier. */
static void clock_move(struct fold *f, wall_ms_t time) {
    if (time > f->clock.time && time < CLOCK_MOST_MS) {
        f->clock.wall = f->clock.time != 0 ? f->clock.wall + (time - f->clock.time) : time;
        f->clock.time = time;
        f->clock_moved = true;
    }
}

static bool fold_clock(const struct step *s, const struct record_clock *r) {
    if (clock_mark_good(r)) {
        s->fold->clock = *r;
        s->fold->clock_moved = true;
    }
    return true;
}

static bool fold_end(const struct step *s, const struct record_end *r) {
    if (s->kind == RECORD_SESSION_END) {
        return session_remove(s->fold, r->session_id, s->lsn, s->error);
    }
    struct row_key key;
    row_key_session(&key, r->session_id);
    overlay_remove(&s->fold->overlay, TABLE_WILLS, row_key_span(&key), 0);
    return true;
}

static bool fold_subscribed(const struct step *s, const struct record_subscribed *r) {
    struct row_key key;
    if (session_exists(s->fold, r->session_id)) {
        subscription_forget_old(s->fold, r->session_id, r->filter);
        row_key_subscription(&key, r->session_id, r->filter);
        overlay_put(&s->fold->overlay, TABLE_SUBSCRIPTIONS, row_key_span(&key), 0, s->encoded);
    }
    return true;
}

static bool fold_unsubscribed(const struct step *s, const struct record_unsubscribed *r) {
    struct row_key key;
    subscription_forget_old(s->fold, r->session_id, r->filter);
    row_key_subscription(&key, r->session_id, r->filter);
    overlay_remove(&s->fold->overlay, TABLE_SUBSCRIPTIONS, row_key_span(&key), 0);
    return true;
}

static void position_set(struct fold *f, session_id_t session, uint64_t sequence) {
    struct row_key key;
    uint8_t value[8];
    row_key_session(&key, session);
    le64_put(value, sequence);
    overlay_put(&f->overlay, TABLE_POSITIONS, row_key_span(&key), 0, span_of(value, sizeof value));
}

static bool fold_message(const struct step *s, const struct record_message *r) {
    struct fold *f = s->fold;
    clock_move(f, r->accepted_at);
    if (r->sequence != 0 && session_exists(f, r->origin)) {
        position_set(f, r->origin, r->sequence);
    }
    if (r->origin != 0 && r->packet_id != 0 && session_exists(f, r->origin)) {
        held_set(f, r->origin, r->packet_id, true);
    }
    if (r->clear_will) {
        struct row_key key;
        row_key_session(&key, r->origin);
        overlay_remove(&f->overlay, TABLE_WILLS, row_key_span(&key), 0);
    }
    uint32_t references = targets_queue(f, s->lsn, r);
    if (r->set_retained) {
        references += retained_set(f, s->lsn, &r->parts);
    }
    if (references > 0) {
        message_keep(f, s->lsn, r->parts_raw, references);
    }
    return true;
}

static bool fold_flow(const struct step *s, const struct record_flow *r) {
    struct fold *f = s->fold;
    struct row_key key;
    struct store_flight flight;
    row_key_packet(&key, r->session_id, r->packet_id);
    if (s->kind == RECORD_HELD) {
        if (session_exists(f, r->session_id)) {
            held_set(f, r->session_id, r->packet_id, true);
        }
    } else if (s->kind == RECORD_FREED) {
        held_set(f, r->session_id, r->packet_id, false);
    } else if (s->kind == RECORD_DONE) {
        flight_end(f, &key);
    } else if (flight_get(f, &key, &flight) && !flight.released) {
        message_release(f, flight_body(&flight));
        flight.released = true;
        flight.body_lsn = 0;
        flight.order = s->lsn;
        flight_put(f, &key, &flight);
    }
    return true;
}

static bool fold_sent(const struct step *s, const struct record_sent *r) {
    struct row_queued queued;
    struct row_key key;
    if (!queue_take(s->fold, r->session_id, r->message_lsn, r->target, &queued)) {
        return true;
    }
    row_key_packet(&key, r->session_id, r->packet_id);
    struct store_flight flight = {
        .qos = queued.qos,
        .retain = queued.retain,
        .message_lsn = r->message_lsn,
        .target = r->target,
        .body_lsn = queued.body_lsn,
        .order = s->lsn,
    };
    flight_begin(s->fold, &key, &flight);
    return true;
}

static bool fold_dropped(const struct step *s, const struct record_dropped *r) {
    struct row_queued queued;
    if (queue_take(s->fold, r->session_id, r->message_lsn, r->target, &queued)) {
        message_release(s->fold, queued.body_lsn != 0 ? queued.body_lsn : r->message_lsn);
    }
    return true;
}

/* One retained message for a session: a row of its queue with the body of another record. */
static void retained_queue(struct fold *f, const struct row_key *key, lsn_t named,
                           const struct record_retained_item *item) {
    struct message_parts parts;
    struct span there;
    if (overlay_get(&f->overlay, TABLE_QUEUE, row_key_span(key), named, &there) ||
        !message_refer(f, item->message_lsn, &parts)) {
        return;
    }
    struct row_queued queued = {
        .qos = item->qos, .retain = true, .bytes = queued_bytes(&parts), .body_lsn = item->message_lsn};
    queue_put(f, key, named, &queued);
}

static bool fold_retained(const struct step *s, const struct record_retained *r) {
    struct reader reader = reader_of(r->items_raw);
    struct record_retained_item item;
    if (r->subscribed_lsn >= s->lsn || !session_exists(s->fold, r->session_id)) {
        return true;
    }
    for (uint32_t index = r->first; record_retained_next(&reader, &item); index++) {
        struct row_key key;
        row_key_delivery(&key, r->session_id, r->subscribed_lsn, index);
        retained_queue(s->fold, &key, r->subscribed_lsn, &item);
    }
    return true;
}

static bool fold_will(const struct step *s, const struct record_will *r) {
    struct row_key key;
    if (session_exists(s->fold, r->session_id)) {
        row_key_session(&key, r->session_id);
        overlay_put(&s->fold->overlay, TABLE_WILLS, row_key_span(&key), 0, s->encoded);
    }
    return true;
}

bool fold_record(struct fold *f, lsn_t lsn, struct span encoded, struct error *error) {
    struct record r;
    if (!record_decode(encoded, &r)) {
        return error_set(error, ERROR_DAMAGED, 0, "record %llu cannot be decoded: written by a newer version?",
                         (unsigned long long)lsn);
    }
    must(lsn > f->last_lsn);
    f->last_lsn = lsn;
    f->records++;
    if (fold_must_spill(f) && !fold_spill(f, lsn - 1, error)) {
        return false;
    }
    struct step s = {f, lsn, r.kind, encoded, error};
    switch (r.kind) {
#define RECORD_FOLD(number, name, field, text)                                                                         \
    case RECORD_##name:                                                                                                \
        return fold_##field(&s, &r.field);
        RECORD_ROWS(RECORD_FOLD)
#undef RECORD_FOLD
    case RECORD_NONE:
        break;
    }
    must(false);
    return false;
}

bool fold_payload(struct fold *f, lsn_t first_lsn, uint32_t count, struct span payload, struct error *error) {
    struct reader r = reader_of(payload);
    struct span encoded;
    lsn_t lsn = first_lsn;
    for (; frame_record_next(&r, &encoded); lsn++) {
        if (!fold_record(f, lsn, encoded, error)) {
            return false;
        }
    }
    return (reader_done(&r) && lsn - first_lsn == count) ||
           error_set(error, ERROR_DAMAGED, 0, "the frame that begins with lsn %llu does not hold %lu whole records",
                     (unsigned long long)first_lsn, (unsigned long)count);
}

bool fold_frames(struct fold *f, struct span in, struct chain *chain, struct error *error) {
    struct frame_header h;
    while (in.len > 0) {
        if (!frame_read(in, chain, &h)) {
            return error_set(error, ERROR_DAMAGED, 0,
                             "the frame with lsn %llu, which was whole when it was written, "
                             "is damaged",
                             (unsigned long long)chain->next_lsn);
        }
        struct span payload = span_of(in.ptr + FRAME_HEADER_BYTES, h.payload_bytes);
        if (!fold_payload(f, h.first_lsn, h.record_count, payload, error)) {
            return false;
        }
        *chain = chain_after(&h);
        in = span_skip(in, frame_bytes(h.payload_bytes));
    }
    return true;
}

bool fold_some(struct fold *f, struct span in, struct chain *chain, uint64_t *bytes, struct error *error) {
    struct frame_header h;
    *bytes = 0;
    while (*bytes < in.len && !f->spilled) {
        const struct span left = span_skip(in, *bytes);
        const bool is_one = frame_header_read(left.ptr, &h) && frame_bytes(h.payload_bytes) < left.len;
        const uint64_t frame = is_one ? frame_bytes(h.payload_bytes) : left.len;
        if (!fold_frames(f, span_of(left.ptr, frame), chain, error)) {
            return false;
        }
        *bytes += frame;
        f->spilled = f->spilled || fold_is_large(f);
    }
    return fold_flush(f, error);
}

bool fold_flush(struct fold *f, struct error *error) {
    if (f->clock_moved) {
        struct row_key key;
        uint8_t value[ROW_CLOCK_BYTES];
        row_key_clock(&key);
        row_clock_write(value, &f->clock);
        overlay_put(&f->overlay, TABLE_META, row_key_span(&key), 0, span_of(value, sizeof value));
        f->clock_moved = false;
    }
    return overlay_flush(&f->overlay, f->last_lsn, error);
}
