/* A small world of records for the tests of the store: a naive model of what records mean. (maker.h makes records.)
 *
 * The model shares no code with the fold: plain lists, searched from end to end. world_text() writes down all that is
 * alive; text_of_store() writes down, in the same words, what a store has. */
#pragma once

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/must.h"
#include "store/rows.h"
#include "store/store.h"
#include "store/table.h"

#define WORLD_UNUSED __attribute__((unused))

enum { WORLD_TEXT = 48 };

struct world_session {
    session_id_t id;
    char client_id[WORLD_TEXT];
    uint32_t expiry_s;
    uint64_t position;
    bool will;
    char will_topic[WORLD_TEXT];
};

struct world_subscription {
    session_id_t session;
    char filter[WORLD_TEXT * 16];
    uint32_t options;
    uint32_t identifier;
};

struct world_held {
    session_id_t session;
    packet_id_t packet_id;
};

struct world_flight {
    session_id_t session;
    packet_id_t packet_id;
    bool released;
    uint8_t qos;
    bool retain;
    lsn_t lsn;
    uint32_t target;
    lsn_t order;
    lsn_t body; /* the lsn of the record that has it */
};

struct world_queued {
    session_id_t session;
    lsn_t lsn;
    uint32_t target;
    uint8_t qos;
    bool retain;
    lsn_t body;
};

struct world_message {
    lsn_t lsn;
    char topic[WORLD_TEXT];
    char payload[WORLD_TEXT];
    uint32_t targets;
};

struct world_retained {
    char topic[WORLD_TEXT];
    lsn_t lsn;
};

struct list_of {
    size_t count;
    size_t capacity;
    void *at;
};

struct world {
    struct list_of sessions, subscriptions, held, flights, queue, messages, retained;
    lsn_t last; /* applied last */
};

#define WORLD_AT(list, type) ((type *)(list).at)

static void *list_add(struct list_of *l, size_t bytes) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity > 0 ? l->capacity * 2 : 16;
        l->at = mem_resize(l->at, l->capacity * bytes);
    }
    void *place = (char *)l->at + l->count++ * bytes;
    memset(place, 0, bytes);
    return place;
}

static void list_drop(struct list_of *l, size_t index, size_t bytes) {
    char *at = (char *)l->at + index * bytes;
    memmove(at, at + bytes, (--l->count - index) * bytes);
}

WORLD_UNUSED static void world_deinit(struct world *w) {
    struct list_of *all[] = {&w->sessions, &w->subscriptions, &w->held,    &w->flights,
                             &w->queue,    &w->messages,      &w->retained};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        mem_free(all[i]->at);
    }
    memset(w, 0, sizeof *w);
}

static struct world_session *world_session(struct world *w, session_id_t id) {
    for (size_t i = 0; i < w->sessions.count; i++) {
        if (WORLD_AT(w->sessions, struct world_session)[i].id == id) {
            return &WORLD_AT(w->sessions, struct world_session)[i];
        }
    }
    return NULL;
}

static void text_copy(char *to, size_t room, struct span from) {
    must(from.len < room);
    if (from.len > 0) {
        memcpy(to, from.ptr, from.len);
    }
    to[from.len] = '\0';
}

static void world_forget_session(struct world *w, session_id_t id) {
#define FORGET(list, type, field)                                                                                      \
    for (size_t i = w->list.count; i-- > 0;) {                                                                         \
        if (WORLD_AT(w->list, type)[i].field == id) {                                                                  \
            list_drop(&w->list, i, sizeof(type));                                                                      \
        }                                                                                                              \
    }
    FORGET(sessions, struct world_session, id)
    FORGET(subscriptions, struct world_subscription, session)
    FORGET(held, struct world_held, session)
    FORGET(flights, struct world_flight, session)
    FORGET(queue, struct world_queued, session)
#undef FORGET
}

