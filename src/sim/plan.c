#include "sim/plan.h"

#include <string.h>

#include "base/prng.h"
#include "record/record.h"
#include "sim/oracle.h"

/* How often what happens, beside each other; 0: never. */
static const uint16_t calm_weights[ACTION_COUNT] = {
    [ACTION_TO_BROKER] = 24,      [ACTION_TO_CLIENT] = 24, [ACTION_TURN] = 16,       [ACTION_COMMIT] = 24,
    [ACTION_ACCEPT] = 24,         [ACTION_MOVED] = 24,     [ACTION_START] = 24,      [ACTION_BROKER_SEES_END] = 6,
    [ACTION_CLIENT_SEES_END] = 8, [ACTION_CONNECT] = 12,   [ACTION_RESPOND] = 20,    [ACTION_FLOW] = 16,
    [ACTION_CREATE] = 6,          [ACTION_SUBSCRIBE] = 8,  [ACTION_PEER_START] = 24, [ACTION_PEER_TURN] = 16,
    [ACTION_PEER_COMMIT] = 24,    [ACTION_APP_TAKE] = 12,  [ACTION_APP_EFFECT] = 12, [ACTION_APP_NOTE] = 4,
};

void plan_base(struct plan *p) {
    memset(p, 0, sizeof *p);
    memcpy(p->weight, calm_weights, sizeof p->weight);
    p->shards = 1;
    p->ids = 4;
    p->steps = 300;
    p->topics = 1;
    p->qos_mask = 1U << 2;
    p->payload_max = 8;
    p->broker = broker_options_default();
    p->broker.packet_ids_max = (packet_id_t)p->ids;
    p->broker.inflight_max = 4;
    p->broker.window_messages = 16;
    p->broker.takeover_rate = 0;
    p->store = (struct store_local_options){
        .segment_bytes = 32768, .segments_max = 16, .frame_bytes_max = 8192, .staged_bytes_busy = 1U << 20, .salt = 1};
}

static uint16_t one_of(struct prng *r, const uint16_t *values, size_t count) {
    return values[prng_below(r, count)];
}
#define ONE_OF(r, ...)                                                                                                 \
    one_of(r, (const uint16_t[]){__VA_ARGS__}, sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))

static void draw_wanted(struct plan *p, struct plan_client *c, struct prng *r) {
    c->wanted_count = 1 + (unsigned)prng_below(r, SIM_WANTED_MAX);
    const unsigned first = (unsigned)prng_below(r, sim_filter_count);
    for (unsigned i = 0; i < c->wanted_count; i++) {
        c->wanted[i] = (struct plan_wanted){
            /* A step that has no divisor in common with the number of filters: no filter twice. */
            .filter = (uint8_t)((first + i * 5) % sim_filter_count),
            .qos = (uint8_t)ONE_OF(r, 2, 2, 2, 1, 0),
            .no_local = c->five && prng_chance(r, 1, 8),
            .retain_as_published = c->five && prng_chance(r, 1, 8),
            .retain_handling = c->five && p->retain ? (uint8_t)prng_below(r, 3) : 0,
        };
    }
    if (prng_chance(r, 2, 3)) {
        c->wanted[0].filter = 4; /* everything */
        for (unsigned i = 1; i < c->wanted_count; i++) {
            c->wanted[i].filter = c->wanted[i].filter == 4 ? 0 : c->wanted[i].filter;
        }
    }
}

static void draw_client(struct plan *p, unsigned at, struct prng *r) {
    struct plan_client *c = &p->clients[at];
    c->five = prng_chance(r, 1, 2);
    c->durable = prng_chance(r, 7, 8);
    c->method_a = prng_chance(r, 1, 3);
    c->publishes = at == 0 || prng_chance(r, 1, 3);
    c->will = prng_chance(r, 1, 6);
    c->will_delay = prng_chance(r, 1, 2) ? (uint32_t)prng_below(r, 20) : 0;
    c->session_expiry = p->wall_jumps || prng_chance(r, 3, 4) ? SESSION_NEVER_EXPIRES : ONE_OF(r, 2, 10, 60);
    c->window = ONE_OF(r, 1, 2, 3, 3);
    c->receive_maximum = c->five ? ONE_OF(r, 1, 2, 3, 0) : 0;
    c->pipe_bytes = ONE_OF(r, SIM_PIPE_BYTES_DRAWN, SIM_PIPE_BYTES_DRAWN, 40, 200);
    if (at != 0 || prng_chance(r, 1, 3)) {
        draw_wanted(p, c, r);
    }
}

