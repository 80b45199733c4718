/* The kinds of worlds beside the ordinary one: each is an ordinary plan of models with something special drawn over it.
 */
#include "base/prng.h"
#include "record/message.h"
#include "sim/oracle.h"
#include "sim/pest.h"
#include "sim/plan.h"

static uint16_t one_of(struct prng *r, const uint16_t *values, size_t count) {
    return values[prng_below(r, count)];
}
#define ONE_OF(r, ...)                                                                                                 \
    one_of(r, (const uint16_t[]){__VA_ARGS__}, sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))

/* A durable subscriber to the whole set, perhaps by two filters. */
static void draw_set_client(struct plan *p, struct plan_client *c, struct prng *r) {
    const bool publishes = c == &p->clients[0];
    c->durable = true;
    c->will = false;
    c->session_expiry = SESSION_NEVER_EXPIRES;
    c->publishes = publishes || prng_chance(r, 1, 3);
    c->window = (uint16_t)p->ids;
    c->pipe_bytes = ONE_OF(r, SIM_PIPE_BYTES_DRAWN, SIM_PIPE_BYTES_DRAWN, 200);
    c->wanted_count = publishes ? 0 : 1 + (unsigned)prng_below(r, 2);
    for (unsigned i = 0; i < c->wanted_count; i++) {
        c->wanted[i] = (struct plan_wanted){
            .filter = (uint8_t)(i == 0 ? ONE_OF(r, 4, 8, SIM_FILTER_SET, SIM_FILTER_SET + 1) : 1),
            .qos = (uint8_t)ONE_OF(r, 1, 2),
            .retain_handling = c->five ? (uint8_t)ONE_OF(r, 0, 0, 0, 1) : 0,
            .retain_as_published = c->five && prng_chance(r, 1, 8),
        };
    }
}

static void draw_sets(struct plan *p, struct prng *r) {
    p->set = ONE_OF(r, 30, 60, 90, 90, 120, SIM_SET_MAX);
    p->retain = true;
    p->expiry = p->refusals = p->wall_jumps = false;
    p->ids = ONE_OF(r, 4, 8);
    p->shards = ONE_OF(r, 1, 2, 2, 3);
    p->messages = 4 + (unsigned)prng_below(r, 20);
    p->steps = 300 + (unsigned)prng_below(r, 900);
    p->payload_max = ONE_OF(r, 4, 60, 120);
    p->qos_mask = (uint8_t)ONE_OF(r, 4, 6, 2);
    p->topics = 2;
    p->forks = 1;
    for (unsigned i = 0; i < p->client_count; i++) {
        draw_set_client(p, &p->clients[i], r);
    }
    p->broker.packet_ids_max = (packet_id_t)p->ids;
    p->broker.receive_maximum = 16;
    p->broker.inflight_max = ONE_OF(r, 2, 4, 16);
    p->broker.window_messages = ONE_OF(r, 1, 4, 64);
    p->broker.queue_messages_max = 100000;
    p->store.segment_bytes = 32768;
    p->store.frame_bytes_max = 4096;
    p->store.staged_bytes_busy = ONE_OF(r, 2000, 65535, 65535);
    plan_faults_rare(p);
}

static void draw_clocks_client(struct plan *p, struct plan_client *c, struct prng *r) {
    c->five = c->five || (p->expiry && prng_chance(r, 1, 2));
    c->durable = true;
    c->will = false;
    c->session_expiry = prng_chance(r, 1, 2) ? SESSION_NEVER_EXPIRES : ONE_OF(r, 10, 3600, 50000);
}

static void draw_clocks(struct plan *p, struct prng *r) {
    p->steps_of_days = true;
    p->no_clock = prng_chance(r, 1, 3);
    p->wall_jumps = p->refusals = false;
    p->expiry = prng_chance(r, 3, 4);
    p->retain = prng_chance(r, 1, 3);
    p->steps = 300 + (unsigned)prng_below(r, 600);
    for (unsigned i = 0; i < p->client_count; i++) {
        draw_clocks_client(p, &p->clients[i], r);
    }
    plan_faults_rare(p);
    p->weight[ACTION_CLOCK] = ONE_OF(r, 2, 6);
    p->weight[ACTION_TIME] = ONE_OF(r, 2, 6);
    p->broker.keep_alive_max_s = 0;
    p->broker.queue_messages_max = 100000;
}

