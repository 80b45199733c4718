#include "broker/retained.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"

enum { EXPIRE_SLICE = 500 }; /* in one turn */

/* The deadline of a message that is in the index; the index has the reference. */
struct retained_due {
    struct heap_node node;
    struct message *message;
};

static void due_tell(struct broker *broker) {
    const struct heap_node *first = heap_first(&broker->retained_due);
    atomic_store_explicit(&broker->retained_next, first != NULL ? first->at : INT64_MAX, memory_order_relaxed);
}

static void due_add(struct broker *broker, struct message *m) {
    struct retained_due *due = mem_zero(1, sizeof *due);
    due->message = m;
    void *old = map64_put(&broker->retained_dues, (uintptr_t)m, due);
    must(old == NULL);
    heap_set(&broker->retained_due, &due->node, m->expires_at);
}

static void due_drop(struct broker *broker, const struct message *m) {
    struct retained_due *due = map64_remove(&broker->retained_dues, (uintptr_t)m);
    heap_remove(&broker->retained_due, &due->node);
    mem_free(due);
}

void retained_set(struct broker *broker, struct span topic, struct message *m) {
    struct message *old = topic_retained_set(broker->retained, topic, m);
    if (old != NULL) {
        admit_retained_end(broker, old);
    }
    if (m != NULL) {
        admit_retained_taken(broker, m);
    }
    if (old != NULL && old->expires_at != 0) {
        due_drop(broker, old);
    }
    if (m != NULL && m->expires_at != 0) {
        due_add(broker, m);
    }
    due_tell(broker);
    message_unref(old);
}

void retained_forget(struct shard *shard, const struct message *m) {
    struct broker *broker = shard->broker;
    struct record record = {.kind = RECORD_MESSAGE,
                            .message = {.set_retained = true,
                                        .accepted_at = shard->wall,
                                        .parts = {.retain = true, .topic = message_topic(m)}}};
    broker->cleared_lsn = store_stage(broker->store, &record);
    retained_set(broker, message_topic(m), NULL);
}

bool retained_expire(struct shard *shard) {
    struct broker *broker = shard->broker;
    if (atomic_load_explicit(&broker->retained_next, memory_order_relaxed) > shard->wall) {
        return false;
    }
    lock_take(&broker->lock);
    struct heap_node *node;
    for (unsigned i = 0; i < EXPIRE_SLICE && (node = heap_due(&broker->retained_due, shard->wall)) != NULL; i++) {
        retained_forget(shard, container_of(node, struct retained_due, node)->message);
    }
    bool more = heap_due(&broker->retained_due, shard->wall) != NULL;
    lock_give(&broker->lock);
    return more;
}

void retained_deinit(struct broker *broker) {
    size_t at = 0;
    uint64_t key;
    void *due;
    while (map64_next(&broker->retained_dues, &at, &key, &due)) {
        mem_free(due);
    }
    map64_deinit(&broker->retained_dues);
    heap_deinit(&broker->retained_due);
}
