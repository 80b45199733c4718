#include "sim/node.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "sim/world.h"
#include "store/store_local.h"
#include "store/table.h"

/* ---- what the broker needs from outside ---- */

static void outside_log(void *user, enum log_level level, const char *kind, const char *line) {
    (void)kind;
    struct world *w = user;
    if (level <= LOG_DEBUG) {
        world_trace(w, "    broker: %s", line);
    }
}

static void outside_random(void *user, void *out, size_t bytes) {
    struct world *w = user;
    for (size_t at = 0; at < bytes; at++) {
        ((uint8_t *)out)[at] = (uint8_t)prng_next(&w->node.random);
    }
}

static void outside_reclaim(void *user, void *memory, void (*free_function)(void *memory)) {
    struct node *n = &((struct world *)user)->node;
    if (n->garbage_count == n->garbage_capacity) {
        n->garbage_capacity = n->garbage_capacity * 2 + 16;
        n->garbage = mem_resize(n->garbage, n->garbage_capacity * sizeof *n->garbage);
    }
    n->garbage[n->garbage_count++] = (struct node_garbage){memory, free_function};
}

static void garbage_free(struct node *n) {
    for (size_t i = 0; i < n->garbage_count; i++) {
        n->garbage[i].free_function(n->garbage[i].memory);
    }
    n->garbage_count = 0;
}

/* ---- up and down ---- */

static void places_clear(struct node *n) {
    for (unsigned s = 0; s < SIM_SHARDS_MAX; s++) {
        for (unsigned i = 0; i < sizeof n->place[0] / sizeof n->place[0][0]; i++) {
            n->place[s][i] = -1;
        }
        n->mail[s] = 0;
        n->waiting[s] = false;
        n->told[s] = 0;
        n->dirty[s] = false;
    }
    n->power_after_writes = 0;
}

void node_init(struct world *w) {
    struct node *n = &w->node;
    memset(n, 0, sizeof *n);
    machine_init(&n->machine, w->choices);
    places_clear(n);
}

/* The process is gone: its memory with it. */
static void node_down(struct world *w) {
    struct node *n = &w->node;
    n->up = false;
    if (n->broker != NULL) {
        broker_destroy(n->broker);
        n->broker = NULL;
    }
    garbage_free(n);
    machine_close(&n->machine);
    places_clear(n);
    absence_down(w);
}

void node_deinit(struct world *w) {
    struct node *n = &w->node;
    node_down(w);
    machine_deinit(&n->machine);
    mem_free(n->garbage);
}

static void conns_lost(struct world *w) {
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *c = &w->conns[i];
        if (c->used) {
            c->excused = true;
            /* What the system had accepted for sending may still arrive, in part. */
            size_t keep =
                choose(w->choices, 2) == 0 ? c->to_client.len : choose(w->choices, (uint32_t)c->to_client.len + 1);
            c->to_client.len = keep;
            conn_broker_gone(c, world_end(w));
        }
    }
}

/* The time by which the broker's messages and sessions expire; at its start nothing can be recorded yet. */
static wall_ms_t time_given(struct world *w, bool starts) {
    const enum mutant mutant = w->plan->broker.mutant;
    if (mutant == MUTANT_CLOCK_WALL) {
        return w->wall;
    }
    if (starts || mutant == MUTANT_CLOCK) {
        return clock_time(&w->node.clock, w->now);
    }
    return clock_now(&w->node.clock, w->node.machine.store, w->wall, w->now);
}

static wall_ms_t node_time(struct world *w) {
    const wall_ms_t now = time_given(w, false);
    wallclock_judge(w, now, false);
    wallclock_seen(w);
    return now;
}

