/* What is done ahead of a commit, and by whom: room in the table, files of the journal; and what a fold takes of
 * memory.
 */
#include "base/mem.h"
#include "local_run.h"
#include "store/local.h"

enum { MIB = 1 << 20 };

static uint64_t reserved; /* asked of the table last */
static unsigned reserves; /* how often */

static bool note_reserve(struct table *table, uint64_t bytes, struct error *error) {
    (void)table;
    (void)error;
    reserved = bytes;
    reserves++;
    return true;
}

static lsn_t stage_body(struct store *store, const uint8_t *body, size_t bytes) {
    struct record record = {.kind = RECORD_MESSAGE,
                            .message = {.set_retained = true,
                                        .accepted_at = 1,
                                        .parts = {.retain = true, .topic = SPAN("t"), .payload = {body, bytes}}}};
    return store_stage(store, &record);
}

static void tell_of_files(struct run *r) {
    if (atomic_load(&local_of(r->store)->mades) > 0) {
        assert_int_equal(store_local_checkpoint_step(r->store, false), STORE_STEP_MORE);
    }
}

/* Commits all that is staged, and makes what the reserve lacks; the table is told of new files. */
static void commit_to(struct run *r, lsn_t lsn) {
    enum store_step step;
    while ((step = store_local_commit_step(r->store)) != STORE_STEP_IDLE) {
        assert_int_not_equal(step, STORE_STEP_FAILED);
        tell_of_files(r);
    }
    assert_int_equal(store_durable(r->store), lsn);
}

/* To reserve takes as long as the disk likes: it is the checkpoint that does. Who fills the store waits for it only
 * when what was there has been taken. */
static void no_commit_waits_for_room_in_the_table(void **state) {
    (void)state;
    static uint8_t body[8192];
    struct run r;
    run_init(&r, 1);
    r.options.segment_bytes = 65536;
    r.options.segments_max = 12;
    assert_true(run_open(&r));
    struct table_ops ops = *r.table->ops;
    ops.reserve = note_reserve;
    r.table->ops = &ops;
    assert_int_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_IDLE);
    bool asked = false;
    unsigned frames = 0;
    for (; store_pressure(r.store) == STORE_EASY; frames++) {
        const unsigned before = reserves;
        (void)stage_body(r.store, body, sizeof body);
        enum store_step step;
        while ((step = store_local_commit_step(r.store)) == STORE_STEP_MORE || step == STORE_STEP_DONE) {
        }
        assert_int_equal(reserves, before);
        asked = asked || store_local_asks(r.store);
        assert_true(asked || store_pressure(r.store) == STORE_EASY);
        assert_true(frames < 1000);
    }
    run_close(&r);
    run_deinit(&r);
}

/* What is needed is there again before the publishers hear of it, when the checkpoint is in time. */
static void the_checkpoint_reserves_what_it_was_asked_for(void **state) {
    (void)state;
    static uint8_t body[8192];
    struct run r;
    run_init(&r, 2);
    r.options.segment_bytes = 65536;
    r.options.segments_max = 12;
    assert_true(run_open(&r));
    struct table_ops ops = *r.table->ops;
    ops.reserve = note_reserve;
    r.table->ops = &ops;
    for (int i = 0; i < 20; i++) {
        commit_to(&r, stage_body(r.store, body, sizeof body));
        assert_int_not_equal(store_pressure(r.store), STORE_FULL);
        if (store_local_asks(r.store)) {
            assert_true(store_local_checkpoint_step(r.store, false) != STORE_STEP_FAILED);
            assert_int_equal(reserved, local_table_keeps(store_local_journal_bytes(r.store), 65536));
        }
        assert_false(store_local_asks(r.store));
        assert_int_equal(store_pressure(r.store), STORE_EASY);
    }
    run_close(&r);
    run_deinit(&r);
}

/* What was accepted and is not in the table is in memory: who fills it waits for the fold, and a fold is enough. */
static void a_journal_that_is_not_folded_has_a_bound(void **state) {
    (void)state;
    static uint8_t body[8192];
    struct run r;
    run_init(&r, 3);
    r.options.segment_bytes = 1 * MIB;
    r.options.segments_max = 12;
    r.options.journal_bytes_busy = 200000;
    assert_true(run_open(&r));
    while (store_pressure(r.store) == STORE_EASY) {
        assert_int_equal(store_local_excess(r.store), STORE_EXCESS_NONE);
        commit_to(&r, stage_body(r.store, body, sizeof body));
        assert_in_range(store_local_journal_bytes(r.store), 1, 220000);
    }
    assert_true(store_local_journal_bytes(r.store) > 200000);
    assert_int_equal(store_pressure(r.store), STORE_BUSY);
    assert_int_equal(store_local_excess(r.store), STORE_EXCESS_JOURNAL);
    enum store_step step; /* also the segment in use is folded then */
    while ((step = store_local_checkpoint_step(r.store, true)) == STORE_STEP_MORE || step == STORE_STEP_DONE) {
    }
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    assert_int_equal(store_local_excess(r.store), STORE_EXCESS_NONE);
    run_deinit(&r);
}

