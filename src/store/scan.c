#include "store/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"

enum { READ_BYTES = 1 << 20 };

#define NAME_PREFIX "journal-"

void segment_name(char name[SEGMENT_NAME_BYTES], uint32_t index) {
    must(index < SEGMENT_FILES_MAX);
    (void)snprintf(name, SEGMENT_NAME_BYTES, NAME_PREFIX "%04" PRIu32, index);
}

/* The index in a name that segment_name() has made; false for all other names. */
static bool segment_name_read(const char *name, uint32_t *index) {
    size_t prefix = sizeof NAME_PREFIX - 1;
    if (strncmp(name, NAME_PREFIX, prefix) != 0 || strlen(name) != prefix + 4) {
        return false;
    }
    *index = 0;
    for (const char *at = name + prefix; *at != '\0'; at++) {
        if (*at < '0' || *at > '9') {
            return false;
        }
        *index = *index * 10 + (uint32_t)(*at - '0');
    }
    return true;
}

bool meta_load(struct table *table, struct row_meta *meta, bool *found, struct error *error) {
    struct table_txn *txn = table->ops->begin(table, false, error);
    if (txn == NULL) {
        return false;
    }
    struct row_key key;
    struct span value;
    row_key_meta(&key);
    *found = table->ops->get(txn, TABLE_META, row_key_span(&key), &value);
    enum segment_header_verdict verdict = *found ? row_meta_read(value, meta) : SEGMENT_HEADER_GOOD;
    bool ok = table->ops->sound(txn, error);
    table->ops->abort(txn);
    if (ok && verdict == SEGMENT_HEADER_NEWER) {
        return error_set(error, ERROR_FORMAT, 0, "the table was written by a newer version of this program");
    }
    if (ok && *found && meta->files > SEGMENT_FILES_MAX) {
        verdict = SEGMENT_HEADER_NONE;
    }
    if (ok && verdict == SEGMENT_HEADER_NONE) {
        return error_set(error, ERROR_DAMAGED, 0, "the table's row that says where the journal begins is damaged");
    }
    return ok;
}

/* ---- files and their headers ---- */

static void visit_name(void *context, const char *name) {
    uint32_t *count = context;
    uint32_t index;
    if (segment_name_read(name, &index) && index >= *count) {
        *count = index + 1;
    }
}

struct found_names {
    bool *there;
    uint32_t count;
};

static void mark_name(void *context, const char *name) {
    struct found_names *names = context;
    uint32_t index;
    if (segment_name_read(name, &index) && index < names->count) {
        names->there[index] = true;
    }
}

static bool file_open(struct scan *s, uint32_t index, struct error *error) {
    struct scan_file *f = &s->files[index];
    char name[SEGMENT_NAME_BYTES];
    uint8_t block[BLOCK_BYTES];
    segment_name(name, index);
    f->file = s->disk->open(s->disk->user, name, false, error);
    if (f->file == NULL || !s->disk->size(s->disk->user, f->file, &f->size, error)) {
        return false;
    }
    if (f->size < BLOCK_BYTES) {
        return true;
    }
    if (!s->disk->read(s->disk->user, f->file, 0, block, BLOCK_BYTES, error)) {
        return false;
    }
    enum segment_header_verdict verdict = segment_header_read(block, &f->header);
    if (verdict == SEGMENT_HEADER_NEWER) {
        return error_set(error, ERROR_FORMAT, 0, "%s was written by a newer version of this program", name);
    }
    f->begun = verdict == SEGMENT_HEADER_GOOD;
    if (f->begun && f->header.number > s->segment_last) {
        s->segment_last = f->header.number;
    }
    return true;
}

bool scan_open(struct scan *s, const struct disk *disk, struct error *error) {
    *s = (struct scan){.disk = disk};
    if (!disk->list(disk->user, visit_name, &s->file_count, error)) {
        return false;
    }
    s->files = mem_zero(s->file_count, sizeof *s->files);
    struct found_names names = {mem_zero(s->file_count, sizeof(bool)), s->file_count};
    bool ok = disk->list(disk->user, mark_name, &names, error);
    for (uint32_t i = 0; ok && i < s->file_count; i++) {
        ok = !names.there[i] || file_open(s, i, error);
    }
    mem_free(names.there);
    if (!ok) {
        scan_close(s);
    }
    return ok;
}

