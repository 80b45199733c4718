#include "local_run.h"

#include "store/audit.h"

static void a_new_store_holds_what_was_committed(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 1);
    assert_true(run_open(&r));
    run_compare(&r);
    assert_true(run_steps(&r, 200));
    run_close(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* Many generations, each ended by a power cut or a kill at a random call; the stale frames of recycled segments and of
 * earlier generations lie everywhere. */
static void crashes_lose_nothing_durable(void **state) {
    (void)state;
    uint64_t seeds = run_seeds(60);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct run r;
        run_init(&r, seed * 1000);
        for (int generation = 0; generation < 12; generation++) {
            r.disk.fault = FAULT_CRASH;
            r.disk.fault_at = r.disk.calls + 1 + prng_below(&r.prng, generation % 3 == 0 ? 12 : 120);
            if (run_open(&r)) {
                run_compare(&r);
                (void)run_steps(&r, 400);
            } else if (r.error.kind != ERROR_CRASHED) {
                print_error("seed %llu generation %d: %s\n", (unsigned long long)seed, generation, r.error.text);
                fail();
            }
            run_close(&r);
            fault_disk_restart(&r.disk, prng_chance(&r.prng, 3, 4));
        }
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

static uint64_t script_calls(uint64_t seed) {
    struct run r;
    run_init(&r, seed);
    assert_true(script(&r));
    uint64_t calls = r.disk.calls;
    run_deinit(&r);
    assert_true(calls > 60);
    return calls;
}

static void a_crash_at_every_call(void **state) {
    (void)state;
    uint64_t calls = script_calls(11);
    for (uint64_t at = 1; at <= calls; at++) {
        for (int power = 0; power <= 1; power++) {
            struct run r;
            run_init(&r, 11);
            r.disk.fault = FAULT_CRASH;
            r.disk.fault_at = at;
            (void)script(&r);
            assert_true(r.disk.crashed);
            run_close(&r);
            fault_disk_restart(&r.disk, power == 1);
            assert_true(run_open(&r));
            run_compare(&r);
            run_deinit(&r);
        }
    }
}

/* After an error of the disk nothing is called durable any more, whatever the caller does. */
static void an_error_at_every_call(void **state) {
    (void)state;
    uint64_t calls = script_calls(12);
    for (uint64_t at = 1; at <= calls; at++) {
        struct run r;
        run_init(&r, 12);
        r.disk.fault = FAULT_EIO;
        r.disk.fault_at = at;
        if (script(&r)) {
            print_error("call %llu of %llu did not fail\n", (unsigned long long)at, (unsigned long long)calls);
            fail();
        }
        if (r.store != NULL) {
            assert_true(store_failed(r.store));
            assert_int_equal(r.store->error.kind, ERROR_IO);
            lsn_t durable = store_durable(r.store);
            r.disk.broken = false;
            struct record record;
            for (int i = 0; i < 5; i++) {
                (void)maker_next(&r.maker, &record);
                (void)store_stage(r.store, &record);
                assert_int_equal(store_local_commit_step(r.store), STORE_STEP_FAILED);
                assert_int_equal(store_local_checkpoint_step(r.store, true), STORE_STEP_FAILED);
                assert_int_equal(store_local_seal_step(r.store), STORE_STEP_FAILED);
            }
            assert_int_equal(store_durable(r.store), durable);
        } else {
            assert_int_equal(r.error.kind, ERROR_IO);
        }
        run_close(&r);
        fault_disk_restart(&r.disk, prng_chance(&r.prng, 1, 2));
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

/* The disk is full from the Nth call on: the store refuses to open, or it goes on within its reserve and says FULL;
 * nothing is lost, and when space returns all is well again. */
static void a_full_disk_at_every_call(void **state) {
    (void)state;
    uint64_t calls = script_calls(13);
    for (uint64_t at = 1; at <= calls; at++) {
        struct run r;
        run_init(&r, 13);
        r.disk.fault = FAULT_FULL;
        r.disk.fault_at = at;
        (void)script(&r);
        if (r.store == NULL) {
            assert_int_equal(r.error.kind, ERROR_NO_SPACE);
            r.disk.full = false;
            assert_true(run_open(&r));
            run_compare(&r);
        }
        assert_false(store_failed(r.store));
        r.disk.full = false;
        assert_true(settle(&r) || settle(&r));
        assert_int_equal(store_durable(r.store), r.maker.at.count);
        assert_int_equal(store_pressure(r.store), STORE_EASY);
        run_close(&r);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

/* With a full disk and a table that takes nothing, the reserve lasts for a while, then the commit waits; a power cut in
 * this state loses nothing. */
static void the_reserve_runs_out_and_nothing_is_lost(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 14);
    r.options.segments_max = 8;
    assert_true(run_open(&r));
    assert_true(settle(&r));
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    r.disk.full = true;
    lsn_t before = store_durable(r.store);
    bool full = false;
    enum store_step step = STORE_STEP_IDLE;
    while (step != STORE_STEP_WAIT) {
        stage_some(&r);
        assert_true(r.maker.at.count < 10000);
        do {
            step = store_local_commit_step(r.store);
        } while (step == STORE_STEP_MORE || step == STORE_STEP_DONE);
        (void)store_local_checkpoint_step(r.store, false);
        if (step == STORE_STEP_WAIT && store_durable(r.store) == r.maker.at.count) {
            full = true; /* only the reserve waits: records still flow */
            assert_int_equal(store_pressure(r.store), STORE_FULL);
            step = STORE_STEP_IDLE;
        }
    }
    assert_true(full);
    assert_int_equal(step, STORE_STEP_WAIT);
    assert_true(store_durable(r.store) > before + 10);
    assert_true(store_local_staged(r.store) || store_durable(r.store) < r.maker.at.count);
    uint64_t calls = r.disk.calls;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(store_local_commit_step(r.store), STORE_STEP_WAIT);
    }
    assert_true(r.disk.calls <= calls + 10);
    struct maker *m = &r.maker;
    lsn_t all = m->at.count;
    r.durable = store_durable(r.store);
    run_close(&r);
    fault_disk_restart(&r.disk, true);
    r.disk.full = false;
    assert_true(run_open(&r));
    assert_true(store_durable(r.store) <= all);
    run_compare(&r);
    assert_true(settle(&r));
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    run_deinit(&r);
}

/* There is room for one journal file only: the commit waits for its checkpoint, which waits for nothing. */
static void one_journal_file_is_enough_to_go_on(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 23);
    assert_true(run_open(&r));
    r.disk.full = true;
    r.disk.table_room = true;
    for (int i = 0; i < 200; i++) {
        stage_some(&r);
        (void)settle(&r);
        (void)settle(&r);
        assert_int_equal(store_durable(r.store), r.maker.at.count);
        assert_int_equal(store_pressure(r.store), STORE_FULL);
    }
    assert_true(store_folded(r.store) > 500);
    run_close(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* Where a full disk and a step that waits meet: the step asks the disk once, not in a loop. */
static void a_blocked_reserve_is_retried_only_after_a_wait(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 15);
    assert_true(run_open(&r));
    r.disk.full = true;
    while (store_local_commit_step(r.store) != STORE_STEP_WAIT) {
    }
    struct record record;
    (void)maker_next(&r.maker, &record);
    (void)store_stage(r.store, &record);
    uint64_t calls = r.disk.calls;
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_MORE);
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_DONE);
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_WAIT);
    assert_int_equal(r.disk.calls, calls + 2);
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_WAIT);
    assert_int_equal(r.disk.calls, calls + 3);
    run_deinit(&r);
}

