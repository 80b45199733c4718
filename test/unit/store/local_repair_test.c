#include "local_run.h"

#include "store/scan.h"

static void make_store(struct run *r, uint64_t seed) {
    run_init(r, seed);
    r->options.segment_bytes = 32768;
    r->options.segments_max = 8;
    assert_true(run_open(r));
    assert_true(run_steps(r, 150));
    for (int i = 0; i < 8; i++) {
        stage_some(r);
        stage_some(r);
        run_commit(r);
    }
    while (store_local_seal_step(r->store) != STORE_STEP_IDLE) {
    }
    r->durable = store_durable(r->store);
    run_close(r);
}

/* Runs an offline tool; its lines are in r->got, zero-terminated. */
static bool tool(struct run *r, bool (*run)(const struct disk *, struct table *, struct buf *, struct error *)) {
    r->got.len = 0;
    r->table = table_memory_open(r->disk.table);
    bool ok = run(&r->ops, r->table, &r->got, &r->error);
    buf_u8(&r->got, 0);
    run_close(r);
    return ok;
}

static bool said(const struct run *r, const char *what) {
    return strstr((const char *)r->got.ptr, what) != NULL;
}

static void a_sound_store_is_called_sound(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= run_seeds(20); seed++) {
        struct run r;
        make_store(&r, seed);
        if (!tool(&r, store_local_check)) {
            print_error("%s%s\n", (char *)r.got.ptr, r.error.text);
            fail();
        }
        assert_true(said(&r, "the store is sound"));
        assert_true(tool(&r, store_local_dump));
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

static void a_dump_names_what_is_alive(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 5);
    assert_true(run_open(&r));
    struct record session = {.kind = RECORD_SESSION, .session = {.client_id = SPAN("pump-7")}};
    session_id_t id = store_stage(r.store, &session);
    struct record_target target = {id, 1, false};
    struct record message = {.kind = RECORD_MESSAGE,
                             .message = {.targets = &target,
                                         .target_count = 1,
                                         .parts = {.topic = SPAN("north/7"), .payload = SPAN("secret")}}};
    (void)store_stage(r.store, &message);
    r.maker.at.count = 2;
    run_commit(&r);
    r.maker.at.count = 0;
    run_close(&r);
    assert_true(tool(&r, store_local_dump));
    assert_true(said(&r, "1 SESSION opened client_id=\"pump-7\""));
    assert_true(said(&r, "2 MESSAGE"));
    assert_true(said(&r, "topic=\"north/7\""));
    assert_false(said(&r, "secret"));
    assert_true(run_open(&r));
    run_close(&r);
    assert_true(tool(&r, store_local_dump));
    assert_true(said(&r, "session session=1: 1 SESSION opened client_id=\"pump-7\""));
    assert_true(said(&r, "queued session=1 message=2 target=0: qos=1"));
    assert_false(said(&r, "secret"));
    run_deinit(&r);
}

/* The model without the records that a repair has called lost. The last frame together with its seal, or the last
 * without a seal, can be destroyed without a trace; then more than one place was. */
static void model_without_lost(struct run *r, uint64_t places) {
    struct world left;
    memset(&left, 0, sizeof left);
    const char *text = (const char *)r->got.ptr;
    unsigned long long next;
    assert_int_equal(sscanf(strstr(text, "the next record has lsn "), "the next record has lsn %llu", &next), 1);
    assert_true(next == r->durable + 1 || places > 1);
    for (lsn_t lsn = 1; lsn < next; lsn++) {
        bool lost = false;
        for (const char *at = strstr(text, "lost: lsn "); at != NULL; at = strstr(at + 1, "lost: lsn ")) {
            unsigned long long from;
            unsigned long long to;
            assert_int_equal(sscanf(at, "lost: lsn %llu to %llu", &from, &to), 2);
            lost = lost || (lsn >= from && lsn <= to);
        }
        if (!lost) {
            world_apply(&left, lsn, maker_record(&r->maker, lsn));
        }
    }
    world_text(&left, &r->expected);
    world_deinit(&left);
}

