#include "sim/pest.h"

#include "base/must.h"
#include "sim/world.h"

#define HUGE_TOPIC_BYTES 900
#define CLEAN_TRIES 5

static struct pest *pest_at(struct world *w, int client) {
    return &w->pests[client];
}

static const struct plan_client *plan_of(const struct world *w, int client) {
    return &w->plan->clients[client];
}

static bool has_habit(const struct world *w, int client, enum pest_habit h) {
    return (plan_of(w, client)->habits >> h & 1) != 0;
}

/* ---- sending ---- */

static struct conn *conn_at(struct world *w, int client) {
    return &w->conns[w->clients[client].conn];
}

/* All of the packet, or its first half. */
static void put(struct world *w, int client, struct mini_packet *p, bool half) {
    struct conn *c = conn_at(w, client);
    uint8_t bytes[MINI_PACKET_BYTES];
    p->five = plan_of(w, client)->five;
    const size_t len = mini_encode(p, bytes);
    world_trace_packet(w, half ? "> half of" : ">", client, p);
    c->half = half;
    if (!c->cut) {
        pipe_write(&c->to_broker, span_of(bytes, half ? len / 2 : len));
    }
    if (c->connect_bytes == 0) {
        c->connect_bytes = len;
    }
}

static uint16_t id_next(struct world *w, int client) {
    struct pest *x = pest_at(w, client);
    return (uint16_t)(x->next_id++ % w->plan->ids + 1);
}

static void connect(struct world *w, int client, bool clean) {
    struct pest *x = pest_at(w, client);
    struct model *m = &w->clients[client];
    char name[16];
    struct conn *c = world_connect(w, client);
    snprintf(name, sizeof name, "pest%d-%u", client, x->name);
    m->conn = (int)(c - w->conns);
    m->connack_seen = x->subscribed = x->silent = false;
    c->excused = true;
    struct mini_packet p = {.type = MINI_CONNECT,
                            .clean = clean,
                            .client = span_str(name),
                            .session_expiry = clean ? 0 : plan_of(w, client)->session_expiry};
    x->silent = !w->calm && has_habit(w, client, PEST_HALF) && choose(w->choices, 4) == 3;
    put(w, client, &p, x->silent);
    c->connect_clean = clean;
}

static void connect_any(struct world *w, int client) {
    struct pest *x = pest_at(w, client);
    const unsigned more = has_habit(w, client, PEST_SESSIONS) && x->names < PEST_NAMES_MAX ? 1 : 0;
    const unsigned count = x->names + more;
    x->name = count < 2 ? 0 : choose(w->choices, count);
    x->names = x->name + 1 > x->names ? x->name + 1 : x->names;
    connect(w, client, false);
}

static void subscribe(struct world *w, int client, const char *filter) {
    struct mini_packet p = {.type = MINI_SUBSCRIBE, .id = id_next(w, client), .topic = span_str(filter), .qos = 2};
    put(w, client, &p, false);
}

/* What it publishes may come to anybody, or not. */
static void publish(struct world *w, int client, const struct sim_message *what, uint16_t id, bool half) {
    uint8_t payload[MINI_PACKET_BYTES];
    struct sim_message m = *what;
    if (!m.clears && w->oracle.message_count >= SIM_MESSAGES_ALL - SIM_CLIENTS_MAX * PEST_TOPICS_MAX) {
        return;
    }
    m.state = SIM_MESSAGE_UNKNOWN;
    m.publisher = client;
    m.first_sent = w->step;
    m.sends = 1;
    m.unordered = true;
    const int message = oracle_message(w, &m);
    if (message < 0) {
        return;
    }
    struct mini_packet p = {.type = MINI_PUBLISH,
                            .qos = m.qos,
                            .retain = m.retain,
                            .id = id,
                            .topic = span_str(sim_topics[m.topic]),
                            .payload = span_of(payload, oracle_payload(w, message, payload))};
    put(w, client, &p, half);
}

static void publish_held(struct world *w, int client) {
    const struct sim_message m = {.topic = (uint8_t)choose(w->choices, w->plan->topics), .qos = 2, .bytes = 10};
    publish(w, client, &m, id_next(w, client), false);
}

static void publish_half(struct world *w, int client) {
    const struct sim_message m = {.topic = 0, .qos = 1, .bytes = 200};
    publish(w, client, &m, id_next(w, client), true);
    pest_at(w, client)->silent = true;
}

