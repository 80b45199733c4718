#include "sim/explore.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"

#define PATH_STEPS_MAX 400

/*   name, what, messages, ids, who walks, 5.0, QoS, shards, cuts, powers, kills, takeovers, repeats, real */
const struct explore_world explore_worlds[] = {
    {"publish", "a publisher and the broker, QoS 2", 1, 2, true, false, true, 2, 1, 1, 1, 0, 0, 0, false},
    {"publish-cuts", "the same with cuts alone and a repeat", 1, 2, true, false, false, 2, 1, 2, 0, 0, 0, 1, false},
    {"publish-kill", "the same with a killed broker", 1, 2, true, false, true, 2, 1, 1, 0, 1, 0, 0, false},
    {"publish-1", "the same at QoS 1", 1, 2, true, false, true, 1, 1, 1, 1, 0, 0, 1, false},
    {"deliver", "the broker and a subscriber, QoS 2", 1, 2, false, true, true, 2, 1, 1, 1, 0, 0, 0, false},
    {"deliver-power", "the same with the power going twice", 1, 2, false, true, true, 2, 1, 0, 2, 0, 0, 0, false},
    {"deliver-1", "the same at QoS 1", 1, 2, false, true, false, 1, 1, 1, 1, 0, 0, 0, false},
    {"both", "one message over both hops", 1, 2, true, true, false, 2, 1, 1, 1, 0, 0, 0, false},
    {"two-messages", "two messages of a publisher, two ids", 2, 2, true, false, false, 2, 1, 1, 1, 0, 0, 0, false},
    {"two-deliveries", "two messages to a subscriber, one id", 2, 1, false, true, false, 2, 1, 1, 1, 0, 0, 0, false},
    {"takeover", "a second connection beside the first", 1, 2, true, false, true, 2, 1, 0, 1, 0, 1, 0, false},
    {"shards", "one message, publisher and subscriber on two shards", 1, 2, true, true, true, 2, 2, 0, 1, 0, 0, 0,
     false},
    {"real-publish", "a real publisher and the broker, the power of either", 1, 3, true, false, true, 2, 1, 0, 1, 0, 0,
     0, true},
    {"real-publish-kill", "the same with a kill", 1, 3, true, false, false, 2, 1, 0, 0, 1, 0, 0, true},
    {"real-publish-cut", "the same with a cut", 1, 3, true, false, true, 2, 1, 1, 0, 0, 0, 0, true},
    {"real-deliver", "the broker and a real subscriber, the power of either", 1, 3, false, true, true, 2, 1, 0, 1, 0, 0,
     0, true},
    {"real-deliver-kill", "the same with a kill", 1, 3, false, true, false, 2, 1, 0, 0, 1, 0, 0, true},
    {"real-deliver-cut", "the same with a cut", 1, 3, false, true, true, 2, 1, 1, 0, 0, 0, 0, true},
    {"real-both", "one message over both hops, the power of anybody", 1, 3, true, true, true, 2, 1, 0, 1, 0, 0, 0,
     true},
};
const unsigned explore_world_count = sizeof explore_worlds / sizeof explore_worlds[0];

/* One thing that can happen, with a variant of its own where a fault has several. */
struct branch {
    enum action action;
    int arg;
    unsigned variant;
};
#define BRANCHES_MAX 96

struct walk {
    const struct explore_world *what;
    struct plan plan;
    struct choices choices; /* always 0: what the walk decides is decided here */
    struct world *w;
    unsigned cuts, powers, kills, takeovers, repeats; /* left on this path */
    struct choice path[PATH_STEPS_MAX];
    unsigned path_len;
    uint64_t *seen; /* open addressing; 0: free */
    size_t seen_capacity;
    struct explore_result result;
    FILE *trace;
};

/* ---- states met before ---- */

static bool seen_put(uint64_t *table, size_t capacity, uint64_t key) {
    size_t at = key & (capacity - 1);
    while (table[at] != 0) {
        if (table[at] == key) {
            return false;
        }
        at = (at + 1) & (capacity - 1);
    }
    table[at] = key;
    return true;
}

