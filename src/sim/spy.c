#include "sim/spy.h"

#include "base/map.h"
#include "base/must.h"
#include "sim/world.h"

#define SPY_NEVER 0xffffffffU
#define SPY_RECORD_MS 10000

/* ---- connections ---- */

/* Its own expiry interval has passed by its own clock since it knows that the session had a connection; a clock that
 * was put back says nothing. */
static bool may_have_expired(const struct world *w, const struct peer *p) {
    const struct spy_sight *known = &p->spy.sight;
    const wall_ms_t wall = peer_wall(w, p);
    return p->plan->five && p->plan->session_expiry != SPY_NEVER &&
           (wall < known->latest || wall - known->earliest >= (wall_ms_t)p->plan->session_expiry * 1000);
}

void spy_connected(struct world *w, struct peer *p) {
    struct spy *s = &p->spy;
    s->connack_seen = false;
    s->last_resent = 0;
    s->fresh_sent = false;
    s->owed_count = 0;
    s->out_len = s->in_len = 0;
    memset(s->requests, 0, sizeof s->requests);
    for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
        s->flows[id].sent_here = s->flows[id].counted = false;
    }
    s->unanswered = 0;
    s->was_unsure = s->sight.unsure;
    s->sight.doubted = s->kept.doubted = s->sight.doubted || may_have_expired(w, p);
    s->sight.unsure = s->kept.unsure = true; /* recorded before CONNECT leaves */
    s->asked = peer_wall(w, p);
}

void spy_lost(struct spy *s) {
    s->connack_seen = false;
    s->owed_count = 0;
    s->asked = 0;
}

void spy_recorded(struct spy *s) {
    s->kept = s->sight;
}

/* How old the time may be that the client has recorded: a quarter of the expiry, but it need not write more often than
 * every ten seconds. */
static wall_ms_t sight_age(const struct peer *p) {
    const wall_ms_t quarter = (wall_ms_t)p->plan->session_expiry * 1000 / 4;
    return quarter > SPY_RECORD_MS ? quarter : SPY_RECORD_MS;
}

void spy_died(struct world *w, struct peer *p) {
    struct spy *s = &p->spy;
    if (s->untold) { /* its disk need not know, and it would trust the session that follows */
        s->untold = false;
        spy_session_due(w, p);
    }
    s->sight = s->kept;
    s->sight.earliest -= sight_age(p);
    s->asked = 0;
}

void spy_replaced(struct world *w, struct peer *p) {
    struct spy *s = &p->spy;
    memset(s->flows, 0, sizeof s->flows);
    s->sight = s->kept = (struct spy_sight){0, 0, false, false};
    s->cleaned = s->untold = false;
    w->oracle.judged_from[p->index] = w->step;
}

/* Flows that can end in two ways now: nothing is promised of their messages any more. */
static void flows_doubtful(struct world *w, struct peer *p) {
    for (unsigned i = 0; i < p->app.row_count; i++) {
        struct sim_message *m = &w->oracle.messages[p->app.rows[i].message];
        m->doubtful = m->doubtful || (m->first_sent != 0 && m->accepted == 0);
    }
    for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
        if (p->spy.flows[id].state != SPY_NONE) {
            w->oracle.messages[p->spy.flows[id].message].doubtful = true;
        }
    }
}

void spy_session_due(struct world *w, struct peer *p) {
    struct spy *s = &p->spy;
    if (s->session && !s->loose) {
        world_trace(w, "the session of c%d may have expired", p->index);
        s->loose = true;
        w->oracle.loose[p->index] = true;
        flows_doubtful(w, p);
    }
}

void spy_given_up(struct spy *s) {
    s->given_up |= s->lost;
}

