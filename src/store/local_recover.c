/* The start: what the journal holds beyond the table is verified and folded, and a new generation begins.
 *
 * Nothing is changed before all is verified, journal and table. Then each segment is folded, as a checkpoint would have
 * done it. The last commit of the table is the switch: before it, the old generation is valid and the next start does
 * the rest again; after it, every frame in the files is void, for its salt is another. */
#include <xxhash.h>

#include "base/mem.h"
#include "base/must.h"
#include "base/prng.h"
#include "store/bytes.h"
#include "store/local.h"
#include "store/scan.h"

/* How much of the part is folded with one commit: whole frames of `most` bytes at most, 0: all. */
static bool part_bytes(struct scan *scan, const struct scan_part *part, uint64_t most, uint64_t *bytes,
                       struct error *error) {
    uint64_t end = most != 0 && most < part->end - part->from ? part->from + most : part->end;
    struct frame_header h;
    const uint8_t *image = scan_read(scan, part->file, part->from, part->from + BLOCK_BYTES, error);
    if (image == NULL) {
        return false;
    }
    if (frame_header_read(image, &h) && end < part->from + frame_bytes(h.payload_bytes)) {
        end = part->from + frame_bytes(h.payload_bytes);
    }
    image = scan_read(scan, part->file, part->from, end, error);
    *bytes = image != NULL ? local_fold_part(span_of(image, end - part->from), most) : 0;
    return image != NULL;
}

/* Folds so much of a part as one commit takes, and says where that ends; `chain` is then what follows it. */
static bool fold_part(struct local *l, struct scan *scan, struct scan_part *part, struct table_txn *txn,
                      struct trim *trim, struct chain *chain, struct error *error) {
    uint64_t bytes;
    const uint8_t *image = scan_read(scan, part->file, part->from, part->end, error);
    if (image == NULL) {
        return false;
    }
    struct fold fold;
    fold_init(&fold, l->table, txn, &part->chain, true);
    fold.changed_max = l->options.changed_bytes_max;
    fold.trimmed = &trim->sessions;
    *chain = part->chain;
    bool ok = fold_some(&fold, span_of(image, part->end - part->from), chain, &bytes, error);
    if (fold.giant) {
        trim_begin(trim, span_of(image + bytes, part->end - part->from - bytes), chain);
    }
    part->end = ok ? part->from + bytes : part->end;
    fold_deinit(&fold);
    return ok;
}

/* Folds one part (NULL: none), or the beginning of it, and says so in `part`; commits it with `meta`, when all was
 * folded and there is one, or with the place where it ends, as a checkpoint does. `chain` is then what follows it. */
static bool part_commit(struct local *l, struct scan *scan, struct scan_part *part, const struct row_meta *old,
                        const struct row_meta *meta, struct trim *trim, struct chain *chain, struct error *error) {
    const uint64_t end = part != NULL ? part->end : 0;
    struct row_meta after = *old;
    struct table_txn *txn = l->table->ops->begin(l->table, true, error);
    if (txn == NULL) {
        return false;
    }
    bool ok = part == NULL || fold_part(l, scan, part, txn, trim, &after.chain, error);
    if (part != NULL) {
        after.segment = part->segment;
        after.offset = part->end;
        meta = part->end == end ? meta : NULL;
    }
    *chain = after.chain;
    if (!ok || !local_meta_put(l->table, txn, meta != NULL ? meta : &after, error)) {
        l->table->ops->abort(txn);
        return false;
    }
    return l->table->ops->commit(txn, error);
}

struct row_meta local_generation(const struct row_meta *old, const struct chain *chain, uint64_t segment_last,
                                 uint64_t random) {
    struct row_meta meta = *old;
    uint64_t mixed[3] = {random, old->chain.salt, segment_last};
    struct prng prng = prng_of(XXH3_64bits(mixed, sizeof mixed));
    meta.chain = *chain;
    meta.chain.salt = prng_next(&prng);
    meta.chain.previous = meta.chain.salt;
    meta.segment = (segment_last > old->segment ? segment_last : old->segment) + 1;
    meta.offset = 0;
    return meta;
}

