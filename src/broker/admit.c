#include "broker/admit.h"

#include "base/mem.h"
#include "broker/inlet.h"
#include "quota/owner.h"

enum {
    SESSION_BYTES = 1024,     /* a session, its inlet, its places in maps, its first buffers */
    SUBSCRIPTION_BYTES = 256, /* a subscription, its place in the session's map and its entry in the trie */
    NAME_BYTES = 256,         /* a filter or topic in a tree, besides its text: two nodes, and their places */
    WILL_BYTES = 128,         /* a will, besides its texts */
    WILL_PROPERTIES = 16384,  /* a will with user properties: as large as a CONNECT may be */
    INPUT_ALWAYS = 4096,      /* so much of a connection's input is never refused */
    OUTPUT_PORTION = 4096,    /* outboxes are counted in these, so that a packet costs no atomic */
    INFLIGHT_PORTION = 16384, /* bodies in flight, the same */
    OUTPUT_KEPT = 4,          /* so many portions stay taken until a quiet moment */
    PARTS = 16,               /* of memory_limit: what the shares below are counted in */
    PARTS_BUSY = 12,          /* used: nothing new is kept */
    PARTS_SHORT = 13,         /* used: the fattest is cut off: see shed.h */
    PARTS_FULL = 14,          /* used: no message that waits either */
    PARTS_KEPT = 12,          /* for sessions and subscriptions */
    PARTS_RETAINED = 8,
    PARTS_INPUT = 2,
    PARTS_OUTPUT = 4,
    PARTS_QUEUED = 4,
    PARTS_INFLIGHT = 4,
    QUEUED_EACH = 64, /* bytes of the store's limit are one message that may wait: a row of the table, and its index */
    STORE_NEARLY_FULL = STORE_FILLED_ALL * 3 / 4, /* from here on who has much of it is refused first */
    STORE_LAST = STORE_FILLED_ALL * 15 / 16,      /* the rest is for those who have little: */
    STORE_LITTLE = 1024,                          /* one part in so many */
};

/* The mutants of the rows stand in their order. */
static struct quota_fault admit_fault(enum mutant mutant) {
    enum { LEFT = MUTANT_QUOTA_LEFT_CONNECTIONS, TWICE = MUTANT_QUOTA_TWICE_CONNECTIONS };
    _Static_assert(TWICE - LEFT == QUOTA_TAKEN_COUNT, "a mutant for each row that is taken of");
    if ((int)mutant >= TWICE && (int)mutant < TWICE + QUOTA_TAKEN_COUNT) {
        return (struct quota_fault){QUOTA_TWICE, (enum quota_row)((int)mutant - TWICE)};
    }
    if ((int)mutant >= LEFT && (int)mutant < TWICE) {
        return (struct quota_fault){QUOTA_LEFT_OUT, (enum quota_row)((int)mutant - LEFT)};
    }
    return (struct quota_fault){QUOTA_SOUND, 0};
}

struct quota_limits admit_limits(const struct broker_options *options) {
    struct quota_limits limits = {.most = {{0}}};
    const uint64_t part = options->memory_limit / PARTS;
    uint64_t *all = limits.most[QUOTA_ALL];
    uint64_t *owner = limits.most[QUOTA_OWNER];
    all[QUOTA_KEPT_BYTES] = part * PARTS_KEPT;
    all[QUOTA_RETAINED_BYTES] = part * PARTS_RETAINED;
    all[QUOTA_INPUT_BYTES] = part * PARTS_INPUT;
    all[QUOTA_OUTPUT_BYTES] = part * PARTS_OUTPUT;
    all[QUOTA_QUEUED_BYTES] = part * PARTS_QUEUED;
    all[QUOTA_INFLIGHT_BYTES] = part * PARTS_INFLIGHT;
    all[QUOTA_QUEUED] = options->queue_all_max != 0
                            ? options->queue_all_max
                            : (options->store_limit != 0 ? options->store_limit : options->memory_limit) / QUEUED_EACH;
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        owner[row] = all[row] / 100 * options->owner_share;
    }
    owner[QUOTA_CONNECTIONS] = options->owner_connections_max;
    owner[QUOTA_MATCHES] = all[QUOTA_MATCHES] = options->matches_max;
    owner[QUOTA_TAKEOVER_RATE] = all[QUOTA_TAKEOVER_RATE] = options->takeover_rate;
    owner[QUOTA_CONNECTION_RATE] = options->owner_connection_rate;
    owner[QUOTA_DISK] = options->store_limit / 100 * options->owner_share; /* all together: store_pressure() */
    for (unsigned level = 0; level < QUOTA_LEVEL_COUNT; level++) {
        for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
            const uint64_t most = options->accounts.most[level][row];
            limits.most[level][row] = most != 0 ? most : limits.most[level][row];
        }
    }
    limits.fault = admit_fault(options->mutant);
    return limits;
}

