/* A store whose journal holds much that its table does not, and what a refused opening must leave alone. */
#pragma once

#include "local_run.h"
#include "store/scan.h"

/* A closed store with frames in several segments beyond what the table holds; the last frame is a seal when `sealed`.
 */
WORLD_UNUSED static void make_journal(struct run *r, uint64_t seed, bool sealed) {
    run_init(r, seed);
    r->options.segment_bytes = 32768;
    r->options.segments_max = 8;
    assert_true(run_open(r));
    assert_true(run_steps(r, 100));
    for (int i = 0; i < 12; i++) {
        stage_some(r);
        stage_some(r);
        run_commit(r);
    }
    while (sealed && store_local_seal_step(r->store) != STORE_STEP_IDLE) {
    }
    r->durable = store_durable(r->store);
    run_close(r);
}

/* Everything that a refused open must leave alone. */
struct evidence {
    uint8_t *bytes[FAULT_FILES];
    uint64_t sizes[FAULT_FILES];
    uint64_t calls;
};

WORLD_UNUSED static struct evidence evidence_of(const struct run *r) {
    struct evidence e = {.calls = r->disk.calls};
    for (int i = 0; i < FAULT_FILES; i++) {
        e.sizes[i] = r->disk.files[i].now_bytes;
        e.bytes[i] = mem_copy(r->disk.files[i].now, e.sizes[i]);
    }
    return e;
}

WORLD_UNUSED static bool evidence_same(const struct run *r, const struct evidence *e) {
    bool same = r->disk.calls == e->calls; /* not even a call that changes something: the table's commits count too */
    for (int i = 0; i < FAULT_FILES; i++) {
        same = same && r->disk.files[i].now_bytes == e->sizes[i] &&
               (e->sizes[i] == 0 || memcmp(r->disk.files[i].now, e->bytes[i], e->sizes[i]) == 0);
    }
    return same;
}

WORLD_UNUSED static void evidence_restore(struct run *r, const struct evidence *e) {
    for (int i = 0; i < FAULT_FILES; i++) {
        if (e->sizes[i] > 0) {
            memcpy(r->disk.files[i].now, e->bytes[i], e->sizes[i]);
        }
    }
}

WORLD_UNUSED static void evidence_free(struct evidence *e) {
    for (int i = 0; i < FAULT_FILES; i++) {
        mem_free(e->bytes[i]);
    }
}

/* Where the frames lie that the table does not hold: what a scan says of the undamaged store. */
struct region {
    uint32_t file;
    uint64_t from;
    uint64_t end;
};

WORLD_UNUSED static size_t regions_of(struct run *r, struct region *out, size_t max) {
    struct table *table = table_memory_open(r->disk.table);
    struct row_meta meta;
    bool found;
    struct scan scan;
    size_t count = 0;
    assert_true(meta_load(table, &meta, &found, &r->error));
    assert_true(scan_open(&scan, &r->ops, &r->error));
    assert_true(scan_walk(&scan, &meta, &r->error));
    assert_true(scan_tail(&scan, &r->error));
    for (uint32_t i = 0; i < scan.part_count; i++) {
        assert_true(count < max);
        out[count++] = (struct region){scan.parts[i].file, scan.parts[i].from, scan.parts[i].end};
    }
    scan_close(&scan);
    table->ops->close(table);
    return count;
}

WORLD_UNUSED static struct disk_file *file_at(struct run *r, uint32_t index) {
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, index);
    return fault_find(&r->disk, name);
}

WORLD_UNUSED static void refused(struct run *r, enum error_kind kind, const char *why) {
    struct evidence before = evidence_of(r);
    assert_false(run_open(r));
    assert_int_equal(r->error.kind, kind);
    if (strstr(r->error.text, why) == NULL) {
        print_error("not \"%s\": %s\n", why, r->error.text);
        fail();
    }
    assert_true(evidence_same(r, &before));
    evidence_free(&before);
}

WORLD_UNUSED static struct row_meta meta_of(struct run *r) {
    struct row_meta meta;
    bool found = false;
    struct table *table = table_memory_open(r->disk.table);
    assert_true(meta_load(table, &meta, &found, &r->error));
    assert_true(found);
    table->ops->close(table);
    return meta;
}
