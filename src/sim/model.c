#include "sim/model.h"

#include "base/map.h"
#include "base/must.h"
#include "sim/model_inside.h"
#include "sim/world.h"

#define SIM_NEVER 0xffffffffU

void model_init(struct model *m, int index, const struct plan_client *plan) {
    memset(m, 0, sizeof *m);
    m->index = index;
    m->plan = plan;
    m->conn = -1;
    m->will_message = m->will_due = -1;
}

/* ---- sending ---- */

static bool can_send(const struct world *w, const struct model *m) {
    return m->conn >= 0 && m->connack_seen && pipe_space(&w->conns[m->conn].to_broker) >= MINI_PACKET_BYTES &&
           m->expected_count + 2 < SIM_EXPECTED_MAX;
}

static void send(struct world *w, struct model *m, struct mini_packet *p) {
    struct conn *c = &w->conns[m->conn];
    uint8_t bytes[MINI_PACKET_BYTES];
    p->five = m->plan->five;
    size_t len = mini_encode(p, bytes);
    world_trace_packet(w, ">", m->index, p);
    if (!c->cut) {
        pipe_write(&c->to_broker, span_of(bytes, len));
    }
}

void model_expect(struct model *m, uint8_t type, uint16_t id, int what, bool optional) {
    must(m->expected_count < SIM_EXPECTED_MAX);
    m->expected[m->expected_count++] = (struct model_packet){type, id, 0, what, optional};
}

static unsigned expected_of(const struct model *m, uint16_t id) {
    unsigned count = 0;
    for (unsigned i = 0; i < m->expected_count; i++) {
        bool inbound = m->expected[i].type == MINI_PUBREL;
        count += !inbound && m->expected[i].id == id ? 1 : 0;
    }
    return count;
}

static bool id_free(const struct model *m, unsigned id) {
    for (unsigned i = 0; i < m->plan->wanted_count; i++) {
        if ((m->wanted[i].state == 1 || m->wanted[i].state == 3) && m->wanted[i].id == id) {
            return false;
        }
    }
    return m->flows[id].state == 0 && expected_of(m, (uint16_t)id) == 0;
}

static unsigned ids_free(const struct world *w, const struct model *m) {
    unsigned count = 0;
    for (unsigned id = 1; id <= w->plan->ids; id++) {
        count += id_free(m, id) ? 1 : 0;
    }
    return count;
}

static uint16_t id_choose(struct world *w, const struct model *m) {
    uint32_t nth = choose(w->choices, ids_free(w, m));
    for (unsigned id = 1;; id++) {
        must(id <= w->plan->ids);
        if (id_free(m, id) && nth-- == 0) {
            return (uint16_t)id;
        }
    }
}

/* ---- connecting ---- */

static void name_of(const struct model *m, char out[8]) {
    snprintf(out, 8, "c%d", m->index);
}

static void add_will(struct world *w, struct model *m, struct mini_packet *p, uint8_t *payload) {
    const struct sim_message will = {.state = SIM_MESSAGE_UNKNOWN,
                                     .publisher = m->index,
                                     .topic = (uint8_t)choose(w->choices, w->plan->topics),
                                     .qos = 2,
                                     .retain = m->plan->will_retain,
                                     .will = true,
                                     .bytes = 12,
                                     .sends = 1,
                                     .first_sent = w->step,
                                     .sent_at = w->now};
    int message = oracle_message(w, &will);
    if (message < 0) {
        return;
    }
    m->will_message = message;
    m->will_possible = true;
    p->has_will = true;
    p->will_retain = will.retain;
    p->will_qos = 2;
    p->will_delay = m->plan->five ? m->plan->will_delay : 0;
    p->will_topic = span_str(sim_topics[will.topic]);
    p->will_payload = span_of(payload, oracle_payload(w, message, payload));
}