static void an_idle_store_leaves_the_disk_alone(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 16);
    assert_true(run_open(&r));
    stage_some(&r);
    stage_some(&r);
    assert_true(settle(&r));
    while (store_local_seal_step(r.store) != STORE_STEP_IDLE) {
    }
    uint64_t calls = r.disk.calls;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(store_local_commit_step(r.store), STORE_STEP_IDLE);
        assert_int_equal(store_local_seal_step(r.store), STORE_STEP_IDLE);
        assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_IDLE);
    }
    assert_int_equal(r.disk.calls, calls);
    assert_int_equal(store_local_checkpoint_step(r.store, true), STORE_STEP_MORE);
    assert_int_equal(store_local_checkpoint_step(r.store, true), STORE_STEP_DONE);
    assert_int_equal(store_folded(r.store), store_durable(r.store));
    assert_int_equal(store_local_journal_bytes(r.store), 0);
    assert_int_equal(store_local_checkpoint_step(r.store, true), STORE_STEP_IDLE);
    run_deinit(&r);
}

/* Each commit of the table holds all pages that it changes in memory: deliveries to many sessions are on many. */
static void what_changes_much_is_folded_in_several_commits(void **state) {
    (void)state;
    enum { TARGETS = 4000, MESSAGES = 100, LEAST = 3 };
    static struct record_target targets[TARGETS];
    struct run r;
    run_init(&r, 18);
    r.options.segment_bytes = 8 << 20;
    r.options.frame_bytes_max = 65536;
    r.options.changed_bytes_max = 2 << 20;
    assert_true(run_open(&r));
    struct record session = {.kind = RECORD_SESSION, .session = {.client_id = SPAN("s"), .protocol = 5}};
    const session_id_t id = store_stage(r.store, &session);
    for (int i = 0; i < TARGETS; i++) {
        targets[i] = (struct record_target){id, 1, false};
    }
    for (int i = 0; i < MESSAGES; i++) {
        struct record message = {
            .kind = RECORD_MESSAGE,
            .message = {.parts = {.qos = 1, .topic = SPAN("t")}, .targets = targets, .target_count = TARGETS}};
        const lsn_t lsn = store_stage(r.store, &message);
        while (store_durable(r.store) < lsn) {
            if (store_local_commit_step(r.store) == STORE_STEP_WAIT) {
                assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_MORE); /* a new file */
            }
        }
    }
    const lsn_t all = 1 + MESSAGES;
    unsigned commits = 0;
    for (enum store_step step = STORE_STEP_MORE; step != STORE_STEP_IDLE;) {
        const lsn_t before = store_folded(r.store);
        step = store_local_checkpoint_step(r.store, true);
        commits += step == STORE_STEP_DONE;
        assert_int_equal(store_folded(r.store) > before, step == STORE_STEP_DONE);
        assert_true(store_folded(r.store) <= before + MESSAGES / LEAST + 10);
    }
    assert_true(commits >= LEAST);
    assert_int_equal(store_folded(r.store), all);
    run_close(&r);
    assert_true(run_open(&r));
    assert_int_equal(store_durable(r.store), all);
    run_deinit(&r);
}

