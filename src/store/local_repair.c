/* The offline repair: what is damaged is cut out and reported, what is whole is folded, and a new generation begins.
 *
 * It works frame by frame: a frame is whole or it is not, for its checksum covers all its records. The frames that are
 * whole are folded in the order of their numbers, wherever they lie. Records that follow from lost ones are ignored by
 * the fold, as records of ended sessions are. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/audit.h"
#include "store/local.h"
#include "store/scan.h"
#include "store/text.h"

enum { AUDIT_ROUNDS = 8 };

/* A header that was found, and where. */
struct found_frame {
    uint32_t file;
    uint64_t offset;
    struct frame_header header;
};

struct repair {
    struct scan scan;
    struct table *table;
    struct table_txn *txn;
    struct buf *out;
    struct row_meta meta;
    struct buf frames; /* struct found_frame */
    struct fold fold;
    lsn_t next_lsn;       /* all before it are in the table, or lost */
    uint64_t next_number; /* likewise */
    uint64_t lost;        /* records */
};

static void visit_found(void *context, uint32_t file, uint64_t offset, const struct frame_header *header) {
    struct repair *r = context;
    struct found_frame f = {file, offset, *header};
    if (header->number >= r->meta.chain.number) {
        buf_bytes(&r->frames, span_of(&f, sizeof f));
    }
}

static int found_compare(const void *a, const void *b) {
    uint64_t x = ((const struct found_frame *)a)->header.number;
    uint64_t y = ((const struct found_frame *)b)->header.number;
    return x < y ? -1 : x > y;
}

/* The records before `lsn` that nothing has shown are lost. */
static void lost_before(struct repair *r, lsn_t lsn) {
    if (lsn > r->next_lsn) {
        text_add(r->out, "lost: lsn %" PRIu64 " to %" PRIu64 "\n", r->next_lsn, lsn - 1);
        r->lost += lsn - r->next_lsn;
        r->next_lsn = lsn;
    }
}

/* A header without its payload: what can still be read is told, and not used. */
static void frame_lost(struct repair *r, const struct found_frame *f, struct span bytes) {
    char name[SEGMENT_NAME_BYTES];
    uint64_t bad = 0;
    lsn_t end = f->header.first_lsn + f->header.record_count;
    segment_name(name, f->file);
    text_add(r->out, "damaged: the frame in %s at byte %" PRIu64 " with lsn %" PRIu64 " to %" PRIu64 "\n", name,
             f->offset, f->header.first_lsn, end - 1);
    if (bytes.len > 0) {
        text_add(r->out, "perhaps it held:\n");
        text_records(r->out, f->header.first_lsn, bytes, true, &bad);
    }
    lost_before(r, end);
}

static bool frame_use(struct repair *r, const struct found_frame *f, struct error *error) {
    const struct frame_header *h = &f->header;
    if (h->number < r->next_number || h->first_lsn < r->next_lsn) {
        return true;
    }
    lost_before(r, h->first_lsn);
    r->next_number = h->number + 1;
    uint64_t bytes = frame_bytes(h->payload_bytes);
    uint64_t left = r->scan.files[f->file].size - f->offset;
    if (bytes > left) {
        frame_lost(r, f, span_of(NULL, 0));
        return true;
    }
    const uint8_t *image = scan_read(&r->scan, f->file, f->offset, f->offset + bytes, error);
    if (image == NULL) {
        return false;
    }
    struct chain chain = {h->salt, h->number, h->first_lsn, h->previous};
    struct frame_header again;
    struct span payload = span_of(image + FRAME_HEADER_BYTES, h->payload_bytes);
    if (!frame_read(span_of(image, bytes), &chain, &again)) {
        frame_lost(r, f, payload);
        return true;
    }
    r->next_lsn = h->first_lsn + h->record_count;
    return fold_payload(&r->fold, h->first_lsn, h->record_count, payload, error) && fold_flush(&r->fold, error);
}

static bool frames_use(struct repair *r, struct error *error) {
    size_t count = r->frames.len / sizeof(struct found_frame);
    struct found_frame *frames = (struct found_frame *)(void *)r->frames.ptr;
    if (count > 1) {
        qsort(frames, count, sizeof frames[0], found_compare);
    }
    for (size_t i = 0; i < count; i++) {
        if (!frame_use(r, &frames[i], error)) {
            return false;
        }
    }
    text_add(r->out, "journal: %zu frames found, %" PRIu64 " records folded, %" PRIu64 " lost\n", count,
             r->fold.records, r->lost);
    return true;
}