static void session_new(struct world *w, struct peer *p) {
    struct spy *s = &p->spy;
    s->lost = 0;
    s->untold = s->session && w->disk_losses_left < w->plan->disk_losses;
    if (s->session && !s->loose && !s->cleaned) {
        world_fail(w, "session", "c%d: its session was forgotten", p->index);
    }
    if (s->session) {
        flows_doubtful(w, p);
        for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
            s->lost |= s->flows[id].state == SPY_PUBLISHED ? 1ULL << s->flows[id].message : 0;
        }
        if (p->plan->lost == PLAN_LOST_DROP) {
            spy_given_up(s);
        }
        oracle_new_session(w, p->index);
        w->oracle.loose[p->index] = s->loose = false;
        w->oracle.judged_from[p->index] = w->step;
        memset(s->flows, 0, sizeof s->flows);
        memset(s->wanted, 0, sizeof s->wanted);
        for (int i = 0; i < SIM_WANTED_MAX; i++) {
            app_unsubscribed(p, i); /* there is nothing left to unsubscribe from */
        }
    }
    s->session = true;
}

/* What left at `asked` was answered: the session had its connection then. CONNACK is recorded; a PINGRESP need not be,
 * so that a later time may be on the disk when the clock was put back meanwhile. */
static void seen(struct spy *s, bool recorded) {
    if (s->asked != 0) {
        s->sight.earliest = s->asked;
        s->sight.latest = recorded || s->sight.latest < s->asked ? s->asked : s->sight.latest;
        s->asked = 0;
    }
}

static void on_connack(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy *s = &p->spy;
    if (k->reason != 0) {
        if (!w->expect_refusal) {
            world_fail(w, "connect", "c%d was refused with 0x%02X", p->index, k->reason);
        }
        w->conns[p->conn].excused = true;
        return;
    }
    s->connack_seen = true;
    s->server_receive_maximum = k->receive_maximum != 0 ? k->receive_maximum : UINT16_MAX;
    if (k->session_present && w->conns[p->conn].connect_clean) {
        world_fail(w, "session", "c%d: Session Present in answer to a clean start", p->index);
    } else if (!k->session_present) {
        session_new(w, p);
    } else if (s->loose) {
        flows_doubtful(w, p);
    }
    s->session = s->renewed = true;
    seen(s, true);
    s->sight.unsure = s->sight.doubted = false;
    if (w->conns[p->conn].forgotten || w->absences[p->index].due) { /* and is gone since */
        spy_session_due(w, p);
    }
}

/* ---- what it knows of its session ---- */

/* A clean start throws away what the broker has queued. Nobody asked for that, so it may be only where that session
 * cannot be told from one that a lost CONNACK has announced; then its loss lies within the expiry that was chosen. */
static void check_clean(struct world *w, struct peer *p) {
    struct spy *s = &p->spy;
    if (!s->session || s->cleaned) {
        return;
    }
    if (!s->was_unsure || !(s->sight.doubted || may_have_expired(w, p))) {
        world_fail(w, "clean", "c%d ends its session, which by its own clock %s", p->index,
                   s->was_unsure ? "cannot have expired" : "is the one that it knows");
    } else if (!s->loose) {
        world_trace(w, "c%d starts clean, though the broker still has its session", p->index);
    }
    flows_doubtful(w, p);
    oracle_session_leaving(w, p->index);
    s->cleaned = true;
    s->renewed = false;
}

static void out_connect(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy *s = &p->spy;
    w->conns[p->conn].connect_clean = k->clean;
    if (k->clean) {
        check_clean(w, p);
    } else if (s->cleaned && !s->renewed) {
        world_fail(w, "clean", "c%d wants to resume a session that it has ended itself", p->index);
    } else {
        s->cleaned = false;
    }
}

static void out_ping(const struct world *w, struct peer *p) {
    p->spy.asked = p->spy.asked != 0 ? p->spy.asked : peer_wall(w, p);
}

/* ---- what it publishes ---- */

/* PUBLISH under an id whose flow is open. */
static void check_resend(struct world *w, struct peer *p, const struct mini_packet *k, int message) {
    struct spy *s = &p->spy;
    const struct spy_flow *f = &s->flows[k->id];
    if (f->message != message || f->qos != k->qos) {
        world_fail(w, "R4", "c%d publishes m%d under id %u, where m%d is under way", p->index, message, k->id,
                   f->message);
    } else if (f->state == SPY_RELEASED) {
        world_fail(w, "B3", "c%d publishes m%d under id %u again after PUBREL", p->index, message, k->id);
    } else if (f->sent_here) {
        world_fail(w, "R7", "c%d publishes m%d under id %u again on the same connection", p->index, message, k->id);
    } else if (!k->dup) {
        world_fail(w, "DUP", "c%d publishes m%d under id %u again without DUP", p->index, message, k->id);
    } else if (f->order < s->last_resent || s->fresh_sent) {
        world_fail(w, "G3", "c%d publishes m%d (id %u) again after a later one", p->index, message, k->id);
    }
    s->last_resent = f->order;
}