static void count_wake(void *user) {
    ++*(int *)user;
}

static void the_first_record_after_a_pause_wakes_the_commit(void **state) {
    (void)state;
    struct run r;
    int wakes = 0;
    struct record record;
    run_init(&r, 17);
    assert_true(run_open(&r));
    store_local_on_staged(r.store, count_wake, &wakes);
    assert_false(store_local_staged(r.store));
    for (int i = 1; i <= 3; i++) {
        (void)maker_next(&r.maker, &record);
        (void)store_stage(r.store, &record);
        (void)maker_next(&r.maker, &record);
        (void)store_stage(r.store, &record);
        assert_int_equal(wakes, i);
        assert_true(store_local_staged(r.store));
        assert_true(settle(&r));
        assert_false(store_local_staged(r.store));
    }
    run_deinit(&r);
}

/* Nothing is durable between a write and its sync. */
static void durable_grows_at_the_sync(void **state) {
    (void)state;
    struct run r;
    struct record record;
    run_init(&r, 18);
    assert_true(run_open(&r));
    lsn_t lsn = maker_next(&r.maker, &record);
    assert_int_equal(store_stage(r.store, &record), lsn);
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_MORE);
    assert_int_equal(store_durable(r.store), 0);
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_DONE);
    assert_int_equal(store_durable(r.store), lsn);
    run_deinit(&r);
}

static struct record giant(uint8_t *payload, size_t bytes) {
    memset(payload, 'x', bytes);
    return (struct record){
        .kind = RECORD_MESSAGE,
        .message = {.set_retained = true, .parts = {.topic = SPAN("t/0"), .payload = span_of(payload, bytes)}}};
}

/* Larger than a frame, as large as a segment: fits. Larger than that: the store says so when it is asked, and stops
 * when it was not. */
static void giant_records(void **state) {
    (void)state;
    struct run r;
    uint8_t payload[70000];
    run_init(&r, 19);
    r.options.segment_bytes = 65536;
    assert_true(run_open(&r));
    struct record record = giant(payload, 61200);
    for (int i = 0; i < 3; i++) {
        assert_true(store_takes(r.store, &record));
        lsn_t lsn = store_stage(r.store, &record);
        r.maker.at.count = lsn;
        assert_true(settle(&r));
        assert_int_equal(store_durable(r.store), lsn);
    }
    assert_int_equal(store_folded(r.store), 2);
    struct message *m = store_message(r.store, 2);
    assert_non_null(m);
    assert_int_equal(m->payload_bytes, 61200);
    message_unref(m);
    record = giant(payload, 65600);
    assert_false(store_takes(r.store, &record));
    (void)store_stage(r.store, &record);
    assert_true(store_failed(r.store));
    assert_int_equal(r.store->error.kind, ERROR_INVALID);
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_FAILED);
    r.maker.at.count = 0;
    run_deinit(&r);
}

