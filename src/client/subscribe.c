/* Subscriptions: what the application wants, what the broker has, and one packet at a time that brings the two
 * together. A packet that is cut off is sent again on the next connection.
 *
 * In the store is what the broker has granted (SUBSCRIBED, with the reason code of SUBACK above the options), so that
 * a restart does not ask again and retained messages do not come twice; UNSUBSCRIBED before it is asked to change it.
 * When the broker has forgotten the session all is asked again. When a CONNACK may have been missed it is not sure that
 * it has not: 5.0 can ask without harm. */
#include "base/mem.h"
#include "client/state.h"
#include "topic/topic.h"

static struct span subscription_filter(const struct subscription *s) {
    return span_of(s->filter, s->filter_bytes);
}

static bool wish_equal(const struct wish *a, const struct wish *b) {
    return a->present == b->present && (!a->present || (a->options == b->options && a->identifier == b->identifier));
}

void subscribe_init(struct client *c, uint64_t seed) {
    struct subscriptions *s = &c->subscriptions;
    s->by_filter = map_bytes_of(seed);
    list_init(&s->all);
    list_init(&s->todo);
    list_init(&s->asked);
}

static struct subscription *subscription_get(struct client *c, struct span filter) {
    struct subscription *s = map_bytes_get(&c->subscriptions.by_filter, filter);
    if (s != NULL) {
        return s;
    }
    s = mem_zero(1, sizeof *s + filter.len + 1);
    s->filter_bytes = (uint32_t)filter.len;
    memcpy(s->filter, filter.ptr, filter.len);
    list_push_back(&c->subscriptions.all, &s->link);
    (void)map_bytes_put(&c->subscriptions.by_filter, subscription_filter(s), s);
    return s;
}

static void subscription_free(struct client *c, struct subscription *s) {
    (void)map_bytes_remove(&c->subscriptions.by_filter, subscription_filter(s));
    list_remove(&s->link);
    list_remove(&s->todo_link);
    mem_free(s);
}

/* Puts it where it belongs after a change. True when it was freed: nobody wants it and the broker does not have it. */
static bool subscription_settle(struct client *c, struct subscription *s) {
    if (s->is_asked) {
        return false;
    }
    list_remove(&s->todo_link);
    if (!wish_equal(&s->want, &s->have) || (s->again && s->want.present)) {
        list_push_back(&c->subscriptions.todo, &s->todo_link);
    } else if (!s->want.present) {
        subscription_free(c, s);
        return true;
    }
    return false;
}

static void subscription_event(struct client *c, enum quartet_event_kind kind, const struct subscription *s,
                               uint8_t reason) {
    struct quartet_event event = {.kind = kind, .reason = reason};
    if (reason >= REASON_UNSPECIFIED_ERROR) {
        event.error = QUARTET_REFUSED;
    }
    event_push(c, &event, s->filter, s->filter_bytes);
}

/* ---- records ---- */

static void record_subscribed(struct client *c, const struct subscription *s, const struct wish *has, uint8_t granted) {
    struct record record = {.kind = RECORD_SUBSCRIBED,
                            .subscribed = {c->receiving.session, subscription_filter(s),
                                           has->options | (uint32_t)granted << WISH_GRANTED_SHIFT, has->identifier}};
    (void)client_stage_in(c, &record);
}

static void record_unsubscribed(struct client *c, const struct subscription *s) {
    struct record record = {.kind = RECORD_UNSUBSCRIBED,
                            .unsubscribed = {c->receiving.session, subscription_filter(s)}};
    (void)client_stage_in(c, &record);
}

void subscribe_load(struct client *c, const struct record_subscribed *r) {
    struct subscription *s = subscription_get(c, r->filter);
    s->have = (struct wish){true, r->options & WISH_ALL, r->identifier};
    s->want = s->have;
    s->granted = (uint8_t)(r->options >> WISH_GRANTED_SHIFT);
}

/* ---- what the application asks for ---- */

static int subscribe_invalid(struct error *text, size_t index, const char *what) {
    (void)error_set(text, ERROR_INVALID, 0, "subscription %zu: %s", index, what);
    return QUARTET_INVALID;
}

