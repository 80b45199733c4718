/* The queue of one session: QoS 1 and 2 deliveries that have no packet id yet, oldest first, as deep as the disk.
 *
 *     head [memory]  ->  gap [table only: a count]  ->  tail [memory]
 *
 * The head is what will be sent next, in the order of arrival, which is that of the log for each publisher; the tail
 * gives out what it has in the order of (message lsn, target), see runs.h. When the queue is deeper than the window and
 * the table has what lies beyond (folded), the head is brought into the same order and that part is let go, some at a
 * time: it becomes the gap, which is read back piece by piece when the head runs empty. Deliveries without lsn (of
 * sessions that are not durable) stay in memory, and in the order of arrival.
 *
 * What has expired can be taken out of the middle (queue_sieve). In memory a dead place stays, without message, until
 * it comes to the front, or until the table has its end as well. In the gap nothing is there to be marked, and the
 * table shows the delivery until the record of its end is folded; but which ones are dead can be told: all that had
 * expired by the time of a walk, up to where it came. */
#pragma once

#include "store/runs.h"
#include "store/store.h"

/* A growable ring of deliveries. */
struct delivery_ring {
    struct delivery *items;
    uint32_t first, count, capacity;
};

/* A place in the order. */
struct queue_place {
    lsn_t lsn;
    uint32_t target;
};

/* Of the gap up to `to` all that had expired by `time` was taken out. */
struct queue_sieved {
    wall_ms_t time; /* 0: nothing */
    struct queue_place to;
};

struct queue {
    struct delivery_ring head;
    struct runs tail;
    uint32_t dead;                       /* places of head and tail */
    bool moved;                          /* something else than a push has happened since the walk began */
    struct queue_sieved sieved, sieving; /* by the last whole walk, and by the one that is under way */
    uint64_t gap_count;                  /* deliveries that only the table has */
    lsn_t gap_after_lsn;                 /* the gap begins after this delivery ... */
    uint32_t gap_after_target;
    lsn_t gap_end_lsn; /* ... and holds deliveries up to this one, inclusive */
    uint32_t gap_end_target;
    lsn_t taken_max_lsn; /* the last delivery, in the order, that was taken: the table may still show it */
    uint32_t taken_max_target;
};

void queue_deinit(struct queue *q);
static inline uint64_t queue_count(const struct queue *q) {
    return q->head.count + q->gap_count + q->tail.count - q->dead;
}
/* Moves all of `from`, of which only memory knows, to the end; it is empty afterwards. */
void queue_append(struct queue *q, struct queue *from);
/* Adds a delivery (its reference is taken over) at the end. */
void queue_push(struct queue *q, const struct delivery *d);
/* The oldest delivery, read back from the table when only the table has it: NULL when the queue is empty, when the
 * store has failed, or when very many in front of it were taken out: then the next call goes on. Valid until the queue
 * changes. */
const struct delivery *queue_peek(struct queue *q, struct store *store, session_id_t session, uint32_t window);
/* Takes the delivery that queue_peek() gave; its reference is the caller's. */
struct delivery queue_pop(struct queue *q);
/* A delivery was taken that never entered the (empty) queue. */
void queue_passed(struct queue *q, const struct delivery *d);

/* A walk over the queue, in slices, that takes out what has expired. One at a time, and each to its end. */
struct queue_walk {
    wall_ms_t time; /* what has expired by then is taken out */
    wall_ms_t
        next; /* the earliest expiry of what stays; INT64_MAX: none of it expires. Told what is pushed meanwhile */
    uint64_t looked; /* at so many */
    uint8_t part;
    uint32_t at;
};

/* `end`: the delivery's end is recorded; takes its reference over; returns the record's lsn. */
typedef lsn_t (*queue_end_function)(void *user, struct delivery *d);

void queue_walk_begin(struct queue *q, struct queue_walk *walk, wall_ms_t time);
/* Looks at `max` more, about; true when the walk is over. */
bool queue_walk_on(struct queue *q, struct queue_walk *walk, struct store *store, session_id_t session, uint32_t max,
                   queue_end_function end, void *user);

/* Lets go of deliveries beyond the window whose lsn is <= `settled`: the table has them and no mail about them is on
 * its way. It takes about so much time as `*most` deliveries, from which that is subtracted: when nothing is left there
 * may be more to let go of. Returns true while more than the window is still in memory. The gap begins after all that
 * was ever taken: the table shows what was taken until it has folded that, and mail of a slow shard may be older than
 * what was taken before it came. */
bool queue_let_go(struct queue *q, uint32_t window, lsn_t settled, uint32_t *most);
/* At the start: `count` deliveries, all in the table, none with an lsn above `end`. */
void queue_restore(struct queue *q, uint64_t count, lsn_t end);
