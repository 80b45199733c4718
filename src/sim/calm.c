/* The second phase of a history: no faults, everything completes, and the judge looks. Also the question "and if the
 * power failed now?", which is a second phase in a copy of the world. */
#include "base/mem.h"
#include "base/must.h"
#include "sim/accounts.h"
#include "sim/world.h"

#define CALM_ROUNDS_MAX 3000 /* and so many for each message of a retained set: */
#define CALM_ROUNDS_OF_A_SET 40
#define CALM_IDLE_MAX 80 /* rounds in which nothing moved but the clock */
#define CALM_FOLDS 32    /* commits of the table in each of them */
#define CALM_STILL 8     /* the first of them without it */

static bool calm_conn(struct world *w, int at) {
    struct conn *c = &w->conns[at];
    if (!c->used) {
        return false;
    }
    if (c->broker == BROKER_END_NONE && !c->cut) {
        world_act(w, ACTION_ACCEPT, at);
    } else if (c->broker == BROKER_END_MOVING) {
        world_act(w, ACTION_MOVED, at);
    } else if (c->broker == BROKER_END_OPEN && c->to_broker.len > 0 && !c->paused && !c->closing) {
        world_act(w, ACTION_TO_BROKER, at);
    } else if (c->broker == BROKER_END_OPEN && c->to_broker.fin &&
               ((c->to_broker.len == 0 && !c->paused) || c->closing)) {
        world_act(w, ACTION_BROKER_SEES_END, at);
    } else if (c->client_open && c->to_client.len > 0 && (!world_is_pest(w, c->client) || pest_reads(w, c))) {
        world_act(w, ACTION_TO_CLIENT, at);
    } else if (c->client_open && c->to_client.fin) {
        world_act(w, ACTION_CLIENT_SEES_END, at);
    } else {
        return false;
    }
    return true;
}

static bool calm_client(struct world *w, struct model *m) {
    static const enum action all[] = {ACTION_CONNECT, ACTION_RESPOND, ACTION_SUBSCRIBE, ACTION_UNSUBSCRIBE,
                                      ACTION_FLOW};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (model_can(w, m, all[i])) {
            world_act(w, all[i], m->index);
            return true;
        }
    }
    return false;
}

/* A real client with its application. The disk works at once. */
static bool calm_peer(struct world *w, struct peer *p) {
    static const enum action all[] = {ACTION_PEER_START, ACTION_PEER_TURN, ACTION_CONNECT, ACTION_APP_TAKE,
                                      ACTION_APP_EFFECT, ACTION_SUBSCRIBE, ACTION_FLOW};
    bool moved = false;
    while (p->client != NULL && machine_wants_commit(&p->machine) && peer_commit(w, p)) {
        moved = true;
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (!w->failed && peer_can(w, p, all[i])) {
            world_act(w, all[i], p->index);
            return true;
        }
    }
    return moved;
}

static bool calm_any(struct world *w, int client) {
    if (world_is_pest(w, client)) {
        return w->leaving && pest_leave(w, client);
    }
    return world_is_real(w, client) ? calm_peer(w, &w->peers[client]) : calm_client(w, &w->clients[client]);
}

static bool calm_node(struct world *w) {
    bool moved = false;
    for (unsigned s = 0; s < w->plan->shards && w->node.up; s++) {
        if (node_wants_turn(w, s)) {
            world_act(w, ACTION_TURN, (int)s);
            moved = true;
        }
    }
    while (w->node.up && node_wants_commit(w) && node_commit(w)) {
        moved = true;
    }
    return moved;
}

static bool calm_conns(struct world *w) {
    bool moved = false;
    for (int i = 0; i < SIM_CONNS_MAX && !w->failed && w->node.up; i++) {
        moved = calm_conn(w, i) || moved;
    }
    return moved;
}

/* Everything that can go on goes on once; false when nothing could. */
static bool calm_round(struct world *w) {
    if (!w->node.up) {
        world_act(w, ACTION_START, 0);
        if (!w->node.up) {
            world_fail(w, "G6", "the broker does not start though nothing fails");
        }
        return true;
    }
    bool moved = calm_conns(w);
    moved = (w->node.up && calm_node(w)) || moved;
    for (unsigned i = 0; i < w->client_count && !w->failed; i++) {
        moved = calm_any(w, (int)i) || moved;
    }
    return moved;
}

