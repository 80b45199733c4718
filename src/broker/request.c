#include "broker/request.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/connect.h"
#include "broker/connection.h"
#include "broker/fattest.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/will.h"

enum {
    SESSIONS_PER_SLICE = 1000, /* looked at */
    POINTS_PER_SLICE = 1000,   /* of what ends: a session is one, and each of its subscriptions */
    NODES_PER_SLICE = 2000,    /* of the retained index, looked at */
    CLEARED_PER_SLICE = 100,   /* retained messages */
    WALKS_ANEW_MAX = 3,        /* when the map of sessions changes its size meanwhile */
    ENDING_WALKS_MAX = 20,     /* when somebody comes back meanwhile, again and again */
    OWNER_BYTES = 64,
    OWNERS_PER_SLICE = 200, /* each may move all that are kept */
};

/* ---- whose a session is ---- */

static struct span owner_of(const struct session *s) {
    return s->owner != NULL ? quota_owner_name(s->owner) : SPAN("-");
}

static bool asked_for(const struct request_ask *ask, const struct session *s) {
    return ask->owner.len == 0 || span_equal(ask->owner, owner_of(s));
}

/* ---- the walk over the sessions of a shard ---- */

static void rows_drop(struct request *r) {
    for (size_t i = 0; i < r->answer.row_count; i++) {
        mem_free(r->answer.rows[i].client_id);
        mem_free(r->answer.rows[i].owner);
    }
    r->answer.row_count = 0;
}

static void walk_begin(struct request *r, const struct shard *shard) {
    r->at = 0;
    r->capacity = shard->by_id.capacity;
    r->begun++;
    r->ended_some = false;
}

/* The next session; NULL at the end. */
static struct session *walk_next(struct request *r, const struct shard *shard) {
    uint64_t id;
    void *value;
    return map64_next(&shard->by_id, &r->at, &id, &value) ? value : NULL;
}

/* ---- who is there ---- */

bool request_before(const struct request_session *a, const struct request_session *b) {
    if (a->queued_bytes != b->queued_bytes) {
        return a->queued_bytes > b->queued_bytes;
    }
    if (a->queued_messages + a->inflight != b->queued_messages + b->inflight) {
        return a->queued_messages + a->inflight > b->queued_messages + b->inflight;
    }
    size_t common = a->client_id_bytes < b->client_id_bytes ? a->client_id_bytes : b->client_id_bytes;
    int order = memcmp(a->client_id, b->client_id, common);
    return order < 0 || (order == 0 && a->client_id_bytes < b->client_id_bytes);
}

static struct request_session row_of(const struct session *s) {
    return (struct request_session){
        .client_id = (char *)(uintptr_t)s->client_id.ptr,
        .client_id_bytes = s->client_id.len,
        .connected = s->connection != NULL,
        .protocol = s->protocol,
        .queued_messages = atomic_load_explicit(&s->inlet->waiting_messages, memory_order_relaxed),
        .queued_bytes = atomic_load_explicit(&s->inlet->waiting_bytes, memory_order_relaxed),
        .inflight = s->flows != NULL ? s->flows->out.count : 0,
        .subscriptions = s->subscriptions.count,
        .expiry_s = s->expiry_s,
    };
}