static int subscribe_check(const struct quartet_subscription *s, size_t index, struct error *text) {
    struct topic_filter parsed;
    if (s->filter == NULL || !client_text_valid(s->filter) ||
        topic_filter_parse(span_str(s->filter), &parsed) != TOPIC_FILTER_OK) {
        return subscribe_invalid(text, index, "filter is no topic filter");
    }
    if (s->qos < 0 || s->qos > 2) {
        return subscribe_invalid(text, index, "qos is neither 0, 1 nor 2");
    }
    if (s->retain_handling < 0 || s->retain_handling > 2) {
        return subscribe_invalid(text, index, "retain_handling is neither 0, 1 nor 2");
    }
    if (s->no_local && parsed.share.len > 0) {
        return subscribe_invalid(text, index, "a shared subscription cannot be no_local [MQTT-3.8.3-4]");
    }
    return QUARTET_OK;
}

static struct wish wish_of(const struct quartet_subscription *s) {
    uint32_t options = (uint32_t)s->qos | (s->no_local ? WISH_NO_LOCAL : 0U) |
                       (s->retain_as_published ? WISH_RETAIN_AS_PUBLISHED : 0U) | (uint32_t)s->retain_handling << 4;
    return (struct wish){true, options, s->identifier};
}

int client_subscribe(struct client *c, const struct quartet_subscription *subscriptions, size_t count,
                     struct error *text) {
    for (size_t i = 0; i < count; i++) {
        int error = subscribe_check(&subscriptions[i], i, text);
        if (error != QUARTET_OK) {
            return error;
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct subscription *s = subscription_get(c, span_str(subscriptions[i].filter));
        s->want = wish_of(&subscriptions[i]);
        s->changed = s->have.present && !wish_equal(&s->want, &s->have);
        if (!s->is_asked && !s->again && wish_equal(&s->want, &s->have)) {
            subscription_event(c, QUARTET_EVENT_SUBSCRIBED, s, s->granted);
        }
        (void)subscription_settle(c, s);
    }
    subscribe_pump(c);
    return QUARTET_OK;
}

int client_unsubscribe(struct client *c, const char *filter, struct error *text) {
    struct topic_filter parsed;
    if (filter == NULL || !client_text_valid(filter) ||
        topic_filter_parse(span_str(filter), &parsed) != TOPIC_FILTER_OK) {
        return subscribe_invalid(text, 0, "filter is no topic filter");
    }
    struct subscription *s = subscription_get(c, span_str(filter));
    s->want.present = false;
    s->again = false;
    if (!s->is_asked && !s->have.present) { /* the broker may have it from another client program */
        s->have = (struct wish){true, WISH_ALL, 0};
    }
    (void)subscription_settle(c, s);
    subscribe_pump(c);
    return QUARTET_OK;
}

/* ---- packets ---- */

/* Why the broker would not take it: it has said so in CONNACK. */
static uint8_t subscription_refused(const struct client *c, const struct subscription *s) {
    struct topic_filter parsed;
    if (topic_filter_parse(subscription_filter(s), &parsed) != TOPIC_FILTER_OK) {
        return REASON_TOPIC_FILTER_INVALID;
    }
    if (parsed.share.len > 0 && !c->allowed.shared) {
        return REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
    }
    if (!c->allowed.wildcards &&
        (memchr(s->filter, '#', s->filter_bytes) != NULL || memchr(s->filter, '+', s->filter_bytes) != NULL)) {
        return REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
    }
    if (s->want.identifier != 0 && !c->allowed.identifiers) {
        return REASON_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED;
    }
    struct record record = {.kind = RECORD_SUBSCRIBED, .subscribed = {.filter = subscription_filter(s)}};
    if (!store_takes(c->store, &record)) {
        return REASON_QUOTA_EXCEEDED;
    }
    return s->filter_bytes + 32U > c->allowed.packet_bytes_max ? REASON_PACKET_TOO_LARGE : 0;
}

/* Retained messages are wanted once for each subscription, not again when it is only asked for once more. */
static uint8_t retain_handling(const struct client *c, const struct subscription *s) {
    uint8_t wanted = (uint8_t)((s->want.options & WISH_RETAIN_HANDLING) >> 4);
    return wanted == 0 && c->session_present && !s->changed ? 1 : wanted;
}

static struct packet_filter filter_of(const struct client *c, const struct subscription *s) {
    return (struct packet_filter){.filter = subscription_filter(s),
                                  .qos = (uint8_t)(s->want.options & WISH_QOS),
                                  .no_local = (s->want.options & WISH_NO_LOCAL) != 0,
                                  .retain_as_published = (s->want.options & WISH_RETAIN_AS_PUBLISHED) != 0,
                                  .retain_handling = retain_handling(c, s)};
}

static void subscription_refuse(struct client *c, struct subscription *s, uint8_t reason) {
    list_remove(&s->todo_link); /* until the next connection */
    s->again = false;
    subscription_event(c, QUARTET_EVENT_SUBSCRIBED, s, reason);
}

/* Whether it can go into the packet that begins with `first`. */
static bool goes_with(const struct subscription *first, const struct subscription *s) {
    return first == NULL || (first->want.present == s->want.present &&
                             (!s->want.present || first->want.identifier == s->want.identifier));
}

/* Moves what the next packet asks for from todo to asked; returns how many. What the broker has of it is not sure from
 * here on, and is recorded so before the packet leaves: a crash must not find a subscription that is gone. */
static size_t subscribe_gather(struct client *c, struct packet_filter *filters) {
    struct subscriptions *all = &c->subscriptions;
    const struct subscription *first = NULL;
    size_t count = 0;
    size_t bytes = 32;
    while (!list_empty(&all->todo) && count < SUBSCRIBE_FILTERS_MAX) {
        struct subscription *s = container_of(all->todo.next, struct subscription, todo_link);
        uint8_t refused = s->want.present ? subscription_refused(c, s) : 0;
        if (refused != 0) {
            subscription_refuse(c, s, refused);
            continue;
        }
        bytes += s->filter_bytes + 3;
        if (!goes_with(first, s) || (count > 0 && bytes > c->allowed.packet_bytes_max)) {
            break;
        }
        first = s;
        if (s->have.present && !wish_equal(&s->have, &s->want)) {
            record_unsubscribed(c, s);
        }
        list_remove(&s->todo_link);
        list_push_back(&all->asked, &s->todo_link);
        filters[count++] = filter_of(c, s);
        s->is_asked = true;
        s->asked = s->want;
        s->again = false;
        s->changed = false;
    }
    return count;
}

/* It waits for all that was recorded when the connection began (R3), and for what subscribe_gather() has recorded. */
void subscribe_pump(struct client *c) {
    struct subscriptions *all = &c->subscriptions;
    struct packet_filter filters[SUBSCRIBE_FILTERS_MAX];
    if (c->phase != PHASE_LIVE || all->under_way || c->receiving.full) {
        return;
    }
    size_t count = subscribe_gather(c, filters);
    if (count == 0) {
        return;
    }
    const struct subscription *first = container_of(all->asked.next, struct subscription, todo_link);
    struct properties properties;
    properties_clear(&properties);
    all->under_way = true;
    all->subscribing = first->asked.present;
    if (!all->subscribing) {
        packet_encode_unsubscribe(output_begin(c, c->receiving.last_lsn), c->protocol, c->subscribe_id, &properties,
                                  filters, count);
        output_end(c);
        return;
    }
    if (first->asked.identifier != 0 && c->protocol == PROTOCOL_5) {
        properties.present = PROPERTY_SUBSCRIPTION_IDENTIFIER;
        properties.subscription_identifier = first->asked.identifier;
        properties.subscription_identifier_count = 1;
    }
    packet_encode_subscribe(output_begin(c, c->receiving.last_lsn), c->protocol, c->subscribe_id, &properties, filters,
                            count);
    output_end(c);
    if (client_mutant(c, MUTANT_B7_SUBACK)) {
        for (struct link *l = all->asked.next; l != &all->asked; l = l->next) {
            const struct subscription *s = container_of(l, struct subscription, todo_link);
            record_subscribed(c, s, &s->asked, 0);
        }
    }
}

/* ---- answers ---- */

static void subscription_granted(struct client *c, struct subscription *s, uint8_t reason) {
    if (reason < REASON_UNSPECIFIED_ERROR) {
        s->have = s->asked;
        s->granted = reason;
        record_subscribed(c, s, &s->have, reason);
    } else if (s->have.present) {
        s->have.present = false; /* what the broker makes of it now is not known; it is asked next time */
        record_unsubscribed(c, s);
    }
    if (reason >= REASON_UNSPECIFIED_ERROR && !s->want.present) { /* the broker may have it as it was before */
        s->have = (struct wish){true, WISH_ALL, 0};
    }
    subscription_event(c, QUARTET_EVENT_SUBSCRIBED, s, reason);
    if (reason >= REASON_UNSPECIFIED_ERROR && wish_equal(&s->want, &s->asked)) {
        return; /* refused: not again on this connection */
    }
    (void)subscription_settle(c, s);
}

static void subscription_ended(struct client *c, struct subscription *s, uint8_t reason) {
    s->have.present = reason >= REASON_UNSPECIFIED_ERROR;
    subscription_event(c, QUARTET_EVENT_UNSUBSCRIBED, s, reason);
    if (reason >= REASON_UNSPECIFIED_ERROR && !s->want.present) {
        return;
    }
    (void)subscription_settle(c, s);
}

static size_t asked_count(const struct client *c) {
    size_t count = 0;
    for (const struct link *l = c->subscriptions.asked.next; l != &c->subscriptions.asked; l = l->next) {
        count++;
    }
    return count;
}

void subscribe_answer(struct client *c, enum packet_type type, const struct packet_suback *p) {
    struct subscriptions *all = &c->subscriptions;
    bool fits = all->under_way && p->packet_id == c->subscribe_id && all->subscribing == (type == PACKET_SUBACK);
    bool codes = type == PACKET_SUBACK || c->protocol == PROTOCOL_5;
    if (!fits) {
        client_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-2.2.1-6",
                                          "SUBACK or UNSUBACK for a packet identifier that asked for none"});
        return;
    }
    if (codes && p->reasons.len != asked_count(c)) {
        client_wrong(
            c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-3.8.4-6", "not one reason code for each topic filter"});
        return;
    }
    all->under_way = false;
    struct link answered;
    list_init(&answered);
    list_splice(&answered, &all->asked);
    size_t i = 0;
    for (struct link *l; (l = list_pop_front(&answered)) != NULL; i++) {
        struct subscription *s = container_of(l, struct subscription, todo_link);
        s->is_asked = false;
        if (type == PACKET_SUBACK) {
            subscription_granted(c, s, p->reasons.ptr[i]);
        } else {
            subscription_ended(c, s, codes ? p->reasons.ptr[i] : 0);
        }
    }
    subscribe_pump(c);
    if (c->asking && !subscribe_asks_again(c)) {
        c->asking = false;
        (void)client_record_out(c);
    }
}

