/* The checkpoint: a finished segment is read back and folded into the table; then its file is free to be used again.
 * And since nobody else writes META: the table is told of new files. */
#include "base/mem.h"
#include "store/local.h"
#include "store/scan.h"

/* So much is read and folded at a time, or one frame that is longer: the image of it, and the pages that the table
 * keeps until it is committed, are all that folding takes of memory, however long a segment is. */
enum { READ_BYTES = 1 << 20, IMAGE_BYTES = 8 << 20 };

/* The oldest full segment; or, when `all`, the active one as far as it is durable. */
static struct segment *candidate(struct local *l, bool all) {
    struct segment *oldest = NULL;
    struct segment *active = NULL;
    for (uint32_t i = 0; i < l->segment_count; i++) {
        struct segment *s = &l->segments[i];
        if (s->state == SEGMENT_FULL && (oldest == NULL || s->number < oldest->number)) {
            oldest = s;
        } else if (s->state == SEGMENT_ACTIVE && s->end > s->folded) {
            active = s;
        }
    }
    return oldest != NULL ? oldest : all ? active : NULL;
}

/* Only at rest: a buffer that is new costs more than what is read into it. */
static void image_free(struct checkpoint *cp) {
    mem_free(cp->image);
    cp->image = NULL;
    cp->image_capacity = 0;
}

/* The image is to have so many bytes, or what there is up to the end; those that it has stay. */
static void image_want(struct checkpoint *cp, uint64_t bytes) {
    const uint64_t left = cp->end - cp->from;
    if (cp->read == 0 && cp->image_capacity > IMAGE_BYTES) {
        image_free(cp);
    }
    cp->want = bytes < left ? bytes : left;
    if (cp->want > cp->image_capacity) {
        cp->image_capacity = cp->want > IMAGE_BYTES ? cp->want : left < IMAGE_BYTES ? left : IMAGE_BYTES;
        cp->image = mem_resize(cp->image, cp->image_capacity);
    }
}

static bool choose(struct local *l, bool all) {
    struct checkpoint *cp = &l->checkpoint;
    lock_take(&l->lock);
    struct segment *s = candidate(l, all);
    if (s != NULL) {
        cp->segment = s;
        cp->whole = s->state == SEGMENT_FULL;
        cp->from = s->folded > 0 ? s->folded : BLOCK_BYTES;
        cp->end = s->end > cp->from ? s->end : cp->from;
        cp->read = 0;
    }
    lock_give(&l->lock);
    if (s != NULL) {
        image_want(cp, IMAGE_BYTES);
    }
    return s != NULL;
}

static enum store_step read_chunk(struct local *l) {
    struct checkpoint *cp = &l->checkpoint;
    struct error error;
    uint64_t bytes = cp->want - cp->read;
    bytes = bytes < READ_BYTES ? bytes : READ_BYTES;
    if (!l->disk->read(l->disk->user, cp->segment->file, cp->from + cp->read, cp->image + cp->read, bytes, &error)) {
        return local_fail(l, &error);
    }
    cp->read += bytes;
    return STORE_STEP_MORE;
}

bool local_meta_put(struct table *table, struct table_txn *txn, const struct row_meta *meta, struct error *error) {
    struct row_key key;
    uint8_t value[ROW_META_BYTES];
    row_key_meta(&key);
    row_meta_write(value, meta);
    return table->ops->put(txn, TABLE_META, row_key_span(&key), span_of(value, sizeof value), error);
}

bool local_table_turn(struct table *table, struct error *error) {
    struct row_key key;
    struct span there;
    uint8_t value[ROW_META_BYTES];
    struct table_txn *txn = table->ops->begin(table, true, error);
    if (txn == NULL) {
        return false;
    }
    row_key_meta(&key);
    if (table->ops->get(txn, TABLE_META, row_key_span(&key), &there) && there.len == sizeof value) {
        memcpy(value, there.ptr, sizeof value);
        if (!table->ops->put(txn, TABLE_META, row_key_span(&key), span_of(value, sizeof value), error)) {
            table->ops->abort(txn);
            return false;
        }
    }
    return table->ops->commit(txn, error);
}

/* There are spare segments again: a commit that waits for one is woken. The lock is held. */
static void wake_waiting(struct local *l) {
    if (atomic_load_explicit(&l->staged_bytes, memory_order_relaxed) > 0 && l->wake != NULL) {
        l->wake(l->wake_user);
    }
}