static void world_hold(struct world *w, session_id_t session, packet_id_t id, bool hold) {
    for (size_t i = w->held.count; i-- > 0;) {
        struct world_held *h = &WORLD_AT(w->held, struct world_held)[i];
        if (h->session == session && h->packet_id == id) {
            list_drop(&w->held, i, sizeof *h);
        }
    }
    if (hold && world_session(w, session) != NULL) {
        struct world_held *h = list_add(&w->held, sizeof *h);
        h->session = session;
        h->packet_id = id;
    }
}

static struct world_flight *world_flight(struct world *w, session_id_t session, packet_id_t id) {
    for (size_t i = 0; i < w->flights.count; i++) {
        struct world_flight *f = &WORLD_AT(w->flights, struct world_flight)[i];
        if (f->session == session && f->packet_id == id) {
            return f;
        }
    }
    return NULL;
}

static void world_end_flight(struct world *w, session_id_t session, packet_id_t id) {
    struct world_flight *f = world_flight(w, session, id);
    if (f != NULL) {
        list_drop(&w->flights, (size_t)(f - WORLD_AT(w->flights, struct world_flight)), sizeof *f);
    }
}

static bool world_take(struct world *w, session_id_t session, lsn_t lsn, uint32_t target, struct world_queued *out) {
    for (size_t i = 0; i < w->queue.count; i++) {
        struct world_queued *q = &WORLD_AT(w->queue, struct world_queued)[i];
        if (q->session == session && q->lsn == lsn && q->target == target) {
            *out = *q;
            list_drop(&w->queue, i, sizeof *q);
            return true;
        }
    }
    return false;
}

static void world_retain(struct world *w, lsn_t lsn, const struct world_message *m) {
    for (size_t i = w->retained.count; i-- > 0;) {
        if (strcmp(WORLD_AT(w->retained, struct world_retained)[i].topic, m->topic) == 0) {
            list_drop(&w->retained, i, sizeof(struct world_retained));
        }
    }
    if (m->payload[0] != '\0') {
        struct world_retained *r = list_add(&w->retained, sizeof *r);
        r->lsn = lsn;
        memcpy(r->topic, m->topic, sizeof r->topic);
    }
}

static void world_clear_will(struct world *w, session_id_t session) {
    struct world_session *s = world_session(w, session);
    if (s != NULL) {
        s->will = false;
    }
}

static void world_apply_message(struct world *w, lsn_t lsn, const struct record_message *r) {
    struct world_message *m = list_add(&w->messages, sizeof *m);
    m->lsn = lsn;
    m->targets = r->target_count;
    text_copy(m->topic, sizeof m->topic, r->parts.topic);
    text_copy(m->payload, sizeof m->payload, r->parts.payload);
    if (r->packet_id != 0) {
        world_hold(w, r->origin, r->packet_id, true);
    }
    struct world_session *origin = world_session(w, r->origin);
    if (r->sequence != 0 && origin != NULL) {
        origin->position = r->sequence;
    }
    if (r->clear_will) {
        world_clear_will(w, r->origin);
    }
    struct reader targets = reader_of(r->targets_raw);
    struct record_target t;
    for (uint32_t i = 0; record_target_next(&targets, &t); i++) {
        if (world_session(w, t.session_id) != NULL) {
            struct world_queued *q = list_add(&w->queue, sizeof *q);
            *q = (struct world_queued){t.session_id, lsn, i, t.qos, t.retain, lsn};
        }
    }
    if (r->set_retained) {
        world_retain(w, lsn, m);
    }
}

static void world_apply_subscribed(struct world *w, session_id_t session, struct span filter,
                                   const struct record_subscribed *r) {
    for (size_t i = w->subscriptions.count; i-- > 0;) {
        struct world_subscription *s = &WORLD_AT(w->subscriptions, struct world_subscription)[i];
        if (s->session == session && span_equal(span_str(s->filter), filter)) {
            list_drop(&w->subscriptions, i, sizeof *s);
        }
    }
    if (r != NULL && world_session(w, session) != NULL) {
        struct world_subscription *s = list_add(&w->subscriptions, sizeof *s);
        s->session = session;
        s->options = r->options;
        s->identifier = r->identifier;
        text_copy(s->filter, sizeof s->filter, filter);
    }
}