/* Each kind of fault is there or not, and strikes often or rarely. */
static void draw_faults(struct plan *p, struct prng *r) {
    static const struct {
        enum action action;
        uint8_t chance; /* in eight */
        uint16_t often;
    } faults[] = {
        {ACTION_CUT, 6, 3},        {ACTION_POWER, 4, 2},     {ACTION_KILL, 3, 2},        {ACTION_POWER_IN_TURN, 3, 2},
        {ACTION_POWER_SOON, 3, 2}, {ACTION_TAKEOVER, 4, 2},  {ACTION_REPEAT, 3, 6},      {ACTION_STRAY, 2, 2},
        {ACTION_DISCONNECT, 3, 1}, {ACTION_CLEAN, 2, 1},     {ACTION_UNSUBSCRIBE, 2, 2}, {ACTION_PING, 2, 2},
        {ACTION_STOP, 1, 1},       {ACTION_DISK_FULL, 1, 1}, {ACTION_DISK_FAILS, 1, 1},  {ACTION_TIME, 5, 6},
        {ACTION_CHECKPOINT, 5, 6}, {ACTION_SEAL, 4, 2},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (prng_chance(r, faults[i].chance, 8)) {
            p->weight[faults[i].action] = prng_chance(r, 1, 2) ? faults[i].often : 1;
        }
    }
    if (prng_chance(r, 1, 3)) {
        p->weight[ACTION_BROKER_SEES_END] = 1; /* half-open for long */
    }
    if (prng_chance(r, 1, 3)) {
        p->weight[ACTION_COMMIT] = 4; /* a slow disk */
    }
    if (prng_chance(r, 1, 3)) {
        p->weight[ACTION_TO_CLIENT] = 4; /* slow readers */
    }
}

static void draw_real_faults(struct plan *p, struct prng *r) {
    static const struct {
        enum action action;
        uint8_t chance; /* in eight */
    } faults[] = {{ACTION_PEER_KILL, 5},       {ACTION_PEER_POWER, 5}, {ACTION_PEER_POWER_SOON, 3},
                  {ACTION_PEER_CHECKPOINT, 5}, {ACTION_PEER_SEAL, 3},  {ACTION_PEER_DISK_FULL, 1},
                  {ACTION_PEER_DISK_FAILS, 1}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (prng_chance(r, faults[i].chance, 8)) {
            p->weight[faults[i].action] = ONE_OF(r, 1, 2, 3);
        }
    }
    p->weight[ACTION_PEER_COMMIT] = ONE_OF(r, 24, 24, 4);
    p->weight[ACTION_APP_EFFECT] = ONE_OF(r, 12, 12, 2);
    p->audits = ONE_OF(r, 1, 4, 16);
}

static void draw_real(const struct plan *p, struct plan_client *c, struct prng *r) {
    c->real = c->durable = true;
    c->will = false;
    c->transaction = prng_chance(r, 1, 2);
    c->hand = (uint8_t)ONE_OF(r, 1, 2, 4);
    c->lost = (enum plan_lost)ONE_OF(r, PLAN_LOST_RESEND, PLAN_LOST_DROP, PLAN_LOST_ASK);
    c->inbox_bytes = ONE_OF(r, 0, 0, 300, 1000);
    c->keep_alive = ONE_OF(r, 0, 0, 0, 20);
    if (c->five && !p->wall_jumps && prng_chance(r, 1, 4)) {
        c->session_expiry = ONE_OF(r, 2, 10);
    }
}

void plan_faults_rare(struct plan *p) {
    for (unsigned a = 0; a < ACTION_COUNT; a++) {
        p->weight[a] = (uint16_t)(calm_weights[a] != 0 ? p->weight[a] * 8 : p->weight[a]);
    }
}

/* What befalls real clients alone in some worlds. Drawn apart, as the kinds are. */
static void draw_more(struct plan *p, uint64_t seed) {
    struct prng random = prng_of(seed * 2 + 0x3a0e);
    struct prng *r = &random;
    p->deadlines = prng_chance(r, 1, 3);
    p->clocks = p->deadlines && !p->wall_jumps && !p->expiry && prng_chance(r, 1, 3);
    p->real_expiry = !p->wall_jumps && !p->clocks && prng_chance(r, 1, 8);
    p->disk_losses = prng_chance(r, 1, 10) ? 1 + (unsigned)prng_below(r, 2) : 0;
    p->replacements = prng_chance(r, 1, 10) ? 1 + (unsigned)prng_below(r, 2) : 0;
    p->weight[ACTION_CLOCK] = p->clocks ? 2 : 0;
    p->weight[ACTION_DISK_LOST] = p->disk_losses > 0 ? 2 : 0;
    p->weight[ACTION_PEER_REPLACE] = p->replacements > 0 ? 2 : 0;
    const bool crowded = prng_chance(r, 1, 8), small = prng_chance(r, 1, 8);
    for (unsigned i = 0; i < p->client_count; i++) {
        struct plan_client *c = &p->clients[i];
        const uint16_t expiry = ONE_OF(r, 2, 10, 10, 60), packet = ONE_OF(r, 60, 120, 300);
        if (p->deadlines && c->real && c->five && !p->wall_jumps) {
            c->session_expiry = expiry;
        } else if (p->clocks) {
            c->session_expiry = SESSION_NEVER_EXPIRES; /* a model does not doubt the broker's clock */
        }
        c->packet_max = small && c->real && c->five ? packet : 0;
        c->window = crowded && c->real ? 16 : c->window;
        c->receive_maximum = crowded && c->real && c->five ? 16 : c->receive_maximum;
    }
    p->ids = crowded ? 2 : p->ids;
}

