#include "broker/expiry.h"

#include "broker/admit.h"
#include "broker/connection.h"
#include "broker/inlet.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/takeover.h"
#include "broker/will.h"

enum {
    EXPIRE_SLICE = 2000,  /* points: sessions and their subscriptions that end in one turn, receivers of wills */
    AWAITED_MS = 100,     /* until it is looked again at a session whose client is back and waits for its turn */
    LOOK_AGAIN_MS = 1000, /* at a connection that is late and may be so for now */
};

/* ---- connections ---- */

static void connection_rest(struct connection *c) {
    outbox_shrink(&c->out);
    admit_output_less(c, true);
    qos_in_shrink(&c->counted);
    if (c->session != NULL) {
        qos_in_shrink(&c->session->in);
        inlet_rest(c->shard->broker, c->session->inlet);
        admit_inflight(c->session, true);
    }
}

/* Buffers of connections that were quiet since the last tick are given back. */
static void expiry_rest(struct shard *shard) {
    struct link *next;
    for (struct link *l = shard->busy.next; l != &shard->busy; l = next) {
        struct connection *c = container_of(l, struct connection, busy_link);
        next = l->next;
        if (c->busy) {
            c->busy = false;
        } else {
            list_remove(l);
            connection_rest(c);
        }
    }
}

/* A 3.1.1 publish that waits for room does so for so long, and whoever has sent too much behind a SUBSCRIBE. */
static mono_ms_t connection_refused_until(const struct connection *c) {
    bool waits = c->refused_since != 0 && (c->protocol == PROTOCOL_311 || (c->pause & PAUSE_BRING) != 0);
    return waits ? c->refused_since + c->shard->broker->options.refuse_close_ms : INT64_MAX;
}

/* A packet that was begun must be whole by then. */
static mono_ms_t connection_packet_until(const struct connection *c) {
    bool begun = c->begun_at != 0 && c->in.len > 0;
    return begun ? c->begun_at + c->shard->broker->options.packet_timeout_ms : INT64_MAX;
}

/* When time alone may close it; INT64_MAX: never. */
static mono_ms_t connection_due(const struct connection *c) {
    if (c->state == CONNECTION_NEW) {
        return c->took_at + c->shard->broker->options.connect_timeout_ms;
    }
    if (c->state != CONNECTION_LIVE) {
        return INT64_MAX;
    }
    mono_ms_t refused_until = connection_refused_until(c);
    mono_ms_t quiet_until = c->keep_alive_ms > 0 ? c->received_at + (mono_ms_t)c->keep_alive_ms + 1 : INT64_MAX;
    mono_ms_t packet_until = connection_packet_until(c);
    mono_ms_t at = refused_until < quiet_until ? refused_until : quiet_until;
    return at < packet_until ? at : packet_until;
}

void expiry_watch(struct connection *c) {
    mono_ms_t at = connection_due(c);
    if (at == INT64_MAX) {
        heap_remove(&c->shard->connections_due, &c->due);
    } else {
        heap_set(&c->shard->connections_due, &c->due, at);
    }
}

void expiry_begun(struct connection *c) {
    mono_ms_t at = connection_packet_until(c);
    if (c->state == CONNECTION_LIVE && (c->due.place == 0 || c->due.at > at)) {
        heap_set(&c->shard->connections_due, &c->due, at);
    }
}

/* Whether silence is its client's. */
static bool connection_is_heard(const struct connection *c) {
    bool waits_for_bring = c->pause == PAUSE_BRING && c->wish == CONN_READ;
    return waits_for_bring || (c->pause & ~(unsigned)PAUSE_OUTPUT) == 0;
}

static void expiry_connection(struct connection *c) {
    struct shard *shard = c->shard;
    mono_ms_t quiet_ms = shard->now - c->received_at;
    if (c->state == CONNECTION_NEW) {
        shard_log(shard, LOG_NOTICE, "closing %s: no CONNECT in time", c->peer);
        connection_abort(c);
    } else if ((c->pause & (PAUSE_REFUSED | PAUSE_BRING)) != 0 && shard->now >= connection_refused_until(c)) {
        shard_log(shard, LOG_WARNING, "closing %s (%s): %s for too long", c->peer, shard_text(c->session->client_id),
                  (c->pause & PAUSE_BRING) != 0 ? "too much waited behind its SUBSCRIBE"
                                                : "its message was over a limit");
        connection_close(c, REASON_QUOTA_EXCEEDED, false);
    } else if (c->pause == 0 && shard->now >= connection_packet_until(c)) {
        shard_log(shard, LOG_NOTICE, "closing %s (%s): a packet was begun and not finished in time", c->peer,
                  shard_text(c->session->client_id));
        connection_close(c, REASON_IMPLEMENTATION_SPECIFIC_ERROR, false);
    } else if (c->keep_alive_ms > 0 && connection_is_heard(c) && quiet_ms > (mono_ms_t)c->keep_alive_ms) {
        shard_log(shard, LOG_NOTICE, "closing %s (%s): no packet came within the keep alive", c->peer,
                  shard_text(c->session->client_id));
        connection_close(c, REASON_KEEP_ALIVE_TIMEOUT, false);
    }
}