static void options_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const struct store_local_options bad[] = {
        {.segment_bytes = 5000}, {.segment_bytes = 4096}, {.segment_bytes = 1ULL << 40},
        {.segments_max = 2},     {.segments_max = 20000}, {.frame_bytes_max = 10},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct run r;
        run_init(&r, 20);
        r.options = bad[i];
        assert_false(run_open(&r));
        assert_int_equal(r.error.kind, ERROR_INVALID);
        assert_int_equal(r.disk.calls, 0);
        run_deinit(&r);
    }
}

static enum error_kind reserve_fails_with;

static bool reserve_or_fail(struct table *t, uint64_t bytes, struct error *error) {
    (void)t;
    (void)bytes;
    return reserve_fails_with == ERROR_NONE || error_set(error, reserve_fails_with, 0, "the reserve fails");
}

/* No room for the table is a full disk; an error of the disk is the end, wherever it comes. */
static void a_reserve_of_the_table_that_fails_ends_the_store(void **state) {
    (void)state;
    for (int when = 0; when < 3; when++) {
        struct run r;
        run_init(&r, 24);
        r.table = table_memory_open(r.disk.table);
        struct table_ops ops = *r.table->ops;
        ops.reserve = reserve_or_fail;
        r.table->ops = &ops;
        reserve_fails_with = when == 0 ? ERROR_IO : when == 1 ? ERROR_NONE : ERROR_NO_SPACE;
        r.store = store_local_open(&r.ops, r.table, &r.options, &r.error);
        assert_int_equal(r.store == NULL, when == 0);
        if (when == 2) {
            assert_int_equal(store_pressure(r.store), STORE_FULL);
            assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_WAIT);
            reserve_fails_with = ERROR_IO;
            assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_FAILED);
        } else if (when == 1) {
            reserve_fails_with = ERROR_IO;
            stage_some(&r);
            stage_some(&r);
            enum store_step step;
            do {
                step = store_local_commit_step(r.store);
            } while (step == STORE_STEP_MORE);
            assert_int_equal(step, STORE_STEP_DONE); /* no commit waits for it */
            assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_FAILED);
        }
        assert_true(r.store == NULL || store_failed(r.store));
        assert_int_equal((r.store != NULL ? r.store->error : r.error).kind, ERROR_IO);
        run_deinit(&r);
    }
}

/* When the checkpoint is behind and no more segments are allowed, publishers are slowed down first, then refused. */
static void pressure_when_the_checkpoint_is_behind(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 21);
    r.options.segment_bytes = 65536;
    r.options.segments_max = 5;
    assert_true(run_open(&r));
    bool busy = false;
    bool full = false;
    for (int i = 0; i < 3000 && !full; i++) {
        stage_some(&r);
        (void)store_local_commit_step(r.store);
        run_files(&r);
        busy = busy || store_pressure(r.store) == STORE_BUSY;
        full = store_pressure(r.store) == STORE_FULL;
        assert_true(busy || !full);
    }
    assert_true(full);
    assert_true(settle(&r) || settle(&r));
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    assert_int_equal(store_durable(r.store), r.maker.at.count);
    run_deinit(&r);
}

static void much_that_is_staged_is_pressure(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 22);
    r.options.staged_bytes_busy = 1000;
    assert_true(run_open(&r));
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    while (store_pressure(r.store) == STORE_EASY) {
        stage_some(&r);
        assert_true(r.maker.at.count < 500);
    }
    assert_int_equal(store_pressure(r.store), STORE_BUSY);
    assert_true(settle(&r));
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    run_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_holds_what_was_committed),
        cmocka_unit_test(durable_grows_at_the_sync),
        cmocka_unit_test(crashes_lose_nothing_durable),
        cmocka_unit_test(a_crash_at_every_call),
        cmocka_unit_test(an_error_at_every_call),
        cmocka_unit_test(a_full_disk_at_every_call),
        cmocka_unit_test(the_reserve_runs_out_and_nothing_is_lost),
        cmocka_unit_test(one_journal_file_is_enough_to_go_on),
        cmocka_unit_test(a_blocked_reserve_is_retried_only_after_a_wait),
        cmocka_unit_test(an_idle_store_leaves_the_disk_alone),
        cmocka_unit_test(what_changes_much_is_folded_in_several_commits),
        cmocka_unit_test(the_first_record_after_a_pause_wakes_the_commit),
        cmocka_unit_test(giant_records),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(a_reserve_of_the_table_that_fails_ends_the_store),
        cmocka_unit_test(pressure_when_the_checkpoint_is_behind),
        cmocka_unit_test(much_that_is_staged_is_pressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
