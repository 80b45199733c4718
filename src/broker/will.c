#include "broker/will.h"

#include "broker/route.h"
#include "broker/session.h"

void will_set(struct session *session, const struct packet_will *will) {
    struct buf properties = {NULL, 0, 0};
    packet_properties_forward(&properties, &will->properties);
    struct message_parts parts = {.qos = will->qos,
                                  .retain = will->retain,
                                  .topic = will->topic,
                                  .properties = buf_span(&properties),
                                  .payload = will->payload};
    message_unref(session->will.message);
    session->will.message = message_create(&parts);
    session->will.expiry_s = (will->properties.present & PROPERTY_MESSAGE_EXPIRY_INTERVAL) != 0
                                 ? will->properties.message_expiry_interval_s
                                 : 0;
    session->will.delay_s =
        (will->properties.present & PROPERTY_WILL_DELAY_INTERVAL) != 0 ? will->properties.will_delay_interval_s : 0;
    if (!broker_mutant(session->shard, MUTANT_B10_WILL)) {
        struct record record = {.kind = RECORD_WILL,
                                .will = {.session_id = session->id,
                                         .delay_s = session->will.delay_s,
                                         .expiry_s = session->will.expiry_s,
                                         .parts = parts}};
        (void)session_stage(session, &record);
    }
    buf_deinit(&properties);
}

static void will_forget(struct session *session) {
    message_unref(session->will.message);
    session->will = (struct will){NULL, 0, 0};
}

void will_clear(struct session *session) {
    if (session->will.message == NULL) {
        return;
    }
    struct record record = {.kind = RECORD_WILL_CLEARED, .end = {session->id}};
    (void)session_stage(session, &record);
    will_forget(session);
}

void will_publish(struct session *session) {
    struct shard *shard = session->shard;
    const struct message *m = session->will.message;
    if (m == NULL) {
        return;
    }
    struct route_request request = {.origin = session,
                                    .is_will = true,
                                    .parts = {.qos = m->qos,
                                              .retain = m->retain,
                                              .expires_at = session->will.expiry_s != 0
                                                                ? shard->wall + (wall_ms_t)session->will.expiry_s * 1000
                                                                : 0,
                                              .topic = message_topic(m),
                                              .properties = message_properties(m),
                                              .payload = message_payload(m)}};
    if (route_message(shard, &request).refused) {
        shard->counters.publish_refused++;
        shard_log(shard, LOG_WARNING, "the will of %s on %s is not published: a queue or the store is full",
                  shard_text(session->client_id), shard_text(message_topic(m)));
        will_clear(session);
        return;
    }
    will_forget(session);
}