bool node_start(struct world *w) {
    struct node *n = &w->node;
    struct error error = {0};
    must(!n->up);
    struct store_local_options options = w->plan->store;
    options.salt = hash64(w->plan->seed, ++n->starts);
    w->counts.restarts++;
    if (w->plan->no_clock && n->was_dark) {
        wallclock_forgotten(w);
    }
    n->was_dark = false;
    if (machine_open(&n->machine, &options, &error)) {
        const struct broker_outside outside = {w, outside_log, outside_reclaim, outside_random};
        n->random = prng_of(hash64(w->plan->seed, 77));
        store_local_limit(n->machine.store, w->plan->broker.store_limit);
        n->broker = broker_create(&w->plan->broker, &outside, n->machine.store, w->plan->shards);
        clock_start(&n->clock, &n->machine.store->clock, w->wall, w->now);
        const wall_ms_t time = time_given(w, true);
        wallclock_judge(w, time, true);
        n->up = broker_load(n->broker, time, &error);
    }
    world_trace(w, "broker starts%s%s", n->up ? "" : ": ", n->up ? "" : error.text);
    if (!n->up) {
        bool power = n->machine.disk.off;
        if (error.kind == ERROR_DAMAGED || error.kind == ERROR_FORMAT) {
            world_fail(w, "start", "the broker refuses its own store: %s", error.text);
        }
        node_down(w);
        if (power) {
            sim_disk_power_cut(&n->machine.disk, SIM_POWER_CHOOSE);
        }
        return false;
    }
    absence_up(w);
    for (unsigned s = 0; s < w->plan->shards; s++) {
        n->dirty[s] = true;
    }
    return true;
}

void node_kill(struct world *w, const char *why) {
    world_trace(w, "broker is gone: %s", why);
    w->counts.kills++;
    node_down(w);
    conns_lost(w);
}

void node_power_cut(struct world *w, enum sim_power how) {
    world_trace(w, "the power goes");
    w->node.was_dark = true;
    w->counts.power_cuts++;
    if (w->node.up) {
        node_down(w);
        conns_lost(w);
    }
    sim_disk_power_cut(&w->node.machine.disk, how);
}

void node_lose_disk(struct world *w) {
    struct node *n = &w->node;
    node_power_cut(w, SIM_POWER_DROP);
    world_trace(w, "the broker's disk is lost");
    machine_deinit(&n->machine);
    machine_init(&n->machine, w->choices);
    absence_all_lost(w);
    oracle_disk_lost(w);
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        w->conns[i].forgotten = w->conns[i].used;
    }
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_is_real(w, (int)i)) {
            spy_session_due(w, &w->peers[i]);
        } else if (w->clients[i].session != BELIEF_NONE) {
            model_doubt(w, &w->clients[i]);
        }
    }
}

/* After anything that may have called the disk: true while the node is still up. */
static bool node_alive(struct world *w) {
    struct node *n = &w->node;
    if (!n->up) {
        return false;
    }
    if (machine_state(&n->machine) == MACHINE_DARK) {
        node_power_cut(w, SIM_POWER_CHOOSE);
        return false;
    }
    if (machine_state(&n->machine) == MACHINE_FAILED) {
        char why[200];
        snprintf(why, sizeof why, "the store has failed: %.150s", n->machine.store->error.text);
        node_kill(w, why);
        return false;
    }
    return true;
}

/* ---- output ---- */

static void conn_closed(struct world *w, struct conn *c) {
    struct node *n = &w->node;
    n->place[c->shard][c->handle.index] = -1;
    shard_closed(broker_shard(n->broker, c->shard), c->handle);
    n->dirty[c->shard] = true;
    absence_ended(w, c);
    conn_broker_gone(c, world_end(w));
}

static size_t conn_space(const struct world *w, const struct conn *c) {
    const size_t limit = w->calm ? SIM_PIPE_BYTES : w->plan->clients[c->client].pipe_bytes;
    return c->to_client.len >= limit ? 0 : limit - c->to_client.len;
}

/* Remembers the beginning of the first packet: a CONNACK that accepts says that its session is kept. */
static void answer_watch(struct world *w, struct conn *c, struct span bytes) {
    for (size_t i = 0; i < bytes.len && c->answer_len < sizeof c->answer; i++) {
        c->answer[c->answer_len++] = bytes.ptr[i];
        if (c->answer_len == sizeof c->answer && c->answer[0] == MINI_CONNACK << 4 && c->answer[3] == 0) {
            absence_answered(w, c);
        }
    }
}

