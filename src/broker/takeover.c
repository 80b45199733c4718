#include "broker/takeover.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "broker/connection.h"
#include "broker/input.h"

enum { DUE_SLICE = 64, CALM_SLICE = 256, CALM_EACH = 2 };

/* A client id that is taken over. */
struct contest {
    uint64_t key;           /* heirs.key */
    struct link link;       /* in shard.contested */
    struct link due;        /* in shard.contests_due, and then: */
    uint32_t waiting;       /* connections that have this key */
    struct pace pace;       /* of the take-overs */
    struct conn_handle old; /* whom they wait for */
};

/* ---- contests ---- */

static uint32_t takeover_rate(const struct shard *shard) {
    return shard->broker->options.takeover_rate;
}

static bool contest_forget(struct shard *shard, struct contest *t) {
    if (t->waiting > 0 || pace_taken(&t->pace, shard->now, takeover_rate(shard)) > 0) {
        return false;
    }
    list_remove(&t->link);
    list_remove(&t->due);
    (void)map64_remove(&shard->contests, t->key);
    mem_free(t);
    return true;
}

/* Forgets those that are calm among some. */
static void contests_look(struct shard *shard, unsigned some) {
    struct link *l;
    for (unsigned i = 0; i < some && (l = list_pop_front(&shard->contested)) != NULL; i++) {
        list_push_back(&shard->contested, l);
        (void)contest_forget(shard, container_of(l, struct contest, link));
    }
}

/* Whoever makes one looks at more than one, so that they are no more than have been taken over lately. */
static struct contest *contest_of(struct shard *shard, uint64_t key) {
    struct contest *t = map64_get(&shard->contests, key);
    if (t == NULL) {
        contests_look(shard, CALM_EACH);
        t = mem_zero(1, sizeof *t);
        t->key = key;
        list_push_back(&shard->contested, &t->link);
        (void)map64_put(&shard->contests, key, t);
    }
    return t;
}

/* Whether one more may wait: as many as may have the session now, one at least. */
static bool contest_has_room(const struct shard *shard, const struct contest *t) {
    const uint64_t rate = takeover_rate(shard);
    return rate == 0 || t->waiting == 0 || pace_taken(&t->pace, shard->now, rate) + t->waiting < rate;
}

/* ---- the old connection ---- */

static void takeover_drain(struct connection *old) {
    old->draining = true;
    old->wish = (old->pause & PAUSE_TURN) != 0 ? CONN_PAUSE : CONN_DRAIN;
    connection_mark_dirty(old);
    input_continue(old); /* what a pause has kept */
}

/* It ends for those who wait for it: now, or when that may be. */
static void takeover_begin(struct connection *old, struct contest *t) {
    if (old->state != CONNECTION_LIVE || old->draining) {
        return;
    }
    const uint64_t rate = takeover_rate(old->shard);
    if (rate == 0 || pace_taken(&t->pace, old->shard->now, rate) < rate) {
        takeover_drain(old);
        return;
    }
    t->old = old->handle;
    if (!link_linked(&t->due)) {
        list_push_back(&old->shard->contests_due, &t->due);
    }
}

static bool has_heirs(const struct connection *c) {
    return c->heirs != NULL && !list_empty(&c->heirs->waiting);
}

void takeover_turn(struct shard *shard) {
    struct link due, *l;
    list_init(&due);
    list_splice(&due, &shard->contests_due);
    for (unsigned i = 0; i < DUE_SLICE && (l = list_pop_front(&due)) != NULL; i++) {
        struct contest *t = container_of(l, struct contest, due);
        struct connection *old = connection_find(shard, t->old);
        if (old != NULL && has_heirs(old)) {
            takeover_begin(old, t);
        }
    }
    list_splice(&due, &shard->contests_due);
    list_splice(&shard->contests_due, &due);
}

void takeover_tick(struct shard *shard) {
    contests_look(shard, CALM_SLICE);
}

void takeover_deinit(struct shard *shard) {
    struct link *l;
    while ((l = list_pop_front(&shard->contested)) != NULL) {
        struct contest *t = container_of(l, struct contest, link);
        must(t->waiting == 0);
        list_remove(&t->due);
        (void)map64_remove(&shard->contests, t->key);
        mem_free(t);
    }
}

/* ---- heirs ---- */

static struct heirs *heirs_of(struct connection *c) {
    if (c->heirs == NULL) {
        c->heirs = mem_zero(1, sizeof *c->heirs);
        c->heirs->connection = c;
        list_init(&c->heirs->waiting);
    }
    return c->heirs;
}

bool takeover_heard(const struct connection *c) {
    return c->heirs != NULL && c->heirs->key == HEIR_HEARD;
}

