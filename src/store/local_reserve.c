/* The reserve: segments that are filled with zeros ahead of their use, so that a write of a frame needs no new space.
 * A segment counts when its zeros and its directory entry are on stable storage and the table knows of its file. */
#include "base/mem.h"
#include "store/local.h"
#include "store/scan.h"

enum { CHUNK_BYTES = 1 << 20 };

void local_segment_set(struct local *l, struct segment *s, enum segment_state state) {
    uint32_t spares = atomic_load_explicit(&l->spares, memory_order_relaxed);
    uint32_t mades = atomic_load_explicit(&l->mades, memory_order_relaxed);
    uint32_t fulls = atomic_load_explicit(&l->fulls, memory_order_relaxed);
    spares += (state == SEGMENT_SPARE ? 1U : 0U) - (s->state == SEGMENT_SPARE ? 1U : 0U);
    mades += (state == SEGMENT_MADE ? 1U : 0U) - (s->state == SEGMENT_MADE ? 1U : 0U);
    fulls += (state == SEGMENT_FULL ? 1U : 0U) - (s->state == SEGMENT_FULL ? 1U : 0U);
    s->state = state;
    atomic_store_explicit(&l->spares, spares, memory_order_relaxed);
    atomic_store_explicit(&l->mades, mades, memory_order_relaxed);
    atomic_store_explicit(&l->fulls, fulls, memory_order_relaxed);
    bool whole = true;
    for (uint32_t i = 0; i < l->segment_count; i++) {
        whole = whole && l->segments[i].state >= SEGMENT_SPARE;
    }
    atomic_store_explicit(&l->reserve_whole, whole, memory_order_relaxed);
}

void local_segment_made(struct local *l, struct segment *s) {
    bool known = (uint32_t)(s - l->segments) < l->files;
    local_segment_set(l, s, known ? SEGMENT_SPARE : SEGMENT_MADE);
    if (!known) {
        atomic_fetch_add_explicit(&l->files_made, 1, memory_order_relaxed);
    }
}

bool local_table_reserve(struct local *l) {
    struct error error;
    atomic_store_explicit(&l->table_asked, false, memory_order_relaxed);
    uint64_t journal = atomic_load_explicit(&l->journal_bytes, memory_order_relaxed);
    uint64_t active = atomic_load_explicit(&l->active_bytes, memory_order_relaxed);
    uint64_t bytes = local_table_keeps(journal, active);
    const uint64_t left = local_limit_room(l);
    const uint64_t next = local_next_file(l); /* the table does not take its place */
    const uint64_t room = left > next ? left - next : 0;
    bool tight = room < bytes;
    bool ok = l->table->ops->reserve == NULL || l->table->ops->reserve(l->table, tight ? room : bytes, &error);
    if (!ok && error.kind != ERROR_NO_SPACE) {
        (void)local_fail(l, &error);
    }
    ok = ok && left >= local_table_needs(l);
    atomic_store_explicit(&l->table_room, tight ? room : bytes, memory_order_relaxed);
    atomic_store_explicit(&l->tight, tight, memory_order_relaxed);
    atomic_store_explicit(&l->table_short, !ok, memory_order_relaxed);
    return ok;
}

void local_table_ask(struct local *l) {
    if (l->table->ops->reserve == NULL) {
        (void)local_table_reserve(l); /* to look is all there is to it */
    } else {
        atomic_store_explicit(&l->table_asked, true, memory_order_relaxed);
    }
}

/* A segment that is being made, or can be; NULL when all exist. */
static struct segment *makable(struct local *l) {
    struct segment *found = NULL;
    lock_take(&l->lock);
    for (uint32_t i = 0; i < l->segment_count && found == NULL; i++) {
        if (l->segments[i].state == SEGMENT_MAKING) {
            found = &l->segments[i];
        }
    }
    for (uint32_t i = 0; i < l->segment_count && found == NULL; i++) {
        if (l->segments[i].state == SEGMENT_ABSENT) {
            found = &l->segments[i];
        }
    }
    lock_give(&l->lock);
    return found;
}

