#include "explain/chain.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "explain/digest.h"

/* The ids that released[] and behind[] know of: where they matter there are no others. */
#define TRACKED 4

const char *wire_name(enum wire_type type) {
    static const char *const names[] = {"", "PUBLISH", "PUBREC", "PUBREL", "PUBCOMP"};
    return names[type];
}

char chain_letter(unsigned message) {
    return (char)('A' + message);
}

static const struct protocol_row *rules(const struct chain *c) {
    return c->limits.protocol;
}

/* What qos_out counts as the peer's Receive Maximum, which comes back when an id is free. */
static uint16_t quota(const struct chain *c) {
    return rules(c)->frees == FREE_AT_LATER_ANSWER ? rules(c)->ids : rules(c)->window;
}

static struct flight *flight_of(struct link *l) {
    return container_of(l, struct flight, link);
}

/* ---- telling ---- */

/* A packet arrives or is lost; the event that tells it, or NULL. */
static struct story_event *tell(struct chain *c, unsigned h, const struct wire_packet *p, bool lost) {
    const bool back = p->type == WIRE_PUBREC || p->type == WIRE_PUBCOMP;
    const unsigned from = h + (back ? 1 : 0);
    const enum story_kind kind = lost ? STORY_LOST : STORY_PACKET;
    if (c->story == NULL) {
        return NULL;
    }
    if (p->type != WIRE_PUBLISH) {
        struct story_event *e = story_add(c->story, kind, from, back ? h : h + 1, "%s %u", wire_name(p->type), p->id);
        if (p->again) {
            story_note(e, from, "sends PUBREL again: no payload");
        }
        return e;
    }
    const char letter = chain_letter(p->message);
    struct story_event *e =
        story_add(c->story, kind, h, h + 1, "PUBLISH %u %c%s", p->id, letter, p->again ? " dup" : "");
    if (p->again) {
        story_note(e, h, "sends %c again", letter);
    } else {
        story_note(e, h, "stores: %u is %c", p->id, letter);
    }
    return e;
}

#define NOTE(event, actor, ...)                                                                                        \
    do {                                                                                                               \
        if ((event) != NULL) {                                                                                         \
            story_note(event, actor, __VA_ARGS__);                                                                     \
        }                                                                                                              \
    } while (0)

static void note_sender(const struct chain *c, unsigned h, struct story_event *e) {
    const struct hop *hop = &c->hops[h];
    for (struct link *l = hop->out.published.next; l != &hop->out.published; l = l->next) {
        const struct flight *f = flight_of(l);
        NOTE(e, h, "keeps \"%u is %c\": cannot tell whether %c has arrived", f->packet_id, chain_letter(f->target),
             chain_letter(f->target));
    }
    for (struct link *l = hop->out.released.next; l != &hop->out.released; l = l->next) {
        NOTE(e, h, "keeps \"%u is released\": knows that %c has arrived, cannot tell whether %u is forgotten",
             flight_of(l)->packet_id, chain_letter(flight_of(l)->target), flight_of(l)->packet_id);
    }
    if (hop->out.count == 0) {
        NOTE(e, h, "keeps nothing: all that it has sent is done");
    }
}

static void note_receiver(const struct chain *c, unsigned h, struct story_event *e) {
    const struct hop *hop = &c->hops[h];
    for (packet_id_t id = qos_in_next(&hop->in, 1); id != 0; id = qos_in_next(&hop->in, id + 1U)) {
        NOTE(e, h + 1, "keeps %u: another PUBLISH %u is a repeat", id, id);
    }
    if (hop->highest > 0) {
        NOTE(e, h + 1, "keeps %u: a PUBLISH up to %u is a repeat", hop->highest, hop->highest);
    }
    if (hop->in.count == 0 && hop->highest == 0) {
        NOTE(e, h + 1, "keeps nothing: any PUBLISH is new");
    }
}

/* ---- wire ---- */

static void put(struct hop *hop, struct wire_packet p) {
    const bool back = p.type == WIRE_PUBREC || p.type == WIRE_PUBCOMP;
    struct wire *w = back ? &hop->back : &hop->there;
    must(w->count < CHAIN_FLYING_MAX);
    w->packets[w->count++] = p;
    hop->sent[p.type]++;
}