static void seen_grow(struct walk *x) {
    size_t capacity = x->seen_capacity == 0 ? 1U << 16 : x->seen_capacity * 2;
    uint64_t *table = mem_zero(capacity, sizeof *table);
    for (size_t i = 0; i < x->seen_capacity; i++) {
        if (x->seen[i] != 0) {
            seen_put(table, capacity, x->seen[i]);
        }
    }
    mem_free(x->seen);
    x->seen = table;
    x->seen_capacity = capacity;
}

/* True when the state is new. */
static bool seen_first(struct walk *x, uint64_t state) {
    if (x->result.states * 2 >= x->seen_capacity) {
        seen_grow(x);
    }
    if (!seen_put(x->seen, x->seen_capacity, state == 0 ? 1 : state)) {
        return false;
    }
    x->result.states++;
    return true;
}

/* How many connections of the same client are older: serials themselves do not matter. */
static unsigned conn_age(const struct world *w, const struct conn *c) {
    unsigned older = 0;
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        const struct conn *other = &w->conns[i];
        older += other->used && other->client == c->client && other->serial < c->serial ? 1 : 0;
    }
    return older;
}

static uint64_t conn_digest(const struct world *w, const struct conn *c) {
    const uint64_t parts[] = {(uint64_t)c->client,
                              c->client_open,
                              c->cut,
                              c->excused,
                              c->broker,
                              c->shard,
                              c->paused,
                              c->closing,
                              c->want_write,
                              c->received < c->connect_bytes,
                              c->connect_clean,
                              c->to_broker.fin,
                              c->to_client.fin,
                              conn_age(w, c)};
    uint64_t sum = hash_bytes(span_of(parts, sizeof parts), 5);
    sum = hash_bytes(span_of(c->to_broker.bytes, c->to_broker.len), sum);
    sum = hash_bytes(span_of(c->to_client.bytes, c->to_client.len), sum);
    sum = hash_bytes(span_of(c->moved, c->moved_len), sum);
    return hash_bytes(span_of(c->inbox, c->inbox_len), sum);
}

static uint64_t state_digest(struct walk *x) {
    struct world *w = x->w;
    const uint64_t budget[] = {x->cuts, x->powers, x->kills, x->takeovers, x->repeats, w->expect_refusal};
    uint64_t sum = hash_bytes(span_of(budget, sizeof budget), node_digest(w));
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        if (w->conns[i].used) {
            sum = hash64(sum, conn_digest(w, &w->conns[i]));
        }
    }
    for (unsigned i = 0; i < w->client_count; i++) {
        sum = hash64(sum, world_is_real(w, (int)i) ? peer_digest(w, &w->peers[i]) : model_digest(&w->clients[i]));
    }
    return hash64(sum, oracle_digest(w));
}

/* ---- what can happen ---- */

struct branches {
    struct branch all[BRANCHES_MAX];
    unsigned count;
};

static void add(struct branches *b, enum action a, int arg) {
    must(b->count < BRANCHES_MAX);
    b->all[b->count++] = (struct branch){a, arg, 0};
}

/* A cut keeps or loses what is under way, in each direction: four ways, less where nothing is. */
static void add_cut(const struct walk *x, struct branches *b, int at) {
    const struct conn *c = &x->w->conns[at];
    for (unsigned v = 0; v < 4; v++) {
        bool idle_out = (v & 1) != 0 && c->to_broker.len == 0;
        bool idle_in = (v & 2) != 0 && c->to_client.len == 0;
        if (!idle_out && !idle_in) {
            must(b->count < BRANCHES_MAX);
            b->all[b->count++] = (struct branch){ACTION_CUT, at, v};
        }
    }
}

static bool walks(const struct walk *x, int client) {
    return client == 0 ? x->what->publisher_walks : x->what->subscriber_walks;
}

static bool is_of_peer(enum action a) {
    return a == ACTION_PEER_POWER || a == ACTION_PEER_KILL;
}

static bool has_output(const struct walk *x, enum action a, int arg) {
    const struct world *w = x->w;
    if (is_of_peer(a)) {
        return w->peers[arg].conn >= 0 && w->conns[w->peers[arg].conn].to_broker.len > 0;
    }
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        if (w->conns[i].used && w->conns[i].to_client.len > 0) {
            return true;
        }
    }
    return false;
}

