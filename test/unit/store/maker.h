/* Makes random records that mean something most of the time, for the model of world.h and for stores. */
#pragma once

#include "base/prng.h"
#include "world.h"

struct maker {
    struct prng prng;
    bool lawless;      /* also makes what no broker writes */
    size_t long_bytes; /* of one message in eight; 0: all are short */
    struct world now;  /* after all records made so far: so that most records make sense */
    struct buf bytes;  /* all records ever made, one after the other */
    struct list_of at; /* size_t: where each begins; record i has lsn i + 1 */
    char topic[WORLD_TEXT];
    char payload[WORLD_TEXT];
    char filter[WORLD_TEXT * 16];
    struct record_target targets[8];
    struct record_retained_item items[4];
    lsn_t subscribed;        /* the last SUBSCRIBED, */
    session_id_t subscriber; /* whose it is, */
    uint32_t brought;        /* and how many retained messages it has brought */
};

WORLD_UNUSED static void maker_deinit(struct maker *m) {
    world_deinit(&m->now);
    buf_deinit(&m->bytes);
    mem_free(m->at.at);
}

static struct span maker_record(const struct maker *m, lsn_t lsn) {
    size_t from = WORLD_AT(m->at, size_t)[lsn - 1];
    size_t to = lsn < m->at.count ? WORLD_AT(m->at, size_t)[lsn] : m->bytes.len;
    return span_of(m->bytes.ptr + from, to - from);
}

/* Records beyond `last` were never made. */
WORLD_UNUSED static void maker_cut(struct maker *m, lsn_t last) {
    must(last <= m->at.count);
    m->bytes.len = last < m->at.count ? WORLD_AT(m->at, size_t)[last] : m->bytes.len;
    m->at.count = last;
    world_deinit(&m->now);
    for (lsn_t lsn = 1; lsn <= last; lsn++) {
        world_apply(&m->now, lsn, maker_record(m, lsn));
    }
}

static session_id_t some_session(struct maker *m) {
    if (m->now.sessions.count == 0 || prng_chance(&m->prng, 1, 20)) {
        return 1 + prng_below(&m->prng, m->at.count + 1);
    }
    return WORLD_AT(m->now.sessions, struct world_session)[prng_below(&m->prng, m->now.sessions.count)].id;
}

static packet_id_t some_packet_id(struct maker *m) {
    return (packet_id_t)(1 + prng_below(&m->prng, 4));
}

static struct span some_topic(struct maker *m) {
    int n = snprintf(m->topic, sizeof m->topic, "t/%u", (unsigned)prng_below(&m->prng, 3));
    return span_of(m->topic, (size_t)n);
}

static struct span some_filter(struct maker *m) {
    int n = snprintf(m->filter, sizeof m->filter, "f/%u", (unsigned)prng_below(&m->prng, 3));
    if (prng_chance(&m->prng, 1, 4)) { /* too long for a key */
        memset(m->filter + n, 'x', sizeof m->filter - 1 - (size_t)n);
        n = (int)(sizeof m->filter - 1);
        m->filter[n - 1] = (char)('0' + prng_below(&m->prng, 2));
    }
    return span_of(m->filter, (size_t)n);
}

static struct message_parts some_parts(struct maker *m, lsn_t lsn) {
    int n = snprintf(m->payload, sizeof m->payload, "payload of %" PRIu64, lsn);
    struct message_parts p = {
        .qos = (uint8_t)prng_below(&m->prng, 3), .topic = some_topic(m), .payload = span_of(m->payload, (size_t)n)};
    static const uint8_t zeros[1 << 16];
    if (m->long_bytes > 0 && prng_chance(&m->prng, 1, 8)) {
        p.properties = span_of(zeros, m->long_bytes); /* the store does not look into them */
    }
    return p;
}

static void make_message(struct maker *m, struct record *r, lsn_t lsn) {
    r->kind = RECORD_MESSAGE;
    r->message = (struct record_message){.parts = some_parts(m, lsn), .accepted_at = (wall_ms_t)lsn};
    r->message.targets = m->targets;
    r->message.target_count = (uint32_t)prng_below(&m->prng, 4);
    for (uint32_t i = 0; i < r->message.target_count; i++) {
        m->targets[i] = (struct record_target){some_session(m), (uint8_t)(1 + prng_below(&m->prng, 2)),
                                               prng_chance(&m->prng, 1, 4)};
    }
    if (prng_chance(&m->prng, 3, 4)) {
        r->message.origin = some_session(m);
        r->message.packet_id = prng_chance(&m->prng, 3, 4) ? some_packet_id(m) : 0;
        r->message.clear_will = prng_chance(&m->prng, 1, 8);
        r->message.sequence = prng_chance(&m->prng, 1, 4) ? lsn : 0;
    }
    if (prng_chance(&m->prng, 1, 4)) {
        r->message.set_retained = true;
        if (prng_chance(&m->prng, 1, 3)) {
            r->message.parts.payload.len = 0;
        }
    }
}

static void make_sent(struct maker *m, struct record *r) {
    r->kind = RECORD_SENT;
    r->sent = (struct record_sent){some_session(m), some_packet_id(m), 1 + prng_below(&m->prng, m->at.count + 1), 0};
    if (m->now.queue.count > 0 && prng_chance(&m->prng, 15, 16)) {
        const struct world_queued *q =
            &WORLD_AT(m->now.queue, struct world_queued)[prng_below(&m->prng, m->now.queue.count)];
        r->sent.session_id = q->session;
        r->sent.message_lsn = q->lsn;
        r->sent.target = q->target;
    }
}

static void make_dropped(struct maker *m, struct record *r) {
    struct record sent;
    make_sent(m, &sent);
    r->kind = RECORD_DROPPED;
    r->dropped = (struct record_dropped){sent.sent.session_id, sent.sent.message_lsn, sent.sent.target};
}