static struct wire_packet take(struct wire *w) {
    must(w->count > 0);
    const struct wire_packet p = w->packets[0];
    memmove(w->packets, w->packets + 1, --w->count * sizeof p);
    return p;
}

/* Whether PUBREL must go before this PUBLISH, because the id was released on an earlier connection. */
static bool releases_first(const struct chain *c, const struct hop *hop, const struct flight *f) {
    const enum frees frees = rules(c)->frees;
    return f->packet_id < TRACKED && !hop->released[f->packet_id] &&
           (frees == FREE_AT_PUBREL_ALWAYS || (frees == FREE_AT_PUBREL_TWICE && !f->sent_before));
}

static void put_publish(struct hop *hop, const struct flight *f) {
    put(hop, (struct wire_packet){WIRE_PUBLISH, f->packet_id, f->target, f->sent_before});
    for (packet_id_t id = 1; id < TRACKED && f->packet_id < TRACKED; id++) {
        hop->behind[id] |= (uint8_t)(hop->released[id] ? 1U << f->packet_id : 0);
    }
}

static void put_pubrel(struct hop *hop, packet_id_t id, bool again) {
    put(hop, (struct wire_packet){WIRE_PUBREL, id, 0, again});
    if (id < TRACKED) {
        hop->released[id] = true;
        hop->behind[id] = 0;
    }
}

static void send_publish(const struct chain *c, struct hop *hop, const struct flight *f) {
    if (releases_first(c, hop, f)) {
        put_pubrel(hop, f->packet_id, false);
    }
    put_publish(hop, f);
}

/* ---- sender ---- */

static void wait_for_turn(struct hop *hop, unsigned message) {
    must(hop->waiting_count < CHAIN_MESSAGES_MAX);
    hop->waiting[hop->waiting_count++] = message;
}

static void send_next(struct chain *c, struct hop *hop) {
    const unsigned message = hop->waiting[0];
    memmove(hop->waiting, hop->waiting + 1, --hop->waiting_count * sizeof hop->waiting[0]);
    const struct flight_parts parts = {.message = message_ref(c->messages[message]), .target = message, .qos = 2};
    const struct flight *f = qos_out_begin(&hop->out, &parts);
    send_publish(c, hop, f);
}

static void end_flow(struct hop *hop, struct flight *f) {
    hop->ended[f->target] = true;
    qos_out_end(&hop->out, f);
}

/* FREE_AT_LATER_ANSWER: the packets of a connection keep their order, so the PUBRELs before this PUBLISH have come. */
static void end_earlier(struct chain *c, unsigned h, packet_id_t answered, struct story_event *e) {
    struct hop *hop = &c->hops[h];
    for (packet_id_t id = 1; id < TRACKED && answered < TRACKED; id++) {
        struct flight *f = qos_out_find(&hop->out, id);
        if (f != NULL && f->state == FLIGHT_RELEASED && (hop->behind[id] >> answered & 1) != 0) {
            NOTE(e, h, "so PUBREL %u has come, too: %u may be used again", id, id);
            end_flow(hop, f);
        }
    }
}

static void on_pubrec(struct chain *c, unsigned h, packet_id_t id, struct story_event *e) {
    struct hop *hop = &c->hops[h];
    const enum frees frees = rules(c)->frees;
    struct flight *f = NULL;
    const bool first = qos_out_pubrec(&hop->out, id, 0, &f) == QOS_OUT_RELEASED;
    if (frees != FREE_AT_PUBREC) {
        put_pubrel(hop, id, false);
    }
    if (first && (frees == FREE_AT_PUBCOMP || frees == FREE_AT_LATER_ANSWER)) {
        NOTE(e, h, "deletes %c, stores: %u is released", chain_letter(f->target), id);
    } else if (first) {
        NOTE(e, h, "deletes %c; %u is free", chain_letter(f->target), id);
        end_flow(hop, f);
    }
    if (frees == FREE_AT_LATER_ANSWER) {
        end_earlier(c, h, id, e);
    }
}

