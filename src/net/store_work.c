#include "net/store_work.h"

#include <signal.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "net/bell.h"
#include "net/thread.h"
#include "store/store_local.h"

#define SEAL_AFTER_MS 50              /* without a record */
#define STOP_FOLD_MS 3000             /* at the end; what is left then is for the next start */
#define NO_SPACE_RETRY_MS 1000        /* a full disk is asked again */
#define LOOK_MS 1000                  /* how often the checkpoint thread looks whether all is quiet */
#define QUIET_FOLDS 3                 /* so many looks without a new record: fold everything */
#define QUIET_RESTS 4                 /* and what that has freed can be given back */
#define QUIET_AFTER (QUIET_RESTS + 2) /* once more, when all have let go of what was folded */
#define CALM_MS 20000 /* a broker that is never quiet: when so long little was written, the same is done */
#define CALM_SHARE 4  /* little: a quarter of a segment */
#define LAST_TRIES 5  /* of a commit that finds no space at the end */

struct store_work {
    struct store_work_options options;
    pthread_t commit_thread;
    pthread_t checkpoint_thread;
    struct bell commit_bell;
    struct bell checkpoint_bell;
    _Atomic bool finishing;       /* nobody stages any more */
    _Atomic bool committed_all;   /* the commit thread has done its last */
    _Atomic bool checkpoint_idle; /* the checkpoint thread sleeps until it is rung */
    uint64_t told_bytes;          /* commit thread: journal bytes when the checkpoint thread was last rung */
    bool said_full;               /* checkpoint thread: it has warned of a full store */
    int64_t calm_at;              /* checkpoint thread: when it last looked how much was written, */
    uint64_t calm_bytes;          /* and how much that was */
    uint64_t told_files;          /* commit thread: files made when it was last rung for one */
    _Atomic int64_t fold_until;   /* then the checkpoint thread folds no more; INT64_MAX: as long as nobody stops */
};

static _Thread_local bool *staged_note;

void store_work_note(bool *staged) {
    staged_note = staged;
}

void store_work_ring(struct store_work *work) {
    bell_ring(&work->commit_bell);
}

/* The store calls this, its lock held, when the first record after a pause is staged. */
static void heard_of_staged(void *user) {
    if (staged_note != NULL) {
        *staged_note = true;
    } else {
        store_work_ring(user);
    }
}

/* Rings the checkpoint thread now and then while the journal grows: a finished segment is not waited for long. */
static void tell_checkpoint(struct store_work *work) {
    uint64_t bytes = store_local_journal_bytes(work->options.store);
    if (bytes < work->told_bytes) {
        work->told_bytes = bytes;
    }
    if (bytes - work->told_bytes >= work->options.segment_bytes / 8 || atomic_load(&work->checkpoint_idle) ||
        store_local_asks(work->options.store) || atomic_load(&work->options.store->fold_wanted) ||
        store_local_excess(work->options.store) == STORE_EXCESS_JOURNAL) { /* publishers wait for the fold */
        work->told_bytes = bytes;
        bell_ring(&work->checkpoint_bell);
    }
}

/* Who is about to sleep until more is durable says so first and looks at `durable` once more then. Here it is the other
 * way round, and the fence keeps it so: else each could miss the other, and the sleeper sleep on. */
static void commit_done(struct store_work *work) {
    atomic_thread_fence(memory_order_seq_cst);
    work->options.committed(work->options.user);
    tell_checkpoint(work);
}

/* A new journal file is not used before the checkpoint thread has told the table of it. */
static void tell_of_files(struct store_work *work) {
    uint64_t files = store_local_files_made(work->options.store);
    if (files != work->told_files) {
        work->told_files = files;
        bell_ring(&work->checkpoint_bell);
    }
}

