#include "sim/world.h"

#include <stdarg.h>

#include "base/mem.h"
#include "base/must.h"

const char *action_name(enum action a) {
    static const char *const names[] = {
#define ACTION_NAME(name, text) [ACTION_##name] = #name,
        ACTION_ROWS(ACTION_NAME)
#undef ACTION_NAME
    };
    return names[a];
}

/* ---- history ---- */

void world_fail(struct world *w, const char *rule, const char *format, ...) {
    if (w->failed) {
        return;
    }
    w->failed = true;
    int len = snprintf(w->failure, sizeof w->failure, "%s: ", rule);
    va_list args;
    va_start(args, format);
    vsnprintf(w->failure + len, sizeof w->failure - (size_t)len, format, args);
    va_end(args);
    world_trace(w, "FAILED %s", w->failure);
}

static void trace_begin(struct world *w) {
    fprintf(w->trace, "%s%5llu %8.3f  ", w->indent, (unsigned long long)w->step, (double)w->now / 1000);
}

void world_trace(struct world *w, const char *format, ...) {
    if (w->trace == NULL) {
        return;
    }
    trace_begin(w);
    va_list args;
    va_start(args, format);
    vfprintf(w->trace, format, args);
    va_end(args);
    fputc('\n', w->trace);
}

void world_trace_packet(struct world *w, const char *who, int client, const struct mini_packet *p) {
    if (w->trace == NULL) {
        return;
    }
    trace_begin(w);
    fprintf(w->trace, "c%d %s ", client, who);
    mini_print(w->trace, p);
    fputc('\n', w->trace);
}

/* ---- making ---- */

struct world *world_create(const struct plan *plan, struct choices *choices, FILE *trace) {
    struct world *w = mem_zero(1, sizeof *w);
    w->plan = plan;
    w->choices = choices;
    w->trace = trace;
    w->indent = "";
    w->step = 1;
    w->now = 1000;
    w->wall = SIM_WALL_BEGIN + w->now;
    w->forks_left = plan->forks;
    w->disk_losses_left = plan->disk_losses;
    w->replacements_left = plan->replacements;
    w->expect_refusal = plan->refusals;
    w->counts.histories = 1;
    w->client_count = plan->client_count;
    for (unsigned i = 0; i < plan->client_count; i++) {
        if (world_is_real(w, (int)i)) {
            peer_init(w, &w->peers[i], (int)i, &plan->clients[i]);
        } else {
            model_init(&w->clients[i], (int)i, &plan->clients[i]);
        }
    }
    node_init(w);
    if (!node_start(w)) {
        world_fail(w, "start", "an empty store cannot be opened");
    }
    return w;
}

void world_destroy(struct world *w) {
    node_deinit(w);
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_is_real(w, (int)i)) {
            peer_deinit(w, &w->peers[i]);
        }
    }
    mem_free(w);
}

struct conn *world_connect(struct world *w, int client) {
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *c = &w->conns[i];
        if (!c->used) {
            memset(c, 0, sizeof *c);
            c->used = true;
            c->client = client;
            c->serial = ++w->serials;
            c->client_open = true;
            c->opened_at = w->now;
            w->counts.connections++;
            return c;
        }
    }
    must_fail("room for another connection", __FILE__, __LINE__, __func__);
}

static bool conn_room(const struct world *w) {
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        if (!w->conns[i].used) {
            return true;
        }
    }
    return false;
}

/* ---- what can happen ---- */

struct options {
    struct world *w;
    struct world_option *out;
    unsigned count;
};

static void option(struct options *o, enum action a, int arg) {
    const uint32_t weight = o->w->plan->weight[a];
    if (weight > 0) {
        must(o->count < WORLD_OPTIONS_MAX);
        o->out[o->count++] = (struct world_option){a, arg, weight};
    }
}

static void options_of_conn(struct options *o, int at) {
    const struct conn *c = &o->w->conns[at];
    const bool up = o->w->node.up;
    const bool broker_open = up && c->broker == BROKER_END_OPEN;
    if (broker_open && c->to_broker.len > 0 && !c->paused && !c->closing) {
        option(o, ACTION_TO_BROKER, at);
    }
    if (c->client_open && c->to_client.len > 0 && (!world_is_pest(o->w, c->client) || pest_reads(o->w, c))) {
        option(o, ACTION_TO_CLIENT, at);
    }
    if (up && c->broker == BROKER_END_NONE && !c->cut) {
        option(o, ACTION_ACCEPT, at);
    }
    if (up && c->broker == BROKER_END_MOVING) {
        option(o, ACTION_MOVED, at);
    }
    const bool reads = !c->paused || !o->w->plan->wills; /* else it may not see the end yet */
    if (broker_open && c->to_broker.fin && ((c->to_broker.len == 0 && reads) || c->closing)) {
        option(o, ACTION_BROKER_SEES_END, at);
    }
    if (c->client_open && c->to_client.fin && c->to_client.len == 0) {
        option(o, ACTION_CLIENT_SEES_END, at);
    }
    if (c->client_open && !c->cut) {
        option(o, ACTION_CUT, at);
    }
}

