/* The commit: one frame at a time is written and synced; then its records are durable. */
#include "base/must.h"
#include "store/local.h"

enum { LOAD_FRAME_BYTES = 16384 }; /* frames that are longer on average have waited for one another */

/* The last sync has succeeded: the frame of `commit` is on stable storage. */
static enum store_step frame_durable(struct local *l) {
    struct commit *c = &l->commit;
    uint64_t bytes = frame_bytes(c->header.payload_bytes);
    lsn_t durable = c->header.first_lsn + c->header.record_count - 1;
    c->phase = COMMIT_READY;
    c->chain = chain_after(&c->header);
    c->sealed = c->header.record_count == 0;
    lock_take(&l->lock);
    c->segment->end = (c->segment->end > 0 ? c->segment->end : BLOCK_BYTES) + bytes;
    c->segment->last_lsn = durable;
    c->segment_frames++;
    staging_give(&l->staging, c->frame);
    atomic_fetch_sub_explicit(&l->staged_bytes, c->header.payload_bytes, memory_order_relaxed);
    lock_give(&l->lock);
    c->frame = NULL;
    atomic_fetch_add_explicit(&l->journal_bytes, bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&l->written_bytes, bytes, memory_order_relaxed);
    if (local_table_needs(l) > atomic_load_explicit(&l->table_room, memory_order_relaxed) &&
        l->table->ops->reserve != NULL) {
        local_table_ask(l);
    }
    c->make_next = local_reserve_count(l) < SEGMENTS_SPARE_MIN;
    must(durable >= atomic_load_explicit(&l->base.durable, memory_order_relaxed));
    atomic_store_explicit(&l->base.durable, durable, memory_order_release);
    return STORE_STEP_DONE;
}

static enum store_step frame_sync(struct local *l) {
    struct error error;
    if (!l->disk->sync(l->disk->user, l->commit.segment->file, &error)) {
        return local_fail(l, &error);
    }
    return frame_durable(l);
}

/* No more frames for the active segment: folding it makes room, even if no other takes its place. Under load the next
 * files are made as long as is allowed: of a long segment less is still alive when it is folded. The lock is held. */
static void segment_leave(struct local *l) {
    struct commit *c = &l->commit;
    if (c->segment == NULL) {
        return;
    }
    bool load = c->segment->end > c->segment_frames * LOAD_FRAME_BYTES;
    c->make_bytes = load ? l->options.segment_bytes_max : l->options.segment_bytes;
    local_segment_set(l, c->segment, SEGMENT_FULL);
    c->segment = NULL;
}

/* The longest spare segment, of equal ones the first; NULL: none. The lock is held. */
static struct segment *longest_spare(struct local *l) {
    struct segment *longest = NULL;
    for (uint32_t i = 0; i < l->segment_count; i++) {
        struct segment *s = &l->segments[i];
        if (s->state == SEGMENT_SPARE && (longest == NULL || s->bytes > longest->bytes)) {
            longest = s;
        }
    }
    return longest;
}

/* A frame is longer than any spare file: the longest is made longer. A full disk can make it wait, as it cannot a
 * frame that fits. The lock is held. */
static void segment_grow(struct local *l, struct segment *s, uint64_t bytes) {
    s->bytes = (bytes + l->options.segment_bytes - 1) / l->options.segment_bytes * l->options.segment_bytes;
    s->bytes = s->bytes < l->options.segment_bytes_max ? s->bytes : l->options.segment_bytes_max;
    must(s->bytes >= bytes);
    local_segment_set(l, s, SEGMENT_MAKING);
    l->commit.growing = true;
}

static void segment_begin(struct local *l, struct segment *s) {
    struct commit *c = &l->commit;
    local_segment_set(l, s, SEGMENT_ACTIVE);
    atomic_store_explicit(&l->active_bytes, s->bytes, memory_order_relaxed);
    s->number = ++c->segment_number;
    s->end = 0;
    s->folded = 0;
    c->segment = s;
    c->segment_frames = 0;
    c->growing = false;
}

/* Finds the segment for a frame of so many bytes: the active one, or a spare one, which then is active. False when
 * there is none. */
static bool frame_place(struct local *l, uint64_t bytes) {
    struct commit *c = &l->commit;
    if (c->segment != NULL && (c->segment->end > 0 ? c->segment->end : BLOCK_BYTES) + bytes <= c->segment->bytes) {
        return true;
    }
    lock_take(&l->lock);
    segment_leave(l);
    struct segment *s = longest_spare(l);
    if (s != NULL && BLOCK_BYTES + bytes <= s->bytes) {
        segment_begin(l, s);
    } else if (s != NULL && !c->growing) {
        segment_grow(l, s, BLOCK_BYTES + bytes);
    }
    lock_give(&l->lock);
    local_table_ask(l);
    return c->segment != NULL;
}