enum memory_pressure admit_memory(const struct broker_options *options) {
    const uint64_t part = options->memory_limit / PARTS;
    if (options->memory_limit == 0) {
        return MEMORY_EASY;
    }
    const uint64_t used = mem_live();
    return used > part * PARTS_FULL    ? MEMORY_FULL
           : used > part * PARTS_SHORT ? MEMORY_SHORT
           : used > part * PARTS_BUSY  ? MEMORY_BUSY
                                       : MEMORY_EASY;
}

bool admit_store_tight(const struct broker *broker) {
    return store_filled(broker->store) >= broker->options.owner_share * (STORE_FILLED_ALL / 100);
}

/* As much as is free, when the share is one half: so N who take all that they get leave one part in N + 1, whoever they
 * are, and it is for those who have less. The end is for those who have next to nothing. */
static uint64_t part_of(const struct broker *broker, uint64_t limit, uint64_t filled) {
    if (__builtin_expect(filled < STORE_NEARLY_FULL, 1)) {
        return UINT64_MAX;
    }
    const uint32_t share = broker->options.owner_share < 99 ? broker->options.owner_share : 99;
    const uint64_t left = filled < STORE_LAST ? STORE_LAST - filled : 0;
    const uint64_t free = limit / STORE_FILLED_ALL * left + limit % STORE_FILLED_ALL * left / STORE_FILLED_ALL;
    const uint64_t part = free * share / (100 - share);
    return part > limit / STORE_LITTLE ? part : limit / STORE_LITTLE;
}

uint64_t admit_store_part(const struct broker *broker) {
    return part_of(broker, broker->options.store_limit, store_filled(broker->store));
}

uint64_t admit_queued_part(const struct broker *broker) {
    const struct account *all = quota_all(broker->quota);
    const uint64_t limit = all->most[QUOTA_QUEUED];
    return limit != 0 ? part_of(broker, limit, quota_taken(all, QUOTA_QUEUED) * STORE_FILLED_ALL / limit) : UINT64_MAX;
}

/* ---- sessions ---- */

static uint32_t will_cost(const struct packet_connect *p) {
    if (p == NULL || !p->has_will) {
        return 0;
    }
    size_t properties = p->will.properties.user_property_count > 0 ? WILL_PROPERTIES : 0;
    return (uint32_t)(WILL_BYTES + p->will.topic.len + p->will.payload.len + properties);
}

struct session_taken admit_session_cost(struct span client_id, const struct packet_connect *p) {
    struct session_taken cost = {.will_bytes = will_cost(p)};
    cost.kept_bytes = SESSION_BYTES + client_id.len + cost.will_bytes;
    return cost;
}

enum { SESSION_NEEDS = 4 };

static void session_needs(const struct session_taken *taken, struct quota_need needs[SESSION_NEEDS]) {
    needs[0] = (struct quota_need){QUOTA_SESSIONS, 1};
    needs[1] = (struct quota_need){QUOTA_KEPT_BYTES, taken->kept_bytes};
    needs[2] = (struct quota_need){QUOTA_SUBSCRIPTIONS, taken->subscriptions};
    needs[3] = (struct quota_need){QUOTA_INFLIGHT_BYTES, taken->inflight_bytes};
}

static const char *over_text(const struct quota_over *over) {
    return over->level == QUOTA_OWNER ? "its address has its share of the memory for sessions"
                                      : "the memory for sessions is taken";
}

bool admit_session(const struct connection *c, const struct session_taken *cost, const char **why) {
    struct quota_need needs[SESSION_NEEDS];
    struct quota_over over;
    if (c->shard->memory != MEMORY_EASY) {
        *why = "memory is short: no new session";
        return false;
    }
    session_needs(cost, needs);
    if (!quota_reserve(c->owner, needs, SESSION_NEEDS, &over)) {
        *why = over_text(&over);
        return false;
    }
    return true;
}

void admit_session_anyway(struct account *owner, const struct session_taken *cost) {
    struct quota_need needs[SESSION_NEEDS];
    session_needs(cost, needs);
    quota_take(owner, needs, SESSION_NEEDS);
}

bool admit_keeper_room(const struct session *s) {
    return s->shard->memory == MEMORY_EASY && quota_has_room(s->owner, QUOTA_SESSIONS) &&
           quota_has_room(s->owner, QUOTA_KEPT_BYTES);
}