/* ---- connections ---- */

void subscribe_connected(struct client *c, bool session_gone) {
    struct subscriptions *all = &c->subscriptions;
    bool ask_again = c->ask_again && c->protocol == PROTOCOL_5;
    struct link *next;
    for (struct link *l = all->all.next; l != &all->all; l = next) {
        next = l->next;
        struct subscription *s = container_of(l, struct subscription, link);
        if (session_gone && s->have.present) {
            s->have.present = false;
            record_unsubscribed(c, s);
            if (!s->want.present) {
                subscription_event(c, QUARTET_EVENT_UNSUBSCRIBED, s, 0);
            }
        }
        s->again = s->again || ask_again;
        (void)subscription_settle(c, s);
    }
}

bool subscribe_asks_again(const struct client *c) {
    const struct subscriptions *all = &c->subscriptions;
    bool again = all->under_way;
    for (const struct link *l = all->all.next; l != &all->all && !again; l = l->next) {
        const struct subscription *s = container_of(l, struct subscription, link);
        again = s->again && s->want.present;
    }
    return again;
}

void subscribe_disconnected(struct client *c) {
    struct subscriptions *all = &c->subscriptions;
    all->under_way = false;
    for (struct link *l; (l = list_pop_front(&all->asked)) != NULL;) {
        struct subscription *s = container_of(l, struct subscription, todo_link);
        s->is_asked = false;
        if (s->asked.present) { /* perhaps */
            s->have = s->asked;
            s->again = true;
        }
        (void)subscription_settle(c, s);
    }
}

void subscribe_deinit(struct client *c) {
    struct subscriptions *all = &c->subscriptions;
    for (struct link *l; (l = list_pop_front(&all->all)) != NULL;) {
        struct subscription *s = container_of(l, struct subscription, link);
        mem_free(s);
    }
    map_bytes_deinit(&all->by_filter);
}