static void act_connect(struct world *w, struct model *m) {
    char name[8];
    uint8_t payload[MINI_PACKET_BYTES];
    struct conn *c = world_connect(w, m->index);
    name_of(m, name);
    m->conn = (int)(c - w->conns);
    m->serial = c->serial;
    m->connack_seen = false;
    m->asked_clean = m->wants_clean || w->draining || (!m->plan->five && !m->plan->durable);
    m->asked_volatile = !m->plan->durable || w->draining || (m->wants_clean && !m->plan->five);
    m->asked_belief = m->session;
    m->unanswered = m->connecting;
    m->connecting = true;
    struct mini_packet p = {.type = MINI_CONNECT,
                            .clean = m->asked_clean,
                            .client = span_str(name),
                            .receive_maximum = m->plan->receive_maximum,
                            .session_expiry = m->asked_volatile ? 0 : m->plan->session_expiry};
    if (m->plan->will && !w->calm) {
        add_will(w, m, &p, payload);
    }
    if (m->asked_clean) {
        oracle_session_leaving(w, m->index);
    }
    if (m->asked_clean || m->session == BELIEF_NONE) {
        m->session = BELIEF_MAYBE;
    }
    send(w, m, &p);
    c->connect_bytes = c->to_broker.len;
    c->connect_clean = m->asked_clean;
}

/* An older connection, given up long ago, may still bring its CONNECT to the broker and make a session. */
static bool others_under_way(const struct world *w, const struct model *m) {
    for (int i = 0; i < SIM_CONNS_MAX; i++) {
        if (w->conns[i].used && w->conns[i].client == m->index && i != m->conn) {
            return true;
        }
    }
    return false;
}

/* Its will, if it had one, is due now: known to the broker (CONNACK came), not cancelled (no DISCONNECT was written),
 * not delayed, of a session that survives a crash of the broker. A store that is full keeps no more wills of sessions
 * that are not durable. */
static void will_due(struct world *w, struct model *m, const struct conn *c) {
    const bool kept = !m->session_volatile || (w->plan->wills && !w->expect_refusal);
    if (m->will_message >= 0 && m->connack_seen && m->will_possible && kept &&
        (!m->plan->five || m->plan->will_delay == 0)) {
        oracle_will_due(w, m->will_message, c->end.step != 0 ? c->end.step : w->step);
        m->will_due = m->will_message;
    }
    m->will_message = -1;
}

void model_lost(struct world *w, struct model *m) {
    const struct conn *c = &w->conns[m->conn];
    will_due(w, m, c);
    if (m->connack_seen || m->ended_at == 0) {
        m->ended_at = c->end.at != 0 ? c->end.at : w->now;
    }
    if (m->connack_seen && m->session_volatile) {
        m->session = c->overtaken || others_under_way(w, m) ? BELIEF_MAYBE : BELIEF_NONE;
        model_forget_session(w, m);
    }
    m->conn = -1;
    m->connack_seen = false;
    m->owed_count = m->expected_count = 0;
    m->quota_used = m->counted = 0;
}

void model_doubt(struct world *w, struct model *m) {
    m->session = m->asked_belief = BELIEF_MAYBE;
    m->wants_clean = m->distrusts = true;
    oracle_session_leaving(w, m->index);
}

void model_time(struct world *w, struct model *m) {
    const bool ends = m->plan->five && m->plan->durable && m->plan->session_expiry != SIM_NEVER;
    const mono_ms_t ended_at = m->connack_seen ? w->conns[m->conn].end.at : m->ended_at;
    if (ends && ended_at != 0 && m->session == BELIEF_SURE &&
        w->now - ended_at + 1000 >= (mono_ms_t)m->plan->session_expiry * 1000) {
        model_doubt(w, m);
    }
}

static void act_disconnect(struct world *w, struct model *m) {
    struct conn *c = &w->conns[m->conn];
    const bool ends = w->plan->wills && m->plan->five && m->plan->durable && choose(w->choices, 3) == 2;
    struct mini_packet p = {.type = MINI_DISCONNECT, .has_expiry = ends};
    if (ends) {
        m->session = BELIEF_MAYBE;
        m->distrusts = true; /* another one may be made by a connection whose CONNACK is lost */
        oracle_session_leaving(w, m->index);
    }
    send(w, m, &p);
    m->bye = (struct model_bye){.said = w->plan->wills && !c->cut && c->broker == BROKER_END_OPEN && !c->closing,
                                .ends_session = ends && !others_under_way(w, m),
                                .will = m->will_message,
                                .starts = w->node.starts};
    m->will_possible = false;
    c->excused = true;
    model_lost(w, m);
    conn_abandon(c, world_end(w));
}

