#include "sim/accounts.h"

#include <stdio.h>

#include "quota/quota.h"
#include "sim/world.h"

/* At least and at most so much is there. */
struct accounts_count {
    uint64_t least, most;
};

static void expect(struct world *w, enum quota_row row, struct accounts_count right) {
    const uint64_t taken = quota_taken(quota_all(broker_quota(w->node.broker)), row);
    if (taken < right.least || taken > right.most) {
        world_fail(w, "accounts", "%llu %s are accounted for; %llu to %llu are right", (unsigned long long)taken,
                   quota_row_text(row), (unsigned long long)right.least, (unsigned long long)right.most);
    }
}

static struct accounts_count exactly(uint64_t count) {
    return (struct accounts_count){count, count};
}

static uint64_t connections(const struct world *w) {
    uint64_t count = 0;
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        count += w->conns[i].used && w->conns[i].broker == BROKER_END_OPEN ? 1 : 0;
    }
    return count;
}

static uint64_t subscriptions(const struct world *w) {
    uint64_t count = 0;
    for (unsigned i = 0; i < w->client_count; i++) {
        for (unsigned k = 0; k < SIM_WANTED_MAX && !world_is_pest(w, (int)i); k++) {
            count += w->clients[i].wanted[k].state == 2 ? 1 : 0;
        }
    }
    return count;
}

/* A client that is connected has a session, and one that is not may have one. */
static struct accounts_count sessions(const struct world *w) {
    struct accounts_count count = {0, 0};
    for (unsigned i = 0; i < w->client_count; i++) {
        count.least += !world_is_pest(w, (int)i) && w->clients[i].connack_seen ? 1 : 0;
        count.most += world_is_pest(w, (int)i) ? 0 : 1;
    }
    return count;
}

/* Whether a topic's retained message is known and must be there: the number of the message, or -1. */
static int retained_surely(const struct world *w, uint8_t topic) {
    const int value = oracle_retained(w, topic);
    const bool there = value >= 0 && !w->oracle.messages[value].clears && w->oracle.messages[value].expiry == 0;
    return there ? value : -1;
}

/* Topics whose retained message is known, and those that may have one. */
static struct accounts_count retained(const struct world *w) {
    struct accounts_count count = {0, 0};
    for (unsigned i = 0; i < topics_count(w->plan); i++) {
        const uint8_t topic = topics_at(w->plan, i);
        count.least += retained_surely(w, topic) >= 0 ? 1 : 0;
        count.most += oracle_may_be_retained(w, topic) ? 1 : 0;
    }
    return count;
}

/* Those that this client has surely published. */
static uint64_t retained_of(const struct world *w, int client) {
    uint64_t count = 0;
    for (unsigned i = 0; i < topics_count(w->plan); i++) {
        const int value = retained_surely(w, topics_at(w->plan, i));
        count += value >= 0 && w->oracle.messages[value].publisher == client ? 1 : 0;
    }
    return count;
}

struct owner_check {
    struct world *w;
    uint64_t sum[QUOTA_ROW_COUNT];
};

static void on_owner(void *user, const struct account *owner) {
    struct owner_check *c = user;
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        c->sum[row] += quota_taken(owner, (enum quota_row)row);
    }
}

static uint64_t taken_by(const struct world *w, int client, enum quota_row row) {
    struct quota *q = broker_quota(w->node.broker);
    char name[NODE_PEER_BYTES];
    (void)snprintf(name, sizeof name, NODE_NETWORK "%d", client);
    struct account *owner = quota_owner(q, span_str(name));
    const uint64_t taken = quota_taken(owner, row);
    quota_owner_unref(q, owner);
    return taken;
}

/* What is everybody's is the sum of what the owners have, and each has what is its own. */
static void judge_owners(struct world *w) {
    struct quota *q = broker_quota(w->node.broker);
    struct owner_check c = {.w = w};
    quota_each_owner(q, on_owner, &c);
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        const uint64_t all = quota_taken(quota_all(q), (enum quota_row)row);
        if (all != c.sum[row]) {
            world_fail(w, "accounts", "all together have %llu %s, their owners %llu", (unsigned long long)all,
                       quota_row_text((enum quota_row)row), (unsigned long long)c.sum[row]);
        }
    }
    for (int i = 0; i < (int)w->client_count; i++) {
        const uint64_t taken = taken_by(w, i, QUOTA_RETAINED);
        if (taken < retained_of(w, i)) {
            world_fail(w, "accounts", "c%d has %llu retained messages, %llu are accounted for", i,
                       (unsigned long long)retained_of(w, i), (unsigned long long)taken);
        }
    }
}