/* Each hostile client has some of the habits. */
static void draw_pest(struct plan_client *c, struct prng *r) {
    uint64_t some = prng_below(r, 1U << PEST_HABIT_COUNT);
    c->habits = (uint16_t)(some & prng_below(r, 1U << PEST_HABIT_COUNT));
    c->habits = c->habits == 0 ? 1U << PEST_SUBSCRIBES : c->habits;
    c->publishes = c->will = false;
    c->session_expiry = prng_chance(r, 1, 4) ? 0 : SESSION_NEVER_EXPIRES; /* 0: its queue is in memory */
    c->wanted_count = 0;
}

/* Small bounds of an owner that a hostile client reaches and a well-behaved one does not; where anybody may be refused,
 * of all together, too. */
static void draw_accounts(struct plan *p, struct prng *r) {
    uint64_t *owner = p->broker.accounts.most[QUOTA_OWNER], *all = p->broker.accounts.most[QUOTA_ALL];
    const uint64_t queue = p->broker.queue_messages_max + p->broker.queue_messages_max / 4;
    const uint64_t message = sizeof(struct message) + 100 + p->payload_max;
    const unsigned which = (unsigned)prng_below(r, 64);
    owner[QUOTA_QUEUED] = (which & 1) != 0 ? queue + ONE_OF(r, 0, 4, 20) : 0;
    owner[QUOTA_QUEUED_BYTES] = (which & 2) != 0 ? queue * message : 0;
    owner[QUOTA_INFLIGHT_BYTES] = (which & 4) != 0 ? ONE_OF(r, 1, 100, 1000) : 0;
    owner[QUOTA_RETAINED] = (which & 8) != 0 ? p->topics + ONE_OF(r, 0, 1, 3) : 0;
    owner[QUOTA_RETAINED_BYTES] = (which & 16) != 0 ? (p->topics + 2) * (message + 500) : 0;
    const bool some = p->refusals && (which & 32) != 0;
    all[QUOTA_QUEUED] = some ? ONE_OF(r, 0, 80, 120) : 0; /* what one message needs is little of it */
    all[QUOTA_QUEUED_BYTES] = some ? ONE_OF(r, 0, 0, 500, 3000) : 0;
    all[QUOTA_INFLIGHT_BYTES] = some ? ONE_OF(r, 0, 1, 1000) : 0;
    all[QUOTA_RETAINED] = some ? p->topics + ONE_OF(r, 0, 1, 3) : 0;
    p->broker.matches_max = some ? ONE_OF(r, 16, 20, 16384) : p->broker.matches_max;
    const uint64_t journal = p->store.segment_bytes * p->store.segments_max;
    const unsigned share =
        ONE_OF(r, 0, 24, 32, some ? 18 : 24); /* of 16 the journal needs all: 18 may be nearly full */
    p->broker.store_limit = journal / 8 * share;
    owner[QUOTA_DISK] = share > 0 ? queue * message + (p->topics + 2) * (message + 500) : 0;
    p->broker.owner_share = share > 18 ? ONE_OF(r, 1, 10, 50) : 50; /* it is held from there on */
}

