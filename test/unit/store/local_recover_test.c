#include "local_damage.h"

#include <xxhash.h>

static void flip(struct run *r, uint32_t file, uint64_t at) {
    file_at(r, file)->now[at] ^= (uint8_t)(1U << prng_below(&r->prng, 8));
}

/* The open refuses, says where, and changes nothing. */
static void refuses(struct run *r, uint32_t file, uint64_t at) {
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, file);
    struct evidence before = evidence_of(r);
    if (run_open(r)) {
        print_error("a damaged byte was accepted: %s at %llu\n", name, (unsigned long long)at);
        fail();
    }
    assert_int_equal(r->error.kind, ERROR_DAMAGED);
    if (strstr(r->error.text, name) == NULL) {
        print_error("damage in %s at %llu, but: %s\n", name, (unsigned long long)at, r->error.text);
        fail();
    }
    assert_non_null(strstr(r->error.text, "lsn"));
    assert_non_null(strstr(r->error.text, "store repair"));
    assert_true(evidence_same(r, &before));
    evidence_free(&before);
}

/* One flipped bit anywhere in frames that were acknowledged, or in the header of their segment. */
static void a_flipped_bit_in_acknowledged_frames_is_refused(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= run_seeds(2); seed++) {
        struct run r;
        struct region regions[16];
        make_journal(&r, seed * 100, true);
        size_t count = regions_of(&r, regions, 16);
        assert_true(count >= 2);
        struct evidence before = evidence_of(&r);
        for (size_t i = 0; i < count; i++) {
            uint64_t end = regions[i].end - (i + 1 == count ? BLOCK_BYTES : 0); /* the seal itself holds nothing */
            uint64_t at = regions[i].from == BLOCK_BYTES && end > BLOCK_BYTES ? 0 : regions[i].from;
            while (at < end) {
                flip(&r, regions[i].file, at);
                refuses(&r, regions[i].file, at);
                evidence_restore(&r, &before);
                at += at % BLOCK_BYTES < 80 ? 1 : 1 + prng_below(&r.prng, 150);
            }
        }
        evidence_free(&before);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

/* A bit that is not in those frames is in nobody's way. */
static void a_flipped_bit_elsewhere_changes_nothing(void **state) {
    (void)state;
    struct run r;
    struct region regions[16];
    for (uint64_t round = 0; round < 150; round++) {
        make_journal(&r, 700, true);
        size_t count = regions_of(&r, regions, 16);
        uint32_t file = (uint32_t)prng_below(&r.prng, 4);
        for (uint64_t i = 0; i < round; i++) {
            (void)prng_next(&r.prng);
        }
        struct disk_file *f = file_at(&r, file);
        uint64_t at = f != NULL ? prng_below(&r.prng, f->now_bytes) : 0;
        bool inside = f == NULL;
        for (size_t i = 0; i < count; i++) {
            inside = inside || (regions[i].file == file && at < regions[i].end);
        }
        if (!inside) {
            flip(&r, file, at);
            assert_true(run_open(&r));
            run_compare(&r);
        }
        run_deinit(&r);
    }
}

/* Without a seal the last frame cannot be told from a torn one: it is cut. All before it is refused still. */
static void the_last_frame_without_a_seal_is_cut(void **state) {
    (void)state;
    struct run r;
    struct region regions[16];
    make_journal(&r, 300, false);
    size_t count = regions_of(&r, regions, 16);
    struct region last = regions[count - 1];
    lsn_t durable = r.durable;
    flip(&r, last.file, last.end - 1);
    r.durable = 0;
    assert_true(run_open(&r));
    assert_true(store_durable(r.store) < durable);
    assert_true(store_durable(r.store) + 30 > durable);
    run_compare(&r);
    run_deinit(&r);
}

/* The seal makes the difference. */
static void the_last_frame_with_a_seal_is_refused(void **state) {
    (void)state;
    struct run r;
    struct region regions[16];
    make_journal(&r, 300, true);
    size_t count = regions_of(&r, regions, 16);
    struct region last = regions[count - 1];
    uint64_t at = last.end - BLOCK_BYTES > last.from ? last.end - BLOCK_BYTES - 1 : 0;
    flip(&r, last.file, at);
    refuses(&r, last.file, at);
    run_deinit(&r);
}

/* A seal that does not fit begins another segment, as a frame with records would. */
static void a_full_segment_is_sealed_in_the_next(void **state) {
    (void)state;
    struct run r;
    struct region regions[16];
    run_init(&r, 305);
    r.options.segment_bytes = 4 * BLOCK_BYTES;
    assert_true(run_open(&r));
    for (int i = 0; i < 3; i++) {
        struct record record;
        (void)maker_next(&r.maker, &record);
        (void)store_stage(r.store, &record);
        while (store_local_commit_step(r.store) != STORE_STEP_IDLE) {
            run_files(&r);
        }
    }
    while (store_local_seal_step(r.store) != STORE_STEP_IDLE) {
    }
    run_close(&r);
    assert_int_equal(regions_of(&r, regions, 16), 2);
    assert_int_equal(regions[0].end, r.options.segment_bytes);
    flip(&r, regions[0].file, regions[0].end - 1);
    refuses(&r, regions[0].file, regions[0].end - 1);
    run_deinit(&r);
}

/* What was written after the last sync may be anything: it is cut, and its lsns are given again. */
static void a_torn_tail_is_cut(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= run_seeds(40); seed++) {
        struct run r;
        make_journal(&r, seed, prng_chance(&(struct prng){{seed, 2, 3, 4}}, 1, 2));
        assert_true(run_open(&r));
        stage_some(&r);
        struct record record;
        (void)maker_next(&r.maker, &record);
        (void)store_stage(r.store, &record);
        lsn_t durable = store_durable(r.store);
        while (store_local_commit_step(r.store) != STORE_STEP_MORE) {
        }
        assert_int_equal(store_durable(r.store), durable);
        run_close(&r);
        fault_disk_restart(&r.disk, true);
        assert_true(run_open(&r));
        run_compare(&r);
        assert_true(run_steps(&r, 20));
        run_close(&r);
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

/* A header that could be the next, of a frame that would not fit into its file, is a torn frame like any other. */
static void a_tail_that_claims_too_much_is_cut(void **state) {
    (void)state;
    struct run r;
    struct row_meta meta;
    struct scan scan;
    bool found;
    make_journal(&r, 304, false);
    struct table *table = table_memory_open(r.disk.table);
    assert_true(meta_load(table, &meta, &found, &r.error));
    assert_true(scan_open(&scan, &r.ops, &r.error));
    assert_true(scan_walk(&scan, &meta, &r.error));
    struct frame_header h = {.payload_bytes = 40000,
                             .record_count = 1,
                             .salt = scan.chain.salt,
                             .number = scan.chain.number,
                             .first_lsn = scan.chain.next_lsn,
                             .previous = scan.chain.previous};
    uint8_t *frame = mem_zero(1, frame_bytes(h.payload_bytes));
    frame_seal(frame, &h);
    struct scan_file *f = scan_find(&scan, scan.chain.salt, scan.segment);
    assert_true(scan.offset + BLOCK_BYTES <= f->size && scan.offset + 40000 > f->size);
    memcpy(file_at(&r, (uint32_t)(f - scan.files))->now + scan.offset, frame, BLOCK_BYTES);
    mem_free(frame);
    scan_close(&scan);
    table->ops->close(table);
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* The end of a file is gone: that happens to no file in a crash, for files have their size before they are used. */
static void a_file_that_was_cut_short_is_refused(void **state) {
    (void)state;
    struct run r;
    struct region regions[16];
    run_init(&r, 302);
    r.options.segment_bytes = 65536;
    r.options.frame_bytes_max = 32768;
    assert_true(run_open(&r));
    for (int i = 0; i < 120; i++) {
        stage_some(&r);
    }
    run_commit(&r);
    run_close(&r);
    assert_int_equal(regions_of(&r, regions, 16), 1);
    assert_true(regions[0].end - regions[0].from >= 4 * BLOCK_BYTES);
    struct disk_file *f = file_at(&r, regions[0].file);
    f->now_bytes = regions[0].from + 2 * BLOCK_BYTES; /* in the middle of a frame */
    refused(&r, ERROR_DAMAGED, "its end is missing");
    f->now_bytes = BLOCK_BYTES;
    refused(&r, ERROR_DAMAGED, "its end is missing");
    f->now_bytes = r.options.segment_bytes;
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

static void a_lost_segment_is_refused(void **state) {
    (void)state;
    struct run r;
    struct region regions[16];
    make_journal(&r, 400, true);
    assert_true(regions_of(&r, regions, 16) >= 3);
    struct disk_file *f = file_at(&r, regions[1].file);
    memset(f->now, 0, f->now_bytes);
    refused(&r, ERROR_DAMAGED, "segment");
    f->exists = false;
    refused(&r, ERROR_DAMAGED, "is missing");
    run_deinit(&r);
}

static void a_lost_table_is_refused(void **state) {
    (void)state;
    struct run r;
    make_journal(&r, 401, true);
    struct table_memory *table = r.disk.table;
    r.disk.table = table_memory_create(fault_table_commit, &r.disk);
    refused(&r, ERROR_DAMAGED, "table");
    table_memory_destroy(r.disk.table);
    r.disk.table = table;
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* Gives the first row of a tree another value, without its last byte or as it was; false when there is no row. */
static bool row_change(struct run *r, enum table_tree tree, struct buf *key, struct buf *value, bool back) {
    struct table *table = table_memory_open(r->disk.table);
    struct table_txn *txn = table->ops->begin(table, true, &r->error);
    struct span first_key;
    struct span first_value;
    bool there = back || table->ops->seek(txn, tree, span_of(NULL, 0), &first_key, &first_value);
    if (there && !back) {
        buf_drop_front(key, key->len);
        buf_drop_front(value, value->len);
        buf_bytes(key, first_key);
        buf_bytes(value, first_value);
    }
    if (there) {
        struct span cut = span_of(value->ptr, value->len - (back ? 0 : 1));
        assert_true(table->ops->put(txn, tree, buf_span(key), cut, &r->error));
    }
    assert_true(table->ops->commit(txn, &r->error));
    table->ops->close(table);
    return there;
}

/* A row that the load would refuse is found before the journal is folded, so that the journal goes on being what
 * `quartet store repair` and a backup need. */
static void a_damaged_row_is_refused_before_anything_changes(void **state) {
    (void)state;
    static const enum table_tree trees[] = {TABLE_SESSIONS, TABLE_SUBSCRIPTIONS, TABLE_FLIGHTS,    TABLE_QUEUE,
                                            TABLE_WILLS,    TABLE_RETAINED,      TABLE_REFERENCES, TABLE_MESSAGES};
    struct run r;
    struct buf key = {NULL, 0, 0};
    struct buf value = {NULL, 0, 0};
    unsigned seen = 0;
    for (uint64_t seed = 410; seed < 413; seed++) {
        make_journal(&r, seed, true);
        for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++) {
            if (row_change(&r, trees[i], &key, &value, false)) {
                refused(&r, ERROR_DAMAGED, "the table is damaged");
                (void)row_change(&r, trees[i], &key, &value, true);
                seen |= 1U << i;
            }
        }
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
    assert_int_equal(seen, (1U << sizeof trees / sizeof trees[0]) - 1);
    buf_deinit(&key);
    buf_deinit(&value);
}

static void a_lost_journal_is_refused(void **state) {
    (void)state;
    struct run r;
    make_journal(&r, 402, true);
    for (int i = 0; i < FAULT_FILES; i++) {
        r.disk.files[i].exists = false;
    }
    refused(&r, ERROR_DAMAGED, "missing");
    run_deinit(&r);
}

/* Copies all committed rows from one table to another. */
static void table_copy(struct table_memory *from, struct table_memory *to) {
    struct error error;
    struct table *source = table_memory_open(from);
    struct table *target = table_memory_open(to);
    struct table_txn *read = source->ops->begin(source, false, &error);
    struct table_txn *write = target->ops->begin(target, true, &error);
    for (int tree = 0; tree < TABLE_TREES; tree++) {
        struct table_cursor *c = source->ops->cursor_open(read, (enum table_tree)tree, span_of(NULL, 0));
        struct span key;
        struct span value;
        while (source->ops->cursor_next(c, &key, &value)) {
            assert_true(target->ops->put(write, (enum table_tree)tree, key, value, &error));
        }
        source->ops->cursor_close(c);
    }
    assert_true(target->ops->commit(write, &error));
    source->ops->abort(read);
    source->ops->close(source);
    target->ops->close(target);
}

/* Somebody puts a copy of the table back that is older than the journal. */
static void an_old_table_is_refused(void **state) {
    (void)state;
    struct run r;
    make_journal(&r, 403, true);
    struct table_memory *old = table_memory_create(NULL, NULL);
    table_copy(r.disk.table, old);
    assert_true(run_open(&r));
    run_compare(&r);
    stage_some(&r);
    stage_some(&r);
    run_commit(&r);
    run_close(&r);
    struct table_memory *newer = r.disk.table;
    r.disk.table = old;
    refused(&r, ERROR_DAMAGED, "older");
    r.disk.table = newer;
    table_memory_destroy(old);
    run_deinit(&r);
}

static void the_journal_of_another_store_is_refused(void **state) {
    (void)state;
    struct run r;
    struct run other;
    make_journal(&r, 404, true);
    run_init(&other, 405);
    other.options.salt = 99;
    assert_true(run_open(&other));
    stage_some(&other);
    stage_some(&other);
    run_commit(&other);
    run_close(&other);
    struct disk_file *f = file_at(&other, 0);
    memcpy(file_at(&r, 0)->now, f->now, f->now_bytes);
    refused(&r, ERROR_FORMAT, "another store");
    run_deinit(&r);
    run_deinit(&other);
}

/* Frames of earlier generations and of earlier rounds of the same file are everywhere; with the same random number at
 * each start, too, nothing of them comes back. */
static void stale_frames_never_come_back(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 500);
    r.options.segment_bytes = 16384;
    for (int generation = 0; generation < 60; generation++) {
        assert_true(run_open(&r));
        run_compare(&r);
        assert_true(run_steps(&r, (int)prng_below(&r.prng, 60)));
        run_close(&r);
    }
    run_deinit(&r);
}

/* Fewer, smaller or larger files than before: what is there is used, what is too much goes away. */
static void options_may_change(void **state) {
    (void)state;
    struct run r;
    make_journal(&r, 600, true);
    r.options.segments_max = 3;
    assert_true(run_open(&r));
    run_compare(&r);
    assert_null(file_at(&r, 3));
    assert_true(run_steps(&r, 100));
    run_close(&r);
    r.options.segment_bytes = 65536;
    assert_true(run_open(&r));
    run_compare(&r);
    assert_true(run_steps(&r, 200));
    run_close(&r);
    r.options.segment_bytes = 16384;
    assert_true(run_open(&r));
    run_compare(&r);
    assert_true(run_steps(&r, 100));
    run_deinit(&r);
}

static void a_newer_format_is_refused(void **state) {
    (void)state;
    struct run r;
    struct region regions[16];
    make_journal(&r, 601, true);
    (void)regions_of(&r, regions, 16);
    struct disk_file *f = file_at(&r, regions[0].file);
    struct segment_header h;
    assert_int_equal(segment_header_read(f->now, &h), SEGMENT_HEADER_GOOD);
    f->now[8] = 2;
    uint64_t checksum = XXH3_64bits(f->now, BLOCK_BYTES - 8);
    memcpy(f->now + BLOCK_BYTES - 8, &checksum, 8);
    refused(&r, ERROR_FORMAT, "newer");
    run_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_in_acknowledged_frames_is_refused),
        cmocka_unit_test(a_flipped_bit_elsewhere_changes_nothing),
        cmocka_unit_test(the_last_frame_without_a_seal_is_cut),
        cmocka_unit_test(the_last_frame_with_a_seal_is_refused),
        cmocka_unit_test(a_full_segment_is_sealed_in_the_next),
        cmocka_unit_test(a_torn_tail_is_cut),
        cmocka_unit_test(a_tail_that_claims_too_much_is_cut),
        cmocka_unit_test(a_file_that_was_cut_short_is_refused),
        cmocka_unit_test(a_lost_segment_is_refused),
        cmocka_unit_test(a_lost_table_is_refused),
        cmocka_unit_test(a_damaged_row_is_refused_before_anything_changes),
        cmocka_unit_test(a_lost_journal_is_refused),
        cmocka_unit_test(an_old_table_is_refused),
        cmocka_unit_test(the_journal_of_another_store_is_refused),
        cmocka_unit_test(stale_frames_never_come_back),
        cmocka_unit_test(options_may_change),
        cmocka_unit_test(a_newer_format_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
