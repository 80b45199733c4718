#include "sim/oracle.h"

#include "base/map.h"
#include "base/must.h"
#include "sim/world.h"

#define PUBLISH_BYTES_MORE 30 /* of a PUBLISH beside topic and payload, at most: header, packet id, properties */

/* ---- messages ---- */

static struct sim_message *message_at(struct world *w, int message) {
    must(message >= 0 && (unsigned)message < w->oracle.message_count);
    return &w->oracle.messages[message];
}

/* An empty payload has no room for a number: one for each topic can be told apart. */
static bool clears_already(const struct world *w, uint8_t topic) {
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        if (w->oracle.messages[i].clears && w->oracle.messages[i].topic == topic) {
            return true;
        }
    }
    return false;
}

/* In a world with a set most messages go to its topics. */
static uint8_t draw_topic(struct world *w) {
    const struct plan *plan = w->plan;
    const bool of_set = plan->set > 0 && choose(w->choices, 4) != 3;
    return of_set ? topics_at(plan, plan->topics + choose(w->choices, plan->set))
                  : (uint8_t)choose(w->choices, plan->topics);
}

static uint32_t draw_expiry(struct world *w) {
    static const uint32_t long_ones[] = {30, 600, 4000, 90000};
    return w->plan->steps_of_days ? long_ones[choose(w->choices, 4)] : 1 + choose(w->choices, 20);
}

struct sim_message oracle_set_message(const struct world *w, int client, unsigned place) {
    return (struct sim_message){.state = SIM_MESSAGE_WAITING,
                                .publisher = client,
                                .topic = topics_at(w->plan, w->plan->topics + place),
                                .qos = 1,
                                .retain = true,
                                .bytes = (uint16_t)(8 + w->plan->payload_max / 2),
                                .order = place + 1};
}

struct sim_message oracle_draw_message(struct world *w, int client, uint32_t order) {
    const struct plan *plan = w->plan;
    const struct plan_client *c = &plan->clients[client];
    uint32_t qos = choose(w->choices, 3);
    while ((plan->qos_mask >> qos & 1) == 0) {
        qos = (qos + 1) % 3;
    }
    const bool retain = plan->retain && choose(w->choices, 3) >= (plan->set > 0 ? 1 : 2);
    const uint8_t topic = draw_topic(w);
    return (struct sim_message){
        .state = SIM_MESSAGE_WAITING,
        .publisher = client,
        .topic = topic,
        .qos = (uint8_t)qos,
        .retain = retain,
        .clears = retain && qos > 0 && choose(w->choices, 4) == 3 && !clears_already(w, topic),
        .expiry =
            (c->real ? plan->real_expiry : plan->expiry) && c->five && chance(w->choices, 1, 3) ? draw_expiry(w) : 0,
        .bytes = (uint16_t)(8 + choose(w->choices, plan->payload_max)),
        .order = order,
    };
}

int oracle_message(struct world *w, const struct sim_message *m) {
    struct oracle *o = &w->oracle;
    if (o->message_count == SIM_MESSAGES_MAX + (w->plan->pests ? SIM_SET_MAX : w->plan->set)) {
        return -1;
    }
    o->messages[o->message_count] = *m;
    w->counts.messages++;
    return (int)o->message_count++;
}

size_t oracle_payload(const struct world *w, int message, uint8_t *out) {
    const struct sim_message *m = &w->oracle.messages[message];
    if (m->clears) {
        return 0;
    }
    size_t len = (size_t)snprintf((char *)out, 32, "m%d:%d.", message, m->publisher);
    for (; len < m->bytes; len++) {
        out[len] = (uint8_t)(33 + (len * 7 + (size_t)message * 13) % 90);
    }
    return len;
}

int oracle_identify(const struct world *w, struct span topic, struct span payload) {
    const struct oracle *o = &w->oracle;
    uint8_t whole[MINI_PACKET_BYTES];
    int found = -1;
    if (payload.len == 0) {
        for (unsigned i = 0; i < o->message_count; i++) {
            const struct sim_message *m = &o->messages[i];
            bool fits = m->clears && m->first_sent != 0 && span_equal(topic, span_str(sim_topics[m->topic]));
            found = fits ? (int)i : found;
        }
    } else if (payload.ptr[0] == 'm' && payload.len < MINI_PACKET_BYTES) {
        found = 0;
        for (size_t i = 1; i < payload.len && payload.ptr[i] >= '0' && payload.ptr[i] <= '9' && i < 6; i++) {
            found = found * 10 + payload.ptr[i] - '0';
        }
    }
    if (found < 0 || (unsigned)found >= o->message_count || o->messages[found].first_sent == 0) {
        return -1;
    }
    const char *name = sim_topics[o->messages[found].topic];
    size_t len = oracle_payload(w, found, whole);
    return span_equal(topic, span_str(name)) && span_equal(payload, span_of(whole, len)) ? found : -1;
}