/* A client that has lost its store leaves the packet ids held that its flows had; the next owner of its session frees
 * each before using it. Of all clients, so many may be left. */
static unsigned ids_left(const struct world *w) {
    unsigned replaced = 0;
    for (unsigned i = 0; i < w->client_count; i++) {
        replaced += w->peers[i].replaced ? 1 : 0;
    }
    return replaced * w->plan->ids;
}

bool calm_at_rest(const struct world *w, int client) {
    const struct model *m = &w->clients[client];
    if (world_is_real(w, client) || !model_settled(w, m)) {
        return false;
    }
    const struct conn *c = &w->conns[m->conn];
    return c->to_broker.len == 0 && c->to_client.len == 0 && !c->paused && !c->want_write;
}

/* What is not finished, in words; empty when all is. */
static void unfinished(struct world *w, char *out, size_t bytes) {
    out[0] = '\0';
    for (unsigned i = 0; i < w->client_count && out[0] == '\0'; i++) {
        if (world_is_pest(w, (int)i)) {
            if (!pest_settled(w, (int)i)) {
                snprintf(out, bytes, "c%u cannot take back what it has done", i);
            }
        } else if (world_is_real(w, (int)i)) {
            peer_describe(w, &w->peers[i], out, bytes);
        } else {
            model_describe(w, &w->clients[i], out, bytes);
            if (out[0] == '\0' && w->plan->pests && !calm_at_rest(w, (int)i)) {
                snprintf(out, bytes, "the broker does not read from c%u", i);
            }
        }
    }
    if (out[0] == '\0' && node_wants_commit(w)) {
        snprintf(out, bytes, "records are staged, but no commit takes them");
    }
    if (out[0] == '\0') {
        const struct shard_counters sum = node_counters(w);
        const bool held = !w->plan->pests || w->leaving;
        if (held && (sum.queued != 0 || sum.held_ids > ids_left(w))) {
            snprintf(out, bytes, "the broker still has %llu messages queued and %llu packet ids held",
                     (unsigned long long)sum.queued, (unsigned long long)sum.held_ids);
        }
    }
}

static void calm_tick(struct world *w) {
    if (!w->ticked && w->node.up) {
        w->ticked = true;
        oracle_judge_living(w);
    }
    w->now += 1000;
    w->wall += 1000;
    w->step++;
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *c = &w->conns[i];
        c->excused = c->excused || w->expect_refusal || world_may_be_stalled(w, c);
    }
    world_time(w);
    if (w->node.up) {
        node_tick(w);
    }
}

/* To fold one segment may take many commits of the table. */
static void calm_checkpoints(struct world *w) {
    for (unsigned i = 0; i < CALM_FOLDS && w->node.up && node_checkpoint(w, false); i++) {
    }
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_is_real(w, (int)i) && w->peers[i].client != NULL) {
            world_act(w, ACTION_PEER_CHECKPOINT, (int)i);
        }
    }
}

/* Until all has completed (G6). */
static void settle(struct world *w) {
    char text[200] = "";
    unsigned idle = 0;
    const unsigned rounds_max = CALM_ROUNDS_MAX + CALM_ROUNDS_OF_A_SET * w->plan->set;
    for (unsigned round = 0; round < rounds_max && !w->failed; round++) {
        if (calm_round(w)) {
            idle = 0;
            if (round % 8 == 7) {
                calm_checkpoints(w);
            }
            continue;
        }
        unfinished(w, text, sizeof text);
        if (text[0] == '\0') {
            return;
        }
        if (++idle > CALM_IDLE_MAX) {
            break;
        }
        if (w->ticked || idle > CALM_STILL) { /* the table alone may let it go on */
            calm_tick(w);
        }
        calm_checkpoints(w);
    }
    if (!w->failed) {
        unfinished(w, text, sizeof text);
        world_fail(w, "G6", "after the faults: %s", text);
    }
}

static void expect_empty(struct world *w, enum table_tree tree, const char *what, size_t allowed) {
    size_t count = machine_table_count(&w->node.machine, tree);
    if (count > allowed) {
        world_fail(w, "G5", "after the drain the table still has %zu %s (%zu are right)", count, what, allowed);
    }
}