/* Random bits and blocks of the journal are destroyed. When the open refuses, check says so too, and a repair leaves
 * a store that opens and holds everything that is not called lost. */
static void a_repaired_store_holds_all_that_is_not_called_lost(void **state) {
    (void)state;
    uint64_t repaired = 0;
    for (uint64_t seed = 1; seed <= run_seeds(60); seed++) {
        struct run r;
        make_store(&r, seed);
        uint64_t places = 1 + prng_below(&r.prng, 3);
        for (uint64_t n = places; n > 0; n--) {
            struct disk_file *f = &r.disk.files[prng_below(&r.prng, 5)];
            if (f->now_bytes == 0) {
                continue;
            }
            uint64_t at = prng_below(&r.prng, f->now_bytes);
            if (prng_chance(&r.prng, 1, 2)) {
                f->now[at] ^= 4;
            } else {
                memset(f->now + at / 4096 * 4096, 0, 4096);
            }
        }
        bool sound = tool(&r, store_local_check);
        assert_true(sound || r.error.kind == ERROR_DAMAGED);
        bool opens = run_open(&r);
        run_close(&r);
        assert_int_equal(sound, opens);
        if (!opens) {
            if (!tool(&r, store_local_repair)) {
                print_error("%s%s\n", (char *)r.got.ptr, r.error.text);
                fail();
            }
            repaired++;
            model_without_lost(&r, places);
            assert_true(run_open(&r));
            text_of_store(r.store, r.table, &r.got);
            assert_true(same_text(&r.got, &r.expected));
            run_close(&r);
            assert_true(tool(&r, store_local_check));
        }
        run_deinit(&r);
    }
    assert_true(repaired > 10);
}

/* ---- damage in the table ---- */

static void table_change(struct run *r, enum table_tree tree, bool remove) {
    struct error error;
    struct table *table = table_memory_open(r->disk.table);
    struct table_txn *txn = table->ops->begin(table, true, &error);
    struct span key;
    struct span value;
    assert_true(table->ops->seek(txn, tree, span_of(NULL, 0), &key, &value));
    struct row_key copy;
    assert_true(row_key_copy(&copy, key));
    if (remove) {
        assert_true(table->ops->remove(txn, tree, row_key_span(&copy), &error));
    } else {
        uint8_t *changed = mem_copy(value.ptr, value.len);
        changed[value.len / 2] ^= 0x40;
        assert_true(table->ops->put(txn, tree, row_key_span(&copy), span_of(changed, value.len), &error));
        mem_free(changed);
    }
    assert_true(table->ops->commit(txn, &error));
    table->ops->close(table);
}

static bool every_tree_has_a_row(struct run *r) {
    struct table *table = table_memory_open(r->disk.table);
    struct table_txn *txn = table->ops->begin(table, false, &r->error);
    bool every = true;
    for (int tree = 0; tree < TABLE_TREES; tree++) {
        struct span key;
        struct span value;
        every = every && table->ops->seek(txn, (enum table_tree)tree, span_of(NULL, 0), &key, &value);
    }
    table->ops->abort(txn);
    table->ops->close(table);
    return every;
}

/* A world in the table alone, with a row in every tree. */
static void make_table(struct run *r) {
    for (uint64_t seed = 1;; seed++) {
        run_init(r, seed);
        r->options.segment_bytes = 32768;
        r->options.segments_max = 8;
        assert_true(run_open(r));
        assert_true(run_steps(r, 400));
        run_close(r);
        assert_true(run_open(r));
        run_close(r);
        if (every_tree_has_a_row(r)) {
            return;
        }
        run_deinit(r);
    }
}

