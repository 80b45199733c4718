#include "broker/inlet.h"

#include "broker/overfull.h"

enum {
    OTHERS_PART = 4,        /* of a limit: as much again is for other owners */
    SLACK = 8,              /* charged is one part in so many more than what waits */
    KEPT_MESSAGES = 64,     /* of a client that is there, charged also when nothing waits */
    KEPT_BYTES = 64 * 1024, /* the same */
    KEPT_FACTOR = 4,        /* and so many times what waits */
    NEEDS = 2,
};

static uint64_t waiting_messages(const struct inlet *inlet) {
    return atomic_load_explicit(&inlet->waiting_messages, memory_order_relaxed);
}

static uint64_t waiting_bytes(const struct inlet *inlet) {
    return atomic_load_explicit(&inlet->waiting_bytes, memory_order_relaxed);
}

/* ---- the owner's side ---- */

static uint64_t charged_messages(const struct inlet *inlet) {
    return atomic_load_explicit(&inlet->charged_messages, memory_order_relaxed);
}

static uint64_t charged_bytes(const struct inlet *inlet) {
    return atomic_load_explicit(&inlet->charged_bytes, memory_order_relaxed);
}

static void inlet_needs(const struct inlet *inlet, uint64_t messages, uint64_t bytes, struct quota_need needs[NEEDS]) {
    needs[0] = (struct quota_need){QUOTA_QUEUED, messages};
    needs[1] = (struct quota_need){inlet->durable ? QUOTA_DISK : QUOTA_QUEUED_BYTES, bytes};
}

static void charged_add(struct inlet *inlet, uint64_t messages, uint64_t bytes) {
    atomic_store_explicit(&inlet->charged_messages, charged_messages(inlet) + messages, memory_order_relaxed);
    atomic_store_explicit(&inlet->charged_bytes, charged_bytes(inlet) + bytes, memory_order_relaxed);
}

static uint64_t above(uint64_t amount, uint64_t charged) {
    return amount > charged ? amount - charged : 0;
}

static struct account *owner_of(const struct inlet *inlet) {
    return atomic_load_explicit(&inlet->owner, memory_order_relaxed);
}

/* Within a quarter more than the limits of the account and of those above it. */
static bool is_within_more(const struct account *account, const struct quota_need *need) {
    for (const struct account *a = account; a != NULL; a = a->parent) {
        const uint64_t most = a->most[need->row];
        if (most != 0 && quota_taken(a, need->row) + need->amount > most + most / OTHERS_PART) {
            return false;
        }
    }
    return true;
}

/* A session with less of a row than its owner's sessions have on the average is not the one that is in the way. */
static bool is_thin(const struct inlet *inlet, enum quota_row row, uint64_t waits) {
    const struct account *owner = owner_of(inlet);
    const uint64_t sessions = quota_taken(owner, QUOTA_SESSIONS);
    return inlet->durable && sessions > 1 && waits < (quota_taken(owner, row) + sessions - 1) / sessions;
}

/* Whether a need is taken whatever the limits say; so much waits there with it. */
static bool is_beyond_limits(const struct shard *shard, const struct inlet *inlet, const struct quota_need *need,
                             enum inlet_part part, uint64_t waits) {
    const bool messages = need->row == QUOTA_QUEUED;
    return part == INLET_WILLS || (!messages && inlet->durable && !shard->store_tight) ||
           ((part == INLET_OTHERS || is_thin(inlet, need->row, waits)) && is_within_more(owner_of(inlet), need));
}

/* Of both needs or of none. */
static bool charge_reserve(const struct shard *shard, struct inlet *inlet, const struct quota_need needs[NEEDS],
                           enum inlet_part part, struct quota_over *over) {
    struct account *owner = owner_of(inlet);
    const uint64_t waits[NEEDS] = {waiting_messages(inlet), waiting_bytes(inlet)};
    for (unsigned i = 0; i < NEEDS; i++) {
        if (is_beyond_limits(shard, inlet, &needs[i], part, waits[i])) {
            quota_take(owner, &needs[i], 1);
        } else if (!quota_reserve(owner, &needs[i], 1, over)) {
            quota_give(owner, needs, i);
            return false;
        }
    }
    return true;
}

static const char *over_text(const struct inlet *inlet, const struct quota_over *over) {
    if (over->row == QUOTA_QUEUED) {
        return over->level == QUOTA_ALL ? "may not grow, for as many messages wait as may"
                                        : "may not grow, for its address has its share of the messages that may wait";
    }
    return over->level == QUOTA_ALL ? "may not grow, for the memory for queues is taken"
           : inlet->durable         ? "may not grow, for its address has its share of the store"
                                    : "may not grow, for its address has its share of the memory for queues";
}