static void make_flow(struct maker *m, struct record *r, enum record_kind kind) {
    r->kind = kind;
    r->flow = (struct record_flow){some_session(m), some_packet_id(m)};
    if ((kind == RECORD_RECEIVED || kind == RECORD_DONE) && m->now.flights.count > 0) {
        const struct world_flight *f =
            &WORLD_AT(m->now.flights, struct world_flight)[prng_below(&m->prng, m->now.flights.count)];
        r->flow = (struct record_flow){f->session, f->packet_id};
    }
}

static void make_session(struct maker *m, struct record *r, lsn_t lsn) {
    int n = snprintf(m->payload, sizeof m->payload, "client-%" PRIu64, lsn);
    r->kind = RECORD_SESSION;
    r->session = (struct record_session){.client_id = span_of(m->payload, (size_t)n), .expiry_s = (uint32_t)lsn};
    if (m->now.sessions.count > 4 || (m->now.sessions.count > 0 && prng_chance(&m->prng, 1, 2))) {
        r->session.session_id = some_session(m);
    }
}

static void make_subscribed(struct maker *m, struct record *r) {
    r->kind = RECORD_SUBSCRIBED;
    r->subscribed = (struct record_subscribed){some_session(m), some_filter(m), (uint32_t)prng_below(&m->prng, 4),
                                               (uint32_t)prng_below(&m->prng, 3)};
}

/* What the last subscription brings: of the retained messages that there are. */
static void make_retained(struct maker *m, struct record *r) {
    uint32_t count = 0;
    while (count < 4 && m->now.retained.count > 0 && prng_chance(&m->prng, 3, 4)) {
        size_t at = prng_below(&m->prng, m->now.retained.count);
        lsn_t lsn = WORLD_AT(m->now.retained, struct world_retained)[at].lsn;
        if (m->lawless && prng_chance(&m->prng, 1, 4)) {
            lsn = 1 + prng_below(&m->prng, m->at.count + 1);
        }
        m->items[count++] = (struct record_retained_item){lsn, (uint8_t)(1 + prng_below(&m->prng, 2))};
    }
    r->kind = RECORD_RETAINED;
    r->retained = (struct record_retained){.session_id = m->subscriber,
                                           .subscribed_lsn = m->subscribed,
                                           .first = m->brought,
                                           .items = m->items,
                                           .item_count = count};
    m->brought += m->lawless && prng_chance(&m->prng, 1, 4) ? 0 : count;
}

static bool world_holds(const struct world *w, session_id_t session, packet_id_t id) {
    for (size_t i = 0; i < w->held.count; i++) {
        const struct world_held *h = &WORLD_AT(w->held, struct world_held)[i];
        if (h->session == session && h->packet_id == id) {
            return true;
        }
    }
    return false;
}

/* What no broker writes becomes what one would: an id that is held is not held again, one in flight is not sent. */
static void make_lawful(struct maker *m, struct record *r) {
    if (r->kind == RECORD_MESSAGE && world_holds(&m->now, r->message.origin, r->message.packet_id)) {
        r->message.packet_id = 0;
    } else if (r->kind == RECORD_HELD && world_holds(&m->now, r->flow.session_id, r->flow.packet_id)) {
        r->kind = RECORD_FREED;
    } else if (r->kind == RECORD_SENT && world_flight(&m->now, r->sent.session_id, r->sent.packet_id) != NULL) {
        struct record_flow flow = {r->sent.session_id, r->sent.packet_id};
        r->kind = RECORD_DONE;
        r->flow = flow;
    }
}

/* Makes one record and remembers it; returns its lsn. Views in `r` are valid until the next. */
WORLD_UNUSED static lsn_t maker_next(struct maker *m, struct record *r) {
    lsn_t lsn = m->at.count + 1;
    uint64_t choice = prng_below(&m->prng, 100);
    if (m->now.sessions.count == 0 || choice < 6) {
        make_session(m, r, lsn);
    } else if (choice < 8) {
        *r = (struct record){.kind = RECORD_SESSION_END, .end = {some_session(m)}};
    } else if (choice < 12) {
        make_subscribed(m, r);
        m->subscribed = lsn;
        m->subscriber = r->subscribed.session_id;
        m->brought = 0;
    } else if (choice < 16 && m->subscribed != 0) {
        make_retained(m, r);
    } else if (choice == 16) {
        *r = (struct record){.kind = RECORD_UNSUBSCRIBED, .unsubscribed = {some_session(m), some_filter(m)}};
    } else if (choice < 40) {
        make_message(m, r, lsn);
    } else if (choice < 43) {
        make_flow(m, r, RECORD_HELD);
    } else if (choice < 53) {
        make_flow(m, r, RECORD_FREED);
    } else if (choice < 70) {
        make_sent(m, r);
    } else if (choice < 78) {
        make_flow(m, r, RECORD_RECEIVED);
    } else if (choice < 90) {
        make_flow(m, r, RECORD_DONE);
    } else if (choice < 94) {
        make_dropped(m, r);
    } else if (choice < 98) {
        *r = (struct record){.kind = RECORD_WILL, .will = {.session_id = some_session(m), .parts = some_parts(m, lsn)}};
    } else {
        *r = (struct record){.kind = RECORD_WILL_CLEARED, .end = {some_session(m)}};
    }
    if (!m->lawless) {
        make_lawful(m, r);
    }
    size_t *at = list_add(&m->at, sizeof *at);
    *at = m->bytes.len;
    record_encode(&m->bytes, r);
    world_apply(&m->now, lsn, maker_record(m, lsn));
    return lsn;
}