static void damage_in_the_table_is_found_and_removed(void **state) {
    (void)state;
    static const struct {
        enum table_tree tree;
        bool remove;
    } cases[] = {
        {TABLE_SESSIONS, false}, {TABLE_SESSIONS, true},   {TABLE_SUBSCRIPTIONS, false}, {TABLE_MESSAGES, false},
        {TABLE_MESSAGES, true},  {TABLE_REFERENCES, true}, {TABLE_REFERENCES, false},    {TABLE_WILLS, false},
        {TABLE_QUEUE, true},     {TABLE_RETAINED, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run r;
        make_table(&r);
        assert_true(tool(&r, store_local_check));
        table_change(&r, cases[i].tree, cases[i].remove);
        if (tool(&r, store_local_check)) {
            print_error("case %zu is not found\n", i);
            fail();
        }
        assert_int_equal(r.error.kind, ERROR_DAMAGED);
        assert_true(said(&r, "table: "));
        assert_true(tool(&r, store_local_repair));
        assert_true(tool(&r, store_local_check));
        assert_true(run_open(&r));
        r.durable = 0;
        text_of_store(r.store, r.table, &r.got);
        assert_false(said(&r, "not loaded"));
        run_deinit(&r);
    }
}

/* A delivery whose body is another record's, and whose name has become greater than any record's: a start refuses it,
 * though its body is there. */
static void put_in_the_future(struct run *r) {
    struct table *table = table_memory_open(r->disk.table);
    struct table_txn *txn = table->ops->begin(table, true, &r->error);
    struct table_cursor *c = table->ops->cursor_open(txn, TABLE_QUEUE, span_of(NULL, 0));
    struct row_key changed;
    struct row_queued queued = {.body_lsn = 0};
    struct span key;
    struct span value;
    while (queued.body_lsn == 0) {
        assert_true(table->ops->cursor_next(c, &key, &value));
        assert_true(row_queued_read(value, &queued));
    }
    table->ops->cursor_close(c);
    assert_true(row_key_copy(&changed, key));
    changed.bytes[8] ^= 0x40;
    uint8_t *copy = mem_copy(value.ptr, value.len);
    assert_true(table->ops->put(txn, TABLE_QUEUE, row_key_span(&changed), span_of(copy, value.len), &r->error));
    changed.bytes[8] ^= 0x40;
    assert_true(table->ops->remove(txn, TABLE_QUEUE, row_key_span(&changed), &r->error));
    assert_true(table->ops->commit(txn, &r->error));
    table->ops->close(table);
    mem_free(copy);
}

static void a_delivery_of_no_record_is_found_and_removed(void **state) {
    (void)state;
    struct run r;
    make_table(&r);
    put_in_the_future(&r);
    assert_false(tool(&r, store_local_check));
    assert_true(said(&r, "a queued delivery is damaged"));
    assert_true(tool(&r, store_local_repair));
    assert_true(tool(&r, store_local_check));
    assert_true(run_open(&r));
    text_of_store(r.store, r.table, &r.got);
    assert_false(said(&r, "not loaded"));
    run_deinit(&r);
}

/* A bit that flips in the length of a key makes the key of a long text longer than any that is ever written. */
static void a_key_that_is_too_long_is_found_and_removed(void **state) {
    (void)state;
    static const enum table_tree trees[] = {TABLE_SUBSCRIPTIONS, TABLE_RETAINED, TABLE_HELD};
    for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++) {
        uint8_t key[ROW_KEY_ROOM] = {0};
        struct run r;
        make_table(&r);
        struct table *table = table_memory_open(r.disk.table);
        struct table_txn *txn = table->ops->begin(table, true, &r.error);
        for (size_t bytes = ROW_KEY_MAX + 1; bytes <= sizeof key; bytes += 15) {
            assert_true(table->ops->put(txn, trees[i], span_of(key, bytes), SPAN("damaged"), &r.error));
        }
        assert_true(table->ops->commit(txn, &r.error));
        table->ops->close(table);
        assert_false(tool(&r, store_local_check));
        assert_true(tool(&r, store_local_repair));
        assert_true(tool(&r, store_local_check));
        assert_true(run_open(&r));
        run_deinit(&r);
    }
}

