/* A store on a fault disk, fed by the generator, for the tests of the local engine. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fault_disk.h"
#include "maker.h"
#include "store/store_local.h"

/* One store on one disk, and what it must hold. */
struct run {
    struct fault_disk disk;
    struct disk ops;
    struct table *table;
    struct store *store;
    struct maker maker;
    struct prng prng;
    lsn_t durable;       /* seen */
    uint64_t files_made; /* seen */
    struct store_local_options options;
    struct error error;
    struct buf expected;
    struct buf got;
};

WORLD_UNUSED static void run_init(struct run *r, uint64_t seed) {
    memset(r, 0, sizeof *r);
    fault_disk_init(&r->disk, seed);
    r->ops = fault_disk_of(&r->disk);
    r->prng = prng_of(seed + 1);
    r->maker.prng = prng_of(seed + 2);
    r->options = (struct store_local_options){
        .segment_bytes = 16384ULL << prng_below(&r->prng, 2), .segments_max = 4, .frame_bytes_max = 4096, .salt = 7};
}

WORLD_UNUSED static void run_close(struct run *r) {
    if (r->store != NULL) {
        store_local_close(r->store);
        r->store = NULL;
    }
    if (r->table != NULL) {
        r->table->ops->close(r->table);
        r->table = NULL;
    }
}

WORLD_UNUSED static void run_deinit(struct run *r) {
    run_close(r);
    fault_disk_deinit(&r->disk);
    maker_deinit(&r->maker);
    buf_deinit(&r->expected);
    buf_deinit(&r->got);
}

WORLD_UNUSED static bool run_open(struct run *r) {
    r->table = table_memory_open(r->disk.table);
    r->store = store_local_open(&r->ops, r->table, &r->options, &r->error);
    if (r->store == NULL) {
        run_close(r);
    } else {
        r->files_made = store_local_files_made(r->store);
    }
    return r->store != NULL;
}

/* The store is open: it holds everything up to an lsn that is not below what was durable, and nothing else. */
WORLD_UNUSED static void run_compare(struct run *r) {
    lsn_t last = store_durable(r->store);
    assert_true(last >= r->durable);
    assert_true(last <= r->maker.at.count);
    assert_int_equal(store_folded(r->store), last);
    maker_cut(&r->maker, last);
    world_text(&r->maker.now, &r->expected);
    text_of_store(r->store, r->table, &r->got);
    assert_true(same_text(&r->got, &r->expected));
    r->durable = last;
}

WORLD_UNUSED static void stage_some(struct run *r) {
    for (uint64_t n = prng_below(&r->prng, 12); n > 0; n--) {
        struct record record;
        lsn_t lsn = maker_next(&r->maker, &record);
        assert_int_equal(store_stage(r->store, &record), lsn);
    }
}

/* A checkpoint step for each new journal file, and none else: the table is told of it, nothing is folded. */
WORLD_UNUSED static void run_files(struct run *r) {
    if (store_local_files_made(r->store) > r->files_made) {
        r->files_made = store_local_files_made(r->store);
        uint64_t calls = r->disk.calls;
        assert_int_equal(store_local_checkpoint_step(r->store, false), STORE_STEP_MORE);
        assert_int_equal(r->disk.calls, calls + 1);
    }
}

/* Commits all that is staged. */
WORLD_UNUSED static void run_commit(struct run *r) {
    enum store_step step;
    r->files_made = store_local_files_made(r->store);
    do {
        step = store_local_commit_step(r->store);
        run_files(r);
        assert_int_not_equal(step, STORE_STEP_FAILED);
        assert_int_not_equal(step, STORE_STEP_WAIT);
    } while (store_durable(r->store) < r->maker.at.count);
    r->durable = store_durable(r->store);
}

/* One step of something; durable only grows. */
WORLD_UNUSED static enum store_step step_some(struct run *r) {
    enum store_step step;
    lsn_t folded = store_folded(r->store);
    uint64_t choice = prng_below(&r->prng, 20);
    if (choice < 14) {
        step = store_local_commit_step(r->store);
    } else if (choice < 15) {
        step = store_local_seal_step(r->store);
    } else {
        step = store_local_checkpoint_step(r->store, prng_chance(&r->prng, 1, 16));
    }
    lsn_t durable = store_durable(r->store);
    assert_true(durable >= r->durable);
    assert_true(store_folded(r->store) <= durable);
    assert_true(store_folded(r->store) >= folded);
    assert_true(store_folded(r->store) == folded || (choice >= 15 && step == STORE_STEP_DONE));
    r->durable = durable;
    return step;
}

WORLD_UNUSED static bool run_steps(struct run *r, int steps) {
    for (int i = 0; i < steps; i++) {
        if (prng_chance(&r->prng, 1, 3)) {
            stage_some(r);
        }
        if (step_some(r) == STORE_STEP_FAILED) {
            return false;
        }
    }
    return true;
}

/* The script of the tests that fail each call in turn; returns false when the fault came. */
WORLD_UNUSED static bool script(struct run *r) {
    if (!run_open(r)) {
        return false;
    }
    run_compare(r);
    if (!run_steps(r, 150)) {
        return false;
    }
    run_close(r);
    if (!run_open(r)) {
        return false;
    }
    run_compare(r);
    return run_steps(r, 40);
}

/* Drives the store until nothing is left to do; true when it got there without waiting for space. */
WORLD_UNUSED static bool settle(struct run *r) {
    for (int i = 0; i < 10000; i++) {
        enum store_step commit = store_local_commit_step(r->store);
        enum store_step checkpoint = store_local_checkpoint_step(r->store, false);
        assert_int_not_equal(commit, STORE_STEP_FAILED);
        assert_int_not_equal(checkpoint, STORE_STEP_FAILED);
        r->durable = store_durable(r->store);
        bool moving = commit == STORE_STEP_MORE || commit == STORE_STEP_DONE || checkpoint == STORE_STEP_MORE ||
                      checkpoint == STORE_STEP_DONE;
        if (!moving) {
            return commit == STORE_STEP_IDLE && checkpoint == STORE_STEP_IDLE;
        }
    }
    fail();
    return false;
}

/* How many seeds the random tests walk: more when the environment says so. */
WORLD_UNUSED static uint64_t run_seeds(uint64_t few) {
    const char *more = getenv("QUARTET_TEST_SEEDS");
    return more != NULL ? strtoull(more, NULL, 10) : few;
}