static uint32_t world_references(const struct world *w, lsn_t lsn) {
    uint32_t count = 0;
    for (size_t i = 0; i < w->queue.count; i++) {
        count += WORLD_AT(w->queue, struct world_queued)[i].body == lsn;
    }
    for (size_t i = 0; i < w->flights.count; i++) {
        const struct world_flight *f = &WORLD_AT(w->flights, struct world_flight)[i];
        count += f->body == lsn && !f->released;
    }
    for (size_t i = 0; i < w->retained.count; i++) {
        count += WORLD_AT(w->retained, struct world_retained)[i].lsn == lsn;
    }
    return count;
}

static bool world_queues(const struct world *w, session_id_t session, lsn_t lsn, uint32_t target) {
    for (size_t i = 0; i < w->queue.count; i++) {
        const struct world_queued *q = &WORLD_AT(w->queue, struct world_queued)[i];
        if (q->session == session && q->lsn == lsn && q->target == target) {
            return true;
        }
    }
    return false;
}

/* In the order of the names, in which they are looked at later. */
static int world_queued_compare(const void *left, const void *right) {
    const struct world_queued *a = left;
    const struct world_queued *b = right;
    if (a->lsn != b->lsn) {
        return a->lsn < b->lsn ? -1 : 1;
    }
    return a->target < b->target ? -1 : a->target > b->target;
}

static void world_apply_retained(struct world *w, lsn_t lsn, const struct record_retained *r) {
    struct reader items = reader_of(r->items_raw);
    struct record_retained_item item;
    if (r->subscribed_lsn >= lsn || world_session(w, r->session_id) == NULL) {
        return;
    }
    for (uint32_t i = r->first; record_retained_next(&items, &item); i++) {
        if (world_references(w, item.message_lsn) > 0 && !world_queues(w, r->session_id, r->subscribed_lsn, i)) {
            struct world_queued *q = list_add(&w->queue, sizeof *q);
            *q = (struct world_queued){r->session_id, r->subscribed_lsn, i, item.qos, true, item.message_lsn};
        }
    }
    if (w->queue.count > 1) {
        qsort(w->queue.at, w->queue.count, sizeof(struct world_queued), world_queued_compare);
    }
}

static void world_apply_sent(struct world *w, lsn_t lsn, const struct record_sent *r) {
    struct world_queued q;
    if (world_take(w, r->session_id, r->message_lsn, r->target, &q)) {
        world_end_flight(w, r->session_id, r->packet_id);
        struct world_flight *f = list_add(&w->flights, sizeof *f);
        *f = (struct world_flight){q.session, r->packet_id, false, q.qos, q.retain, q.lsn, q.target, lsn, q.body};
    }
}

/* What one record means. */
WORLD_UNUSED static void world_apply(struct world *w, lsn_t lsn, struct span encoded) {
    struct record r;
    must(record_decode(encoded, &r));
    w->last = lsn;
    struct world_session *s;
    struct world_flight *f;
    struct world_queued q;
    switch (r.kind) {
    case RECORD_SESSION:
        s = r.session.session_id == 0 ? list_add(&w->sessions, sizeof *s) : world_session(w, r.session.session_id);
        if (s != NULL) {
            s->id = r.session.session_id == 0 ? lsn : s->id;
            s->expiry_s = r.session.expiry_s;
            text_copy(s->client_id, sizeof s->client_id, r.session.client_id);
        }
        break;
    case RECORD_SESSION_END:
        world_forget_session(w, r.end.session_id);
        break;
    case RECORD_SUBSCRIBED:
        world_apply_subscribed(w, r.subscribed.session_id, r.subscribed.filter, &r.subscribed);
        break;
    case RECORD_UNSUBSCRIBED:
        world_apply_subscribed(w, r.unsubscribed.session_id, r.unsubscribed.filter, NULL);
        break;
    case RECORD_MESSAGE:
        world_apply_message(w, lsn, &r.message);
        break;
    case RECORD_HELD:
        world_hold(w, r.flow.session_id, r.flow.packet_id, true);
        break;
    case RECORD_FREED:
        world_hold(w, r.flow.session_id, r.flow.packet_id, false);
        break;
    case RECORD_SENT:
        world_apply_sent(w, lsn, &r.sent);
        break;
    case RECORD_RECEIVED:
        f = world_flight(w, r.flow.session_id, r.flow.packet_id);
        if (f != NULL && !f->released) {
            f->released = true;
            f->order = lsn;
        }
        break;
    case RECORD_DONE:
        world_end_flight(w, r.flow.session_id, r.flow.packet_id);
        break;
    case RECORD_DROPPED:
        (void)world_take(w, r.dropped.session_id, r.dropped.message_lsn, r.dropped.target, &q);
        break;
    case RECORD_WILL:
        s = world_session(w, r.will.session_id);
        if (s != NULL) {
            s->will = true;
            text_copy(s->will_topic, sizeof s->will_topic, r.will.parts.topic);
        }
        break;
    case RECORD_WILL_CLEARED:
        world_clear_will(w, r.end.session_id);
        break;
    case RECORD_RETAINED:
        world_apply_retained(w, lsn, &r.retained);
        break;
    case RECORD_CLOCK:
    case RECORD_NONE:
        break;
    }
}

