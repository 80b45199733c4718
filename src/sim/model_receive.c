/* The receiving half of the model client: every packet of the broker is checked before it is believed. */
#include "base/must.h"
#include "sim/model.h"
#include "sim/model_inside.h"
#include "sim/world.h"

/* ---- answers, in the order of what they answer ---- */

static void expected_drop(struct model *m, unsigned at) {
    m->expected_count--;
    memmove(m->expected + at, m->expected + at + 1, (m->expected_count - at) * sizeof m->expected[0]);
}

/* Answers keep the order of what they answer among their kind: to PUBLISH, to PUBREC, to PUBREL, and so on. */
static unsigned kind_of(unsigned type) {
    return type == MINI_PUBREC ? MINI_PUBACK : type == MINI_UNSUBACK ? MINI_SUBACK : type;
}

/* The first expectation of the packet's kind that cannot be left out, or that it fulfils. */
static unsigned expected_find(struct model *m, const struct mini_packet *p) {
    unsigned at = 0;
    while (at < m->expected_count) {
        const struct model_packet *x = &m->expected[at];
        if (kind_of(x->type) != kind_of(p->type)) {
            at++;
        } else if (x->optional && (x->type != p->type || x->id != p->id)) {
            expected_drop(m, at);
        } else {
            break;
        }
    }
    return at;
}

/* Takes the expectation that the packet fulfils; false (a failure) when it is not its turn or was never asked for. */
static bool take_expected(struct world *w, struct model *m, const struct mini_packet *p, struct model_packet *out) {
    unsigned at = expected_find(m, p);
    if (at == m->expected_count) {
        world_fail(w, "R7", "c%d got %s %u, which answers nothing on this connection", m->index, mini_name(p->type),
                   p->id);
        return false;
    }
    *out = m->expected[at];
    if (out->type != p->type || out->id != p->id) {
        world_fail(w, "R8", "c%d got %s %u, but %s %u was due before", m->index, mini_name(p->type), p->id,
                   mini_name(out->type), out->id);
        return false;
    }
    expected_drop(m, at);
    return true;
}

static bool more_expected(const struct model *m, uint8_t type, uint16_t id) {
    for (unsigned i = 0; i < m->expected_count; i++) {
        if (m->expected[i].type == type && m->expected[i].id == id) {
            return true;
        }
    }
    return false;
}

/* ---- connection ---- */

void model_forget_session(struct world *w, struct model *m) {
    oracle_new_session(w, m->index);
    for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
        if (m->flows[id].state == 1) {
            oracle_abandoned(w, m->flows[id].message);
        }
    }
    memset(m->flows, 0, sizeof m->flows);
    memset(m->in, 0, sizeof m->in);
    memset(m->wanted, 0, sizeof m->wanted);
    m->was_connected = false;
}

/* PUBRELs that the broker may owe from before come first and in the order of their PUBRECs. */
static void expect_owed_releases(struct model *m) {
    uint32_t after = 0;
    for (;;) {
        unsigned best = 0;
        for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
            if (m->in[id].rel_possible && m->in[id].rec_order > after &&
                (best == 0 || m->in[id].rec_order < m->in[best].rec_order)) {
                best = id;
            }
        }
        if (best == 0) {
            return;
        }
        after = m->in[best].rec_order;
        model_expect(m, MINI_PUBREL, (uint16_t)best, m->in[best].message, true);
    }
}

/* What the connection before had sent, and how it ended, has been heeded before CONNACK [MQTT-3.14.4-3]. */
static void judge_ending(struct world *w, struct model *m, const struct mini_packet *p) {
    const struct model_bye bye = m->bye;
    const int will = m->will_due;
    m->bye = (struct model_bye){.said = false};
    m->will_due = -1;
    if (!w->plan->wills || w->expect_refusal) {
        return;
    }
    if (will >= 0) {
        oracle_will_over(w, will);
    }
    if (bye.said && bye.starts == w->node.starts) {
        if (bye.will >= 0) {
            oracle_will_cancelled(w, bye.will);
        }
        if (bye.ends_session && p->session_present && !m->unanswered) {
            world_fail(w, "session", "c%d: Session Present, though it had ended it with DISCONNECT", m->index);
        }
    }
}

