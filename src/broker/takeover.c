#include "broker/takeover.h"

#include "broker/connection.h"
#include "broker/input.h"

static void takeover_drain(struct connection *old) {
    old->draining = true;
    old->wish = CONN_DRAIN;
    connection_mark_dirty(old);
    input_continue(old); /* what a pause has kept */
}

bool takeover_waits(struct connection *c, struct span client_id) {
    const struct session *session = map_bytes_get(&c->shard->by_client, client_id);
    if (session == NULL || session->connection == NULL || broker_mutant(c->shard, MUTANT_B9)) {
        return false;
    }
    struct connection *old = session->connection;
    c->pause |= PAUSE_TAKEOVER;
    c->wish = CONN_PAUSE;
    list_push_back(&old->heirs, &c->heir_link);
    connection_mark_dirty(c);
    if (!old->draining) {
        takeover_drain(old);
    }
    return true;
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
    struct link *l = list_pop_front(&c->heirs);
    if (l != NULL) {
        list_splice(&container_of(l, struct connection, heir_link)->heirs, &c->heirs);
        list_push_back(&c->shard->heirs, l);
    }
}

void takeover_go_on(struct shard *shard) {
    struct link *l;
    while (shard->heirs_left > 0 && (l = list_pop_front(&shard->heirs)) != NULL) {
        shard->heirs_left--;
        input_unpause(container_of(l, struct connection, heir_link), PAUSE_TAKEOVER);
    }
}