/* Takes what the outbox gives, as far as there is space; true when all of it has left. */
static bool conn_write(struct world *w, struct conn *c) {
    struct shard *shard = broker_shard(w->node.broker, c->shard);
    struct iovec iov[8];
    for (;;) {
        int count = shard_output(shard, c->handle, iov, 8);
        if (count == 0) {
            c->want_write = false;
            return true;
        }
        size_t taken = 0;
        for (int i = 0; i < count; i++) {
            size_t part = iov[i].iov_len;
            size_t space = c->cut ? part : conn_space(w, c);
            if (part > space) {
                part = space;
            }
            if (!c->cut) {
                pipe_write(&c->to_client, span_of(iov[i].iov_base, part));
            }
            answer_watch(w, c, span_of(iov[i].iov_base, part));
            taken += part;
            if (part < iov[i].iov_len) {
                break;
            }
        }
        if (taken == 0) {
            c->want_write = true;
            return false;
        }
        w->node.departed = true;
        shard_sent(shard, c->handle, taken);
    }
}

static void conn_move(struct world *w, struct conn *c) {
    struct node *n = &w->node;
    struct buf bytes = {0};
    n->place[c->shard][c->handle.index] = -1;
    unsigned to = shard_move(broker_shard(n->broker, c->shard), c->handle, &bytes);
    must(bytes.len <= sizeof c->moved && to < w->plan->shards);
    if (bytes.len > 0) {
        memcpy(c->moved, bytes.ptr, bytes.len);
    }
    c->moved_len = bytes.len;
    buf_deinit(&bytes);
    c->shard = to;
    c->broker = BROKER_END_MOVING;
}

/* A CONNECT that is read late takes over from the connections that were made after it. */
static void conns_excuse_others(struct world *w, const struct conn *c) {
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *other = &w->conns[i];
        const bool beside = other->used && other != c && other->client == c->client;
        other->excused = other->excused || beside;
        other->overtaken = other->overtaken || (beside && other->serial > c->serial);
    }
}

static void conn_reads(struct world *w, struct conn *c, size_t bytes) {
    c->received += bytes;
    if (c->received >= c->connect_bytes && c->received - bytes <= c->connect_bytes) {
        conns_excuse_others(w, c);
    }
}

/* The client is back on another connection: what has arrived of this one is read at once. In a world with wills that is
 * all; in others a part of it may still be on its way. */
static void conn_drain(struct world *w, struct conn *c) {
    struct shard *shard = broker_shard(w->node.broker, c->shard);
    uint8_t copy[SIM_PIPE_BYTES];
    const size_t all = c->to_broker.len;
    const bool whole = w->plan->wills || choose(w->choices, 2) == 0;
    const size_t bytes = whole ? all : choose(w->choices, (uint32_t)all + 1);
    memcpy(copy, c->to_broker.bytes, bytes);
    pipe_drop_front(&c->to_broker, bytes);
    conn_reads(w, c, bytes);
    shard_bytes(shard, c->handle, span_of(copy, bytes));
    if (shard_wish(shard, c->handle) == CONN_DRAIN) { /* else it goes on in another turn */
        shard_drained(shard, c->handle);
    }
}

/* Does what the broker wishes for one connection; false when the power went. */
static bool conn_service(struct world *w, struct conn *c) {
    struct node *n = &w->node;
    if (shard_wish(broker_shard(n->broker, c->shard), c->handle) == CONN_DRAIN) {
        conn_drain(w, c);
    }
    enum conn_wish wish = shard_wish(broker_shard(n->broker, c->shard), c->handle);
    c->paused = wish == CONN_PAUSE;
    if (wish == CONN_MOVE) {
        conn_move(w, c);
        return true;
    }
    bool all = wish != CONN_ABORT && conn_write(w, c);
    if (n->power_after_writes > 0 && n->departed && --n->power_after_writes == 0) {
        node_power_cut(w, SIM_POWER_CHOOSE);
        return false;
    }
    if (wish == CONN_CLOSE && !c->closing) {
        c->closing = true;
        c->close_at = w->now + 1000;
        absence_ended(w, c);
    }
    const struct shard *shard = broker_shard(n->broker, c->shard);
    bool closes =
        (all && shard_may_close(shard, c->handle)) || (w->now >= c->close_at && shard_may_cut(shard, c->handle));
    if (wish == CONN_ABORT || (c->closing && closes)) {
        world_trace(w, "broker closes connection %u of c%d", c->serial, c->client);
        conn_closed(w, c);
    }
    return true;
}