static void options_of_client(struct options *o, int at) {
    static const enum action all[] = {ACTION_CONNECT,   ACTION_RESPOND,     ACTION_FLOW,     ACTION_CREATE,
                                      ACTION_SUBSCRIBE, ACTION_UNSUBSCRIBE, ACTION_PING,     ACTION_REPEAT,
                                      ACTION_STRAY,     ACTION_DISCONNECT,  ACTION_TAKEOVER, ACTION_CLEAN};
    const bool room = conn_room(o->w);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        bool connects = all[i] == ACTION_CONNECT || all[i] == ACTION_TAKEOVER;
        if (o->w->plan->weight[all[i]] > 0 && (room || !connects) && model_can(o->w, &o->w->clients[at], all[i])) {
            option(o, all[i], at);
        }
    }
}

static void options_of_peer(struct options *o, int at) {
    static const enum action all[] = {ACTION_PEER_START,
                                      ACTION_PEER_TURN,
                                      ACTION_PEER_COMMIT,
                                      ACTION_CONNECT,
                                      ACTION_APP_TAKE,
                                      ACTION_APP_EFFECT,
                                      ACTION_FLOW,
                                      ACTION_APP_NOTE,
                                      ACTION_CREATE,
                                      ACTION_SUBSCRIBE,
                                      ACTION_UNSUBSCRIBE,
                                      ACTION_PEER_CHECKPOINT,
                                      ACTION_PEER_SEAL,
                                      ACTION_DISCONNECT,
                                      ACTION_PEER_KILL,
                                      ACTION_PEER_POWER,
                                      ACTION_PEER_POWER_SOON,
                                      ACTION_PEER_DISK_FULL,
                                      ACTION_PEER_DISK_FAILS,
                                      ACTION_PEER_REPLACE};
    const bool room = conn_room(o->w);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (o->w->plan->weight[all[i]] > 0 && (room || all[i] != ACTION_CONNECT) &&
            peer_can(o->w, &o->w->peers[at], all[i])) {
            option(o, all[i], at);
        }
    }
}

static void options_of_pest(struct options *o, int at) {
    if ((o->w->clients[at].conn >= 0 || conn_room(o->w)) && pest_can(o->w, at, ACTION_PEST)) {
        option(o, ACTION_PEST, at);
    }
}

static void options_of_node(struct options *o) {
    static const enum action faults[] = {ACTION_STOP,      ACTION_KILL,       ACTION_POWER,        ACTION_POWER_SOON,
                                         ACTION_DISK_FULL, ACTION_DISK_FAILS, ACTION_POWER_IN_TURN};
    struct world *w = o->w;
    if (!w->node.up) {
        option(o, ACTION_START, 0);
        return;
    }
    for (unsigned s = 0; s < w->plan->shards; s++) {
        if (node_wants_turn(w, s)) {
            option(o, ACTION_TURN, (int)s);
        }
    }
    if (node_wants_commit(w)) {
        option(o, ACTION_COMMIT, 0);
    } else if (!w->node.machine.sealed) {
        option(o, ACTION_SEAL, 0);
    }
    if (machine_wants_checkpoint(&w->node.machine)) {
        option(o, ACTION_CHECKPOINT, 0);
    }
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        option(o, faults[i], 0);
    }
}

unsigned world_options(struct world *w, struct world_option *out) {
    struct options o = {w, out, 0};
    for (int i = 0; i < SIM_CONNS_MAX; i++) {
        if (w->conns[i].used) {
            options_of_conn(&o, i);
        }
    }
    options_of_node(&o);
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_is_pest(w, (int)i)) {
            options_of_pest(&o, (int)i);
        } else if (world_is_real(w, (int)i)) {
            options_of_peer(&o, (int)i);
        } else {
            options_of_client(&o, (int)i);
        }
    }
    option(&o, ACTION_TIME, 0);
    option(&o, ACTION_CLOCK, 0);
    if (w->disk_losses_left > 0) {
        option(&o, ACTION_DISK_LOST, 0);
    }
    return o.count;
}

/* ---- doing it ---- */

