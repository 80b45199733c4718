/* A store at rest takes little: the space of files that are not needed soon goes back to the disk, and no crash, at
 * whatever call, makes a damage of it. */
#include "local_run.h"

#include "store/frame.h"
#include "store/local.h"

enum { SMALL = 16384, LONG = 65536, FILES = 8 };

static void rest_init(struct run *r, uint64_t seed) {
    run_init(r, seed);
    r->options.segment_bytes = SMALL;
    r->options.segment_bytes_max = seed % 2 == 0 ? LONG : SMALL;
    r->options.segments_max = FILES;
}

static uint64_t file_bytes(const struct run *r) {
    uint64_t bytes = 0;
    for (int i = 0; i < FAULT_FILES; i++) {
        bytes += r->disk.files[i].exists ? r->disk.files[i].now_bytes : 0;
    }
    return bytes;
}

/* Commits without folding, until the files are all in use or nearly. */
static bool load(struct run *r, int rounds) {
    for (int i = 0; i < rounds; i++) {
        stage_some(r);
        for (int steps = 0; steps < 6; steps++) {
            enum store_step step = store_local_commit_step(r->store);
            if (step == STORE_STEP_FAILED) {
                return false;
            }
            if (step == STORE_STEP_WAIT || store_local_files_made(r->store) > r->files_made) {
                r->files_made = store_local_files_made(r->store);
                if (store_local_checkpoint_step(r->store, false) == STORE_STEP_FAILED) {
                    return false;
                }
            }
        }
        r->durable = store_durable(r->store);
    }
    return true;
}

/* Folds everything, and rests. */
static bool come_to_rest(struct run *r) {
    enum store_step step;
    do {
        step = store_local_commit_step(r->store);
        if (step == STORE_STEP_WAIT || step == STORE_STEP_IDLE) {
            enum store_step fold = store_local_checkpoint_step(r->store, true);
            step = fold == STORE_STEP_IDLE ? step : fold;
        }
        r->durable = store_durable(r->store);
    } while (step == STORE_STEP_MORE || step == STORE_STEP_DONE);
    while (step != STORE_STEP_FAILED && (step = store_local_rest_step(r->store)) == STORE_STEP_MORE) {
    }
    return step == STORE_STEP_IDLE;
}

static bool rest_script(struct run *r) {
    if (!run_open(r)) {
        return false;
    }
    run_compare(r);
    if (!load(r, 60) || !come_to_rest(r) || !run_steps(r, 60) || !come_to_rest(r) || !load(r, 30)) {
        return false;
    }
    run_close(r);
    if (!run_open(r)) {
        return false;
    }
    run_compare(r);
    return come_to_rest(r) && run_steps(r, 40);
}

static void a_store_at_rest_is_small(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct run r;
        rest_init(&r, seed);
        assert_true(run_open(&r));
        for (int round = 0; round < 3; round++) {
            assert_true(load(&r, 150));
            assert_true(file_bytes(&r) > 5 * SMALL);
            assert_true(come_to_rest(&r));
            uint64_t active = r.options.segment_bytes_max;
            assert_true(file_bytes(&r) <= 2 * SMALL + active + FILES * BLOCK_BYTES);
            assert_true(store_local_disk_bytes(r.store) <= file_bytes(&r));
            uint64_t calls = r.disk.calls;
            assert_int_equal(store_local_rest_step(r.store), STORE_STEP_IDLE);
            assert_int_equal(r.disk.calls, calls); /* who rests already writes nothing */
            run_close(&r);
            assert_true(run_open(&r));
            run_compare(&r);
        }
        run_deinit(&r);
    }
}

static void a_fault_at_every_call(enum fault fault, bool power) {
    struct run r;
    rest_init(&r, 4);
    assert_true(rest_script(&r));
    uint64_t calls = r.disk.calls;
    run_deinit(&r);
    for (uint64_t at = 1; at <= calls; at++) {
        rest_init(&r, 4);
        r.disk.fault = fault;
        r.disk.fault_at = at;
        if (rest_script(&r)) {
            fail_msg("call %d of %d does not fail", (int)at, (int)calls);
        }
        run_close(&r);
        fault_disk_restart(&r.disk, power);
        if (!run_open(&r)) {
            fail_msg("call %d: %s", (int)at, r.error.text);
        }
        run_compare(&r);
        run_deinit(&r);
    }
}

static void a_crash_at_every_call(void **state) {
    (void)state;
    a_fault_at_every_call(FAULT_CRASH, true);
    a_fault_at_every_call(FAULT_EIO, false);
}

/* Over its limit the store is full, and it is not when what it held has gone. */
static void a_limit_makes_full_and_rest_makes_room(void **state) {
    (void)state;
    struct run r;
    rest_init(&r, 3);
    assert_true(run_open(&r));
    assert_true(load(&r, 3));
    assert_true(come_to_rest(&r));
    store_local_limit(r.store, 8 * SMALL);
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    assert_true(load(&r, 150));
    assert_int_equal(store_pressure(r.store), STORE_FULL);
    lsn_t last = store_durable(r.store);
    stage_some(&r); /* what is staged all the same is kept */
    assert_true(come_to_rest(&r));
    assert_true(store_durable(r.store) >= last);
    assert_int_equal(store_local_checkpoint_step(r.store, true), STORE_STEP_IDLE); /* looks once more */
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    run_close(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* The limit is one of the whole: also the room that is kept for folding the journal is in it. */
static void a_limit_holds_for_all_together(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed += 2) {
        struct run r;
        const uint64_t limit = (10 + seed) * SMALL;
        rest_init(&r, seed);
        assert_true(run_open(&r));
        store_local_limit(r.store, limit);
        unsigned rounds = 0;
        for (; store_pressure(r.store) == STORE_EASY; rounds++) {
            /* one segment may have been filled since it has last looked; a file that is made then is counted ahead */
            uint64_t keeps = local_table_keeps(store_local_journal_bytes(r.store), SMALL) - 2ULL * SMALL;
            assert_true(store_local_disk_bytes(r.store) + keeps <= limit);
            assert_true(load(&r, 1));
            assert_true(rounds < 1000);
        }
        assert_true(rounds > 3);
        assert_int_equal(store_pressure(r.store), STORE_BUSY); /* not full: to fold is enough */
        assert_int_equal(store_local_excess(r.store), STORE_EXCESS_JOURNAL);
        assert_true(come_to_rest(&r));
        assert_int_equal(store_pressure(r.store), STORE_EASY);
        assert_int_equal(store_local_excess(r.store), STORE_EXCESS_NONE);
        run_close(&r);
        run_deinit(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_store_at_rest_is_small),
        cmocka_unit_test(a_crash_at_every_call),
        cmocka_unit_test(a_limit_makes_full_and_rest_makes_room),
        cmocka_unit_test(a_limit_holds_for_all_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
