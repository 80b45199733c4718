#include "broker/broker.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"
#include "broker/connection.h"
#include "broker/ending.h"
#include "broker/onward.h"
#include "broker/own.h"
#include "broker/post.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/state.h"
#include "broker/takeover.h"

enum { MAIL_RING_SLOTS = 4096, TEXT_BUFFERS = 4, TEXT_BYTES = 128 };

struct broker_options broker_options_default(void) {
    return (struct broker_options){
        .packet = {.packet_bytes_max = 1U << 20,
                   .topic_bytes_max = 4096,
                   .topic_levels_max = 200,
                   .user_properties_max = 64,
                   .subscriptions_max = UINT32_MAX},
        .subscribe_filters_max = 1000,
        .connect_bytes_max = 16U << 10,
        .connect_timeout_ms = 5000,
        .packet_timeout_ms = 120000,
        .receive_maximum = 256,
        .inflight_max = 1024,
        .inflight_bytes_max = 16ULL << 20,
        .queue_messages_max = 1000000,
        .queue_bytes_max = 1ULL << 30,
        .queue_memory_max = 64ULL << 20,
        .queue_wills_max = 1000,
        .queue_policy = QUEUE_END_SESSION,
        .stall_ms = 15000,
        .window_messages = 1024,
        .outbox_bytes_max = 1ULL << 20,
        .keep_alive_max_s = UINT16_MAX,
        .session_expiry_max_s = SESSION_NEVER_EXPIRES,
        .refuse_close_ms = 30000,
        .owner_share = 50,
        .subscriptions_max = 10000,
        .matches_max = 16384,
        .takeover_rate = 10,
        .allow_zero_length_client_id = true,
        .retained_body_bytes = 1024,
        .turn_points = 4096,
        .strain_share = 8192,
        .log_level = LOG_INFO,
        .packet_ids_max = UINT16_MAX,
        .mutant = MUTANT_NONE,
    };
}

bool broker_log_wanted(const struct broker *broker, enum log_level level) {
    return (unsigned)level <= broker->options.log_level;
}

/* Letters and digits as they are, all else as \xNN, so that a log line is one line and a terminal stays itself. */
const char *shard_text(struct span text) {
    static _Thread_local char buffers[TEXT_BUFFERS][TEXT_BYTES];
    static _Thread_local unsigned next;
    char *out = buffers[next++ % TEXT_BUFFERS];
    size_t used = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool plain = text.ptr[i] > ' ' && text.ptr[i] < 0x7f && text.ptr[i] != '\\';
        size_t need = plain ? 1 : 4;
        if (used + need > TEXT_BYTES - 4) {
            memcpy(out + used, "...", 4);
            return out;
        }
        if (plain) {
            out[used] = (char)text.ptr[i];
        } else {
            (void)snprintf(out + used, 5, "\\x%02x", text.ptr[i]);
        }
        used += need;
    }
    out[used] = '\0';
    return out;
}

uint64_t broker_random(const struct broker *broker) {
    uint64_t number;
    broker->outside.random(broker->outside.user, &number, sizeof number);
    return number;
}

static struct shard *shard_create(struct broker *broker, unsigned index) {
    struct shard *shard = mem_zero(1, sizeof *shard);
    shard->broker = broker;
    shard->index = index;
    shard->store_part = shard->queued_part = UINT64_MAX;
    shard->map_seed = broker_random(broker);
    shard->by_client = map_bytes_of(broker_random(broker));
    shard->by_id = map64_of(broker_random(broker));
    shard->awaited = map64_of(shard->map_seed);
    shard->contests = map64_of(shard->map_seed);
    shard->durable = store_durable(broker->store);
    atomic_init(&shard->settled, UINT64_MAX);
    list_init(&shard->dirty);
    list_init(&shard->dirty_later);
    list_init(&shard->gated);
    list_init(&shard->paused);
    list_init(&shard->untried);
    list_init(&shard->deep);
    list_init(&shard->overfull);
    list_init(&shard->heirs);
    list_init(&shard->contested);
    list_init(&shard->contests_due);
    list_init(&shard->busy);
    list_init(&shard->starved);
    list_init(&shard->works);
    list_init(&shard->stalled);
    shard->points = INT64_MAX / 2; /* before the first turn: the load is not cut */
    return shard;
}