/* Commits until nothing is staged; true when there is no space to go on. */
static bool commit_all(struct store_work *work) {
    for (;;) {
        switch (store_local_commit_step(work->options.store)) {
        case STORE_STEP_IDLE:
            return false;
        case STORE_STEP_MORE:
            tell_of_files(work);
            break;
        case STORE_STEP_DONE:
            commit_done(work);
            break;
        case STORE_STEP_WAIT:
            return true;
        case STORE_STEP_FAILED:
            work->options.failed(work->options.user);
            return false;
        }
    }
}

/* Says on the disk that the last frame was durable. A record that comes meanwhile may be committed here too. */
static void seal(struct store_work *work) {
    enum store_step step;
    do {
        step = store_local_seal_step(work->options.store);
        tell_of_files(work);
        if (step == STORE_STEP_DONE) {
            commit_done(work);
        } else if (step == STORE_STEP_FAILED) {
            work->options.failed(work->options.user);
        }
    } while (step == STORE_STEP_MORE);
}

static void commit_last(struct store_work *work) {
    for (int tries = 0; commit_all(work); tries++) {
        if (tries == LAST_TRIES) {
            work->options.warned(
                work->options.user,
                "there is no space on the disk for the last records; nothing that was acknowledged is lost");
            break;
        }
        bell_ring(&work->checkpoint_bell);
        (void)bell_wait(&work->commit_bell, NO_SPACE_RETRY_MS);
    }
    seal(work);
}

static int64_t now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void *commit_main(void *argument) {
    struct store_work *work = argument;
    while (!atomic_load(&work->finishing)) {
        if (commit_all(work)) {
            bell_ring(&work->checkpoint_bell);
            (void)bell_wait(&work->commit_bell, NO_SPACE_RETRY_MS);
        } else if (!bell_wait(&work->commit_bell, SEAL_AFTER_MS)) {
            seal(work);
            (void)bell_wait(&work->commit_bell, BELL_FOR_EVER);
        }
    }
    commit_last(work);
    const int64_t stop_ms = work->options.stop_fold_ms;
    atomic_store_explicit(&work->fold_until, now_ms() + (stop_ms != 0 ? stop_ms : STOP_FOLD_MS), memory_order_relaxed);
    atomic_store(&work->committed_all, true);
    bell_ring(&work->checkpoint_bell);
    return NULL;
}

/* Folds until there is nothing to fold; true when there is no space to go on, or no time. `to`: records up to this one
 * also from a file that is not full. */
static bool fold(struct store_work *work, lsn_t to) {
    while (now_ms() < atomic_load_explicit(&work->fold_until, memory_order_relaxed)) {
        switch (store_local_checkpoint_step(work->options.store, store_folded(work->options.store) < to)) {
        case STORE_STEP_IDLE:
            return false;
        case STORE_STEP_MORE:
            break;
        case STORE_STEP_DONE:
            work->options.folded(work->options.user);
            break;
        case STORE_STEP_WAIT:
            return true;
        case STORE_STEP_FAILED:
            work->options.failed(work->options.user);
            return false;
        }
    }
    return true;
}

/* What is not needed soon is given back; false when the store has failed. */
static bool give_back(struct store_work *work) {
    enum store_step step;
    do {
        step = store_local_rest_step(work->options.store);
    } while (step == STORE_STEP_MORE);
    if (step == STORE_STEP_FAILED) {
        work->options.failed(work->options.user);
    }
    return step != STORE_STEP_FAILED;
}

/* All is quiet, or calm. */
static void rest(struct store_work *work) {
    if (give_back(work) && work->options.rests != NULL) {
        work->options.rests(work->options.user);
    }
}

/* Waits for more journal: without an end when all that became durable up to `seen` was folded and no more came. */
static void checkpoint_wait(struct store_work *work, bool look, lsn_t seen) {
    if (!look) {
        atomic_store(&work->checkpoint_idle, true);
        look = store_durable(work->options.store) != seen;
    }
    (void)bell_wait(&work->checkpoint_bell, look ? LOOK_MS : BELL_FOR_EVER);
    atomic_store(&work->checkpoint_idle, false);
}