/* ---- what is alive, as text ---- */

static void say(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct buf *out, const char *format, ...) {
    char text[1200];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(length >= 0 && (size_t)length < sizeof text);
    buf_bytes(out, span_of(text, (size_t)length));
}

static const struct world_message *world_message(const struct world *w, lsn_t lsn) {
    for (size_t i = 0; i < w->messages.count; i++) {
        if (WORLD_AT(w->messages, struct world_message)[i].lsn == lsn) {
            return &WORLD_AT(w->messages, struct world_message)[i];
        }
    }
    must(false);
    return NULL;
}

/* In the order of the table's keys, which for filters that are too long for a key is that of their hashes. */
static int world_subscription_compare(const void *a, const void *b) {
    struct row_key x;
    struct row_key y;
    row_key_subscription(&x, 0, span_str(((const struct world_subscription *)a)->filter));
    row_key_subscription(&y, 0, span_str(((const struct world_subscription *)b)->filter));
    int order = memcmp(x.bytes, y.bytes, x.len < y.len ? x.len : y.len);
    return order != 0 ? order : x.len < y.len ? -1 : x.len > y.len;
}

/* Prints where two texts part; true when they do not. */
WORLD_UNUSED static bool same_text(const struct buf *got, const struct buf *expected) {
    const char *a = (const char *)got->ptr;
    const char *b = (const char *)expected->ptr;
    if (strcmp(a, b) == 0) {
        return true;
    }
    size_t i = 0;
    while (a[i] == b[i]) {
        i++;
    }
    while (i > 0 && a[i - 1] != '\n') {
        i--;
    }
    fprintf(stderr, "got      %.200s\n--------\nexpected %.200s\n", a + i, b + i);
    return false;
}

static int world_held_compare(const void *a, const void *b) {
    return ((const struct world_held *)a)->packet_id - ((const struct world_held *)b)->packet_id;
}

static int world_flight_compare(const void *a, const void *b) {
    lsn_t x = ((const struct world_flight *)a)->order;
    lsn_t y = ((const struct world_flight *)b)->order;
    return x < y ? -1 : x > y;
}

static int world_retained_compare(const void *a, const void *b) {
    return strcmp(((const struct world_retained *)a)->topic, ((const struct world_retained *)b)->topic);
}

static void world_sort(struct list_of *l, size_t bytes, int (*compare)(const void *, const void *)) {
    if (l->count > 1) {
        qsort(l->at, l->count, bytes, compare);
    }
}