void oracle_will_due(struct world *w, int message, uint64_t step) {
    message_at(w, message)->due = step;
}

void oracle_will_over(struct world *w, int message) {
    message_at(w, message)->accepted = w->step;
}

void oracle_will_cancelled(struct world *w, int message) {
    message_at(w, message)->cancelled = true;
    for (unsigned c = 0; c < w->client_count; c++) {
        if (w->oracle.arrivals[c][message].first_any != 0) {
            world_fail(w, "will", "m%d, a will, has come to c%u although its client said DISCONNECT", message, c);
        }
    }
}

static void may_be_sent(struct world *w, struct sim_message *m) {
    if (m->first_sent == 0) {
        m->first_sent = w->step;
        m->sent_at = w->now;
    }
}

void oracle_handed(struct world *w, int message) {
    may_be_sent(w, message_at(w, message));
}

void oracle_stored(struct world *w, int message) {
    message_at(w, message)->stored = w->step;
}

void oracle_published(struct world *w, int message, bool may_be_new) {
    struct sim_message *m = message_at(w, message);
    m->state = m->state == SIM_MESSAGE_WAITING ? SIM_MESSAGE_FLYING : m->state;
    m->sends += may_be_new ? 1 : 0;
    m->again = m->again || (m->doubtful && m->accepted != 0);
    may_be_sent(w, m);
}

void oracle_accepted(struct world *w, int message) {
    struct sim_message *m = message_at(w, message);
    m->state = SIM_MESSAGE_DONE;
    w->accepted_seen = true;
    if (m->accepted == 0) {
        m->accepted = w->step;
        m->accepted_at = w->now;
    }
}

void oracle_refused(struct world *w, int message) {
    struct sim_message *m = message_at(w, message);
    m->state = SIM_MESSAGE_WAITING;
    m->unordered = m->qos == 1; /* an earlier copy may have been accepted */
    if (m->qos == 2) {
        m->sends = 0;
        for (int c = 0; c < SIM_CLIENTS_MAX; c++) {
            const struct sim_arrival *a = &w->oracle.arrivals[c][message];
            if (a->copies[0] + a->copies[1] + a->copies[2] > 0) {
                world_fail(w, "refusal", "m%d was refused, but it had been delivered to c%d", message, c);
            }
        }
        m->first_sent = 0;
    }
}

void oracle_abandoned(struct world *w, int message) {
    struct sim_message *m = message_at(w, message);
    if (m->state == SIM_MESSAGE_FLYING) {
        m->state = SIM_MESSAGE_UNKNOWN;
    }
}

void oracle_disk_lost(struct world *w) {
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        struct sim_message *m = &w->oracle.messages[i];
        m->doubtful = m->doubtful || m->first_sent != 0;
    }
}

/* ---- sessions and subscriptions ---- */

static bool is_current(const struct world *w, const struct sim_subscription *s, int client) {
    return s->used && s->client == client && s->incarnation == w->oracle.incarnation[client];
}

void oracle_session_leaving(struct world *w, int client) {
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        struct sim_subscription *s = &w->oracle.subscriptions[i];
        if (is_current(w, s, client) && s->leaving == 0) {
            s->leaving = w->step;
        }
    }
}

void oracle_new_session(struct world *w, int client) {
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        struct sim_subscription *s = &w->oracle.subscriptions[i];
        if (is_current(w, s, client)) {
            s->used = false;
        }
    }
    w->oracle.incarnation[client]++;
    memset(w->oracle.arrivals[client], 0, sizeof w->oracle.arrivals[client]);
}

int oracle_subscribing(struct world *w, int client, const struct plan_wanted *what, uint32_t identifier) {
    int free_place = -1;
    for (int i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        struct sim_subscription *s = &w->oracle.subscriptions[i];
        if (is_current(w, s, client) && s->identifier == identifier && s->gone == 0) {
            s->asks++;
            return i;
        }
        free_place = !s->used ? i : free_place;
    }
    must(free_place >= 0);
    w->oracle.subscriptions[free_place] = (struct sim_subscription){
        .used = true,
        .client = client,
        .incarnation = w->oracle.incarnation[client],
        .what = *what,
        .identifier = identifier,
        .asks = 1,
        .asked = w->step,
    };
    return free_place;
}