static struct conn *conn_of(struct world *w, unsigned shard, struct conn_handle handle) {
    must(handle.index < sizeof w->node.place[0] / sizeof w->node.place[0][0]);
    int at = w->node.place[shard][handle.index];
    must(at >= 0 && w->conns[at].handle.generation == handle.generation);
    return &w->conns[at];
}

/* The end of a turn: one pass over the connections that have something. */
static void turn_end(struct world *w, unsigned shard) {
    struct node *n = &w->node;
    struct shard *s = broker_shard(n->broker, shard);
    struct conn_handle handle;
    n->dirty[shard] = false;
    while (shard_next_dirty(s, &handle)) {
        if (!conn_service(w, conn_of(w, shard, handle))) {
            return;
        }
    }
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *c = &w->conns[i];
        bool mine = c->used && c->broker == BROKER_END_OPEN && c->shard == shard;
        if (mine && (c->want_write || c->closing) && !conn_service(w, c)) {
            return;
        }
    }
    const struct turn_result result = shard_turn_end(s);
    for (unsigned to = 0; to < w->plan->shards && to < SIM_SHARDS_MAX; to++) {
        if ((result.wake >> to & 1) != 0) {
            n->mail[to] |= (uint8_t)(1U << shard);
        }
    }
    n->waiting[shard] = result.late;
    n->dirty[shard] = n->dirty[shard] || result.more;
    garbage_free(n);
    node_alive(w);
}

static struct shard *turn_begin(struct world *w, unsigned shard) {
    struct node *n = &w->node;
    struct shard *s = broker_shard(n->broker, shard);
    n->told[shard] = store_durable(n->machine.store);
    shard_turn_begin(s, w->now, node_time(w), n->told[shard]);
    n->machine.sealed = false;
    w->expect_refusal = w->expect_refusal || store_pressure(n->machine.store) == STORE_FULL;
    return s;
}

/* ---- input ---- */

void node_turn(struct world *w, unsigned shard, int mail_from) {
    struct shard *s = turn_begin(w, shard);
    if (mail_from >= 0) {
        size_t max = 1 + choose(w->choices, 4);
        if (shard_mail(s, (unsigned)mail_from, max) < max) {
            w->node.mail[shard] &= (uint8_t) ~(1U << mail_from);
        }
    }
    turn_end(w, shard);
}

bool node_wants_turn(const struct world *w, unsigned shard) {
    const struct node *n = &w->node;
    if (n->mail[shard] != 0 || n->waiting[shard] || n->dirty[shard] ||
        store_durable(n->machine.store) != n->told[shard]) {
        return true;
    }
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        const struct conn *c = &w->conns[i];
        if (c->used && c->broker == BROKER_END_OPEN && c->shard == shard &&
            ((c->want_write && (c->cut || conn_space(w, c) > 0)) || (c->closing && w->now >= c->close_at))) {
            return true;
        }
    }
    return false;
}

static void conn_open(struct world *w, struct conn *c, unsigned shard) {
    char peer[NODE_PEER_BYTES];
    snprintf(peer, sizeof peer, NODE_NETWORK "%d:%u", c->client, c->serial);
    c->shard = shard;
    c->handle = shard_opened(broker_shard(w->node.broker, shard), peer);
    c->broker = BROKER_END_OPEN;
    must(c->handle.index < sizeof w->node.place[0] / sizeof w->node.place[0][0]);
    w->node.place[shard][c->handle.index] = (int)(c - w->conns);
}

void node_accept(struct world *w, struct conn *c, unsigned shard) {
    turn_begin(w, shard);
    conn_open(w, c, shard);
    turn_end(w, shard);
}

