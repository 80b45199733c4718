/* A digest of the protocol state: equal for equal states wherever they lie in memory. Clocks and counters are not in
 * it. */
#include "client/state.h"

static void add(uint64_t *digest, uint64_t value) {
    *digest = hash64(*digest ^ value, *digest + 1);
}

static void add_bytes(uint64_t *digest, struct span s) {
    add(digest, hash_bytes(s, *digest));
}

static void add_message(uint64_t *digest, const struct message *m) {
    add(digest, m != NULL);
    if (m != NULL) {
        add_bytes(digest, message_topic(m));
        add_bytes(digest, message_payload(m));
        add(digest, m->lsn);
    }
}

static void add_flights(uint64_t *digest, const struct link *head) {
    for (const struct link *l = head->next; l != head; l = l->next) {
        const struct flight *f = container_of(l, struct flight, link);
        unsigned flags = f->qos | (unsigned)f->sent_before << 2 | (unsigned)f->sent_here << 3 |
                         (unsigned)f->counted << 4 | (unsigned)f->retain << 5;
        add(digest, f->message_lsn);
        add(digest, (uint64_t)f->packet_id << 8 | flags);
    }
    add(digest, UINT64_MAX);
}

static void add_queue(uint64_t *digest, const struct queue *q) {
    const struct delivery_ring *head = &q->head;
    for (uint32_t i = 0; i < head->count; i++) {
        add_message(digest, head->items[(head->first + i) & (head->capacity - 1)].message);
    }
    add(digest, head->count);
    add(digest, q->gap_count);
    add(digest, q->gap_after_lsn);
    for (uint32_t i = 0; i < q->tail.count; i++) {
        add_message(digest, runs_at(&q->tail, i)->message);
    }
    add(digest, q->tail.count);
}

static void add_ids(uint64_t *digest, const struct qos_in *in) {
    for (uint32_t id = qos_in_next(in, 1); id != 0; id = id < UINT16_MAX ? qos_in_next(in, id + 1) : 0) {
        add(digest, id);
    }
    add(digest, in->count);
}

static void add_open(uint64_t *digest, const struct open_set *s) {
    for (uint32_t i = 0; i < s->entries.count; i++) {
        const struct open_entry *e = fifo_at(&s->entries, i);
        add(digest, e->number * 2 + e->ended);
    }
    add(digest, s->count);
}

static void add_sending(uint64_t *digest, const struct sending *s) {
    add_flights(digest, &s->flows.published);
    add_flights(digest, &s->flows.released);
    add(digest, (uint64_t)s->flows.quota << 16 | s->flows.last_id);
    add_queue(digest, &s->queue);
    add_open(digest, &s->open);
    add(digest, s->last_sequence);
    add(digest, (unsigned)s->lost | (unsigned)s->fresh << 1 | (unsigned)s->foreign << 2);
    add_ids(digest, &s->cleared);
    add_ids(digest, &s->clearing);
    for (uint32_t i = 0; i < s->volatiles.count; i++) {
        const struct volatile_out *v = fifo_at(&s->volatiles, i);
        add_message(digest, v->message);
    }
}

static void add_receiving(uint64_t *digest, const struct receiving *r) {
    add_ids(digest, &r->held);
    add_ids(digest, &r->counted);
    for (uint32_t i = 0; i < r->withheld.count; i++) {
        const struct withheld *w = fifo_at(&r->withheld, i);
        add(digest, (uint64_t)w->packet_id << 8 | w->qos);
    }
    add_queue(digest, &r->queue);
    add_open(digest, &r->open);
    add(digest, r->full);
    for (uint32_t i = 0; i < r->volatiles.count; i++) {
        const struct volatile_in *v = fifo_at(&r->volatiles, i);
        add_message(digest, v->message);
    }
}

static void add_subscriptions(uint64_t *digest, const struct subscriptions *all) {
    for (const struct link *l = all->all.next; l != &all->all; l = l->next) {
        const struct subscription *s = container_of(l, struct subscription, link);
        unsigned flags = (unsigned)s->want.present | (unsigned)s->have.present << 1 | (unsigned)s->is_asked << 2 |
                         (unsigned)s->again << 3 | (unsigned)s->changed << 4;
        add_bytes(digest, span_of(s->filter, s->filter_bytes));
        add(digest, s->want.options << 16 | s->have.options << 8 | flags);
    }
    add(digest, all->under_way);
}

static void add_connection(uint64_t *digest, const struct client *c) {
    unsigned flags = (unsigned)c->session_known | (unsigned)c->uncertain << 1 | (unsigned)c->ask_again << 2 |
                     (unsigned)c->over << 3 | (unsigned)c->session_present << 4 | (unsigned)c->clean << 5 |
                     (unsigned)c->distrusts << 6 | (unsigned)c->asking << 7;
    add(digest, (uint64_t)c->phase << 8 | flags);
    add(digest, outbox_bytes(&c->out));
    add_bytes(digest, span_skip(buf_span(&c->out.bytes), c->out.taken));
    add(digest, c->out.gate_last > store_durable(c->store) ? c->out.gate_last : 0);
    add_bytes(digest, buf_span(&c->in));
}

uint64_t client_digest(const struct client *c) {
    uint64_t digest = store_durable(c->store);
    add_sending(&digest, &c->sending);
    add_receiving(&digest, &c->receiving);
    add_subscriptions(&digest, &c->subscriptions);
    add_connection(&digest, c);
    return digest;
}
