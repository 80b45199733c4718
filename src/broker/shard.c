/* A shard seen from outside: what goes in and what comes out of one turn. */
#include <stdio.h>

#include "base/mem.h"
#include "base/must.h"
#include "broker/admit.h"
#include "broker/bring.h"
#include "broker/connection.h"
#include "broker/deep.h"
#include "broker/expiry.h"
#include "broker/input.h"
#include "broker/onward.h"
#include "broker/overfull.h"
#include "broker/own.h"
#include "broker/post.h"
#include "broker/publish.h"
#include "broker/retained.h"
#include "broker/route.h"
#include "broker/session.h"
#include "broker/shed.h"
#include "broker/strain.h"
#include "broker/takeover.h"

enum { RETRY_REFUSED_MS = 10, LOG_LINE_BYTES = 1024, FEED_SLICE = 512, RESUME_POINTS = 256, HEIRS_PER_TURN = 32 };

void shard_log(const struct shard *shard, enum log_level level, const char *format, ...) {
    const struct broker_outside *outside = &shard->broker->outside;
    char line[LOG_LINE_BYTES];
    if (outside->log == NULL || !broker_log_wanted(shard->broker, level)) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    outside->log(outside->user, level, format, line);
}

/* ---- in ---- */

/* MUTANT_B2_ATOMIC: the ids of the turn before are recorded now. */
static void mutant_hold_now(struct shard *shard) {
    for (size_t i = 0; i < shard->mutant_held_count; i++) {
        struct record record = {.kind = RECORD_HELD, .flow = shard->mutant_held[i]};
        (void)store_stage(shard->broker->store, &record);
    }
    shard->mutant_held_count = 0;
}

/* Which reasons to pause are over by now. */
static unsigned shard_pause_over(const struct shard *shard, const struct connection *c, bool retry) {
    unsigned over = 0;
    if ((c->pause & PAUSE_STORE) != 0 && shard->pressure != STORE_BUSY) {
        over |= PAUSE_STORE;
    }
    if ((c->pause & PAUSE_REFUSED) != 0 && retry) {
        over |= PAUSE_REFUSED;
    }
    if ((c->pause & PAUSE_WORK) != 0 && (!strain_deliveries(shard) || strain_share_left(c))) {
        over |= PAUSE_WORK;
    }
    if ((c->pause & PAUSE_BRING) != 0 && (c->session == NULL || c->session->bringing == NULL)) {
        over |= PAUSE_BRING;
    }
    return over | (c->pause & (unsigned)PAUSE_TURN);
}

/* Lets a connection go on, for about so many points. */
static void shard_resume(struct shard *shard, struct connection *c, unsigned over, int64_t points) {
    int64_t others = shard->points - points;
    shard->points = points;
    input_unpause(c, over);
    shard->points += others;
}

/* One look at each of `from`, until `rest` points are left; who got none is first the next time. False when nobody
 * could go on at once. */
static bool shard_resume_round(struct shard *shard, struct link *from, bool retry, int64_t rest) {
    struct link waiting;
    list_init(&waiting);
    list_splice(&waiting, from);
    shard->input_left = false;
    for (struct link *l; shard->points > rest && (l = list_pop_front(&waiting)) != NULL;) {
        struct connection *c = container_of(l, struct connection, pause_link);
        unsigned over = shard_pause_over(shard, c, retry);
        int64_t points = shard->points - rest;
        list_push_back(&shard->paused, l);
        if (over != 0) {
            shard_resume(shard, c, over, points < RESUME_POINTS ? points : RESUME_POINTS);
        }
    }
    bool more = shard->input_left || !list_empty(&waiting);
    list_splice(&waiting, from);
    list_splice(from, &waiting);
    return more;
}

/* Connections that could not go on try again: those that waited for the disk when it has caught up, refused publishes
 * every few milliseconds, each once, in as many turns as that takes. All of them have half of what this turn has left,
 * tries at most half of that where others want it, and each a little after the other: who has sent much waits for more,
 * and who sends little does not wait for them. */
static void shard_resume_paused(struct shard *shard) {
    const int64_t rest = shard->points / 2;
    if (list_empty(&shard->untried) && shard->now - shard->retried_at >= RETRY_REFUSED_MS) {
        list_splice(&shard->untried, &shard->paused);
        shard->retried_at = shard->now;
    }
    (void)shard_resume_round(shard, &shard->untried, true, rest + (shard->points - rest) / 2);
    bool more = true;
    while (more && shard->points > rest) {
        more = shard_resume_round(shard, &shard->paused, false, rest);
    }
    more = shard_resume_round(shard, &shard->untried, true, rest) || more; /* what the others have left */
    shard->input_left = more;
}

