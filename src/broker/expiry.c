#include "broker/expiry.h"

#include "base/mem.h"
#include "broker/connection.h"
#include "broker/session.h"
#include "broker/will.h"

/* Buffers of a connection that was quiet since the last tick are given back. */
static void connection_rest(struct connection *c) {
    if (!c->busy) {
        outbox_shrink(&c->out);
        qos_in_shrink(&c->counted);
        if (c->session != NULL) {
            qos_in_shrink(&c->session->in);
        }
    }
    c->busy = false;
}

void expiry_connection(struct connection *c) {
    struct shard *shard = c->shard;
    mono_ms_t quiet_ms = shard->now - c->received_at;
    connection_rest(c);
    if (c->state == CONNECTION_NEW) {
        if (shard->now - c->opened_at >= shard->broker->options.connect_timeout_ms) {
            shard_log(shard, LOG_NOTICE, "closing %s: no CONNECT in time", c->peer);
            connection_abort(c);
        }
        return;
    }
    if (c->state != CONNECTION_LIVE) {
        return;
    }
    if (c->protocol == PROTOCOL_311 && (c->pause & PAUSE_REFUSED) != 0 && c->refused_since != 0 &&
        shard->now - c->refused_since >= shard->broker->options.refuse_close_ms) {
        shard_log(shard, LOG_WARNING, "closing %s (%s): its message was over a limit for too long", c->peer,
                  shard_text(c->session->client_id));
        connection_close(c, REASON_QUOTA_EXCEEDED, false);
        return;
    }
    if (c->pause == 0 && c->in.len > 0 && c->begun_at != 0 &&
        shard->now - c->begun_at >= shard->broker->options.packet_timeout_ms) {
        shard_log(shard, LOG_NOTICE, "closing %s (%s): a packet was begun and not finished in time", c->peer,
                  shard_text(c->session->client_id));
        connection_close(c, REASON_IMPLEMENTATION_SPECIFIC_ERROR, false);
        return;
    }
    if (c->keep_alive_ms > 0 && (c->pause & ~(unsigned)PAUSE_OUTPUT) == 0 && quiet_ms > (mono_ms_t)c->keep_alive_ms) {
        shard_log(shard, LOG_NOTICE, "closing %s (%s): no packet came within the keep alive", c->peer,
                  shard_text(c->session->client_id));
        connection_close(c, REASON_KEEP_ALIVE_TIMEOUT, false);
        return;
    }
    if (broker_mutant(shard, MUTANT_R7)) {
        session_resend_now(c->session);
    }
}

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

/* A will whose delay has passed [MQTT-3.1.3-9]. */
static void expiry_will(struct session *s) {
    if (s->will.message != NULL && s->connection == NULL && session_away_ms(s) >= (int64_t)s->will.delay_s * 1000) {
        will_publish(s);
    }
}

void expiry_sessions(struct shard *shard) {
    struct session **expired = NULL;
    size_t count = 0;
    size_t at = 0;
    uint64_t id;
    void *value;
    while (map64_next(&shard->by_id, &at, &id, &value)) {
        struct session *s = value;
        if (broker_mutant(shard, MUTANT_R2)) {
            shard->counters.held_ids -= s->in.count;
            qos_in_deinit(&s->in);
        }
        expiry_will(s);
        if (expiry_due(s)) {
            expired = mem_resize(expired, (count + 1) * sizeof(struct session *));
            expired[count++] = s;
        }
    }
    for (size_t i = 0; i < count; i++) {
        expiry_session_end(expired[i]);
    }
    mem_free(expired);
}
