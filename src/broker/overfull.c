#include "broker/overfull.h"

#include "base/mem.h"
#include "broker/connection.h"
#include "broker/inlet.h"
#include "broker/post.h"
#include "broker/session.h"
#include "broker/sieve.h"

enum { ENDED_IDS = 1024, LOG_AGAIN_MS = 60000, PAST_BYTES_PER_S = 256 << 10 };

/* ---- publishers ---- */

struct overfull_waits *overfull_waits_create(void) {
    return mem_zero(1, sizeof(struct overfull_waits));
}

void overfull_waits_tried(struct overfull_waits *waits) {
    unsigned kept = 0;
    for (unsigned i = 0; waits != NULL && i < waits->count; i++) {
        if (waits->of[i].met) {
            waits->of[kept] = waits->of[i];
            waits->of[kept++].met = false;
        }
    }
    if (waits != NULL) {
        waits->count = kept;
    }
}

/* Whether it has waited for this queue for as long as one is to wait. */
static bool overfull_waited(const struct shard *shard, struct overfull_waits *waits, session_id_t id) {
    struct overfull_wait *w = waits->of;
    while (w < waits->of + waits->count && w->session_id != id) {
        w++;
    }
    if (w == waits->of + OVERFULL_WAITS_MAX) {
        return false; /* its time begins when there is a place */
    }
    if (w == waits->of + waits->count) {
        *w = (struct overfull_wait){.session_id = id, .since = shard->now};
        waits->count++;
    }
    w->met = true;
    return shard->now - w->since >= shard->broker->options.stall_ms;
}

bool overfull_lets_past(const struct shard *shard, const struct inlet *inlet, const struct account *owner) {
    return owner != NULL && !atomic_load_explicit(&inlet->away, memory_order_relaxed) &&
           atomic_load_explicit(&inlet->owner, memory_order_relaxed) != owner && pace_allows(&owner->past, shard->now);
}

void overfull_past(const struct shard *shard, struct account *owner, size_t bytes) {
    pace_take(&owner->past, shard->now, bytes, PAST_BYTES_PER_S);
}

static void overfull_later(struct shard *shard, session_id_t session_id, size_t bytes) {
    struct session *s = map64_get(&shard->by_id, session_id);
    if (s != NULL && !link_linked(&s->overfull_link)) {
        s->overfull_bytes = (uint32_t)bytes;
        list_push_back(&shard->overfull, &s->overfull_link);
    }
}

bool overfull_ask(struct shard *shard, struct inlet *inlet, size_t bytes, struct overfull_waits *waits) {
    bool waited = waits != NULL && overfull_waited(shard, waits, inlet->session_id);
    uint8_t says = waited ? OVERFULL_ASKED | OVERFULL_WAITED : OVERFULL_ASKED;
    uint8_t said = atomic_fetch_or(&inlet->overfull, says);
    uint32_t need = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
    if ((said & OVERFULL_ASKED) == 0 && inlet->shard != shard->index) {
        struct mail mail = {.session_id = inlet->session_id, .target = need, .kind = MAIL_OVERFULL};
        post_send(shard, inlet->shard, &mail);
    } else if ((said & OVERFULL_ASKED) == 0) {
        overfull_later(shard, inlet->session_id, need);
    }
    return shard->broker->options.queue_policy == QUEUE_END_SESSION ||
           !atomic_load_explicit(&inlet->away, memory_order_relaxed) || sieve_may_help(shard, inlet);
}

/* ---- the session's own shard ---- */

/* A line a minute for each session, however many publish into it. */
static void overfull_log(struct session *s, const char *why, const char *what_now) {
    struct shard *shard = s->shard;
    if (s->full_logged_at != 0 && shard->now - s->full_logged_at < LOG_AGAIN_MS) {
        return;
    }
    s->full_logged_at = shard->now;
    shard_log(shard, LOG_WARNING, "the queue of %s (%llu messages, %llu bytes) %s: %s", shard_text(s->client_id),
              (unsigned long long)atomic_load(&s->inlet->waiting_messages),
              (unsigned long long)atomic_load(&s->inlet->waiting_bytes), why, what_now);
}

static void overfull_remember(struct shard *shard, struct span client_id) {
    if (shard->overfull_ended == NULL) {
        shard->overfull_ended = mem_zero(ENDED_IDS, sizeof *shard->overfull_ended);
    }
    shard->overfull_ended[shard->overfull_ended_at++ % ENDED_IDS] = hash_bytes(client_id, shard->map_seed);
}