static void say_full(struct store_work *work, bool full) {
    if (full != work->said_full) {
        work->options.warned(work->options.user,
                             full ? "the store is full: publishers are refused until there is room. Retained messages "
                                    "can be cleared and sessions can end; without a broker 'quartet store' does both; "
                                    "or free the disk, or raise table_size or store_limit"
                                  : "the store has room again");
    }
    work->said_full = full;
}

/* Now and then: little was written for a while. Then the space of a flood that is over is given back although somebody
 * goes on. */
static bool is_calm(struct store_work *work) {
    int64_t now = now_ms();
    if (now - work->calm_at < (work->options.calm_ms != 0 ? work->options.calm_ms : CALM_MS)) {
        return false;
    }
    uint64_t bytes = store_local_written_bytes(work->options.store);
    bool calm = bytes - work->calm_bytes < work->options.segment_bytes / CALM_SHARE;
    work->calm_at = now;
    work->calm_bytes = bytes;
    return calm;
}

static void *checkpoint_main(void *argument) {
    struct store_work *work = argument;
    lsn_t seen = 0;
    int quiet = 0; /* looks since the last new record */
    work->calm_at = now_ms();
    while (!atomic_load(&work->committed_all)) {
        /* A full store folds at once: what makes it less full counts only then. */
        bool short_of_room = store_pressure(work->options.store) == STORE_FULL;
        enum store_excess excess = store_local_excess(work->options.store);
        bool calm = is_calm(work);
        bool all = quiet == QUIET_FOLDS || short_of_room || excess == STORE_EXCESS_JOURNAL || calm;
        bool wanted = atomic_exchange(&work->options.store->fold_wanted, false);
        bool full = fold(work, all ? UINT64_MAX : wanted ? store_durable(work->options.store) : 0);
        say_full(work, short_of_room);
        if (quiet == QUIET_RESTS || quiet == QUIET_AFTER || short_of_room || excess == STORE_EXCESS_FREE || calm) {
            rest(work);
        }
        checkpoint_wait(work, full || short_of_room || quiet < QUIET_AFTER, seen);
        lsn_t durable = store_durable(work->options.store);
        quiet = durable != seen ? 0 : quiet <= QUIET_AFTER ? quiet + 1 : quiet;
        seen = durable;
    }
    if (!fold(work, UINT64_MAX)) {
        (void)give_back(work);
    }
    return NULL;
}

static void store_work_free(struct store_work *work) {
    store_local_on_staged(work->options.store, NULL, NULL);
    bell_deinit(&work->commit_bell);
    bell_deinit(&work->checkpoint_bell);
    mem_free(work);
}

struct store_work *store_work_start(const struct store_work_options *options) {
    struct store_work *work = mem_zero(1, sizeof *work);
    work->options = *options;
    work->fold_until = INT64_MAX;
    bell_init(&work->commit_bell);
    bell_init(&work->checkpoint_bell);
    store_local_on_staged(options->store, heard_of_staged, work);
    if (thread_try(&work->checkpoint_thread, "checkpoint", checkpoint_main, work) != 0) {
        store_work_free(work);
        return NULL;
    }
    if (thread_try(&work->commit_thread, "commit", commit_main, work) != 0) {
        atomic_store(&work->committed_all, true);
        bell_ring(&work->checkpoint_bell);
        must(pthread_join(work->checkpoint_thread, NULL) == 0);
        store_work_free(work);
        return NULL;
    }
    return work;
}

void store_work_finish(struct store_work *work) {
    atomic_store(&work->finishing, true);
    bell_ring(&work->commit_bell);
    must(pthread_join(work->commit_thread, NULL) == 0);
    must(pthread_join(work->checkpoint_thread, NULL) == 0);
    store_work_free(work);
}
