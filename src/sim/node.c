#include "sim/node.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "sim/world.h"
#include "store/store_local.h"
#include "store/table.h"

/* ---- what the broker needs from outside ---- */

static void outside_log(void *user, enum log_level level, const char *line) {
    struct world *w = user;
    if (level <= LOG_DEBUG) {
        world_trace(w, "    broker: %s", line);
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

/* A commit of the table is a call of the disk: the power can go there too, before it or right after it. */
static bool table_may_commit(void *user, struct error *error) {
    struct sim_disk *d = user;
    d->calls++;
    if (d->crash_at != 0 && d->calls >= d->crash_at) {
        d->off = true;
    }
    return d->off ? error_set(error, ERROR_CRASHED, 0, "the power is off") : true;
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
    n->committing = n->frame_done = n->checkpointing = n->sealed = false;
    n->power_after_writes = 0;
    n->journal_at_checkpoint = UINT64_MAX;
}

void node_init(struct world *w) {
    struct node *n = &w->node;
    memset(n, 0, sizeof *n);
    sim_disk_init(&n->disk, w->choices);
    n->tables = table_memory_create(table_may_commit, &n->disk);
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
    if (n->store != NULL) {
        store_local_close(n->store);
        n->store = NULL;
    }
    if (n->table != NULL) {
        n->table->ops->close(n->table);
        n->table = NULL;
    }
    places_clear(n);
}

void node_deinit(struct world *w) {
    struct node *n = &w->node;
    node_down(w);
    sim_disk_deinit(&n->disk);
    table_memory_destroy(n->tables);
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

bool node_start(struct world *w) {
    struct node *n = &w->node;
    struct error error = {0};
    must(!n->up);
    sim_disk_power_on(&n->disk);
    n->disk_calls = sim_disk_interface(&n->disk);
    struct store_local_options options = w->plan->store;
    options.salt = hash64(w->plan->seed, ++w->counts.restarts);
    n->table = table_memory_open(n->tables);
    n->store = store_local_open(&n->disk_calls, n->table, &options, &error);
    if (n->store != NULL) {
        const struct broker_outside outside = {w, outside_log, outside_reclaim, hash64(w->plan->seed, 77)};
        n->broker = broker_create(&w->plan->broker, &outside, n->store, w->plan->shards);
        n->up = broker_load(n->broker, w->wall, &error);
    }
    world_trace(w, "broker starts%s%s", n->up ? "" : ": ", n->up ? "" : error.text);
    if (!n->up) {
        bool power = n->disk.off;
        if (error.kind == ERROR_DAMAGED || error.kind == ERROR_FORMAT) {
            world_fail(w, "start", "the broker refuses its own store: %s", error.text);
        }
        node_down(w);
        if (power) {
            sim_disk_power_cut(&n->disk, SIM_POWER_CHOOSE);
        }
        return false;
    }
    for (unsigned s = 0; s < w->plan->shards; s++) {
        shard_time(broker_shard(n->broker, s), w->now, w->wall);
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
    w->counts.power_cuts++;
    if (w->node.up) {
        node_down(w);
        conns_lost(w);
    }
    sim_disk_power_cut(&w->node.disk, how);
}

/* After anything that may have called the disk: true while the node is still up. */
static bool node_alive(struct world *w) {
    struct node *n = &w->node;
    if (!n->up) {
        return false;
    }
    if (n->disk.off) {
        node_power_cut(w, SIM_POWER_CHOOSE);
        return false;
    }
    if (store_failed(n->store)) {
        char why[200];
        snprintf(why, sizeof why, "the store has failed: %.150s", n->store->error.text);
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
    conn_broker_gone(c, world_end(w));
}

static size_t conn_space(const struct world *w, const struct conn *c) {
    const size_t limit = w->calm ? SIM_PIPE_BYTES : w->plan->clients[c->client].pipe_bytes;
    return c->to_client.len >= limit ? 0 : limit - c->to_client.len;
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

/* Does what the broker wishes for one connection; false when the power went. */
static bool conn_service(struct world *w, struct conn *c) {
    struct node *n = &w->node;
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
    }
    bool waits = shard_output_bytes(broker_shard(n->broker, c->shard), c->handle) > 0;
    if (wish == CONN_ABORT || (c->closing && ((all && !waits) || w->now >= c->close_at))) {
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
    uint64_t woken = shard_wake_set(s);
    for (unsigned to = 0; to < w->plan->shards; to++) {
        if ((woken >> to & 1) != 0) {
            n->mail[to] |= (uint8_t)(1U << shard);
        }
    }
    n->waiting[shard] = shard_mail_waiting(s);
    garbage_free(n);
    node_alive(w);
}

static struct shard *turn_begin(struct world *w, unsigned shard) {
    struct node *n = &w->node;
    struct shard *s = broker_shard(n->broker, shard);
    shard_time(s, w->now, w->wall);
    lsn_t durable = store_durable(n->store);
    if (durable != n->told[shard]) {
        n->told[shard] = durable;
        shard_durable(s, durable);
    }
    n->sealed = false;
    w->expect_refusal = w->expect_refusal || store_pressure(n->store) == STORE_FULL;
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
    if (n->mail[shard] != 0 || n->waiting[shard] || n->dirty[shard] || store_durable(n->store) != n->told[shard]) {
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

/* A CONNECT that is read late takes over from the connections that were made after it. */
static void conns_excuse_others(struct world *w, const struct conn *c) {
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *other = &w->conns[i];
        other->excused = other->excused || (other != c && other->client == c->client);
    }
}

static void conn_reads(struct world *w, struct conn *c, size_t bytes) {
    c->received += bytes;
    if (c->received >= c->connect_bytes && c->received - bytes <= c->connect_bytes) {
        conns_excuse_others(w, c);
    }
}

static void conn_open(struct world *w, struct conn *c, unsigned shard) {
    char peer[32];
    snprintf(peer, sizeof peer, "sim:%u", c->serial);
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
    turn_end(w, c->shard);
}

void node_bytes(struct world *w, struct conn *c, size_t bytes) {
    uint8_t copy[SIM_PIPE_BYTES];
    struct shard *s = turn_begin(w, c->shard);
    memcpy(copy, c->to_broker.bytes, bytes);
    pipe_drop_front(&c->to_broker, bytes);
    conn_reads(w, c, bytes);
    shard_bytes(s, c->handle, span_of(copy, bytes));
    turn_end(w, c->shard);
}

void node_sees_end(struct world *w, struct conn *c) {
    unsigned shard = c->shard;
    turn_begin(w, shard);
    conn_closed(w, c);
    turn_end(w, shard);
}

void node_tick(struct world *w) {
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
    return w->node.committing || store_local_staged(w->node.store);
}

bool node_commit(struct world *w) {
    struct node *n = &w->node;
    const bool staged = store_local_staged(n->store);
    enum store_step step = store_local_commit_step(n->store);
    n->frame_done = step == STORE_STEP_DONE || (n->frame_done && !staged);
    n->committing = step != STORE_STEP_IDLE;
    return node_alive(w) && (step == STORE_STEP_MORE || step == STORE_STEP_DONE);
}

bool node_checkpoint(struct world *w, bool all) {
    struct node *n = &w->node;
    enum store_step step = store_local_checkpoint_step(n->store, all);
    n->checkpointing = step == STORE_STEP_MORE;
    if (!node_alive(w)) {
        return false;
    }
    if (step == STORE_STEP_IDLE) {
        n->journal_at_checkpoint = store_local_journal_bytes(n->store);
    }
    return step == STORE_STEP_MORE || step == STORE_STEP_DONE;
}

bool node_seal(struct world *w) {
    enum store_step step = store_local_seal_step(w->node.store);
    w->node.sealed = step != STORE_STEP_MORE;
    return node_alive(w) && (step == STORE_STEP_MORE || step == STORE_STEP_DONE);
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

size_t node_table_count(struct world *w, enum table_tree tree) {
    struct table *t = w->node.table;
    struct error error;
    struct table_txn *txn = t->ops->begin(t, false, &error);
    must(txn != NULL);
    struct table_cursor *cursor = t->ops->cursor_open(txn, tree, span_of(NULL, 0));
    struct span key, value;
    size_t count = 0;
    while (t->ops->cursor_next(cursor, &key, &value)) {
        count++;
    }
    t->ops->cursor_close(cursor);
    t->ops->abort(txn);
    return count;
}

static void tables_copy(struct table_memory *to, struct table *from) {
    struct table *t = table_memory_open(to);
    struct error error;
    struct table_txn *in = from->ops->begin(from, false, &error);
    struct table_txn *out = t->ops->begin(t, true, &error);
    must(in != NULL && out != NULL);
    for (unsigned tree = 0; tree < TABLE_TREES; tree++) {
        struct table_cursor *cursor = from->ops->cursor_open(in, (enum table_tree)tree, span_of(NULL, 0));
        struct span key, value;
        while (from->ops->cursor_next(cursor, &key, &value)) {
            must(t->ops->put(out, (enum table_tree)tree, key, value, &error));
        }
        from->ops->cursor_close(cursor);
    }
    must(t->ops->commit(out, &error));
    from->ops->abort(in);
    t->ops->close(t);
}

void node_fork(struct world *to, const struct world *from) {
    struct node *n = &to->node;
    memset(n, 0, sizeof *n);
    sim_disk_copy(&n->disk, &from->node.disk, to->choices);
    n->disk.crash_at = n->disk.fail_at = 0;
    n->disk.no_space = false;
    n->tables = table_memory_create(table_may_commit, &n->disk);
    places_clear(n);
    tables_copy(n->tables, from->node.table);
    sim_disk_power_cut(&n->disk, SIM_POWER_DROP);
}

static uint64_t tables_digest(struct table *t) {
    struct error error;
    struct table_txn *txn = t->ops->begin(t, false, &error);
    must(txn != NULL);
    uint64_t sum = 1;
    for (unsigned tree = 0; tree < TABLE_TREES; tree++) {
        struct table_cursor *cursor = t->ops->cursor_open(txn, (enum table_tree)tree, span_of(NULL, 0));
        struct span key, value;
        while (t->ops->cursor_next(cursor, &key, &value)) {
            sum = hash_bytes(value, hash_bytes(key, sum + tree));
        }
        t->ops->cursor_close(cursor);
    }
    t->ops->abort(txn);
    return sum;
}

uint64_t node_digest(struct world *w) {
    struct node *n = &w->node;
    uint64_t sum = hash64(sim_disk_digest(&n->disk), n->up);
    if (!n->up) {
        struct table *t = table_memory_open(n->tables);
        sum = hash64(sum, tables_digest(t));
        t->ops->close(t);
        return sum;
    }
    sum = hash64(sum, tables_digest(n->table));
    for (unsigned s = 0; s < w->plan->shards; s++) {
        const uint64_t parts[] = {shard_digest(broker_shard(n->broker, s)), n->mail[s], n->told[s],
                                  (uint64_t)n->waiting[s] << 1 | n->dirty[s]};
        sum = hash_bytes(span_of(parts, sizeof parts), sum);
    }
    const uint64_t rest[] = {store_durable(n->store), store_folded(n->store), n->committing, n->checkpointing,
                             store_local_staged(n->store)};
    return hash_bytes(span_of(rest, sizeof rest), sum);
}
