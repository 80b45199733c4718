/* Journal files that grow with use: for a record that is longer than they are, and under load; small again at the next
 * opening. */
#include "local_damage.h"

enum { SMALL = 16384, GROWN = 65536, LONG = 30000 };

static void grow_init(struct run *r, uint64_t seed) {
    run_init(r, seed);
    r->options.segment_bytes = SMALL;
    r->options.segment_bytes_max = GROWN;
    r->maker.long_bytes = LONG;
}

/* Of the journal. */
static uint64_t file_bytes(struct run *r) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < r->options.segments_max; i++) {
        const struct disk_file *f = file_at(r, i);
        bytes += f != NULL ? f->now_bytes : 0;
    }
    return bytes;
}

static void stage_long(struct run *r) {
    struct record record;
    do {
        lsn_t lsn = maker_next(&r->maker, &record);
        assert_int_equal(store_stage(r->store, &record), lsn);
    } while (record.kind != RECORD_MESSAGE || record.message.parts.properties.len == 0);
}

static void a_long_record_makes_one_file_longer(void **state) {
    (void)state;
    struct run r;
    grow_init(&r, 21);
    assert_true(run_open(&r));
    assert_true(settle(&r));
    assert_int_equal(file_bytes(&r), 2 * SMALL);
    stage_long(&r);
    run_commit(&r);
    assert_true(settle(&r));
    uint64_t grown = file_bytes(&r);
    assert_true(grown > 3 * SMALL + LONG && grown < 3 * SMALL + GROWN);
    run_close(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    assert_true(file_bytes(&r) <= 4 * SMALL);
    run_deinit(&r);
}

static void a_record_longer_than_allowed_is_refused(void **state) {
    (void)state;
    struct run r;
    grow_init(&r, 22);
    r.options.segment_bytes_max = 2 * SMALL; /* with headers too small by a little */
    r.maker.long_bytes = 2 * SMALL;
    assert_true(run_open(&r));
    stage_long(&r);
    assert_true(store_failed(r.store));
    run_deinit(&r);
}

static void wrong_lengths_are_refused(void **state) {
    (void)state;
    static const uint64_t wrong[] = {SMALL - 4096, SMALL + 1, 1ULL << 40};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct run r;
        grow_init(&r, 23);
        r.options.segment_bytes_max = wrong[i];
        assert_false(run_open(&r));
        assert_int_equal(r.error.kind, ERROR_INVALID);
        run_deinit(&r);
    }
}

/* Frames that have waited for one another are long: new files are made long then. Single records change nothing. */
static void load_makes_files_longer(void **state) {
    (void)state;
    for (int load = 0; load < 2; load++) {
        struct run r;
        grow_init(&r, 24);
        r.maker.long_bytes = load ? 2500 : 0; /* a frame has only so many records */
        r.options.segments_max = 8;
        r.options.segment_bytes = GROWN;
        r.options.segment_bytes_max = 4 * GROWN;
        r.options.frame_bytes_max = GROWN / 2;
        assert_true(run_open(&r));
        for (int i = 0; i < (load ? 20 : 120); i++) {
            for (int j = 0; j < (load ? 120 : 1); j++) {
                stage_some(&r);
            }
            run_commit(&r);
            (void)store_local_checkpoint_step(r.store, false);
        }
        assert_true(settle(&r));
        assert_true(load ? file_bytes(&r) > 6 * GROWN : file_bytes(&r) <= 4 * GROWN);
        run_close(&r);
        assert_true(run_open(&r));
        run_compare(&r);
        assert_true(file_bytes(&r) <= 3 * GROWN + 5 * BLOCK_BYTES);
        assert_true(run_steps(&r, 100));
        run_deinit(&r);
    }
}

static uint64_t reserved; /* asked of the table last */

static bool note_reserve(struct table *table, uint64_t bytes, struct error *error) {
    (void)table;
    (void)error;
    reserved = bytes;
    return true;
}

/* The table must have room for what the next files may hold, so also for long ones. */
static void the_table_reserves_room_for_long_files(void **state) {
    (void)state;
    struct run r;
    grow_init(&r, 25);
    assert_true(run_open(&r));
    struct table_ops ops = *r.table->ops;
    ops.reserve = note_reserve;
    r.table->ops = &ops;
    stage_long(&r);
    run_commit(&r);
    assert_true(store_local_asks(r.store));
    assert_int_not_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_FAILED);
    assert_true(reserved >= 3ULL * (LONG + SMALL));
    run_deinit(&r);
}

static void crashes_while_files_grow_lose_nothing(void **state) {
    (void)state;
    uint64_t seeds = run_seeds(60);
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct run r;
        grow_init(&r, seed * 1000);
        for (int generation = 0; generation < 12; generation++) {
            r.disk.fault = FAULT_CRASH;
            r.disk.fault_at = r.disk.calls + 1 + prng_below(&r.prng, generation % 3 == 0 ? 12 : 160);
            if (run_open(&r)) {
                run_compare(&r);
                (void)run_steps(&r, 400);
            } else if (r.error.kind != ERROR_CRASHED) {
                fail_msg("seed %llu generation %d: %s", (unsigned long long)seed, generation, r.error.text);
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
    grow_init(&r, seed);
    assert_true(script(&r));
    uint64_t calls = r.disk.calls;
    assert_true(file_bytes(&r) > 4 * SMALL);
    run_deinit(&r);
    return calls;
}

static void a_crash_at_every_call(void **state) {
    (void)state;
    uint64_t calls = script_calls(11);
    for (uint64_t at = 1; at <= calls; at++) {
        struct run r;
        grow_init(&r, 11);
        r.disk.fault = FAULT_CRASH;
        r.disk.fault_at = at;
        assert_false(script(&r));
        run_close(&r);
        fault_disk_restart(&r.disk, true);
        assert_true(run_open(&r));
        run_compare(&r);
        assert_true(run_steps(&r, 20));
        run_deinit(&r);
    }
}

/* A frame may wait for space then; when there is some, all that waits becomes durable. */
static void a_full_disk_at_every_call(void **state) {
    (void)state;
    uint64_t calls = script_calls(11);
    for (uint64_t at = 1; at <= calls; at++) {
        struct run r;
        grow_init(&r, 11);
        r.disk.fault = FAULT_FULL;
        r.disk.fault_at = at;
        (void)script(&r);
        r.disk.full = false;
        if (r.store == NULL) {
            assert_int_equal(r.error.kind, ERROR_NO_SPACE);
            assert_true(run_open(&r));
            run_compare(&r);
        }
        assert_true(settle(&r) || settle(&r));
        assert_int_equal(store_durable(r.store), r.maker.at.count);
        assert_int_equal(store_pressure(r.store), STORE_EASY);
        run_close(&r);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_record_makes_one_file_longer),
        cmocka_unit_test(a_record_longer_than_allowed_is_refused),
        cmocka_unit_test(wrong_lengths_are_refused),
        cmocka_unit_test(load_makes_files_longer),
        cmocka_unit_test(the_table_reserves_room_for_long_files),
        cmocka_unit_test(crashes_while_files_grow_lose_nothing),
        cmocka_unit_test(a_crash_at_every_call),
        cmocka_unit_test(a_full_disk_at_every_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