/* The same message under another id would be another message to the broker. */
static void check_elsewhere(struct world *w, const struct peer *p, unsigned id, int message) {
    for (unsigned other = 1; other <= SIM_IDS_MAX; other++) {
        const struct spy_flow *f = &p->spy.flows[other];
        if (other != id && f->state != SPY_NONE && f->message == message && !w->oracle.messages[message].doubtful) {
            world_fail(w, "B1", "c%d publishes m%d under id %u, but it is under way under id %u", p->index, message, id,
                       other);
        }
    }
}

/* R5: what has no final answer is bounded by the broker's Receive Maximum and by the window that was asked for. */
static void count_publish(struct world *w, struct peer *p, struct spy_flow *f) {
    struct spy *s = &p->spy;
    const unsigned window = p->plan->window != 0 ? p->plan->window : UINT16_MAX;
    const unsigned most = s->server_receive_maximum < window ? s->server_receive_maximum : window;
    if (!f->counted) {
        f->counted = true;
        s->unanswered++;
    }
    if (s->unanswered > most) {
        world_fail(w, "R5", "c%d has %u publishes without a final answer; %u are allowed", p->index, s->unanswered,
                   most);
    }
}

static void out_publish(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy *s = &p->spy;
    const int message = oracle_identify(w, k->topic, k->payload);
    if (message < 0 || w->oracle.messages[message].publisher != p->index) {
        world_fail(w, "content", "c%d publishes what its application did not", p->index);
        return;
    }
    struct sim_message *m = &w->oracle.messages[message];
    if ((s->given_up >> message & 1) != 0) {
        world_fail(w, "lost", "c%d publishes m%d again, which it has given up with its session", p->index, message);
    }
    oracle_published(w, message, k->qos != 2 || !k->dup);
    if (k->qos == 0) {
        return;
    }
    if (k->id > SIM_IDS_MAX) {
        world_fail(w, "R4", "c%d uses packet id %u beyond the pool", p->index, k->id);
        return;
    }
    struct spy_flow *f = &s->flows[k->id];
    audit_packet(w, p, k);
    check_elsewhere(w, p, k->id, message);
    if (f->state != SPY_NONE) {
        m->repeated = true;
        check_resend(w, p, k, message);
    } else if (k->qos == 2 && m->completed && !m->doubtful) {
        world_fail(w, "G2", "c%d publishes m%d again after its flow has ended", p->index, message);
    }
    if (f->state == SPY_NONE) {
        *f = (struct spy_flow){.state = SPY_PUBLISHED, .qos = k->qos, .message = message, .order = m->order};
        s->fresh_sent = s->fresh_sent || !k->dup;
    }
    f->sent_here = true;
    s->cleaned = false;
    count_publish(w, p, f);
}

static void out_pubrel(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy_flow *f = &p->spy.flows[k->id];
    if (f->state >= SPY_RECEIVED) { /* else it clears an id that somebody may have left held */
        audit_packet(w, p, k);
    }
    if (f->state == SPY_PUBLISHED) {
        world_fail(w, "B3", "c%d releases m%d (id %u) before PUBREC has come", p->index, f->message, k->id);
    } else if (f->state == SPY_RECEIVED) {
        f->state = SPY_RELEASED;
    }
}

static void flow_end(struct spy *s, struct spy_flow *f) {
    s->unanswered -= f->counted ? 1 : 0;
    *f = (struct spy_flow){.state = SPY_NONE};
}