static void act_takeover(struct world *w, struct model *m) {
    struct conn *old = &w->conns[m->conn];
    old->excused = true;
    model_lost(w, m);
    conn_abandon(old, world_end(w));
    act_connect(w, m);
}

/* ---- publishing ---- */

static int next_waiting(const struct world *w, const struct model *m) {
    int best = -1;
    for (unsigned i = 0; i < w->oracle.message_count; i++) {
        const struct sim_message *x = &w->oracle.messages[i];
        if (x->publisher == m->index && x->state == SIM_MESSAGE_WAITING &&
            (best < 0 || x->order < w->oracle.messages[best].order)) {
            best = (int)i;
        }
    }
    return best;
}

/* The flow that must be sent again first on this connection: owed PUBRELs, then PUBLISHes; 0: none. */
static unsigned next_resend(const struct world *w, const struct model *m) {
    unsigned best = 0;
    for (unsigned id = 1; id <= w->plan->ids; id++) {
        const struct model_flow *f = &m->flows[id], *b = &m->flows[best];
        if (f->state == 0 || f->sent_here) {
            continue;
        }
        bool earlier = best == 0 || f->state > b->state ||
                       (f->state == b->state &&
                        (f->state == 2 ? f->release_order < b->release_order : f->publish_order < b->publish_order));
        best = earlier ? id : best;
    }
    return best;
}

static unsigned flows_open(const struct world *w, const struct model *m) {
    unsigned count = 0;
    for (unsigned id = 1; id <= w->plan->ids; id++) {
        count += m->flows[id].state != 0 ? 1 : 0;
    }
    return count;
}

static bool can_flow(const struct world *w, const struct model *m) {
    if (!can_send(w, m)) {
        return false;
    }
    const bool quota = m->quota_used < m->server_receive_maximum;
    unsigned again = next_resend(w, m);
    if (again != 0) {
        return m->flows[again].state == 2 || quota;
    }
    int message = next_waiting(w, m);
    if (message < 0 || w->now < m->again_at) {
        return false;
    }
    return w->oracle.messages[message].qos == 0 || (quota && flows_open(w, m) < m->plan->window && ids_free(w, m) > 0);
}

static void send_publish(struct world *w, struct model *m, int message, uint16_t id, bool dup) {
    const struct sim_message *x = &w->oracle.messages[message];
    uint8_t payload[MINI_PACKET_BYTES];
    struct mini_packet p = {.type = MINI_PUBLISH,
                            .dup = dup,
                            .qos = x->qos,
                            .retain = x->retain,
                            .id = id,
                            .topic = span_str(sim_topics[x->topic]),
                            .payload = span_of(payload, oracle_payload(w, message, payload)),
                            .has_expiry = x->expiry != 0 && m->plan->five,
                            .expiry = x->expiry};
    oracle_published(w, message, x->qos != 2 || !dup);
    send(w, m, &p);
    if (x->qos > 0) {
        model_expect(m, x->qos == 1 ? MINI_PUBACK : MINI_PUBREC, id, message, false);
    }
}

static void send_pubrel(struct world *w, struct model *m, uint16_t id) {
    struct mini_packet p = {.type = MINI_PUBREL, .id = id};
    m->flows[id].releases++;
    send(w, m, &p);
    model_expect(m, MINI_PUBCOMP, id, m->flows[id].message, false);
}

static void act_flow(struct world *w, struct model *m) {
    unsigned id = next_resend(w, m);
    struct model_flow *f = &m->flows[id];
    if (id != 0 && f->state == 2) {
        f->sent_here = true;
        send_pubrel(w, m, (uint16_t)id);
        return;
    }
    int message = id != 0 ? f->message : next_waiting(w, m);
    const uint8_t qos = w->oracle.messages[message].qos;
    if (qos == 0) {
        send_publish(w, m, message, 0, false);
        oracle_abandoned(w, message);
        return;
    }
    bool again = id != 0;
    if (!again) {
        id = id_choose(w, m);
        f = &m->flows[id];
        *f = (struct model_flow){.state = 1, .qos = qos, .message = message, .publish_order = ++m->order};
    }
    f->sent_here = f->quota_here = true;
    m->quota_used++;
    w->oracle.messages[message].repeated = w->oracle.messages[message].repeated || again;
    send_publish(w, m, message, (uint16_t)id, again);
}

