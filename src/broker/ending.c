#include "broker/ending.h"

#include "base/mem.h"

enum { FILTER_BYTES_PER_POINT = 64 };

struct ending *ending_of(struct session *s) {
    struct ending *e = mem_zero(1, sizeof *e);
    e->work.kind = WORK_END;
    e->shard = s->shard;
    e->inlet = s->inlet;
    e->subscriptions = s->subscriptions;
    e->inlet->session = NULL;
    return e;
}

/* The next subscription that is still there, or NULL. */
static void *ending_next(struct ending *e, struct span *filter) {
    void *subscription;
    return map_bytes_next(&e->subscriptions, &e->at, filter, &subscription) ? subscription : NULL;
}

void ending_free(struct ending *e) {
    const struct broker *broker = e->shard->broker;
    struct span filter;
    void *subscription;
    while ((subscription = ending_next(e, &filter)) != NULL) {
        mem_free(subscription);
    }
    map_bytes_deinit(&e->subscriptions);
    broker->outside.reclaim(broker->outside.user, e->inlet, mem_free);
    list_remove(&e->work.link);
    mem_free(e);
}

/* Some filters leave the trie under one lock; true when there may be more. */
static bool ending_leave_some(struct ending *e) {
    struct broker *broker = e->shard->broker;
    const size_t most = work_slice_points(e->shard);
    size_t points = 0;
    struct span filter;
    void *subscription = NULL;
    lock_take(&broker->lock);
    while (points < most && (subscription = ending_next(e, &filter)) != NULL) {
        points += 1 + filter.len / FILTER_BYTES_PER_POINT;
        (void)topic_trie_remove(broker->trie, filter, e->inlet);
        mem_free(subscription);
    }
    lock_give(&broker->lock);
    shard_spend(e->shard, points);
    return subscription != NULL;
}

void ending_slice(struct ending *e) {
    if (e->subscriptions.count > 0 && ending_leave_some(e)) {
        work_add(e->shard, &e->work);
    } else {
        ending_free(e);
    }
}
