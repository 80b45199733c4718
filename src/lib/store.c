/* The store of a client: as the broker's, with smaller files, since a gateway's disk is small. */
#include <stdio.h>

#include "base/mem.h"
#include "base/must.h"
#include "lib/lib.h"
#include "store/store_local.h"
#include "store/store_memory.h"

#define BLOCK 4096ULL
#define SEGMENT_BYTES (512ULL << 10)     /* of one journal file; at rest there are three or four */
#define SEGMENT_BYTES_GROWN (1ULL << 20) /* under load at least, with room for two of the largest packets */
#define SEGMENTS_MAX 16                  /* journal files */
#define FRAME_BYTES (256ULL << 10)       /* what one commit takes */
#define STAGED_BYTES (4ULL << 20)        /* beyond, the store is busy */
#define TABLE_BYTES_BESIDE (64ULL << 20) /* of the table, beside four times what outbox and inbox may hold */

/* The store's threads: something has become durable, was folded, or has failed. */
static void store_moved(void *user) {
    struct quartet *q = user;
    lock_take(&q->lock);
    if (q->stored_waiters > 0) {
        must(pthread_cond_broadcast(&q->stored) == 0);
    }
    lib_wake(q);
    lock_give(&q->lock);
}

/* What is not durable was not acknowledged, and is told nobody as stored: there is nothing to be done. */
static void store_warned(void *user, const char *sentence) {
    (void)user;
    (void)sentence;
}

static uint64_t random_number(void) {
    uint64_t number = 0;
    lib_random(&number, sizeof number);
    return number;
}

static bool open_local(struct quartet *q, struct error *error) {
    struct lib_store *s = &q->store;
    uint64_t table_bytes = (q->options.outbox_bytes + q->options.inbox_bytes) * 4 + TABLE_BYTES_BESIDE;
    uint64_t two_packets = (2 * (uint64_t)q->options.packet_bytes_max + BLOCK - 1) / BLOCK * BLOCK + 2 * BLOCK;
    struct store_local_options options = {
        .segment_bytes = SEGMENT_BYTES,
        .segment_bytes_max = two_packets > SEGMENT_BYTES_GROWN ? two_packets : SEGMENT_BYTES_GROWN,
        .segments_max = SEGMENTS_MAX,
        .frame_bytes_max = FRAME_BYTES,
        .staged_bytes_busy = STAGED_BYTES,
        .salt = random_number(),
    };
    if (!local_store_open(&s->local, q->options.store, table_bytes, &options, error)) {
        return false;
    }
    s->store = s->local.store;
    store_local_uuid(s->store, q->epoch);
    return true;
}

int lib_store_open(struct quartet *q) {
    if (q->options.store == NULL) {
        q->store.store = store_memory_create();
        lib_random(q->epoch, sizeof q->epoch);
        return QUARTET_OK;
    }
    struct error error = {0};
    q->store.durable = true;
    return open_local(q, &error) ? QUARTET_OK : lib_fail_error(&error);
}

void lib_store_close(struct quartet *q) {
    struct lib_store *s = &q->store;
    if (!s->durable && s->store != NULL) {
        store_memory_destroy(s->store);
    }
    local_store_close(&s->local);
}

int lib_store_work(struct quartet *q) {
    struct lib_store *s = &q->store;
    if (!s->durable || s->work != NULL || q->drive == DRIVE_CORE) {
        return QUARTET_OK;
    }
    struct store_work_options options = {
        .store = s->store,
        .segment_bytes = SEGMENT_BYTES,
        .user = q,
        .committed = store_moved,
        .folded = store_moved,
        .failed = store_moved,
        .warned = store_warned,
    };
    s->work = store_work_start(&options);
    return s->work != NULL ? QUARTET_OK : lib_fail(QUARTET_SYSTEM, "the system refuses the threads of the store");
}

/* What an application has said of a client that it never drove counts as well. */
static struct store_work *take_work(struct quartet *q) {
    lock_take(&q->lock);
    if (q->client != NULL && q->store.durable && q->store.work == NULL && store_local_staged(q->store.store)) {
        (void)lib_store_work(q);
    }
    struct store_work *work = q->store.work;
    q->store.work = NULL;
    lock_give(&q->lock);
    return work;
}

void lib_store_rest(struct quartet *q) {
    struct store_work *work = take_work(q);
    if (work != NULL) {
        store_work_finish(work);
    }
}

int lib_store_state(const struct quartet *q) {
    if (!store_failed(q->store.store)) {
        return QUARTET_OK;
    }
    return lib_fail_error(&q->store.store->error);
}
