#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "maker.h"
#include "store/audit.h"
#include "store/local.h"

/* The table after folds at random moments is what the naive model says. */
struct folding {
    struct table_memory *memory;
    struct local local; /* only so that the loading functions have a table */
    struct maker maker;
    lsn_t folded;
    struct buf expected;
    struct buf got;
};

static void folding_init(struct folding *f, uint64_t seed) {
    memset(f, 0, sizeof *f);
    f->memory = table_memory_create(NULL, NULL);
    f->local.base.ops = &local_ops;
    f->local.table = table_memory_open(f->memory);
    lock_init(&f->local.lock);
    f->maker.prng = prng_of(seed);
}

static void folding_deinit(struct folding *f) {
    f->local.table->ops->close(f->local.table);
    table_memory_destroy(f->memory);
    lock_deinit(&f->local.lock);
    maker_deinit(&f->maker);
    buf_deinit(&f->expected);
    buf_deinit(&f->got);
}

/* Folds the records up to `last`; sometimes the overlay is flushed on the way. */
static void fold_up_to(struct folding *f, lsn_t last) {
    struct error error;
    struct fold fold;
    struct table *table = f->local.table;
    struct table_txn *txn = table->ops->begin(table, true, &error);
    struct chain after = {.next_lsn = f->folded + 1, .salt = 9};
    fold_init(&fold, table, txn, &after, !f->maker.lawless);
    for (lsn_t lsn = f->folded + 1; lsn <= last; lsn++) {
        assert_true(fold_record(&fold, lsn, maker_record(&f->maker, lsn), &error));
        if (prng_chance(&f->maker.prng, 1, 40)) {
            assert_true(fold_flush(&fold, &error));
        }
    }
    assert_true(fold_flush(&fold, &error));
    fold_deinit(&fold);
    assert_true(table->ops->commit(txn, &error));
    f->folded = last;
    atomic_store(&f->local.base.folded, last);
}

static void fold_made(struct folding *f) {
    fold_up_to(f, f->maker.at.count);
}

static void table_sound(struct folding *f) {
    struct error error;
    struct audit audit;
    struct buf out = {NULL, 0, 0};
    struct table *table = f->local.table;
    struct table_txn *txn = table->ops->begin(table, false, &error);
    struct row_meta meta = {.chain = {.next_lsn = f->folded + 1}};
    assert_true(audit_run(&audit, table, txn, &meta, &out, &error));
    if (audit.findings > 0) {
        buf_u8(&out, 0);
        print_error("%s", (char *)out.ptr);
        fail();
    }
    audit_deinit(&audit);
    buf_deinit(&out);
    table->ops->abort(txn);
}

static void make(struct folding *f, uint64_t records) {
    struct record record;
    for (; records > 0; records--) {
        (void)maker_next(&f->maker, &record);
    }
}

static void compare(struct folding *f) {
    world_text(&f->maker.now, &f->expected);
    text_of_store(&f->local.base, f->local.table, &f->got);
    assert_true(same_text(&f->got, &f->expected));
}

static void folds_mean_what_the_model_says(void **state) {
    (void)state;
    const char *more = getenv("QUARTET_TEST_SEEDS");
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : 300;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct folding f;
        folding_init(&f, seed);
        f.maker.lawless = seed % 2 == 0;
        for (int checkpoint = 0; checkpoint < 8; checkpoint++) {
            make(&f, prng_below(&f.maker.prng, 80));
            fold_made(&f);
            table_sound(&f);
            compare(&f);
        }
        folding_deinit(&f);
    }
}

/* ---- what a whole QoS 2 message leaves behind ---- */

static lsn_t add(struct folding *f, struct record record) {
    size_t *at = list_add(&f->maker.at, sizeof *at);
    *at = f->maker.bytes.len;
    record_encode(&f->maker.bytes, &record);
    world_apply(&f->maker.now, f->maker.at.count, maker_record(&f->maker, f->maker.at.count));
    return f->maker.at.count;
}

static session_id_t add_session(struct folding *f, const char *client_id) {
    return add(f, (struct record){.kind = RECORD_SESSION, .session = {.client_id = span_str(client_id)}});
}

static uint64_t row_count(struct folding *f) {
    struct error error;
    struct table *table = f->local.table;
    struct table_txn *txn = table->ops->begin(table, false, &error);
    uint64_t count = 0;
    for (int tree = 0; tree < TABLE_TREES; tree++) {
        struct table_cursor *c = table->ops->cursor_open(txn, (enum table_tree)tree, span_of(NULL, 0));
        struct span key;
        struct span value;
        while (table->ops->cursor_next(c, &key, &value)) {
            count++;
        }
        table->ops->cursor_close(c);
    }
    table->ops->abort(txn);
    return count;
}

static void add_message(struct folding *f, session_id_t from, session_id_t to) {
    struct record_target target = {to, 2, false};
    lsn_t lsn = add(f, (struct record){.kind = RECORD_MESSAGE,
                                       .message = {.origin = from,
                                                   .packet_id = 5,
                                                   .parts = {.qos = 2, .topic = SPAN("t"), .payload = SPAN("p")},
                                                   .targets = &target,
                                                   .target_count = 1}});
    add(f, (struct record){.kind = RECORD_SENT, .sent = {to, 9, lsn, 0}});
    add(f, (struct record){.kind = RECORD_FREED, .flow = {from, 5}});
    add(f, (struct record){.kind = RECORD_RECEIVED, .flow = {to, 9}});
    add(f, (struct record){.kind = RECORD_DONE, .flow = {to, 9}});
}

static bool refuse_all(void *user, struct error *error) {
    (void)user;
    return error_set(error, ERROR_NO_SPACE, 0, "no");
}