static void act_create(struct world *w, struct model *m) {
    const struct sim_message x = oracle_draw_message(w, m->index, ++m->next_message_order);
    const int message = oracle_message(w, &x);
    world_trace(w, "c%d has m%d to publish: %s, QoS %u%s", m->index, message, sim_topics[x.topic], x.qos,
                x.clears   ? ", clears"
                : x.retain ? ", retained"
                           : "");
}

/* ---- responses that are owed ---- */

void model_owe(struct model *m, uint8_t type, uint16_t id, uint8_t reason) {
    must(m->owed_count < SIM_OWED_MAX);
    m->owed[m->owed_count++] = (struct model_packet){type, id, reason, -1, false};
}

static void send_pubrec(struct world *w, struct model *m, uint16_t id, uint8_t reason) {
    struct mini_packet p = {.type = MINI_PUBREC, .id = id, .reason = reason};
    struct model_inbound *in = &m->in[id];
    if (!in->rel_possible) {
        in->rec_order = ++m->order;
    }
    in->rec_sent = in->rel_possible = true;
    send(w, m, &p);
    model_expect(m, MINI_PUBREL, id, in->message, false);
}

static void act_respond(struct world *w, struct model *m) {
    const struct model_packet r = m->owed[0];
    memmove(m->owed, m->owed + 1, --m->owed_count * sizeof m->owed[0]);
    struct mini_packet p = {.type = r.type, .id = r.id, .reason = r.reason};
    struct model_inbound *in = &m->in[r.id];
    if (r.type == MINI_PUBREL) {
        send_pubrel(w, m, r.id);
        return;
    }
    if (r.type == MINI_PUBREC) {
        send_pubrec(w, m, r.id, r.reason);
        return;
    }
    send(w, m, &p);
    if (in->counted) {
        in->counted = false;
        m->counted--;
    }
    if (r.type == MINI_PUBACK) {
        in->state = 0;
    }
}

/* ---- subscribing ---- */

/* The place in wanted[] that SUBSCRIBE or UNSUBSCRIBE would be about; -1: none. */
static int next_wanted(const struct world *w, const struct model *m, bool subscribe) {
    const uint8_t under_way = subscribe ? 1 : 3, settled = subscribe ? 0 : 2;
    int fresh = -1;
    for (unsigned i = 0; i < m->plan->wanted_count; i++) {
        const struct model_wanted *x = &m->wanted[i];
        if (x->state == under_way && !x->sent_here) {
            return (int)i;
        }
        fresh = x->state == settled && fresh < 0 ? (int)i : fresh;
    }
    return !w->calm && fresh >= 0 && ids_free(w, m) > 0 ? fresh : -1;
}

static void act_subscription(struct world *w, struct model *m, bool subscribe) {
    int place = next_wanted(w, m, subscribe);
    struct model_wanted *x = &m->wanted[place];
    const struct plan_wanted *what = &m->plan->wanted[place];
    const uint32_t identifier = (uint32_t)place + 1;
    bool again = x->state == 1 || x->state == 3;
    x->id = again ? x->id : id_choose(w, m);
    x->state = subscribe ? 1 : 3;
    x->sent_here = true;
    struct mini_packet p = {.type = subscribe ? MINI_SUBSCRIBE : MINI_UNSUBSCRIBE,
                            .id = x->id,
                            .topic = span_str(sim_filters[what->filter]),
                            .qos = what->qos,
                            .options = (uint8_t)((what->no_local ? 4 : 0) | (what->retain_as_published ? 8 : 0) |
                                                 what->retain_handling << 4),
                            .subscription = {identifier},
                            .subscription_count = m->identifiers ? 1 : 0};
    if (subscribe) {
        x->subscription = oracle_subscribing(w, m->index, what, identifier);
    } else {
        oracle_unsubscribing(w, x->subscription);
    }
    send(w, m, &p);
    model_expect(m, subscribe ? MINI_SUBACK : MINI_UNSUBACK, x->id, place, false);
}

