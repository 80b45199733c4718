#include "store/queue.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"

enum {
    RING_CAPACITY_MIN = 4,
    HEAD_MOST = 1024, /* more wait in the tail: the head is one piece of memory, and is sorted as a whole; a tail costs
                         some 150 instructions more for each delivery */
    READ_BATCH = 256,
    READ_DEAD = 16, /* so many batches of what was taken out are passed over at a time */
};

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

/* A dead one may be among them. */
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
    runs_deinit(&q->tail);
    *q = (struct queue){.gap_count = 0};
}

void queue_push(struct queue *q, const struct delivery *d) {
    must(q->gap_count == 0 || d->message_lsn > q->gap_end_lsn);
    if (q->gap_count > 0 || q->tail.count > 0 || q->head.count >= HEAD_MOST) {
        runs_push(&q->tail, d);
    } else {
        delivery_ring_push(&q->head, d);
    }
}

/* The tail's first are the head's last from now on: until it has `count`. */
static void queue_draw(struct queue *q, uint32_t count) {
    while (q->tail.count > 0 && q->head.count < count) {
        const struct delivery d = runs_pop(&q->tail);
        delivery_ring_push(&q->head, &d);
        q->moved = true;
    }
}

void queue_append(struct queue *q, struct queue *from) {
    must(from->gap_count == 0);
    while (from->head.count > 0) {
        const struct delivery d = delivery_ring_pop(&from->head);
        queue_push(q, &d);
        if (from->head.count == 0) {
            queue_draw(from, HEAD_MOST);
        }
    }
}

static int delivery_compare(const void *left, const void *right) {
    const struct delivery *a = left;
    const struct delivery *b = right;
    return delivery_before(a, b) ? -1 : delivery_before(b, a);
}

/* Mail of different shards arrives nearly, but not always, in the order of the log. */
static void head_sort(struct queue *q) {
    struct delivery_ring *r = &q->head;
    for (uint32_t i = 1; i < r->count; i++) {
        if (delivery_before(ring_at(r, i), ring_at(r, i - 1))) {
            ring_resize(r, r->capacity);
            qsort(r->items, r->count, sizeof *r->items, delivery_compare);
            q->moved = true;
            return;
        }
    }
}

static bool place_after(struct queue_place a, struct queue_place b) {
    return a.lsn > b.lsn || (a.lsn == b.lsn && a.target > b.target);
}

static struct queue_place gap_begin(const struct queue *q) {
    return (struct queue_place){q->gap_after_lsn, q->gap_after_target};
}

static struct queue_place gap_end(const struct queue *q) {
    return (struct queue_place){q->gap_end_lsn, q->gap_end_target};
}

/* Whether what the table shows in the gap was taken out of it. */
static bool gap_is_dead(const struct queue *q, const struct store_delivery *d) {
    const struct queue_place place = {d->message_lsn, d->target};
    const wall_ms_t expires_at = d->message->expires_at;
    return expires_at != 0 && ((expires_at <= q->sieved.time && !place_after(place, q->sieved.to)) ||
                               (expires_at <= q->sieving.time && !place_after(place, q->sieving.to)));
}

/* Reads the next piece of the gap into the empty head; returns how much it has seen of it. */
static size_t queue_refill(struct queue *q, struct store *store, session_id_t session, uint32_t window) {
    struct store_delivery read[READ_BATCH];
    size_t want = window < READ_BATCH ? window : READ_BATCH;
    if (q->sieved.time == 0 && q->sieving.time == 0 && q->gap_count < want) {
        want = (size_t)q->gap_count; /* and each is there */
    }
    size_t count = store_queue_read(store, session, q->gap_after_lsn, q->gap_after_target, read, want);
    size_t seen = 0;
    q->moved = true;
    for (; seen < count && q->gap_count > 0; seen++) {
        const struct store_delivery *r = &read[seen];
        struct delivery d = {r->message, r->message_lsn, 0, r->target, r->qos, r->retain};
        must(!place_after((struct queue_place){d.message_lsn, d.target}, gap_end(q)));
        q->gap_after_lsn = d.message_lsn;
        q->gap_after_target = d.target;
        if (gap_is_dead(q, r)) {
            message_unref(d.message);
        } else {
            delivery_ring_push(&q->head, &d);
            q->gap_count--;
        }
    }
    for (size_t i = seen; i < count; i++) {
        message_unref(read[i].message);
    }
    must(q->gap_count == 0 || count == want || store_failed(store));
    return seen;
}

static void queue_passed_place(struct queue *q, struct queue_place place);

/* The dead in front go. */
static void queue_bury(struct queue *q) {
    while (q->head.count > 0 && ring_at(&q->head, 0)->message == NULL) {
        struct delivery d = delivery_ring_pop(&q->head);
        queue_passed_place(q, (struct queue_place){d.message_lsn, d.target});
        q->dead--;
        q->moved = true;
    }
}