/* The broker's store folds everything and comes to rest; false when it fails at that, which nothing excuses. */
static bool fold_all(struct world *w) {
    while (w->node.up && node_checkpoint(w, true)) {
    }
    if (!w->node.up) {
        world_fail(w, "G6", "the broker's store fails when it comes to rest");
    }
    return w->node.up;
}

/* G5: nothing is left of what was drained. */
static void judge_rest(struct world *w) {
    if (!fold_all(w)) {
        return;
    }
    const size_t retained = w->plan->retain ? topics_count(w->plan) : 0;
    expect_empty(w, TABLE_MESSAGES, "messages", retained);
    expect_empty(w, TABLE_REFERENCES, "references to messages", retained);
    expect_empty(w, TABLE_QUEUE, "queued deliveries", 0);
    expect_empty(w, TABLE_FLIGHTS, "flows under way", 0);
    expect_empty(w, TABLE_HELD, "held packet ids", ids_left(w));
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_is_real(w, (int)i)) {
            peer_judge_rest(w, &w->peers[i]);
        }
    }
}

/* G5: when all sessions have been ended, none is left in the table. */
static void judge_nothing(struct world *w) {
    if (!w->draining || w->failed) {
        return;
    }
    while (w->node.up && node_wants_commit(w) && node_commit(w)) {
    }
    if (!fold_all(w)) {
        return;
    }
    expect_empty(w, TABLE_SESSIONS, "sessions", 0);
    expect_empty(w, TABLE_SUBSCRIPTIONS, "subscriptions", 0);
    expect_empty(w, TABLE_WILLS, "wills", 0);
}

/* Somebody new subscribes to everything: what is retained must come. */
static void probe_retained(struct world *w) {
    struct model *probe = &w->clients[w->plan->client_count];
    model_init(probe, (int)w->plan->client_count, &w->plan->clients[w->plan->client_count]);
    w->client_count = w->plan->client_count + 1;
    settle(w);
    w->calm = false; /* in the calm no client begins something new */
    world_act(w, ACTION_SUBSCRIBE, probe->index);
    w->calm = true;
    settle(w);
    if (!w->failed) {
        oracle_judge(w);
    }
}

/* A restart in between must change nothing. */
static void judge_restart(struct world *w) {
    for (unsigned i = 0; i < w->client_count; i++) {
        world_act(w, ACTION_DISCONNECT, (int)i);
    }
    while (calm_conns(w) || calm_node(w)) {
    }
    node_stop(w);
    if (!node_start(w)) {
        world_fail(w, "start", "the broker does not start after an orderly stop");
        return;
    }
    const struct shard_counters sum = node_counters(w);
    if (sum.queued != 0 || sum.held_ids > ids_left(w)) {
        world_fail(w, "G5", "after a drain and a restart %llu messages are queued and %llu ids held",
                   (unsigned long long)sum.queued, (unsigned long long)sum.held_ids);
    }
    uint64_t before = w->oracle.delivered;
    settle(w);
    if (w->oracle.delivered != before && !w->failed) {
        world_fail(w, "G2", "after a drain and a restart something is delivered");
    }
    if (!w->failed && w->plan->retain) {
        probe_retained(w);
    }
}

/* The hostile clients end their sessions and clear their topics. */
static void pests_leave(struct world *w) {
    world_trace(w, "---- the hostile clients leave ----");
    w->leaving = true;
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_is_pest(w, (int)i) && w->clients[i].conn >= 0) {
            world_act(w, ACTION_DISCONNECT, (int)i);
        }
    }
    settle(w);
}

void world_settle(struct world *w) {
    w->calm = true;
    settle(w);
}

void world_quiet(struct world *w) {
    w->calm = true;
    while (!w->failed && (calm_conns(w) || calm_node(w))) {
    }
}

void world_settle_client(struct world *w, int client) {
    w->calm = true;
    do {
        world_quiet(w);
    } while (!w->failed && calm_any(w, client));
}

void world_calm_tick(struct world *w) {
    calm_checkpoints(w);
    calm_tick(w);
}