/* The bytes to write; the first frame of a segment goes with the segment's header. */
static struct span frame_complete(struct local *l) {
    struct commit *c = &l->commit;
    uint8_t *start = staged_frame_start(c->frame);
    c->header = (struct frame_header){
        .payload_bytes = (uint32_t)c->frame->payload_bytes,
        .record_count = c->frame->record_count,
        .salt = c->chain.salt,
        .number = c->chain.number,
        .first_lsn = c->chain.next_lsn,
        .durable_lsn = store_durable(&l->base),
        .previous = c->chain.previous,
    };
    must(c->frame->first_lsn == c->chain.next_lsn);
    frame_seal(start, &c->header);
    if (c->segment->end > 0) {
        return span_of(start, frame_bytes(c->header.payload_bytes));
    }
    struct segment_header header = {.salt = c->chain.salt,
                                    .number = c->segment->number,
                                    .first_lsn = c->chain.next_lsn,
                                    .bytes = c->segment->bytes};
    memcpy(header.uuid, l->uuid, UUID_BYTES);
    segment_header_write(c->frame->memory, &header);
    return span_of(c->frame->memory, BLOCK_BYTES + frame_bytes(c->header.payload_bytes));
}

/* The reserve is large enough without the file that is being made. It is finished, for half of one is of no use to
 * anybody, and at rest what is beyond the reserve is given back; on a full disk that is now. */
static enum store_step making_end(struct local *l) {
    struct error error;
    enum store_step step = l->commit.making != NULL ? local_make_step(l, &error) : STORE_STEP_IDLE;
    if (step == STORE_STEP_WAIT) {
        step = local_make_leave(l, &error) ? STORE_STEP_MORE : STORE_STEP_FAILED;
    }
    return step == STORE_STEP_FAILED ? local_fail(l, &error) : step;
}

/* Makes the reserve larger when it is too small. IDLE when there is nothing to do. After a step that found no space,
 * the disk is not asked again before the caller has waited. */
static enum store_step reserve_step(struct local *l) {
    if (local_reserve_count(l) >= SEGMENTS_SPARE_MIN && !l->commit.growing) {
        return making_end(l);
    }
    if (atomic_load_explicit(&l->reserve_blocked, memory_order_relaxed) && !l->commit.waited) {
        return STORE_STEP_WAIT;
    }
    struct error error;
    enum store_step step = local_make_step(l, &error);
    return step == STORE_STEP_FAILED ? local_fail(l, &error) : step;
}

/* ENOSPC where space was reserved happens on file systems that write elsewhere; nothing was synced, so that the same
 * bytes may be written again. */
static enum store_step frame_write(struct local *l) {
    struct commit *c = &l->commit;
    bool placed = frame_place(l, frame_bytes(c->frame->payload_bytes));
    if (store_failed(&l->base)) {
        return STORE_STEP_FAILED;
    }
    if (!placed) {
        enum store_step step = reserve_step(l);
        return step == STORE_STEP_IDLE ? STORE_STEP_WAIT : step;
    }
    struct error error;
    struct span bytes = frame_complete(l);
    if (!l->disk->write(l->disk->user, c->segment->file, c->segment->end, bytes, &error)) {
        if (error.kind != ERROR_NO_SPACE) {
            return local_fail(l, &error);
        }
        atomic_store_explicit(&l->reserve_blocked, true, memory_order_relaxed);
        return STORE_STEP_WAIT;
    }
    c->phase = COMMIT_WRITTEN;
    return STORE_STEP_MORE;
}

static enum store_step commit_step(struct local *l) {
    struct commit *c = &l->commit;
    if (c->phase == COMMIT_WRITTEN) {
        return frame_sync(l);
    }
    if (c->make_next) {
        c->make_next = false;
        enum store_step step = reserve_step(l);
        if (step == STORE_STEP_MORE || step == STORE_STEP_FAILED) {
            return step;
        }
    }
    if (c->frame == NULL) {
        bool full = store_pressure(&l->base) == STORE_FULL;
        lock_take(&l->lock);
        l->staging.few = full;
        c->frame = staging_take(&l->staging);
        lock_give(&l->lock);
    }
    return c->frame != NULL ? frame_write(l) : reserve_step(l);
}

enum store_step store_local_commit_step(struct store *store) {
    struct local *l = local_of(store);
    if (store_failed(store)) {
        return STORE_STEP_FAILED;
    }
    enum store_step step = commit_step(l);
    l->commit.waited = step == STORE_STEP_WAIT;
    return step;
}

/* True when a seal fits without taking a segment that the reserve cannot get back. */
static bool seal_fits(const struct local *l) {
    const struct segment *s = l->commit.segment;
    uint32_t spares = atomic_load_explicit(&l->spares, memory_order_relaxed);
    bool grows = !atomic_load_explicit(&l->reserve_blocked, memory_order_relaxed) &&
                 !atomic_load_explicit(&l->reserve_whole, memory_order_relaxed) &&
                 !atomic_load_explicit(&l->fold_blocked, memory_order_relaxed);
    return spares > SEGMENTS_SPARE_MIN || (spares == SEGMENTS_SPARE_MIN && grows) ||
           (s != NULL && s->end + BLOCK_BYTES <= s->bytes);
}

enum store_step store_local_seal_step(struct store *store) {
    struct local *l = local_of(store);
    struct commit *c = &l->commit;
    if (c->phase == COMMIT_READY && c->frame == NULL && !store_failed(store)) {
        lock_take(&l->lock);
        bool seal = staging_empty(&l->staging) && !c->sealed && seal_fits(l);
        bool idle = staging_empty(&l->staging) && !seal;
        c->frame = seal ? staging_empty_frame(&l->staging) : NULL;
        lock_give(&l->lock);
        if (idle) {
            return STORE_STEP_IDLE;
        }
    }
    return store_local_commit_step(store);
}