static void world_text_session(struct world *w, session_id_t id, struct buf *out) {
    for (size_t i = 0; i < w->subscriptions.count; i++) {
        const struct world_subscription *s = &WORLD_AT(w->subscriptions, struct world_subscription)[i];
        if (s->session == id) {
            say(out, "subscription %" PRIu64 " %s %u %u\n", id, s->filter, s->options, s->identifier);
        }
    }
    for (size_t i = 0; i < w->held.count; i++) {
        const struct world_held *h = &WORLD_AT(w->held, struct world_held)[i];
        if (h->session == id) {
            say(out, "held %" PRIu64 " %u\n", id, h->packet_id);
        }
    }
    for (size_t i = 0; i < w->flights.count; i++) {
        const struct world_flight *f = &WORLD_AT(w->flights, struct world_flight)[i];
        if (f->session == id) {
            say(out, "flight %" PRIu64 " %u qos%u%s%s lsn %" PRIu64 " target %u order %" PRIu64 "%s%s\n", id,
                f->packet_id, f->qos, f->retain ? " retain" : "", f->released ? " released" : "", f->lsn, f->target,
                f->order, f->released ? "" : " ", f->released ? "" : world_message(w, f->body)->payload);
        }
    }
    for (size_t i = 0; i < w->queue.count; i++) {
        const struct world_queued *q = &WORLD_AT(w->queue, struct world_queued)[i];
        if (q->session == id) {
            say(out, "queued %" PRIu64 " lsn %" PRIu64 " target %u qos%u%s %s %s\n", id, q->lsn, q->target, q->qos,
                q->retain ? " retain" : "", world_message(w, q->body)->topic, world_message(w, q->body)->payload);
        }
    }
    if (world_session(w, id)->position != 0) {
        say(out, "position %" PRIu64 " %" PRIu64 "\n", id, world_session(w, id)->position);
    }
}

WORLD_UNUSED static void world_text(struct world *w, struct buf *out) {
    world_sort(&w->subscriptions, sizeof(struct world_subscription), world_subscription_compare);
    world_sort(&w->held, sizeof(struct world_held), world_held_compare);
    world_sort(&w->flights, sizeof(struct world_flight), world_flight_compare);
    world_sort(&w->retained, sizeof(struct world_retained), world_retained_compare);
    out->len = 0;
    for (size_t i = 0; i < w->sessions.count; i++) {
        const struct world_session *s = &WORLD_AT(w->sessions, struct world_session)[i];
        say(out, "session %" PRIu64 " %s %u\n", s->id, s->client_id, s->expiry_s);
    }
    for (size_t i = 0; i < w->sessions.count; i++) {
        world_text_session(w, WORLD_AT(w->sessions, struct world_session)[i].id, out);
    }
    for (size_t i = 0; i < w->sessions.count; i++) {
        const struct world_session *s = &WORLD_AT(w->sessions, struct world_session)[i];
        if (s->will) {
            say(out, "will %" PRIu64 " %s\n", s->id, s->will_topic);
        }
    }
    for (size_t i = 0; i < w->retained.count; i++) {
        const struct world_retained *r = &WORLD_AT(w->retained, struct world_retained)[i];
        say(out, "retained %" PRIu64 " %s %s\n", r->lsn, r->topic, world_message(w, r->lsn)->payload);
    }
    for (size_t i = 0; i < w->messages.count; i++) {
        lsn_t lsn = WORLD_AT(w->messages, struct world_message)[i].lsn;
        if (world_references(w, lsn) > 0) {
            say(out, "message %" PRIu64 " references %u\n", lsn, world_references(w, lsn));
        }
    }
    buf_u8(out, 0);
}

/* ---- the same of a store ---- */

struct text_sink {
    struct store *store;
    struct buf *out;
};

static void text_session(void *user, session_id_t id, const struct record_session *s) {
    struct text_sink *t = user;
    say(t->out, "session %" PRIu64 " %.*s %u\n", id, (int)s->client_id.len, (const char *)s->client_id.ptr,
        s->expiry_s);
}

static void text_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    struct text_sink *t = user;
    say(t->out, "subscription %" PRIu64 " %.*s %u %u\n", id, (int)s->filter.len, (const char *)s->filter.ptr,
        s->options, s->identifier);
}

static void text_held(void *user, session_id_t id, packet_id_t packet_id) {
    struct text_sink *t = user;
    say(t->out, "held %" PRIu64 " %u\n", id, packet_id);
}

