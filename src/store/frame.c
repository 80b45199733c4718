#include "store/frame.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/bytes.h"

static const uint8_t segment_magic[8] = "QuartetJ";

enum { FRAME_MAGIC = 0x4d524651, /* "QFRM" */ SEGMENT_VERSION = 1, SEGMENT_CHECKSUM_AT = BLOCK_BYTES - 8 };

/* The lower half of XXH3 over the header with its own field left out. */
static uint32_t header_checksum(const uint8_t *at) {
    uint8_t rest[FRAME_HEADER_BYTES - 4];
    memcpy(rest, at, 12);
    memcpy(rest + 12, at + 16, FRAME_HEADER_BYTES - 16);
    return (uint32_t)XXH3_64bits(rest, sizeof rest);
}

static uint64_t body_checksum(const uint8_t *frame, const struct frame_header *h) {
    return XXH3_64bits_withSeed(frame + FRAME_HEADER_BYTES, frame_bytes(h->payload_bytes) - FRAME_HEADER_BYTES,
                                h->previous);
}

void frame_seal(uint8_t *frame, struct frame_header *h) {
    size_t used = FRAME_HEADER_BYTES + (size_t)h->payload_bytes;
    memset(frame + used, 0, frame_bytes(h->payload_bytes) - used);
    h->checksum = body_checksum(frame, h);
    le32_put(frame, FRAME_MAGIC);
    le32_put(frame + 4, h->payload_bytes);
    le32_put(frame + 8, h->record_count);
    le64_put(frame + 16, h->salt);
    le64_put(frame + 24, h->number);
    le64_put(frame + 32, h->first_lsn);
    le64_put(frame + 40, h->durable_lsn);
    le64_put(frame + 48, h->previous);
    le64_put(frame + 56, h->checksum);
    le32_put(frame + 12, header_checksum(frame));
}

bool frame_header_read(const uint8_t *at, struct frame_header *h) {
    if (le32_get(at) != FRAME_MAGIC || le32_get(at + 12) != header_checksum(at)) {
        return false;
    }
    *h = (struct frame_header){
        .payload_bytes = le32_get(at + 4),
        .record_count = le32_get(at + 8),
        .salt = le64_get(at + 16),
        .number = le64_get(at + 24),
        .first_lsn = le64_get(at + 32),
        .durable_lsn = le64_get(at + 40),
        .previous = le64_get(at + 48),
        .checksum = le64_get(at + 56),
    };
    return true;
}

bool frame_read(struct span in, const struct chain *chain, struct frame_header *h) {
    return in.len >= FRAME_HEADER_BYTES && frame_header_read(in.ptr, h) && h->salt == chain->salt &&
           h->number == chain->number && h->first_lsn == chain->next_lsn && h->previous == chain->previous &&
           frame_bytes(h->payload_bytes) <= in.len && body_checksum(in.ptr, h) == h->checksum;
}

struct chain chain_after(const struct frame_header *h) {
    return (struct chain){h->salt, h->number + 1, h->first_lsn + h->record_count, h->checksum};
}

bool frame_record_next(struct reader *payload, struct span *record) {
    if (reader_left(payload) == 0) {
        return false;
    }
    uint64_t bytes = reader_leb(payload);
    *record = reader_bytes(payload, bytes);
    return !payload->failed;
}

void segment_header_write(uint8_t *block, const struct segment_header *h) {
    memset(block, 0, BLOCK_BYTES);
    memcpy(block, segment_magic, sizeof segment_magic);
    le32_put(block + 8, SEGMENT_VERSION);
    memcpy(block + 16, h->uuid, UUID_BYTES);
    le64_put(block + 32, h->salt);
    le64_put(block + 40, h->number);
    le64_put(block + 48, h->first_lsn);
    le64_put(block + 56, h->bytes);
    le64_put(block + SEGMENT_CHECKSUM_AT, XXH3_64bits(block, SEGMENT_CHECKSUM_AT));
}

enum segment_header_verdict segment_header_read(const uint8_t *block, struct segment_header *h) {
    if (memcmp(block, segment_magic, sizeof segment_magic) != 0 ||
        le64_get(block + SEGMENT_CHECKSUM_AT) != XXH3_64bits(block, SEGMENT_CHECKSUM_AT)) {
        return SEGMENT_HEADER_NONE;
    }
    if (le32_get(block + 8) != SEGMENT_VERSION) {
        return SEGMENT_HEADER_NEWER;
    }
    memcpy(h->uuid, block + 16, UUID_BYTES);
    h->salt = le64_get(block + 32);
    h->number = le64_get(block + 40);
    h->first_lsn = le64_get(block + 48);
    h->bytes = le64_get(block + 56);
    return SEGMENT_HEADER_GOOD;
}