bool overfull_was_ended(struct shard *shard, struct span client_id) {
    uint64_t hash = hash_bytes(client_id, shard->map_seed);
    bool found = false;
    for (size_t i = 0; shard->overfull_ended != NULL && i < ENDED_IDS; i++) {
        if (shard->overfull_ended[i] == hash) {
            shard->overfull_ended[i] = 0;
            found = true;
        }
    }
    return found;
}

/* What a publisher has waited before this client came is not its fault. */
static bool overfull_stalled(const struct session *s, bool waited) {
    const mono_ms_t since = waited ? s->connected_at : s->progress_at;
    return s->shard->now - since >= s->shard->broker->options.stall_ms;
}

/* It counts as away from now on; a session that does not outlive its connection ends here. */
static void overfull_disconnect(struct session *s, const char *why) {
    struct shard *shard = s->shard;
    struct connection *c = s->connection;
    shard->counters.stalled++;
    s->full_logged_at = 0; /* what becomes of it now is worth a line */
    shard_log(shard, LOG_WARNING,
              "closing %s (%s): its queue (%llu messages, %llu bytes) %s, and it takes too little from it", c->peer,
              shard_text(s->client_id), (unsigned long long)atomic_load(&s->inlet->waiting_messages),
              (unsigned long long)atomic_load(&s->inlet->waiting_bytes), why);
    connection_close(c, REASON_QUOTA_EXCEEDED, false);
}

static void overfull_end(struct session *s, const char *why) {
    struct shard *shard = s->shard;
    shard->counters.sessions_overfull++;
    shard_log(shard, LOG_WARNING,
              "the session of %s is ended: its queue (%llu messages, %llu bytes) %s, and its client is away",
              shard_text(s->client_id), (unsigned long long)atomic_load(&s->inlet->waiting_messages),
              (unsigned long long)atomic_load(&s->inlet->waiting_bytes), why);
    overfull_remember(shard, s->client_id);
    session_end(s, MUTANT_QUEUE_END);
}

/* True when the session is gone, or its connection is: that may be the publisher's own. */
static bool overfull_look(struct shard *shard, session_id_t session_id, size_t bytes) {
    struct session *s = map64_get(&shard->by_id, session_id);
    if (s == NULL) {
        return false;
    }
    const uint8_t said = atomic_exchange(&s->inlet->overfull, 0);
    const bool waited = (said & OVERFULL_WAITED) != 0;
    session_drop_expired(s);
    const char *why = inlet_full(shard, s->inlet, bytes);
    if (why == NULL && (said & OVERFULL_SHARE) != 0) {
        why = inlet_share_full(shard, s->inlet, bytes);
    }
    if (why == NULL) {
        return false;
    }
    if (sieve_begin(s)) {
        return false;
    }
    if (s->connection != NULL && !overfull_stalled(s, waited)) {
        overfull_log(s, why, "publishers wait for its client");
        return false;
    }
    const bool connected = s->connection != NULL;
    if (connected) {
        overfull_disconnect(s, why);
        s = map64_get(&shard->by_id, session_id);
    }
    if (s != NULL && shard->broker->options.queue_policy != QUEUE_END_SESSION) {
        overfull_log(s, why, "its client is away, and publishers into it are refused");
        return connected;
    }
    if (s != NULL) {
        overfull_end(s, why);
    }
    return true;
}

void overfull_heard(struct shard *shard, session_id_t session_id, size_t bytes) {
    if (shard->looks_left > 0) {
        shard->looks_left--;
        (void)overfull_look(shard, session_id, bytes);
    } else {
        overfull_later(shard, session_id, bytes);
    }
}

/* Each is looked at once, though a will that is published then may ask again. */
bool overfull_work(struct shard *shard) {
    struct link asked, *l;
    bool ended = false;
    if (list_empty(&shard->overfull)) {
        return false;
    }
    list_init(&asked);
    list_splice(&asked, &shard->overfull);
    for (; shard->looks_left > 0 && (l = list_pop_front(&asked)) != NULL; shard->looks_left--) {
        const struct session *s = container_of(l, struct session, overfull_link);
        ended = overfull_look(shard, s->id, s->overfull_bytes) || ended;
    }
    ended = ended && list_empty(&asked); /* who waits for those that are left tries in vain */
    list_splice(&asked, &shard->overfull);
    list_splice(&shard->overfull, &asked);
    return ended;
}