static void on_connack(struct world *w, struct model *m, const struct mini_packet *p) {
    const bool too_often = w->plan->broker.takeover_rate > 0 && p->reason == (m->plan->five ? 0x9f : 0x03);
    if (p->reason != 0 && (w->expect_refusal || too_often)) {
        w->conns[m->conn].excused = true;
        m->again_at = w->now + 1000;
        return;
    }
    if (p->reason != 0) {
        world_fail(w, "connect", "c%d was refused with 0x%02X", m->index, p->reason);
        return;
    }
    judge_ending(w, m, p);
    if (p->session_present && (m->asked_clean || m->asked_belief == BELIEF_NONE)) {
        world_fail(w, "session", "c%d: Session Present, though its session has ended", m->index);
    }
    const bool overfull = w->plan->ends_sessions && world_may_be_overfull(w, m->index);
    m->distrusts = m->distrusts || (overfull && m->unanswered && m->asked_belief == BELIEF_SURE);
    m->connecting = false;
    if (!p->session_present && !m->asked_clean && m->asked_belief == BELIEF_SURE && !overfull) {
        world_fail(w, "session", "c%d: its session was forgotten", m->index);
    }
    if (!p->session_present) {
        model_forget_session(w, m);
    } else {
        m->was_connected = true;
    }
    if (p->session_present && m->distrusts && !m->asked_clean) {
        /* It may have expired and been made anew by a connection whose CONNACK was lost: nobody can tell. */
        world_trace(w, "c%d does not trust that session: it may have expired meanwhile", m->index);
        m->wants_clean = true;
        w->conns[m->conn].excused = true;
        struct conn *c = &w->conns[m->conn];
        model_lost(w, m);
        conn_abandon(c, world_end(w));
        return;
    }
    m->distrusts = false;
    m->connack_seen = true;
    m->session = BELIEF_SURE;
    m->session_volatile = m->asked_volatile;
    m->wants_clean = m->asked_clean ? false : m->wants_clean;
    m->server_receive_maximum = p->receive_maximum != 0 ? p->receive_maximum : UINT16_MAX;
    m->identifiers = m->plan->five && !p->no_identifiers;
    m->last_resent = 0;
    m->fresh_seen = false;
    for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
        m->flows[id].sent_here = m->flows[id].quota_here = false;
        m->in[id].counted = false;
    }
    for (unsigned i = 0; i < SIM_WANTED_MAX; i++) {
        m->wanted[i].sent_here = false;
    }
    if (p->session_present) {
        expect_owed_releases(m);
    }
    model_time(w, m);
    if (w->conns[m->conn].forgotten) {
        model_doubt(w, m);
    }
}

/* ---- deliveries ---- */

static void deliver(struct world *w, struct model *m, unsigned id, const struct mini_packet *p) {
    const struct sim_delivery d = {.client = m->index,
                                   .message = m->in[id].message,
                                   .qos = m->in[id].qos,
                                   .retain = m->in[id].retain,
                                   .dup = p != NULL && p->dup,
                                   .identifier = m->in[id].identifier};
    oracle_delivered(w, &d);
}

static void count_unanswered(struct world *w, struct model *m, struct model_inbound *in) {
    if (!in->counted) {
        in->counted = true;
        m->counted++;
    }
    if (m->plan->receive_maximum != 0 && m->plan->five && m->counted > m->plan->receive_maximum) {
        world_fail(w, "R5", "c%d has %u publishes to answer, its Receive Maximum is %u", m->index, m->counted,
                   m->plan->receive_maximum);
    }
}

/* A PUBLISH under an id that is still open here. */
static void on_repeat(struct world *w, struct model *m, const struct mini_packet *p, int message) {
    struct model_inbound *in = &m->in[p->id];
    if (message != in->message || p->qos != in->qos) {
        world_fail(w, "R4", "c%d got m%d under id %u, where m%d is under way", m->index, message, p->id, in->message);
    } else if (in->serial == m->serial) {
        world_fail(w, "R7", "c%d got m%d under id %u again on the same connection", m->index, message, p->id);
    } else if (!p->dup) {
        world_fail(w, "DUP", "c%d got m%d under id %u again without DUP", m->index, message, p->id);
    } else if (in->ambiguous) {
        return;
    } else if (in->first_seen < m->last_resent) {
        world_fail(w, "G3", "c%d: m%d (id %u) is resent after a later one", m->index, message, p->id);
    } else if (m->fresh_seen) {
        world_fail(w, "G3", "c%d: m%d (id %u) is resent after a new message", m->index, message, p->id);
    }
    m->last_resent = in->first_seen;
}

static void on_new(struct world *w, struct model *m, const struct mini_packet *p, int message) {
    struct model_inbound *in = &m->in[p->id];
    if (p->dup && !m->was_connected) {
        world_fail(w, "DUP", "c%d got m%d with DUP on the first connection of its session", m->index, message);
    }
    m->fresh_seen = m->fresh_seen || !p->dup;
    *in = (struct model_inbound){.known = true,
                                 .counted = in->counted,
                                 .message = message,
                                 .qos = p->qos,
                                 .retain = p->retain,
                                 .identifier = p->subscription_count > 0 ? p->subscription[0] : 0,
                                 .first_seen = ++m->order};
    if (p->qos < 2 || !m->plan->method_a) {
        deliver(w, m, p->id, p);
    }
}