/* Audits and fixes until nothing is found: what is removed may have been referred to. */
static bool table_fix(struct repair *r, const struct row_meta *meta, struct error *error) {
    for (int round = 0; round < AUDIT_ROUNDS; round++) {
        struct audit audit;
        bool ok = audit_run(&audit, r->table, r->txn, meta, r->out, error) && audit_fix(&audit, error);
        uint64_t findings = audit.findings;
        audit_deinit(&audit);
        if (!ok || findings == 0) {
            return ok;
        }
        text_add(r->out, "table: %" PRIu64 " rows removed or set right\n", findings);
    }
    return error_set(error, ERROR_DAMAGED, 0, "the table is damaged beyond repair");
}

static bool repair_all(struct repair *r, struct error *error) {
    if (!scan_frames(&r->scan, r->meta.chain.salt, visit_found, r, error)) {
        return false;
    }
    fold_init(&r->fold, r->table, r->txn, &r->meta.chain, false);
    bool ok = frames_use(r, error);
    fold_deinit(&r->fold);
    struct chain end = {.number = r->next_number, .next_lsn = r->next_lsn};
    struct row_meta meta = local_generation(&r->meta, &end, r->scan.segment_last, r->meta.chain.previous);
    return ok && table_fix(r, &meta, error) && local_meta_put(r->table, r->txn, &meta, error);
}

/* Files of another store are not touched; all else that does not fit is told and left aside. */
static bool repairable(struct repair *r, bool found, struct error *error) {
    if (!found) {
        return error_set(error, ERROR_DAMAGED, 0, "the table is missing or empty: there is nothing to repair with");
    }
    if (scan_fits(&r->scan, &r->meta, found, error)) {
        return true;
    }
    if (error->kind != ERROR_DAMAGED) {
        return false;
    }
    text_add(r->out, "journal: %s\n", error->text);
    return true;
}

static bool repair_commit(struct repair *r, struct error *error) {
    r->txn = r->table->ops->begin(r->table, true, error);
    if (r->txn == NULL) {
        return false;
    }
    if (!repair_all(r, error)) {
        r->table->ops->abort(r->txn);
        return false;
    }
    return r->table->ops->commit(r->txn, error);
}

/* A first block without a header: the next opening makes the rest. */
static bool file_begin(const struct disk *disk, uint32_t index, struct error *error) {
    static const uint8_t zeros[BLOCK_BYTES];
    char name[SEGMENT_NAME_BYTES];
    segment_name(name, index);
    struct disk_file *file = disk->open(disk->user, name, true, error);
    if (file == NULL) {
        return false;
    }
    bool ok =
        disk->write(disk->user, file, 0, span_of(zeros, sizeof zeros), error) && disk->sync(disk->user, file, error);
    disk->close(disk->user, file);
    return ok;
}

/* The files that the table knows of, and at least one, must be there, or the store does not open. */
static bool files_complete(struct repair *r, struct error *error) {
    const struct disk *disk = r->scan.disk;
    for (uint32_t i = 0; i < r->meta.files || i == 0; i++) {
        if (scan_lacks(&r->scan, i) && !file_begin(disk, i, error)) {
            return false;
        }
    }
    return disk->sync_directory(disk->user, error);
}

bool store_local_repair(const struct disk *disk, struct table *table, struct buf *out, struct error *error) {
    struct repair r = {.table = table, .out = out};
    bool found = false;
    if (!meta_load(table, &r.meta, &found, error) || !scan_open(&r.scan, disk, error)) {
        return false;
    }
    r.next_lsn = r.meta.chain.next_lsn;
    r.next_number = r.meta.chain.number;
    bool ok = repairable(&r, found, error) && repair_commit(&r, error) && files_complete(&r, error);
    scan_close(&r.scan);
    buf_deinit(&r.frames);
    if (ok) {
        text_add(out, "the store can be opened; the next record has lsn %" PRIu64 "\n", r.next_lsn);
    }
    return ok;
}