static struct row_meta first_generation(uint64_t random) {
    struct prng prng = prng_of(random);
    struct row_meta none = {.chain = {.number = 1, .next_lsn = 1}};
    le64_put(none.uuid, prng_next(&prng));
    le64_put(none.uuid + 8, prng_next(&prng));
    return none;
}

static bool part_of(const struct scan *scan, uint32_t file) {
    for (uint32_t i = 0; i < scan->part_count; i++) {
        if (scan->parts[i].file == file) {
            return true;
        }
    }
    return false;
}

/* The table finds no space: a journal file that holds nothing which the table lacks is cut to its first block. It is
 * not removed, for a file that is missing is damage; so is one whose header says that it was longer, hence the zeros.
 * One file stays as it is, for the journal cannot begin without. False, with the error as it was, when there is none.
 */
static bool make_room(struct scan *scan, struct error *error) {
    static const uint8_t zeros[BLOCK_BYTES];
    const struct disk *disk = scan->disk;
    uint32_t count = 0;
    uint32_t victim = scan->file_count;
    for (uint32_t i = 0; i < scan->file_count; i++) {
        if (scan->files[i].file != NULL && scan->files[i].size > BLOCK_BYTES) {
            count++;
            victim = part_of(scan, i) ? victim : i;
        }
    }
    if (error->kind != ERROR_NO_SPACE || count < 2 || victim == scan->file_count) {
        return false;
    }
    struct scan_file *f = &scan->files[victim];
    f->size = BLOCK_BYTES;
    f->begun = false;
    return disk->write(disk->user, f->file, 0, span_of(zeros, sizeof zeros), error) &&
           disk->sync(disk->user, f->file, error) && disk->cut(disk->user, f->file, BLOCK_BYTES, error) &&
           disk->sync(disk->user, f->file, error);
}

/* Only the rows of sessions that end have gone when this fails. */
static bool trim_all(struct local *l, const struct chain *chain, struct trim *trim, struct error *error) {
    while (trim_due(trim)) {
        if (!trim_step(trim, l->table, chain, l->options.changed_bytes_max, error)) {
            return false;
        }
    }
    return true;
}

/* Folds so many bytes of a part at most, and commits: the first of them, or all; NULL: none is left. The last commit is
 * the switch to the new generation. */
static bool commit_some(struct local *l, struct scan *scan, struct scan_part *part, uint64_t bytes,
                        const struct row_meta *old, const struct row_meta *last, struct error *error) {
    struct chain chain;
    if (part == NULL) {
        return part_commit(l, scan, NULL, old, last, NULL, &chain, error);
    }
    struct trim trim;
    trim_init(&trim);
    struct scan_part first = *part;
    first.end = part->from + bytes;
    last = first.end == part->end ? last : NULL;
    bool ok;
    while (!(ok = part_commit(l, scan, &first, old, last, &trim, &chain, error)) && trim_due(&trim) &&
           trim_all(l, &part->chain, &trim, error)) {
    }
    trim_deinit(&trim);
    if (!ok) {
        return false;
    }
    part->from = first.end;
    part->chain = chain;
    return true;
}

/* The table had no space for a commit: perhaps it has some that the next can use after an empty one, or elsewhere. */
static bool table_tidy(struct local *l, struct error *error) {
    const struct table_ops *ops = l->table->ops;
    if (!local_table_turn(l->table, error) && error->kind != ERROR_NO_SPACE) {
        return false;
    }
    const uint64_t bytes = local_table_keeps(0, l->options.segment_bytes);
    return ops->reserve == NULL || ops->reserve(l->table, bytes, error) || error->kind == ERROR_NO_SPACE;
}

/* Folds the parts one by one, so that a long journal needs no more memory than a short one; and when space is short
 * some frames at a time, as a checkpoint does. */