struct quota *broker_quota(const struct broker *broker) {
    return broker->quota;
}

struct broker *broker_create(const struct broker_options *options, const struct broker_outside *outside,
                             struct store *store, unsigned shards) {
    must(shards >= 1 && shards <= SHARDS_MAX && options->window_messages > 0 && options->inflight_max > 0 &&
         options->turn_points > 0 && options->strain_share > 0);
    struct broker *broker = mem_zero(1, sizeof *broker);
    broker->options = *options;
    broker->connect_limits = options->packet;
    if (options->connect_bytes_max < options->packet.packet_bytes_max) {
        broker->connect_limits.packet_bytes_max = options->connect_bytes_max;
    }
    broker->outside = *outside;
    broker->store = store;
    lock_init(&broker->lock);
    lock_init(&broker->charges);
    broker->owner_seed = broker_random(broker);
    broker->trie = topic_trie_create(broker_random(broker), outside->reclaim, outside->user);
    broker->retained = topic_retained_create(broker_random(broker));
    broker->retained_notes = map64_of(broker_random(broker));
    list_init(&broker->retained_large);
    atomic_init(&broker->retained_next, INT64_MAX);
    broker->shard_count = shards;
    broker->rings = mem_zero((size_t)shards * shards, sizeof *broker->rings);
    for (unsigned i = 0; i < shards * shards; i++) {
        ring_init(&broker->rings[i], sizeof(struct mail), shards > 1 ? MAIL_RING_SLOTS : 1);
    }
    for (unsigned i = 0; i < shards; i++) {
        broker->shards[i] = shard_create(broker, i);
    }
    struct quota_limits limits = admit_limits(options);
    broker->quota = quota_create(&limits, broker_random(broker));
    return broker;
}

static void shard_forget_sessions(struct shard *shard) {
    size_t count = 0;
    size_t at = 0;
    uint64_t id;
    void *session;
    struct session **all = mem_alloc(shard->by_id.count * sizeof(struct session *));
    while (map64_next(&shard->by_id, &at, &id, &session)) {
        all[count++] = session;
    }
    for (size_t i = 0; i < count; i++) {
        session_forget(all[i]);
    }
    mem_free(all);
}

static void shard_destroy(struct shard *shard) {
    for (uint32_t i = 0; i < shard->slot_count; i++) {
        struct connection *c = shard->slots[i].connection;
        if (c != NULL) {
            if (c->session != NULL) {
                c->session->connection = NULL;
            }
            c->session = NULL;
            connection_destroy(c);
        }
    }
    takeover_deinit(shard);
    shard_forget_sessions(shard);
    while (!list_empty(&shard->works)) { /* with the sessions gone, these are ends that were under way */
        struct work *work = container_of(shard->works.next, struct work, link);
        must(work->kind == WORK_END);
        ending_free(container_of(work, struct ending, work));
    }
    heap_deinit(&shard->due);
    heap_deinit(&shard->connections_due);
    post_forget(shard);
    own_forget(shard);
    onward_forget(shard);
    mem_free(shard->mutant_held);
    mem_free(shard->overfull_ended);
    topic_matches_deinit(&shard->matches);
    mem_free(shard->targets);
    mem_free(shard->record_targets);
    mem_free(shard->slots);
    mem_free(shard);
}

static void retained_release(void *value) {
    message_unref(value);
}

void broker_destroy(struct broker *broker) {
    for (unsigned i = 0; i < broker->shard_count * broker->shard_count; i++) {
        struct mail mail;
        while (ring_pop(&broker->rings[i], &mail)) {
            message_unref(mail.message);
        }
        ring_deinit(&broker->rings[i]);
    }
    topic_trie_destroy(broker->trie);
    for (unsigned i = 0; i < broker->shard_count; i++) {
        shard_destroy(broker->shards[i]);
    }
    topic_retained_destroy(broker->retained, retained_release);
    retained_deinit(broker);
    mem_free(broker->rings);
    quota_destroy(broker->quota);
    lock_deinit(&broker->lock);
    lock_deinit(&broker->charges);
    mem_free(broker);
}

struct shard *broker_shard(struct broker *broker, unsigned index) {
    must(index < broker->shard_count);
    return broker->shards[index];
}

unsigned broker_shards(const struct broker *broker) {
    return broker->shard_count;
}