/* A body that went bad is found when it is read, and the store stops. */
static void a_damaged_body_stops_the_store_when_it_is_read(void **state) {
    (void)state;
    struct run r;
    make_table(&r);
    lsn_t lsn = 0;
    struct table *table = table_memory_open(r.disk.table);
    struct table_txn *txn = table->ops->begin(table, false, &r.error);
    struct span key;
    struct span value;
    assert_true(table->ops->seek(txn, TABLE_MESSAGES, span_of(NULL, 0), &key, &value));
    assert_true(row_key_message_read(key, &lsn));
    table->ops->abort(txn);
    table->ops->close(table);
    assert_true(run_open(&r));
    table_change(&r, TABLE_MESSAGES, false);
    assert_null(store_message(r.store, lsn));
    assert_true(store_failed(r.store));
    assert_int_equal(r.store->error.kind, ERROR_DAMAGED);
    run_deinit(&r);
}

static void a_lost_journal_can_be_left_behind(void **state) {
    (void)state;
    struct run r;
    make_table(&r);
    r.durable = 0;
    for (int i = 0; i < FAULT_FILES; i++) {
        fault_forget(&r.disk.files[i]);
    }
    assert_false(run_open(&r));
    assert_true(tool(&r, store_local_repair));
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* Files of the journal are gone; what is in the others is kept. */
static void lost_files_can_be_left_behind(void **state) {
    (void)state;
    uint64_t lost = 0;
    for (uint64_t seed = 1; seed <= run_seeds(30); seed++) {
        struct run r;
        make_store(&r, seed);
        uint32_t there[2] = {(uint32_t)prng_below(&r.prng, 3), (uint32_t)prng_below(&r.prng, 3)};
        for (int i = 0; i < 2; i++) {
            struct disk_file *f = &r.disk.files[there[i]];
            if (f->exists) {
                fault_forget(f);
            }
        }
        assert_false(tool(&r, store_local_check));
        assert_true(said(&r, "is missing"));
        assert_false(run_open(&r));
        assert_true(tool(&r, store_local_repair));
        lost += said(&r, "lost: lsn");
        model_without_lost(&r, 2);
        assert_true(tool(&r, store_local_check));
        assert_true(run_open(&r));
        text_of_store(r.store, r.table, &r.got);
        assert_true(same_text(&r.got, &r.expected));
        struct record session = {.kind = RECORD_SESSION, .session = {.client_id = SPAN("pump-7")}};
        for (int i = 0; i < 40; i++) {
            lsn_t lsn = store_stage(r.store, &session);
            for (int steps = 0; store_durable(r.store) < lsn && steps < 100; steps++) {
                assert_int_not_equal(store_local_commit_step(r.store), STORE_STEP_FAILED);
                assert_int_not_equal(store_local_checkpoint_step(r.store, false), STORE_STEP_FAILED);
            }
            assert_int_equal(store_durable(r.store), lsn);
        }
        run_close(&r);
        assert_true(run_open(&r));
        run_deinit(&r);
    }
    assert_true(lost > 0);
}

static void where_there_is_no_store_nothing_is_repaired(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 1);
    assert_true(tool(&r, store_local_check));
    assert_true(said(&r, "no store here"));
    assert_false(tool(&r, store_local_repair));
    assert_int_equal(r.disk.calls, 0);
    run_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_store_is_called_sound),
        cmocka_unit_test(a_dump_names_what_is_alive),
        cmocka_unit_test(a_repaired_store_holds_all_that_is_not_called_lost),
        cmocka_unit_test(damage_in_the_table_is_found_and_removed),
        cmocka_unit_test(a_delivery_of_no_record_is_found_and_removed),
        cmocka_unit_test(a_key_that_is_too_long_is_found_and_removed),
        cmocka_unit_test(a_damaged_body_stops_the_store_when_it_is_read),
        cmocka_unit_test(a_lost_journal_can_be_left_behind),
        cmocka_unit_test(lost_files_can_be_left_behind),
        cmocka_unit_test(where_there_is_no_store_nothing_is_repaired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