/* ---- mischief that the standard allows ---- */

static bool owes(const struct model *m, uint8_t type, unsigned id) {
    for (unsigned i = 0; i < m->owed_count; i++) {
        if (m->owed[i].type == type && m->owed[i].id == id) {
            return true;
        }
    }
    return false;
}

/* What may be repeated: a flow's packet that was sent on this connection (given as its id), or the PUBREC of an id that
 * is still held (given as id + SIM_IDS_MAX). */
static unsigned repeatable(const struct world *w, const struct model *m, unsigned out[2 * SIM_IDS_MAX]) {
    unsigned count = 0;
    for (unsigned id = 1; id <= w->plan->ids; id++) {
        const struct model_flow *f = &m->flows[id];
        bool room = f->state == 2 || f->qos == 2 || m->quota_used < m->server_receive_maximum;
        if (f->state != 0 && f->sent_here && room && !owes(m, MINI_PUBREL, id)) {
            out[count++] = id;
        }
        const struct model_inbound *in = &m->in[id];
        if (in->state == 2 && in->rec_sent && in->serial == m->serial && !owes(m, MINI_PUBREC, id)) {
            out[count++] = id + SIM_IDS_MAX;
        }
    }
    return count;
}

static void act_repeat(struct world *w, struct model *m) {
    unsigned all[2 * SIM_IDS_MAX];
    unsigned count = repeatable(w, m, all);
    unsigned id = all[choose(w->choices, count)];
    if (id > SIM_IDS_MAX) {
        send_pubrec(w, m, (uint16_t)(id - SIM_IDS_MAX), 0);
        return;
    }
    struct model_flow *f = &m->flows[id];
    if (f->state == 2) {
        send_pubrel(w, m, (uint16_t)id);
        return;
    }
    m->quota_used += f->qos == 1 ? 1 : 0;
    w->oracle.messages[f->message].repeated = true;
    send_publish(w, m, f->message, (uint16_t)id, choose(w->choices, 8) != 7);
}

static void act_stray(struct world *w, struct model *m) {
    struct mini_packet p = {.type = MINI_PUBREL, .id = id_choose(w, m)};
    send(w, m, &p);
    model_expect(m, MINI_PUBCOMP, p.id, -1, false);
}

/* ---- looking in ---- */

bool model_settled(const struct world *w, const struct model *m) {
    char text[160];
    model_describe(w, m, text, sizeof text);
    return text[0] == '\0';
}

void model_describe(const struct world *w, const struct model *m, char *out, size_t bytes) {
    out[0] = '\0';
    if (m->conn < 0 || !m->connack_seen) {
        snprintf(out, bytes, "c%d is not connected", m->index);
    } else if (m->owed_count > 0) {
        snprintf(out, bytes, "c%d owes a %s", m->index, mini_name(m->owed[0].type));
    } else if (next_waiting(w, m) >= 0) {
        snprintf(out, bytes, "c%d cannot publish m%d", m->index, next_waiting(w, m));
    }
    for (unsigned i = 0; i < m->expected_count; i++) {
        if (!m->expected[i].optional) {
            snprintf(out, bytes, "c%d waits for %s %u", m->index, mini_name(m->expected[i].type), m->expected[i].id);
        }
    }
    for (unsigned id = 1; id <= w->plan->ids; id++) {
        if (m->flows[id].state != 0) {
            snprintf(out, bytes, "c%d has not finished its publish of m%d (id %u)", m->index, m->flows[id].message, id);
        } else if (m->in[id].state != 0) {
            snprintf(out, bytes, "c%d still holds id %u of m%d", m->index, id, m->in[id].message);
        }
    }
    for (unsigned i = 0; i < m->plan->wanted_count; i++) {
        if (m->wanted[i].state == 1 || m->wanted[i].state == 3) {
            snprintf(out, bytes, "c%d has no answer about its subscription %u", m->index, i);
        }
    }
}