static void in_answer(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy_flow *f = &p->spy.flows[k->id];
    const bool fits = k->type == MINI_PUBCOMP ? f->state == SPY_RELEASED
                                              : f->state != SPY_NONE && f->qos == (k->type == MINI_PUBACK ? 1 : 2);
    if (!fits) { /* it answers a packet of an earlier flow */
        return;
    }
    if (k->type == MINI_PUBCOMP) {
        w->oracle.messages[f->message].completed = true;
        flow_end(&p->spy, f);
    } else if (k->reason >= 0x80) {
        if (!w->expect_refusal || k->reason != 0x97) {
            world_fail(w, "refusal", "c%d: %s %u refuses with 0x%02X", p->index, mini_name(k->type), k->id, k->reason);
        }
        w->oracle.messages[f->message].refused = w->oracle.messages[f->message].unordered = true;
        flow_end(&p->spy, f);
    } else {
        oracle_accepted(w, f->message);
        if (k->type == MINI_PUBACK) {
            w->oracle.messages[f->message].completed = true;
            flow_end(&p->spy, f);
        } else if (f->state == SPY_PUBLISHED) {
            f->state = SPY_RECEIVED;
        }
    }
}

/* ---- what it receives ---- */

static void owe(struct spy *s, unsigned type, uint16_t id) {
    must(s->owed_count < SIM_SPY_OWED_MAX);
    s->owed[s->owed_count++] = (struct spy_owed){(uint16_t)type, id};
}

/* An answer keeps its place among the answers of its type. */
static void out_answer(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy *s = &p->spy;
    unsigned at = 0;
    while (at < s->owed_count && s->owed[at].type != k->type) {
        at++;
    }
    audit_packet(w, p, k);
    if (at == s->owed_count) {
        world_fail(w, "R7", "c%d says %s %u, which answers nothing on this connection", p->index, mini_name(k->type),
                   k->id);
        return;
    }
    if (s->owed[at].id != k->id) {
        world_fail(w, "R8", "c%d says %s %u, but that of %u was due before", p->index, mini_name(k->type), k->id,
                   s->owed[at].id);
    }
    s->owed_count--;
    memmove(s->owed + at, s->owed + at + 1, (s->owed_count - at) * sizeof s->owed[0]);
}

static void in_publish(struct world *w, struct peer *p, const struct mini_packet *k) {
    const int message = oracle_identify(w, k->topic, k->payload);
    if (message < 0) {
        world_fail(w, "content", "c%d got a PUBLISH that nobody sent so", p->index);
        return;
    }
    if (k->qos == 1 && k->dup) {
        w->oracle.resent[p->index][message]++;
    }
    if (k->qos > 0) {
        owe(&p->spy, k->qos == 1 ? MINI_PUBACK : MINI_PUBREC, k->id);
    }
}

/* ---- subscriptions ---- */

static int place_of(const struct peer *p, struct span filter) {
    for (unsigned i = 0; i < p->plan->wanted_count; i++) {
        if (span_equal(filter, span_str(sim_filters[p->plan->wanted[i].filter]))) {
            return (int)i;
        }
    }
    return -1;
}

static void out_request(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy *s = &p->spy;
    unsigned at = 0;
    while (at < SIM_IDS_MAX && s->requests[at].type != 0) {
        at++;
    }
    must(at < SIM_IDS_MAX);
    struct spy_request *r = &s->requests[at];
    *r = (struct spy_request){.type = k->type, .id = k->id};
    s->cleaned = s->untold = false; /* that is on its disk before it subscribes */
    for (unsigned i = 0; i < k->filter_count; i++) {
        const int place = place_of(p, k->filters[i]);
        if (place < 0) {
            world_fail(w, "content", "c%d asks for a filter that its application does not want", p->index);
            return;
        }
        struct spy_wanted *x = &s->wanted[place];
        r->places[r->count++] = (uint8_t)place;
        if (k->type == MINI_SUBSCRIBE) {
            x->subscription = oracle_subscribing(w, p->index, &p->plan->wanted[place], (uint32_t)place + 1);
            x->asked = true;
        } else {
            if (x->asked) {
                oracle_unsubscribing(w, x->subscription);
            }
            x->leaving = true;
        }
    }
}

