#include "session/outbox.h"

#include "base/mem.h"
#include "base/must.h"

enum {
    BODY_BY_REFERENCE_MIN = 4096, /* bytes; a copy of less is cheaper than another iovec */
    KEEP_CAPACITY_MAX = 16384,    /* bytes; a larger buffer is given back when the outbox empties */
    RING_CAPACITY_MIN = 8,
};

struct outbox_gate {
    uint64_t from; /* stream position */
    lsn_t after;
};

struct outbox_body {
    uint64_t from; /* stream position of its first byte */
    struct message *message;
};

/* Rings of both, made when there is something to put in. */
struct outbox_gates {
    uint32_t first, count, capacity;
    struct outbox_gate items[];
};
struct outbox_bodies {
    uint32_t first, count, capacity;
    struct outbox_body items[];
};

static uint32_t gate_count(const struct outbox *o) {
    return o->gates != NULL ? o->gates->count : 0;
}

static uint32_t body_count(const struct outbox *o) {
    return o->bodies != NULL ? o->bodies->count : 0;
}

uint32_t outbox_gate_places(const struct outbox *o) {
    return o->gates != NULL ? o->gates->capacity : 0;
}

static struct outbox_gate *gate_at(const struct outbox *o, uint32_t i) {
    return &o->gates->items[(o->gates->first + i) & (o->gates->capacity - 1)];
}

static struct outbox_body *body_at(const struct outbox *o, uint32_t i) {
    return &o->bodies->items[(o->bodies->first + i) & (o->bodies->capacity - 1)];
}

static size_t body_bytes(const struct outbox_body *b) {
    return b->message->payload_bytes;
}

static uint32_t ring_larger(uint32_t capacity) {
    return capacity > 0 ? capacity * 2 : RING_CAPACITY_MIN;
}

static void gates_make_room(struct outbox *o) {
    uint32_t count = gate_count(o);
    if (o->gates != NULL && count < o->gates->capacity) {
        return;
    }
    uint32_t capacity = ring_larger(count);
    struct outbox_gates *grown = mem_alloc(sizeof *grown + capacity * sizeof *grown->items);
    *grown = (struct outbox_gates){0, count, capacity};
    for (uint32_t i = 0; i < count; i++) {
        grown->items[i] = *gate_at(o, i);
    }
    mem_free(o->gates);
    o->gates = grown;
}

static void bodies_make_room(struct outbox *o) {
    uint32_t count = body_count(o);
    if (o->bodies != NULL && count < o->bodies->capacity) {
        return;
    }
    uint32_t capacity = ring_larger(count);
    struct outbox_bodies *grown = mem_alloc(sizeof *grown + capacity * sizeof *grown->items);
    *grown = (struct outbox_bodies){0, count, capacity};
    for (uint32_t i = 0; i < count; i++) {
        grown->items[i] = *body_at(o, i);
    }
    mem_free(o->bodies);
    o->bodies = grown;
}

void outbox_deinit(struct outbox *o) {
    for (uint32_t i = 0; i < body_count(o); i++) {
        message_unref(body_at(o, i)->message);
    }
    mem_free(o->bodies);
    mem_free(o->gates);
    buf_deinit(&o->bytes);
    *o = (struct outbox){.bytes = {NULL, 0, 0}};
}

void outbox_gate(struct outbox *o, lsn_t after) {
    if (after <= o->gate_last) {
        return;
    }
    o->gate_last = after;
    if (gate_count(o) > 0) {
        struct outbox_gate *last = gate_at(o, o->gates->count - 1);
        if (last->from == o->stream_end) {
            last->after = after;
            return;
        }
    }
    gates_make_room(o);
    o->gates->count++;
    *gate_at(o, o->gates->count - 1) = (struct outbox_gate){o->stream_end, after};
}

void outbox_body(struct outbox *o, struct message *m) {
    if (m->payload_bytes < BODY_BY_REFERENCE_MIN) {
        buf_bytes(&o->bytes, message_payload(m));
        outbox_appended(o);
        return;
    }
    bodies_make_room(o);
    o->bodies->count++;
    *body_at(o, o->bodies->count - 1) = (struct outbox_body){o->stream_end, message_ref(m)};
    o->stream_end += m->payload_bytes;
}

/* The stream position up to which bytes may leave: where the first gate is closed. Gates rise, so it is found by
 * halving: there may be one for each packet that waits. */