static void on_publish(struct world *w, struct model *m, const struct mini_packet *p) {
    int message = oracle_identify(w, p->topic, p->payload);
    if (message < 0) {
        world_fail(w, "content", "c%d got a PUBLISH that nobody sent so", m->index);
        return;
    }
    if (p->subscription_count != (m->identifiers ? 1 : 0)) {
        world_fail(w, "identifier", "c%d got m%d with %u subscription identifiers", m->index, message,
                   p->subscription_count);
    }
    if (p->qos > 0 && p->id > w->plan->ids) {
        world_fail(w, "R4", "c%d got packet id %u beyond the pool", m->index, p->id);
        return;
    }
    oracle_check_expiry(w, m->index, message, p, w->conns[m->conn].opened_at);
    struct model_inbound *in = &m->in[p->id];
    if (p->qos == 0) {
        on_new(w, m, p, message);
        return;
    }
    /* At QoS 1 our PUBACK may have been lost after we closed the flow; or it is another copy that the publisher caused.
     * Both look the same, so neither is counted. What RETAIN tells apart is another one: it was retained. */
    bool lost_puback = in->state == 0 && in->known && in->qos == 1 && p->qos == 1 && in->message == message && p->dup &&
                       in->retain == p->retain && in->serial != m->serial;
    if (in->state != 0) {
        on_repeat(w, m, p, message);
    } else if (lost_puback) {
        in->ambiguous = true;
        w->oracle.arrivals[m->index][message].perhaps++;
    } else {
        on_new(w, m, p, message);
    }
    for (unsigned i = m->expected_count; i-- > 0;) {
        if (m->expected[i].optional && m->expected[i].id == p->id) {
            expected_drop(m, i);
        }
    }
    in->state = p->qos;
    in->serial = m->serial;
    in->rel_possible = false;
    count_unanswered(w, m, in);
    model_owe(m, p->qos == 1 ? MINI_PUBACK : MINI_PUBREC, p->id, 0);
}

static void on_pubrel(struct world *w, struct model *m, const struct mini_packet *p) {
    struct model_packet due;
    if (p->id > SIM_IDS_MAX || !take_expected(w, m, p, &due)) {
        return;
    }
    struct model_inbound *in = &m->in[p->id];
    bool held = in->state == 2;
    if (held && p->reason != 0) {
        world_fail(w, "R2", "c%d: PUBREL 0x%02X for id %u, whose message is under way", m->index, p->reason, p->id);
    }
    if (held) {
        in->state = 0;
        if (m->plan->method_a) {
            deliver(w, m, p->id, NULL);
        }
    }
    model_owe(m, MINI_PUBCOMP, p->id, !held && m->plan->five ? 0x92 : 0);
}

/* ---- answers to our publishes ---- */

static void flow_done(struct model *m, struct model_flow *f) {
    if (f->quota_here && f->qos == 2) {
        m->quota_used--;
    }
    memset(f, 0, sizeof *f);
}

/* True when the answer refuses; a refusal without a reason for it is a failure. */
static bool refuses(struct world *w, const struct model *m, const struct mini_packet *p) {
    if (p->reason == 0 || p->reason == 0x10) {
        return false;
    }
    if (p->reason != 0x97 || !w->expect_refusal) {
        world_fail(w, "refusal", "c%d: %s %u refuses with 0x%02X", m->index, mini_name(p->type), p->id, p->reason);
    }
    return true;
}

static void on_puback(struct world *w, struct model *m, const struct mini_packet *p) {
    struct model_packet due;
    if (!take_expected(w, m, p, &due)) {
        return;
    }
    struct model_flow *f = &m->flows[p->id];
    bool refused = refuses(w, m, p);
    m->quota_used--;
    if (f->state != 1 || f->message != due.what) {
        return;
    }
    if (!refused) {
        oracle_accepted(w, due.what);
        flow_done(m, f);
    } else if (!more_expected(m, MINI_PUBACK, p->id)) {
        oracle_refused(w, due.what);
        w->oracle.messages[due.what].order = ++m->next_message_order;
        m->again_at = w->now + 1000;
        flow_done(m, f);
    }
}

