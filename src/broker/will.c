#include "broker/will.h"

#include <stdio.h>

#include "broker/admit.h"
#include "broker/connect.h"
#include "broker/expiry.h"
#include "broker/route.h"
#include "broker/session.h"

enum { RETRY_MS = 1000, KEEPERS_MAX = 10000, KEEPER_ID_BYTES = 64 };

/* ---- records ---- */

/* A session that is not durable gets a name on the disk. A full store keeps no more: such a will dies with us. */
static void will_name(struct session *s) {
    if (s->durable || s->will_id != 0 || s->shard->pressure == STORE_FULL) {
        return;
    }
    struct record record = {
        .kind = RECORD_SESSION,
        .session = {.client_id = s->client_id, .protocol = s->protocol, .owner = quota_owner_name(s->owner)}};
    s->will_id = store_stage(s->shard->broker->store, &record);
}

/* An expiry of 0 is as good as one second, for nobody has it before the next start. */
static uint32_t will_recorded_expiry(const struct will *w) {
    return w->has_expiry && w->expiry_s == 0 ? 1 : w->expiry_s;
}

static void will_stage(struct session *s) {
    const struct message *m = s->will.message;
    will_name(s);
    struct record record = {.kind = RECORD_WILL,
                            .will = {.session_id = will_origin(s),
                                     .delay_s = s->will.delay_s,
                                     .expiry_s = will_recorded_expiry(&s->will),
                                     .parts = {.qos = m->qos,
                                               .retain = m->retain,
                                               .topic = message_topic(m),
                                               .properties = message_properties(m),
                                               .payload = message_payload(m)}}};
    if (will_origin(s) != 0 && !broker_mutant(s->shard, MUTANT_B10_WILL)) {
        s->last_lsn = store_stage(s->shard->broker->store, &record);
    }
}

/* What was recorded only for the will goes with it. */
static void will_unname(struct session *s) {
    if (s->will_id != 0) {
        struct record record = {.kind = RECORD_SESSION_END, .end = {s->will_id}};
        s->last_lsn = store_stage(s->shard->broker->store, &record);
        s->will_id = 0;
    }
}

/* ---- its life ---- */

void will_set(struct session *session, const struct packet_will *will) {
    struct buf properties = {NULL, 0, 0};
    packet_properties_forward(&properties, &will->properties);
    struct message_parts parts = {.qos = will->qos,
                                  .retain = will->retain,
                                  .topic = will->topic,
                                  .properties = buf_span(&properties),
                                  .payload = will->payload};
    bool has_expiry = (will->properties.present & PROPERTY_MESSAGE_EXPIRY_INTERVAL) != 0;
    bool has_delay = (will->properties.present & PROPERTY_WILL_DELAY_INTERVAL) != 0;
    message_unref(session->will.message);
    session->will = (struct will){.message = message_create(&parts),
                                  .has_expiry = has_expiry,
                                  .expiry_s = has_expiry ? will->properties.message_expiry_interval_s : 0,
                                  .delay_s = has_delay ? will->properties.will_delay_interval_s : 0};
    will_stage(session);
    buf_deinit(&properties);
}

static void will_forget(struct session *session) {
    message_unref(session->will.message);
    session->will = (struct will){.message = NULL};
}

void will_clear(struct session *session) {
    if (session->will.message == NULL) {
        return;
    }
    struct record record = {.kind = RECORD_WILL_CLEARED, .end = {session->id}};
    (void)session_stage(session, &record);
    will_unname(session);
    will_forget(session);
}

static void will_waits(struct session *s) {
    struct shard *shard = s->shard;
    if (s->will.retry_at == 0) {
        shard->counters.publish_refused++;
        shard_log(shard, LOG_WARNING, "the will of %s on %s waits: a queue or the store is full",
                  shard_text(s->client_id), shard_text(message_topic(s->will.message)));
    }
    s->will.retry_at = shard->wall + RETRY_MS;
}

bool will_publish(struct session *session) {
    struct shard *shard = session->shard;
    const struct message *m = session->will.message;
    if (m == NULL) {
        return true;
    }
    wall_ms_t expires_at = shard->wall + (wall_ms_t)session->will.expiry_s * 1000;
    struct route_request request = {.origin = session,
                                    .is_will = true,
                                    .parts = {.qos = m->qos,
                                              .retain = m->retain,
                                              .expires_at = session->will.has_expiry ? expires_at : 0,
                                              .topic = message_topic(m),
                                              .properties = message_properties(m),
                                              .payload = message_payload(m)}};
    struct route_result result = route_message(shard, &request);
    if (result.never) {
        shard->counters.publish_refused++;
        shard_log(shard, LOG_WARNING, "the will of %s on %s is lost: with all of its receivers it fits into no record",
                  shard_text(session->client_id), shard_text(message_topic(m)));
        will_clear(session);
        return true;
    }
    if (result.refused) {
        will_waits(session);
        return false;
    }
    shard->will_lsn = result.lsn > shard->will_lsn ? result.lsn : shard->will_lsn;
    will_unname(session);
    will_forget(session);
    return true;
}

/* An id that belongs to this shard also at the next start. */
static struct session *keeper_create(const struct session *s) {
    struct shard *shard = s->shard;
    char id[KEEPER_ID_BYTES];
    struct session_parts parts = {.protocol = s->protocol, .durable = true};
    unsigned n = 0;
    do {
        int length = snprintf(id + 1, sizeof id - 1, "will %llu.%u", (unsigned long long)will_origin(s), n++);
        id[0] = 0;
        parts.client_id = span_of(id, (size_t)length + 1);
    } while (connect_owner(shard->broker, parts.client_id) != shard->index ||
             map_bytes_get(&shard->by_client, parts.client_id) != NULL);
    parts.owner = quota_owner_again(shard->broker->quota, s->owner);
    parts.taken = admit_session_cost(parts.client_id, NULL);
    parts.taken.will_bytes = s->taken.will_bytes;
    parts.taken.kept_bytes += s->taken.will_bytes;
    admit_session_anyway(parts.owner, &parts.taken);
    return session_create(shard, &parts);
}

void will_leave(struct session *session) {
    struct shard *shard = session->shard;
    if (will_publish(session)) {
        return;
    }
    if (shard->wills_kept >= KEEPERS_MAX) {
        shard_log(shard, LOG_WARNING, "the will of %s is lost: %zu wills wait for room already",
                  shard_text(session->client_id), shard->wills_kept);
        will_clear(session);
        return;
    }
    struct session *keeper = keeper_create(session);
    keeper->will = session->will;
    keeper->will.delay_s = 0;
    session->will = (struct will){.message = NULL};
    will_stage(keeper);
    will_unname(session);
    keeper->disconnected_at = shard->wall;
    shard->wills_kept++;
    expiry_arm(keeper);
}