void admit_session_resumed(struct session *s, struct account *owner, uint32_t will_bytes) {
    struct quota *quota = s->shard->broker->quota;
    struct quota_need needs[SESSION_NEEDS];
    struct account *before = s->owner;
    session_needs(&s->taken, needs);
    quota_give(before, needs, SESSION_NEEDS);
    s->taken.kept_bytes += will_bytes;
    s->taken.kept_bytes -= s->taken.will_bytes;
    s->taken.will_bytes = will_bytes;
    s->owner = quota_owner_again(quota, owner);
    inlet_owner(s->shard->broker, s->inlet, s->owner);
    admit_session_anyway(s->owner, &s->taken);
    quota_owner_unref(quota, before);
}

void admit_session_end(struct session *s) {
    struct quota_need needs[SESSION_NEEDS];
    session_needs(&s->taken, needs);
    quota_give(s->owner, needs, SESSION_NEEDS);
    quota_owner_unref(s->shard->broker->quota, s->owner);
}

/* ---- flights ---- */

void admit_inflight(struct session *s, bool rest) {
    const uint64_t portion = rest ? 1 : INFLIGHT_PORTION;
    const uint64_t bytes = s->flows != NULL ? s->flows->out.body_bytes : 0;
    const uint64_t now = (bytes + portion - 1) / portion * portion;
    const uint64_t before = s->taken.inflight_bytes;
    if (now > before) {
        quota_take(s->owner, &(struct quota_need){QUOTA_INFLIGHT_BYTES, now - before}, 1);
    } else if (now < before) {
        quota_give_one(s->owner, QUOTA_INFLIGHT_BYTES, before - now);
    }
    s->taken.inflight_bytes = now;
}

bool admit_inflight_room(const struct session *s) {
    return quota_has_room(s->owner, QUOTA_INFLIGHT_BYTES);
}

/* ---- subscriptions ---- */

/* However deep it is. */
static uint64_t name_cost(struct span name) {
    return NAME_BYTES + name.len;
}

static void filter_needs(struct span filter, struct quota_need needs[2]) {
    needs[0] = (struct quota_need){QUOTA_SUBSCRIPTIONS, 1};
    needs[1] = (struct quota_need){QUOTA_KEPT_BYTES, SUBSCRIPTION_BYTES + filter.len + name_cost(filter)};
}

bool admit_subscription(struct session *s, struct span filter) {
    struct quota_need needs[2];
    filter_needs(filter, needs);
    if (s->shard->memory != MEMORY_EASY || !quota_reserve(s->owner, needs, 2, NULL)) {
        return false;
    }
    s->taken.subscriptions++;
    s->taken.kept_bytes += needs[1].amount;
    return true;
}

void admit_subscription_anyway(struct session *s, struct span filter) {
    struct quota_need needs[2];
    filter_needs(filter, needs);
    quota_take(s->owner, needs, 2);
    s->taken.subscriptions++;
    s->taken.kept_bytes += needs[1].amount;
}

void admit_subscription_end(struct session *s, struct span filter) {
    struct quota_need needs[2];
    filter_needs(filter, needs);
    quota_give(s->owner, needs, 2);
    s->taken.subscriptions--;
    s->taken.kept_bytes -= needs[1].amount;
}

/* ---- retained messages ---- */

enum { RETAINED_NEEDS = 3 };

/* Its body counts whether it is in memory or not: it may come back at any time. */
static void retained_needs(size_t bytes, struct span topic, struct span owner,
                           struct quota_need needs[RETAINED_NEEDS]) {
    needs[0] = (struct quota_need){QUOTA_RETAINED, 1};
    needs[1] = (struct quota_need){QUOTA_RETAINED_BYTES, bytes + owner.len + name_cost(topic)};
    needs[2] = (struct quota_need){QUOTA_DISK, bytes};
}

static void retained_needs_of(const struct message *m, struct quota_need needs[RETAINED_NEEDS]) {
    retained_needs(message_bytes(m), message_topic(m), message_owner(m), needs);
}

/* The owner's share of the store counts where there is so much in it. */
static bool retained_reserve(const struct shard *shard, struct account *owner,
                             const struct quota_need needs[RETAINED_NEEDS], struct quota_over *over) {
    if (quota_taken(owner, QUOTA_DISK) > shard->store_part) {
        *over = (struct quota_over){QUOTA_DISK, QUOTA_OWNER};
        return false;
    }
    if (shard->store_tight) {
        return quota_reserve(owner, needs, RETAINED_NEEDS, over);
    }
    if (!quota_reserve(owner, needs, RETAINED_NEEDS - 1, over)) {
        return false;
    }
    quota_take(owner, &needs[RETAINED_NEEDS - 1], 1);
    return true;
}

