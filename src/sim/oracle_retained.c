/* The retained message of a topic is a register: publishes write it, SUBSCRIBE reads it. Each takes effect at some
 * instant between its packet and its answer; what follows from that is judged, and no more. */
#include "sim/oracle.h"
#include "sim/world.h"

/* QoS 0 has no answer, and a repeat at QoS 1 may write again later. */
static bool writes_once(const struct sim_message *m) {
    return m->qos == 2 || (m->qos == 1 && m->sends == 1);
}

static bool lives(const struct world *w, const struct sim_message *m) {
    return m->expiry == 0 || w->now + 1000 < m->sent_at + (mono_ms_t)m->expiry * 1000;
}

static bool writes(const struct sim_message *m, uint8_t topic) {
    return m->retain && m->topic == topic && m->first_sent != 0 && !m->cancelled;
}

/* A will is not written before it is due. */
static uint64_t begins(const struct sim_message *m) {
    return m->will && m->due != 0 ? m->due : m->first_sent;
}

/* Surely written and over before `step`. A broker that has lost its disk takes a message that it had accepted once
 * more, and over what came since. */
static bool over_before(const struct sim_message *m, uint64_t step) {
    return writes_once(m) && !m->again && m->accepted != 0 && m->accepted < step;
}

/* When the client's subscription that matches the topic first asked; 0: none does, or RETAIN says nothing because one
 * of them wants it as published. */
static uint64_t first_asked(const struct world *w, int client, uint8_t topic) {
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        const struct sim_subscription *s = &w->oracle.subscriptions[i];
        if (s->used && s->client == client && s->incarnation == w->oracle.incarnation[client] &&
            oracle_matches(sim_filters[s->what.filter], sim_topics[topic])) {
            first = s->what.retain_as_published ? 0 : s->asked < first ? s->asked : first;
        }
    }
    return first;
}

/* How many subscriptions of the client's session may bring messages of a topic. */
static unsigned ways(const struct world *w, int client, uint8_t topic) {
    unsigned count = 0;
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        const struct sim_subscription *s = &w->oracle.subscriptions[i];
        count += s->used && s->client == client && s->incarnation == w->oracle.incarnation[client] &&
                         oracle_matches(sim_filters[s->what.filter], sim_topics[topic])
                     ? 1
                     : 0;
    }
    return count;
}

/* G3: the retained copy stands where the subscription begins, before all that is newer. Deliveries at different QoS
 * may overtake each other. */
static void check_retained_order(struct world *w, const struct sim_delivery *d) {
    const struct sim_message *m = &w->oracle.messages[d->message];
    if (d->qos == 0 || w->oracle.arrivals[d->client][d->message].first_any != 0 || ways(w, d->client, m->topic) != 1) {
        return;
    }
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *newer = &w->oracle.messages[i];
        const struct sim_arrival *a = &w->oracle.arrivals[d->client][i];
        if (writes(newer, m->topic) && a->copies[d->qos] > 0 && over_before(m, begins(newer)) && !newer->doubtful) {
            world_fail(w, "G3", "c%d gets m%d, an older retained message of %s, after m%u", d->client, d->message,
                       sim_topics[m->topic], i);
        }
    }
}

void oracle_check_retained(struct world *w, const struct sim_delivery *d) {
    const struct sim_message *m = &w->oracle.messages[d->message];
    const uint64_t asked = first_asked(w, d->client, m->topic);
    if (m->clears && asked != 0) {
        world_fail(w, "retain", "c%d got an empty message as a retained one", d->client);
    }
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *later = &w->oracle.messages[i];
        if (writes(later, m->topic) && over_before(later, asked) && over_before(m, begins(later)) && !later->doubtful) {
            world_fail(w, "retain", "c%d got m%d as a retained message, which m%u had replaced before it subscribed",
                       d->client, d->message, i);
        }
    }
    check_retained_order(w, d);
}

/* The message that was surely the topic's at the step `sure`, and from its own answer on; -1: none is sure. */
static int value_at(const struct world *w, uint8_t topic, uint64_t sure) {
    int value = -1;
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *m = &w->oracle.messages[i];
        if (writes(m, topic) && over_before(m, sure) && (value < 0 || begins(m) > begins(&w->oracle.messages[value]))) {
            value = (int)i;
        }
    }
    for (unsigned i = 0; i < w->oracle.message_count && value >= 0; i++) {
        const struct sim_message *m = &w->oracle.messages[i];
        if ((int)i != value && writes(m, topic) && begins(m) < sure &&
            !over_before(m, begins(&w->oracle.messages[value]))) {
            return -1;
        }
    }
    return value >= 0 && w->oracle.messages[value].doubtful ? -1 : value;
}

/* To a session that ends with its connection SUBACK comes first. What it brings may wait for room in a small queue, or
 * for the next turns where these are short, and a value that is replaced meanwhile does not come: the one that replaces
 * it comes live. */
static bool replaced_meanwhile(const struct world *w, const struct sim_subscription *s, uint8_t topic) {
    bool replaced = false;
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *m = &w->oracle.messages[i];
        replaced = replaced || (writes(m, topic) && begins(m) >= s->sure);
    }
    return replaced && !world_is_real(w, s->client) && w->clients[s->client].session_volatile;
}

/* The last message before SUBACK has come: as a retained one when it was there before SUBSCRIBE; when it was written in
 * between, as a retained or as a live one. */
static void judge_topic(struct world *w, const struct sim_subscription *s, uint8_t topic) {
    const int value = value_at(w, topic, s->sure);
    if (value < 0) {
        return;
    }
    const struct sim_message *m = &w->oracle.messages[value];
    const struct sim_arrival *a = &w->oracle.arrivals[s->client][value];
    if (!lives(w, m)) {
        return;
    }
    const bool before = over_before(m, s->asked);
    const bool come = before ? a->retained > 0 : a->copies[0] + a->copies[1] + a->copies[2] + a->perhaps > 0;
    const bool local = s->what.no_local && m->publisher == s->client && !before;
    const bool excused = local || oracle_may_be_too_large(w, s->client, m) || replaced_meanwhile(w, s, topic);
    if (!come && !m->clears && !excused) {
        world_fail(w, "G1", "m%d was the retained message of %s when c%d subscribed; it has not come", value,
                   sim_topics[topic], s->client);
    }
}

static void judge_subscription(struct world *w, const struct sim_subscription *s) {
    for (unsigned i = 0; i < topics_count(w->plan); i++) {
        const uint8_t topic = topics_at(w->plan, i);
        if (oracle_matches(sim_filters[s->what.filter], sim_topics[topic])) {
            judge_topic(w, s, topic);
        }
    }
}

/* What a SUBSCRIBE fetches waits for room in the queue of its session; nothing of it is left out. */
void oracle_judge_retained(struct world *w, int client) {
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        const struct sim_subscription *s = &w->oracle.subscriptions[i];
        bool current = s->used && s->client == client && s->incarnation == w->oracle.incarnation[s->client] &&
                       !w->oracle.loose[s->client];
        if (current && s->sure != 0 && s->leaving == 0 && s->what.qos > 0 && s->what.retain_handling == 0) {
            judge_subscription(w, s);
        }
    }
}

int oracle_retained(const struct world *w, uint8_t topic) {
    return value_at(w, topic, w->step);
}

bool oracle_may_be_retained(const struct world *w, uint8_t topic) {
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        if (writes(&w->oracle.messages[i], topic) && !w->oracle.messages[i].clears) {
            return true;
        }
    }
    return false;
}