/* Whatever sessions hold is accounted for; mail that is under way and a little more may be so, too. */
static void judge_holds(struct world *w) {
    uint64_t holds[QUOTA_ROW_COUNT] = {0};
    for (unsigned i = 0; i < w->plan->shards; i++) {
        shard_holds(broker_shard(w->node.broker, i), holds);
    }
    for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
        expect(w, (enum quota_row)row, (struct accounts_count){holds[row], UINT64_MAX});
    }
}

/* A message has come to a client that has not acknowledged it on this connection: it is in flight. */
static bool has_unanswered(const struct world *w, const struct model *m) {
    const struct conn *c = m->conn >= 0 ? &w->conns[m->conn] : NULL;
    bool unanswered = false;
    for (unsigned id = 1; id <= w->plan->ids && c != NULL && !c->cut && !c->closing; id++) {
        unanswered = unanswered || (m->in[id].state == 1 && m->in[id].serial == m->serial);
    }
    return unanswered && c->broker == BROKER_END_OPEN;
}

/* Somebody waits with half a packet, or does not read: that is accounted for, whatever it is. */
void accounts_judge_begin(struct world *w) {
    bool half = false, unread = false;
    for (unsigned i = 0; i < SIM_CONNS_MAX && w->plan->pests; i++) {
        const struct conn *c = &w->conns[i];
        const bool open = c->used && c->broker == BROKER_END_OPEN && !c->closing;
        half = half || (open && !c->cut && c->half && c->to_broker.len == 0); /* a cut may have taken the half */
        unread = unread || (open && c->want_write);
    }
    for (unsigned i = 0; i < w->client_count && w->plan->pests && w->node.up; i++) {
        if (!world_is_pest(w, (int)i) && has_unanswered(w, &w->clients[i])) {
            expect(w, QUOTA_INFLIGHT_BYTES, (struct accounts_count){1, UINT64_MAX});
        }
    }
    if (w->plan->pests && w->node.up) {
        judge_holds(w);
    }
    if (half && w->node.up) {
        expect(w, QUOTA_INPUT_BYTES, (struct accounts_count){1, UINT64_MAX});
    }
    if (unread && w->node.up) {
        expect(w, QUOTA_OUTPUT_BYTES, (struct accounts_count){1, UINT64_MAX});
    }
}

/* A CONNECT whose client has left that connection may wait for its turn to take the session over, which comes so often
 * a second: its end is not seen before. */
static struct accounts_count input(const struct world *w) {
    struct accounts_count count = {0, 0};
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        const struct conn *c = &w->conns[i];
        const bool open = c->used && c->broker == BROKER_END_OPEN;
        count.most = open && c->paused && !c->client_open ? UINT64_MAX : count.most;
    }
    return count;
}

void accounts_judge(struct world *w) {
    if (!w->plan->pests || w->failed || !w->node.up) {
        return;
    }
    const struct accounts_count kept = retained(w);
    expect(w, QUOTA_RETAINED, kept);
    expect(w, QUOTA_RETAINED_BYTES, (struct accounts_count){kept.least, UINT64_MAX});
    expect(w, QUOTA_DISK, (struct accounts_count){kept.least, UINT64_MAX});
    judge_holds(w);
    expect(w, QUOTA_KEPT_BYTES, (struct accounts_count){sessions(w).least, UINT64_MAX});
    expect(w, QUOTA_CONNECTIONS, exactly(connections(w)));
    expect(w, QUOTA_SESSIONS, sessions(w));
    expect(w, QUOTA_INPUT_BYTES, input(w));
    if (!w->expect_refusal) {
        expect(w, QUOTA_SUBSCRIPTIONS, exactly(subscriptions(w)));
    }
    judge_owners(w);
}

static void all_disconnect(struct world *w) {
    for (unsigned i = 0; i < w->client_count; i++) {
        if (world_conn_of(w, (int)i) >= 0) {
            world_act(w, ACTION_DISCONNECT, (int)i);
        }
    }
    world_quiet(w);
}

void accounts_drain(struct world *w) {
    if (!w->plan->pests || w->failed) {
        return;
    }
    world_trace(w, "---- all is taken back ----");
    w->draining = true;
    all_disconnect(w);
    world_settle(w);
    if (!w->failed) {
        all_disconnect(w);
        for (unsigned i = 0; i < 4; i++) { /* what the broker could not read yet */
            world_calm_tick(w);
            world_quiet(w);
        }
    }
    for (unsigned row = 0; row < QUOTA_ROW_COUNT && !w->failed; row++) {
        expect(w, (enum quota_row)row, exactly(0));
    }
}