void shard_clock(struct shard *shard, mono_ms_t now, wall_ms_t time) {
    shard->now = now;
    shard->wall = time;
    shard->pressure = store_pressure(shard->broker->store);
    shard->memory = (uint8_t)admit_memory(&shard->broker->options);
    shard->store_tight = admit_store_tight(shard->broker);
    shard->store_part = admit_store_part(shard->broker);
    shard->queued_part = admit_queued_part(shard->broker);
    if (__builtin_expect(shard->queued_part != UINT64_MAX, 0) && shard->store_part == UINT64_MAX) {
        shard->store_part--; /* those who add to a queue are looked at */
    }
    if (shard->late_count + own_count(shard) == 0) {
        atomic_store(&shard->settled, store_durable(shard->broker->store));
    }
}

static void shard_told_durable(struct shard *shard, lsn_t lsn) {
    struct link *next;
    must(lsn >= shard->durable);
    shard->durable = lsn;
    for (struct link *l = shard->gated.next; l != &shard->gated; l = next) {
        struct connection *c = container_of(l, struct connection, gated_link);
        next = l->next;
        if (c->acks != NULL) {
            connection_acks_left(c, lsn);
        }
        if (c->out.gate_last <= lsn) {
            list_remove(&c->gated_link);
        }
        connection_mark_dirty(c);
    }
}

/* Deliveries that waited for room in the outboxes and windows of others: some in each turn. */
static void shard_feed_starved(struct shard *shard) {
    struct link starved;
    if (list_empty(&shard->starved)) {
        return;
    }
    list_init(&starved);
    list_splice(&starved, &shard->starved);
    struct link *l;
    for (unsigned i = 0; i < FEED_SLICE && (l = list_pop_front(&starved)) != NULL; i++) {
        session_pump(container_of(l, struct session, starved_link));
    }
    list_splice(&starved, &shard->starved);
    list_splice(&shard->starved, &starved);
}

void shard_turn_begin(struct shard *shard, mono_ms_t now, wall_ms_t time, lsn_t durable) {
    must(!shard->in_turn);
    shard->in_turn = true;
    post_late(shard);
    shard_clock(shard, now, time);
    shard->points = shard->broker->options.turn_points;
    shard->heirs_left = HEIRS_PER_TURN;
    shard->looks_left = OVERFULL_LOOKS;
    if (shard->mutant_held_count > 0) {
        mutant_hold_now(shard);
    }
    shed_turn(shard);
    if (!list_empty(&shard->contests_due)) {
        takeover_turn(shard);
    }
    deep_turn(shard);
    retained_let_go(shard);
    work_run(shard);
    strain_turn(shard);
    shard->input_left = false;
    (void)overfull_work(shard);
    expiry_go_on(shard);
    shard_feed_starved(shard);
    if (!list_empty(&shard->paused) || !list_empty(&shard->untried)) {
        shard_resume_paused(shard);
    }
    shard_told_durable(shard, durable);
}

void shard_durable(struct shard *shard, lsn_t lsn) {
    must(shard->in_turn);
    shard_told_durable(shard, lsn);
}

bool shard_spent(const struct shard *shard) {
    return shard->points <= 0;
}

size_t shard_mail(struct shard *shard, unsigned from, size_t max) {
    const struct broker *broker = shard->broker;
    struct ring *ring = &broker->rings[from * broker->shard_count + shard->index];
    struct mail mail;
    size_t count = 0;
    must(shard->in_turn);
    while (count < max && ring_pop(ring, &mail)) {
        route_mail(shard, &mail);
        count++;
    }
    return count;
}

struct conn_handle shard_opened(struct shard *shard, const char *peer) {
    must(shard->in_turn);
    return connection_create(shard, peer)->handle;
}

void shard_bytes(struct shard *shard, struct conn_handle conn, struct span bytes) {
    struct connection *c = connection_find(shard, conn);
    must(shard->in_turn);
    if (c != NULL) {
        input_feed(c, bytes);
    }
}

void shard_closed(struct shard *shard, struct conn_handle conn) {
    struct connection *c = connection_find(shard, conn);
    must(shard->in_turn);
    if (c == NULL) {
        return;
    }
    input_rest(c);
    if (c->state != CONNECTION_CLOSING) {
        shard_log(shard, LOG_INFO, "%s (%s) has closed its connection", c->peer,
                  c->session != NULL ? shard_text(c->session->client_id) : "no session");
    }
    connection_abort(c);
    connection_destroy(c);
}

void shard_broken(struct shard *shard, struct conn_handle conn) {
    struct connection *c = connection_find(shard, conn);
    must(shard->in_turn);
    if (c != NULL) {
        input_broken(c);
    }
}

void shard_drained(struct shard *shard, struct conn_handle conn) {
    struct connection *c = connection_find(shard, conn);
    if (c != NULL) {
        takeover_end(c);
    }
}

void shard_stop(struct shard *shard) {
    must(shard->in_turn);
    for (uint32_t i = 0; i < shard->slot_count; i++) {
        if (shard->slots[i].connection != NULL) {
            connection_close(shard->slots[i].connection, REASON_SERVER_SHUTTING_DOWN, false);
        }
    }
}

void shard_tick(struct shard *shard) {
    must(shard->in_turn);
    expiry_tick(shard);
    takeover_tick(shard);
    route_rest(shard);
}

/* ---- out ---- */