static void on_pubcomp(struct chain *c, unsigned h, packet_id_t id, struct story_event *e) {
    struct flight *f = NULL;
    if (qos_out_pubcomp(&c->hops[h].out, id, &f) == QOS_OUT_DONE) {
        NOTE(e, h, "deletes %u: it may be used again", id);
        end_flow(&c->hops[h], f);
    }
}

/* ---- receiver ---- */

/* True when it is a repeat, as far as the protocol can tell; else it is remembered. */
static bool is_repeat(const struct chain *c, struct hop *hop, packet_id_t id) {
    switch (rules(c)->memory) {
    case MEMORY_NOTHING:
        return false;
    case MEMORY_IDS:
    case MEMORY_TIMED:
        return !qos_in_hold(&hop->in, id);
    case MEMORY_LAST:
        if (!qos_in_holds(&hop->in, id)) {
            (void)qos_in_free(&hop->in, qos_in_next(&hop->in, 1));
        }
        return !qos_in_hold(&hop->in, id);
    case MEMORY_HIGHEST:
        if (id <= hop->highest) {
            return true;
        }
        hop->highest = id;
        return false;
    }
    return false;
}

static void on_publish(struct chain *c, unsigned h, const struct wire_packet *p, struct story_event *e) {
    struct hop *hop = &c->hops[h];
    const char letter = chain_letter(p->message);
    const bool remembers = rules(c)->memory != MEMORY_NOTHING;
    if (is_repeat(c, hop, p->id)) {
        NOTE(e, h + 1, "has %u: a repeat, answers only", p->id);
        if (hop->passed[p->message] == 0) {
            NOTE(e, h + 1, "%c IS LOST", letter);
        }
    } else {
        if (remembers) {
            NOTE(e, h + 1, "stores %u, passes %c on", p->id, letter);
        } else {
            NOTE(e, h + 1, "passes %c on", letter);
        }
        if (hop->passed[p->message]++ > 0) {
            NOTE(e, h + 1, "%c FOR THE SECOND TIME", letter);
        } else if (h + 1 < c->limits.hops) {
            wait_for_turn(&c->hops[h + 1], p->message);
        }
    }
    put(hop, (struct wire_packet){WIRE_PUBREC, p->id, 0, false});
}

static void on_pubrel(struct chain *c, unsigned h, packet_id_t id, struct story_event *e) {
    struct hop *hop = &c->hops[h];
    if (qos_in_free(&hop->in, id)) {
        NOTE(e, h + 1, "deletes %u", id);
    } else {
        NOTE(e, h + 1, "has no %u%s", id, rules(c)->packets == 4 ? ": answers all the same" : "");
    }
    if (rules(c)->packets == 4) {
        put(hop, (struct wire_packet){WIRE_PUBCOMP, id, 0, false});
    }
}

/* ---- connection ---- */

static void lose(struct chain *c, unsigned h, struct wire *w) {
    while (w->count > 0) {
        const struct wire_packet p = take(w);
        (void)tell(c, h, &p, true);
    }
}

static void connect_again(struct chain *c, unsigned h) {
    struct hop *hop = &c->hops[h];
    memset(hop->released, 0, sizeof hop->released);
    memset(hop->behind, 0, sizeof hop->behind);
    qos_out_connected(&hop->out, quota(c));
    for (struct link *l = hop->out.released.next; l != &hop->out.released; l = l->next) {
        put_pubrel(hop, flight_of(l)->packet_id, true);
    }
    for (const struct flight *f; (f = qos_out_resend_next(&hop->out)) != NULL;) {
        send_publish(c, hop, f);
    }
}

static void cut(struct chain *c, unsigned h) {
    lose(c, h, &c->hops[h].there);
    lose(c, h, &c->hops[h].back);
    if (c->story != NULL) {
        struct story_event *e = story_add(c->story, STORY_LINE, h, h + 1, "connection cut");
        note_sender(c, h, e);
        note_receiver(c, h, e);
        (void)story_add(c->story, STORY_LINE, h, h + 1, "connected again");
    }
    connect_again(c, h);
}

/* Without a memory that outlives the crash, the sender's application has its message still, and starts over. */
static void sender_forgets(struct chain *c, struct hop *hop) {
    qos_out_deinit(&hop->out);
    hop->waiting_count = 0;
    for (unsigned m = 0; m < c->limits.messages; m++) {
        if (!hop->ended[m]) {
            wait_for_turn(hop, m);
        }
    }
}

