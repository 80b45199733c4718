#include "broker/subscribe.h"

#include "base/mem.h"
#include "broker/admit.h"
#include "broker/connection.h"
#include "broker/retained.h"
#include "broker/route.h"
#include "broker/session.h"
#include "topic/topic.h"

enum { FAILURE_311 = 0x80 };

/* Retained messages that a SUBSCRIBE will send after its SUBACK. */
struct retained_list {
    struct message **items;
    uint8_t *qos;
    size_t count, capacity;
    uint8_t current_qos; /* of the subscription that is being looked at */
};

static bool retained_collect(void *user, void *value) {
    struct retained_list *list = user;
    struct message *m = value;
    if (list->count == list->capacity) {
        list->capacity = list->capacity > 0 ? list->capacity * 2 : 16;
        list->items = mem_resize(list->items, list->capacity * sizeof(struct message *));
        list->qos = mem_resize(list->qos, list->capacity);
    }
    list->items[list->count] = message_ref(m);
    list->qos[list->count] = list->current_qos;
    list->count++;
    return true;
}

/* Takes those out, from number `begin` on, that have expired. */
static void retained_skip(const struct shard *shard, struct retained_list *list, size_t begin) {
    size_t kept = begin;
    for (size_t i = begin; i < list->count; i++) {
        struct message *m = list->items[i];
        if (!retained_fresh(m, shard->wall)) {
            message_unref(m);
        } else {
            list->items[kept] = m;
            list->qos[kept++] = list->qos[i];
        }
    }
    list->count = kept;
}

static void retained_send(struct session *session, struct retained_list *list) {
    size_t lost = 0;
    for (size_t i = 0; i < list->count; i++) {
        lost += !route_retained(session, list->items[i], list->qos[i]);
    }
    if (lost > 0) {
        shard_log(session->shard, LOG_WARNING, "%s does not get %zu retained messages: too much waits for it",
                  shard_text(session->client_id), lost);
    }
    mem_free(list->items);
    mem_free(list->qos);
}

static uint32_t subscription_options(const struct packet_filter *f) {
    uint32_t options = f->qos;
    options |= f->no_local ? SUBSCRIPTION_NO_LOCAL : 0U;
    options |= f->retain_as_published ? SUBSCRIPTION_RETAIN_AS_PUBLISHED : 0U;
    return options;
}

/* The trie changes and the retained index is looked at under one lock: a retained publish is seen once. */
static void subscribe_enter(struct session *session, const struct packet_filter *f, bool is_new,
                            struct retained_list *list) {
    struct broker *broker = session->shard->broker;
    uint32_t options = subscription_options(f);
    lock_take(&broker->lock);
    if (is_new) {
        topic_trie_add_new(broker->trie, f->filter, session->inlet, options);
    } else {
        (void)topic_trie_add(broker->trie, f->filter, session->inlet, options);
    }
    if (f->retain_handling == 0 || (f->retain_handling == 1 && is_new)) {
        list->current_qos = f->qos;
        size_t begin = list->count;
        topic_retained_match(broker->retained, f->filter, retained_collect, list);
        retained_skip(session->shard, list, begin);
    }
    lock_give(&broker->lock);
}

/* 0 when the filter may be subscribed, and then a new one has its place; else the reason for the SUBACK. */
static uint8_t subscribe_refusal(struct session *session, const struct packet_filter *f) {
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

static uint8_t subscribe_refused(const struct connection *c, uint8_t reason) {
    return c->protocol == PROTOCOL_5 ? reason : FAILURE_311;
}

static uint8_t subscribe_one(struct connection *c, const struct packet_filter *f, struct retained_list *list) {
    struct session *session = c->session;
    uint8_t refusal = subscribe_refusal(session, f);
    if (refusal != 0) {
        shard_log(c->shard, LOG_NOTICE, "%s may not subscribe to %s: %s", shard_text(session->client_id),
                  shard_text(f->filter), reason_text(refusal));
        return subscribe_refused(c, refusal);
    }
    struct record record = {.kind = RECORD_SUBSCRIBED,
                            .subscribed = {session->id, f->filter, subscription_options(f), 0}};
    (void)session_stage(session, &record);
    bool is_new = session_subscribe(session, f->filter, subscription_options(f));
    subscribe_enter(session, f, is_new, list);
    return f->qos;
}

void subscribe_packet(struct connection *c, const struct packet_subscribe *p) {
    struct session *session = c->session;
    if ((p->properties.present & PROPERTY_SUBSCRIPTION_IDENTIFIER) != 0) {
        connection_wrong(c, &(struct verdict){REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, "MQTT-3.2.2-15",
                                              "a subscription identifier, but they are not available"});
        return;
    }
    struct buf reasons = {NULL, 0, 0};
    struct retained_list list = {.items = NULL};
    struct reader r = reader_of(p->filters);
    struct packet_filter filter;
    for (uint32_t i = 0; packet_filter_next(&r, (enum protocol)c->protocol, true, &filter); i++) {
        bool one_more = i < c->shard->broker->options.subscribe_filters_max;
        buf_u8(&reasons, one_more ? subscribe_one(c, &filter, &list) : subscribe_refused(c, REASON_QUOTA_EXCEEDED));
    }
    struct packet_suback ack = {.packet_id = p->packet_id, .reasons = buf_span(&reasons)};
    packet_encode_suback(connection_begin(c, shard_barrier(c->shard, MUTANT_B7_SUBACK, session->last_lsn)),
                         (enum protocol)c->protocol, &ack);
    connection_commit(c);
    buf_deinit(&reasons);
    retained_send(session, &list);
}

static uint8_t unsubscribe_one(struct session *session, struct span filter) {
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

void unsubscribe_packet(struct connection *c, const struct packet_subscribe *p) {
    struct session *session = c->session;
    struct buf reasons = {NULL, 0, 0};
    struct reader r = reader_of(p->filters);
    struct packet_filter filter;
    while (packet_filter_next(&r, (enum protocol)c->protocol, false, &filter)) {
        buf_u8(&reasons, unsubscribe_one(session, filter.filter));
    }
    struct packet_suback ack = {.packet_id = p->packet_id, .reasons = buf_span(&reasons)};
    packet_encode_unsuback(connection_begin(c, session->last_lsn), (enum protocol)c->protocol, &ack);
    connection_commit(c);
    buf_deinit(&reasons);
}