void oracle_subscribed(struct world *w, int subscription) {
    struct sim_subscription *s = &w->oracle.subscriptions[subscription];
    if (s->sure == 0) {
        s->sure = w->step;
    }
}

void oracle_unsubscribing(struct world *w, int subscription) {
    struct sim_subscription *s = &w->oracle.subscriptions[subscription];
    if (s->leaving == 0) {
        s->leaving = w->step;
    }
}

void oracle_unsubscribed(struct world *w, int subscription) {
    w->oracle.subscriptions[subscription].gone = w->step;
}

/* ---- what may arrive, what must ---- */

/* The QoS at which a subscription gets a message, if it does; -1: it does not concern it. */
static int match_qos(const struct sim_subscription *s, const struct sim_message *m) {
    if (!oracle_matches(sim_filters[s->what.filter], sim_topics[m->topic])) {
        return -1;
    }
    return m->qos < s->what.qos ? m->qos : s->what.qos;
}

static bool was_possible(const struct world *w, const struct sim_subscription *s, const struct sim_message *m) {
    const bool once = m->qos == 2 || m->sends == 1;
    const uint64_t last = m->accepted != 0 && once ? m->accepted : w->step;
    return s->asked <= last && (s->gone == 0 || s->gone >= m->first_sent);
}

static bool was_sure(const struct sim_subscription *s, const struct sim_message *m) {
    if (m->will) {
        return m->due != 0 && s->sure != 0 && s->sure <= m->due && s->leaving == 0;
    }
    return s->sure != 0 && s->sure <= m->first_sent && m->accepted != 0 &&
           (s->leaving == 0 || m->accepted < s->leaving);
}

/* Deliveries as they happen, of one message to one client's session, at one QoS. */
struct tally {
    unsigned possible; /* subscriptions that may each have caused one */
    unsigned retained; /* SUBSCRIBE packets that may each have fetched it as a retained message */
    unsigned sure;
};

static struct tally tally(const struct world *w, int client, int message, unsigned qos, uint32_t identifier) {
    const struct sim_message *m = &w->oracle.messages[message];
    struct tally t = {0, 0, 0};
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        const struct sim_subscription *s = &w->oracle.subscriptions[i];
        if (!is_current(w, s, client) || (identifier != 0 && s->identifier != identifier) ||
            match_qos(s, m) != (int)qos) {
            continue;
        }
        /* Whether No Local concerns retained messages too, the standard does not say. */
        const bool local = s->what.no_local && m->publisher == client;
        t.possible += !local && was_possible(w, s, m) ? 1 : 0;
        t.sure += !local && was_sure(s, m) ? 1 : 0;
        t.retained += m->retain ? s->asks : 0;
    }
    return t;
}

/* The order of a message among others is defined when one subscription alone could have brought it; at QoS 1, where a
 * repeat may be accepted as another message, only when that subscription was there before its first PUBLISH and
 * nothing that it brings is lost. What is
 * refused and sent again, at once or because a cut took the refusal, may be accepted after its followers. */
static bool order_defined(const struct world *w, int client, const struct sim_message *m, unsigned qos) {
    unsigned ways = 0;
    bool before = false;
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        const struct sim_subscription *s = &w->oracle.subscriptions[i];
        if (is_current(w, s, client) && match_qos(s, m) >= 0) {
            ways++;
            before = s->sure != 0 && s->sure <= m->first_sent;
        }
    }
    const bool in_place = !m->will && !m->unordered && !(m->repeated && w->expect_refusal);
    return ways == 1 && in_place && (m->qos != 1 || (before && qos > 0 && m->expiry == 0));
}

/* G3: no later message of the same publisher, topic and QoS has arrived before this first arrival. */
static void check_order(struct world *w, const struct sim_delivery *d) {
    const struct sim_message *m = message_at(w, d->message);
    if (!order_defined(w, d->client, m, d->qos)) {
        return;
    }
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *other = &w->oracle.messages[i];
        if (other->publisher == m->publisher && other->topic == m->topic && other->qos == m->qos && !other->will &&
            !other->unordered && other->order > m->order && w->oracle.arrivals[d->client][i].first_step != 0) {
            world_fail(w, "G3", "m%d reaches c%d after m%u, which was published later (topic %s, QoS %u)", d->message,
                       d->client, i, sim_topics[m->topic], m->qos);
        }
    }
}

