/* The start: sessions, subscriptions, flows and queues come back from the store, and wills whose connection the stop
 * has ended are published. */
#include "base/must.h"
#include "broker/admit.h"
#include "broker/connect.h"
#include "broker/expiry.h"
#include "broker/inlet.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/sieve.h"
#include "broker/will.h"
#include "topic/topic.h"

struct loading {
    struct broker *broker;
    struct map64 sessions; /* id -> session */
    lsn_t end;             /* the last record that there is */
    wall_ms_t now;
    struct error *error;
    bool failed; /* `error` says why; nothing more is taken */
};

static void load_fail(struct loading *loading, const char *what, struct span name) {
    if (!loading->failed) {
        loading->failed = true;
        (void)error_set(loading->error, ERROR_DAMAGED, 0,
                        "the table is damaged: %s (%s); 'quartet store check' tells more, 'quartet store repair' "
                        "removes it",
                        what, shard_text(name));
    }
}

/* NULL: the store has told of no such session, or the load has failed. */
static struct session *loading_session(struct loading *loading, session_id_t id) {
    struct session *session = loading->failed ? NULL : map64_get(&loading->sessions, id);
    if (session == NULL) {
        load_fail(loading, "what belongs to a session that is not there", SPAN("unknown"));
    }
    return session;
}

static void load_session(void *user, session_id_t id, const struct record_session *s) {
    struct loading *loading = user;
    struct broker *broker = loading->broker;
    uint32_t max_s = broker->options.session_expiry_max_s; /* also for those that were there before it */
    struct session_parts parts = {.client_id = s->client_id,
                                  .protocol = s->protocol,
                                  .durable = true,
                                  .expiry_s = s->expiry_s < max_s ? s->expiry_s : max_s};
    struct shard *shard = broker->shards[connect_owner(broker, s->client_id)]; /* a keeper's is that of its client */
    if (map_bytes_get(&shard->by_client, s->client_id) != NULL || map64_get(&loading->sessions, id) != NULL) {
        load_fail(loading, "a client has two sessions", s->client_id);
    }
    if (loading->failed) {
        return;
    }
    parts.owner = quota_owner(broker->quota, s->owner);
    parts.taken = admit_session_cost(s->client_id, NULL);
    admit_session_anyway(parts.owner, &parts.taken);
    /* A machine without a clock may not know how long it ran. */
    wall_ms_t left = s->disconnected_at < loading->now ? s->disconnected_at : loading->now;
    struct session *session = session_restore(shard, id, &parts, left);
    (void)map64_put(&loading->sessions, id, session);
}

static void load_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    struct loading *loading = user;
    struct session *session = loading_session(loading, id);
    if (session == NULL) {
        return;
    }
    if (!topic_filter_valid(s->filter)) {
        load_fail(loading, "a subscription is no filter", s->filter);
    } else if (session_subscribe(session, s->filter, s->options)) {
        topic_trie_add_new(loading->broker->trie, s->filter, session->inlet,
                           s->options & ~(uint32_t)SUBSCRIPTION_UNBROUGHT);
        admit_subscription_anyway(session, s->filter);
    }
}

static void load_held(void *user, session_id_t id, packet_id_t packet_id) {
    struct session *session = loading_session(user, id);
    if (session != NULL && qos_in_hold(&session->in, packet_id)) {
        session->shard->counters.held_ids++;
    }
}

static void load_flight(void *user, session_id_t id, const struct store_flight *f) {
    struct session *session = loading_session(user, id);
    if (session == NULL) {
        return;
    }
    struct flight_parts parts = {.message_lsn = f->message_lsn,
                                 .body_lsn = f->body_lsn,
                                 .target = f->target,
                                 .qos = f->qos,
                                 .retain = f->retain};
    (void)qos_out_restore(&session_flows(session)->out, f->packet_id, f->released, &parts);
    session->shard->counters.queued++;
}

static void load_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    struct loading *loading = user;
    struct session *session = loading_session(loading, id);
    if (session == NULL) {
        return;
    }
    queue_restore(&session_flows(session)->queue, count, loading->end);
    sieve_unknown(session);
    inlet_restore(loading->broker, session->inlet, count, bytes);
    session->shard->counters.queued += count;
}

static void load_will(void *user, const struct record_will *w) {
    struct session *session = loading_session(user, w->session_id);
    if (session == NULL || session->will.message != NULL) {
        return;
    }
    session->will = (struct will){.message = message_create(&w->parts),
                                  .has_expiry = w->expiry_s != 0,
                                  .expiry_s = w->expiry_s,
                                  .delay_s = w->delay_s};
}

static void load_retained(void *user, struct message *m) {
    struct loading *loading = user;
    loading->broker->retained_lsn = m->lsn > loading->broker->retained_lsn ? m->lsn : loading->broker->retained_lsn;
    admit_retained_anyway(loading->broker, m);
    retained_load(loading->broker, m);
}

/* Sessions that were connected when the broker stopped: their connection has ended now. The others go on being away. */
static void load_disconnect(const struct loading *loading) {
    size_t at = 0;
    uint64_t id;
    void *value;
    while (map64_next(&loading->sessions, &at, &id, &value)) {
        will_load_kept(value);
    }
    at = 0;
    while (map64_next(&loading->sessions, &at, &id, &value)) {
        struct session *session = value;
        if (session->disconnected_at == 0) {
            session_disconnected(session, false); /* it may be gone now */
        } else {
            expiry_arm(session);
        }
    }
}

bool broker_load(struct broker *broker, wall_ms_t time, struct error *error) {
    struct loading loading = {.broker = broker,
                              .sessions = map64_of(broker_random(broker)),
                              .end = store_folded(broker->store),
                              .now = time,
                              .error = error};
    struct store_sink sink = {.user = &loading,
                              .session = load_session,
                              .subscription = load_subscription,
                              .held = load_held,
                              .flight = load_flight,
                              .queue = load_queue,
                              .will = load_will,
                              .retained = load_retained};
    bool loaded = store_load(broker->store, &sink, error) && !loading.failed;
    for (unsigned i = 0; loaded && i < broker->shard_count; i++) {
        shard_clock(broker->shards[i], 0, time);
    }
    if (loaded) {
        load_disconnect(&loading);
    }
    map64_deinit(&loading.sessions);
    return loaded;
}