static void publish_retained(struct world *w, int client) {
    struct pest *x = pest_at(w, client);
    const unsigned place = x->topics < PEST_TOPICS_MAX ? x->topics++ : choose(w->choices, x->topics);
    const struct sim_message m = {.topic = (uint8_t)(SIM_SET_FIRST + (unsigned)client * PEST_TOPICS_MAX + place),
                                  .qos = 1,
                                  .retain = true,
                                  .bytes = 10};
    publish(w, client, &m, id_next(w, client), false);
}

/* No filter of the others matches it. */
static void publish_huge(struct world *w, int client) {
    char topic[HUGE_TOPIC_BYTES];
    memset(topic, '/', sizeof topic);
    topic[0] = '$';
    topic[1] = 'h';
    struct mini_packet p = {.type = MINI_PUBLISH,
                            .qos = 1,
                            .id = id_next(w, client),
                            .topic = span_of(topic, sizeof topic),
                            .payload = SPAN("x")};
    put(w, client, &p, false);
}

static void acknowledge_wrongly(struct world *w, int client) {
    static const uint8_t types[] = {MINI_PUBACK, MINI_PUBREC, MINI_PUBREL, MINI_PUBCOMP};
    const struct pest *x = pest_at(w, client);
    const bool last = x->last_id != 0 && choose(w->choices, 2) == 0;
    struct mini_packet p = {.type = types[choose(w->choices, 4)],
                            .id = last ? x->last_id : (uint16_t)(1 + choose(w->choices, w->plan->ids))};
    put(w, client, &p, false);
}

static void subscribe_more(struct world *w, int client) {
    char filter[16];
    snprintf(filter, sizeof filter, "f/%u/#", pest_at(w, client)->filters++);
    subscribe(w, client, filter);
}

static void leave(struct world *w, int client) {
    world_trace(w, "c%d breaks off", client);
    struct conn *c = conn_at(w, client);
    pest_lost(w, client);
    conn_abandon(c, world_end(w));
}

static void misbehave(struct world *w, int client) {
    static void (*const acts[PEST_HABIT_COUNT])(struct world *, int) = {
        [PEST_LEAVES] = leave,
        [PEST_FILTERS] = subscribe_more,
        [PEST_HOLDS] = publish_held,
        [PEST_WRONG] = acknowledge_wrongly,
        [PEST_HALF] = publish_half,
        [PEST_HUGE_TOPICS] = publish_huge,
        [PEST_RETAINS] = publish_retained,
    };
    struct pest *x = pest_at(w, client);
    if (has_habit(w, client, PEST_SUBSCRIBES) && !x->subscribed) {
        x->subscribed = true;
        subscribe(w, client, "#");
        return;
    }
    const uint32_t from = choose(w->choices, PEST_HABIT_COUNT);
    for (unsigned i = 0; i < PEST_HABIT_COUNT; i++) {
        const unsigned h = (from + i) % PEST_HABIT_COUNT;
        if (acts[h] != NULL && has_habit(w, client, (enum pest_habit)h)) {
            acts[h](w, client);
            return;
        }
    }
}

/* ---- what happens ---- */

bool pest_can(const struct world *w, int client, enum action a) {
    const struct model *m = &w->clients[client];
    if (a != ACTION_PEST || w->calm) {
        return a == ACTION_DISCONNECT && m->conn >= 0;
    }
    return m->conn < 0 || (m->connack_seen && !w->pests[client].silent &&
                           pipe_space(&w->conns[m->conn].to_broker) >= MINI_PACKET_BYTES);
}

void pest_act(struct world *w, int client, enum action a) {
    if (a == ACTION_DISCONNECT) {
        if (w->clients[client].conn >= 0) {
            leave(w, client);
        }
    } else if (w->clients[client].conn < 0) {
        connect_any(w, client);
    } else {
        misbehave(w, client);
    }
}

bool pest_reads(const struct world *w, const struct conn *c) {
    return !has_habit(w, c->client, PEST_NEVER_READS) || !w->clients[c->client].connack_seen || w->leaving;
}

static void note(struct world *w, struct pest *x, const struct mini_packet *p) {
    x->last_id = p->type == MINI_PUBLISH ? p->id : x->last_id;
    if (p->type == MINI_PUBACK && x->answer == PEST_WAITS) {
        x->answer = p->reason < 0x80 ? PEST_TAKEN : PEST_REFUSED;
        x->again_at = p->reason < 0x80 ? w->now : w->now + 1000;
    }
}