/* A crash: output under way arrives or is lost; for a power cut, what is not synced is dropped or kept. */
static void add_crash(const struct walk *x, struct branches *b, enum action a, int arg) {
    const struct machine *m = is_of_peer(a) ? &x->w->peers[arg].machine : &x->w->node.machine;
    const bool output = has_output(x, a, arg);
    const bool unsynced = (a == ACTION_POWER || a == ACTION_PEER_POWER) && !sim_disk_clean(&m->disk);
    for (unsigned v = 0; v < 4; v++) {
        if ((output || (v & 1) == 0) && (unsynced || (v & 2) == 0)) {
            must(b->count < BRANCHES_MAX);
            b->all[b->count++] = (struct branch){a, arg, v};
        }
    }
}

/* Commits of nothing are no choice. */
static bool is_housework(const struct world *w, enum action a, int arg) {
    return (a == ACTION_COMMIT && machine_is_housework(&w->node.machine)) ||
           (a == ACTION_PEER_COMMIT && machine_is_housework(&w->peers[arg].machine));
}

/* Whether what happens without a fault is part of the walk. */
static bool is_step(const struct walk *x, enum action a, int arg) {
    if (a == ACTION_PEER_COMMIT || a == ACTION_APP_EFFECT || a == ACTION_APP_NOTE) {
        return walks(x, arg) && !is_housework(x->w, a, arg);
    }
    const bool of_client = a >= ACTION_CONNECT && a <= ACTION_FLOW;
    return a < ACTION_CREATE && (!of_client || walks(x, arg)) && !is_housework(x->w, a, arg);
}

/* A machine whose frame is under way goes on until it is durable, unless it crashes: a frame that is written and not
 * synced is seen by nobody, so that what others do meanwhile could as well be done before or after it. */
static bool is_held_back(const struct walk *x, enum action a, int arg) {
    const struct world *w = x->w;
    if (w->node.up && w->node.machine.in_frame) {
        return a != ACTION_COMMIT && a != ACTION_POWER && a != ACTION_KILL;
    }
    for (int i = 0; i < (int)w->client_count; i++) {
        if (world_is_real(w, i) && w->peers[i].machine.in_frame) {
            return arg != i || (a != ACTION_PEER_COMMIT && !is_of_peer(a));
        }
    }
    return false;
}

static void find_branches(const struct walk *x, struct branches *b) {
    struct world_option options[WORLD_OPTIONS_MAX];
    unsigned count = world_options(x->w, options);
    b->count = 0;
    for (unsigned i = 0; i < count; i++) {
        const enum action a = options[i].action;
        const int arg = options[i].arg;
        const bool fault =
            (a == ACTION_TAKEOVER && x->takeovers > 0 && arg == 0) || (a == ACTION_REPEAT && x->repeats > 0);
        if (is_held_back(x, a, arg)) {
            continue;
        }
        if (a == ACTION_CUT && x->cuts > 0) {
            add_cut(x, b, arg);
        } else if (((a == ACTION_POWER && x->powers > 0) || (a == ACTION_KILL && x->kills > 0)) ||
                   (walks(x, arg) &&
                    ((a == ACTION_PEER_POWER && x->powers > 0) || (a == ACTION_PEER_KILL && x->kills > 0)))) {
            add_crash(x, b, a, arg);
        } else if (fault || is_step(x, a, arg)) {
            add(b, a, arg);
        }
    }
}

static void act_cut(struct walk *x, const struct branch *b) {
    struct conn *c = &x->w->conns[b->arg];
    x->cuts--;
    x->w->step++;
    world_trace(x->w, "cut of c%d: out %s, in %s", c->client, (b->variant & 1) != 0 ? "arrives" : "is lost",
                (b->variant & 2) != 0 ? "arrives" : "is lost");
    conn_cut(c, world_end(x->w), (b->variant & 1) != 0 ? c->to_broker.len : 0,
             (b->variant & 2) != 0 ? c->to_client.len : 0);
}

/* The same for a client and the broker: what it had sent arrives or is lost; what it had written to the disk and not
 * synced is dropped or kept. */
static void act_crash_of_peer(struct walk *x, const struct branch *b) {
    struct world *w = x->w;
    struct peer *p = &w->peers[b->arg];
    w->step++;
    if ((b->variant & 1) != 0) {
        w->conns[p->conn].to_broker.len = 0;
    }
    if (b->action == ACTION_PEER_KILL) {
        x->kills--;
        peer_kill(w, p, "killed");
    } else {
        x->powers--;
        peer_power_cut(w, p, (b->variant & 2) != 0 ? SIM_POWER_KEEP : SIM_POWER_DROP);
    }
}