const struct delivery *queue_peek(struct queue *q, struct store *store, session_id_t session, uint32_t window) {
    queue_bury(q);
    for (unsigned i = 0; i < READ_DEAD && q->head.count == 0 && q->gap_count > 0; i++) {
        if (queue_refill(q, store, session, window) == 0) {
            return NULL;
        }
    }
    for (unsigned i = 0; i < READ_DEAD && q->head.count == 0 && q->gap_count == 0 && q->tail.count > 0; i++) {
        queue_draw(q, HEAD_MOST);
        queue_bury(q);
    }
    return q->head.count > 0 ? ring_at(&q->head, 0) : NULL;
}

static bool delivery_taken_after(const struct queue *q, const struct delivery *d) {
    return d->message_lsn > q->taken_max_lsn ||
           (d->message_lsn == q->taken_max_lsn && d->target >= q->taken_max_target);
}

static void queue_passed_place(struct queue *q, struct queue_place place) {
    if (place_after(place, (struct queue_place){q->taken_max_lsn, q->taken_max_target})) {
        q->taken_max_lsn = place.lsn;
        q->taken_max_target = place.target;
    }
}

static void queue_passed_one(struct queue *q, const struct delivery *d) {
    queue_passed_place(q, (struct queue_place){d->message_lsn, d->target});
}

/* The dead go, wherever they are: what is pushed next must not stay behind them, where it is let go of without a look
 * at what was taken. */
void queue_passed(struct queue *q, const struct delivery *d) {
    while (__builtin_expect(q->dead > 0, 0)) {
        queue_bury(q);
        if (q->head.count == 0) {
            queue_draw(q, HEAD_MOST);
        }
    }
    queue_passed_one(q, d);
}

struct delivery queue_pop(struct queue *q) {
    struct delivery d = delivery_ring_pop(&q->head);
    must(d.message != NULL);
    queue_passed_one(q, &d);
    q->moved = true;
    return d;
}

/* ---- what has expired ---- */

enum { WALK_HEAD, WALK_GAP, WALK_TAIL, WALK_OVER };

void queue_walk_begin(struct queue *q, struct queue_walk *walk, wall_ms_t time) {
    *walk = (struct queue_walk){.time = time, .next = INT64_MAX};
    q->moved = false;
    q->sieving = (struct queue_sieved){.time = time};
}

/* Whether a message stays; `next` hears of it. */
static bool walk_keeps(struct queue_walk *walk, const struct message *m) {
    walk->looked++;
    if (m->expires_at != 0 && m->expires_at <= walk->time) {
        return false;
    }
    if (m->expires_at != 0 && m->expires_at < walk->next) {
        walk->next = m->expires_at;
    }
    return true;
}

static void walk_one(struct queue *q, struct queue_walk *walk, struct delivery *d, queue_end_function end, void *user) {
    if (d->message != NULL && !walk_keeps(walk, d->message)) {
        d->record_lsn = end(user, d);
        d->message = NULL;
        q->dead++;
    }
}

static void walk_memory(struct queue *q, struct queue_walk *walk, uint32_t max, queue_end_function end, void *user) {
    const bool head = walk->part == WALK_HEAD;
    const uint32_t count = head ? q->head.count : q->tail.count;
    for (uint32_t i = 0; i < max && walk->at < count; i++, walk->at++) {
        walk_one(q, walk, head ? ring_at(&q->head, walk->at) : runs_at(&q->tail, walk->at), end, user);
    }
    if (walk->at >= count) {
        walk->part++;
        walk->at = 0;
    }
}

/* It has come to the end of the gap: what enters there later is not known to it. */
static void walk_gap_over(struct queue *q, struct queue_walk *walk) {
    q->sieved = (struct queue_sieved){.time = walk->time, .to = gap_end(q)};
    q->sieving = (struct queue_sieved){.time = 0};
    walk->part++;
}

static void walk_gap_one(struct queue *q, struct queue_walk *walk, const struct store_delivery *r,
                         queue_end_function end, void *user) {
    struct delivery d = {r->message, r->message_lsn, 0, r->target, r->qos, r->retain};
    const bool dead = gap_is_dead(q, r);
    q->sieving.to = (struct queue_place){d.message_lsn, d.target};
    if (dead || walk_keeps(walk, d.message)) {
        message_unref(d.message);
        return;
    }
    queue_passed_one(q, &d); /* a gap that begins later begins after it */
    (void)end(user, &d);
    q->gap_count--;
}

static void walk_gap(struct queue *q, struct queue_walk *walk, struct store *store, session_id_t session, uint32_t max,
                     queue_end_function end, void *user) {
    struct store_delivery read[READ_BATCH];
    struct queue_place after = place_after(gap_begin(q), q->sieving.to) ? gap_begin(q) : q->sieving.to;
    const size_t want = max < READ_BATCH ? max : READ_BATCH;
    const size_t count = q->gap_count > 0 ? store_queue_read(store, session, after.lsn, after.target, read, want) : 0;
    bool over = count < want;
    for (size_t i = 0; i < count; i++) {
        over = over || place_after((struct queue_place){read[i].message_lsn, read[i].target}, gap_end(q));
        if (over && place_after((struct queue_place){read[i].message_lsn, read[i].target}, gap_end(q))) {
            message_unref(read[i].message);
        } else {
            walk_gap_one(q, walk, &read[i], end, user);
        }
    }
    if (over) {
        walk_gap_over(q, walk);
    }
}

