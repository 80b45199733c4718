/* What the store holds of a client, and the two records that say what it is about.
 *
 *     SESSION "in:ID"    protocol: of the session that the broker has, 0: none was ever made; expiry_s: how long it
 *                        keeps it without a connection; disconnected_at: it had the connection then, or later
 *     SESSION "out:ID"   protocol: 0 while a CONNECT may have left whose CONNACK was not recorded, then 1 while
 *                        subscriptions are asked for once more and SUBACK was not recorded; disconnected_at:
 *                        when the broker turned out to have forgotten the session, 0: it has not; expiry_s: 0 when
 *                        the session may hold packet ids of somebody before us, else "never" */
#include "base/mem.h"
#include "base/must.h"
#include "client/state.h"

enum { UNANSWERED = 0, ASKING = 1 }; /* in place of a protocol */

static const char name_out[] = "out:";
static const char name_in[] = "in:";

/* Names and records a session of the store; the fields that say something are the caller's. */
static lsn_t record_session(struct client *c, const char *prefix, struct record record) {
    struct buf name = {NULL, 0, 0};
    buf_bytes(&name, span_str(prefix));
    buf_bytes(&name, span_str(c->client_id));
    record.kind = RECORD_SESSION;
    record.session.client_id = buf_span(&name);
    lsn_t lsn = prefix == name_out ? client_stage_out(c, &record) : client_stage_in(c, &record);
    buf_deinit(&name);
    return lsn;
}

static wall_ms_t wall_not_0(const struct client *c) {
    return c->wall != 0 ? c->wall : 1;
}

lsn_t client_record_in(struct client *c) {
    c->seen_recorded = c->seen;
    struct record_session s = {.session_id = c->receiving.session,
                               .expiry_s = c->expiry_s,
                               .disconnected_at = c->seen,
                               .protocol = c->session_known ? (uint8_t)c->protocol : 0};
    return record_session(c, name_in, (struct record){.session = s});
}

lsn_t client_record_out(struct client *c) {
    struct record_session s = {.session_id = c->sending.session,
                               .expiry_s = c->sending.foreign ? 0 : SESSION_NEVER_EXPIRES,
                               .disconnected_at = c->sending.lost ? wall_not_0(c) : 0,
                               .protocol = c->uncertain ? UNANSWERED
                                           : c->asking  ? ASKING
                                                        : (uint8_t)c->protocol};
    return record_session(c, name_out, (struct record){.session = s});
}

/* ---- the sink ---- */

struct loading {
    struct client *c;
    struct error *error;
    bool failed;
};

static bool begins_with(struct span s, const char *prefix) {
    size_t len = strlen(prefix);
    return s.len >= len && memcmp(s.ptr, prefix, len) == 0;
}

/* The store belongs to one client id; one that the broker assigned is taken over. */
static bool load_client_id(struct loading *l, struct span id) {
    struct client *c = l->c;
    if (id.len > 0 && c->client_id[0] == '\0') {
        c->client_id = client_keep(c, id.ptr, id.len);
        return true;
    }
    if (id.len == 0 || span_equal(id, span_str(c->client_id))) {
        return true;
    }
    l->failed = true;
    return error_set(l->error, ERROR_INVALID, 0, "the store belongs to the client id \"%.*s\"",
                     id.len < 128 ? (int)id.len : 128, (const char *)id.ptr);
}

static void load_session(void *user, session_id_t id, const struct record_session *s) {
    struct loading *l = user;
    struct client *c = l->c;
    if (begins_with(s->client_id, name_out)) {
        c->sending.session = id;
        c->sending.lost = s->disconnected_at != 0;
        c->sending.foreign = s->expiry_s == 0;
        c->uncertain = s->protocol == UNANSWERED;
        c->asking = s->protocol == ASKING;
        (void)load_client_id(l, span_skip(s->client_id, strlen(name_out)));
    } else if (begins_with(s->client_id, name_in)) {
        c->receiving.session = id;
        c->session_known = s->protocol != 0;
        c->expiry_s = s->expiry_s;
        c->seen = s->disconnected_at;
        c->seen_recorded = c->seen;
        c->uncertain = c->uncertain || (c->session_known && c->seen == 0); /* as stores were written at first */
        (void)load_client_id(l, span_skip(s->client_id, strlen(name_in)));
    } else if (!l->failed) {
        l->failed = true;
        (void)error_set(l->error, ERROR_FORMAT, 0, "the store is not a client's: it has the session \"%.*s\"",
                        s->client_id.len < 128 ? (int)s->client_id.len : 128, (const char *)s->client_id.ptr);
    }
}

static void load_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    struct loading *l = user;
    if (id == l->c->receiving.session) {
        subscribe_load(l->c, s);
    }
}

static void load_held(void *user, session_id_t id, packet_id_t packet_id) {
    struct loading *l = user;
    if (id == l->c->receiving.session) {
        (void)qos_in_hold(&l->c->receiving.held, packet_id);
    }
}

static void load_flight(void *user, session_id_t id, const struct store_flight *f) {
    struct loading *l = user;
    struct sending *s = &l->c->sending;
    if (id == s->session) {
        struct flight_parts parts = {
            .message_lsn = f->message_lsn, .target = f->target, .qos = f->qos, .retain = f->retain};
        (void)qos_out_restore(&s->flows, f->packet_id, f->released, &parts);
        open_set_add(&s->open, f->message_lsn, 0);
        s->last_message = f->message_lsn > s->last_message ? f->message_lsn : s->last_message;
    }
}

static void load_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    struct loading *l = user;
    struct client *c = l->c;
    lsn_t end = store_folded(c->store);
    if (id == c->sending.session) {
        queue_restore(&c->sending.queue, count, end);
        c->sending.queue_bytes = bytes;
        c->sending.last_message = end;
    } else if (id == c->receiving.session) {
        queue_restore(&c->receiving.queue, count, end);
        c->receiving.queue_bytes = bytes;
    }
}

static void load_will(void *user, const struct record_will *w) {
    (void)user;
    (void)w;
}

static void load_position(void *user, session_id_t id, uint64_t sequence) {
    struct loading *l = user;
    if (id == l->c->sending.session) {
        l->c->sending.last_sequence = sequence;
    }
}

static void load_retained(void *user, struct message *m) {
    (void)user;
    message_unref(m);
}

bool client_load(struct client *c, struct error *error) {
    struct loading loading = {.c = c, .error = error};
    struct store_sink sink = {.user = &loading,
                              .session = load_session,
                              .subscription = load_subscription,
                              .held = load_held,
                              .flight = load_flight,
                              .queue = load_queue,
                              .will = load_will,
                              .position = load_position,
                              .retained = load_retained};
    c->receiving.load_end = store_folded(c->store);
    c->folded = c->receiving.load_end;
    if (!store_load(c->store, &sink, error) || loading.failed) {
        return false;
    }
    if (c->sending.session == 0) {
        c->sending.session = client_record_out(c);
    }
    if (c->receiving.session == 0) {
        c->receiving.session = client_record_in(c);
    }
    return true;
}
