/* The bytes of the journal: segment headers, frames, and the records in them. docs/format-journal.md teaches the whole.
 *
 *   segment   | header block, 4096 |  frame  |  frame  | ... | unused |
 *   frame     | header, 64 | payload: (length, record)* | zeros up to a multiple of 4096 |
 *
 * Pure: knows no files, no threads, and not what records mean. Input may be anything. */
#pragma once

#include "base/reader.h"
#include "base/types.h"

enum {
    BLOCK_BYTES = 4096, /* frames begin on a multiple of it; also the size of a segment's header */
    FRAME_HEADER_BYTES = 64,
    UUID_BYTES = 16,
};

/*   0 magic "QFRM"      4 payload bytes   8 records      12 checksum of this header
 *  16 salt             24 number         32 first lsn    40 durable lsn
 *  48 checksum of the frame before       56 checksum of payload and zeros, seeded with that of the frame before */
struct frame_header {
    uint32_t payload_bytes;
    uint32_t record_count; /* 0: a seal */
    uint64_t salt;         /* of the generation */
    uint64_t number;       /* 1, 2, 3, ... for ever: where a frame stands in the log */
    lsn_t first_lsn;       /* of its first record; of a seal: of the record that comes next */
    lsn_t durable_lsn;     /* known when it was written */
    uint64_t previous;     /* `checksum` of the frame before; the salt in the first frame of a generation */
    uint64_t checksum;
};

/*   0 magic "QuartetJ"   8 version   12 zero   16 uuid   32 salt   40 number   48 first lsn
 *  56 bytes of the file   64 zeros   4088 checksum of all before */
struct segment_header {
    uint8_t uuid[UUID_BYTES]; /* of the store */
    uint64_t salt;            /* of the generation */
    uint64_t number;          /* 1, 2, 3, ... for ever: where a segment stands in the log */
    lsn_t first_lsn;          /* of its first frame */
    uint64_t bytes;           /* what the file has at least: if it has less, its end was lost */
};

/* What the next frame of a log must say to belong to it. */
struct chain {
    uint64_t salt;
    uint64_t number;
    lsn_t next_lsn;
    uint64_t previous;
};

/* What a frame with so much payload takes on disk. */
static inline uint64_t frame_bytes(uint64_t payload_bytes) {
    return (FRAME_HEADER_BYTES + payload_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
}

/* Completes a frame whose payload is in place at frame + FRAME_HEADER_BYTES: zeros behind it, the header before it.
 * Computes header->checksum; `frame` has frame_bytes(header->payload_bytes) bytes. */
void frame_seal(uint8_t *frame, struct frame_header *header);
/* Reads a header alone, from FRAME_HEADER_BYTES bytes; false when it is none. */
bool frame_header_read(const uint8_t *at, struct frame_header *header);
/* True when `in` begins with the whole, undamaged frame that `chain` expects; fills the header. */
bool frame_read(struct span in, const struct chain *chain, struct frame_header *header);
/* The chain after this frame. */
struct chain chain_after(const struct frame_header *header);
/* Walks the records of a payload; false at the end, and reader_done(payload) then tells whether that was a good one. */
bool frame_record_next(struct reader *payload, struct span *record);

/* Writes BLOCK_BYTES bytes. */
void segment_header_write(uint8_t *block, const struct segment_header *header);
enum segment_header_verdict { SEGMENT_HEADER_NONE, SEGMENT_HEADER_GOOD, SEGMENT_HEADER_NEWER };
/* Reads BLOCK_BYTES bytes. NEWER: of a format that this program does not know. */
enum segment_header_verdict segment_header_read(const uint8_t *block, struct segment_header *header);