/* One that waits for little; the others it meets go behind. */
static struct connection *shard_next_urgent_one(struct shard *shard) {
    for (struct link *l; (l = list_pop_front(&shard->dirty)) != NULL;) {
        struct connection *c = container_of(l, struct connection, dirty_link);
        if (!connection_heavy(c)) {
            return c;
        }
        c->later = true;
        list_push_back(&shard->dirty_later, l);
    }
    return NULL;
}

static bool shard_look_at(struct connection *c, struct conn_handle *conn) {
    if (c == NULL) {
        return false;
    }
    if (c->too_large && c->state != CONNECTION_CLOSING) {
        connection_end_too_large(c);
    }
    *conn = c->handle;
    return true;
}

bool shard_next_urgent(struct shard *shard, struct conn_handle *conn) {
    must(shard->in_turn);
    if (!list_empty(&shard->heirs)) {
        takeover_go_on(shard);
    }
    return shard_look_at(shard_next_urgent_one(shard), conn);
}

bool shard_next_dirty(struct shard *shard, struct conn_handle *conn) {
    if (shard_next_urgent(shard, conn)) {
        return true;
    }
    struct link *l = list_pop_front(&shard->dirty_later);
    return shard_look_at(l != NULL ? container_of(l, struct connection, dirty_link) : NULL, conn);
}

enum conn_wish shard_wish(const struct shard *shard, struct conn_handle conn) {
    const struct connection *c = connection_find(shard, conn);
    return c != NULL ? (enum conn_wish)c->wish : CONN_ABORT;
}

int shard_output(const struct shard *shard, struct conn_handle conn, struct iovec *iov, int max) {
    const struct connection *c = connection_find(shard, conn);
    return c != NULL ? outbox_ready(&c->out, shard->durable, iov, max) : 0;
}

void shard_sent(struct shard *shard, struct conn_handle conn, size_t bytes) {
    struct connection *c = connection_find(shard, conn);
    must(shard->in_turn && c != NULL);
    outbox_sent(&c->out, bytes);
    admit_output_less(c, false);
    if (bytes > 0) {
        c->took_at = shard->now;
    }
    if (c->session != NULL && bytes > 0) {
        c->session->progress_at = shard->now;
    }
    if ((c->pause & PAUSE_OUTPUT) != 0) {
        c->received_at = shard->now; /* it is not read from, but it reads: it is alive */
    }
    if ((c->pause & PAUSE_OUTPUT) != 0 && outbox_bytes(&c->out) <= shard->broker->options.outbox_bytes_max) {
        input_unpause(c, PAUSE_OUTPUT);
    }
    if (c->session != NULL && session_sends(c->session)) {
        session_pump(c->session);
    } else if (c->session != NULL && c->session->bringing != NULL) {
        bring_wake(c->session);
    }
}

const char *shard_peer(const struct shard *shard, struct conn_handle conn) {
    const struct connection *c = connection_find(shard, conn);
    must(c != NULL);
    return c->peer;
}

size_t shard_output_bytes(const struct shard *shard, struct conn_handle conn) {
    const struct connection *c = connection_find(shard, conn);
    return c != NULL ? outbox_bytes(&c->out) : 0;
}

bool shard_may_cut(const struct shard *shard, struct conn_handle conn) {
    const struct connection *c = connection_find(shard, conn);
    return c == NULL || c->out.gate_last <= shard->durable;
}

bool shard_may_close(const struct shard *shard, struct conn_handle conn) {
    return shard_output_bytes(shard, conn) == 0 && shard_may_cut(shard, conn);
}

unsigned shard_move(struct shard *shard, struct conn_handle conn, struct buf *bytes) {
    struct connection *c = connection_find(shard, conn);
    must(shard->in_turn && c != NULL && c->state == CONNECTION_MOVING && c->session == NULL);
    unsigned to = c->move_to;
    buf_bytes(bytes, buf_span(&c->in));
    connection_destroy(c);
    return to;
}

struct turn_result shard_turn_end(struct shard *shard) {
    must(shard->in_turn);
    bool dirty = !list_empty(&shard->dirty) || !list_empty(&shard->dirty_later) || !list_empty(&shard->heirs);
    struct turn_result result = {
        .wake = shard->wake_set,
        .more = !list_empty(&shard->works) || own_count(shard) > 0 || shard->input_left || dirty ||
                !list_empty(&shard->overfull),
        .again = !list_empty(&shard->paused) || !list_empty(&shard->untried) || !list_empty(&shard->starved) ||
                 !list_empty(&shard->stalled) || shard->expiring || !list_empty(&shard->contests_due) ||
                 shard->let_go_left > 0 || shard->retained_left > 0 || shard->memory >= MEMORY_SHORT,
        .late = shard->late_count > 0};
    onward_forget(shard);
    shard->in_turn = false;
    shard->wake_set = 0;
    if (shard->late_count + own_count(shard) == 0) {
        atomic_store(&shard->settled, UINT64_MAX);
    }
    return result;
}

struct shard_counters shard_counters(const struct shard *shard) {
    return shard->counters;
}