static void draw_bounds(struct plan *p, struct prng *r) {
    p->pests = true;
    p->ends_sessions = prng_chance(r, 3, 4);
    p->refusals = !p->ends_sessions;
    p->retain = prng_chance(r, 1, 3);
    p->wall_jumps = p->expiry = false;
    p->shards = ONE_OF(r, 1, 2, 2, 3);
    p->steps = 300 + (unsigned)prng_below(r, 900);
    const unsigned pests = 1 + (unsigned)prng_below(r, p->client_count > 2 ? 2 : 1);
    for (unsigned i = 0; i < p->client_count; i++) {
        struct plan_client *c = &p->clients[i];
        c->will = false;
        c->session_expiry = SESSION_NEVER_EXPIRES;
        if (i >= p->client_count - pests) {
            draw_pest(c, r);
        }
    }
    if (prng_chance(r, 1, 3)) { /* one absent subscriber alone keeps messages */
        p->clients[0].durable = false;
        p->clients[0].wanted_count = 0;
        for (unsigned i = p->client_count - pests; i < p->client_count; i++) {
            p->clients[i].habits = (uint16_t)((p->clients[i].habits & ~(1U << PEST_SUBSCRIBES)) | 1U << PEST_LEAVES);
        }
    }
    p->forks = 2;
    plan_faults_rare(p);
    p->weight[ACTION_PEST] = ONE_OF(r, 20, 80);
    p->broker.queue_policy = p->ends_sessions ? QUEUE_END_SESSION : QUEUE_REFUSE;
    p->broker.queue_messages_max = ONE_OF(r, 6, 12, 20);
    p->broker.stall_ms = ONE_OF(r, 2000, 15000);
    if (prng_chance(r, 1, 2)) { /* a well-behaved client has less */
        p->broker.accounts.most[QUOTA_OWNER][QUOTA_SESSIONS] = ONE_OF(r, 1, 2, 3);
        p->broker.accounts.most[QUOTA_OWNER][QUOTA_SUBSCRIPTIONS] = ONE_OF(r, 3, 4, 8);
    }
    p->broker.refuse_close_ms = p->ends_sessions ? 3600000 : 30000;
    p->broker.takeover_rate = ONE_OF(r, 0, 0, 1, 2);
    draw_accounts(p, r);
}

static void draw_wills_client(struct plan *p, struct plan_client *c, struct prng *r) {
    c->will = prng_chance(r, 3, 4);
    c->will_retain = p->retain && prng_chance(r, 1, 2);
    c->will_delay = prng_chance(r, 1, 6) ? 5 : 0;
    c->durable = prng_chance(r, 1, 2);
    c->session_expiry = SESSION_NEVER_EXPIRES;
}

static void draw_wills(struct plan *p, struct prng *r) {
    p->wills = true;
    p->retain = prng_chance(r, 1, 2);
    p->wall_jumps = p->expiry = false;
    p->refusals = prng_chance(r, 1, 6);
    p->shards = ONE_OF(r, 1, 2, 2, 3);
    p->steps = 300 + (unsigned)prng_below(r, 600);
    for (unsigned i = 0; i < p->client_count; i++) {
        draw_wills_client(p, &p->clients[i], r);
    }
    plan_faults_rare(p);
    p->weight[ACTION_TAKEOVER] = ONE_OF(r, 0, 4, 12);
    p->weight[ACTION_DISCONNECT] = ONE_OF(r, 0, 4, 12);
    p->weight[ACTION_CUT] = ONE_OF(r, 0, 4, 12);
    p->broker.queue_messages_max = p->refusals ? ONE_OF(r, 6, 12) : 100000;
    p->broker.queue_wills_max = ONE_OF(r, 0, 1, 4);
    p->broker.queue_policy = QUEUE_REFUSE;
    p->broker.takeover_rate = ONE_OF(r, 0, 0, 1, 2);
}

void plan_draw_world(struct plan *p, uint64_t seed, enum plan_world world) {
    struct prng random = prng_of(seed * 2 + 0x30e1d + world);
    switch (world) {
    case PLAN_WORLD_DRAWN:
        break;
    case PLAN_WORLD_SETS:
        draw_sets(p, &random);
        break;
    case PLAN_WORLD_CLOCKS:
        draw_clocks(p, &random);
        break;
    case PLAN_WORLD_BOUNDS:
        draw_bounds(p, &random);
        break;
    case PLAN_WORLD_WILLS:
        draw_wills(p, &random);
        break;
    }
}