void node_moved(struct world *w, struct conn *c) {
    struct shard *s = turn_begin(w, c->shard);
    conn_open(w, c, c->shard);
    conns_excuse_others(w, c);
    size_t bytes = c->moved_len;
    c->moved_len = 0;
    shard_bytes(s, c->handle, span_of(c->moved, bytes));
    absence_connect(w, c, !w->expect_refusal);
    turn_end(w, c->shard);
}

void node_bytes(struct world *w, struct conn *c, size_t bytes) {
    uint8_t copy[SIM_PIPE_BYTES];
    struct shard *s = turn_begin(w, c->shard);
    memcpy(copy, c->to_broker.bytes, bytes);
    pipe_drop_front(&c->to_broker, bytes);
    const bool connects = c->received < c->connect_bytes && c->received + bytes >= c->connect_bytes;
    conn_reads(w, c, bytes);
    shard_bytes(s, c->handle, span_of(copy, bytes));
    if (connects && shard_wish(s, c->handle) != CONN_MOVE) {
        absence_connect(w, c, !w->expect_refusal);
    }
    turn_end(w, c->shard);
}

void node_sees_end(struct world *w, struct conn *c) {
    unsigned shard = c->shard;
    turn_begin(w, shard);
    conn_closed(w, c);
    turn_end(w, shard);
}

void node_tick(struct world *w) {
    absence_tick(w);
    for (unsigned s = 0; s < w->plan->shards && w->node.up; s++) {
        shard_tick(turn_begin(w, s));
        turn_end(w, s);
    }
}

void node_stop(struct world *w) {
    struct node *n = &w->node;
    world_trace(w, "broker stops in order");
    w->counts.stops++;
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        w->conns[i].excused = true;
    }
    for (unsigned s = 0; s < w->plan->shards && n->up; s++) {
        turn_begin(w, s);
        shard_stop(broker_shard(n->broker, s));
        turn_end(w, s);
    }
    while (n->up && node_commit(w)) {
    }
    for (unsigned s = 0; s < w->plan->shards && n->up; s++) {
        node_turn(w, s, -1);
    }
    while (n->up && node_checkpoint(w, true)) {
    }
    if (n->up) {
        node_down(w);
        conns_lost(w);
    }
}

/* ---- the store's steps ---- */

bool node_wants_commit(const struct world *w) {
    return machine_wants_commit(&w->node.machine);
}

bool node_commit(struct world *w) {
    const bool did = machine_commit(&w->node.machine);
    const bool alive = node_alive(w);
    if (alive && !machine_wants_commit(&w->node.machine)) {
        wallclock_noted(w);
    }
    return alive && did;
}

bool node_checkpoint(struct world *w, bool all) {
    const bool did = machine_checkpoint(&w->node.machine, all);
    return node_alive(w) && did;
}

bool node_seal(struct world *w) {
    const bool did = machine_seal(&w->node.machine);
    return node_alive(w) && did;
}

/* ---- looking in ---- */

struct shard_counters node_counters(const struct world *w) {
    struct shard_counters sum = {0};
    for (unsigned s = 0; s < w->plan->shards; s++) {
        struct shard_counters one = shard_counters(broker_shard(w->node.broker, s));
#define SUM(name, text) sum.name += one.name;
        SHARD_COUNTER_ROWS(SUM)
#undef SUM
    }
    return sum;
}

void node_fork(struct world *to, const struct world *from, enum sim_power how) {
    struct node *n = &to->node;
    memset(n, 0, sizeof *n);
    n->starts = from->node.starts;
    machine_fork(&n->machine, &from->node.machine, to->choices, how);
    places_clear(n);
    absence_down(to);
}

uint64_t node_digest(struct world *w) {
    struct node *n = &w->node;
    uint64_t sum = machine_digest(&n->machine);
    for (unsigned s = 0; s < w->plan->shards && n->up; s++) {
        const uint64_t parts[] = {shard_digest(broker_shard(n->broker, s)), n->mail[s], n->told[s],
                                  (uint64_t)n->waiting[s] << 1 | n->dirty[s]};
        sum = hash_bytes(span_of(parts, sizeof parts), sum);
    }
    return sum;
}