static void crash(struct chain *c, unsigned h, bool sender) {
    struct hop *hop = &c->hops[h];
    const unsigned actor = sender ? h : h + 1;
    lose(c, h, &hop->there);
    lose(c, h, &hop->back);
    if (!rules(c)->durable && sender) {
        sender_forgets(c, hop);
    } else if (!rules(c)->durable) {
        qos_in_deinit(&hop->in);
        hop->highest = 0;
    }
    if (c->story != NULL) {
        struct story_event *e = story_add(c->story, STORY_CRASH, actor, actor, "crash");
        story_note(e, actor,
                   rules(c)->durable ? "crashes, keeps what it had stored" : "crashes, and has forgotten all");
        (void)story_add(c->story, STORY_LINE, h, h + 1, "connected again");
    }
    connect_again(c, h);
}

/* ---- moves ---- */

static void add(struct move *out, unsigned *count, enum move_kind kind, unsigned h) {
    must(*count < SEARCH_MOVES_MAX);
    out[(*count)++] = (struct move){(uint8_t)kind, (uint8_t)h};
}

static void add_arrivals(const struct chain *c, unsigned h, struct move *out, unsigned *count) {
    if (c->hops[h].back.count > 0) {
        add(out, count, MOVE_BACK, h);
    }
    if (c->hops[h].there.count > 0) {
        add(out, count, MOVE_THERE, h);
    }
}

static void add_send(const struct chain *c, unsigned h, struct move *out, unsigned *count) {
    const struct hop *hop = &c->hops[h];
    unsigned published = 0;
    for (const struct link *l = hop->out.published.next; l != &hop->out.published; l = l->next) {
        published++;
    }
    if (hop->waiting_count > 0 && published < rules(c)->window && qos_out_ready(&hop->out)) {
        add(out, count, MOVE_SEND, h);
    }
}

static void add_faults(const struct chain *c, unsigned h, struct move *out, unsigned *count) {
    if (c->cuts > 0) {
        add(out, count, MOVE_CUT, h);
    }
    if (c->crashes > 0) {
        add(out, count, MOVE_RECEIVER_CRASH, h);
        add(out, count, MOVE_SENDER_CRASH, h);
    }
    if (c->timeouts > 0 && rules(c)->memory == MEMORY_TIMED && c->hops[h].in.count > 0) {
        add(out, count, MOVE_TIMEOUT, h);
    }
}

/* Sending comes last, so that of the shortest runs the one with the fewest packets is found first. */
unsigned chain_moves(const struct chain *c, struct move out[SEARCH_MOVES_MAX]) {
    unsigned count = 0;
    for (unsigned h = 0; h < c->limits.hops; h++) {
        add_arrivals(c, h, out, &count);
        add_faults(c, h, out, &count);
        add_send(c, h, out, &count);
    }
    return count;
}

/* What can happen without a fault. */
static unsigned calm_moves(const struct chain *c, unsigned h, struct move out[SEARCH_MOVES_MAX]) {
    unsigned count = 0;
    add_arrivals(c, h, out, &count);
    add_send(c, h, out, &count);
    return count;
}

static void arrive_there(struct chain *c, unsigned h) {
    const struct wire_packet p = take(&c->hops[h].there);
    struct story_event *e = tell(c, h, &p, false);
    if (p.type == WIRE_PUBLISH) {
        on_publish(c, h, &p, e);
    } else {
        on_pubrel(c, h, p.id, e);
    }
}

static void arrive_back(struct chain *c, unsigned h) {
    const struct wire_packet p = take(&c->hops[h].back);
    struct story_event *e = tell(c, h, &p, false);
    if (p.type == WIRE_PUBREC) {
        on_pubrec(c, h, p.id, e);
    } else {
        on_pubcomp(c, h, p.id, e);
    }
}

static void timeout(struct chain *c, unsigned h) {
    qos_in_deinit(&c->hops[h].in);
    if (c->story != NULL) {
        story_note(story_add(c->story, STORY_NOTE, h + 1, h + 1, "time"), h + 1, "time is up: forgets all ids");
    }
}