/* RETAIN is set only on what a SUBSCRIBE fetched, or where the subscription wants it as published. */
static void check_retain(struct world *w, const struct sim_delivery *d, unsigned copies) {
    const struct sim_message *m = message_at(w, d->message);
    unsigned allowed = w->oracle.resent[d->client][d->message];
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        const struct sim_subscription *s = &w->oracle.subscriptions[i];
        if (is_current(w, s, d->client) && match_qos(s, m) >= 0) {
            allowed += s->asks + (s->what.retain_as_published ? m->sends : 0);
        }
    }
    if (!m->retain || copies > allowed) {
        world_fail(w, "retain", "c%d got m%d with RETAIN %u times; %u are possible", d->client, d->message, copies,
                   m->retain ? allowed : 0);
    }
}

void oracle_delivered(struct world *w, const struct sim_delivery *d) {
    const struct sim_message *m = message_at(w, d->message);
    struct sim_arrival *a = &w->oracle.arrivals[d->client][d->message];
    const struct tally any = tally(w, d->client, d->message, d->qos, 0);
    const struct tally named = tally(w, d->client, d->message, d->qos, d->identifier);
    const unsigned times = m->qos == 1 ? m->sends : 1;
    const unsigned resent = w->oracle.resent[d->client][d->message];
    if (m->cancelled) {
        world_fail(w, "will", "m%d, a will, comes to c%d after its client's DISCONNECT", d->message, d->client);
    }
    w->oracle.delivered++;
    w->counts.deliveries++;
    a->copies[d->qos]++;
    if (w->oracle.loose[d->client] || m->doubtful || m->first_sent <= w->oracle.judged_from[d->client]) {
        a->retained = (uint8_t)(a->retained + d->retain);
        return;
    }
    if (named.possible + named.retained == 0) {
        world_fail(w, "G2", "c%d got m%d at QoS %u, but has no subscription that gives it", d->client, d->message,
                   d->qos);
    } else if (a->copies[d->qos] > any.possible * times + any.retained + (d->qos == 1 ? resent : 0U)) {
        world_fail(w, "G2", "m%d came to c%d %u times at QoS %u; %u subscriptions match it", d->message, d->client,
                   a->copies[d->qos], d->qos, any.possible);
    }
    if (d->retain) {
        check_retain(w, d, ++a->retained);
        oracle_check_retained(w, d);
    } else if (a->first_step == 0) {
        check_order(w, d);
        a->first_step = w->step;
    }
    a->first_any = a->first_any == 0 ? w->step : a->first_any;
}

unsigned oracle_waiting(const struct world *w, int client) {
    const struct model *m = &w->clients[client];
    unsigned count = 0;
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_arrival *a = &w->oracle.arrivals[client][i];
        const unsigned times = w->oracle.messages[i].qos == 1 ? w->oracle.messages[i].sends : 1;
        for (unsigned qos = 1; qos <= 2 && w->oracle.messages[i].first_sent != 0; qos++) {
            const struct tally t = tally(w, client, (int)i, qos, 0);
            const unsigned most = t.possible * times + t.retained;
            count += most > a->copies[qos] ? most - a->copies[qos] : 0;
        }
    }
    for (unsigned id = 1; id <= w->plan->ids; id++) {
        count += m->in[id].known ? 1 : 0; /* it may not know yet that this one is done */
    }
    return count;
}

static bool has_expired(const struct world *w, const struct sim_message *m) {
    return m->expiry != 0 && w->now - m->sent_at >= (mono_ms_t)m->expiry * 1000;
}

/* It may be larger than what the client takes: then it is left out [MQTT-3.1.2-25]. */
bool oracle_may_be_too_large(const struct world *w, int client, const struct sim_message *m) {
    const size_t most = m->bytes + strlen(sim_topics[m->topic]) + PUBLISH_BYTES_MORE;
    return w->plan->clients[client].packet_max != 0 && most > w->plan->clients[client].packet_max;
}

/* G1 for one message and one client whose session lives. */
static void judge_one(struct world *w, int client, int message) {
    const struct sim_message *m = &w->oracle.messages[message];
    const struct sim_arrival *a = &w->oracle.arrivals[client][message];
    const bool expired = has_expired(w, m) || oracle_may_be_too_large(w, client, m);
    if (w->oracle.loose[client] || m->doubtful || m->refused || m->first_sent < w->oracle.judged_from[client]) {
        return;
    }
    if (expired || (m->will && w->expect_refusal && !w->plan->wills)) {
        return;
    }
    for (unsigned qos = 1; qos <= 2; qos++) {
        unsigned sure = tally(w, client, message, qos, 0).sure;
        if (a->copies[qos] + (qos == 1 ? a->perhaps : 0U) < sure) {
            world_fail(w, "G1", "m%d (QoS %u, topic %s) was accepted; c%d has %u of %u copies at QoS %u", message,
                       m->qos, sim_topics[m->topic], client, a->copies[qos], sure, qos);
        }
    }
}

