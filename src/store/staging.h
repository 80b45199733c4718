/* Staging: records become the next frames while they come in.
 *
 * A record is encoded at the place in memory from which it will be written: there is no copy between staging and the
 * disk. The frame that fills is given to the commit when the commit asks, or closed when it is full and another begins.
 * Not thread-safe: its owner holds a lock. */
#pragma once

#include "base/list.h"
#include "record/record.h"
#include "store/frame.h"

/* One frame in memory. Before it is room for a segment's header, for it may be the first of its segment. */
struct staged_frame {
    struct link link;
    uint8_t *memory; /* BLOCK_BYTES, frame header, payload, room for the zeros */
    size_t capacity; /* bytes of memory */
    size_t payload_bytes;
    uint32_t record_count;
    lsn_t first_lsn;
};

struct staging {
    struct staged_frame *filling; /* never NULL */
    struct link closed;           /* full frames, oldest first */
    struct link spare;            /* empty frames, to be used again */
    lsn_t next_lsn;
    uint64_t bytes;             /* of payload that waits here */
    uint64_t frame_payload_max; /* a frame is closed rather than grow beyond it */
    uint64_t record_bytes_max;  /* a longer record fits into no segment */
    uint64_t frame_records_max; /* nor with more records */
    bool few;                   /* an eighth of those: the store is full */
};

/* `frame_bytes_max` and `segment_bytes` as in store_local_options. A frame is folded with one commit of the table,
 * which needs room for all pages that its records change, up to three for each; where those were before comes back with
 * the commit after the next. So frames have few enough records that two of them change pages of three segments at most:
 * for so much the table keeps room (local_table_keeps). */
void staging_init(struct staging *s, lsn_t next_lsn, uint64_t frame_bytes_max, uint64_t segment_bytes);
void staging_deinit(struct staging *s);
/* Takes a record; returns its lsn. False in `*fits` when no segment could hold it: then nothing was taken. */
lsn_t staging_add(struct staging *s, const struct record *record, bool *fits);
static inline bool staging_empty(const struct staging *s) {
    return s->bytes == 0;
}
/* The oldest frame with records, which the caller now owns; NULL when nothing is staged. */
struct staged_frame *staging_take(struct staging *s);
/* Takes a frame back to be filled again. */
void staging_give(struct staging *s, struct staged_frame *frame);
/* A frame without records. */
struct staged_frame *staging_empty_frame(struct staging *s);
static inline uint8_t *staged_frame_start(const struct staged_frame *frame) {
    return frame->memory + BLOCK_BYTES;
}
static inline struct span staged_frame_payload(const struct staged_frame *frame) {
    return span_of(staged_frame_start(frame) + FRAME_HEADER_BYTES, frame->payload_bytes);
}