void scan_close(struct scan *s) {
    for (uint32_t i = 0; i < s->file_count; i++) {
        if (s->files[i].file != NULL) {
            s->disk->close(s->disk->user, s->files[i].file);
        }
    }
    mem_free(s->files);
    mem_free(s->parts);
    mem_free(s->buffer);
    *s = (struct scan){.disk = s->disk};
}

/* One buffer for all reads: fresh memory costs more than what is read into it. */
static uint8_t *buffer_of(struct scan *s) {
    if (s->buffer == NULL) {
        uint64_t largest = READ_BYTES;
        for (uint32_t i = 0; i < s->file_count; i++) {
            largest = s->files[i].size > largest ? s->files[i].size : largest;
        }
        s->buffer = mem_alloc(largest);
    }
    return s->buffer;
}

struct scan_file *scan_find(const struct scan *s, uint64_t salt, uint64_t segment) {
    for (uint32_t i = 0; i < s->file_count; i++) {
        struct scan_file *f = &s->files[i];
        if (f->begun && f->header.salt == salt && f->header.number == segment) {
            return f;
        }
    }
    return NULL;
}

static bool file_fits(const struct scan_file *f, const char *name, const struct row_meta *meta, bool found,
                      struct error *error) {
    if (!found) {
        return error_set(error, ERROR_DAMAGED, 0,
                         "%s holds a journal, but the table that belongs to it (table.mdb) is missing or empty", name);
    }
    if (memcmp(f->header.uuid, meta->uuid, UUID_BYTES) != 0) {
        return error_set(error, ERROR_FORMAT, 0, "%s belongs to another store than the table", name);
    }
    if (f->header.salt != meta->chain.salt && f->header.number >= meta->segment) {
        return error_set(error, ERROR_DAMAGED, 0,
                         "the table is older than the journal: %s holds segment %" PRIu64
                         " of a later run; an old copy of table.mdb was put in its place",
                         name, f->header.number);
    }
    if (f->header.salt == meta->chain.salt && f->header.number >= meta->segment && f->size < f->header.bytes) {
        return error_set(error, ERROR_DAMAGED, 0,
                         "%s has %" PRIu64 " bytes, but had %" PRIu64
                         ": its end is missing, and records from lsn %" PRIu64
                         " on may be; 'quartet store repair' goes on with what is left",
                         name, f->size, f->header.bytes, f->header.first_lsn);
    }
    return true;
}

bool scan_lacks(const struct scan *s, uint32_t index) {
    return index >= s->file_count || s->files[index].file == NULL || s->files[index].size < BLOCK_BYTES;
}

/* All files that the table knows of are there, with the block that tells what they hold. */
static bool files_there(const struct scan *s, const struct row_meta *meta, struct error *error) {
    char name[SEGMENT_NAME_BYTES];
    char more[64] = "";
    uint32_t count = 0;
    for (uint32_t i = meta->files; i-- > 0;) {
        if (scan_lacks(s, i)) {
            segment_name(name, i);
            count++;
        }
    }
    if (count == 0) {
        return true;
    }
    if (count > 1) {
        (void)snprintf(more, sizeof more, " (and %" PRIu32 " more of %" PRIu32 " journal files)", count - 1,
                       meta->files);
    }
    return error_set(error, ERROR_DAMAGED, 0,
                     "%s%s is missing or empty, and records from lsn %" PRIu64
                     " on may be; put it back, or 'quartet store repair' goes on with what is left",
                     name, more, meta->chain.next_lsn);
}

bool scan_fits(const struct scan *s, const struct row_meta *meta, bool found, struct error *error) {
    bool any = false;
    if (found && !files_there(s, meta, error)) {
        return false;
    }
    for (uint32_t i = 0; i < s->file_count; i++) {
        const struct scan_file *f = &s->files[i];
        char name[SEGMENT_NAME_BYTES];
        segment_name(name, i);
        any = any || f->file != NULL;
        if (f->begun && !file_fits(f, name, meta, found, error)) {
            return false;
        }
    }
    return any || !found ||
           error_set(
               error, ERROR_DAMAGED, 0,
               "the journal files (journal-0000 ...) that belong to the table are missing; 'quartet store repair' "
               "begins anew with what the table holds");
}

/* ---- the walk ---- */

