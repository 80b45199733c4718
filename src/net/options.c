#include "net/options.h"

#include "broker/broker.h"
#include "net/memory.h"
#include "record/record.h"

enum {
    JOURNAL_SHARE = 4
}; /* of memory_limit, for what was accepted and is not in the table yet: one part in so many */

/* 0 in the configuration stands for "no limit". */
static uint64_t or_most(uint64_t value, uint64_t most) {
    return value != 0 ? value : most;
}

/* The least important level that anything is logged at: lines beyond it need not be written. */
static unsigned log_level_of(unsigned types) {
    unsigned level = LOG_ERROR;
    level = (types & CONFIG_LOG_WARNING) != 0 ? LOG_WARNING : level;
    level = (types & CONFIG_LOG_NOTICE) != 0 ? LOG_NOTICE : level;
    level = (types & CONFIG_LOG_INFORMATION) != 0 ? LOG_INFO : level;
    return (types & CONFIG_LOG_DEBUG) != 0 ? LOG_DEBUG : level;
}

struct broker_options options_broker(const struct config *config) {
    static const uint64_t without_limit = 1ULL << 60;
    struct broker_options o = broker_options_default();
    o.packet = (struct packet_limits){
        .packet_bytes_max = (uint32_t)config->max_packet_size,
        .topic_bytes_max = (uint16_t)config->max_topic_size,
        .topic_levels_max = (uint16_t)config->max_topic_levels,
        .user_properties_max = (uint16_t)config->max_user_properties,
        .subscriptions_max = UINT32_MAX, /* each filter beyond max_subscribe_filters gets a code */
    };
    o.subscribe_filters_max = (uint32_t)config->max_subscribe_filters;
    o.connect_bytes_max = (uint32_t)config->connect_packet_size;
    o.connect_timeout_ms = (int64_t)config->connect_timeout;
    o.packet_timeout_ms = (int64_t)config->packet_timeout;
    o.receive_maximum = (uint16_t)config->receive_maximum;
    o.inflight_max = (uint16_t)or_most(config->max_inflight_messages, 65535);
    o.queue_messages_max = or_most(config->max_queued_messages, without_limit);
    o.queue_all_max = config->max_queued_messages_all;
    o.queue_bytes_max = or_most(config->max_queued_bytes, without_limit);
    o.queue_memory_max = or_most(config->max_queued_memory, without_limit);
    o.inflight_bytes_max = or_most(config->max_inflight_bytes, without_limit);
    if (!config->persistence && o.queue_bytes_max > o.queue_memory_max) {
        o.queue_bytes_max = o.queue_memory_max; /* there is no disk for them */
    }
    o.queue_policy = config->queue_refuses ? QUEUE_REFUSE : QUEUE_END_SESSION;
    o.stall_ms = (int64_t)config->stall_timeout;
    o.window_messages = (uint32_t)config->queue_window;
    o.outbox_bytes_max = config->outbox_size;
    o.keep_alive_max_s = (uint16_t)config->max_keepalive;
    o.session_expiry_max_s = SESSION_NEVER_EXPIRES;
    if (config->persistent_client_expiration != 0) {
        o.session_expiry_max_s = (uint32_t)config->persistent_client_expiration;
    }
    o.refuse_close_ms = (int64_t)config->refuse_timeout;
    o.subscriptions_max = (uint32_t)config->max_subscriptions;
    o.matches_max = (uint32_t)config->max_matches;
    o.takeover_rate = (uint32_t)config->max_takeover_rate;
    o.owner_connection_rate = (uint32_t)config->max_connection_rate;
    o.memory_limit = or_most(config->memory_limit, memory_there_is() / 2);
    o.owner_share = (uint32_t)config->max_owner_share;
    o.allow_zero_length_client_id = config->allow_zero_length_clientid;
    o.log_level = log_level_of(config->log_types);
    return o;
}

struct store_local_options options_store(const struct config *config, uint64_t salt) {
    const uint64_t most = or_most(config->memory_limit, memory_there_is() / 2);
    return (struct store_local_options){
        .segment_bytes = config->segment_size,
        .segments_max = (uint32_t)config->max_segments,
        .frame_bytes_max = config->frame_size,
        .staged_bytes_busy = config->staged_size,
        .journal_bytes_busy = most / JOURNAL_SHARE,
        .salt = salt,
    };
}
