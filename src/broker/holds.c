/* What the sessions of a shard hold, by their structures and not by their accounts. */
#include "broker/session.h"

static uint64_t bytes_of(const struct message *m) {
    return m != NULL ? message_bytes(m) : 0; /* else it was taken out */
}

static uint64_t queue_bytes(const struct queue *q) {
    const struct delivery_ring *head = &q->head;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < head->count; i++) {
        bytes += bytes_of(head->items[(head->first + i) & (head->capacity - 1)].message);
    }
    for (uint32_t i = 0; i < q->tail.count; i++) {
        bytes += bytes_of(runs_at(&q->tail, i)->message);
    }
    return bytes;
}

static uint64_t flight_bytes(const struct qos_out *out) {
    uint64_t bytes = 0;
    for (const struct link *l = out->published.next; l != &out->published; l = l->next) {
        const struct message *m = container_of(l, struct flight, link)->message;
        bytes += m != NULL ? message_bytes(m) : 0;
    }
    return bytes;
}

void shard_holds(const struct shard *shard, uint64_t holds[QUOTA_ROW_COUNT]) {
    size_t at = 0;
    uint64_t id;
    void *value;
    while (map64_next(&shard->by_id, &at, &id, &value)) {
        const struct session *s = value;
        holds[QUOTA_SESSIONS]++;
        holds[QUOTA_SUBSCRIPTIONS] += s->subscriptions.count;
        const struct flows *f = s->flows;
        if (f == NULL) {
            continue;
        }
        holds[QUOTA_QUEUED] += queue_count(&f->queue) + queue_count(&f->behind);
        holds[s->durable ? QUOTA_DISK : QUOTA_QUEUED_BYTES] += queue_bytes(&f->queue) + queue_bytes(&f->behind);
        holds[QUOTA_INFLIGHT_BYTES] += flight_bytes(&f->out);
    }
}