/* All of it, one byte, or any part. */
static size_t fragment(struct world *w, size_t len) {
    if (!w->plan->fragments || w->calm || len < 2) {
        return len;
    }
    uint32_t how = choose(w->choices, 4);
    return how < 2 ? len : how == 2 ? 1 : 1 + choose(w->choices, (uint32_t)len);
}

static void to_broker(struct world *w, struct conn *c) {
    size_t len = fragment(w, c->to_broker.len);
    if (len < c->to_broker.len) {
        world_trace(w, "broker reads %zu of %zu bytes of c%d", len, c->to_broker.len, c->client);
    } else {
        world_trace(w, "broker reads %zu bytes of c%d", len, c->client);
    }
    node_bytes(w, c, len);
}

static void to_client(struct world *w, struct conn *c) {
    struct model *m = &w->clients[c->client];
    size_t len = fragment(w, c->to_client.len);
    if (world_is_real(w, c->client)) {
        uint8_t copy[SIM_PIPE_BYTES];
        memcpy(copy, c->to_client.bytes, len);
        pipe_drop_front(&c->to_client, len);
        peer_bytes(w, &w->peers[c->client], span_of(copy, len));
        return;
    }
    size_t room = sizeof c->inbox - c->inbox_len;
    len = len > room ? room : len;
    memcpy(c->inbox + c->inbox_len, c->to_client.bytes, len);
    c->inbox_len += len;
    pipe_drop_front(&c->to_client, len);
    if (world_is_pest(w, c->client)) {
        pest_read(w, c);
        return;
    }
    while (!w->failed && c->client_open) {
        size_t whole = mini_length(span_of(c->inbox, c->inbox_len));
        if (whole == MINI_WRONG) {
            world_fail(w, "wire", "c%d got bytes that are no packet", c->client);
        }
        if (whole == MINI_WRONG || whole == 0 || m->owed_count + 2 > SIM_OWED_MAX) {
            break;
        }
        uint8_t packet[MINI_PACKET_BYTES];
        memcpy(packet, c->inbox, whole);
        c->inbox_len -= whole;
        memmove(c->inbox, c->inbox + whole, c->inbox_len);
        model_receive(w, m, span_of(packet, whole));
    }
}

static void client_sees_end(struct world *w, struct conn *c) {
    world_trace(w, "c%d sees that its connection has ended", c->client);
    if (!c->excused && w->plan->broker.matches_max >= SIM_MATCHES_MAX) {
        world_fail(w, "R6", "the broker has closed the connection of c%d, which obeyed", c->client);
    }
    if (world_is_real(w, c->client)) {
        peer_sees_end(w, &w->peers[c->client]);
        return;
    }
    if (world_is_pest(w, c->client)) {
        pest_lost(w, c->client);
    } else {
        model_lost(w, &w->clients[c->client]);
    }
    c->client_open = false;
    conn_tidy(c);
}

/* A cut, or a crash of the client, which then knows at once. */
static void cut(struct world *w, struct conn *c) {
    w->counts.cuts++;
    size_t out = choose(w->choices, 2) == 0 ? 0 : choose(w->choices, (uint32_t)c->to_broker.len + 1);
    size_t in = choose(w->choices, 2) == 0 ? 0 : choose(w->choices, (uint32_t)c->to_client.len + 1);
    world_trace(w, "cut of c%d: %zu of %zu bytes out and %zu of %zu bytes in still arrive", c->client, out,
                c->to_broker.len, in, c->to_client.len);
    conn_cut(c, world_end(w), out, in);
    if (choose(w->choices, 3) != 2) {
        return;
    }
    if (world_is_real(w, c->client)) {
        peer_kill(w, &w->peers[c->client], "it crashes with its connection");
    } else if (world_is_pest(w, c->client)) {
        pest_lost(w, c->client);
        conn_abandon(c, world_end(w));
    } else {
        world_trace(w, "c%d crashes", c->client);
        model_lost(w, &w->clients[c->client]);
        conn_abandon(c, world_end(w));
    }
}

bool world_may_be_overfull(const struct world *w, int client) {
    return w->plan->pests && !world_is_pest(w, client) &&
           oracle_waiting(w, client) + SIM_WANTED_MAX > w->plan->broker.queue_messages_max;
}

bool world_may_be_stalled(const struct world *w, const struct conn *c) {
    return c->used && w->now - c->opened_at >= w->plan->broker.stall_ms && world_may_be_overfull(w, c->client);
}

void world_time(struct world *w) {
    for (unsigned i = 0; i < w->client_count; i++) {
        if (!world_is_real(w, (int)i)) {
            model_time(w, &w->clients[i]);
        }
    }
}