void world_finish_client(struct world *w, int client) {
    for (unsigned i = 0; i < CALM_IDLE_MAX; i++) {
        world_settle_client(w, client);
        if (w->failed || model_settled(w, &w->clients[client])) {
            break;
        }
        calm_checkpoints(w);
        calm_tick(w);
    }
    w->calm = false;
}

/* A will that waits for room is tried again each second, and several may wait for the same queue: as long as one more
 * has gone, with what kept it, there is hope for the next. */
static void calm_wills(struct world *w) {
    if (!w->plan->wills || w->failed) {
        return;
    }
    uint64_t kept = node_counters(w).sessions;
    for (unsigned vain = 0; vain < 3 && !w->failed; vain++) {
        while (w->node.up && store_pressure(w->node.machine.store) == STORE_FULL && node_checkpoint(w, true)) {
        }
        world_calm_tick(w);
        settle(w);
        if (node_counters(w).sessions < kept) {
            kept = node_counters(w).sessions;
            vain = 0;
        }
    }
}

void world_calm(struct world *w) {
    if (w->failed) {
        return;
    }
    world_trace(w, "---- calm ----");
    accounts_judge_begin(w);
    w->calm = true;
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) { /* a publisher may have waited for long */
        struct conn *c = &w->conns[i];
        c->excused = c->excused || world_may_be_stalled(w, c);
    }
    w->node.machine.disk.no_space = false;
    w->node.machine.disk.crash_at = 0;
    w->node.machine.disk.fail_at = 0;
    w->node.power_after_writes = 0;
    for (unsigned i = 0; i < w->client_count; i++) {
        struct sim_disk *d = &w->peers[i].machine.disk;
        d->no_space = false;
        d->crash_at = d->fail_at = 0;
    }
    if (w->plan->refusals && w->plan->pests) { /* whoever is away may stop everybody */
        pests_leave(w);
    }
    settle(w);
    calm_wills(w);
    if (!w->failed) {
        oracle_judge(w);
    }
    if (!w->failed && w->plan->pests) {
        pests_leave(w);
    }
    accounts_judge(w);
    if (!w->failed && !w->forked) {
        judge_rest(w);
    }
    if (!w->failed && !w->forked && !w->expect_refusal) {
        judge_restart(w);
    }
    if (!w->failed && !w->forked) {
        accounts_drain(w);
        judge_nothing(w);
    }
}

/* Whose power fails in the copy: the broker's, the real clients', or everybody's; real processes that keep theirs are
 * killed, for their memory cannot be copied. */
static void fork_machines(struct world *copy, const struct world *w) {
    bool real = false;
    for (unsigned i = 0; i < w->client_count; i++) {
        real = real || world_is_real(w, (int)i);
    }
    const uint32_t who = real ? choose(w->choices, 3) : 0;
    node_fork(copy, w, who == 1 ? SIM_POWER_KEEP : SIM_POWER_DROP);
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        if (copy->conns[i].used) {
            copy->conns[i].excused = true;
            conn_broker_gone(&copy->conns[i], world_end(copy));
        }
    }
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_is_real(w, (int)i)) {
            peer_fork(copy, &copy->peers[i], &w->peers[i], who == 0 ? SIM_POWER_KEEP : SIM_POWER_DROP);
        }
    }
    world_trace(copy, "the power fails here, %s",
                who == 0   ? "at the broker"
                : who == 1 ? "at the clients"
                           : "everywhere");
}

void world_fork_check(struct world *w) {
    struct choices own = {0};
    choices_start(&own, 0, NULL, 0, false);
    struct world *copy = mem_alloc(sizeof *copy);
    memcpy(copy, w, sizeof *copy);
    w->counts.forks++;
    copy->choices = &own;
    copy->forked = true;
    copy->indent = "        if: ";
    fork_machines(copy, w);
    world_calm(copy);
    if (copy->failed) {
        world_fail(w, "if the power failed now", "%s", copy->failure);
    }
    for (unsigned i = 0; i < copy->client_count; i++) {
        if (world_is_real(copy, (int)i)) {
            peer_deinit(copy, &copy->peers[i]);
        }
    }
    node_deinit(copy);
    choices_deinit(&own);
    mem_free(copy);
}