static uint32_t files_there(struct local *l) {
    lock_take(&l->lock);
    uint32_t files = l->files;
    while (files < l->segment_count && l->segments[files].state == SEGMENT_MADE) {
        files++;
    }
    lock_give(&l->lock);
    return files;
}

bool local_files_commit(struct local *l, struct error *error) {
    struct row_meta meta = l->checkpoint.meta;
    meta.files = files_there(l);
    struct table_txn *txn = l->table->ops->begin(l->table, true, error);
    if (txn == NULL) {
        return false;
    }
    if (!local_meta_put(l->table, txn, &meta, error)) {
        l->table->ops->abort(txn);
        return false;
    }
    if (!l->table->ops->commit(txn, error)) {
        return false;
    }
    l->checkpoint.meta = meta;
    lock_take(&l->lock);
    for (; l->files < meta.files; l->files++) {
        local_segment_set(l, &l->segments[l->files], SEGMENT_SPARE);
    }
    wake_waiting(l);
    lock_give(&l->lock);
    return true;
}

/* The table had no space for a commit. Perhaps the commit before it was so large that most of the room is what that one
 * has freed: then an empty one helps. What the next try wants is reserved before it. */
static enum store_step no_space(struct local *l) {
    struct error error;
    const bool turned = l->checkpoint.turned;
    l->checkpoint.turned = !turned;
    if (!turned && !local_table_turn(l->table, &error) && error.kind != ERROR_NO_SPACE) {
        return local_fail(l, &error);
    }
    if (turned) {
        atomic_store_explicit(&l->fold_blocked, true, memory_order_relaxed);
    }
    (void)local_table_reserve(l);
    return store_failed(&l->base) ? STORE_STEP_FAILED : turned ? STORE_STEP_WAIT : STORE_STEP_MORE;
}

static enum store_step files_step(struct local *l) {
    struct error error;
    if (local_files_commit(l, &error)) {
        l->checkpoint.turned = false;
        atomic_store_explicit(&l->fold_blocked, false, memory_order_relaxed);
        return STORE_STEP_MORE;
    }
    return error.kind == ERROR_NO_SPACE ? no_space(l) : local_fail(l, &error);
}

uint64_t local_fold_part(struct span frames, uint64_t most) {
    uint64_t bytes = 0;
    struct frame_header h;
    while (most != 0 && bytes < frames.len && frame_header_read(frames.ptr + bytes, &h)) {
        uint64_t more = frame_bytes(h.payload_bytes);
        if (more > frames.len - bytes || (bytes > 0 && bytes + more > most)) {
            return bytes;
        }
        bytes += more;
    }
    return bytes > 0 && bytes < frames.len ? bytes : frames.len;
}

/* The whole frames of the image; when it has none, `*needs` is what it must have for the first. What is no frame is for
 * the fold to say. */
static struct span image_frames(const struct checkpoint *cp, uint64_t *needs) {
    uint64_t bytes = 0;
    struct frame_header h;
    *needs = 0;
    while (bytes < cp->read && frame_header_read(cp->image + bytes, &h)) {
        const uint64_t frame = frame_bytes(h.payload_bytes);
        if (frame > cp->read - bytes && frame <= cp->end - cp->from - bytes) {
            *needs = bytes == 0 ? frame : 0;
            return span_of(cp->image, bytes);
        }
        if (frame > cp->read - bytes) {
            break;
        }
        bytes += frame;
    }
    return span_of(cp->image, cp->read);
}

/* Those whose ends are too far away for the image are trimmed along. */
static void add_ends(struct local *l) {
    lock_take(&l->lock);
    const lsn_t durable = store_durable(&l->base);
    for (size_t at = 0; at < l->ends.len; at += sizeof(struct session_end)) {
        struct session_end end;
        memcpy(&end, l->ends.ptr + at, sizeof end);
        if (end.lsn <= durable) {
            trim_add(&l->checkpoint.trim, end.session_id);
        }
    }
    lock_give(&l->lock);
}

/* Up to this record they are folded. The lock is held. */
static void forget_ends(struct local *l, lsn_t folded) {
    size_t at = 0;
    for (struct session_end end; at < l->ends.len; at += sizeof end) {
        memcpy(&end, l->ends.ptr + at, sizeof end);
        if (end.lsn > folded) {
            break;
        }
    }
    if (at > 0) {
        buf_drop_front(&l->ends, at);
    }
    if (l->ends.len == 0) {
        buf_deinit(&l->ends);
    }
}