static uint64_t outbox_open_end(const struct outbox *o, lsn_t durable) {
    const uint32_t count = gate_count(o);
    uint32_t open = 0;
    uint32_t end = count;
    while (open < end) {
        uint32_t middle = open + (end - open) / 2;
        if (gate_at(o, middle)->after <= durable) {
            open = middle + 1;
        } else {
            end = middle;
        }
    }
    return open < count ? gate_at(o, open)->from : o->stream_end;
}

int outbox_ready(const struct outbox *o, lsn_t durable, struct iovec *iov, int max) {
    uint64_t end = outbox_open_end(o, durable);
    uint64_t at = o->stream_begin;
    size_t copied = o->taken;
    uint32_t body = 0;
    int count = 0;
    while (at < end && count < max) {
        const struct outbox_body *b = body < body_count(o) ? body_at(o, body) : NULL;
        size_t bytes;
        const uint8_t *from;
        if (b != NULL && b->from <= at) {
            size_t gone = (size_t)(at - b->from);
            bytes = body_bytes(b) - gone;
            from = message_payload(b->message).ptr + gone;
            body++;
        } else {
            uint64_t until = b != NULL ? b->from : o->stream_end;
            bytes = (size_t)(until - at);
            from = o->bytes.ptr + copied;
            copied += bytes;
        }
        if (bytes > end - at) {
            bytes = (size_t)(end - at);
        }
        iov[count].iov_base = (void *)(uintptr_t)from;
        iov[count].iov_len = bytes;
        count++;
        at += bytes;
    }
    return count;
}

static void outbox_reset_empty(struct outbox *o) {
    o->bytes.len = 0;
    o->taken = 0;
    o->counted = 0;
    if (o->bytes.capacity > KEEP_CAPACITY_MAX) {
        buf_deinit(&o->bytes);
    }
}

/* Bytes that have left are moved over when they are the larger part, so that each byte moves once at most. */
static void outbox_compact(struct outbox *o) {
    if (o->taken == o->bytes.len) {
        outbox_reset_empty(o);
    } else if (o->taken > o->bytes.len / 2 && o->taken > KEEP_CAPACITY_MAX) {
        buf_drop_front(&o->bytes, o->taken);
        o->counted -= o->taken;
        o->taken = 0;
    }
}

void outbox_sent(struct outbox *o, size_t bytes) {
    must(bytes <= o->stream_end - o->stream_begin);
    uint64_t end = o->stream_begin + bytes;
    while (o->stream_begin < end) {
        const struct outbox_body *b = body_count(o) > 0 ? body_at(o, 0) : NULL;
        if (b != NULL && b->from <= o->stream_begin) {
            uint64_t last = b->from + body_bytes(b);
            if (last > end) {
                o->stream_begin = end;
                break;
            }
            o->stream_begin = last;
            message_unref(b->message);
            o->bodies->first++;
            o->bodies->count--;
            continue;
        }
        uint64_t until = b != NULL && b->from < end ? b->from : end;
        o->taken += (size_t)(until - o->stream_begin);
        o->stream_begin = until;
    }
    while (gate_count(o) > 0 && gate_at(o, 0)->from < o->stream_begin) {
        o->gates->first++;
        o->gates->count--;
    }
    outbox_compact(o);
}

void outbox_cut(struct outbox *o, lsn_t durable) {
    uint64_t end = outbox_open_end(o, durable);
    uint64_t copied = end - o->stream_begin;
    uint32_t kept = 0;
    for (; kept < body_count(o) && body_at(o, kept)->from < end; kept++) {
        const struct outbox_body *b = body_at(o, kept);
        copied -= body_bytes(b) - (o->stream_begin > b->from ? o->stream_begin - b->from : 0);
    }
    while (body_count(o) > kept) {
        message_unref(body_at(o, --o->bodies->count)->message);
    }
    while (gate_count(o) > 0 && gate_at(o, o->gates->count - 1)->after > durable) {
        o->gates->count--;
    }
    o->gate_last = o->gate_last < durable ? o->gate_last : durable;
    o->bytes.len = o->counted = o->taken + (size_t)copied;
    o->stream_end = end;
}

/* A gate that was set and has no bytes yet stays: it is for those that come next. */
void outbox_shrink(struct outbox *o) {
    if (outbox_bytes(o) == 0 && gate_count(o) == 0) {
        lsn_t gate_last = o->gate_last;
        outbox_deinit(o);
        o->gate_last = gate_last;
    }
}