/* The part of a file that has been read. */
struct image {
    const struct disk *disk;
    const struct scan_file *file;
    uint64_t from;
    uint64_t have; /* bytes from `from` on */
    uint8_t *bytes;
};

/* Reads on until `bytes` bytes are there; more when the file has them. */
static bool image_need(struct image *i, uint64_t bytes, struct error *error) {
    uint64_t all = i->file->size - i->from;
    uint64_t want = bytes > i->have + READ_BYTES ? bytes : i->have + READ_BYTES;
    if (bytes <= i->have) {
        return true;
    }
    want = want < all ? want : all;
    if (!i->disk->read(i->disk->user, i->file->file, i->from + i->have, i->bytes + i->have, want - i->have, error)) {
        return false;
    }
    i->have = want;
    return true;
}

/* Reads the frame at `at`, if it is the one that belongs there. */
static bool image_frame(struct image *i, uint64_t at, const struct chain *chain, struct frame_header *h, bool *good,
                        struct error *error) {
    uint64_t all = i->file->size - i->from;
    *good = false;
    if (all - at < BLOCK_BYTES) {
        return true;
    }
    if (!image_need(i, at + BLOCK_BYTES, error)) {
        return false;
    }
    if (!frame_header_read(i->bytes + at, h) || frame_bytes(h->payload_bytes) > all - at) {
        return true;
    }
    if (!image_need(i, at + frame_bytes(h->payload_bytes), error)) {
        return false;
    }
    *good = frame_read(span_of(i->bytes + at, i->have - at), chain, h);
    return true;
}

static void part_add(struct scan *s, struct scan_part part) {
    s->parts = mem_resize(s->parts, (s->part_count + 1) * sizeof *s->parts);
    s->parts[s->part_count++] = part;
}

/* Walks the frames of one file from `from` on; `*any` tells whether there was a good one. */
static bool walk_file(struct scan *s, const struct scan_file *f, uint64_t from, bool *any, struct error *error) {
    *any = false;
    if (f == NULL || from > f->size) {
        return true;
    }
    struct image i = {s->disk, f, from, 0, buffer_of(s)};
    struct scan_part part = {(uint32_t)(f - s->files), f->header.number, from, from, s->chain};
    struct frame_header h;
    bool good = true;
    bool ok = true;
    while (ok && good) {
        ok = image_frame(&i, part.end - from, &s->chain, &h, &good, error);
        if (ok && good) {
            s->chain = chain_after(&h);
            part.end += frame_bytes(h.payload_bytes);
        }
    }
    *any = part.end > from;
    if (*any) {
        part_add(s, part);
    }
    s->offset = part.end;
    return ok;
}

bool scan_walk(struct scan *s, const struct row_meta *meta, struct error *error) {
    bool any;
    s->chain = meta->chain;
    s->segment = meta->segment;
    s->offset = meta->offset;
    uint64_t next = meta->segment;
    if (meta->offset > 0) {
        if (!walk_file(s, scan_find(s, meta->chain.salt, next), meta->offset, &any, error)) {
            return false;
        }
        next++;
    }
    for (;;) {
        const struct scan_file *f = scan_find(s, meta->chain.salt, next);
        uint64_t offset = s->offset;
        if (f != NULL && f->header.first_lsn != s->chain.next_lsn) {
            return true;
        }
        if (!walk_file(s, f, BLOCK_BYTES, &any, error)) {
            return false;
        }
        if (!any) {
            s->offset = offset;
            return true;
        }
        s->segment = next++;
    }
}

/* ---- beyond the walk ---- */

/* Where the walk has left the file: what lies before was read already. */
static uint64_t walked(const struct scan *s, uint32_t index) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < s->part_count; i++) {
        if (s->parts[i].file == index) {
            end = s->parts[i].end;
        }
    }
    return end;
}

static bool file_frames(struct scan *s, uint32_t index, uint64_t salt, scan_visit *visit, void *context,
                        struct error *error) {
    uint8_t *chunk = buffer_of(s);
    const struct scan_file *f = &s->files[index];
    for (uint64_t at = walked(s, index); at + BLOCK_BYTES <= f->size; at += READ_BYTES) {
        uint64_t bytes = (f->size - at) / BLOCK_BYTES * BLOCK_BYTES;
        bytes = bytes < READ_BYTES ? bytes : READ_BYTES;
        if (!s->disk->read(s->disk->user, f->file, at, chunk, bytes, error)) {
            return false;
        }
        for (uint64_t block = 0; block < bytes; block += BLOCK_BYTES) {
            struct frame_header h;
            if (frame_header_read(chunk + block, &h) && h.salt == salt) {
                visit(context, index, at + block, &h);
            }
        }
    }
    return true;
}