/* Folds at most these bytes of the image, says how many they were, and commits them together with where the journal
 * goes on; `meta` then says so. */
static bool fold_commit(struct local *l, uint64_t *bytes, struct row_meta *meta, struct error *error) {
    struct checkpoint *cp = &l->checkpoint;
    struct table_txn *txn = l->table->ops->begin(l->table, true, error);
    if (txn == NULL) {
        return false;
    }
    struct fold fold;
    fold_init(&fold, l->table, txn, &meta->chain, true);
    fold.changed_max = l->options.changed_bytes_max;
    fold.trimmed = &cp->trim.sessions;
    bool ok = fold_some(&fold, span_of(cp->image, *bytes), &meta->chain, bytes, error);
    if (fold.giant) {
        trim_begin(&cp->trim, span_of(cp->image + *bytes, cp->read - *bytes), &meta->chain);
        add_ends(l);
    }
    bool over = cp->whole && cp->from + *bytes == cp->end;
    fold_deinit(&fold);
    meta->segment = cp->segment->number + (over ? 1 : 0);
    meta->offset = over ? 0 : cp->from + *bytes;
    if (!ok || !local_meta_put(l->table, txn, meta, error)) {
        l->table->ops->abort(txn);
        return false;
    }
    return l->table->ops->commit(txn, error);
}

/* The table has so much more; when it has all, the segment goes round. */
static void fold_done(struct local *l, uint64_t bytes, const struct row_meta *meta) {
    struct checkpoint *cp = &l->checkpoint;
    cp->meta = *meta;
    cp->turned = false;
    trim_end(&cp->trim);
    cp->from += bytes;
    cp->read -= bytes;
    if (cp->read > 0) {
        memmove(cp->image, cp->image + bytes, cp->read);
    }
    bool all = cp->from == cp->end;
    lock_take(&l->lock);
    if (cp->whole && all) {
        local_segment_set(l, cp->segment, SEGMENT_SPARE);
        wake_waiting(l);
    } else {
        cp->segment->folded = cp->from;
    }
    forget_ends(l, meta->chain.next_lsn - 1);
    lock_give(&l->lock);
    atomic_fetch_sub_explicit(&l->journal_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&l->base.folded, meta->chain.next_lsn - 1, memory_order_release);
    cp->most = cp->most < l->options.segment_bytes / 2 ? cp->most * 2 : 0;
    cp->segment = all ? NULL : cp->segment;
    image_want(cp, IMAGE_BYTES);
    (void)local_table_reserve(l);
}

/* The image stays when the table has no space, so that the next try begins here. Each commit needs room for all pages
 * that it changes, and the room that they had comes back with the commits after it: so fewer frames may find space
 * where many do not. */
static enum store_step fold_image(struct local *l) {
    struct error error;
    struct checkpoint *cp = &l->checkpoint;
    struct row_meta meta = cp->meta;
    uint64_t needs;
    const struct span frames = image_frames(cp, &needs);
    if (needs > 0) {
        image_want(cp, needs);
        return STORE_STEP_MORE;
    }
    const uint64_t asked = local_fold_part(frames, cp->most);
    uint64_t bytes = asked;
    if (fold_commit(l, &bytes, &meta, &error)) {
        atomic_store_explicit(&l->fold_blocked, false, memory_order_relaxed);
        fold_done(l, bytes, &meta);
        return store_failed(&l->base) ? STORE_STEP_FAILED : STORE_STEP_DONE;
    }
    if (trim_due(&cp->trim)) {
        return STORE_STEP_MORE;
    }
    if (error.kind == ERROR_NO_SPACE && cp->turned && local_fold_part(frames, asked / 2) < asked) {
        cp->most = asked / 2;
        (void)local_table_reserve(l);
        return STORE_STEP_MORE;
    }
    if (error.kind == ERROR_NO_SPACE) {
        return no_space(l);
    }
    char name[SEGMENT_NAME_BYTES];
    struct error named = error;
    segment_name(name, (uint32_t)(l->checkpoint.segment - l->segments));
    error_set(&named, error.kind, error.system, "folding %s: %.300s", name, error.text);
    return local_fail(l, &named);
}

/* A session that has ended had so much that one commit cannot take it: first what waits for it goes, in several. */
static enum store_step trim_ended(struct local *l) {
    struct checkpoint *cp = &l->checkpoint;
    struct error error;
    if (trim_step(&cp->trim, l->table, &cp->meta.chain, l->options.changed_bytes_max, &error)) {
        cp->turned = false;
        return STORE_STEP_MORE;
    }
    return error.kind == ERROR_NO_SPACE ? no_space(l) : local_fail(l, &error);
}