/* Which clients are real: none in half of the worlds, all, or some. Drawn apart from the rest, so that a world of
 * models is the same for its seed as it would be without. */
static void draw_kinds(struct plan *p, uint64_t seed) {
    struct prng random = prng_of(seed * 2 + 0x7ea1);
    struct prng *r = &random;
    const unsigned kind = ONE_OF(r, 0, 0, 1, 2);
    if (kind == 0) {
        return;
    }
    draw_real_faults(p, r);
    p->steps *= 3; /* each message takes more of them, and must have a chance to arrive between two faults */
    plan_faults_rare(p);
    for (unsigned i = 0; i < p->client_count; i++) {
        if (kind == 1 || prng_chance(r, 1, 2)) {
            draw_real(p, &p->clients[i], r);
        }
    }
    draw_more(p, seed);
}

/* One more client, which looks at what is retained in the end. */
static void add_probe(struct plan *p) {
    p->clients[p->client_count] = (struct plan_client){.five = true,
                                                       .window = 1,
                                                       .pipe_bytes = SIM_PIPE_BYTES_DRAWN,
                                                       .wanted = {{.filter = 4, .qos = 2}},
                                                       .wanted_count = 1};
}

static void draw(struct plan *p, uint64_t seed, bool models) {
    struct prng random = prng_of(seed * 2 + 1);
    struct prng *r = &random;
    plan_base(p);
    p->seed = seed;
    p->shards = ONE_OF(r, 1, 1, 2, 2, 3, 4);
    p->ids = ONE_OF(r, 4, 4, 4, 6, 2);
    p->client_count = 2 + (unsigned)prng_below(r, 3);
    p->messages = 4 + (unsigned)prng_below(r, 20);
    p->steps = 150 + (unsigned)prng_below(r, 500);
    p->topics = 1 + (unsigned)prng_below(r, sim_topic_count);
    p->qos_mask = (uint8_t)ONE_OF(r, 4, 4, 6, 2, 7);
    p->retain = prng_chance(r, 1, 4);
    p->expiry = prng_chance(r, 1, 6);
    p->refusals = prng_chance(r, 1, 8);
    p->fragments = prng_chance(r, 1, 2);
    p->wall_jumps = !p->expiry && prng_chance(r, 1, 8);
    p->forks = prng_chance(r, 1, 2) ? (unsigned)prng_below(r, 3) : 0;
    p->payload_max = ONE_OF(r, 4, 4, 60, 600);
    draw_faults(p, r);
    for (unsigned i = 0; i < p->client_count; i++) {
        draw_client(p, i, r);
    }
    if (!models) {
        draw_kinds(p, seed);
    }
    add_probe(p);
    p->broker.packet_ids_max = (packet_id_t)p->ids;
    p->broker.receive_maximum = ONE_OF(r, 1, 2, 3, 16);
    p->broker.inflight_max = ONE_OF(r, 1, 2, 3, 16);
    p->broker.window_messages = ONE_OF(r, 1, 2, 4, 64);
    p->broker.turn_points = ONE_OF(r, 1, 3, 8, 4096);
    p->broker.strain_share = ONE_OF(r, 1, 100, 8192);
    p->broker.retained_body_bytes = ONE_OF(r, 0, 8, 1024);
    if (p->refusals) {
        p->broker.queue_messages_max = ONE_OF(r, 4, 6, 12); /* at least one for each subscription */
        p->broker.queue_policy = QUEUE_REFUSE;              /* the clients of a history never lose a session to it */
    }
    p->store.segment_bytes = ONE_OF(r, 16384, 32768);
    p->store.frame_bytes_max = ONE_OF(r, 4096, 8192);
    p->store.staged_bytes_busy = ONE_OF(r, 200, 2000, 65535, 65535);
}