static bool make_open(struct local *l, struct segment *s, struct error *error) {
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, (uint32_t)(s - l->segments));
    s->file = l->disk->open(l->disk->user, name, true, error);
    if (s->file == NULL) {
        return false;
    }
    lock_take(&l->lock);
    local_segment_set(l, s, SEGMENT_MAKING);
    lock_give(&l->lock);
    return true;
}

static bool make_write(struct local *l, struct segment *s, struct error *error) {
    uint64_t chunk = l->options.segment_bytes < CHUNK_BYTES ? l->options.segment_bytes : CHUNK_BYTES;
    uint64_t bytes = s->bytes - s->made;
    bytes = bytes < chunk ? bytes : chunk;
    if (l->commit.zeros == NULL) {
        l->commit.zeros = mem_zero(1, chunk);
    }
    if (!l->disk->write(l->disk->user, s->file, s->made, span_of(l->commit.zeros, bytes), error)) {
        return false;
    }
    s->made += bytes;
    return true;
}

/* When the sync of a chunk fails for want of space, the chunk is written again: the file holds nothing yet, so that
 * this is not the second try of a sync. */
static bool make_sync(struct local *l, struct segment *s, struct error *error) {
    bool ok = l->disk->sync(l->disk->user, s->file, error);
    if (ok) {
        s->synced = s->made;
    } else {
        s->made = s->synced;
    }
    return ok;
}

static bool make_finish(struct local *l, struct segment *s, struct error *error) {
    if (!l->disk->sync_directory(l->disk->user, error)) {
        error->kind = error->kind == ERROR_NO_SPACE ? ERROR_IO : error->kind;
        return false;
    }
    lock_take(&l->lock);
    local_segment_made(l, s);
    lock_give(&l->lock);
    l->commit.making = NULL;
    mem_free(l->commit.zeros);
    l->commit.zeros = NULL;
    return true;
}

static bool make(struct local *l, struct segment *s, struct error *error) {
    if (s->file == NULL) {
        return make_open(l, s, error);
    }
    if (s->made > s->synced) {
        return make_sync(l, s, error);
    }
    return s->made < s->bytes ? make_write(l, s, error) : make_finish(l, s, error);
}

enum store_step local_make_step(struct local *l, struct error *error) {
    struct commit *c = &l->commit;
    if (c->making == NULL) {
        c->making = makable(l);
        if (c->making == NULL) {
            return STORE_STEP_IDLE;
        }
        lock_take(&l->lock);
        c->making->bytes = c->making->bytes > c->make_bytes ? c->making->bytes : c->make_bytes;
        lock_give(&l->lock);
    }
    bool ok = make(l, c->making, error);
    bool blocked = !ok && error->kind == ERROR_NO_SPACE;
    atomic_store_explicit(&l->reserve_blocked, blocked, memory_order_relaxed);
    return ok ? STORE_STEP_MORE : blocked ? STORE_STEP_WAIT : STORE_STEP_FAILED;
}

bool local_segment_cut(struct local *l, struct segment *s, struct error *error) {
    bool ok = l->disk->cut(l->disk->user, s->file, BLOCK_BYTES, error);
    l->disk->close(l->disk->user, s->file);
    s->file = NULL;
    lock_take(&l->lock);
    s->bytes = l->options.segment_bytes;
    s->made = s->synced = 0;
    local_segment_set(l, s, SEGMENT_ABSENT);
    lock_give(&l->lock);
    return ok;
}

bool local_make_leave(struct local *l, struct error *error) {
    struct segment *s = l->commit.making;
    l->commit.making = NULL;
    mem_free(l->commit.zeros);
    l->commit.zeros = NULL;
    atomic_store_explicit(&l->reserve_blocked, false, memory_order_relaxed);
    return s->file == NULL || local_segment_cut(l, s, error);
}
