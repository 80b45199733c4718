/* The end of a session that is too much for one commit of the table: its rows go in several, before it. */
#include "local_run.h"
#include "store/local.h"
#include "store/rows.h"

enum { MESSAGES = 400, CHANGED_MAX = 2000, SLACK = 2500 };

static struct table_ops real;
static unsigned commits;
static uint64_t most; /* that one of them has changed */

static bool note_commit(struct table_txn *x, struct error *error) {
    const uint64_t changed = real.changed(x);
    most = changed > most ? changed : most;
    commits++;
    return real.commit(x, error);
}

static lsn_t stage(struct store *store, struct record record) {
    return store_stage(store, &record);
}

static session_id_t stage_session(struct store *store, const char *name) {
    return stage(store, (struct record){.kind = RECORD_SESSION,
                                        .session = {.client_id = span_str(name), .protocol = 5, .expiry_s = 100}});
}

static lsn_t stage_message(struct store *store, session_id_t first, session_id_t second) {
    const struct record_target targets[2] = {{first, 1, false}, {second, 1, false}};
    return stage(store, (struct record){.kind = RECORD_MESSAGE,
                                        .message = {.accepted_at = 1,
                                                    .targets = targets,
                                                    .target_count = second != 0 ? 2 : 1,
                                                    .parts = {.qos = 1, .topic = SPAN("t"), .payload = SPAN("m")}}});
}

static void commit_all(struct run *r) {
    enum store_step step;
    while ((step = store_local_commit_step(r->store)) != STORE_STEP_IDLE) {
        assert_int_not_equal(step, STORE_STEP_FAILED);
        if (step == STORE_STEP_WAIT || store_local_files_made(r->store) > r->files_made) {
            r->files_made = store_local_files_made(r->store);
            assert_int_not_equal(store_local_checkpoint_step(r->store, false), STORE_STEP_FAILED);
        }
    }
}

static void fold_all(struct run *r) {
    enum store_step step;
    while ((step = store_local_checkpoint_step(r->store, true)) == STORE_STEP_MORE || step == STORE_STEP_DONE) {
    }
    assert_int_equal(step, STORE_STEP_IDLE);
}

static uint64_t rows(struct run *r, enum table_tree tree) {
    struct error error;
    struct span key;
    struct span value;
    struct table_txn *x = r->table->ops->begin(r->table, false, &error);
    struct table_cursor *c = r->table->ops->cursor_open(x, tree, span_of(NULL, 0));
    uint64_t count = 0;
    while (r->table->ops->cursor_next(c, &key, &value)) {
        count++;
    }
    r->table->ops->cursor_close(c);
    r->table->ops->abort(x);
    return count;
}

/* Three sessions of which two end in one frame, with what they have; the third has some of the same messages. */
static void make_giants(struct run *r) {
    run_init(r, 1);
    r->options.segment_bytes = 1 << 20;
    r->options.frame_bytes_max = 65536;
    r->options.changed_bytes_max = CHANGED_MAX;
    assert_true(run_open(r));
    real = *r->table->ops;
    session_id_t one = stage_session(r->store, "one");
    session_id_t two = stage_session(r->store, "two");
    session_id_t stays = stage_session(r->store, "stays");
    for (int i = 0; i < MESSAGES; i++) {
        (void)stage_message(r->store, one, i % 4 == 0 ? stays : 0);
        (void)stage_message(r->store, two, 0);
    }
    commit_all(r);
    fold_all(r);
    assert_int_equal(rows(r, TABLE_QUEUE), 2 * MESSAGES + MESSAGES / 4);
    (void)stage_message(r->store, one, 0);
    (void)stage(r->store, (struct record){.kind = RECORD_SESSION_END, .end = {one}});
    (void)stage_message(r->store, stays, two);
    (void)stage(r->store, (struct record){.kind = RECORD_SESSION_END, .end = {two}});
    commit_all(r);
}

static void assert_all_is_right(struct run *r) {
    assert_int_equal(rows(r, TABLE_SESSIONS), 1);
    assert_int_equal(rows(r, TABLE_QUEUE), MESSAGES / 4 + 1);
    assert_int_equal(rows(r, TABLE_MESSAGES), MESSAGES / 4 + 1);
    assert_int_equal(rows(r, TABLE_REFERENCES), 0);
}

static void a_giant_end_is_many_commits(void **state) {
    (void)state;
    struct run r;
    make_giants(&r);
    struct table_ops ops = real;
    ops.commit = note_commit;
    r.table->ops = &ops;
    commits = 0;
    most = 0;
    fold_all(&r);
    r.table->ops = &real;
    assert_true(commits > 10);
    assert_true(most <= CHANGED_MAX + SLACK);
    assert_all_is_right(&r);
    run_deinit(&r);
}

