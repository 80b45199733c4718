/* The two threads of the local store: one commits what is staged, one folds the journal into the table.
 *
 *     shard     stage ... stage   turn over: store_work_ring() ──┐
 *     commit    sleeps ───────────────────────────────────────── frame, sync ── committed() ── sleeps
 *     checkpoint                       sleeps until a part of a segment has come, or all is quiet ── folded()
 *
 * A shard rings once, when it has done all of a turn's work: ringing at the first record would commit that one alone
 * and let the others wait for a second sync. An idle store wakes nobody.
 *
 * When all is quiet for some seconds, or little is written for longer, everything is folded and space is given back. */
#pragma once

#include "store/store.h"

struct store_work;

struct store_work_options {
    struct store *store;    /* a local one; borrowed */
    uint64_t segment_bytes; /* as the store was opened with */
    int64_t calm_ms;        /* so long little is written before space is given back under traffic; 0: 20 s */
    int64_t stop_fold_ms;   /* so long is folded at the end; 0: 3 s; less: not at all */
    void *user;
    void (*committed)(void *user); /* commit thread: durable has grown */
    void (*folded)(void *user);    /* checkpoint thread: folded has grown */
    void (*rests)(void *user);     /* checkpoint thread: all is folded and no record has come since; may be NULL */
    void (*failed)(void *user);    /* either: the store has stopped for good; may not return, may be told again */
    void (*warned)(void *user, const char *sentence); /* either: something that a person should know */
};

/* NULL when the system refuses a thread: nothing has begun. */
struct store_work *store_work_start(const struct store_work_options *options);
/* This thread rings by itself at the end of its turns: `*staged` becomes true when there is something to commit. */
void store_work_note(bool *staged);
/* Something was staged. Any thread. */
void store_work_ring(struct store_work *work);
/* Nobody stages any more: commits the rest, folds what there is time for, ends both threads. What is left
 * in the journal the next start folds. */
void store_work_finish(struct store_work *work);
