#include "broker/retained.h"

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"

enum {
    EXPIRE_SLICE = 500, /* in one turn */
    LET_GO_SLICE = 32,  /* the same */
    LET_GO_MS = 1000,   /* those that somebody has used are looked at again */
};

/* What is known of a message that is in the index, besides; the index has the reference. */
struct retained_note {
    struct heap_node node; /* its deadline, if it has one */
    struct link large;     /* in retained_large, if its body is large and here */
    struct message *message;
};

static bool is_large(const struct broker *broker, const struct message *m) {
    return (uint64_t)m->properties_bytes + m->payload_bytes > broker->options.retained_body_bytes;
}

static void due_tell(struct broker *broker) {
    const struct heap_node *first = heap_first(&broker->retained_due);
    atomic_store_explicit(&broker->retained_next, first != NULL ? first->at : INT64_MAX, memory_order_relaxed);
}

static void note_add(struct broker *broker, struct message *m) {
    bool is_here = is_large(broker, m) && !m->shell;
    if (m->expires_at == 0 && !is_here) {
        return;
    }
    struct retained_note *note = mem_zero(1, sizeof *note);
    note->message = m;
    void *old = map64_put(&broker->retained_notes, (uintptr_t)m, note);
    must(old == NULL);
    if (m->expires_at != 0) {
        heap_set(&broker->retained_due, &note->node, m->expires_at);
    }
    if (is_here) {
        list_push_back(&broker->retained_large, &note->large);
        atomic_fetch_add_explicit(&broker->retained_large_count, 1, memory_order_relaxed);
    }
}

static void note_drop(struct broker *broker, const struct message *m) {
    struct retained_note *note = map64_remove(&broker->retained_notes, (uintptr_t)m);
    if (note == NULL) {
        return;
    }
    if (m->expires_at != 0) {
        heap_remove(&broker->retained_due, &note->node);
    }
    if (link_linked(&note->large)) {
        list_remove(&note->large);
        atomic_fetch_sub_explicit(&broker->retained_large_count, 1, memory_order_relaxed);
    }
    mem_free(note);
}

/* Puts a message in the place of what was there, whatever accounts say; the caller gets the reference of that. */
static struct message *place_take(struct broker *broker, struct span topic, struct message *m) {
    struct message *old = topic_retained_set(broker->retained, topic, m);
    if (old != NULL) {
        note_drop(broker, old);
    }
    if (m != NULL) {
        note_add(broker, m);
    }
    due_tell(broker);
    return old;
}

void retained_set(struct broker *broker, struct span topic, struct message *m) {
    struct message *old = place_take(broker, topic, m);
    if (old != NULL) {
        admit_retained_end(broker, old);
    }
    message_unref(old);
}

void retained_load(struct broker *broker, struct message *m) {
    struct message *kept = m;
    if (is_large(broker, m) && m->lsn <= store_folded(broker->store)) {
        kept = message_shell(m);
        message_unref(m);
    }
    retained_set(broker, message_topic(kept), kept);
}

void retained_keep(struct broker *broker, struct message *m) {
    message_unref(place_take(broker, message_topic(m), m));
}

/* One that the table has, and that nobody else uses. */
static bool can_leave(const struct shard *shard, const struct message *m) {
    return m->lsn <= shard->retained_folded && message_is_alone(m);
}

static void retained_let_go_some(struct shard *shard) {
    struct broker *broker = shard->broker;
    for (unsigned i = 0; i < LET_GO_SLICE && shard->retained_left > 0 && !list_empty(&broker->retained_large); i++) {
        struct link *l = list_pop_front(&broker->retained_large);
        struct message *m = container_of(l, struct retained_note, large)->message;
        list_push_back(&broker->retained_large, l);
        shard->retained_left--;
        if (can_leave(shard, m)) {
            struct message *shell = message_shell(m);
            message_unref(place_take(broker, message_topic(shell), shell));
        }
    }
    if (list_empty(&broker->retained_large)) {
        shard->retained_left = 0;
    }
}

void retained_let_go(struct shard *shard) {
    struct broker *broker = shard->broker;
    size_t count = atomic_load_explicit(&broker->retained_large_count, memory_order_relaxed);
    if (shard->index != 0 || count == 0) {
        shard->retained_left = 0;
        return;
    }
    if (shard->retained_left == 0) {
        lsn_t folded = store_folded(broker->store);
        if (folded == shard->retained_folded && shard->now - shard->retained_at < LET_GO_MS) {
            return;
        }
        shard->retained_folded = folded;
        shard->retained_at = shard->now;
        shard->retained_left = count;
    }
    lock_take(&broker->lock);
    retained_let_go_some(shard);
    lock_give(&broker->lock);
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
        retained_forget(shard, container_of(node, struct retained_note, node)->message);
    }
    bool more = heap_due(&broker->retained_due, shard->wall) != NULL;
    lock_give(&broker->lock);
    return more;
}

void retained_deinit(struct broker *broker) {
    size_t at = 0;
    uint64_t key;
    void *note;
    while (map64_next(&broker->retained_notes, &at, &key, &note)) {
        mem_free(note);
    }
    map64_deinit(&broker->retained_notes);
    heap_deinit(&broker->retained_due);
}