static void act_crash(struct walk *x, const struct branch *b) {
    struct world *w = x->w;
    w->step++;
    for (unsigned i = 0; i < SIM_CONNS_MAX && (b->variant & 1) != 0; i++) {
        w->conns[i].to_client.len = 0;
    }
    if (b->action == ACTION_KILL) {
        x->kills--;
        node_kill(w, "killed");
    } else {
        x->powers--;
        node_power_cut(w, (b->variant & 2) != 0 ? SIM_POWER_KEEP : SIM_POWER_DROP);
    }
}

static void act(struct walk *x, const struct branch *b) {
    if (b->action == ACTION_CUT) {
        act_cut(x, b);
        return;
    }
    if (b->action == ACTION_POWER || b->action == ACTION_KILL) {
        act_crash(x, b);
        return;
    }
    if (is_of_peer(b->action)) {
        act_crash_of_peer(x, b);
        return;
    }
    x->takeovers -= b->action == ACTION_TAKEOVER ? 1 : 0;
    x->repeats -= b->action == ACTION_REPEAT ? 1 : 0;
    world_act(x->w, b->action, b->arg);
}

/* ---- what happens at once ---- */

/* A real client that waits before it connects again does not wait here: the clock goes on. */
static bool peer_at_once(struct walk *x, struct peer *p) {
    struct world *w = x->w;
    if (p->client == NULL) {
        return false;
    }
    if (machine_has_new_file(&p->machine)) {
        machine_checkpoint(&p->machine, false);
        return true;
    }
    const mono_ms_t deadline = client_deadline(p->client);
    if (p->conn < 0 && deadline > w->now && !peer_wants_turn(w, p) && !peer_can(w, p, ACTION_CONNECT)) {
        w->now = deadline;
        return true;
    }
    return false;
}

static bool is_at_once(const struct walk *x, enum action a, int arg) {
    switch ((int)a) {
    case ACTION_START:
    case ACTION_ACCEPT:
    case ACTION_MOVED:
    case ACTION_CLIENT_SEES_END:
    case ACTION_TURN:
        return true;
    case ACTION_CONNECT:
    case ACTION_PEER_START:
    case ACTION_PEER_TURN:
    case ACTION_APP_TAKE:
        return walks(x, arg);
    case ACTION_FLOW:
        return walks(x, arg) && world_is_real(x->w, arg);
    default:
        return is_housework(x->w, a, arg) && (a == ACTION_COMMIT || walks(x, arg));
    }
}

/* What nobody can tell from the same thing happening later, because a fault in between has a variant that leaves the
 * same: a started broker, accepted connections, ends that a client sees, its next CONNECT, turns (a crash with the
 * output lost is a crash before the turn), and the housework of the store. True when something has happened. */
static bool at_once(struct walk *x) {
    struct world_option options[WORLD_OPTIONS_MAX];
    struct world *w = x->w;
    if (w->node.up && machine_has_new_file(&w->node.machine)) {
        node_checkpoint(w, false);
        return true;
    }
    for (int i = 0; i < (int)w->client_count; i++) {
        if (world_is_real(w, i) && walks(x, i) && peer_at_once(x, &w->peers[i])) {
            return true;
        }
    }
    const unsigned count = world_options(w, options);
    for (unsigned i = 0; i < count; i++) {
        if (is_at_once(x, options[i].action, options[i].arg)) {
            world_act(w, options[i].action, options[i].arg);
            return true;
        }
    }
    return false;
}

/* ---- one path ---- */

static void make_plan(struct walk *x, struct plan_variant mutants) {
    static const enum action faults[] = {ACTION_CUT,    ACTION_POWER,      ACTION_KILL,     ACTION_TAKEOVER,
                                         ACTION_REPEAT, ACTION_PEER_POWER, ACTION_PEER_KILL};
    struct plan *p = &x->plan;
    plan_base(p);
    p->shards = x->what->shards;
    p->ids = x->what->ids;
    p->client_count = 2;
    p->messages = x->what->messages;
    p->broker.packet_ids_max = (packet_id_t)p->ids;
    plan_leave_out(p, mutants);
    p->store.segment_bytes = 16384;
    p->store.segments_max = 8;
    p->store.frame_bytes_max = 4096;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        p->weight[faults[i]] = 1;
    }
    for (unsigned i = 0; i < 2; i++) {
        p->clients[i] = (struct plan_client){.real = x->what->real,
                                             .transaction = true,
                                             .hand = 1,
                                             .publishes = i == 0,
                                             .five = x->what->five,
                                             .durable = true,
                                             .session_expiry = UINT32_MAX,
                                             .window = (uint16_t)p->ids,
                                             .pipe_bytes = SIM_PIPE_BYTES_DRAWN};
    }
    p->clients[1].wanted[0] = (struct plan_wanted){.filter = 0, .qos = 2};
    p->clients[1].wanted_count = 1;
}