static bool generation_commit(struct local *l, struct scan *scan, const struct row_meta *old,
                              const struct row_meta *meta, struct error *error) {
    uint32_t next = 0; /* what is committed is not folded again */
    uint64_t most = 0;
    bool turned = false; /* since the last commit that has found space */
    for (;;) {
        struct scan_part *part = next < scan->part_count ? &scan->parts[next] : NULL;
        bool last = next + 1 >= scan->part_count;
        uint64_t bytes = 0;
        uint64_t fewer = 0;
        if (part != NULL && !part_bytes(scan, part, most, &bytes, error)) {
            return false;
        }
        if (commit_some(l, scan, part, bytes, old, last ? meta : NULL, error)) {
            bool all = part == NULL || part->from == part->end;
            if (all && last) {
                return true;
            }
            next += all ? 1 : 0;
            turned = false;
            continue;
        }
        if (error->kind == ERROR_NO_SPACE && !turned) {
            turned = true;
            if (!table_tidy(l, error)) {
                return false;
            }
            continue;
        }
        struct error why = *error;
        if (why.kind == ERROR_NO_SPACE && bytes > 0 && !part_bytes(scan, part, bytes / 2, &fewer, error)) {
            return false;
        }
        *error = why;
        if (fewer > 0 && fewer < bytes) {
            most = bytes / 2;
        } else if (!make_room(scan, error)) {
            return false;
        }
    }
}

/* Takes the files over from the scan: those that the table knows of, and whole ones that follow them. Others are closed
 * with it, and made anew when their turn comes. */
static void adopt_files(struct local *l, struct scan *scan, uint32_t files) {
    for (uint32_t i = 0; i < scan->file_count && i < l->segment_count; i++) {
        struct scan_file *f = &scan->files[i];
        bool whole = f->size >= l->options.segment_bytes;
        if (i >= files && (f->file == NULL || !whole)) {
            return;
        }
        struct segment *s = &l->segments[i];
        s->file = f->file;
        s->made = whole ? l->options.segment_bytes : f->size / BLOCK_BYTES * BLOCK_BYTES;
        local_segment_set(l, s, SEGMENT_MAKING);
        f->file = NULL;
    }
}

/* A store whose files grow with use begins small again. All that they held is folded; those that were made under load
 * keep their first block, for a file that is missing is damage. */
static bool files_shrink(struct local *l, struct error *error) {
    bool grows = l->options.segment_bytes_max > l->options.segment_bytes;
    for (uint32_t i = 0; i < l->segment_count && grows; i++) {
        struct segment *s = &l->segments[i];
        uint64_t keep = i <= SEGMENTS_SPARE_MIN ? l->options.segment_bytes : BLOCK_BYTES;
        uint64_t bytes;
        if (s->file == NULL) {
            continue;
        }
        if (!l->disk->size(l->disk->user, s->file, &bytes, error) ||
            (bytes > keep && !l->disk->cut(l->disk->user, s->file, keep, error))) {
            return false;
        }
        s->made = s->made < keep ? s->made : keep;
    }
    return true;
}

/* A segment at least must be ready. Those whose size is right need a sync: their zeros may be of a making that a crash
 * has interrupted. */
static bool reserve_begin(struct local *l, struct error *error) {
    for (uint32_t i = 0; i < l->segment_count; i++) {
        struct segment *s = &l->segments[i];
        if (s->state == SEGMENT_MAKING && s->made == s->bytes) {
            if (!l->disk->sync(l->disk->user, s->file, error)) {
                return false;
            }
            s->synced = s->made;
            local_segment_made(l, s);
        }
    }
    while (local_reserve_count(l) == 0) {
        enum store_step step = local_make_step(l, error);
        if (step == STORE_STEP_IDLE) {
            return error_set(error, ERROR_DAMAGED, 0, "no journal file can be used");
        }
        if (step != STORE_STEP_MORE) {
            return false;
        }
    }
    return l->disk->sync_directory(l->disk->user, error);
}

/* What was made before the table knew of it. Without space in the table that can wait when there is another segment. */
static bool reserve_tell(struct local *l, struct error *error) {
    if (atomic_load(&l->mades) == 0 || local_files_commit(l, error)) {
        return true;
    }
    return error->kind == ERROR_NO_SPACE && atomic_load(&l->spares) > 0;
}