/* A clean start is refused. Of a session that exists only when it was taken over too often: then it is asked again. */
static void clean_refused(struct world *w, int client, uint8_t reason) {
    struct pest *x = pest_at(w, client);
    const bool too_often = w->plan->broker.takeover_rate > 0 && reason == (plan_of(w, client)->five ? 0x9f : 0x03);
    if (too_often && x->refused < CLEAN_TRIES) {
        x->refused++;
        x->again_at = w->now + 1000;
        return;
    }
    x->refused = 0;
    x->cleaned++;
}

void pest_read(struct world *w, struct conn *c) {
    size_t whole;
    while ((whole = mini_length(span_of(c->inbox, c->inbox_len))) != 0 && whole != MINI_WRONG) {
        struct mini_packet p;
        if (mini_decode(span_of(c->inbox, whole), plan_of(w, c->client)->five, &p) == NULL) {
            world_trace_packet(w, "<", c->client, &p);
            w->clients[c->client].connack_seen |= p.type == MINI_CONNACK && p.reason == 0;
            if (p.type == MINI_CONNACK && p.reason != 0 && w->leaving) {
                clean_refused(w, c->client, p.reason);
            }
            note(w, pest_at(w, c->client), &p);
        }
        c->inbox_len -= whole;
        memmove(c->inbox, c->inbox + whole, c->inbox_len);
    }
}

void pest_lost(struct world *w, int client) {
    w->clients[client].conn = -1;
    w->clients[client].connack_seen = false;
}

/* How many topics it clears: its own, and, when all is taken back, the first hostile client those of everybody. */
static unsigned topics_to_clear(const struct world *w, int client) {
    bool first = true;
    for (int i = 0; i < client; i++) {
        first = first && !world_is_pest(w, i);
    }
    return w->pests[client].topics + (first && w->draining && w->plan->retain ? w->plan->topics : 0);
}

/* Its next topic, until the broker takes that. */
static void clear_next(struct world *w, int client) {
    struct pest *x = pest_at(w, client);
    const unsigned own = SIM_SET_FIRST + (unsigned)client * PEST_TOPICS_MAX + x->cleared;
    const uint8_t topic = (uint8_t)(x->cleared < x->topics ? own : x->cleared - x->topics);
    const struct sim_message m = {.topic = topic, .qos = 1, .retain = true, .clears = true};
    x->answer = PEST_WAITS;
    publish(w, client, &m, 1, false);
}

static bool clear_step(struct world *w, int client) {
    struct pest *x = pest_at(w, client);
    if (x->answer == PEST_TAKEN) {
        x->cleared++;
    }
    if (x->answer == PEST_WAITS || w->now < x->again_at) {
        return false;
    }
    x->answer = PEST_NO_ANSWER;
    if (x->cleared < topics_to_clear(w, client)) {
        clear_next(w, client);
    }
    return x->cleared < topics_to_clear(w, client);
}

static bool has_left(const struct world *w, int client) {
    const struct pest *x = &w->pests[client];
    return x->cleaned >= x->names && x->cleared >= topics_to_clear(w, client);
}

bool pest_settled(const struct world *w, int client) {
    for (unsigned i = 0; i < SIM_CONNS_MAX && w->leaving; i++) {
        if (w->conns[i].used && w->conns[i].client == client) {
            return false;
        }
    }
    return !w->leaving || (has_left(w, client) && w->clients[client].conn < 0);
}

/* One name after another, each a clean start that ends with DISCONNECT; with the last it clears the topics. */
bool pest_leave(struct world *w, int client) {
    struct pest *x = pest_at(w, client);
    const struct model *m = &w->clients[client];
    struct mini_packet bye = {.type = MINI_DISCONNECT};
    if (m->conn < 0) {
        if (has_left(w, client)) {
            return false;
        }
        if (w->now < x->again_at) {
            return false;
        }
        x->name = x->cleaned < x->names ? x->cleaned : 0;
        x->answer = PEST_NO_ANSWER;
        connect(w, client, true);
        return true;
    }
    struct conn *c = conn_at(w, client);
    if (!m->connack_seen || c->to_broker.len > 0) {
        return false;
    }
    if (x->cleaned + 1 >= x->names && x->cleared < topics_to_clear(w, client)) {
        return clear_step(w, client);
    }
    x->cleaned++;
    put(w, client, &bye, false);
    pest_lost(w, client);
    conn_abandon(c, world_end(w));
    return true;
}
