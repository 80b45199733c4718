#include "broker/shed.h"

#include "broker/admit.h"
#include "broker/bring.h"
#include "broker/connection.h"

enum { SHED_SLICE = 1000, OFFER_MS = 2000 };

/* Bytes of memory that go with a connection. */
static uint64_t shed_bytes(const struct connection *c) {
    const struct session *s = c->session;
    uint64_t bytes = outbox_bytes(&c->out) + (s != NULL && s->flows != NULL ? s->flows->out.body_bytes : 0);
    if (s != NULL) {
        bytes +=
            s->durable ? bring_held_bytes(s) : atomic_load_explicit(&s->inlet->waiting_bytes, memory_order_relaxed);
    }
    return bytes;
}

/* What all of an owner's wait for. */
static uint64_t shed_owner_bytes(const struct account *owner) {
    return quota_taken(owner, QUOTA_OUTPUT_BYTES) + quota_taken(owner, QUOTA_INFLIGHT_BYTES) +
           quota_taken(owner, QUOTA_QUEUED_BYTES);
}

static void shed_look_at(struct shard *shard, const struct connection *c) {
    struct shed *shed = &shard->shed;
    const uint64_t bytes = shed_bytes(c);
    const uint64_t sum = shed_owner_bytes(c->owner);
    const uint64_t owner_bytes = sum > bytes ? sum : bytes; /* bodies that wait to be sent are in no account */
    const bool fatter = owner_bytes > shed->owner_bytes || (owner_bytes == shed->owner_bytes && bytes > shed->bytes);
    if (c->state != CONNECTION_CLOSING && bytes > 0 && owner_bytes >= SHED_BYTES_MIN && fatter) {
        shed->conn = c->handle;
        shed->bytes = bytes;
        shed->owner_bytes = owner_bytes;
    }
}

/* Another shard's owner has more. */
static bool shed_is_another(const struct shard *shard) {
    const struct broker *broker = shard->broker;
    for (unsigned i = 0; i < broker->shard_count; i++) {
        const struct shed *other = &broker->shards[i]->shed;
        if (i != shard->index &&
            shard->now - atomic_load_explicit(&other->offered_at, memory_order_relaxed) < OFFER_MS &&
            atomic_load_explicit(&other->offer, memory_order_relaxed) > shard->shed.owner_bytes) {
            return true;
        }
    }
    return false;
}

static void shed_cut(struct shard *shard) {
    const struct shed *shed = &shard->shed;
    struct connection *c = connection_find(shard, shed->conn);
    mono_ms_t again_at = atomic_load(&shard->broker->shed_again_at);
    if (c == NULL || c->state == CONNECTION_CLOSING || shed_is_another(shard) ||
        !atomic_compare_exchange_strong(&shard->broker->shed_again_at, &again_at, shard->now + SHED_AGAIN_MS)) {
        return;
    }
    shard->counters.shed++;
    shard_log(
        shard, LOG_WARNING,
        "closing %s (%s): memory is short, and it has the most of it: %llu bytes wait for it, %llu for all of its "
        "address",
        c->peer, c->session != NULL ? shard_text(c->session->client_id) : "no session", (unsigned long long)shed->bytes,
        (unsigned long long)shed->owner_bytes);
    connection_abort(c);
}

static void shed_begin(struct shed *shed) {
    shed->at = 0;
    shed->bytes = shed->owner_bytes = 0;
    shed->conn = (struct conn_handle){0, 0};
}

void shed_turn(struct shard *shard) {
    struct shed *shed = &shard->shed;
    if (shard->memory < MEMORY_SHORT) {
        shed_begin(shed);
        return;
    }
    if (shard->now < atomic_load_explicit(&shard->broker->shed_again_at, memory_order_relaxed)) {
        return;
    }
    for (unsigned i = 0; i < SHED_SLICE && shed->at < shard->slot_count; i++, shed->at++) {
        const struct connection *c = shard->slots[shed->at].connection;
        if (c != NULL) {
            shed_look_at(shard, c);
        }
    }
    if (shed->at < shard->slot_count) {
        return;
    }
    atomic_store_explicit(&shed->offer, shed->owner_bytes, memory_order_relaxed);
    atomic_store_explicit(&shed->offered_at, shard->now, memory_order_relaxed);
    if (shed->bytes > 0) {
        shed_cut(shard);
    }
    shed_begin(shed);
}
