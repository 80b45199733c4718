#include "broker/sieve.h"

#include "base/mem.h"
#include "broker/session.h"
#include "broker/work.h"

enum {
    LOOK_POINTS = 4,  /* a look: most are at what only the table has, and end in a record */
    REST_PER_MS = 10, /* a walk that has looked at so many in vain is followed by no other for a millisecond */
    WORTH = 8,        /* one that was taken out was worth so many looks */
    REST_MS = 1000,   /* after one that may not have seen all, so that a queue in motion is not walked for ever */
};

struct sieve {
    struct work work;
    struct session *session;
    struct queue_walk walk;
    uint64_t found;
};

static struct sieve *sieve_of(const struct session *session) {
    return session->flows != NULL ? session->flows->sieve : NULL;
}

static void expires_by(struct session *s, wall_ms_t at) {
    if (at < atomic_load_explicit(&s->inlet->expires_at, memory_order_relaxed)) {
        atomic_store_explicit(&s->inlet->expires_at, at, memory_order_relaxed);
    }
}

void sieve_queued(struct session *session, const struct message *m) {
    if (m->expires_at == 0) {
        return;
    }
    expires_by(session, m->expires_at);
    struct sieve *sieve = sieve_of(session);
    if (sieve != NULL && m->expires_at < sieve->walk.next) {
        sieve->walk.next = m->expires_at;
    }
}

void sieve_unknown(struct session *session) {
    expires_by(session, 0);
}

bool sieve_may_help(const struct shard *shard, const struct inlet *inlet) {
    return atomic_load_explicit(&inlet->expires_at, memory_order_relaxed) <= shard->wall;
}

bool sieve_begin(struct session *session) {
    struct shard *shard = session->shard;
    if (session->flows == NULL) {
        return false;
    }
    if (session->flows->sieve == NULL && sieve_may_help(shard, session->inlet)) {
        struct sieve *sieve = mem_zero(1, sizeof *sieve);
        sieve->work.kind = WORK_SIEVE;
        sieve->session = session;
        queue_walk_begin(&session->flows->queue, &sieve->walk, shard->wall);
        work_add(shard, &sieve->work);
        session->flows->sieve = sieve;
    }
    return session->flows->sieve != NULL;
}

static lsn_t sieve_end(void *user, struct delivery *d) {
    struct sieve *sieve = user;
    sieve->found++;
    return session_expired(sieve->session, d);
}

static void sieve_over(struct sieve *sieve) {
    struct session *s = sieve->session;
    const uint64_t worth = sieve->found * WORTH;
    const uint64_t vain = sieve->walk.looked > worth ? sieve->walk.looked - worth : 0;
    const wall_ms_t rest_ms = (wall_ms_t)(vain / REST_PER_MS) + (sieve->walk.next == 0 ? REST_MS : 0);
    const wall_ms_t rested = s->shard->wall + rest_ms;
    const wall_ms_t next = sieve->walk.next > rested ? sieve->walk.next : rested;
    atomic_store_explicit(&s->inlet->expires_at, sieve->walk.next == INT64_MAX ? INT64_MAX : next,
                          memory_order_relaxed);
    sieve_cancel(s);
}

void sieve_work(struct work *work) {
    struct sieve *sieve = container_of(work, struct sieve, work);
    struct session *s = sieve->session;
    struct shard *shard = s->shard;
    const uint32_t looks = 1 + work_slice_points(shard) / LOOK_POINTS;
    const uint32_t window = session_window(s);
    const uint32_t most = looks < window ? looks : window;
    shard_spend(shard, (size_t)most * LOOK_POINTS);
    if (queue_walk_on(&s->flows->queue, &sieve->walk, shard->broker->store, s->id, most, sieve_end, sieve)) {
        sieve_over(sieve);
    } else {
        work_add(shard, &sieve->work);
    }
}

void sieve_cancel(struct session *session) {
    struct sieve *sieve = sieve_of(session);
    if (sieve != NULL) {
        list_remove(&sieve->work.link);
        mem_free(sieve);
        session->flows->sieve = NULL;
    }
}