/* However long a segment is: some of it is read, folded and committed, then some more; a frame that is longer is whole.
 */
static void a_long_segment_is_folded_in_pieces(void **state) {
    (void)state;
    enum { MESSAGES = 24, LONG = 12, MOST = 20 * MIB };
    struct run r;
    run_init(&r, 4);
    r.options.segment_bytes = 64 * MIB;
    r.options.frame_bytes_max = 2 * MIB;
    uint8_t *body = mem_zero(1, (size_t)LONG * MIB);
    assert_true(run_open(&r));
    lsn_t last = 0;
    for (int i = 0; i < MESSAGES; i++) {
        last = stage_body(r.store, body, i == MESSAGES / 2 ? (size_t)LONG * MIB : MIB);
        commit_to(&r, last);
    }
    const size_t before = mem_live();
    unsigned commits = 0;
    enum store_step step;
    while ((step = store_local_checkpoint_step(r.store, true)) == STORE_STEP_MORE || step == STORE_STEP_DONE) {
        commits += step == STORE_STEP_DONE;
        assert_true(mem_live() < before + 2 * (size_t)MOST);
        assert_true(local_of(r.store)->checkpoint.image_capacity <= (size_t)MOST);
    }
    assert_int_equal(step, STORE_STEP_IDLE);
    assert_int_equal(store_folded(r.store), last);
    assert_int_equal(store_local_journal_bytes(r.store), 0);
    assert_in_range(commits, 4, MESSAGES);
    mem_free(body);
    run_deinit(&r);
}

static uint64_t file_bytes(const struct run *r) {
    uint64_t bytes = 0;
    for (int i = 0; i < FAULT_FILES; i++) {
        bytes += r->disk.files[i].exists ? r->disk.files[i].now_bytes : 0;
    }
    return bytes;
}

/* A file is being made when the load ends, and what was folded is enough: half a file would stay for ever. */
static void a_file_that_is_not_needed_any_more_goes(bool full) {
    enum { SEGMENT = 4 * MIB };
    static uint8_t body[MIB / 2];
    struct run r;
    run_init(&r, 5);
    r.options.segment_bytes = SEGMENT;
    r.options.segments_max = 8;
    r.options.frame_bytes_max = MIB;
    assert_true(run_open(&r));
    struct local *l = local_of(r.store);
    lsn_t last = 0;
    while (l->commit.making == NULL || l->commit.making->made < MIB || l->segments[4].state == SEGMENT_ABSENT) {
        last = stage_body(r.store, body, sizeof body);
        while (store_durable(r.store) < last && store_local_commit_step(r.store) != STORE_STEP_WAIT) {
        }
        tell_of_files(&r);
    }
    enum store_step step;
    while ((step = store_local_checkpoint_step(r.store, true)) == STORE_STEP_MORE || step == STORE_STEP_DONE) {
    }
    assert_int_equal(step, STORE_STEP_IDLE);
    assert_non_null(l->commit.making);
    r.disk.full = full;
    r.disk.table_room = true;
    while ((step = store_local_commit_step(r.store)) == STORE_STEP_MORE || step == STORE_STEP_DONE) {
    }
    assert_int_equal(step, STORE_STEP_IDLE);
    assert_null(l->commit.making);
    while (store_local_checkpoint_step(r.store, true) == STORE_STEP_MORE || /* the table is told of it */
           store_local_rest_step(r.store) == STORE_STEP_MORE) {
    }
    assert_true(file_bytes(&r) <= 3 * SEGMENT + 8 * BLOCK_BYTES);
    assert_int_equal(store_pressure(r.store), STORE_EASY);
    r.disk.full = false;
    run_close(&r);
    assert_true(run_open(&r));
    assert_int_equal(store_durable(r.store), last);
    run_deinit(&r);
}

static void a_file_that_is_half_made_is_finished_and_goes(void **state) {
    (void)state;
    a_file_that_is_not_needed_any_more_goes(false);
}

static void on_a_full_disk_it_is_given_up(void **state) {
    (void)state;
    a_file_that_is_not_needed_any_more_goes(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_commit_waits_for_room_in_the_table),
        cmocka_unit_test(the_checkpoint_reserves_what_it_was_asked_for),
        cmocka_unit_test(a_journal_that_is_not_folded_has_a_bound),
        cmocka_unit_test(a_long_segment_is_folded_in_pieces),
        cmocka_unit_test(a_file_that_is_half_made_is_finished_and_goes),
        cmocka_unit_test(on_a_full_disk_it_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