/* Each retained message has a reference of its owner, whom its text names. */
bool admit_retained(struct shard *shard, const struct message_parts *parts, const struct message *old,
                    const char **why) {
    struct quota *quota = shard->broker->quota;
    struct quota_need needs[RETAINED_NEEDS], before[RETAINED_NEEDS] = {{QUOTA_RETAINED, 0}};
    struct quota_over over = {.level = QUOTA_ALL};
    struct account *owner = quota_owner(quota, parts->owner);
    struct account *old_owner = owner;
    bool admitted = false, smaller = false;
    const size_t bytes = sizeof(struct message) + parts->topic.len + parts->properties.len + parts->payload.len;
    retained_needs(bytes, parts->topic, parts->owner, needs);
    if (old != NULL) { /* its room counts: it goes when this one comes */
        retained_needs_of(old, before);
        old_owner = quota_owner(quota, message_owner(old));
        quota_give(old_owner, before, RETAINED_NEEDS);
        smaller = needs[1].amount <= before[1].amount;
    }
    if (smaller && old_owner == owner) {
        quota_take(owner, needs, RETAINED_NEEDS);
        admitted = true;
    } else if (shard->memory == MEMORY_EASY || smaller) {
        admitted = retained_reserve(shard, owner, needs, &over);
    }
    if (old != NULL) {
        quota_take(old_owner, before, RETAINED_NEEDS);
        quota_owner_unref(quota, old_owner);
    }
    if (!admitted) {
        quota_owner_unref(quota, owner);
        *why = over.level == QUOTA_OWNER ? "is taken as far as one address may have it" : "is taken";
    }
    return admitted;
}

void admit_retained_anyway(struct broker *broker, const struct message *m) {
    struct quota_need needs[RETAINED_NEEDS];
    retained_needs_of(m, needs);
    quota_take(quota_owner(broker->quota, message_owner(m)), needs, RETAINED_NEEDS);
}

void admit_retained_end(struct broker *broker, const struct message *old) {
    struct quota_need needs[RETAINED_NEEDS];
    struct account *owner = quota_owner(broker->quota, message_owner(old));
    retained_needs_of(old, needs);
    quota_give(owner, needs, RETAINED_NEEDS);
    quota_owner_unref(broker->quota, owner); /* the one of just now, */
    quota_owner_unref(broker->quota, owner); /* and that of the message */
}

/* ---- connections ---- */

bool admit_connection(struct connection *c) {
    struct quota *quota = c->shard->broker->quota;
    char name[QUOTA_OWNER_BYTES];
    c->owner = quota_owner(quota, quota_owner_of(span_str(c->peer), name));
    c->counted_open = quota_reserve_one(c->owner, QUOTA_CONNECTIONS, 1, NULL);
    return c->counted_open;
}

void admit_connection_end(struct connection *c) {
    struct quota_need needs[] = {{QUOTA_CONNECTIONS, c->counted_open},
                                 {QUOTA_INPUT_BYTES, c->input_taken},
                                 {QUOTA_OUTPUT_BYTES, c->output_taken}};
    quota_give(c->owner, needs, sizeof needs / sizeof *needs);
    quota_owner_unref(c->shard->broker->quota, c->owner);
}

/* The beginning of a small packet is kept whoever has taken all the rest: connections are bounded. */
bool admit_input(struct connection *c) {
    size_t now = c->in.capacity;
    size_t before = c->input_taken;
    if (now < before) {
        quota_give_one(c->owner, QUOTA_INPUT_BYTES, before - now);
    } else if (now > before && now <= INPUT_ALWAYS) {
        quota_take(c->owner, &(struct quota_need){QUOTA_INPUT_BYTES, now - before}, 1);
    } else if (now > before && !quota_reserve_one(c->owner, QUOTA_INPUT_BYTES, now - before, NULL)) {
        return false;
    }
    c->input_taken = now;
    return true;
}

/* Bodies that are not copied are shared, and counted by the memory that there is. */
static size_t output_bytes(const struct connection *c) {
    size_t bytes = c->out.bytes.len - c->out.taken;
    return (bytes + OUTPUT_PORTION - 1) / OUTPUT_PORTION * OUTPUT_PORTION;
}

void admit_output_portion(struct connection *c) {
    size_t now = output_bytes(c);
    quota_take(c->owner, &(struct quota_need){QUOTA_OUTPUT_BYTES, now - c->output_taken}, 1);
    c->output_taken = now;
}

void admit_output_less(struct connection *c, bool rest) {
    const size_t kept = rest ? 0 : (size_t)OUTPUT_KEPT * OUTPUT_PORTION;
    if (c->output_taken > kept) {
        size_t now = output_bytes(c);
        now = now > kept ? now : kept;
        if (now < c->output_taken) {
            quota_give_one(c->owner, QUOTA_OUTPUT_BYTES, c->output_taken - now);
            c->output_taken = now;
        }
    }
}