static mono_ms_t draw_time(struct world *w) {
    if (w->plan->steps_of_days && choose(w->choices, 8) == 7) {
        return choose(w->choices, 2) == 0 ? 60000 : 3600000;
    }
    mono_ms_t steps[] = {1, 20, 300, 1000, 5000, 31000, 0, 0};
    const mono_ms_t left = w->plan->deadlines ? absence_left(w) : 0;
    steps[6] = left;
    steps[7] = left - 1;
    return steps[choose(w->choices, left > 1 ? 8 : 6)];
}

/* Somebody's wall clock is set: the broker's, or a real client's. */
static void set_clock(struct world *w) {
    if (w->plan->steps_of_days) {
        wallclock_step(w);
        return;
    }
    const uint32_t whose = choose(w->choices, w->client_count + 1);
    const wall_ms_t ahead = ((wall_ms_t)choose(w->choices, 7200) - 3600) * 1000;
    world_trace(w, "the wall clock of %s%.0u is set by %lld s", whose == 0 ? "the broker" : "c",
                whose == 0 ? 0 : whose - 1, (long long)ahead / 1000);
    if (whose > 0) {
        w->peers[whose - 1].wall_ahead += ahead;
        return;
    }
    w->wall += ahead;
    if (w->node.up && ahead < 0) {
        absence_clock_back(w, -ahead);
    }
    for (unsigned i = 0; i < w->client_count; i++) {
        w->peers[i].wall_ahead -= ahead;
    }
}

static void pass_time(struct world *w) {
    const mono_ms_t ms = draw_time(w);
    w->now += ms;
    w->wall += ms;
    if (w->plan->wall_jumps && choose(w->choices, 4) == 3) {
        w->wall += ((wall_ms_t)choose(w->choices, 7200) - 3600) * 1000;
    }
    world_trace(w, "time passes: %lld ms", (long long)ms);
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *c = &w->conns[i];
        bool connecting = c->used && (!c->client_open || world_conn_of(w, c->client) != (int)i ||
                                      !world_is_connected(w, c->client) || w->plan->clients[c->client].keep_alive != 0);
        c->unread_ms = c->used && c->to_broker.len > 0 ? c->unread_ms + ms : 0;
        c->excused = c->excused || c->unread_ms >= w->plan->broker.packet_timeout_ms - 1000 ||
                     (connecting && w->now - c->opened_at >= 4000) || (w->expect_refusal && ms >= 1000) ||
                     world_may_be_stalled(w, c);
    }
    world_time(w);
    if (w->node.up && ms >= 300) {
        node_tick(w);
    }
}

static void disk_action(struct world *w, enum action a) {
    struct sim_disk *d = &w->node.machine.disk;
    if (a == ACTION_DISK_FULL) {
        d->no_space = !d->no_space;
        w->expect_refusal = true;
        world_trace(w, "disk is %s", d->no_space ? "full" : "no longer full");
    } else if (a == ACTION_DISK_FAILS) {
        d->fail_at = d->calls + 1 + choose(w->choices, 8);
        world_trace(w, "a disk call will fail soon");
    } else {
        d->crash_at = d->calls + 1 + choose(w->choices, 16);
        world_trace(w, "the power will go at disk call %llu from now", (unsigned long long)(d->crash_at - d->calls));
    }
}

static void node_action(struct world *w, enum action a, int arg) {
    struct node *n = &w->node;
    switch ((int)a) {
    case ACTION_START:
        node_start(w);
        break;
    case ACTION_TURN: {
        int from = -1;
        if (n->mail[arg] != 0) {
            uint32_t nth = choose(w->choices, (uint32_t)__builtin_popcount(n->mail[arg]));
            for (from = 0; (n->mail[arg] >> from & 1) == 0 || nth-- > 0; from++) {
            }
        }
        node_turn(w, (unsigned)arg, from);
        break;
    }
    case ACTION_COMMIT:
        node_commit(w);
        break;
    case ACTION_CHECKPOINT:
        node_checkpoint(w, choose(w->choices, 2) == 1);
        break;
    case ACTION_SEAL:
        node_seal(w);
        break;
    case ACTION_STOP:
        node_stop(w);
        break;
    case ACTION_KILL:
        node_kill(w, "killed");
        if (choose(w->choices, 2) == 1) {
            sim_disk_evict(&n->machine.disk);
        }
        break;
    case ACTION_POWER:
        node_power_cut(w, choose(w->choices, 2) == 0 ? SIM_POWER_DROP : SIM_POWER_CHOOSE);
        break;
    case ACTION_DISK_LOST:
        w->disk_losses_left--;
        node_lose_disk(w);
        break;
    default:
        n->power_after_writes = 1 + choose(w->choices, 4);
        break;
    }
}