/* The table has been told already that there are no more than allowed. */
static bool remove_surplus(struct local *l, const struct scan *scan, struct error *error) {
    for (uint32_t i = l->segment_count; i < scan->file_count; i++) {
        char name[SEGMENT_NAME_BYTES];
        segment_name(name, i);
        if (scan->files[i].file != NULL && !l->disk->remove(l->disk->user, name, error)) {
            return false;
        }
    }
    return true;
}

/* Where the last run's time stood. */
static bool clock_load(struct local *l, struct error *error) {
    struct table_txn *txn = l->table->ops->begin(l->table, false, error);
    if (txn == NULL) {
        return false;
    }
    row_clock_get(l->table, txn, &l->base.clock);
    bool ok = l->table->ops->sound(txn, error);
    l->table->ops->abort(txn);
    return ok;
}

static void begin(struct local *l, const struct row_meta *meta) {
    lsn_t last = meta->chain.next_lsn - 1;
    memcpy(l->uuid, meta->uuid, UUID_BYTES);
    uint64_t frame_bytes_max = l->options.frame_bytes_max;
    if (frame_bytes_max > l->options.segment_bytes - BLOCK_BYTES) {
        frame_bytes_max = l->options.segment_bytes - BLOCK_BYTES;
    }
    l->commit.chain = meta->chain;
    l->commit.segment_number = meta->segment - 1;
    l->commit.sealed = true;
    l->checkpoint.meta = *meta;
    l->files = meta->files;
    atomic_store(&l->base.durable, last);
    atomic_store(&l->base.folded, last);
    staging_init(&l->staging, meta->chain.next_lsn, frame_bytes_max, l->options.segment_bytes_max);
    l->base.record_bytes_max = l->staging.record_bytes_max;
}

/* What a start does to the table's file itself. */
static bool table_anew(struct table *table, struct error *error) {
    return table->ops->anew == NULL || table->ops->anew(table, error);
}

/* A new store has its first segment before its table says that it exists, and the other way round nothing is lost. */
static bool recover(struct local *l, struct scan *scan, struct error *error) {
    struct row_meta old = first_generation(l->options.salt);
    bool found;
    if (!meta_load(l->table, &old, &found, error) || !scan_fits(scan, &old, found, error)) {
        return false;
    }
    if (!found) {
        old = first_generation(l->options.salt);
        scan->chain = old.chain;
    } else if (!scan_walk(scan, &old, error) || !scan_tail(scan, error) ||
               !local_judge(l->table, old.chain.next_lsn - 1, error) || !table_anew(l->table, error)) {
        return false;
    }
    struct row_meta meta = local_generation(&old, &scan->chain, scan->segment_last, l->options.salt);
    meta.files = meta.files < l->segment_count ? meta.files : l->segment_count;
    if (!found) {
        adopt_files(l, scan, 0);
        return reserve_begin(l, error) && generation_commit(l, scan, &old, &meta, error) &&
               l->disk->sync_directory(l->disk->user, error) && (begin(l, &meta), reserve_tell(l, error));
    }
    if (!generation_commit(l, scan, &old, &meta, error)) {
        return false;
    }
    adopt_files(l, scan, meta.files);
    begin(l, &meta);
    return clock_load(l, error) && remove_surplus(l, scan, error) && files_shrink(l, error) &&
           reserve_begin(l, error) && reserve_tell(l, error);
}

bool store_local_may_begin(const struct disk *disk, struct error *error) {
    struct row_meta none = first_generation(0);
    struct scan scan;
    if (!scan_open(&scan, disk, error)) {
        return false;
    }
    bool may = scan_fits(&scan, &none, false, error);
    scan_close(&scan);
    return may;
}

bool local_recover(struct local *l, struct error *error) {
    struct scan scan;
    if (!scan_open(&scan, l->disk, error)) {
        return false;
    }
    bool ok = recover(l, &scan, error);
    scan_close(&scan);
    return ok;
}