static void text_flight(void *user, session_id_t id, const struct store_flight *f) {
    struct text_sink *t = user;
    say(t->out, "flight %" PRIu64 " %u qos%u%s%s lsn %" PRIu64 " target %u order %" PRIu64, id, f->packet_id, f->qos,
        f->retain ? " retain" : "", f->released ? " released" : "", f->message_lsn, f->target, f->order);
    if (!f->released) {
        struct message *m = store_message(t->store, f->body_lsn != 0 ? f->body_lsn : f->message_lsn);
        must(m != NULL);
        say(t->out, " %.*s", (int)message_payload(m).len, (const char *)message_payload(m).ptr);
        message_unref(m);
    }
    say(t->out, "\n");
}

/* Reads the queue in small pieces, as the broker does, and compares with what the load has announced. */
static void text_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    struct text_sink *t = user;
    struct store_delivery d[3];
    lsn_t lsn = 0;
    uint32_t target = 0;
    uint64_t seen = 0;
    uint64_t seen_bytes = 0;
    for (;;) {
        size_t n = store_queue_read(t->store, id, lsn, target, d, 3);
        for (size_t i = 0; i < n; i++) {
            struct message *m = d[i].message;
            say(t->out, "queued %" PRIu64 " lsn %" PRIu64 " target %u qos%u%s %.*s %.*s\n", id, d[i].message_lsn,
                d[i].target, d[i].qos, d[i].retain ? " retain" : "", (int)message_topic(m).len,
                (const char *)message_topic(m).ptr, (int)message_payload(m).len, (const char *)message_payload(m).ptr);
            lsn = d[i].message_lsn;
            target = d[i].target;
            seen++;
            seen_bytes += message_bytes(m);
            message_unref(m);
        }
        if (n == 0) {
            break;
        }
    }
    if (seen != count || seen_bytes != bytes) {
        say(t->out, "announced %" PRIu64 " deliveries, %" PRIu64 " bytes\n", count, bytes);
    }
}

static void text_will(void *user, const struct record_will *w) {
    struct text_sink *t = user;
    say(t->out, "will %" PRIu64 " %.*s\n", w->session_id, (int)w->parts.topic.len, (const char *)w->parts.topic.ptr);
}

static void text_position(void *user, session_id_t id, uint64_t sequence) {
    struct text_sink *t = user;
    say(t->out, "position %" PRIu64 " %" PRIu64 "\n", id, sequence);
}

static void text_retained(void *user, struct message *m) {
    struct text_sink *t = user;
    say(t->out, "retained %" PRIu64 " %.*s %.*s\n", m->lsn, (int)message_topic(m).len,
        (const char *)message_topic(m).ptr, (int)message_payload(m).len, (const char *)message_payload(m).ptr);
    message_unref(m);
}

WORLD_UNUSED static void text_of_store(struct store *store, struct table *table, struct buf *out) {
    struct text_sink t = {store, out};
    struct store_sink sink = {.user = &t,
                              .session = text_session,
                              .subscription = text_subscription,
                              .held = text_held,
                              .flight = text_flight,
                              .queue = text_queue,
                              .will = text_will,
                              .position = text_position,
                              .retained = text_retained};
    struct error error;
    out->len = 0;
    if (!store_load(store, &sink, &error)) {
        say(out, "not loaded: %s\n", error.text);
    }
    struct table_txn *txn = table->ops->begin(table, false, &error);
    struct table_cursor *c = table->ops->cursor_open(txn, TABLE_MESSAGES, span_of(NULL, 0));
    struct span key;
    struct span value;
    while (table->ops->cursor_next(c, &key, &value)) {
        lsn_t lsn = 0;
        uint32_t count = 1;
        must(row_key_message_read(key, &lsn));
        if (table->ops->get(txn, TABLE_REFERENCES, key, &value)) {
            must(row_count_read(value, &count));
        }
        say(out, "message %" PRIu64 " references %u\n", lsn, count);
    }
    table->ops->cursor_close(c);
    table->ops->abort(txn);
    buf_u8(out, 0);
}