/* How much a commit of the table takes: some rows, or all that it is given. Drawn apart. */
static void draw_commits(struct plan *p, uint64_t seed) {
    struct prng random = prng_of(seed * 2 + 0x7ab1e);
    p->store.changed_bytes_max = ONE_OF(&random, 1, 100, 2000, 0);
}

/* Most seeds draw an ordinary world. Drawn apart, as the kinds are. */
static enum plan_world draw_which(uint64_t seed) {
    static const unsigned shares[] = {0,
#define PLAN_WORLD_SHARE(name, share, text) share,
                                      PLAN_WORLD_ROWS(PLAN_WORLD_SHARE)
#undef PLAN_WORLD_SHARE
    };
    struct prng random = prng_of(seed * 2 + 0x5e75);
    for (unsigned i = 1; i < sizeof shares / sizeof shares[0]; i++) {
        if (shares[i] != 0 && prng_chance(&random, 1, shares[i])) {
            return (enum plan_world)i;
        }
    }
    return PLAN_WORLD_DRAWN;
}

void plan_draw(struct plan *p, uint64_t seed, struct plan_variant variant) {
    const enum plan_world world = variant.world != PLAN_WORLD_DRAWN ? variant.world : draw_which(seed);
    draw(p, seed, world != PLAN_WORLD_DRAWN);
    plan_draw_world(p, seed, world);
    draw_commits(p, seed);
    plan_leave_out(p, variant);
}

static void print_client(const struct plan *p, unsigned at, FILE *out) {
    const struct plan_client *c = &p->clients[at];
    if (c->real) {
        static const char *const lost[] = {"resends", "drops", "is asked"};
        fprintf(out, "  c%u: real, %s, %s, takes %u, after a lost session %s%s, window %u", at,
                c->five ? "5.0" : "3.1.1", c->transaction ? "commits positions" : "says done", c->hand, lost[c->lost],
                c->publishes ? ", publishes" : "", c->window);
        if (c->inbox_bytes != 0) {
            fprintf(out, ", inbox %u bytes", c->inbox_bytes);
        }
        if (c->packet_max != 0) {
            fprintf(out, ", packets of %u bytes", c->packet_max);
        }
    } else {
        fprintf(out, "  c%u: %s, %s session, method %s%s%s, window %u", at, c->five ? "5.0" : "3.1.1",
                c->durable ? "durable" : "volatile", c->method_a ? "A" : "B", c->publishes ? ", publishes" : "",
                c->will ? ", has a will" : "", c->window);
    }
    if (c->durable && c->five && c->session_expiry != SESSION_NEVER_EXPIRES) {
        fprintf(out, ", session expiry %u", c->session_expiry);
    }
    if (c->receive_maximum != 0) {
        fprintf(out, ", receive maximum %u", c->receive_maximum);
    }
    fprintf(out, ", pipe %u", c->pipe_bytes);
    for (unsigned i = 0; i < c->wanted_count; i++) {
        fprintf(out, "%s %s (QoS %u)", i == 0 ? "; wants" : ",", sim_filters[c->wanted[i].filter], c->wanted[i].qos);
    }
    fputc('\n', out);
}

void plan_print(const struct plan *p, FILE *out) {
    fprintf(out, "  %u shards, ids 1 to %u, at most %u messages, %u steps, %u topics\n", p->shards, p->ids, p->messages,
            p->steps, p->topics);
    fprintf(out, "  broker: receive maximum %u, in flight %u, window %u, queue %llu\n", p->broker.receive_maximum,
            p->broker.inflight_max, p->broker.window_messages, (unsigned long long)p->broker.queue_messages_max);
    if (p->set > 0) {
        fprintf(out, "  a retained set of %u\n", p->set);
    }
    fputs("  also:", out);
    fprintf(out, "%s%s%s%s%s%s%s", p->retain ? " RETAIN" : "", p->expiry ? " EXPIRY" : "",
            p->refusals ? " REFUSALS" : "", p->fragments ? " FRAGMENTS" : "", p->wall_jumps ? " WALL_JUMPS" : "",
            p->deadlines ? " DEADLINES" : "", p->real_expiry ? " REAL_EXPIRY" : "");
    for (unsigned a = 0; a < ACTION_COUNT; a++) {
        if (p->weight[a] != calm_weights[a]) {
            fprintf(out, " %s*%u", action_name((enum action)a), p->weight[a]);
        }
    }
    fputc('\n', out);
    for (unsigned i = 0; i < p->client_count; i++) {
        print_client(p, i, out);
    }
}