/* Its CONNECT is taken, or it is over. */
static void heir_leave(struct heirs *heir) {
    struct shard *shard = heir->connection->shard;
    if (heir->key != 0 && heir->key != HEIR_HEARD) {
        struct contest *t = map64_get(&shard->contests, heir->key);
        must(t != NULL && t->waiting > 0);
        t->waiting--;
        if (map64_get(&shard->awaited, heir->key) == heir) {
            (void)map64_remove(&shard->awaited, heir->key);
        }
    }
    heir->key = 0;
}

/* Who has the session, or has it next; NULL: nobody. */
static struct connection *takeover_before(const struct shard *shard, struct span client_id, uint64_t key) {
    const struct session *session = map_bytes_get(&shard->by_client, client_id);
    const struct heirs *next = map64_get(&shard->awaited, key);
    return session != NULL && session->connection != NULL ? session->connection
           : next != NULL                                 ? next->connection
                                                          : NULL;
}

static uint64_t heir_key(const struct shard *shard, struct span client_id) {
    return hash_bytes(client_id, shard->map_seed) | 1; /* neither 0 nor HEIR_HEARD */
}

enum takeover takeover_ask(struct connection *c, struct span client_id) {
    struct shard *shard = c->shard;
    uint64_t key = heir_key(shard, client_id);
    bool waited = c->heirs != NULL && c->heirs->key != 0;
    if (waited) {
        heir_leave(c->heirs);
    }
    struct connection *old = takeover_before(shard, client_id, key);
    if (old == NULL || broker_mutant(shard, MUTANT_B9)) {
        if (waited) {
            c->heirs->key = HEIR_HEARD;
        }
        return TAKEOVER_NONE;
    }
    struct contest *t = contest_of(shard, key);
    if (!contest_has_room(shard, t)) {
        quota_refuse(c->owner, QUOTA_TAKEOVER_RATE);
        return TAKEOVER_REFUSED;
    }
    heirs_of(c)->key = key;
    t->waiting++;
    c->pause |= PAUSE_TAKEOVER;
    c->wish = CONN_PAUSE;
    list_push_back(&heirs_of(old)->waiting, &c->heirs->link);
    connection_mark_dirty(c);
    takeover_begin(old, t);
    return TAKEOVER_WAITS;
}

bool takeover_awaited(const struct session *s) {
    return s->shard->awaited.count > 0 && map64_get(&s->shard->awaited, heir_key(s->shard, s->client_id)) != NULL;
}

void takeover_connected(struct connection *c) {
    if (has_heirs(c)) {
        const struct heirs *next = container_of(c->heirs->waiting.next, struct heirs, link);
        takeover_begin(c, contest_of(c->shard, next->key));
    }
}

/* A client is thrown out. */
static void contest_pay(struct shard *shard, const struct connection *old) {
    if (takeover_rate(shard) > 0) {
        struct contest *t = contest_of(shard, heir_key(shard, old->session->client_id));
        pace_take(&t->pace, shard->now, 1, takeover_rate(shard));
    }
}

/* B9: the old connection is silent before the new one resends. What waits for the disk never leaves; what may leave is
 * offered to the socket once more, before the heir's turn comes. */
void takeover_end(struct connection *old) {
    struct shard *shard = old->shard;
    if (!old->draining || old->state != CONNECTION_LIVE) {
        return;
    }
    shard->counters.sessions_taken_over++;
    contest_pay(shard, old);
    shard_log(shard, LOG_INFO, "%s is taken over from %s", shard_text(old->session->client_id), old->peer);
    outbox_cut(&old->out, shard->durable);
    list_remove(&old->gated_link);
    bool answered = old->answered_lsn <= shard->durable; /* nothing comes before CONNACK [MQTT-3.14.0-1] */
    connection_close(old, answered ? REASON_SESSION_TAKEN_OVER : 0, false);
}

/* The first of those who wait takes the others along, so that many cost no more than one each. */
void takeover_pass_on(struct connection *c) {
    struct heirs *heirs = c->heirs;
    if (heirs == NULL) {
        return;
    }
    list_remove(&heirs->link);
    heir_leave(heirs);
    struct link *l = list_pop_front(&heirs->waiting);
    if (l != NULL) {
        struct heirs *next = container_of(l, struct heirs, link);
        list_splice(&next->waiting, &heirs->waiting);
        list_push_back(&c->shard->heirs, l);
        (void)map64_put(&c->shard->awaited, next->key, next);
    }
    mem_free(heirs);
    c->heirs = NULL;
}

void takeover_go_on(struct shard *shard) {
    struct link *l;
    while (shard->heirs_left > 0 && (l = list_pop_front(&shard->heirs)) != NULL) {
        shard->heirs_left--;
        input_unpause(container_of(l, struct heirs, link)->connection, PAUSE_TAKEOVER);
    }
}
