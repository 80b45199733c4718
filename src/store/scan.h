/* The journal as it lies on the disk, read without changing anything: for recovery and for the offline tools.
 *
 * The walk goes from where the table ends to the last frame that is whole and in its place. Frames are written one
 * after the other, each only when the one before is on stable storage. So when any later frame of the same generation
 * is found anywhere in the files, the frame at which the walk stopped was acknowledged, and is damaged; when there is
 * none, it was never acknowledged. */
#pragma once

#include "store/disk.h"
#include "store/rows.h"

enum { SEGMENT_NAME_BYTES = 32, SEGMENT_FILES_MAX = 10000 };

struct scan_file {
    struct disk_file *file; /* NULL: there is none with this index */
    uint64_t size;          /* bytes */
    bool begun;             /* it has a good header: */
    struct segment_header header;
};

/* Frames that the table does not hold yet, one after the other in one file. */
struct scan_part {
    uint32_t file;    /* index */
    uint64_t segment; /* number */
    uint64_t from;
    uint64_t end;
    struct chain chain; /* before the first of them */
};

struct scan {
    const struct disk *disk;
    struct scan_file *files;
    uint32_t file_count;
    uint64_t segment_last; /* the greatest number of any header */
    uint8_t *buffer;       /* for what is read; as large as the largest file, from the first read on */
    /* after scan_walk: */
    struct chain chain; /* what the next frame would say */
    struct scan_part *parts;
    uint32_t part_count;
    uint64_t segment; /* number of the segment in which the walk stopped, */
    uint64_t offset;  /* and where */
};

void segment_name(char name[SEGMENT_NAME_BYTES], uint32_t index);
/* Reads the table's META row into `meta`; `*found` is false when the table has none. */
bool meta_load(struct table *table, struct row_meta *meta, bool *found, struct error *error);
/* Opens all journal files and reads their headers. */
bool scan_open(struct scan *s, const struct disk *disk, struct error *error);
/* Closes the files that are still there. */
void scan_close(struct scan *s);
/* True when the file is not there, or so short that even its header is gone. */
bool scan_lacks(const struct scan *s, uint32_t index);
/* True when the files belong to this table: ERROR_FORMAT and ERROR_DAMAGED say why not. */
bool scan_fits(const struct scan *s, const struct row_meta *meta, bool found, struct error *error);
/* Verifies the frames beyond `meta`. False only when a file cannot be read. */
bool scan_walk(struct scan *s, const struct row_meta *meta, struct error *error);
/* Visits each header of this generation that stands where a frame could begin, whatever its place in the log; those
 * that a walk has passed are left out. */
typedef void scan_visit(void *context, uint32_t file, uint64_t offset, const struct frame_header *header);
bool scan_frames(struct scan *s, uint64_t salt, scan_visit *visit, void *context, struct error *error);
/* After scan_walk: true when nothing that was acknowledged lies beyond the end of the walk. ERROR_DAMAGED names file,
 * offset, lsns and the command that helps. */
bool scan_tail(struct scan *s, struct error *error);
/* Reads bytes from..end of a file; they are valid until the next call of any function here. NULL with an error. */
const uint8_t *scan_read(struct scan *s, uint32_t file, uint64_t from, uint64_t end, struct error *error);
/* The file with this segment; NULL when there is none. */
struct scan_file *scan_find(const struct scan *s, uint64_t salt, uint64_t segment);
