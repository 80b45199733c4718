/* The retained message of a topic is a register: publishes write it, SUBSCRIBE reads it. Each takes effect at some
 * instant between its packet and its answer; what follows from that is judged, and no more. */
#include "sim/oracle.h"
#include "sim/world.h"

/* QoS 0 has no answer, a repeat at QoS 1 may write again later, and what expires goes by itself. */
static bool writes_once(const struct sim_message *m) {
    return m->expiry == 0 && (m->qos == 2 || (m->qos == 1 && m->sends == 1));
}

static bool writes(const struct sim_message *m, uint8_t topic) {
    return m->retain && m->topic == topic && m->first_sent != 0;
}

/* Surely written and over before `step`. */
static bool over_before(const struct sim_message *m, uint64_t step) {
    return writes_once(m) && m->accepted != 0 && m->accepted < step;
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

void oracle_check_retained(struct world *w, const struct sim_delivery *d) {
    const struct sim_message *m = &w->oracle.messages[d->message];
    const uint64_t asked = first_asked(w, d->client, m->topic);
    if (m->clears && asked != 0) {
        world_fail(w, "retain", "c%d got an empty message as a retained one", d->client);
    }
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *later = &w->oracle.messages[i];
        if (writes(later, m->topic) && over_before(later, asked) && over_before(m, later->first_sent) &&
            !later->doubtful) {
            world_fail(w, "retain", "c%d got m%d as a retained message, which m%u had replaced before it subscribed",
                       d->client, d->message, i);
        }
    }
}

/* The message that was surely the topic's during the whole of (asked, sure); -1: none is sure. */
static int value_during(const struct world *w, uint8_t topic, uint64_t asked, uint64_t sure) {
    int value = -1;
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *m = &w->oracle.messages[i];
        if (writes(m, topic) && over_before(m, asked) &&
            (value < 0 || m->first_sent > w->oracle.messages[value].first_sent)) {
            value = (int)i;
        }
    }
    for (unsigned i = 0; i < w->oracle.message_count && value >= 0; i++) {
        const struct sim_message *m = &w->oracle.messages[i];
        if ((int)i != value && writes(m, topic) && m->first_sent < sure &&
            !over_before(m, w->oracle.messages[value].first_sent)) {
            return -1;
        }
    }
    return value >= 0 && w->oracle.messages[value].doubtful ? -1 : value;
}

static void judge_subscription(struct world *w, const struct sim_subscription *s) {
    for (unsigned topic = 0; topic < w->plan->topics; topic++) {
        if (!oracle_matches(sim_filters[s->what.filter], sim_topics[topic])) {
            continue;
        }
        int value = value_during(w, (uint8_t)topic, s->asked, s->sure);
        if (value < 0 || oracle_may_be_too_large(w, s->client, &w->oracle.messages[value])) {
            continue;
        }
        if (!w->oracle.messages[value].clears && w->oracle.arrivals[s->client][value].retained == 0) {
            world_fail(w, "G1", "m%d was the retained message of %s when c%d subscribed; it has not come", value,
                       sim_topics[topic], s->client);
        }
    }
}

/* What a SUBSCRIBE fetches takes room in the queue of its session like any other message; where there is none, it is
 * left out, and nobody can be told. */
void oracle_judge_retained(struct world *w) {
    if (w->expect_refusal) {
        return;
    }
    for (unsigned i = 0; i < SIM_SUBSCRIPTIONS_MAX; i++) {
        const struct sim_subscription *s = &w->oracle.subscriptions[i];
        bool current = s->used && s->incarnation == w->oracle.incarnation[s->client] && !w->oracle.loose[s->client];
        if (current && s->sure != 0 && s->leaving == 0 && s->what.qos > 0 && s->what.retain_handling == 0) {
            judge_subscription(w, s);
        }
    }
}
