#include "sim/machine.h"

#include "base/map.h"
#include "base/must.h"

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

static void steps_clear(struct machine *m) {
    m->committing = m->frame_done = m->in_frame = m->checkpointing = m->resting = m->rested = m->sealed = false;
    m->journal_at_checkpoint = UINT64_MAX;
    m->files_told = 0;
}

void machine_init(struct machine *m, struct choices *choices) {
    memset(m, 0, sizeof *m);
    sim_disk_init(&m->disk, choices);
    m->tables = table_memory_create(table_may_commit, &m->disk);
    steps_clear(m);
}

void machine_deinit(struct machine *m) {
    machine_close(m);
    sim_disk_deinit(&m->disk);
    table_memory_destroy(m->tables);
}

bool machine_open(struct machine *m, const struct store_local_options *options, struct error *error) {
    must(m->store == NULL);
    sim_disk_power_on(&m->disk);
    m->disk_calls = sim_disk_interface(&m->disk);
    m->table = table_memory_open(m->tables);
    m->store = store_local_open(&m->disk_calls, m->table, options, error);
    if (m->store == NULL) {
        machine_close(m);
        return false;
    }
    return true;
}

void machine_close(struct machine *m) {
    if (m->store != NULL) {
        store_local_close(m->store);
        m->store = NULL;
    }
    if (m->table != NULL) {
        m->table->ops->close(m->table);
        m->table = NULL;
    }
    steps_clear(m);
}

enum machine_state machine_state(const struct machine *m) {
    if (m->disk.off) {
        return MACHINE_DARK;
    }
    return m->store != NULL && store_failed(m->store) ? MACHINE_FAILED : MACHINE_WELL;
}

/* ---- the store's steps ---- */

bool machine_wants_commit(const struct machine *m) {
    return m->committing || store_local_staged(m->store);
}

bool machine_is_housework(const struct machine *m) {
    return m->frame_done && !store_local_staged(m->store);
}

bool machine_wants_checkpoint(const struct machine *m) {
    return m->checkpointing || m->resting || store_local_journal_bytes(m->store) != m->journal_at_checkpoint;
}

bool machine_has_new_file(const struct machine *m) {
    return store_local_files_made(m->store) != m->files_told;
}

bool machine_commit(struct machine *m) {
    const bool staged = store_local_staged(m->store);
    const enum store_step step = store_local_commit_step(m->store);
    m->frame_done = step == STORE_STEP_DONE || (m->frame_done && !staged);
    m->committing = step != STORE_STEP_IDLE;
    m->in_frame = step == STORE_STEP_MORE && (m->in_frame || (staged && !store_local_staged(m->store)));
    return step == STORE_STEP_MORE || step == STORE_STEP_DONE;
}

/* Space is given back after each segment that is folded, and when all is: sooner and among more records than net/ does
 * it. True when it was. */
static bool rest(struct machine *m) {
    m->resting = m->resting && store_local_rest_step(m->store) == STORE_STEP_MORE;
    return m->resting;
}

bool machine_checkpoint(struct machine *m, bool all) {
    if (rest(m)) {
        return true;
    }
    const uint64_t files = store_local_files_made(m->store);
    const enum store_step step = store_local_checkpoint_step(m->store, all);
    m->files_told = files;
    m->checkpointing = step == STORE_STEP_MORE;
    if (step == STORE_STEP_IDLE && machine_state(m) == MACHINE_WELL) {
        m->journal_at_checkpoint = store_local_journal_bytes(m->store);
    }
    m->resting = all && (step == STORE_STEP_DONE || (step == STORE_STEP_IDLE && !m->rested));
    m->rested = step == STORE_STEP_IDLE && (all || m->rested);
    return step == STORE_STEP_MORE || step == STORE_STEP_DONE || m->resting;
}

bool machine_seal(struct machine *m) {
    const enum store_step step = store_local_seal_step(m->store);
    m->sealed = step != STORE_STEP_MORE;
    return step == STORE_STEP_MORE || step == STORE_STEP_DONE;
}

/* ---- looking in ---- */

size_t machine_table_count(const struct machine *m, enum table_tree tree) {
    struct table *t = m->table;
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

void machine_fork(struct machine *to, const struct machine *from, struct choices *choices, enum sim_power how) {
    struct table *table = from->table != NULL ? from->table : table_memory_open(from->tables);
    memset(to, 0, sizeof *to);
    sim_disk_copy(&to->disk, &from->disk, choices);
    to->disk.crash_at = to->disk.fail_at = 0;
    to->disk.no_space = to->disk.off = false;
    to->tables = table_memory_create(table_may_commit, &to->disk);
    steps_clear(to);
    tables_copy(to->tables, table);
    if (table != from->table) {
        table->ops->close(table);
    }
    sim_disk_power_cut(&to->disk, how);
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

uint64_t machine_digest(const struct machine *m) {
    uint64_t sum = hash64(sim_disk_digest(&m->disk), m->store != NULL);
    if (m->store == NULL) {
        struct table *t = table_memory_open(m->tables);
        sum = hash64(sum, tables_digest(t));
        t->ops->close(t);
        return sum;
    }
    const uint64_t rest[] = {store_durable(m->store),
                             store_folded(m->store),
                             m->committing,
                             m->checkpointing,
                             (uint64_t)m->resting << 1 | m->rested,
                             store_local_staged_digest(m->store),
                             machine_has_new_file(m)};
    return hash_bytes(span_of(rest, sizeof rest), hash64(sum, tables_digest(m->table)));
}
