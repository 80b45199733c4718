#include "broker/own.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/route.h"

enum {
    OWN_CAPACITY_MIN = 64,
    OWN_OVERDRAFT = 4, /* a turn may take a quarter more before deliveries are put off */
};

bool own_waits(const struct session *session, bool many) {
    const struct shard *shard = session->shard;
    if (session->own_count > 0 || !many) {
        return session->own_count > 0;
    }
    return shard->own.count > 0 || shard->points + shard->broker->options.turn_points / OWN_OVERDRAFT <= 0;
}

void own_push(struct session *session, const struct mail *mail) {
    struct mail_queue *q = &session->shard->own;
    if (q->count == q->capacity) {
        size_t capacity = q->capacity > 0 ? q->capacity * 2 : OWN_CAPACITY_MIN;
        struct mail *items = mem_alloc(capacity * sizeof *items);
        for (size_t i = 0; i < q->count; i++) {
            items[i] = q->items[(q->first + i) & (q->capacity - 1)];
        }
        mem_free(q->items);
        *q = (struct mail_queue){items, 0, q->count, capacity};
    }
    q->items[(q->first + q->count) & (q->capacity - 1)] = *mail;
    q->count++;
    session->own_count++;
}

/* Memory that was needed once is given back. */
static struct mail own_pop(struct mail_queue *q) {
    must(q->count > 0);
    struct mail mail = q->items[q->first & (q->capacity - 1)];
    q->first++;
    q->count--;
    if (q->count == 0) {
        mem_free(q->items);
        *q = (struct mail_queue){NULL, 0, 0, 0};
    }
    return mail;
}

void own_deliver(struct shard *shard, int64_t points) {
    unsigned at_qos0 = 0;
    for (int64_t rest = shard->points - points; shard->own.count > 0 && shard->points > rest;) {
        struct mail mail = own_pop(&shard->own);
        struct session *session = map64_get(&shard->by_id, mail.session_id);
        shard_spend(shard, mail.qos > 0 || at_qos0++ % OWN_QOS0_PER_POINT == 0);
        if (session != NULL) {
            session->own_count--;
        }
        route_mail(shard, &mail);
    }
}

void own_forget(struct shard *shard) {
    while (shard->own.count > 0) {
        struct mail mail = own_pop(&shard->own);
        message_unref(mail.message);
    }
}