static void on_pubrec(struct world *w, struct model *m, const struct mini_packet *p) {
    struct model_packet due;
    if (!take_expected(w, m, p, &due)) {
        return;
    }
    struct model_flow *f = &m->flows[p->id];
    bool refused = refuses(w, m, p);
    if (f->state == 0 || f->message != due.what) {
        return;
    }
    if (f->state == 2 && refused) {
        world_fail(w, "R6", "c%d: a repeat of m%d (id %u) is refused after it was accepted", m->index, f->message,
                   p->id);
    } else if (f->state == 2) {
        return;
    }
    if (!refused) {
        oracle_accepted(w, due.what);
        f->state = 2;
        f->release_order = ++m->order;
        f->sent_here = true;
        model_owe(m, MINI_PUBREL, p->id, 0);
    } else if (!more_expected(m, MINI_PUBREC, p->id)) {
        oracle_refused(w, due.what);
        w->oracle.messages[due.what].order = ++m->next_message_order;
        m->again_at = w->now + 1000;
        flow_done(m, f);
    }
}

static void on_pubcomp(struct world *w, struct model *m, const struct mini_packet *p) {
    struct model_packet due;
    if (!take_expected(w, m, p, &due)) {
        return;
    }
    struct model_flow *f = &m->flows[p->id];
    const bool unknown = p->reason == 0x92;
    if (p->reason != 0 && !unknown) {
        world_fail(w, "R6", "c%d: PUBCOMP %u with 0x%02X", m->index, p->id, p->reason);
    }
    if (due.what < 0) {
        if (m->plan->five && !unknown) {
            world_fail(w, "R6", "c%d: PUBCOMP %u says success for an id that was free", m->index, p->id);
        }
        return;
    }
    if (f->state != 2 || f->message != due.what) {
        return;
    }
    if (unknown && f->releases == 1) {
        world_fail(w, "R2", "c%d: id %u of m%d was forgotten before its PUBREL", m->index, p->id, f->message);
    }
    flow_done(m, f);
}

/* ---- answers to our subscriptions ---- */

static void on_suback(struct world *w, struct model *m, const struct mini_packet *p) {
    struct model_packet due;
    if (!take_expected(w, m, p, &due)) {
        return;
    }
    struct model_wanted *x = &m->wanted[due.what];
    if (p->type == MINI_SUBACK) {
        bool granted = p->reason_count == 1 && p->reasons[0] == m->plan->wanted[due.what].qos;
        bool refused = p->reason_count == 1 && p->reasons[0] >= 0x80 && w->expect_refusal;
        if (!granted && !refused) {
            world_fail(w, "subscribe", "c%d: its subscription was not granted", m->index);
        } else if (x->state == 1 && refused) {
            x->state = 0; /* but an earlier SUBSCRIBE, whose answer was lost, may stand */
        } else if (x->state == 1) {
            x->state = 2;
            oracle_subscribed(w, x->subscription);
            w->suback_seen = true;
        }
    } else if (x->state == 3) {
        x->state = 0;
        oracle_unsubscribed(w, x->subscription);
    }
}

static void on_disconnect(struct world *w, struct model *m, const struct mini_packet *p) {
    if (!w->conns[m->conn].excused) {
        world_fail(w, "R6", "c%d is disconnected with 0x%02X, though it obeyed", m->index, p->reason);
    }
}

static void on_pingresp(struct world *w, struct model *m, const struct mini_packet *p) {
    struct model_packet due;
    take_expected(w, m, p, &due);
}

static void on_connected_packet(struct world *w, struct model *m, const struct mini_packet *p) {
    static void (*const handlers[16])(struct world *, struct model *, const struct mini_packet *) = {
        [MINI_PUBLISH] = on_publish, [MINI_PUBACK] = on_puback,     [MINI_PUBREC] = on_pubrec,
        [MINI_PUBREL] = on_pubrel,   [MINI_PUBCOMP] = on_pubcomp,   [MINI_SUBACK] = on_suback,
        [MINI_UNSUBACK] = on_suback, [MINI_PINGRESP] = on_pingresp, [MINI_DISCONNECT] = on_disconnect,
    };
    if (handlers[p->type] == NULL) {
        world_fail(w, "order", "c%d got a second %s", m->index, mini_name(p->type));
        return;
    }
    handlers[p->type](w, m, p);
}

void model_receive(struct world *w, struct model *m, struct span packet) {
    struct mini_packet p;
    const char *wrong = mini_decode(packet, m->plan->five, &p);
    if (wrong != NULL) {
        world_fail(w, "wire", "c%d got %s", m->index, wrong);
        return;
    }
    world_trace_packet(w, "<", m->index, &p);
    if (m->connack_seen) {
        on_connected_packet(w, m, &p);
    } else if (p.type == MINI_CONNACK) {
        on_connack(w, m, &p);
    } else if (p.type != MINI_DISCONNECT) {
        world_fail(w, "order", "c%d got %s before CONNACK", m->index, mini_name(p.type));
    }
}
