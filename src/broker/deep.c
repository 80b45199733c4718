#include "broker/deep.h"

#include "broker/admit.h"
#include "broker/own.h"
#include "broker/session.h"

enum {
    SLICE = 256,         /* sessions that one turn looks at, */
    LET_GO_MOST = 8192,  /* and of their deliveries those that it lets go of: about a millisecond */
    ASK_WINDOWS = 128,   /* of deliveries: then the table is asked to take them, */
    CROWD_WINDOWS = 512, /* and in all shards together: then many more wait for it */
    LOOK_MS = 100,       /* between two rounds when nothing was folded, and the count may be too large */
};

static uint64_t kept(const struct shard *shard) {
    return atomic_load_explicit(&shard->deep_kept, memory_order_relaxed);
}

bool deep_crowded(const struct shard *shard) {
    const struct broker *broker = shard->broker;
    uint64_t sum = 0;
    for (unsigned i = 0; i < broker->shard_count; i++) {
        sum += kept(broker->shards[i]);
    }
    return sum / CROWD_WINDOWS >= broker->options.window_messages;
}

bool deep_is(const struct shard *shard, const struct inlet *inlet) {
    return inlet->durable && atomic_load_explicit(&inlet->waiting_messages, memory_order_relaxed) >
                                 shard->broker->options.window_messages;
}

static void deepen(struct session *s) {
    if (s->durable && !link_linked(&s->deep_link)) {
        list_push_back(&s->shard->deep, &s->deep_link);
    }
}

static size_t in_memory(const struct session *s) {
    return (size_t)s->flows->queue.head.count + s->flows->queue.tail.count;
}

void deep_note(struct session *s) {
    struct shard *shard = s->shard;
    if (in_memory(s) <= session_window(s)) {
        return;
    }
    deepen(s);
    if (!s->durable) {
        return;
    }
    atomic_store_explicit(&shard->deep_kept, kept(shard) + 1, memory_order_relaxed);
    if (++shard->deep_unasked / ASK_WINDOWS >= shard->broker->options.window_messages) {
        shard->deep_unasked = 0;
        store_want_fold(shard->broker->store);
    }
}

void deep_note_away(struct session *s) {
    deepen(s);
    s->shard->let_go_soon = true; /* the table has most of it already */
}

static bool is_due(const struct shard *shard, lsn_t folded) {
    return folded != shard->folded || shard->let_go_soon ||
           (deep_crowded(shard) && shard->now - shard->let_go_at >= LOOK_MS);
}

/* Only records whose mail has arrived everywhere count: the fold is looked at first, then what each shard has sent,
 * then the mail is taken (by the caller, before or after: a later look only sees more). */
static bool round_begin(struct shard *shard) {
    const struct broker *broker = shard->broker;
    lsn_t settled = store_folded(broker->store);
    if (list_empty(&shard->deep) || !is_due(shard, settled) || own_count(shard) > 0) {
        return false;
    }
    for (unsigned i = 0; i < broker->shard_count; i++) {
        lsn_t other = atomic_load(&broker->shards[i]->settled);
        settled = i != shard->index && other < settled ? other : settled;
    }
    for (unsigned i = 0; i < broker->shard_count; i++) {
        while (shard_mail(shard, i, SIZE_MAX) > 0) {
        }
    }
    shard->let_go_soon = false;
    shard->let_go_at = shard->now;
    shard->folded = shard->let_go_settled = settled;
    shard->let_go_before = kept(shard);
    shard->let_go_kept = 0;
    for (struct link *l = shard->deep.next; l != &shard->deep; l = l->next) {
        shard->let_go_left++;
    }
    return true;
}

static void round_end(struct shard *shard) {
    const uint64_t since = kept(shard) - shard->let_go_before;
    atomic_store_explicit(&shard->deep_kept, shard->let_go_kept + since, memory_order_relaxed);
    shard->let_go_left = 0;
}

/* False when the turn has done enough before the session was looked at to the end. */
static bool round_look(struct shard *shard, struct session *s, uint32_t *most) {
    if (s->flows == NULL) {
        return true;
    }
    if (s->connection == NULL) {
        qos_out_let_go(&s->flows->out, shard->let_go_settled);
        admit_inflight(s, true);
    }
    if (s->bringing != NULL || /* its queue grows in front of what came since */
        queue_let_go(&s->flows->queue, session_window(s), shard->let_go_settled, most) ||
        (s->connection == NULL && s->flows->out.body_bytes > 0)) {
        if (*most == 0) {
            return false;
        }
        list_push_back(&shard->deep, &s->deep_link);
        shard->let_go_kept += in_memory(s) > session_window(s) ? in_memory(s) - session_window(s) : 0;
    }
    return true;
}

void deep_turn(struct shard *shard) {
    if (shard->let_go_left == 0 && !round_begin(shard)) {
        return;
    }
    uint32_t most = LET_GO_MOST;
    for (unsigned i = 0; i < SLICE && shard->let_go_left > 0 && !list_empty(&shard->deep); i++) {
        struct link *l = list_pop_front(&shard->deep);
        if (!round_look(shard, container_of(l, struct session, deep_link), &most)) {
            list_push_front(&shard->deep, l);
            break;
        }
        shard->let_go_left--;
    }
    if (shard->let_go_left == 0 || list_empty(&shard->deep)) {
        round_end(shard);
    }
}