/* Keeps the row when it is among the first `rows_max`. */
static void row_keep(struct request *r, const struct session *s) {
    struct request_answer *a = &r->answer;
    struct request_session row = row_of(s);
    if (a->rows == NULL) {
        a->rows = mem_zero(r->ask->rows_max, sizeof *a->rows);
    }
    size_t low = 0;
    for (size_t high = a->row_count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (request_before(&a->rows[middle], &row)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == r->ask->rows_max) {
        return;
    }
    if (a->row_count == r->ask->rows_max) {
        a->row_count--;
        mem_free(a->rows[a->row_count].client_id);
        mem_free(a->rows[a->row_count].owner);
    }
    struct span owner = owner_of(s);
    row.client_id = mem_copy(s->client_id.ptr, s->client_id.len);
    row.owner = mem_copy(owner.ptr, owner.len < OWNER_BYTES ? owner.len : OWNER_BYTES);
    memmove(a->rows + low + 1, a->rows + low, (a->row_count - low) * sizeof *a->rows);
    a->rows[low] = row;
    a->row_count++;
}

static bool sessions_step(struct shard *shard, struct request *r) {
    if (r->begun == 0 || (r->capacity != shard->by_id.capacity && r->begun <= WALKS_ANEW_MAX)) {
        rows_drop(r);
        r->answer.matched = 0;
        walk_begin(r, shard);
    }
    for (int i = 0; i < SESSIONS_PER_SLICE; i++) {
        const struct session *s = walk_next(r, shard);
        if (s == NULL) {
            return true;
        }
        if (asked_for(r->ask, s)) {
            r->answer.matched++;
            row_keep(r, s);
        }
    }
    return false;
}

/* ---- the end of sessions ---- */

/* Its client is told, and what it has kept is gone: it begins anew when it comes back. */
static void end_one(struct shard *shard, struct request *r, session_id_t id) {
    struct session *s = map64_get(&shard->by_id, id);
    shard_log(shard, LOG_NOTICE, "the session of %s is ended by an operator", shard_text(s->client_id));
    if (s->connection != NULL) {
        connection_close(s->connection, REASON_ADMINISTRATIVE_ACTION, false);
        s = map64_get(&shard->by_id, id);
    }
    if (s != NULL && will_keeper(s)) {
        will_clear(s); /* or another would keep it */
    }
    if (s != NULL) {
        session_end(s, MUTANT_B8);
    }
    r->after = shard->ended_lsn;
    r->answer.matched++;
    r->ended_some = true;
}

static bool end_by_client_id(struct shard *shard, struct request *r) {
    const struct session *s = map_bytes_get(&shard->by_client, r->ask->client_id);
    if (s != NULL && asked_for(r->ask, s)) {
        end_one(shard, r, s->id);
    }
    return true;
}

/* Whatever ends moves others in the map, also to where the walk was: it is done when a whole one has found nobody. What
 * keeps a will is no session of the owner's: the will was due, and leaves when there is room. */
static bool end_by_owner(struct shard *shard, struct request *r) {
    if (r->begun == 0) {
        walk_begin(r, shard);
    }
    size_t points = 0;
    for (int i = 0; i < SESSIONS_PER_SLICE && points < POINTS_PER_SLICE; i++) {
        const struct session *s = walk_next(r, shard);
        if (s == NULL && (!r->ended_some || r->begun == ENDING_WALKS_MAX)) {
            return true;
        }
        if (s == NULL) {
            walk_begin(r, shard);
        } else if (asked_for(r->ask, s) && !will_keeper(s)) {
            points += 1 + s->subscriptions.count;
            end_one(shard, r, s->id);
        }
    }
    return false;
}

static bool end_step(struct shard *shard, struct request *r) {
    return r->ask->client_id.len > 0 ? end_by_client_id(shard, r) : end_by_owner(shard, r);
}

/* ---- retained messages ---- */

struct some {
    const struct message *messages[CLEARED_PER_SLICE];
    size_t count;
};

static bool some_take(void *user, void *value) {
    struct some *some = user;
    if (some->count == CLEARED_PER_SLICE) {
        return false;
    }
    some->messages[some->count++] = value;
    return true;
}

/* They are shared: the first shard does it for all. */
static bool clear_step(struct shard *shard, struct request *r) {
    struct broker *broker = shard->broker;
    struct some some = {.count = 0};
    if (shard->index != 0) {
        return true;
    }
    r->retained.filter = r->ask->filter;
    r->retained.all = r->ask->all;
    lock_take(&broker->lock);
    (void)topic_retained_walk(broker->retained, &r->retained, NODES_PER_SLICE, some_take, &some);
    for (size_t i = 0; i < some.count; i++) {
        retained_forget(shard, some.messages[i]);
    }
    r->after = broker->cleared_lsn;
    r->answer.left = topic_retained_count(broker->retained);
    lock_give(&broker->lock);
    r->answer.matched += some.count;
    return r->retained.ended;
}

/* ---- accounts ---- */

static struct request_account account_of(const struct account *a) {
    struct request_account row = {.owner = NULL};
    for (int i = 0; i < QUOTA_ROW_COUNT; i++) {
        row.taken[i] = atomic_load_explicit(&a->taken[i], memory_order_relaxed);
        row.refused[i] = atomic_load_explicit(&a->refused[i], memory_order_relaxed);
        row.most[i] = a->most[i];
        double share = row.most[i] > 0 ? (double)row.taken[i] / (double)row.most[i] : 0;
        row.share = share > row.share ? share : row.share;
    }
    return row;
}

/* The first place is that of all together. */
static void account_keep(void *user, const struct account *owner) {
    struct request *r = user;
    struct request_answer *a = &r->answer;
    struct request_account row = account_of(owner);
    size_t at = a->account_count;
    while (at > 1 && a->accounts[at - 1].share < row.share) {
        at--;
    }
    if (at > r->ask->rows_max) {
        return;
    }
    if (a->account_count > r->ask->rows_max) {
        mem_free(a->accounts[--a->account_count].owner);
    }
    struct span name = quota_owner_name(owner);
    row.owner = mem_copy(name.ptr, name.len);
    memmove(a->accounts + at + 1, a->accounts + at, (a->account_count - at) * sizeof *a->accounts);
    a->accounts[at] = row;
    a->account_count++;
}

/* They are shared: the first shard answers for all. */
static bool owners_step(struct shard *shard, struct request *r) {
    struct broker *broker = shard->broker;
    if (shard->index != 0) {
        return true;
    }
    if (r->begun == 0) {
        r->begun = 1;
        r->answer.accounts = mem_zero(r->ask->rows_max + 1U, sizeof *r->answer.accounts);
        r->answer.accounts[r->answer.account_count++] = account_of(quota_all(broker->quota));
        r->answer.memory_used = mem_live();
        r->answer.memory_limit = broker->options.memory_limit;
        r->answer.store_limit = broker->options.store_limit;
        r->answer.store_used = broker->options.store_limit / STORE_FILLED_ALL * store_filled(broker->store);
    }
    return !quota_some_owners(broker->quota, &r->at, OWNERS_PER_SLICE, account_keep, r);
}

static bool accounts_step(struct shard *shard, struct request *r) {
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        struct request_fattest *f = &r->answer.fattest[row];
        f->most = fattest_limit(&shard->broker->options, (enum quota_row)row, &f->level);
    }
    return fattest_step(shard, &r->answer, &r->looked) && owners_step(shard, r);
}

/* ---- all of them ---- */

static bool work(struct shard *shard, struct request *r) {
    switch (r->ask->kind) {
    case REQUEST_SESSIONS:
        return sessions_step(shard, r);
    case REQUEST_END:
        return end_step(shard, r);
    case REQUEST_CLEAR:
        return clear_step(shard, r);
    case REQUEST_ACCOUNTS:
        return accounts_step(shard, r);
    case REQUEST_COUNTERS:
        break;
    }
    r->answer.counters = shard_counters(shard);
    return true;
}

bool request_step(struct shard *shard, struct request *r) {
    must(shard->in_turn);
    r->done = r->done || work(shard, r);
    return r->done && r->after <= shard->durable;
}

void request_deinit(struct request *r) {
    topic_retained_cursor_deinit(&r->retained);
    rows_drop(r);
    fattest_deinit(&r->answer);
    mem_free(r->answer.rows);
    r->answer.rows = NULL;
    for (size_t i = 0; i < r->answer.account_count; i++) {
        mem_free(r->answer.accounts[i].owner);
    }
    mem_free(r->answer.accounts);
    r->answer.accounts = NULL;
    r->answer.account_count = 0;
}
