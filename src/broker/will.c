#include "broker/will.h"

#include <stdio.h>
#include <string.h>

#include "broker/admit.h"
#include "broker/connect.h"
#include "broker/expiry.h"
#include "broker/retained.h"
#include "broker/route.h"
#include "broker/session.h"
#include "broker/strain.h"

enum { RETRY_MS = 1000, RETRY_MANY_MS = 600000, KEEPER_NUMBER_BYTES = 40 };

/* ---- records ---- */

/* A session that is not durable gets a name on the disk. */
static void will_name(struct session *s) {
    if (s->durable || s->will_id != 0) {
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

/* What was recorded only for the will goes with it. Its client's next CONNACK waits for that: the session that it gets
 * need not have a record (B10). */
static void will_unname(struct session *s) {
    if (s->will_id != 0) {
        struct record record = {.kind = RECORD_SESSION_END, .end = {s->will_id}};
        s->last_lsn = store_stage(s->shard->broker->store, &record);
        s->shard->will_lsn = s->last_lsn;
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

static void will_unrecord(struct session *session) {
    struct record record = {.kind = RECORD_WILL_CLEARED, .end = {session->id}};
    (void)session_stage(session, &record);
    will_unname(session);
}

static void will_forget(struct session *session) {
    message_unref(session->will.message);
    session->will = (struct will){.message = NULL};
}

void will_clear(struct session *session) {
    if (session->will.message == NULL) {
        return;
    }
    will_unrecord(session);
    will_forget(session);
}

static void will_waits(struct session *s, const struct route_result *result) {
    struct shard *shard = s->shard;
    if (s->will.retry_at == 0) {
        shard->counters.publish_refused++;
        shard_log(shard, LOG_WARNING, "the will of %s on %s waits: %s %s", shard_text(s->client_id),
                  shard_text(message_topic(s->will.message)), result->what, result->why);
    }
    s->will.is_crowding = result->waits && strain_deliveries(shard);
    s->will.retry_at = shard->wall + (result->many ? RETRY_MANY_MS : RETRY_MS);
}

bool will_publish(struct session *session) {
    struct shard *shard = session->shard;
    const struct message *m = session->will.message;
    if (m == NULL) {
        return true;
    }
    if (session->will.is_crowding && strain_deliveries(shard)) { /* who gets it is not even looked for */
        session->will.retry_at = shard->wall + RETRY_MS;
        return false;
    }
    wall_ms_t expires_at = shard->wall + (wall_ms_t)session->will.expiry_s * 1000;
    struct route_request request = {.origin = session,
                                    .is_will = true,
                                    .parts = {.qos = m->qos,
                                              .retain = m->retain,
                                              .expires_at = session->will.has_expiry ? expires_at : 0,
                                              .topic = message_topic(m),
                                              .properties = message_properties(m),
                                              .payload = message_payload(m),
                                              .owner = retained_owner(session, m->retain, message_payload(m))}};
    struct route_result result = route_message(shard, &request);
    if (result.never) {
        shard->counters.publish_refused++;
        shard_log(shard, LOG_WARNING, "the will of %s on %s is lost: with all of its receivers it fits into no record",
                  shard_text(session->client_id), shard_text(message_topic(m)));
        will_clear(session);
        return true;
    }
    if (result.refused) {
        will_waits(session, &result);
        return false;
    }
    shard->will_lsn = result.lsn > shard->will_lsn ? result.lsn : shard->will_lsn;
    will_unname(session);
    will_forget(session);
    return true;
}

/* ---- keepers ---- */

/* "\0", the session that the will belonged to, ".", a number, ":", its client: a keeper's client id. The client comes
 * last, so that No Local knows it [MQTT-3.8.3-3], and the shard that has the client has its keepers. */
struct span will_client(struct span id) {
    const uint8_t *colon = id.len > 0 && id.ptr[0] == 0 ? memchr(id.ptr, ':', id.len) : NULL;
    return colon == NULL ? id : span_of(colon + 1, id.len - (size_t)(colon + 1 - id.ptr));
}

static session_id_t keeper_origin(const struct session *keeper) {
    session_id_t origin = 0;
    for (size_t i = 1; i < keeper->client_id.len; i++) {
        uint8_t digit = keeper->client_id.ptr[i];
        if (digit < '0' || digit > '9') {
            return digit == '.' ? origin : 0;
        }
        origin = origin * 10 + (digit - (uint64_t)'0');
    }
    return 0;
}

static struct span keeper_id(const struct session *s, unsigned n, struct buf *out) {
    char number[KEEPER_NUMBER_BYTES];
    int length = snprintf(number + 1, sizeof number - 1, "%llu.%u:", (unsigned long long)will_origin(s), n);
    number[0] = 0;
    buf_drop_front(out, out->len);
    buf_bytes(out, span_of(number, (size_t)length + 1));
    buf_bytes(out, will_client(s->client_id));
    return buf_span(out);
}

/* A session may have left many wills: a number that is taken is not the reason to try all others. */
static struct session *keeper_create(const struct session *s) {
    struct shard *shard = s->shard;
    struct buf id = {NULL, 0, 0};
    struct session_parts parts = {.protocol = s->protocol, .durable = true};
    unsigned n = 0;
    do {
        parts.client_id = keeper_id(s, n, &id);
        n = (unsigned)broker_random(shard->broker);
    } while (map_bytes_get(&shard->by_client, parts.client_id) != NULL);
    parts.owner = quota_owner_again(shard->broker->quota, s->owner);
    parts.taken = admit_session_cost(parts.client_id, NULL);
    parts.taken.will_bytes = s->taken.will_bytes;
    parts.taken.kept_bytes += s->taken.will_bytes;
    admit_session_anyway(parts.owner, &parts.taken);
    struct session *keeper = session_create(shard, &parts);
    buf_deinit(&id);
    return keeper;
}

/* Its record says now that its connection has ended: that the will is its own alone. */
static void keeper_settle(struct session *keeper) {
    keeper->disconnected_at = keeper->shard->wall;
    (void)session_stage_state(keeper);
}

/* A crash may have come between the keeper's records and the end of the will that was the session's. */
void will_load_kept(struct session *keeper) {
    if (!will_keeper(keeper) || keeper->disconnected_at != 0) {
        return;
    }
    struct session *origin = map64_get(&keeper->shard->by_id, keeper_origin(keeper));
    if (keeper->will.message != NULL && origin != NULL) {
        will_clear(origin);
    }
    keeper_settle(keeper);
}

/* In this order: the keeper, which is connected as long as it is not settled; its will; the end of what it was before;
 * that it is settled. The one record that moves the will is the keeper's WILL: see will_load_kept. */
static void will_move(struct session *from) {
    struct session *keeper = keeper_create(from);
    keeper->will = from->will;
    keeper->will.delay_s = 0;
    from->will = (struct will){.message = NULL};
    will_stage(keeper);
    will_unrecord(from);
    keeper_settle(keeper);
    expiry_arm(keeper);
}

void will_leave(struct session *session) {
    if (!will_publish(session)) {
        will_move(session);
    }
}

bool will_may_follow(struct session *session) {
    return session->will.message == NULL || will_publish(session) || admit_keeper_room(session);
}