/* The lock is held. Takes what is missing, with some more where there is room. */
static const char *charge_missing(const struct shard *shard, struct inlet *inlet, enum inlet_part part) {
    const uint64_t messages = waiting_messages(inlet), bytes = waiting_bytes(inlet);
    struct quota_over over;
    for (unsigned tried = 0; tried < 2; tried++) {
        const uint64_t slack = tried == 0 ? SLACK : UINT64_MAX;
        struct quota_need needs[NEEDS];
        inlet_needs(inlet, above(messages + messages / slack, charged_messages(inlet)),
                    above(bytes + bytes / slack, charged_bytes(inlet)), needs);
        if (charge_reserve(shard, inlet, needs, part, &over)) {
            charged_add(inlet, needs[0].amount, needs[1].amount);
            return NULL;
        }
    }
    return over_text(inlet, &over);
}

static const char *charge(const struct shard *shard, struct inlet *inlet, enum inlet_part part) {
    const char *why = NULL;
    lock_take(&shard->broker->charges);
    if (owner_of(inlet) != NULL) {
        why = charge_missing(shard, inlet, part);
    }
    lock_give(&shard->broker->charges);
    return why;
}

static bool is_charged(const struct inlet *inlet, uint64_t messages, uint64_t bytes) {
    return messages <= charged_messages(inlet) && bytes <= charged_bytes(inlet);
}

/* The lock is held. */
static void charge_exactly(struct inlet *inlet) {
    struct quota_need needs[NEEDS];
    const uint64_t messages = waiting_messages(inlet), bytes = waiting_bytes(inlet);
    inlet_needs(inlet, above(messages, charged_messages(inlet)), above(bytes, charged_bytes(inlet)), needs);
    quota_take(owner_of(inlet), needs, NEEDS);
    inlet_needs(inlet, above(charged_messages(inlet), messages), above(charged_bytes(inlet), bytes), needs);
    quota_give(owner_of(inlet), needs, NEEDS);
    atomic_store_explicit(&inlet->charged_messages, messages, memory_order_relaxed);
    atomic_store_explicit(&inlet->charged_bytes, bytes, memory_order_relaxed);
}

void inlet_rest(struct broker *broker, struct inlet *inlet) {
    if (charged_messages(inlet) == waiting_messages(inlet) && charged_bytes(inlet) == waiting_bytes(inlet)) {
        return;
    }
    lock_take(&broker->charges);
    if (owner_of(inlet) != NULL) {
        charge_exactly(inlet);
    }
    lock_give(&broker->charges);
}

void inlet_owner(struct broker *broker, struct inlet *inlet, struct account *owner) {
    struct quota_need needs[NEEDS];
    lock_take(&broker->charges);
    inlet_needs(inlet, charged_messages(inlet), charged_bytes(inlet), needs);
    if (owner_of(inlet) != NULL) {
        quota_give(owner_of(inlet), needs, NEEDS);
    }
    atomic_store_explicit(&inlet->owner, owner, memory_order_relaxed);
    if (owner != NULL) {
        quota_take(owner, needs, NEEDS);
    }
    lock_give(&broker->charges);
}

/* ---- its own side ---- */

