#include "store/staging.h"

#include "base/mem.h"
#include "base/must.h"

enum {
    PAYLOAD_AT = BLOCK_BYTES + FRAME_HEADER_BYTES,
    LENGTH_MAX = 10,         /* bytes of a record's length */
    CAPACITY_MIN = 64 << 10, /* memory of a new frame */
    SPARES_MAX = 2,
    RECORD_ROOM = 16384, /* of a segment, for each record of a frame: the table keeps three segments of room, and two
                            commits take theirs before the first gives back what it has freed: six pages each */
    RECORDS_MIN = 128,   /* that a frame may have, at most, whatever the segment's size */
    RECORDS_FEW = 8,
    SPARE_CAPACITY_MAX = 8 << 20, /* larger ones are freed: they held a giant record */
};

static struct staged_frame *frame_create(void) {
    struct staged_frame *frame = mem_zero(1, sizeof *frame);
    frame->capacity = CAPACITY_MIN;
    frame->memory = mem_alloc(frame->capacity);
    return frame;
}

static void frame_destroy(struct staged_frame *frame) {
    mem_free(frame->memory);
    mem_free(frame);
}

struct staged_frame *staging_empty_frame(struct staging *s) {
    struct link *l = list_pop_front(&s->spare);
    struct staged_frame *frame = l != NULL ? container_of(l, struct staged_frame, link) : frame_create();
    frame->payload_bytes = 0;
    frame->record_count = 0;
    frame->first_lsn = s->next_lsn;
    return frame;
}

void staging_init(struct staging *s, lsn_t next_lsn, uint64_t frame_bytes_max, uint64_t segment_bytes) {
    uint64_t segment_payload_max = segment_bytes - BLOCK_BYTES - FRAME_HEADER_BYTES;
    uint64_t frame_payload_max = frame_bytes_max - FRAME_HEADER_BYTES;
    *s = (struct staging){.next_lsn = next_lsn, .frame_records_max = segment_bytes / RECORD_ROOM};
    s->frame_records_max = s->frame_records_max > RECORDS_MIN ? s->frame_records_max : RECORDS_MIN;
    s->frame_payload_max = frame_payload_max < segment_payload_max ? frame_payload_max : segment_payload_max;
    s->record_bytes_max = segment_payload_max - LENGTH_MAX;
    list_init(&s->closed);
    list_init(&s->spare);
    s->filling = staging_empty_frame(s);
}

static void list_free(struct link *head) {
    for (struct link *l = list_pop_front(head); l != NULL; l = list_pop_front(head)) {
        frame_destroy(container_of(l, struct staged_frame, link));
    }
}

void staging_deinit(struct staging *s) {
    list_free(&s->closed);
    list_free(&s->spare);
    frame_destroy(s->filling);
}

static void frame_grow(struct staged_frame *frame, size_t needed) {
    size_t capacity = frame->capacity;
    while (capacity < needed) {
        capacity *= 2;
    }
    frame->memory = mem_resize(frame->memory, capacity);
    frame->capacity = capacity;
}

static size_t leb_bytes(uint64_t value) {
    size_t bytes = 1;
    for (; value >= 0x80; value >>= 7) {
        bytes++;
    }
    return bytes;
}

static void leb_put(uint8_t *at, uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
        *at++ = (uint8_t)(value | 0x80U);
    }
    *at = (uint8_t)value;
}

/* Writes length and record; returns the bytes of both. The length comes first but is known last: it gets as many bytes
 * as the bound needs, and in the rare case that it needs fewer the record moves. */
static size_t entry_write(uint8_t *at, const struct record *record, size_t bytes_max) {
    size_t room = leb_bytes(bytes_max);
    size_t bytes = (size_t)(record_encode_at(at + room, record) - (at + room));
    size_t length = leb_bytes(bytes);
    if (length < room) {
        memmove(at + length, at + room, bytes);
    }
    leb_put(at, bytes);
    return length + bytes;
}

static void filling_close(struct staging *s) {
    list_push_back(&s->closed, &s->filling->link);
    s->filling = staging_empty_frame(s);
}

lsn_t staging_add(struct staging *s, const struct record *record, bool *fits) {
    size_t bytes_max = record_bytes_max(record);
    *fits = bytes_max <= s->record_bytes_max;
    if (!*fits) {
        return s->next_lsn;
    }
    bool full = s->filling->payload_bytes + LENGTH_MAX + bytes_max > s->frame_payload_max ||
                s->filling->record_count >= s->frame_records_max / (s->few ? RECORDS_FEW : 1);
    if (full && s->filling->record_count > 0) {
        filling_close(s);
    }
    struct staged_frame *frame = s->filling;
    size_t needed = PAYLOAD_AT + frame->payload_bytes + LENGTH_MAX + bytes_max + BLOCK_BYTES;
    if (needed > frame->capacity) {
        frame_grow(frame, needed);
    }
    size_t taken = entry_write(frame->memory + PAYLOAD_AT + frame->payload_bytes, record, bytes_max);
    frame->payload_bytes += taken;
    frame->record_count++;
    s->bytes += taken;
    return s->next_lsn++;
}

struct staged_frame *staging_take(struct staging *s) {
    struct link *l = list_pop_front(&s->closed);
    struct staged_frame *frame = NULL;
    if (l != NULL) {
        frame = container_of(l, struct staged_frame, link);
    } else if (s->filling->record_count > 0) {
        frame = s->filling;
        s->filling = staging_empty_frame(s);
    } else {
        return NULL;
    }
    s->bytes -= frame->payload_bytes;
    return frame;
}

void staging_give(struct staging *s, struct staged_frame *frame) {
    size_t spares = 0;
    for (struct link *l = s->spare.next; l != &s->spare; l = l->next) {
        spares++;
    }
    if (spares >= SPARES_MAX || frame->capacity > SPARE_CAPACITY_MAX) {
        frame_destroy(frame);
    } else {
        list_push_front(&s->spare, &frame->link);
    }
}