bool queue_walk_on(struct queue *q, struct queue_walk *walk, struct store *store, session_id_t session, uint32_t max,
                   queue_end_function end, void *user) {
    if (walk->part == WALK_GAP) {
        walk_gap(q, walk, store, session, max, end, user);
    } else {
        walk_memory(q, walk, max, end, user);
    }
    if (walk->part == WALK_OVER && q->moved) {
        walk->next = 0; /* it may not have seen all */
    }
    return walk->part == WALK_OVER;
}

/* ---- what memory lets go of ---- */

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

static void spend(uint32_t *most, uint32_t cost) {
    *most -= cost < *most ? cost : *most;
}

/* All of the head into the tail: it is in order there. */
static void head_merge(struct queue *q, uint32_t *most) {
    spend(most, q->head.count);
    q->moved = true;
    while (q->head.count > 0) {
        const struct delivery d = delivery_ring_pop(&q->head);
        runs_push(&q->tail, &d);
    }
}

/* Brings the head into order and before all of the tail, and to at least `window`; then what of the tail comes before
 * something that was taken goes to it. False when that was not all, because enough was done. */
static bool head_settle(struct queue *q, uint32_t window, uint32_t *most) {
    head_sort(q);
    if (q->tail.count == 0) {
        return true;
    }
    if (q->head.count > 0 && delivery_before(runs_first(&q->tail), ring_at(&q->head, q->head.count - 1))) {
        head_merge(q, most);
    }
    if (q->head.count < window) {
        const uint32_t lacks = window - q->head.count;
        const uint32_t takes = lacks < *most ? lacks : *most;
        spend(most, takes);
        queue_draw(q, q->head.count + takes);
    }
    if (q->head.count < window && q->tail.count > 0) {
        return false;
    }
    while (q->tail.count > 0 && !delivery_taken_after(q, ring_at(&q->head, q->head.count - 1))) {
        if (*most == 0) {
            return false;
        }
        spend(most, 1);
        queue_draw(q, q->head.count + 1);
    }
    return true;
}

/* Moves what lies beyond the first `keeps` from the head to the tail; the gap will grow between the two. */
static void queue_split(struct queue *q, uint32_t keeps) {
    struct delivery_ring head = {NULL, 0, 0, 0};
    const struct delivery *last = ring_at(&q->head, keeps - 1);
    q->moved = true;
    q->sieved.time = 0; /* the new gap begins after all that was ever taken out */
    q->sieving.to = (struct queue_place){0, 0};
    q->gap_after_lsn = last->message_lsn;
    q->gap_after_target = last->target;
    if (keeps == q->head.count) {
        return;
    }
    for (uint32_t i = 0; i < keeps; i++) {
        struct delivery d = delivery_ring_pop(&q->head);
        delivery_ring_push(&head, &d);
    }
    while (q->head.count > 0) {
        const struct delivery d = delivery_ring_pop(&q->head);
        runs_push(&q->tail, &d);
    }
    q->head = head;
}

/* Where a gap could begin; false when nothing beyond the window may be let go of, or there is no time to find out. */
static bool gap_begin_here(struct queue *q, uint32_t window, lsn_t settled, uint32_t *most) {
    if (!head_settle(q, window, most)) {
        return false;
    }
    const uint32_t keeps = queue_keeps(q, window);
    if (keeps >= q->head.count && q->tail.count == 0) {
        return false;
    }
    const struct delivery *beyond = keeps < q->head.count ? ring_at(&q->head, keeps) : runs_first(&q->tail);
    if (beyond->message_lsn == 0 || !delivery_settled(beyond, settled)) {
        return false;
    }
    queue_split(q, keeps < q->head.count ? keeps : q->head.count);
    return true;
}

bool queue_let_go(struct queue *q, uint32_t window, lsn_t settled, uint32_t *most) {
    if (q->gap_count == 0 && q->head.count + q->tail.count <= window) {
        return false;
    }
    if (q->gap_count == 0 && !gap_begin_here(q, window, settled, most)) {
        return true;
    }
    for (; q->tail.count > 0 && *most > 0 && delivery_settled(runs_first(&q->tail), settled); spend(most, 1)) {
        const struct delivery d = runs_pop(&q->tail);
        q->moved = true;
        if (d.message == NULL) { /* the table does not show it any more */
            q->dead--;
            continue;
        }
        message_unref(d.message);
        q->gap_count++;
        q->gap_end_lsn = d.message_lsn;
        q->gap_end_target = d.target;
    }
    return q->tail.count > 0;
}

void queue_restore(struct queue *q, uint64_t count, lsn_t end) {
    must(queue_count(q) == 0);
    q->gap_count = count;
    q->gap_end_lsn = end;
    q->gap_end_target = UINT32_MAX;
}