/* Wherever the trimming of a checkpoint or of a start is cut short. */
static void a_start_does_the_rest(void **state) {
    (void)state;
    for (int steps = 0; steps < 40; steps++) {
        struct run r;
        make_giants(&r);
        for (int i = 0; i < steps; i++) {
            assert_int_not_equal(store_local_checkpoint_step(r.store, true), STORE_STEP_FAILED);
        }
        run_close(&r);
        r.disk.fault = FAULT_CRASH;
        r.disk.fault_at = r.disk.calls + 10 + (uint64_t)steps;
        bool opens = run_open(&r);
        run_close(&r);
        assert_true(opens || r.error.kind == ERROR_CRASHED);
        fault_disk_restart(&r.disk, true);
        assert_true(run_open(&r));
        assert_all_is_right(&r);
        run_deinit(&r);
    }
}

/* Whatever there is in the log, when each commit takes next to nothing; and an error at each call. */
static void many_small_commits_mean_the_same(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        uint64_t calls = 0;
        for (uint64_t at = 0; at == 0 || at <= calls; at++) {
            struct run r;
            run_init(&r, seed);
            r.options.changed_bytes_max = 1;
            r.disk.fault = FAULT_CRASH;
            r.disk.fault_at = at;
            const bool through = script(&r);
            calls = at == 0 ? r.disk.calls : calls;
            run_close(&r);
            fault_disk_restart(&r.disk, true);
            assert_true(through || at != 0);
            assert_true(run_open(&r));
            run_compare(&r);
            run_deinit(&r);
        }
    }
}

static unsigned put, references_put; /* in the transaction that is under way, and in all that were committed */

static struct table_txn *begin_anew(struct table *t, bool write, struct error *error) {
    put = 0;
    return real.begin(t, write, error);
}

static bool count_commit(struct table_txn *x, struct error *error) {
    references_put += put;
    return real.commit(x, error);
}

static bool note_put(struct table_txn *x, enum table_tree tree, struct span key, struct span value,
                     struct error *error) {
    put += tree == TABLE_REFERENCES;
    return real.put(x, tree, key, value, error);
}

/* What fills more than a journal file, for somebody else. */
static void stage_much(struct run *r, session_id_t session) {
    static const uint8_t body[50000];
    const struct record_target target = {session, 1, false};
    for (int i = 0; i < 30; i++) {
        (void)stage(r->store,
                    (struct record){
                        .kind = RECORD_MESSAGE,
                        .message = {.accepted_at = 1,
                                    .targets = &target,
                                    .target_count = 1,
                                    .parts = {.qos = 1, .topic = SPAN("t"), .payload = span_of(body, sizeof body)}}});
        commit_all(r);
    }
}

/* The same messages wait for all; they end one after the other, in frames of their own, or (`apart`) in files of their
 * own. A message that has left all their queues was never counted down. */
static void trims_together(bool apart) {
    enum { SESSIONS = 3, MANY = 6000 };
    struct run r;
    struct record_target targets[SESSIONS];
    run_init(&r, 1);
    r.options.segment_bytes = 1 << 20;
    r.options.segments_max = 16;
    r.options.changed_bytes_max = 100000;
    assert_true(run_open(&r));
    real = *r.table->ops;
    for (int i = 0; i < SESSIONS; i++) {
        targets[i] = (struct record_target){stage_session(r.store, &"abc"[i]), 1, false};
    }
    for (int i = 0; i < MANY; i++) {
        (void)stage(r.store, (struct record){.kind = RECORD_MESSAGE,
                                             .message = {.accepted_at = 1,
                                                         .targets = targets,
                                                         .target_count = SESSIONS,
                                                         .parts = {.qos = 1, .topic = SPAN("t")}}});
    }
    const session_id_t stays = stage_session(r.store, "stays");
    commit_all(&r);
    fold_all(&r);
    assert_int_equal(rows(&r, TABLE_QUEUE), SESSIONS * MANY);
    for (int i = 0; i < SESSIONS; i++) {
        if (apart) {
            stage_much(&r, stays);
        }
        (void)stage(r.store, (struct record){.kind = RECORD_SESSION_END, .end = {targets[i].session_id}});
        commit_all(&r);
    }
    struct table_ops ops = real;
    ops.begin = begin_anew;
    ops.put = note_put;
    ops.commit = count_commit;
    r.table->ops = &ops;
    references_put = 0;
    fold_all(&r);
    r.table->ops = &real;
    assert_int_equal(rows(&r, TABLE_SESSIONS), 1);
    assert_int_equal(rows(&r, TABLE_QUEUE), apart ? 30 * SESSIONS : 0);
    assert_int_equal(rows(&r, TABLE_MESSAGES), apart ? 30 * SESSIONS : 0);
    assert_int_equal(rows(&r, TABLE_REFERENCES), 0);
    assert_true(references_put < MANY / 4);
    run_deinit(&r);
}

static void who_ends_soon_after_is_trimmed_too(void **state) {
    (void)state;
    trims_together(false);
}

static void who_ends_much_later_is_trimmed_too(void **state) {
    (void)state;
    trims_together(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_giant_end_is_many_commits),        cmocka_unit_test(a_start_does_the_rest),
        cmocka_unit_test(many_small_commits_mean_the_same),   cmocka_unit_test(who_ends_soon_after_is_trimmed_too),
        cmocka_unit_test(who_ends_much_later_is_trimmed_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
