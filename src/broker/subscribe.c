#include "broker/subscribe.h"

#include "broker/admit.h"
#include "broker/bring.h"
#include "broker/connection.h"
#include "broker/input.h"
#include "broker/session.h"
#include "topic/topic.h"

enum { FAILURE_311 = 0x80 };

/* 0 when the filter may be subscribed, and then a new one has its place; else the reason for the SUBACK. */
static uint8_t filter_refusal(struct session *session, const struct packet_filter *f) {
    struct topic_filter parsed;
    enum topic_filter_status status = topic_filter_parse(f->filter, &parsed);
    if (status != TOPIC_FILTER_OK) {
        return REASON_TOPIC_FILTER_INVALID;
    }
    if (parsed.share.len > 0) {
        return REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
    }
    struct record record = {.kind = RECORD_SUBSCRIBED, .subscribed = {.filter = f->filter}};
    if (session->durable &&
        (session->shard->pressure == STORE_FULL || !store_takes(session->shard->broker->store, &record))) {
        return REASON_QUOTA_EXCEEDED;
    }
    if (session_subscription(session, f->filter) == NULL &&
        (session->subscriptions.count >= session->shard->broker->options.subscriptions_max ||
         !admit_subscription(session, f->filter))) {
        return REASON_QUOTA_EXCEEDED;
    }
    return 0;
}

uint8_t subscribe_refusal(const struct connection *c, const struct packet_filter *f, bool one_more) {
    uint8_t refusal = one_more ? filter_refusal(c->session, f) : REASON_QUOTA_EXCEEDED;
    if (refusal == 0) {
        return 0;
    }
    shard_log(c->shard, LOG_NOTICE, "%s may not subscribe to %s: %s", shard_text(c->session->client_id),
              shard_text(f->filter), reason_text(refusal));
    return c->protocol == PROTOCOL_5 ? refusal : FAILURE_311;
}

void subscribe_suback(struct connection *c, const struct packet_suback *ack, lsn_t after) {
    packet_encode_suback(connection_begin(c, after), (enum protocol)c->protocol, ack);
    connection_commit(c);
}

/* True when a SUBSCRIBE is under way: this packet waits for its end. */
static bool subscribe_waits(struct connection *c) {
    if (c->session->bringing == NULL) {
        return false;
    }
    input_pause(c, PAUSE_BRING);
    return true;
}

void subscribe_packet(struct connection *c, const struct packet_subscribe *p) {
    if (subscribe_waits(c)) {
        return;
    }
    if ((p->properties.present & PROPERTY_SUBSCRIPTION_IDENTIFIER) != 0) {
        connection_wrong(c, &(struct verdict){REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "MQTT-3.2.2-15",
                                              "a subscription identifier, but they are not available"});
        return;
    }
    bring_begin(c, p, false);
}

uint8_t unsubscribe_filter(struct session *session, struct span filter) {
    struct broker *broker = session->shard->broker;
    if (!topic_filter_valid(filter)) {
        return REASON_TOPIC_FILTER_INVALID;
    }
    if (session_subscription(session, filter) == NULL) {
        return REASON_NO_SUBSCRIPTION_EXISTED;
    }
    lock_take(&broker->lock);
    (void)topic_trie_remove(broker->trie, filter, session->inlet);
    lock_give(&broker->lock);
    struct record record = {.kind = RECORD_UNSUBSCRIBED, .unsubscribed = {session->id, filter}};
    (void)session_stage(session, &record);
    (void)session_unsubscribe(session, filter);
    admit_subscription_end(session, filter);
    return REASON_SUCCESS;
}

void unsubscribe_unsuback(struct connection *c, const struct packet_suback *ack, lsn_t after) {
    packet_encode_unsuback(connection_begin(c, after), (enum protocol)c->protocol, ack);
    connection_commit(c);
}

void unsubscribe_packet(struct connection *c, const struct packet_subscribe *p) {
    if (!subscribe_waits(c)) {
        bring_begin(c, p, true);
    }
}