static void client_action(struct world *w, enum action a, int client) {
    if (world_is_pest(w, client)) {
        pest_act(w, client, a);
    } else if (world_is_real(w, client)) {
        peer_act(w, &w->peers[client], a);
    } else {
        model_act(w, &w->clients[client], a);
    }
}

void world_act(struct world *w, enum action a, int arg) {
    must(arg >= 0 && arg < SIM_CONNS_MAX);
    struct conn *c = &w->conns[arg];
    w->step++;
    w->counts.steps++;
    switch ((int)a) {
    case ACTION_TO_BROKER:
        to_broker(w, c);
        break;
    case ACTION_TO_CLIENT:
        to_client(w, c);
        break;
    case ACTION_ACCEPT:
        node_accept(w, c, choose(w->choices, w->plan->shards));
        break;
    case ACTION_MOVED:
        node_moved(w, c);
        break;
    case ACTION_BROKER_SEES_END:
        node_sees_end(w, c);
        break;
    case ACTION_CLIENT_SEES_END:
        client_sees_end(w, c);
        break;
    case ACTION_CUT:
        cut(w, c);
        break;
    case ACTION_TIME:
        pass_time(w);
        break;
    case ACTION_CLOCK:
        set_clock(w);
        break;
    case ACTION_START:
    case ACTION_TURN:
    case ACTION_COMMIT:
    case ACTION_CHECKPOINT:
    case ACTION_SEAL:
    case ACTION_STOP:
    case ACTION_KILL:
    case ACTION_POWER:
    case ACTION_POWER_IN_TURN:
    case ACTION_DISK_LOST:
        node_action(w, a, arg);
        break;
    case ACTION_DISK_FULL:
    case ACTION_DISK_FAILS:
    case ACTION_POWER_SOON:
        disk_action(w, a);
        break;
    default:
        client_action(w, a, arg);
        break;
    }
}

/* The first client publishes the retained set. */
static void publish_set(struct world *w) {
    struct model *m = &w->clients[0];
    world_trace(w, "c0 publishes a retained set of %u", w->plan->set);
    for (unsigned i = 0; i < w->plan->set; i++) {
        const struct sim_message x = oracle_set_message(w, 0, i);
        oracle_message(w, &x);
    }
    m->next_message_order = w->plan->set;
    world_finish_client(w, 0);
    w->node.departed = false;
}

/* Somebody is away whose queue may be full: what is accepted now may have ended its session. */
static bool somebody_may_end(const struct world *w) {
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_conn_of(w, (int)i) < 0 && world_may_be_overfull(w, (int)i)) {
            return true;
        }
    }
    return false;
}

/* Whether it is asked now what a power cut would leave: in a world with a set when somebody relies on SUBACK, in one
 * where sessions end when a publisher relies on what may have ended one. */
static bool forks_now(struct world *w) {
    if (w->forks_left == 0 || !w->node.up) {
        return false;
    }
    if (w->plan->ends_sessions) {
        return w->accepted_seen && somebody_may_end(w) && chance(w->choices, 1, 2);
    }
    return w->plan->set > 0 ? w->suback_seen && chance(w->choices, 1, 2)
                            : w->node.departed && chance(w->choices, 1, 24);
}

/* In a world with a set the broker may end just when somebody has read SUBACK. */
static bool strikes_now(struct world *w) {
    return w->plan->set > 0 && w->suback_seen && w->node.up && chance(w->choices, 1, 4);
}

/* One action among all that are possible. */
static void act_any(struct world *w) {
    struct world_option options[WORLD_OPTIONS_MAX];
    const unsigned count = world_options(w, options);
    uint32_t total = 0;
    for (unsigned k = 0; k < count; k++) {
        total += options[k].weight;
    }
    if (count == 0) { /* all wait for the clock */
        world_act(w, ACTION_TIME, 0);
        return;
    }
    uint32_t at = choose(w->choices, total);
    unsigned k = 0;
    while (at >= options[k].weight) {
        at -= options[k++].weight;
    }
    world_act(w, options[k].action, options[k].arg);
}

void world_run(struct world *w) {
    if (w->plan->set > 0) {
        publish_set(w);
    }
    for (unsigned i = 0; i < w->plan->steps && !w->failed; i++) {
        w->node.departed = w->suback_seen = w->accepted_seen = false;
        act_any(w);
        if (forks_now(w)) {
            w->forks_left--;
            world_fork_check(w);
        }
        if (strikes_now(w)) {
            node_action(w, choose(w->choices, 2) == 0 ? ACTION_POWER : ACTION_KILL, 0);
        }
    }
}