static void mutant_resend(struct shard *shard) {
    for (uint32_t i = 0; i < shard->slot_count; i++) {
        struct connection *c = shard->slots[i].connection;
        if (c != NULL && c->state == CONNECTION_LIVE) {
            session_resend_now(c->session);
        }
    }
}

/* A deadline is looked at when it comes, not moved with each packet: most have moved on by then. True when more is due:
 * many may be late at once, each with a will. */
static bool expiry_connections(struct shard *shard) {
    struct heap_node *node;
    const int64_t rest = shard->points - EXPIRE_SLICE;
    while (shard->points > rest && (node = heap_due(&shard->connections_due, shard->now)) != NULL) {
        shard_spend(shard, 1);
        struct connection *c = container_of(node, struct connection, due);
        mono_ms_t at = connection_due(c);
        if (at <= shard->now) {
            expiry_connection(c);
            at = shard->now + LOOK_AGAIN_MS;
        }
        if (c->state == CONNECTION_CLOSING || at == INT64_MAX) {
            heap_remove(&shard->connections_due, node);
        } else {
            heap_set(&shard->connections_due, node, at);
        }
    }
    return heap_due(&shard->connections_due, shard->now) != NULL;
}

/* ---- sessions ---- */

static int64_t session_away_ms(const struct session *s) {
    return s->shard->wall - s->disconnected_at;
}

bool expiry_due(const struct session *s) {
    return s->connection == NULL && s->expiry_s != SESSION_NEVER_EXPIRES &&
           session_away_ms(s) >= (int64_t)s->expiry_s * 1000;
}

void expiry_session_end(struct session *s) {
    shard_log(s->shard, LOG_INFO, "the session of %s has expired", shard_text(s->client_id));
    s->shard->counters.sessions_expired++;
    session_end(s, MUTANT_B8);
}

bool expiry_will_due(const struct session *s) {
    return s->will.message != NULL && s->connection == NULL && session_away_ms(s) >= (int64_t)s->will.delay_s * 1000;
}

void expiry_arm(struct session *s) {
    int64_t at = INT64_MAX;
    if (s->connection == NULL && s->expiry_s != SESSION_NEVER_EXPIRES) {
        at = s->disconnected_at + (int64_t)s->expiry_s * 1000;
    }
    if (s->connection == NULL && s->will.message != NULL) {
        int64_t will_at = s->disconnected_at + (int64_t)s->will.delay_s * 1000;
        at = will_at < at ? will_at : at;
        at = s->will.retry_at > at ? s->will.retry_at : at;
    }
    if (at == INT64_MAX) {
        heap_remove(&s->shard->due, &s->due);
    } else {
        heap_set(&s->shard->due, &s->due, at);
    }
}

static void mutant_forget_held(struct shard *shard) {
    size_t at = 0;
    uint64_t id;
    void *value;
    while (map64_next(&shard->by_id, &at, &id, &value)) {
        struct session *s = value;
        shard->counters.held_ids -= s->in.count;
        qos_in_deinit(&s->in);
    }
}

/* True when more is due. */
static bool expiry_sessions(struct shard *shard) {
    struct heap_node *node;
    const int64_t rest = shard->points - EXPIRE_SLICE;
    while (shard->points > rest && (node = heap_due(&shard->due, shard->wall)) != NULL) {
        struct session *s = container_of(node, struct session, due);
        shard_spend(shard, 1 + s->subscriptions.count);
        if (takeover_awaited(s)) { /* its client is back in time */
            heap_set(&shard->due, node, shard->wall + AWAITED_MS);
            continue;
        }
        bool waits = expiry_will_due(s) && !will_publish(s);
        if (will_keeper(s) && !waits) {
            session_end(s, MUTANT_B8);
        } else if (expiry_due(s) && !will_keeper(s)) {
            expiry_session_end(s);
        } else {
            expiry_arm(s);
        }
    }
    return heap_due(&shard->due, shard->wall) != NULL;
}

void expiry_tick(struct shard *shard) {
    bool connections = expiry_connections(shard);
    if (broker_mutant(shard, MUTANT_R7)) {
        mutant_resend(shard);
    }
    expiry_rest(shard);
    if (broker_mutant(shard, MUTANT_R2)) {
        mutant_forget_held(shard);
    }
    bool sessions = expiry_sessions(shard);
    shard->expiring = shard->expiring || connections || sessions;
}

void expiry_go_on(struct shard *shard) {
    bool connections = shard->expiring && expiry_connections(shard);
    bool sessions = shard->expiring && expiry_sessions(shard);
    bool retained = shard->index == 0 && retained_expire(shard);
    shard->expiring = connections || sessions || retained;
}