/* G5: after a drain the table holds what it held before, wherever the checkpoints fell. */
static void a_message_that_is_done_leaves_no_row(void **state) {
    (void)state;
    for (unsigned cuts = 0; cuts < 32; cuts++) {
        struct folding f;
        folding_init(&f, 1);
        session_id_t from = add_session(&f, "from");
        session_id_t to = add_session(&f, "to");
        fold_made(&f);
        uint64_t before = row_count(&f);
        size_t start = f.maker.at.count;
        add_message(&f, from, to);
        size_t end = f.maker.at.count;
        for (size_t i = start; i < end; i++) { /* a checkpoint after each record whose bit is set */
            if ((cuts >> (i - start) & 1) != 0 || i + 1 == end) {
                fold_up_to(&f, i + 1);
                table_sound(&f);
            }
        }
        assert_int_equal(row_count(&f), before);
        folding_deinit(&f);
    }
}

/* Born and dead within one fold: the table never hears of it, not even of a removal. */
static void what_dies_young_is_not_written(void **state) {
    (void)state;
    struct folding f;
    folding_init(&f, 1);
    session_id_t from = add_session(&f, "from");
    session_id_t to = add_session(&f, "to");
    fold_made(&f);
    for (int i = 0; i < 100; i++) {
        add_message(&f, from, to);
    }
    struct error error;
    struct fold fold;
    struct table *table = f.local.table;
    struct table_txn *txn = table->ops->begin(table, true, &error);
    struct chain after = {.next_lsn = f.folded + 1};
    fold_init(&fold, table, txn, &after, true);
    for (lsn_t lsn = f.folded + 1; lsn <= f.maker.at.count; lsn++) {
        assert_true(fold_record(&fold, lsn, maker_record(&f.maker, lsn), &error));
    }
    assert_true(fold.overlay.count <= 2); /* that the two packet ids are free */
    fold_deinit(&fold);
    table->ops->abort(txn);
    folding_deinit(&f);
}

/* Each end of a session is a flush: after a large one they cost no more than what comes between them. */
static void a_flush_costs_what_there_is(void **state) {
    (void)state;
    struct folding f;
    struct error error;
    struct overlay o;
    folding_init(&f, 1);
    struct table *table = f.local.table;
    struct table_txn *txn = table->ops->begin(table, true, &error);
    overlay_init(&o, table, txn, 0, 1);
    for (uint64_t i = 1; i <= 5000; i++) {
        struct row_key key;
        row_key_session(&key, i);
        overlay_put(&o, TABLE_POSITIONS, row_key_span(&key), 0, SPAN("8 bytes."));
    }
    assert_true(overlay_flush(&o, 5000, &error));
    assert_true(o.capacity >= 5000);
    for (uint64_t i = 1; i <= 3; i++) {
        struct row_key key;
        struct span value;
        row_key_session(&key, i);
        assert_true(overlay_get(&o, TABLE_POSITIONS, row_key_span(&key), 0, &value));
        overlay_remove(&o, TABLE_POSITIONS, row_key_span(&key), 0);
        assert_true(overlay_flush(&o, 5000 + i, &error));
        assert_true(o.capacity <= 256);
        assert_false(overlay_get(&o, TABLE_POSITIONS, row_key_span(&key), 0, &value));
    }
    overlay_deinit(&o);
    table->ops->abort(txn);
    folding_deinit(&f);
}

static void bytes_that_are_no_record_are_damage(void **state) {
    (void)state;
    struct folding f;
    struct error error;
    struct fold fold;
    folding_init(&f, 1);
    struct table *table = f.local.table;
    struct table_txn *txn = table->ops->begin(table, true, &error);
    struct chain after = {.next_lsn = 1};
    fold_init(&fold, table, txn, &after, true);
    assert_false(fold_record(&fold, 1, SPAN("\xff nonsense"), &error));
    assert_int_equal(error.kind, ERROR_DAMAGED);
    assert_false(fold_payload(&fold, 1, 1, SPAN("\x05"), &error));
    assert_int_equal(error.kind, ERROR_DAMAGED);
    fold_deinit(&fold);
    table->ops->abort(txn);
    folding_deinit(&f);
}

static void a_table_without_space_is_as_before(void **state) {
    (void)state;
    struct error error;
    struct fold fold;
    struct table_memory *memory = table_memory_create(refuse_all, NULL);
    struct table *table = table_memory_open(memory);
    struct table_txn *txn = table->ops->begin(table, true, &error);
    struct buf bytes = {NULL, 0, 0};
    struct record record = {.kind = RECORD_SESSION, .session = {.client_id = SPAN("c")}};
    record_encode(&bytes, &record);
    struct chain after = {.next_lsn = 1};
    fold_init(&fold, table, txn, &after, true);
    assert_true(fold_record(&fold, 1, buf_span(&bytes), &error));
    assert_true(fold_flush(&fold, &error));
    fold_deinit(&fold);
    assert_false(table->ops->commit(txn, &error));
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    txn = table->ops->begin(table, false, &error);
    struct span key;
    struct span value;
    assert_false(table->ops->seek(txn, TABLE_SESSIONS, span_of(NULL, 0), &key, &value));
    table->ops->abort(txn);
    table->ops->close(table);
    table_memory_destroy(memory);
    buf_deinit(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folds_mean_what_the_model_says),     cmocka_unit_test(a_message_that_is_done_leaves_no_row),
        cmocka_unit_test(what_dies_young_is_not_written),     cmocka_unit_test(bytes_that_are_no_record_are_damage),
        cmocka_unit_test(a_table_without_space_is_as_before), cmocka_unit_test(a_flush_costs_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