void oracle_check_expiry(struct world *w, int client, int message, const struct mini_packet *p, mono_ms_t connected) {
    const struct sim_message *m = &w->oracle.messages[message];
    if (!w->plan->clients[client].five || m->will) {
        return;
    }
    const int64_t oldest = (w->now - m->sent_at + 999) / 1000, expiry = m->expiry, says = p->expiry;
    const bool once = (m->qos == 2 || m->sends == 1) && m->accepted != 0 && !p->dup && !w->clock.time_lost;
    const int64_t youngest = once && connected > m->accepted_at ? (connected - m->accepted_at) / 1000 : 0;
    if (p->has_expiry != (m->expiry != 0)) {
        world_fail(w, "expiry", "c%d got m%d %s expiry", client, message, p->has_expiry ? "with" : "without");
    } else if (p->has_expiry && (says > expiry || says > expiry - youngest + 2)) {
        world_fail(w, "expiry", "c%d got m%d with %lld s left; %lld came in, %lld s ago", client, message,
                   (long long)says, (long long)expiry, (long long)youngest);
    } else if (p->has_expiry && says < expiry - oldest - 2) {
        world_fail(w, "expiry", "c%d got m%d with %lld s left; %lld came in, at most %lld s ago", client, message,
                   (long long)says, (long long)expiry, (long long)oldest);
    }
}

void oracle_judge_living(struct world *w) {
    for (unsigned c = 0; c < w->client_count; c++) {
        if (!calm_at_rest(w, (int)c)) {
            continue;
        }
        oracle_judge_retained(w, (int)c);
        for (unsigned i = 0; i < w->oracle.message_count; i++) {
            if (w->oracle.messages[i].expiry != 0) {
                judge_one(w, (int)c, (int)i);
            }
        }
    }
}

/* What publish calls stored reaches the broker. */
static void judge_stored(struct world *w, unsigned message) {
    const struct sim_message *m = &w->oracle.messages[message];
    if (m->stored != 0 && m->accepted == 0 && !m->refused && !m->doubtful && !has_expired(w, m)) {
        world_fail(w, "G1", "c%d was told that m%u is stored, but the broker has never accepted it", m->publisher,
                   message);
    }
}

void oracle_judge(struct world *w) {
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        judge_stored(w, i);
    }
    for (unsigned c = 0; c < w->client_count; c++) {
        for (unsigned i = 0; i < w->oracle.message_count; i++) {
            judge_one(w, (int)c, (int)i);
        }
        oracle_judge_retained(w, (int)c);
    }
}

/* All that later judgements can depend on, without the steps themselves. */
static uint64_t subscription_bits(const struct world *w, const struct sim_subscription *s,
                                  const struct sim_message *m) {
    const bool bits[] = {was_sure(s, m),           was_possible(w, s, m), s->sure != 0,
                         s->sure <= m->first_sent, s->leaving != 0,       s->gone != 0,
                         s->gone >= m->first_sent};
    uint64_t sum = s->asks;
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        sum = sum << 1 | bits[i];
    }
    return sum;
}

uint64_t oracle_digest(const struct world *w) {
    const struct oracle *o = &w->oracle;
    uint64_t sum = o->message_count;
    for (unsigned i = 0; i < o->message_count; i++) {
        const struct sim_message *m = &o->messages[i];
        const uint64_t parts[] = {m->state,
                                  m->sends,
                                  m->order,
                                  m->first_sent != 0,
                                  m->accepted != 0,
                                  (uint64_t)m->again << 5 | (uint64_t)(m->stored != 0) << 4 |
                                      (uint64_t)m->refused << 3 | (uint64_t)m->completed << 2 |
                                      (uint64_t)m->doubtful << 1 | m->unordered};
        sum = hash_bytes(span_of(parts, sizeof parts), sum);
        for (unsigned c = 0; c < w->client_count; c++) {
            const struct sim_arrival *a = &o->arrivals[c][i];
            const uint8_t copies[] = {a->copies[0], a->copies[1],    a->copies[2],
                                      a->retained,  o->resent[c][i], o->loose[c]};
            sum = hash_bytes(span_of(copies, sizeof copies), sum);
        }
        for (unsigned s = 0; s < SIM_SUBSCRIPTIONS_MAX; s++) {
            if (o->subscriptions[s].used) {
                sum = hash64(sum, subscription_bits(w, &o->subscriptions[s], m));
            }
        }
    }
    return sum;
}