/* Both are connected, one is subscribed; then those who do not walk are gone, and the outbox is full. When the
 * publisher does not walk, its messages wait in the subscriber's queue. */
static void prepare(struct walk *x) {
    struct world *w = x->w;
    world_settle(w);
    w->calm = false;
    world_act(w, ACTION_SUBSCRIBE, 1);
    world_settle(w);
    if (!x->what->subscriber_walks || !x->what->publisher_walks) {
        world_act(w, ACTION_DISCONNECT, 1);
        world_quiet(w);
    }
    for (unsigned i = 0; i < x->what->messages; i++) {
        const struct sim_message m = {.state = SIM_MESSAGE_WAITING, .qos = x->what->qos, .bytes = 8, .order = i + 1};
        if (x->what->real) {
            app_add_row(w, &w->peers[0], &m);
        } else {
            oracle_message(w, &m);
        }
    }
    if (!x->what->publisher_walks) {
        world_settle_client(w, 0);
        world_act(w, ACTION_DISCONNECT, 0);
        world_quiet(w);
    }
}

/* Takes the path's choices, then the first of each that is not decided yet, until nothing can happen or all has been
 * met before. */
static void run(struct walk *x, unsigned fresh_from) {
    struct branches b;
    unsigned depth = 0;
    choices_start(&x->choices, 0, NULL, 0, false);
    x->w = world_create(&x->plan, &x->choices, x->trace);
    x->result.runs++;
    x->cuts = x->what->cuts;
    x->powers = x->what->powers;
    x->kills = x->what->kills;
    x->takeovers = x->what->takeovers;
    x->repeats = x->what->repeats;
    prepare(x);
    x->w->calm = false;
    for (;; depth++) {
        while (!x->w->failed && at_once(x)) {
        }
        if (x->w->failed || (depth > fresh_from && !seen_first(x, state_digest(x)))) {
            break;
        }
        find_branches(x, &b);
        if (b.count == 0) {
            x->result.paths++;
            x->w->forked = true; /* the longer judgement is for the seeds */
            world_calm(x->w);
            break;
        }
        if (depth == x->path_len) {
            must(depth < PATH_STEPS_MAX);
            x->path[x->path_len++] = (struct choice){0, b.count};
        }
        must(x->path[depth].bound == b.count);
        act(x, &b.all[x->path[depth].value]);
    }
    if (x->w->failed) {
        x->result.failed = true;
        memcpy(x->result.failure, x->w->failure, sizeof x->result.failure);
    }
    world_destroy(x->w);
}

/* The next path; false when all have been taken. */
static bool next_path(struct walk *x) {
    while (x->path_len > 0 && x->path[x->path_len - 1].value + 1 == x->path[x->path_len - 1].bound) {
        x->path_len--;
    }
    if (x->path_len == 0) {
        return false;
    }
    x->path[x->path_len - 1].value++;
    return true;
}

struct explore_result explore_walk(const struct explore_world *world, struct plan_variant mutants, uint64_t states_max,
                                   FILE *trace) {
    struct walk *x = mem_zero(1, sizeof *x);
    x->what = world;
    make_plan(x, mutants);
    do {
        run(x, x->path_len > 0 ? x->path_len - 1 : 0);
        x->result.complete = !x->result.failed && !next_path(x);
    } while (!x->result.complete && !x->result.failed && x->result.states < states_max);
    if (x->result.failed && trace != NULL) {
        x->trace = trace;
        run(x, PATH_STEPS_MAX);
    }
    const struct explore_result result = x->result;
    choices_deinit(&x->choices);
    mem_free(x->seen);
    mem_free(x);
    return result;
}
