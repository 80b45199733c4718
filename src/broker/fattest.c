#include "broker/fattest.h"

#include "base/mem.h"
#include "broker/state.h"

enum { LOOKS_PER_SLICE = 1000, WHO_BYTES = 256 };

uint64_t fattest_limit(const struct broker_options *o, enum quota_row row, enum quota_level *level) {
    const struct {
        enum quota_level level;
        uint64_t most;
    } bounds[QUOTA_ROW_COUNT] = {
        [QUOTA_SUBSCRIPTIONS] = {QUOTA_SESSION, o->subscriptions_max},
        [QUOTA_QUEUED] = {QUOTA_SESSION, o->queue_messages_max},
        [QUOTA_QUEUED_BYTES] = {QUOTA_SESSION, o->queue_memory_max},
        [QUOTA_DISK] = {QUOTA_SESSION, o->queue_bytes_max},
        [QUOTA_INFLIGHT_BYTES] = {QUOTA_SESSION, o->inflight_bytes_max},
        [QUOTA_INPUT_BYTES] = {QUOTA_CONNECTION, o->packet.packet_bytes_max},
        [QUOTA_OUTPUT_BYTES] = {QUOTA_CONNECTION, o->outbox_bytes_max},
    };
    *level = bounds[row].level;
    return bounds[row].most;
}

static void keep(struct request_answer *a, enum quota_row row, uint64_t has, struct span who) {
    struct request_fattest *f = &a->fattest[row];
    if (has > f->has) {
        f->has = has;
        f->who_bytes = who.len < WHO_BYTES ? who.len : WHO_BYTES;
        mem_free(f->who);
        f->who = mem_copy(who.ptr, f->who_bytes);
    }
}

static void look_at_session(struct request_answer *a, const struct session *s) {
    const struct inlet *inlet = s->inlet;
    const uint64_t bytes = atomic_load_explicit(&inlet->waiting_bytes, memory_order_relaxed);
    keep(a, QUOTA_SUBSCRIPTIONS, s->subscriptions.count, s->client_id);
    keep(a, QUOTA_QUEUED, atomic_load_explicit(&inlet->waiting_messages, memory_order_relaxed), s->client_id);
    keep(a, inlet->durable ? QUOTA_DISK : QUOTA_QUEUED_BYTES, bytes, s->client_id);
    keep(a, QUOTA_INFLIGHT_BYTES, s->flows != NULL ? s->flows->out.body_bytes : 0, s->client_id);
}

static void look_at_connection(struct request_answer *a, const struct connection *c) {
    keep(a, QUOTA_INPUT_BYTES, c->in.len, span_str(c->peer));
    keep(a, QUOTA_OUTPUT_BYTES, outbox_bytes(&c->out), span_str(c->peer));
}

/* `*at` counts places of connections, and then those of the map of sessions. */
bool fattest_step(const struct shard *shard, struct request_answer *a, size_t *at) {
    for (unsigned i = 0; i < LOOKS_PER_SLICE; i++) {
        if (*at < shard->slot_count) {
            const struct connection *c = shard->slots[(*at)++].connection;
            if (c != NULL) {
                look_at_connection(a, c);
            }
            continue;
        }
        size_t place = *at - shard->slot_count;
        uint64_t id;
        void *session;
        if (!map64_next(&shard->by_id, &place, &id, &session)) {
            return true;
        }
        *at = place + shard->slot_count;
        look_at_session(a, session);
    }
    return false;
}

void fattest_deinit(struct request_answer *a) {
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        mem_free(a->fattest[row].who);
        a->fattest[row] = (struct request_fattest){.has = 0};
    }
}
