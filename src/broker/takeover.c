#include "broker/takeover.h"

#include "base/map.h"
#include "broker/connection.h"
#include "broker/input.h"

static void takeover_drain(struct connection *old) {
    old->draining = true;
    old->wish = CONN_DRAIN;
    connection_mark_dirty(old);
    input_continue(old); /* what a pause has kept */
}

/* Its CONNECT is taken, or it is over. */
static void heir_leave(struct connection *c) {
    struct map64 *awaited = &c->shard->awaited;
    if (c->heir_key != 0 && map64_get(awaited, c->heir_key) == c) {
        (void)map64_remove(awaited, c->heir_key);
    }
    c->heir_key = 0;
}

/* Who has the session, or has it next; NULL: nobody. */
static struct connection *takeover_before(const struct shard *shard, struct span client_id, uint64_t key) {
    const struct session *session = map_bytes_get(&shard->by_client, client_id);
    return session != NULL && session->connection != NULL ? session->connection : map64_get(&shard->awaited, key);
}

static uint64_t heir_key(const struct shard *shard, struct span client_id) {
    return hash_bytes(client_id, shard->map_seed) | 1; /* neither 0 nor HEIR_HEARD */
}

bool takeover_waits(struct connection *c, struct span client_id) {
    uint64_t key = heir_key(c->shard, client_id);
    bool waited = c->heir_key != 0;
    heir_leave(c);
    struct connection *old = takeover_before(c->shard, client_id, key);
    if (old == NULL || broker_mutant(c->shard, MUTANT_B9)) {
        c->heir_key = waited ? HEIR_HEARD : 0;
        return false;
    }
    c->heir_key = key;
    c->pause |= PAUSE_TAKEOVER;
    c->wish = CONN_PAUSE;
    list_push_back(&old->heirs, &c->heir_link);
    connection_mark_dirty(c);
    if (old->state == CONNECTION_LIVE && !old->draining) {
        takeover_drain(old);
    }
    return true;
}

bool takeover_awaited(const struct session *s) {
    return s->shard->awaited.count > 0 && map64_get(&s->shard->awaited, heir_key(s->shard, s->client_id)) != NULL;
}

void takeover_connected(struct connection *c) {
    if (!list_empty(&c->heirs)) {
        takeover_drain(c);
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
    shard_log(shard, LOG_INFO, "%s is taken over from %s", shard_text(old->session->client_id), old->peer);
    outbox_cut(&old->out, shard->durable);
    list_remove(&old->gated_link);
    bool answered = old->answered_lsn <= shard->durable; /* nothing comes before CONNACK [MQTT-3.14.0-1] */
    connection_close(old, answered ? REASON_SESSION_TAKEN_OVER : 0, false);
}

/* The first of those who wait takes the others along, so that many cost no more than one each. */
void takeover_pass_on(struct connection *c) {
    list_remove(&c->heir_link);
    heir_leave(c);
    struct link *l = list_pop_front(&c->heirs);
    if (l != NULL) {
        struct connection *next = container_of(l, struct connection, heir_link);
        list_splice(&next->heirs, &c->heirs);
        list_push_back(&c->shard->heirs, l);
        (void)map64_put(&c->shard->awaited, next->heir_key, next);
    }
}

void takeover_go_on(struct shard *shard) {
    struct link *l;
    while (shard->heirs_left > 0 && (l = list_pop_front(&shard->heirs)) != NULL) {
        shard->heirs_left--;
        input_unpause(container_of(l, struct connection, heir_link), PAUSE_TAKEOVER);
    }
}
