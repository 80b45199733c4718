/* A digest of a shard's protocol state, equal for equal states wherever they lie in memory: parts whose order means
 * nothing are summed, parts in order are chained. */
#include "broker/bring.h"
#include "broker/connection.h"
#include "broker/session.h"

static uint64_t mix(uint64_t digest, uint64_t value) {
    return hash64(digest + 0x9e3779b97f4a7c15ULL, value * 0xff51afd7ed558ccdULL + 1);
}

static uint64_t digest_message(const struct message *m) {
    if (m == NULL) {
        return 1;
    }
    uint64_t digest = hash_bytes(span_of(m->bytes, m->topic_bytes + m->properties_bytes + (size_t)m->payload_bytes), 7);
    return mix(mix(digest, m->qos), (uint64_t)m->expires_at);
}

static uint64_t digest_flights(const struct link *head) {
    uint64_t digest = 2;
    for (const struct link *l = head->next; l != head; l = l->next) {
        const struct flight *f = container_of(l, struct flight, link);
        digest = mix(mix(digest, f->packet_id), f->message_lsn);
        digest = mix(mix(digest, f->target), f->qos | (unsigned)f->state << 2 | (unsigned)f->retain << 4);
        digest = mix(digest, f->sent_before | (unsigned)f->sent_here << 1 | (unsigned)f->counted << 2);
    }
    return digest;
}

static uint64_t digest_delivery(uint64_t digest, const struct delivery *d) {
    digest = mix(mix(digest, digest_message(d->message)), d->message_lsn);
    return mix(digest, d->target | (uint64_t)d->qos << 32 | (uint64_t)d->retain << 40);
}

static uint64_t digest_queue(const struct queue *q) {
    const struct delivery_ring *r = &q->head;
    uint64_t digest = 3;
    for (uint32_t i = 0; i < r->count; i++) {
        digest = digest_delivery(digest, &r->items[(r->first + i) & (r->capacity - 1)]);
    }
    digest = mix(digest, 3);
    for (uint32_t i = 0; i < q->tail.count; i++) {
        digest = digest_delivery(digest, runs_at(&q->tail, i));
    }
    return mix(mix(digest, q->gap_count), q->gap_after_lsn);
}

static uint64_t digest_subscriptions(const struct session *s) {
    uint64_t sum = 0;
    size_t at = 0;
    struct span filter;
    void *value;
    while (map_bytes_next(&s->subscriptions, &at, &filter, &value)) {
        const struct subscription *subscription = value;
        sum += mix(hash_bytes(filter, 11), subscription->options);
    }
    return sum;
}

static uint64_t digest_held(const struct qos_in *in) {
    uint64_t digest = 4;
    for (uint32_t id = qos_in_next(in, 1); id != 0; id = id < UINT16_MAX ? qos_in_next(in, id + 1) : 0) {
        digest = mix(digest, id);
    }
    return digest;
}

static uint64_t digest_bringing(const struct bringing *b) {
    if (b == NULL) {
        return 5;
    }
    uint64_t digest = mix(mix(reader_left(&b->left), b->bring_next), b->index);
    digest = mix(mix(digest, hash_bytes(buf_span(&b->cursor.at), 23)), b->cursor.levels);
    return mix(digest,
               b->answered | (unsigned)b->crowded << 1 | (unsigned)b->cursor.due << 2 | (unsigned)b->leaves << 3);
}

/* Whether they were made does not tell sessions apart. */
static uint64_t digest_flows(const struct session *s) {
    struct flows none;
    const struct flows *f = s->flows;
    if (f == NULL) {
        session_flows_init(s, &none);
        f = &none;
    }
    uint64_t digest = mix(digest_flights(&f->out.published), digest_flights(&f->out.released));
    digest = mix(mix(digest, f->out.quota), f->out.last_id);
    return mix(mix(digest, digest_queue(&f->queue)), digest_queue(&f->behind));
}

static uint64_t digest_session(const struct session *s) {
    uint64_t digest = mix(hash_bytes(s->client_id, 13), s->id);
    digest = mix(mix(digest, s->expiry_s), (uint64_t)s->disconnected_at);
    digest = mix(mix(digest, s->connection != NULL), s->last_lsn);
    digest = mix(mix(digest, digest_held(&s->in)), digest_subscriptions(s));
    digest = mix(mix(digest, digest_flows(s)), digest_bringing(s->bringing));
    return mix(mix(digest, digest_message(s->will.message)), s->will.expiry_s);
}

static uint64_t digest_connection(const struct connection *c) {
    uint64_t digest =
        mix(hash_bytes(buf_span(&c->in), 17), c->state | (unsigned)c->pause << 8 | (unsigned)c->wish << 16);
    digest = mix(digest, c->session != NULL ? c->session->id : 0);
    digest = mix(mix(digest, c->handle.index), outbox_bytes(&c->out));
    digest = mix(digest, hash_bytes(span_of(c->out.bytes.ptr + c->out.taken, c->out.bytes.len - c->out.taken), 19));
    return mix(mix(digest, c->out.gate_last > c->shard->durable ? c->out.gate_last : 0),
               c->counted.count + connection_acks(c));
}

uint64_t shard_digest(const struct shard *shard) {
    uint64_t digest = mix(shard->durable, shard->counters.queued);
    uint64_t sum = 0;
    size_t at = 0;
    uint64_t id;
    void *session;
    while (map64_next(&shard->by_id, &at, &id, &session)) {
        sum += digest_session(session);
    }
    for (uint32_t i = 0; i < shard->slot_count; i++) {
        if (shard->slots[i].connection != NULL) {
            digest = mix(digest, digest_connection(shard->slots[i].connection));
        }
    }
    return mix(digest, sum);
}