static void account_sub(_Atomic uint64_t *account, uint64_t amount) {
    uint64_t before = atomic_load_explicit(account, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(account, &before, before > amount ? before - amount : 0,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

/* A queue that is empty takes one message of any size, so that none waits for ever. A will is smaller than the CONNECT
 * that it came in. */
static bool inlet_over(const struct inlet *inlet, const struct broker_options *options, uint64_t messages,
                       uint64_t bytes, enum inlet_part part) {
    uint64_t bytes_max = inlet->durable ? options->queue_bytes_max : options->queue_memory_max;
    uint64_t past = part >= INLET_OTHERS ? options->queue_messages_max / OTHERS_PART : 0;
    uint64_t past_bytes = part >= INLET_OTHERS ? bytes_max / OTHERS_PART : 0;
    if (part == INLET_WILLS) {
        past += options->queue_wills_max;
        past_bytes += (uint64_t)options->queue_wills_max * options->connect_bytes_max;
    }
    return (messages > past && messages - past > options->queue_messages_max) ||
           (messages > 1 && bytes > past_bytes && bytes - past_bytes > bytes_max);
}

const char *inlet_reserve(struct shard *shard, struct inlet *inlet, size_t bytes, enum inlet_part part) {
    const char *why = NULL;
    uint64_t messages = atomic_fetch_add_explicit(&inlet->waiting_messages, 1, memory_order_relaxed) + 1;
    uint64_t sum = atomic_fetch_add_explicit(&inlet->waiting_bytes, bytes, memory_order_relaxed) + bytes;
    if (inlet_over(inlet, &shard->broker->options, messages, sum, part)) {
        why = "is full";
    } else if (!is_charged(inlet, messages, sum)) {
        why = charge(shard, inlet, part);
        if (why != NULL) {
            (void)atomic_fetch_or_explicit(&inlet->overfull, OVERFULL_SHARE, memory_order_relaxed);
        }
    }
    if (why != NULL) {
        inlet_release(shard, inlet, bytes);
    }
    return why;
}

const char *inlet_full(struct shard *shard, struct inlet *inlet, size_t bytes) {
    const char *why = inlet_reserve(shard, inlet, bytes, INLET_LIMITS);
    if (why == NULL) {
        inlet_release(shard, inlet, bytes);
    }
    return why;
}

/* The lock is held. */
static const char *share_full(const struct shard *shard, const struct inlet *inlet, const struct quota_need *need,
                              uint64_t waits) {
    if (is_beyond_limits(shard, inlet, need, INLET_LIMITS, waits + need->amount)) {
        return NULL;
    }
    for (const struct account *a = owner_of(inlet); a != NULL; a = a->parent) {
        const uint64_t most = a->most[need->row];
        const uint64_t wanted = quota_taken(a, need->row) + quota_taken(a, QUOTA_SESSIONS) * need->amount;
        if (most != 0 && wanted + wanted / SLACK > most) { /* who has room takes some more than it needs */
            return over_text(inlet, &(struct quota_over){need->row, a->level});
        }
    }
    return NULL;
}

const char *inlet_share_full(const struct shard *shard, struct inlet *inlet, size_t bytes) {
    struct quota_need needs[NEEDS];
    const char *why = NULL;
    inlet_needs(inlet, 1, bytes, needs);
    lock_take(&shard->broker->charges);
    const uint64_t waits[NEEDS] = {waiting_messages(inlet), waiting_bytes(inlet)};
    for (unsigned i = 0; i < NEEDS && owner_of(inlet) != NULL && why == NULL; i++) {
        why = share_full(shard, inlet, &needs[i], waits[i]);
    }
    lock_give(&shard->broker->charges);
    return why;
}

bool inlet_has_part(const struct shard *shard, const struct inlet *inlet) {
    lock_take(&shard->broker->charges);
    const struct account *owner = owner_of(inlet);
    const bool has = owner == NULL || (quota_taken(owner, QUOTA_DISK) <= shard->store_part &&
                                       quota_taken(owner, QUOTA_QUEUED) <= shard->queued_part);
    lock_give(&shard->broker->charges);
    return has;
}

/* Whoever has no portion left is given one: what is brought was bounded where it was looked for. */
void inlet_take(struct shard *shard, struct inlet *inlet, size_t bytes) {
    uint64_t messages = atomic_fetch_add_explicit(&inlet->waiting_messages, 1, memory_order_relaxed) + 1;
    uint64_t sum = atomic_fetch_add_explicit(&inlet->waiting_bytes, bytes, memory_order_relaxed) + bytes;
    if (!is_charged(inlet, messages, sum)) {
        inlet_rest(shard->broker, inlet);
    }
}

void inlet_release(struct shard *shard, struct inlet *inlet, size_t bytes) {
    account_sub(&inlet->waiting_messages, 1);
    account_sub(&inlet->waiting_bytes, bytes);
    const bool away = atomic_load_explicit(&inlet->away, memory_order_relaxed);
    const uint64_t messages = waiting_messages(inlet), sum = waiting_bytes(inlet);
    const uint64_t messages_most = away ? messages + messages / SLACK : KEPT_MESSAGES + KEPT_FACTOR * messages;
    const uint64_t bytes_most = away ? sum + sum / SLACK : KEPT_BYTES + KEPT_FACTOR * sum;
    if (charged_messages(inlet) > messages_most || charged_bytes(inlet) > bytes_most) {
        inlet_rest(shard->broker, inlet);
    }
}

void inlet_restore(struct broker *broker, struct inlet *inlet, uint64_t messages, uint64_t bytes) {
    atomic_store(&inlet->waiting_messages, messages);
    atomic_store(&inlet->waiting_bytes, bytes);
    inlet_rest(broker, inlet);
}
