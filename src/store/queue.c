#include "store/queue.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"

enum { RING_CAPACITY_MIN = 4, READ_BATCH = 256 };

static struct delivery *ring_at(const struct delivery_ring *r, uint32_t i) {
    return &r->items[(r->first + i) & (r->capacity - 1)];
}

static void ring_resize(struct delivery_ring *r, uint32_t capacity) {
    struct delivery *items = mem_alloc(capacity * sizeof *items);
    for (uint32_t i = 0; i < r->count; i++) {
        items[i] = *ring_at(r, i);
    }
    mem_free(r->items);
    r->items = items;
    r->first = 0;
    r->capacity = capacity;
}

static void delivery_ring_push(struct delivery_ring *r, const struct delivery *d) {
    if (r->count == r->capacity) {
        ring_resize(r, r->capacity > 0 ? r->capacity * 2 : RING_CAPACITY_MIN);
    }
    r->count++;
    *ring_at(r, r->count - 1) = *d;
}

static struct delivery delivery_ring_pop(struct delivery_ring *r) {
    must(r->count > 0);
    struct delivery d = *ring_at(r, 0);
    r->first++;
    r->count--;
    if (r->count == 0) {
        mem_free(r->items);
        *r = (struct delivery_ring){NULL, 0, 0, 0};
    }
    return d;
}

static void delivery_ring_deinit(struct delivery_ring *r) {
    while (r->count > 0) {
        struct delivery d = delivery_ring_pop(r);
        message_unref(d.message);
    }
}

void queue_deinit(struct queue *q) {
    delivery_ring_deinit(&q->head);
    delivery_ring_deinit(&q->tail);
    *q = (struct queue){.gap_count = 0};
}

static bool delivery_before(const struct delivery *a, const struct delivery *b) {
    return a->message_lsn < b->message_lsn || (a->message_lsn == b->message_lsn && a->target < b->target);
}

void queue_push(struct queue *q, const struct delivery *d) {
    must(q->gap_count == 0 || d->message_lsn > q->gap_end_lsn);
    delivery_ring_push(q->gap_count > 0 || q->tail.count > 0 ? &q->tail : &q->head, d);
}

void queue_append(struct queue *q, struct queue *from) {
    must(from->gap_count == 0 && from->tail.count == 0);
    while (from->head.count > 0) {
        struct delivery d = delivery_ring_pop(&from->head);
        queue_push(q, &d);
    }
}

static int delivery_compare(const void *left, const void *right) {
    const struct delivery *a = left;
    const struct delivery *b = right;
    return delivery_before(a, b) ? -1 : delivery_before(b, a);
}

/* Mail of different shards arrives nearly, but not always, in the order of the log. */
static void ring_sort(struct delivery_ring *r) {
    for (uint32_t i = 1; i < r->count; i++) {
        if (delivery_before(ring_at(r, i), ring_at(r, i - 1))) {
            ring_resize(r, r->capacity);
            qsort(r->items, r->count, sizeof *r->items, delivery_compare);
            return;
        }
    }
}

/* Reads the next piece of the gap into the empty head. */
static void queue_refill(struct queue *q, struct store *store, session_id_t session, uint32_t window) {
    struct store_delivery read[READ_BATCH];
    size_t want = window < READ_BATCH ? window : READ_BATCH;
    want = q->gap_count < want ? (size_t)q->gap_count : want;
    size_t count = store_queue_read(store, session, q->gap_after_lsn, q->gap_after_target, read, want);
    must(count == want || store_failed(store));
    for (size_t i = 0; i < count; i++) {
        must(read[i].message_lsn <= q->gap_end_lsn);
        struct delivery d = {read[i].message, read[i].message_lsn, 0, read[i].target, read[i].qos, read[i].retain};
        delivery_ring_push(&q->head, &d);
        q->gap_after_lsn = d.message_lsn;
        q->gap_after_target = d.target;
    }
    q->gap_count -= count;
}

const struct delivery *queue_peek(struct queue *q, struct store *store, session_id_t session, uint32_t window) {
    if (q->head.count == 0 && q->gap_count > 0) {
        queue_refill(q, store, session, window);
    }
    if (q->head.count == 0 && q->gap_count == 0) {
        struct delivery_ring empty = q->head;
        q->head = q->tail;
        q->tail = empty;
    }
    return q->head.count > 0 ? ring_at(&q->head, 0) : NULL;
}

static bool delivery_taken_after(const struct queue *q, const struct delivery *d) {
    return d->message_lsn > q->taken_max_lsn ||
           (d->message_lsn == q->taken_max_lsn && d->target >= q->taken_max_target);
}

void queue_passed(struct queue *q, const struct delivery *d) {
    if (delivery_taken_after(q, d)) {
        q->taken_max_lsn = d->message_lsn;
        q->taken_max_target = d->target;
    }
}

struct delivery queue_pop(struct queue *q) {
    struct delivery d = delivery_ring_pop(&q->head);
    queue_passed(q, &d);
    return d;
}

/* The table has it, and no mail that comes before it is on its way. */
static bool delivery_settled(const struct delivery *d, lsn_t settled) {
    return (d->record_lsn != 0 ? d->record_lsn : d->message_lsn) <= settled;
}

/* How many of the head stay when the rest is let go: the window, and all that is older than what was taken. */
static uint32_t queue_keeps(const struct queue *q, uint32_t window) {
    uint32_t keeps = window;
    while (keeps < q->head.count && !delivery_taken_after(q, ring_at(&q->head, keeps - 1))) {
        keeps++;
    }
    return keeps;
}

/* Moves what lies beyond the first `keeps` from the head to the (empty) tail; the gap will grow between the two. */
static void queue_split(struct queue *q, uint32_t keeps) {
    struct delivery_ring head = {NULL, 0, 0, 0};
    const struct delivery *last = ring_at(&q->head, keeps - 1);
    q->gap_after_lsn = last->message_lsn;
    q->gap_after_target = last->target;
    for (uint32_t i = 0; i < keeps; i++) {
        struct delivery d = delivery_ring_pop(&q->head);
        delivery_ring_push(&head, &d);
    }
    q->tail = q->head;
    q->head = head;
}

bool queue_let_go(struct queue *q, uint32_t window, lsn_t settled) {
    if (q->gap_count == 0 && q->tail.count == 0) {
        if (q->head.count <= window) {
            return false;
        }
        ring_sort(&q->head);
        uint32_t keeps = queue_keeps(q, window);
        if (keeps == q->head.count) {
            return true;
        }
        const struct delivery *beyond = ring_at(&q->head, keeps);
        if (beyond->message_lsn == 0 || !delivery_settled(beyond, settled)) {
            return true;
        }
        queue_split(q, keeps);
    }
    ring_sort(&q->tail);
    while (q->tail.count > 0 && delivery_settled(ring_at(&q->tail, 0), settled)) {
        struct delivery d = delivery_ring_pop(&q->tail);
        message_unref(d.message);
        q->gap_count++;
        q->gap_end_lsn = d.message_lsn;
    }
    return q->tail.count > 0;
}

void queue_restore(struct queue *q, uint64_t count, lsn_t end) {
    must(queue_count(q) == 0);
    q->gap_count = count;
    q->gap_end_lsn = end;
}
