/* The files of the journal: made, told to the table, missing, cut, removed. */
#include <xxhash.h>

#include "local_damage.h"
#include "store/bytes.h"

static void refused_for(struct run *r, uint32_t index, uint64_t bytes, bool removed) {
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, index);
    struct disk_file *f = file_at(r, index);
    uint64_t whole = f->now_bytes;
    f->now_bytes = bytes;
    f->exists = !removed;
    refused(r, ERROR_DAMAGED, name);
    assert_non_null(strstr(r->error.text, "is missing"));
    assert_non_null(strstr(r->error.text, "store repair"));
    f->now_bytes = whole;
    f->exists = true;
}

/* Any file, whatever it holds, alone or together with another; the newest, too. */
static void a_missing_file_is_refused(void **state) {
    (void)state;
    struct run r;
    make_journal(&r, 406, true);
    uint32_t files = meta_of(&r).files;
    assert_true(files >= 5);
    assert_null(file_at(&r, files));
    for (uint32_t i = 0; i < files; i++) {
        refused_for(&r, i, 0, true);
        refused_for(&r, i, 0, false);
        refused_for(&r, i, BLOCK_BYTES - 1, false);
        for (uint32_t j = i + 1; j < files; j++) {
            struct disk_file *f = file_at(&r, j);
            f->exists = false;
            refused_for(&r, i, 0, true);
            assert_non_null(strstr(r.error.text, "and 1 more"));
            f->exists = true;
        }
    }
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* Wherever the power goes: a file that holds what the table lacks is one that the table knows of. */
static void files_in_use_are_known_at_every_instant(void **state) {
    (void)state;
    uint64_t refusals = 0;
    for (uint64_t seed = 1; seed <= run_seeds(150); seed++) {
        struct run r;
        struct region regions[16];
        run_init(&r, seed * 50);
        r.options.segments_max = 8;
        r.disk.fault = FAULT_CRASH;
        r.disk.fault_at = 5 + prng_below(&r.prng, 200);
        if (run_open(&r)) {
            (void)run_steps(&r, 300);
        }
        run_close(&r);
        fault_disk_restart(&r.disk, prng_chance(&r.prng, 3, 4));
        size_t count = regions_of(&r, regions, 16);
        for (size_t i = 0; i < count; i++) {
            refused_for(&r, regions[i].file, 0, true);
            refusals++;
        }
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
    assert_true(refusals > run_seeds(150) / 2);
}

/* META as another version writes it. */
static void meta_put(struct run *r, const struct row_meta *meta, uint8_t version) {
    struct row_key key;
    uint8_t value[ROW_META_BYTES];
    row_key_meta(&key);
    row_meta_write(value, meta);
    value[8] = version;
    le32_put(value + 76, (uint32_t)XXH3_64bits(value, 76));
    struct table *table = table_memory_open(r->disk.table);
    struct table_txn *txn = table->ops->begin(table, true, &r->error);
    assert_true(table->ops->put(txn, TABLE_META, row_key_span(&key), span_of(value, sizeof value), &r->error));
    assert_true(table->ops->commit(txn, &r->error));
    table->ops->close(table);
}

/* META as the first programs wrote it, without the number of files. */
static void forget_files(struct run *r) {
    struct row_meta meta = meta_of(r);
    meta.files = 0;
    meta_put(r, &meta, 1);
}

static uint8_t version_of(struct run *r) {
    struct row_key key;
    struct span value;
    row_key_meta(&key);
    struct table *table = table_memory_open(r->disk.table);
    struct table_txn *txn = table->ops->begin(table, false, &r->error);
    assert_true(table->ops->get(txn, TABLE_META, row_key_span(&key), &value));
    uint8_t version = value.ptr[8];
    table->ops->abort(txn);
    table->ops->close(table);
    return version;
}

/* The first commit of a table raises it, for rows may come with it that the programs before do not know; a table of a
 * version that is not known is refused by its name, and nothing is changed. */
static void an_older_table_is_raised_and_a_newer_one_refused(void **state) {
    (void)state;
    struct run r;
    make_journal(&r, 407, true);
    struct row_meta meta = meta_of(&r);
    meta_put(&r, &meta, 3);
    refused(&r, ERROR_FORMAT, "newer version");
    assert_int_equal(version_of(&r), 3);
    meta_put(&r, &meta, 1);
    r.disk.fault = FAULT_CRASH; /* at the first commit of the opening: as it was, or raised */
    r.disk.fault_at = r.disk.calls + 1;
    assert_false(run_open(&r));
    assert_int_equal(r.error.kind, ERROR_CRASHED);
    fault_disk_restart(&r.disk, true);
    assert_in_range(version_of(&r), 1, 2);
    assert_true(run_open(&r));
    assert_int_equal(version_of(&r), 2);
    run_compare(&r);
    run_close(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

static void a_table_that_does_not_know_its_files_learns(void **state) {
    (void)state;
    struct run r;
    make_journal(&r, 407, true);
    uint32_t files = meta_of(&r).files;
    forget_files(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    run_close(&r);
    assert_true(meta_of(&r).files >= files);
    refused_for(&r, files - 1, 0, true);
    run_deinit(&r);
}

/* Files with a hole among them, or one that is half made: what lies behind is made anew when its turn comes. */
static void files_behind_a_hole_are_made_anew(void **state) {
    (void)state;
    for (uint32_t hole = 0; hole < 6; hole++) {
        struct run r;
        make_journal(&r, 407, true);
        assert_true(run_open(&r));
        run_close(&r);
        assert_true(meta_of(&r).files >= 5);
        forget_files(&r);
        struct disk_file *f = file_at(&r, hole / 2);
        if (hole % 2 == 0) {
            fault_forget(f);
        } else {
            f->now_bytes = 2 * BLOCK_BYTES;
        }
        assert_true(run_open(&r));
        run_compare(&r);
        for (int i = 0; i < 300; i++) {
            stage_some(&r);
            run_commit(&r);
            (void)store_local_checkpoint_step(r.store, false);
        }
        run_close(&r);
        assert_true(meta_of(&r).files >= 3);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

/* Commits without a checkpoint step use no new file: they wait. */
static void a_new_file_waits_for_the_table(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 408);
    assert_true(run_open(&r));
    enum store_step step;
    do {
        stage_some(&r);
        step = store_local_commit_step(r.store);
        assert_true(r.maker.at.count < 5000);
    } while (step != STORE_STEP_WAIT);
    assert_int_equal(store_pressure(r.store), STORE_BUSY);
    assert_int_equal(store_local_files_made(r.store) - r.files_made, 2);
    uint64_t calls = r.disk.calls;
    assert_int_equal(store_local_commit_step(r.store), STORE_STEP_WAIT);
    assert_int_equal(r.disk.calls, calls);
    lsn_t durable = store_durable(r.store);
    assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_MORE);
    do {
        step = store_local_commit_step(r.store);
    } while (step == STORE_STEP_MORE);
    assert_int_equal(step, STORE_STEP_DONE);
    assert_true(store_durable(r.store) > durable);
    r.durable = store_durable(r.store);
    run_close(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* After one more try, behind an empty commit. */
static void checkpoint_waits(struct run *r) {
    assert_int_equal(store_local_checkpoint_step(r->store, false), STORE_STEP_MORE);
    assert_int_equal(store_local_checkpoint_step(r->store, false), STORE_STEP_WAIT);
}

/* The table has no space to be told of a new file: what is left of the reserve is for flows that have begun. */
static void a_file_that_the_table_cannot_be_told_of_is_no_reserve(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 409);
    assert_true(run_open(&r));
    r.disk.files_max = 1;
    while (store_local_commit_step(r.store) == STORE_STEP_MORE) {
    }
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    checkpoint_waits(&r);
    assert_int_equal(store_pressure(r.store), STORE_FULL);
    checkpoint_waits(&r);
    stage_some(&r);
    stage_some(&r);
    while (store_durable(r.store) < r.maker.at.count) {
        assert_int_not_equal(store_local_commit_step(r.store), STORE_STEP_WAIT);
    }
    r.disk.files_max = 0;
    assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_MORE);
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    run_deinit(&r);
}

/* The table cannot grow, but journal files lie there that hold nothing: the start gives their space to the table. When
 * that is not enough it refuses, and the next start goes on where this one has ended. */
static void a_full_disk_does_not_keep_a_store_from_starting(void **state) {
    (void)state;
    for (int round = 0; round < 6; round++) {
        int files_max = 2 + round % 2;
        struct run r;
        struct region regions[16];
        make_journal(&r, 603, true);
        assert_int_equal(regions_of(&r, regions, 16), 3);
        r.disk.files_max = files_max;
        r.disk.grace = round / 2;
        bool opens = run_open(&r);
        assert_int_equal(opens, files_max == 3);
        if (!opens) {
            assert_int_equal(r.error.kind, ERROR_NO_SPACE);
            r.disk.files_max = 0;
            assert_true(run_open(&r));
        }
        run_compare(&r);
        r.disk.files_max = 0;
        assert_true(run_steps(&r, 50));
        run_close(&r);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

/* A segment began in the newest file when the power went: its header is there, its first frame is not. */
static void begin_a_segment(struct run *r) {
    struct row_meta meta = meta_of(r);
    struct table *table = table_memory_open(r->disk.table);
    struct scan scan;
    assert_true(scan_open(&scan, &r->ops, &r->error));
    assert_true(scan_walk(&scan, &meta, &r->error));
    struct disk_file *f = file_at(r, scan.file_count - 1);
    assert_true(f != NULL && scan.parts[scan.part_count - 1].file != scan.file_count - 1);
    struct segment_header h = {
        .salt = scan.chain.salt, .number = scan.segment + 1, .first_lsn = scan.chain.next_lsn, .bytes = f->now_bytes};
    memcpy(h.uuid, meta.uuid, UUID_BYTES);
    segment_header_write(f->now, &h);
    fault_settle(f);
    scan_close(&scan);
    table->ops->close(table);
}

/* The same with a crash at each call: a file that was cut is not taken for one that was damaged. */
static void a_crash_while_room_is_made(void **state) {
    (void)state;
    for (uint64_t at = 1;; at++) {
        struct run r;
        make_journal(&r, 603, true);
        begin_a_segment(&r);
        r.disk.files_max = 3;
        r.disk.fault = FAULT_CRASH;
        r.disk.fault_at = r.disk.calls + at;
        bool opens = run_open(&r);
        run_close(&r);
        assert_true(opens || r.error.kind == ERROR_CRASHED);
        fault_disk_restart(&r.disk, at % 3 != 0);
        r.disk.files_max = 0;
        if (!run_open(&r)) {
            print_error("call %llu: %s\n", (unsigned long long)at, r.error.text);
            fail();
        }
        run_compare(&r);
        run_deinit(&r);
        if (opens) {
            assert_true(at > 10);
            return;
        }
    }
}

/* Fewer files than before, with a crash at each call: the table is told before they go. */
static void a_crash_while_files_are_removed(void **state) {
    (void)state;
    for (uint64_t at = 1;; at++) {
        struct run r;
        make_journal(&r, 601, true);
        assert_true(meta_of(&r).files >= 5);
        r.options.segments_max = 3;
        r.disk.fault = FAULT_CRASH;
        r.disk.fault_at = r.disk.calls + at;
        bool opens = run_open(&r);
        run_close(&r);
        fault_disk_restart(&r.disk, at % 3 != 0);
        r.options.segments_max = at % 2 == 0 ? 3 : 8;
        assert_true(run_open(&r));
        run_compare(&r);
        assert_true(run_steps(&r, 30));
        run_close(&r);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
        if (opens) {
            assert_true(at > 5);
            return;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_file_is_refused),
        cmocka_unit_test(files_in_use_are_known_at_every_instant),
        cmocka_unit_test(an_older_table_is_raised_and_a_newer_one_refused),
        cmocka_unit_test(a_table_that_does_not_know_its_files_learns),
        cmocka_unit_test(files_behind_a_hole_are_made_anew),
        cmocka_unit_test(a_new_file_waits_for_the_table),
        cmocka_unit_test(a_file_that_the_table_cannot_be_told_of_is_no_reserve),
        cmocka_unit_test(a_full_disk_does_not_keep_a_store_from_starting),
        cmocka_unit_test(a_crash_while_room_is_made),
        cmocka_unit_test(a_crash_while_files_are_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
