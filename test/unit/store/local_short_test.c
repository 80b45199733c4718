/* A table that is short of space: a commit that changes many rows finds none, one that changes few does. As with LMDB,
 * what a commit has freed is of use only after the next one. */
#include "local_run.h"

enum { CHANGES_MAX = 64 };

static struct table_ops real;
static int changes; /* in the write transaction under way */
static int before;  /* in the one before it */
static int refused;

static struct table_txn *short_begin(struct table *t, bool write, struct error *error) {
    changes = write ? 0 : changes;
    return real.begin(t, write, error);
}

static bool short_put(struct table_txn *x, enum table_tree tree, struct span key, struct span value,
                      struct error *error) {
    changes++;
    return real.put(x, tree, key, value, error);
}

static bool short_remove(struct table_txn *x, enum table_tree tree, struct span key, struct error *error) {
    changes++;
    return real.remove(x, tree, key, error);
}

static bool short_commit(struct table_txn *x, struct error *error) {
    if (changes + before <= CHANGES_MAX) {
        before = changes;
        return real.commit(x, error);
    }
    refused++;
    real.abort(x);
    return error_set(error, ERROR_NO_SPACE, 0, "no space for so many");
}

static struct table_ops short_ops(const struct table *t) {
    real = *t->ops;
    before = CHANGES_MAX - 1;
    struct table_ops ops = real;
    ops.begin = short_begin;
    ops.put = short_put;
    ops.remove = short_remove;
    ops.commit = short_commit;
    return ops;
}

/* Some records in each frame, and many frames. */
static void fill(struct run *r) {
    for (int i = 0; i < 30; i++) {
        do {
            stage_some(r);
        } while (store_durable(r->store) == r->maker.at.count);
        run_commit(r);
    }
}

static void a_checkpoint_folds_some_frames_at_a_time(void **state) {
    (void)state;
    refused = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct run r;
        run_init(&r, seed);
        r.options.segments_max = 16;
        r.maker.long_bytes = 0;
        assert_true(run_open(&r));
        struct table_ops ops = short_ops(r.table);
        fill(&r);
        r.table->ops = &ops;
        enum store_step step;
        while ((step = store_local_checkpoint_step(r.store, true)) == STORE_STEP_MORE || step == STORE_STEP_DONE) {
        }
        assert_int_equal(step, STORE_STEP_IDLE);
        assert_int_equal(store_folded(r.store), store_durable(r.store));
        assert_int_equal(store_local_journal_bytes(r.store), 0);
        r.table->ops = &real;
        run_close(&r);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
    assert_true(refused > 4);
}

/* Also when it is cut short in the middle of that, and begins again. */
static void a_start_folds_some_frames_at_a_time(void **state) {
    (void)state;
    refused = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        for (uint64_t crash = 0; crash < 12; crash += 3) {
            struct run r;
            run_init(&r, seed);
            r.options.segments_max = 16;
            r.maker.long_bytes = 0;
            assert_true(run_open(&r));
            fill(&r);
            run_close(&r);
            r.disk.fault = FAULT_CRASH;
            r.disk.fault_at = crash > 0 ? r.disk.calls + crash : 0;
            for (int tries = 0; r.store == NULL; tries++) {
                assert_in_range(tries, 0, 1);
                r.table = table_memory_open(r.disk.table);
                struct table_ops ops = short_ops(r.table);
                r.table->ops = &ops;
                r.store = store_local_open(&r.ops, r.table, &r.options, &r.error);
                r.table->ops = &real;
                if (r.store == NULL) {
                    assert_int_equal(r.error.kind, ERROR_CRASHED);
                    run_close(&r);
                    fault_disk_restart(&r.disk, true);
                }
            }
            run_compare(&r);
            run_deinit(&r);
        }
    }
    assert_true(refused > 8);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_folds_some_frames_at_a_time),
        cmocka_unit_test(a_start_folds_some_frames_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