static void granted(struct world *w, struct peer *p, unsigned place, uint8_t reason) {
    struct spy_wanted *x = &p->spy.wanted[place];
    if (reason == p->plan->wanted[place].qos) {
        if (!x->granted) {
            oracle_subscribed(w, x->subscription);
        }
        x->granted = true;
    } else if (reason < 0x80 || !w->expect_refusal) {
        world_fail(w, "subscribe", "c%d: its subscription was answered with 0x%02X", p->index, reason);
    }
}

static void in_response(struct world *w, struct peer *p, const struct mini_packet *k) {
    struct spy *s = &p->spy;
    const uint8_t type = k->type == MINI_SUBACK ? MINI_SUBSCRIBE : MINI_UNSUBSCRIBE;
    for (unsigned at = 0; at < SIM_IDS_MAX; at++) {
        struct spy_request *r = &s->requests[at];
        if (r->type != type || r->id != k->id) {
            continue;
        }
        for (unsigned i = 0; i < r->count; i++) {
            struct spy_wanted *x = &s->wanted[r->places[i]];
            if (type == MINI_SUBSCRIBE) {
                granted(w, p, r->places[i], i < k->reason_count ? k->reasons[i] : 0xff);
            } else {
                if (x->asked) {
                    oracle_unsubscribed(w, x->subscription);
                }
                *x = (struct spy_wanted){.asked = false};
                app_unsubscribed(p, r->places[i]);
            }
        }
        r->type = 0;
        return;
    }
}

/* ---- bytes ---- */

static void out_packet(struct world *w, struct peer *p, const struct mini_packet *k) {
    switch (k->type) {
    case MINI_PUBLISH:
        out_publish(w, p, k);
        break;
    case MINI_PUBREL:
        out_pubrel(w, p, k);
        break;
    case MINI_PUBACK:
    case MINI_PUBREC:
    case MINI_PUBCOMP:
        out_answer(w, p, k);
        break;
    case MINI_SUBSCRIBE:
    case MINI_UNSUBSCRIBE:
        out_request(w, p, k);
        break;
    case MINI_CONNECT:
        out_connect(w, p, k);
        break;
    case MINI_PINGREQ:
        out_ping(w, p);
        break;
    case MINI_DISCONNECT:
        w->conns[p->conn].excused = true;
        break;
    default:
        break;
    }
}

static void in_packet(struct world *w, struct peer *p, const struct mini_packet *k) {
    switch (k->type) {
    case MINI_CONNACK:
        on_connack(w, p, k);
        break;
    case MINI_PUBLISH:
        in_publish(w, p, k);
        break;
    case MINI_PUBREL:
        owe(&p->spy, MINI_PUBCOMP, k->id);
        break;
    case MINI_PUBACK:
    case MINI_PUBREC:
    case MINI_PUBCOMP:
        in_answer(w, p, k);
        break;
    case MINI_SUBACK:
    case MINI_UNSUBACK:
        in_response(w, p, k);
        break;
    case MINI_PINGRESP:
        seen(&p->spy, false);
        break;
    case MINI_DISCONNECT:
        if (!w->conns[p->conn].excused) {
            world_fail(w, "R6", "c%d is disconnected with 0x%02X", p->index, k->reason);
        }
        break;
    default:
        break;
    }
}

static void read_along(struct world *w, struct peer *p, struct span bytes, bool out) {
    struct spy *s = &p->spy;
    uint8_t *buffer = out ? s->out : s->in;
    size_t *len = out ? &s->out_len : &s->in_len;
    if (w->failed) {
        return;
    }
    must(bytes.len <= SPY_BYTES - *len);
    memcpy(buffer + *len, bytes.ptr, bytes.len);
    *len += bytes.len;
    while (!w->failed) {
        struct mini_packet k;
        const size_t whole = mini_length(span_of(buffer, *len));
        if (whole == 0) {
            return;
        }
        const char *wrong = whole == MINI_WRONG ? "a packet without end" : NULL;
        if (!out && whole != MINI_WRONG && p->plan->packet_max != 0 && whole > p->plan->packet_max) {
            wrong = "a packet larger than its Maximum Packet Size";
        }
        if (wrong == NULL && out) {
            wrong = mini_decode_client(span_of(buffer, whole), p->plan->five, &k) ? NULL : "a malformed packet";
        } else if (wrong == NULL) {
            wrong = mini_decode(span_of(buffer, whole), p->plan->five, &k);
        }
        if (wrong != NULL) {
            world_fail(w, "wire", "c%d %s %s", p->index, out ? "writes" : "got", wrong);
            return;
        }
        world_trace_packet(w, out ? ">" : "<", p->index, &k);
        (out ? out_packet : in_packet)(w, p, &k);
        *len -= whole;
        memmove(buffer, buffer + whole, *len);
    }
}