bool scan_frames(struct scan *s, uint64_t salt, scan_visit *visit, void *context, struct error *error) {
    for (uint32_t i = 0; i < s->file_count; i++) {
        if (s->files[i].file != NULL && !file_frames(s, i, salt, visit, context, error)) {
            return false;
        }
    }
    return true;
}

/* What lies at and beyond the end of the walk. */
struct beyond {
    uint64_t number; /* of the frame that the walk missed */
    bool itself;     /* its header was found, */
    uint32_t file;   /* here */
    uint64_t offset;
    bool later;                /* a later frame was found, */
    struct frame_header first; /* this is the earliest of them, */
    uint32_t first_file;       /* in this file, */
    uint64_t first_offset;     /* here */
};

static void visit_beyond(void *context, uint32_t file, uint64_t offset, const struct frame_header *h) {
    struct beyond *b = context;
    if (h->number == b->number) {
        b->itself = true;
        b->file = file;
        b->offset = offset;
    } else if (h->number > b->number && (!b->later || h->number < b->first.number)) {
        b->later = true;
        b->first = *h;
        b->first_file = file;
        b->first_offset = offset;
    }
}

/* Where the missing frame is or should be: after the last good one, unless that segment ended there. */
static void say_place(const struct scan *s, const struct beyond *b, char *text, size_t bytes) {
    char name[SEGMENT_NAME_BYTES];
    const struct scan_file *f = s->offset > 0 ? scan_find(s, s->chain.salt, s->segment) : NULL;
    uint64_t follower = s->segment + (s->offset > 0 ? 1 : 0);
    const struct scan_file *next = scan_find(s, s->chain.salt, follower);
    bool next_whole = next != NULL && b->first_file == (uint32_t)(next - s->files) && b->first_offset == BLOCK_BYTES;
    if (b->itself) {
        segment_name(name, b->file);
        (void)snprintf(text, bytes, "%s at byte %" PRIu64, name, b->offset);
    } else if (next != NULL && next->header.first_lsn == s->chain.next_lsn && !next_whole) {
        segment_name(name, (uint32_t)(next - s->files));
        (void)snprintf(text, bytes, "%s at byte %d", name, BLOCK_BYTES);
    } else if (f != NULL && s->offset < f->size) {
        bool sure = next != NULL || b->first_file == (uint32_t)(f - s->files);
        segment_name(name, (uint32_t)(f - s->files));
        (void)snprintf(text, bytes, "%s at byte %" PRIu64 "%s", name, s->offset,
                       sure ? "" : ", or the segment after it, of which no header is left");
    } else {
        (void)snprintf(text, bytes, "segment %" PRIu64 ", of which no header is left", follower);
    }
}

bool scan_tail(struct scan *s, struct error *error) {
    struct beyond b = {.number = s->chain.number};
    if (!scan_frames(s, s->chain.salt, visit_beyond, &b, error)) {
        return false;
    }
    if (!b.later) {
        return true;
    }
    char place[160];
    say_place(s, &b, place, sizeof place);
    if (b.first.first_lsn > s->chain.next_lsn) {
        return error_set(error, ERROR_DAMAGED, 0,
                         "acknowledged records are damaged: %s, lsn %" PRIu64 " to %" PRIu64
                         " (perhaps more); 'quartet store check' tells more, 'quartet store repair' cuts them out",
                         place, s->chain.next_lsn, b.first.first_lsn - 1);
    }
    return error_set(error, ERROR_DAMAGED, 0,
                     "the journal is damaged: %s, a frame without records before lsn %" PRIu64
                     "; 'quartet store repair' cuts it out",
                     place, s->chain.next_lsn);
}

const uint8_t *scan_read(struct scan *s, uint32_t file, uint64_t from, uint64_t end, struct error *error) {
    uint8_t *bytes = buffer_of(s);
    return s->disk->read(s->disk->user, s->files[file].file, from, bytes, end - from, error) ? bytes : NULL;
}