void chain_act(struct chain *c, struct move move) {
    const unsigned h = move.who;
    switch ((enum move_kind)move.kind) {
    case MOVE_SEND:
        send_next(c, &c->hops[h]);
        break;
    case MOVE_THERE:
        arrive_there(c, h);
        break;
    case MOVE_BACK:
        arrive_back(c, h);
        break;
    case MOVE_CUT:
        c->cuts--;
        cut(c, h);
        break;
    case MOVE_SENDER_CRASH:
    case MOVE_RECEIVER_CRASH:
        c->crashes--;
        crash(c, h, move.kind == MOVE_SENDER_CRASH);
        break;
    case MOVE_TIMEOUT:
        c->timeouts--;
        timeout(c, h);
        break;
    }
}

static bool step(struct chain *c, unsigned h) {
    struct move moves[SEARCH_MOVES_MAX];
    if (calm_moves(c, h, moves) == 0) {
        return false;
    }
    chain_act(c, moves[0]);
    return true;
}

void chain_finish(struct chain *c) {
    for (bool any = true; any;) {
        any = false;
        for (unsigned h = 0; h < c->limits.hops; h++) {
            any = step(c, h) || any;
        }
    }
}

static bool on_its_way(const struct hop *hop, enum wire_type type) {
    return (hop->there.count > 0 && hop->there.packets[0].type == type) ||
           (hop->back.count > 0 && hop->back.packets[0].type == type);
}

bool chain_cut_at(struct chain *c, unsigned hop, enum wire_type type) {
    for (bool any = true; any;) {
        any = false;
        for (unsigned h = 0; h < c->limits.hops; h++) {
            if (on_its_way(&c->hops[hop], type)) {
                cut(c, hop);
                return true;
            }
            any = step(c, h) || any;
        }
    }
    return false;
}

/* ---- judgement ---- */

/* Whether the message can still arrive over this hop: it waits, its flow can be sent again, or it is on its way. */
static bool can_arrive(const struct hop *hop, unsigned message) {
    for (unsigned i = 0; i < hop->waiting_count; i++) {
        if (hop->waiting[i] == message) {
            return true;
        }
    }
    for (struct link *l = hop->out.published.next; l != &hop->out.published; l = l->next) {
        if (flight_of(l)->target == message) {
            return true;
        }
    }
    for (unsigned i = 0; i < hop->there.count; i++) {
        if (hop->there.packets[i].type == WIRE_PUBLISH && hop->there.packets[i].message == message) {
            return true;
        }
    }
    return false;
}

static enum outcome judge_message(const struct chain *c, unsigned h, unsigned message, bool at_rest) {
    const struct hop *hop = &c->hops[h];
    const bool given = h == 0 || c->hops[h - 1].passed[message] > 0;
    if (hop->passed[message] > 1) {
        return OUTCOME_DUPLICATE;
    }
    if (given && hop->passed[message] == 0 && !can_arrive(hop, message)) {
        return OUTCOME_LOST;
    }
    return at_rest && hop->passed[message] == 0 ? OUTCOME_STUCK : OUTCOME_RIGHT;
}

bool chain_at_rest(const struct chain *c) {
    struct move moves[SEARCH_MOVES_MAX];
    unsigned calm = 0;
    for (unsigned h = 0; h < c->limits.hops; h++) {
        calm += calm_moves(c, h, moves);
    }
    return calm == 0;
}

struct finding chain_judge(const struct chain *c) {
    const bool at_rest = chain_at_rest(c);
    struct finding worst = {OUTCOME_RIGHT, 0, chain_held(c)};
    if (at_rest && worst.held > 0) {
        worst.outcome = OUTCOME_LEFTOVER;
    }
    for (unsigned i = 0; i < c->limits.hops * c->limits.messages; i++) {
        const enum outcome v = judge_message(c, i / c->limits.messages, i % c->limits.messages, at_rest);
        if (v > worst.outcome) {
            worst.outcome = v;
            worst.message = i % c->limits.messages;
        }
    }
    return worst;
}

unsigned chain_held(const struct chain *c) {
    unsigned held = 0;
    for (unsigned h = 0; h < c->limits.hops; h++) {
        held += c->hops[h].in.count + (c->hops[h].highest > 0 ? 1 : 0);
    }
    return held;
}