void spy_out(struct world *w, struct peer *p, struct span bytes) {
    read_along(w, p, bytes, true);
}

void spy_in(struct world *w, struct peer *p, struct span bytes) {
    read_along(w, p, bytes, false);
}

/* ---- looking in ---- */

/* A 3.1.1 client that dies between a CONNACK that says that the broker has forgotten all and its disk will never hear
 * of it again, and does not subscribe once more: that would fetch what is retained. */
static bool nobody_asks_again(const struct world *w, const struct peer *p) {
    return !p->plan->five && w->disk_losses_left < w->plan->disk_losses;
}

bool spy_describe(const struct world *w, const struct peer *p, char *out, size_t bytes) {
    const struct spy *s = &p->spy;
    for (unsigned id = 1; id <= w->plan->ids; id++) {
        if (s->flows[id].state != SPY_NONE) {
            snprintf(out, bytes, "c%d has not finished its publish of m%d (id %u)", p->index, s->flows[id].message, id);
            return true;
        }
    }
    for (unsigned i = 0; i < p->plan->wanted_count; i++) {
        const bool excused = w->expect_refusal || nobody_asks_again(w, p);
        if ((p->app.wants[i] && !s->wanted[i].granted && !excused) || p->app.leaves[i]) {
            snprintf(out, bytes, "c%d has no answer about its subscription %u", p->index, i);
            return true;
        }
    }
    if (s->owed_count > 0) {
        snprintf(out, bytes, "c%d owes a %s", p->index, mini_name(s->owed[0].type));
    }
    return s->owed_count > 0;
}

/* Only the order among flows matters, not its numbers. */
static unsigned flow_rank(const struct spy *s, const struct spy_flow *f) {
    unsigned rank = 0;
    for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
        rank += s->flows[id].state != SPY_NONE && s->flows[id].order < f->order ? 1 : 0;
    }
    return rank;
}

uint64_t spy_digest(const struct spy *s) {
    uint64_t sum = s->sight.doubted * 64U + s->untold * 32U + s->session * 16U + s->loose * 8U + s->connack_seen * 4U +
                   s->cleaned * 2U + s->sight.unsure;
    uint32_t resent = 0;
    for (unsigned id = 1; id <= SIM_IDS_MAX; id++) {
        const struct spy_flow *f = &s->flows[id];
        const uint64_t parts[] = {f->state, (uint64_t)f->message, f->sent_here, f->counted, flow_rank(s, f)};
        sum = f->state != SPY_NONE ? hash_bytes(span_of(parts, sizeof parts), sum + id) : hash64(sum, id);
        resent += f->order <= s->last_resent ? 1 : 0;
    }
    sum = hash64(hash64(sum, resent * 2 + s->fresh_sent), s->given_up);
    for (unsigned i = 0; i < SIM_WANTED_MAX; i++) {
        const struct spy_wanted *x = &s->wanted[i];
        sum = hash64(sum, x->asked * 4U + x->granted * 2U + x->leaving);
    }
    sum = hash_bytes(span_of(s->owed, s->owed_count * sizeof s->owed[0]), sum);
    for (unsigned i = 0; i < SIM_IDS_MAX; i++) {
        const struct spy_request *r = &s->requests[i];
        sum = r->type != 0 ? hash_bytes(span_of(r->places, r->count), sum + r->type * 65536U + r->id) : sum;
    }
    return hash_bytes(span_of(s->in, s->in_len), hash_bytes(span_of(s->out, s->out_len), sum));
}