/* Replaces what the counter `order` has given by its rank: only the order matters. */
static void rank_orders(struct model *m) {
    uint32_t *all[4 * (SIM_IDS_MAX + 1) + 1];
    uint32_t ranks[sizeof all / sizeof all[0]];
    unsigned count = 0;
    all[count++] = &m->last_resent;
    for (unsigned id = 0; id <= SIM_IDS_MAX; id++) {
        all[count++] = &m->flows[id].publish_order;
        all[count++] = &m->flows[id].release_order;
        all[count++] = &m->in[id].first_seen;
        all[count++] = &m->in[id].rec_order;
    }
    for (unsigned i = 0; i < count; i++) {
        ranks[i] = 0;
        for (unsigned k = 0; k < count && *all[i] != 0; k++) {
            ranks[i] += *all[k] != 0 && *all[k] <= *all[i] ? 1 : 0;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        *all[i] = ranks[i];
    }
}

uint64_t model_digest(const struct model *m) {
    struct model copy;
    memcpy(&copy, m, sizeof copy);
    copy.plan = NULL;
    copy.ended_at = copy.again_at = 0;
    for (unsigned id = 0; id <= SIM_IDS_MAX; id++) {
        copy.in[id].serial = copy.in[id].serial == copy.serial;
    }
    copy.serial = copy.order = 0;
    rank_orders(&copy);
    return hash_bytes(span_of(&copy, sizeof copy), 3);
}

/* ---- all of it ---- */

bool model_can(struct world *w, const struct model *m, enum action a) {
    unsigned all[2 * SIM_IDS_MAX];
    switch ((int)a) {
    case ACTION_CONNECT:
        return m->conn < 0 && w->now >= m->again_at;
    case ACTION_RESPOND:
        return m->owed_count > 0 && can_send(w, m);
    case ACTION_FLOW:
        return can_flow(w, m);
    case ACTION_CREATE:
        return !w->calm && m->plan->publishes && w->oracle.message_count < w->plan->messages;
    case ACTION_SUBSCRIBE:
    case ACTION_UNSUBSCRIBE:
        return can_send(w, m) && next_wanted(w, m, a == ACTION_SUBSCRIBE) >= 0;
    case ACTION_PING:
        return can_send(w, m);
    case ACTION_REPEAT:
        return can_send(w, m) && m->expected_count < SIM_EXPECTED_MAX / 2 && repeatable(w, m, all) > 0;
    case ACTION_STRAY:
        return can_send(w, m) && ids_free(w, m) > 0;
    case ACTION_DISCONNECT:
        return can_send(w, m);
    case ACTION_TAKEOVER:
        return m->conn >= 0;
    case ACTION_CLEAN:
        return !m->wants_clean;
    default:
        return false;
    }
}

void model_act(struct world *w, struct model *m, enum action a) {
    struct mini_packet ping = {.type = MINI_PINGREQ};
    switch ((int)a) {
    case ACTION_CONNECT:
        act_connect(w, m);
        break;
    case ACTION_RESPOND:
        act_respond(w, m);
        break;
    case ACTION_FLOW:
        act_flow(w, m);
        break;
    case ACTION_CREATE:
        act_create(w, m);
        break;
    case ACTION_SUBSCRIBE:
    case ACTION_UNSUBSCRIBE:
        act_subscription(w, m, a == ACTION_SUBSCRIBE);
        break;
    case ACTION_PING:
        send(w, m, &ping);
        model_expect(m, MINI_PINGRESP, 0, -1, false);
        break;
    case ACTION_REPEAT:
        act_repeat(w, m);
        break;
    case ACTION_STRAY:
        act_stray(w, m);
        break;
    case ACTION_DISCONNECT:
        act_disconnect(w, m);
        break;
    case ACTION_TAKEOVER:
        act_takeover(w, m);
        break;
    case ACTION_CLEAN:
        world_trace(w, "c%d will start clean", m->index);
        m->wants_clean = true;
        break;
    default:
        must_fail("an action of a client", __FILE__, __LINE__, __func__);
    }
}
