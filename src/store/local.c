#include "store/local.h"

#include "base/map.h"
#include "base/mem.h"
#include "store/scan.h"

enum {
    SEGMENT_BYTES_DEFAULT = 32 << 20,
    SEGMENT_BYTES_MIN = 4 * BLOCK_BYTES,
    SEGMENT_BYTES_MAX = 1 << 30,
    SEGMENTS_DEFAULT = 16,
    SEGMENTS_MIN = 3,
    FRAME_BYTES_DEFAULT = 4 << 20,
    STAGED_BYTES_BUSY_DEFAULT = 4 << 20,
    CHANGED_BYTES_DEFAULT = 32 << 20,
};

static bool options_complete(struct store_local_options *o, struct error *error) {
    o->segment_bytes = o->segment_bytes > 0 ? o->segment_bytes : SEGMENT_BYTES_DEFAULT;
    o->segment_bytes_max = o->segment_bytes_max > 0 ? o->segment_bytes_max : o->segment_bytes;
    o->segments_max = o->segments_max > 0 ? o->segments_max : SEGMENTS_DEFAULT;
    o->frame_bytes_max = o->frame_bytes_max > 0 ? o->frame_bytes_max : FRAME_BYTES_DEFAULT;
    o->staged_bytes_busy = o->staged_bytes_busy > 0 ? o->staged_bytes_busy : STAGED_BYTES_BUSY_DEFAULT;
    o->changed_bytes_max = o->changed_bytes_max > 0 ? o->changed_bytes_max : CHANGED_BYTES_DEFAULT;
    if (o->segment_bytes % BLOCK_BYTES != 0 || o->segment_bytes < SEGMENT_BYTES_MIN ||
        o->segment_bytes_max % BLOCK_BYTES != 0 || o->segment_bytes_max < o->segment_bytes ||
        o->segment_bytes_max > SEGMENT_BYTES_MAX) {
        return error_set(error, ERROR_INVALID, 0, "the size of a journal file must be a multiple of %d from %d to %d",
                         BLOCK_BYTES, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
    }
    if (o->segments_max < SEGMENTS_MIN || o->segments_max > SEGMENT_FILES_MAX) {
        return error_set(error, ERROR_INVALID, 0, "the number of journal files must be from %d to %d", SEGMENTS_MIN,
                         SEGMENT_FILES_MAX);
    }
    if (o->frame_bytes_max < BLOCK_BYTES) {
        return error_set(error, ERROR_INVALID, 0, "a journal frame must have room for %d bytes", BLOCK_BYTES);
    }
    return true;
}

struct store *store_local_open(const struct disk *disk, struct table *table, const struct store_local_options *options,
                               struct error *error) {
    struct store_local_options complete = *options;
    if (!options_complete(&complete, error)) {
        return NULL;
    }
    struct local *l = mem_zero(1, sizeof *l);
    l->base.ops = &local_ops;
    l->disk = disk;
    l->table = table;
    l->options = complete;
    l->segment_count = complete.segments_max;
    l->segments = mem_zero(l->segment_count, sizeof *l->segments);
    for (uint32_t i = 0; i < l->segment_count; i++) {
        l->segments[i].bytes = complete.segment_bytes;
    }
    l->commit.make_bytes = complete.segment_bytes;
    atomic_store(&l->active_bytes, complete.segment_bytes);
    trim_init(&l->checkpoint.trim);
    lock_init(&l->lock);
    bool ok = local_recover(l, error);
    if (ok && !local_table_reserve(l) && store_failed(&l->base)) {
        *error = l->base.error;
        ok = false;
    }
    if (!ok) {
        store_local_close(&l->base);
        return NULL;
    }
    return &l->base;
}

static void frame_free(struct local *l) {
    if (l->commit.frame != NULL) {
        staging_give(&l->staging, l->commit.frame);
    }
    if (l->staging.filling != NULL) {
        staging_deinit(&l->staging);
    }
}

void store_local_close(struct store *store) {
    struct local *l = local_of(store);
    frame_free(l);
    for (uint32_t i = 0; i < l->segment_count; i++) {
        if (l->segments[i].file != NULL) {
            l->disk->close(l->disk->user, l->segments[i].file);
        }
    }
    mem_free(l->segments);
    mem_free(l->commit.zeros);
    mem_free(l->checkpoint.image);
    trim_deinit(&l->checkpoint.trim);
    buf_deinit(&l->ends);
    lock_deinit(&l->lock);
    mem_free(l);
}

enum store_step local_fail(struct local *l, const struct error *error) {
    lock_take(&l->lock);
    if (!store_failed(&l->base)) {
        l->base.error = *error;
        atomic_store_explicit(&l->base.failed, true, memory_order_release);
    }
    lock_give(&l->lock);
    return STORE_STEP_FAILED;
}

/* The lock is held. */
static void note_end(struct local *l, lsn_t lsn, const struct record *record) {
    const struct session_end end = {lsn, record->end.session_id};
    if (l->ends.len < ENDS_MAX * sizeof end) {
        buf_bytes(&l->ends, span_of(&end, sizeof end));
    }
}

static lsn_t local_stage(struct store *store, const struct record *record) {
    struct local *l = local_of(store);
    bool fits;
    lock_take(&l->lock);
    uint64_t before = l->staging.bytes;
    lsn_t lsn = staging_add(&l->staging, record, &fits);
    uint64_t staged = atomic_load_explicit(&l->staged_bytes, memory_order_relaxed);
    atomic_store_explicit(&l->staged_bytes, staged + l->staging.bytes - before, memory_order_relaxed);
    if (before == 0 && l->wake != NULL) {
        l->wake(l->wake_user);
    }
    if (__builtin_expect(record->kind == RECORD_SESSION_END, 0)) {
        note_end(l, lsn, record);
    }
    lock_give(&l->lock);
    if (!fits) {
        struct error error;
        error_set(&error, ERROR_INVALID, 0,
                  "a record of up to %zu bytes does not fit into a journal file of %llu bytes",
                  record_bytes_max(record), (unsigned long long)l->options.segment_bytes_max);
        (void)local_fail(l, &error);
    }
    return lsn;
}

/* The checkpoint thread has been asked for room in the table, and what was there for the time until it looks is taken.
 */
static bool room_is_late(const struct local *l) {
    return local_table_needs(l) > atomic_load_explicit(&l->table_room, memory_order_relaxed) +
                                      atomic_load_explicit(&l->active_bytes, memory_order_relaxed);
}

/* FULL only when the reserve cannot be made larger: otherwise it is being made. A file that is made is of no use while
 * the table has no space to say so. BUSY also when the checkpoint is what
 * all wait for: the publishers then go at its speed instead of being refused. */
static enum store_pressure local_pressure(const struct store *store) {
    const struct local *l = container_of(store, const struct local, base);
    uint32_t spares = atomic_load_explicit(&l->spares, memory_order_relaxed);
    bool blocked = atomic_load_explicit(&l->reserve_blocked, memory_order_relaxed);
    bool whole = atomic_load_explicit(&l->reserve_whole, memory_order_relaxed);
    bool untold = atomic_load_explicit(&l->mades, memory_order_relaxed) > 0 &&
                  atomic_load_explicit(&l->fold_blocked, memory_order_relaxed);
    if (atomic_load_explicit(&l->table_short, memory_order_relaxed)) {
        return STORE_FULL;
    }
    if (spares < SEGMENTS_SPARE_MIN && (blocked || whole || untold)) {
        return STORE_FULL;
    }
    if (atomic_load_explicit(&l->tight, memory_order_relaxed) || local_journal_heavy(l)) {
        return atomic_load_explicit(&l->fold_blocked, memory_order_relaxed) ? STORE_FULL : STORE_BUSY;
    }
    if (atomic_load_explicit(&l->table_asked, memory_order_relaxed) && room_is_late(l)) {
        return STORE_BUSY;
    }
    if (whole && spares == SEGMENTS_SPARE_MIN && atomic_load_explicit(&l->fulls, memory_order_relaxed) > 0 &&
        !atomic_load_explicit(&l->fold_blocked, memory_order_relaxed)) {
        return STORE_BUSY;
    }
    if (spares == 0 && atomic_load_explicit(&l->mades, memory_order_relaxed) > 0) {
        return STORE_BUSY;
    }
    uint64_t staged = atomic_load_explicit(&l->staged_bytes, memory_order_relaxed);
    return staged > l->options.staged_bytes_busy ? STORE_BUSY : STORE_EASY;
}

const struct store_ops local_ops = {
    .stage = local_stage,
    .load = local_load,
    .message = local_message,
    .queue_read = local_queue_read,
    .pressure = local_pressure,
};

bool store_local_staged(const struct store *store) {
    struct local *l = container_of(store, struct local, base);
    lock_take(&l->lock);
    bool staged = !staging_empty(&l->staging);
    lock_give(&l->lock);
    return staged;
}

uint64_t store_local_staged_digest(const struct store *store) {
    struct local *l = container_of(store, struct local, base);
    uint64_t digest = l->commit.frame != NULL ? hash_bytes(staged_frame_payload(l->commit.frame), 1) : 0;
    lock_take(&l->lock);
    for (const struct link *i = l->staging.closed.next; i != &l->staging.closed; i = i->next) {
        digest = hash_bytes(staged_frame_payload(container_of(i, struct staged_frame, link)), digest);
    }
    digest = hash_bytes(staged_frame_payload(l->staging.filling), digest);
    lock_give(&l->lock);
    return digest;
}

uint64_t store_local_journal_bytes(const struct store *store) {
    const struct local *l = container_of(store, const struct local, base);
    return atomic_load_explicit(&l->journal_bytes, memory_order_relaxed);
}

uint64_t store_local_written_bytes(const struct store *store) {
    const struct local *l = container_of(store, const struct local, base);
    return atomic_load_explicit(&l->written_bytes, memory_order_relaxed);
}

/* Of the table: what it takes on the disk, or what rows use of that. */
static uint64_t held_bytes(struct local *l, bool used_only) {
    uint64_t used = 0;
    uint64_t bytes = l->table->ops->bytes != NULL ? l->table->ops->bytes(l->table, &used) : 0;
    bytes = used_only ? used : bytes;
    lock_take(&l->lock);
    for (uint32_t i = 0; i < l->segment_count; i++) {
        enum segment_state state = l->segments[i].state;
        bytes += state == SEGMENT_ABSENT || state == SEGMENT_CUTTING ? 0 : l->segments[i].bytes;
    }
    lock_give(&l->lock);
    return bytes;
}

uint64_t store_local_disk_bytes(const struct store *store) {
    return held_bytes(container_of(store, struct local, base), false);
}

uint64_t store_local_staged_bytes(const struct store *store, uint64_t *busy) {
    const struct local *l = container_of(store, struct local, base);
    *busy = l->options.staged_bytes_busy;
    return atomic_load_explicit(&l->staged_bytes, memory_order_relaxed);
}

uint64_t local_next_file(struct local *l) {
    uint64_t bytes = 0;
    lock_take(&l->lock);
    for (uint32_t i = 0; i < l->segment_count && bytes == 0; i++) {
        bytes = l->segments[i].state == SEGMENT_ABSENT ? l->options.segment_bytes : 0;
    }
    lock_give(&l->lock);
    return bytes;
}

uint64_t local_limit_room(struct local *l) {
    const uint64_t max = atomic_load_explicit(&l->bytes_max, memory_order_relaxed);
    if (max == 0) {
        return UINT64_MAX;
    }
    const uint64_t held = held_bytes(l, true);
    const uint64_t bytes = held + local_table_needs(l);
    const uint64_t part = max / STORE_FILLED_ALL > 0 ? max / STORE_FILLED_ALL : 1;
    const uint32_t filled = bytes / part < STORE_FILLED_ALL ? (uint32_t)(bytes / part) : STORE_FILLED_ALL;
    atomic_store_explicit(&l->base.filled, filled, memory_order_relaxed);
    atomic_store_explicit(&l->fat, held_bytes(l, false) > max, memory_order_relaxed);
    return max > held ? max - held : 0;
}

enum store_excess store_local_excess(const struct store *store) {
    const struct local *l = container_of(store, const struct local, base);
    return atomic_load_explicit(&l->table_short, memory_order_relaxed) ? STORE_EXCESS_FULL
           : atomic_load_explicit(&l->tight, memory_order_relaxed)     ? STORE_EXCESS_JOURNAL
           : local_journal_heavy(l)                                    ? STORE_EXCESS_JOURNAL
           : atomic_load_explicit(&l->fat, memory_order_relaxed)       ? STORE_EXCESS_FREE
                                                                       : STORE_EXCESS_NONE;
}

bool store_local_asks(const struct store *store) {
    const struct local *l = container_of(store, const struct local, base);
    return atomic_load_explicit(&l->table_asked, memory_order_relaxed);
}

void store_local_limit(struct store *store, uint64_t bytes) {
    struct local *l = local_of(store);
    atomic_store_explicit(&l->bytes_max, bytes, memory_order_relaxed);
    (void)local_table_reserve(l);
}

uint64_t store_local_files_made(const struct store *store) {
    const struct local *l = container_of(store, const struct local, base);
    return atomic_load_explicit(&l->files_made, memory_order_relaxed);
}

void store_local_uuid(const struct store *store, uint8_t uuid[16]) {
    const struct local *l = container_of(store, const struct local, base);
    memcpy(uuid, l->uuid, UUID_BYTES);
}

void store_local_on_staged(struct store *store, void (*wake)(void *user), void *user) {
    struct local *l = local_of(store);
    lock_take(&l->lock);
    l->wake = wake;
    l->wake_user = user;
    lock_give(&l->lock);
}