static void digest_wire(struct buf *b, const struct wire *w) {
    buf_u8(b, (uint8_t)w->count);
    for (unsigned i = 0; i < w->count; i++) {
        buf_u8(b, (uint8_t)w->packets[i].type);
        buf_u16(b, w->packets[i].id);
        buf_u8(b, (uint8_t)w->packets[i].message);
    }
}

static void digest_hop(struct buf *b, const struct hop *hop) {
    digest_flights(b, &hop->out.published);
    digest_flights(b, &hop->out.released);
    buf_u16(b, hop->out.last_id);
    buf_u16(b, hop->out.quota);
    buf_u8(b, (uint8_t)hop->waiting_count);
    for (unsigned i = 0; i < hop->waiting_count; i++) {
        buf_u8(b, (uint8_t)hop->waiting[i]);
    }
    digest_held(b, &hop->in);
    buf_u16(b, hop->highest);
    buf_bytes(b, span_of(hop->ended, sizeof hop->ended));
    buf_bytes(b, span_of(hop->released, sizeof hop->released));
    buf_bytes(b, span_of(hop->behind, sizeof hop->behind));
    buf_bytes(b, span_of(hop->passed, sizeof hop->passed));
    digest_wire(b, &hop->there);
    digest_wire(b, &hop->back);
}

uint64_t chain_digest(const struct chain *c) {
    struct buf b = {NULL, 0, 0};
    buf_u8(&b, (uint8_t)c->cuts);
    buf_u8(&b, (uint8_t)c->crashes);
    buf_u8(&b, (uint8_t)c->timeouts);
    for (unsigned h = 0; h < c->limits.hops; h++) {
        digest_hop(&b, &c->hops[h]);
    }
    const uint64_t digest = hash_bytes(buf_span(&b), 1);
    buf_deinit(&b);
    return digest;
}

/* ---- making ---- */

void chain_init(struct chain *c, const struct chain_limits *limits, struct story *story) {
    must(limits->hops <= CHAIN_HOPS_MAX && limits->messages <= CHAIN_MESSAGES_MAX);
    memset(c, 0, sizeof *c);
    c->limits = *limits;
    c->cuts = limits->cuts;
    c->crashes = limits->crashes;
    c->timeouts = limits->timeouts;
    c->story = story;
    if (story != NULL) {
        story->actors[0] = "publisher";
        story->actors[1] = "server";
        story->actors[2] = "subscriber";
        story->actor_count = limits->hops + 1;
    }
    for (unsigned h = 0; h < limits->hops; h++) {
        qos_out_init(&c->hops[h].out, 1, limits->protocol->ids, MUTANT_NONE);
        qos_out_connected(&c->hops[h].out, quota(c));
    }
    for (unsigned m = 0; m < limits->messages; m++) {
        const char letter = chain_letter(m);
        c->messages[m] =
            message_create(&(struct message_parts){.qos = 2, .topic = SPAN("t"), .payload = span_of(&letter, 1)});
        wait_for_turn(&c->hops[0], m);
    }
}

void chain_deinit(struct chain *c) {
    for (unsigned h = 0; h < c->limits.hops; h++) {
        qos_out_deinit(&c->hops[h].out);
        qos_in_deinit(&c->hops[h].in);
    }
    for (unsigned m = 0; m < c->limits.messages; m++) {
        message_unref(c->messages[m]);
    }
}

static void *world_create(const void *what, struct story *story) {
    struct chain *c = mem_alloc(sizeof *c);
    chain_init(c, what, story);
    return c;
}

static void world_destroy(void *world) {
    chain_deinit(world);
    mem_free(world);
}

static void world_act(void *world, struct move move) {
    chain_act(world, move);
}

static unsigned world_moves(void *world, struct move out[SEARCH_MOVES_MAX]) {
    return chain_moves(world, out);
}

static uint64_t world_digest(void *world) {
    return chain_digest(world);
}

static struct finding world_judge(void *world) {
    return chain_judge(world);
}

const struct search_world chain_world = {world_create, world_destroy, world_act,
                                         world_moves,  world_digest,  world_judge};
