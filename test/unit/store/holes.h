/* A store from which single records are cut out, as a damaged disk does: each record has a frame of its own, frames are
 * destroyed, and the repair goes on with what is left. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fault_disk.h"
#include "store/frame.h"
#include "store/store_local.h"

struct holes {
    struct fault_disk disk;
    struct disk ops;
    struct table *table;
    struct store *store;
    struct error error;
    struct buf said; /* by the last tool, zero-terminated */
};

static bool holes_open(struct holes *h) {
    struct store_local_options options = {.segment_bytes = 1 << 18, .segments_max = 3, .salt = 7};
    h->table = table_memory_open(h->disk.table);
    h->store = store_local_open(&h->ops, h->table, &options, &h->error);
    return h->store != NULL;
}

static void holes_close(struct holes *h) {
    if (h->store != NULL) {
        store_local_close(h->store);
        h->store = NULL;
    }
    h->table->ops->close(h->table);
    h->table = NULL;
}

/* Each record in a frame; after `folded` of them the table holds what there is. */
static void holes_make(struct holes *h, const struct record *records, size_t count, size_t folded) {
    *h = (struct holes){.store = NULL};
    fault_disk_init(&h->disk, 1);
    h->ops = fault_disk_of(&h->disk);
    assert_true(holes_open(h));
    for (size_t i = 0; i < count; i++) {
        lsn_t lsn = store_stage(h->store, &records[i]);
        assert_int_equal(lsn, i + 1);
        while (store_durable(h->store) < lsn) {
            assert_int_not_equal(store_local_commit_step(h->store), STORE_STEP_FAILED);
        }
        while (i + 1 == folded && store_folded(h->store) < lsn) {
            assert_int_not_equal(store_local_checkpoint_step(h->store, true), STORE_STEP_FAILED);
        }
    }
    while (store_local_seal_step(h->store) != STORE_STEP_IDLE) {
    }
    holes_close(h);
}

static void holes_deinit(struct holes *h) {
    fault_disk_deinit(&h->disk);
    buf_deinit(&h->said);
}

/* Destroys the frame with the record. */
static void holes_cut(struct holes *h, lsn_t lsn) {
    for (int i = 0; i < FAULT_FILES; i++) {
        struct disk_file *f = &h->disk.files[i];
        for (uint64_t at = 0; at + BLOCK_BYTES <= f->now_bytes; at += BLOCK_BYTES) {
            struct frame_header header;
            if (frame_header_read(f->now + at, &header) && header.first_lsn == lsn && header.record_count > 0) {
                f->now[at + FRAME_HEADER_BYTES] ^= 0x55;
            }
        }
    }
}

/* Runs an offline tool. */
static bool holes_tool(struct holes *h,
                       bool (*run)(const struct disk *, struct table *, struct buf *, struct error *)) {
    h->said.len = 0;
    h->table = table_memory_open(h->disk.table);
    bool ok = run(&h->ops, h->table, &h->said, &h->error);
    buf_u8(&h->said, 0);
    holes_close(h);
    return ok;
}

/* Cuts out one record, or two; repairs. The store is then called sound. */
__attribute__((unused)) static void holes_repair(struct holes *h, lsn_t one, lsn_t other) {
    holes_cut(h, one);
    holes_cut(h, other);
    if (!holes_tool(h, store_local_repair) || !holes_tool(h, store_local_check)) {
        print_error("without %d and %d: %s%s\n", (int)one, (int)other, (char *)h->said.ptr, h->error.text);
        fail();
    }
}