enum store_step store_local_checkpoint_step(struct store *store, bool all) {
    struct local *l = local_of(store);
    struct checkpoint *cp = &l->checkpoint;
    if (store_failed(store)) {
        return STORE_STEP_FAILED;
    }
    if (atomic_load_explicit(&l->table_asked, memory_order_relaxed)) {
        (void)local_table_reserve(l);
        if (store_failed(store)) {
            return STORE_STEP_FAILED;
        }
    }
    bool files_wait = atomic_load_explicit(&l->mades, memory_order_relaxed) > 0;
    if (files_wait && !atomic_load_explicit(&l->fold_blocked, memory_order_relaxed)) {
        return files_step(l);
    }
    if (cp->segment == NULL && !choose(l, all)) {
        if (files_wait) {
            return files_step(l);
        }
        bool reserved = !atomic_load_explicit(&l->table_short, memory_order_relaxed) || local_table_reserve(l);
        return reserved ? STORE_STEP_IDLE : store_failed(store) ? STORE_STEP_FAILED : STORE_STEP_WAIT;
    }
    if (trim_due(&cp->trim)) {
        return trim_ended(l);
    }
    return cp->read < cp->want ? read_chunk(l) : fold_image(l);
}

/* ---- at rest ---- */

/* A spare segment that takes more than it must: one beyond the reserve, the longest first, or one that has grown. */
static struct segment *surplus(struct local *l) {
    struct segment *longest = NULL;
    lock_take(&l->lock);
    for (uint32_t i = 0; i < l->segment_count; i++) {
        struct segment *s = &l->segments[i];
        bool idle = s->state == SEGMENT_SPARE || (l->options.mutant_rest && s->state == SEGMENT_FULL);
        if (idle && (longest == NULL || s->bytes >= longest->bytes)) {
            longest = s;
        }
    }
    bool beyond = atomic_load_explicit(&l->spares, memory_order_relaxed) > SEGMENTS_SPARE_MIN;
    if (longest != NULL && (beyond || longest->bytes > l->options.segment_bytes)) {
        local_segment_set(l, longest, SEGMENT_CUTTING);
    } else {
        longest = NULL;
    }
    lock_give(&l->lock);
    return longest;
}

/* What it holds is void, and its number is behind what META says: as long as the cut is not synced a crash may bring
 * the old length back, and that is no harm. The file stays, for one that is missing is damage. */
static bool surplus_cut(struct local *l, struct segment *s, struct error *error) {
    if (local_reserve_count(l) >= SEGMENTS_SPARE_MIN) {
        return local_segment_cut(l, s, error);
    }
    bool ok = l->disk->cut(l->disk->user, s->file, l->options.segment_bytes, error);
    lock_take(&l->lock);
    s->bytes = l->options.segment_bytes;
    s->made = s->synced = s->bytes;
    local_segment_set(l, s, SEGMENT_SPARE);
    lock_give(&l->lock);
    return ok;
}

static bool table_rest(struct local *l, struct error *error) {
    uint64_t journal = atomic_load_explicit(&l->journal_bytes, memory_order_relaxed);
    uint64_t keeps = local_table_keeps(journal, l->options.segment_bytes);
    uint64_t used;
    if (l->table->ops->bytes(l->table, &used) <= used + keeps) {
        return true;
    }
    if (!local_table_turn(l->table, error) || !l->table->ops->rest(l->table, keeps, error)) {
        return false;
    }
    (void)local_table_reserve(l); /* the commit thread may have needed more just before that went */
    return true;
}

enum store_step store_local_rest_step(struct store *store) {
    struct local *l = local_of(store);
    struct error error;
    if (store_failed(store)) {
        return STORE_STEP_FAILED;
    }
    if (l->checkpoint.segment == NULL) {
        image_free(&l->checkpoint);
    }
    struct segment *s = surplus(l);
    if (s != NULL) {
        return surplus_cut(l, s, &error) ? STORE_STEP_MORE : local_fail(l, &error);
    }
    if (l->table->ops->rest != NULL && !table_rest(l, &error)) {
        return error.kind == ERROR_NO_SPACE ? STORE_STEP_WAIT : local_fail(l, &error);
    }
    return STORE_STEP_IDLE;
}
