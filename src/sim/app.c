#include "sim/app.h"

#include "base/map.h"
#include "base/must.h"
#include "sim/world.h"

/* ---- a new process ---- */

/* From where a publisher that has crashed goes on: from the first row of which it has no note, from any before that, or
 * from where the library says that it was. */
static unsigned first_row(struct world *w, const struct peer *p) {
    const struct app *a = &p->app;
    unsigned noted = a->row_first;
    while (noted < a->row_count && a->rows[noted].noted) {
        noted++;
    }
    switch (p->starts == 1 ? 0 : choose(w->choices, 3)) {
    case 0:
        return noted;
    case 1:
        return a->row_first + choose(w->choices, noted - a->row_first + 1);
    default: {
        const unsigned last = (unsigned)client_last_sequence(p->client);
        return last > a->row_first ? last : a->row_first;
    }
    }
}

static struct quartet_subscription subscription_of(const struct plan_wanted *what) {
    return (struct quartet_subscription){.filter = sim_filters[what->filter],
                                         .qos = what->qos,
                                         .no_local = what->no_local,
                                         .retain_as_published = what->retain_as_published,
                                         .retain_handling = what->retain_handling};
}

static void declare(struct world *w, struct peer *p, unsigned place) {
    struct error error = {0};
    const struct quartet_subscription s = subscription_of(&p->plan->wanted[place]);
    if (client_subscribe(p->client, &s, 1, &error) != QUARTET_OK) {
        world_fail(w, "app", "c%d: subscribe says: %s", p->index, error.text);
    }
}

static void undeclare(struct world *w, struct peer *p, unsigned place) {
    struct error error = {0};
    if (client_unsubscribe(p->client, sim_filters[p->plan->wanted[place].filter], &error) != QUARTET_OK) {
        world_fail(w, "app", "c%d: unsubscribe says: %s", p->index, error.text);
    }
}

void app_started(struct world *w, struct peer *p) {
    struct app *a = &p->app;
    const bool resumes = p->plan->transaction && a->position > 0;
    if (resumes && client_resume(p->client, a->position) != QUARTET_OK) {
        world_fail(w, "app", "c%d: resume from %llu is refused", p->index, (unsigned long long)a->position);
    }
    for (unsigned i = 0; i < p->plan->wanted_count; i++) {
        if (a->wants[i]) {
            declare(w, p, i);
        } else if (a->leaves[i]) {
            undeclare(w, p, i);
        }
    }
    a->next_row = first_row(w, p);
    if (a->next_row > a->row_count) {
        world_fail(w, "app", "c%d: the library has seen sequence %u, the application wrote %u", p->index, a->next_row,
                   a->row_count);
        return;
    }
    for (unsigned i = 0; i < a->next_row; i++) {
        struct app_row *row = &a->rows[i];
        if (!row->stored && w->oracle.messages[row->message].qos > 0) {
            row->stored = true;
            oracle_stored(w, row->message);
        }
    }
}

void app_died(struct app *a) {
    for (unsigned i = 0; i < a->row_count; i++) {
        a->rows[i].id = 0;
    }
    a->next_row = a->hand_count = 0;
    a->last_taken = 0;
    a->again_at = 0;
    a->nothing = true;
}

void app_replaced(struct world *w, struct peer *p) {
    struct app *a = &p->app;
    a->position = 0;
    a->seen_count = 0;
    for (unsigned i = 0; i < a->row_count; i++) {
        struct sim_message *m = &w->oracle.messages[a->rows[i].message];
        m->doubtful = m->doubtful || m->first_sent != 0;
        a->row_first = a->rows[i].handed ? i + 1 : a->row_first;
    }
}

/* ---- publishing ---- */

int app_add_row(struct world *w, struct peer *p, const struct sim_message *m) {
    struct sim_message x = *m;
    x.real = true;
    const int message = oracle_message(w, &x);
    p->app.rows[p->app.row_count++] = (struct app_row){.message = message};
    return message;
}

static void create(struct world *w, struct peer *p) {
    struct sim_message x = oracle_draw_message(w, p->index, p->app.row_count + 1);
    if (p->plan->packet_max != 0) {
        x.bytes = 8; /* it takes no larger ones than it can read back */
    }
    const int message = app_add_row(w, p, &x);
    world_trace(w, "c%d has m%d to publish: %s, QoS %u%s", p->index, message, sim_topics[x.topic], x.qos,
                x.clears   ? ", clears"
                : x.retain ? ", retained"
                           : "");
}

/* The next row that must be given to the library; -1: none. What has no durability is not repeated. */
static int row_to_hand(const struct world *w, const struct peer *p) {
    const struct app *a = &p->app;
    unsigned at = a->next_row;
    while (at < a->row_count && a->rows[at].handed && w->oracle.messages[a->rows[at].message].qos == 0) {
        at++;
    }
    return at < a->row_count && w->now >= a->again_at ? (int)at : -1;
}

static void hand_over(struct world *w, struct peer *p) {
    struct app *a = &p->app;
    const int at = row_to_hand(w, p);
    struct app_row *row = &a->rows[at];
    const struct sim_message *m = &w->oracle.messages[row->message];
    uint8_t payload[MINI_PACKET_BYTES];
    struct error error = {0};
    const struct quartet_publication publication = {
        .topic = sim_topics[m->topic],
        .payload = payload,
        .payload_bytes = oracle_payload(w, row->message, payload),
        .qos = m->qos,
        .retain = m->retain,
        .sequence = (uint64_t)at + 1,
        .no_wait = true,
        .properties = {.has_expiry = m->expiry != 0, .expiry_s = m->expiry}};
    client_clock(p->client, w->now, peer_wall(w, p)); /* expiry begins now, not at the last turn */
    const int result = client_publish(p->client, &publication, &row->id, &error);
    world_trace(w, "c%d publishes m%d: %s", p->index, row->message,
                result != QUARTET_OK ? error.text
                : row->id == 0       ? "no need"
                                     : "taken");
    if (result == QUARTET_FULL || result == QUARTET_STORE_FULL) {
        a->again_at = w->now + 500;
        return;
    }
    if (result != QUARTET_OK) {
        world_fail(w, "app", "c%d: publish of m%d says: %s", p->index, row->message, error.text);
        return;
    }
    if (row->id == 0 && m->qos > 0 && !row->handed) {
        world_fail(w, "app", "c%d: publish of m%d says that it was taken before", p->index, row->message);
    }
    row->handed = true;
    row->stored = row->stored || (row->id == 0 && m->qos > 0);
    a->next_row = (unsigned)at + 1;
    oracle_handed(w, row->message);
}

void app_watch(struct world *w, struct peer *p) {
    struct app *a = &p->app;
    for (unsigned i = 0; i < a->row_count; i++) {
        struct app_row *row = &a->rows[i];
        if (!row->stored && row->id != 0 && client_publish_stored(p->client, row->id)) {
            row->stored = true;
            world_trace(w, "c%d is told that m%d is stored", p->index, row->message);
            audit_stored(w, p, i + 1);
            oracle_stored(w, row->message);
        }
    }
}

/* Rows up to here are stored, as far as the application has been told. */
static unsigned rows_stored(const struct world *w, const struct app *a) {
    unsigned count = 0;
    while (count < a->row_count &&
           (a->rows[count].stored || (a->rows[count].handed && w->oracle.messages[a->rows[count].message].qos == 0))) {
        count++;
    }
    return count;
}

/* ---- receiving ---- */

static struct app_seen *seen_find(struct app *a, uint64_t sequence) {
    for (unsigned i = 0; i < a->seen_count; i++) {
        if (a->seen[i].sequence == sequence) {
            return &a->seen[i];
        }
    }
    return NULL;
}

static void effect(struct world *w, struct peer *p, const struct app_taken *t) {
    struct app *a = &p->app;
    struct app_seen *seen = seen_find(a, t->sequence);
    const struct sim_delivery d = {.client = p->index, .message = t->message, .qos = t->qos, .retain = t->retain};
    world_trace(w, "c%d: m%d has its effect%s", p->index, t->message, seen != NULL && seen->effect ? " again" : "");
    if (p->plan->transaction && t->sequence != 0) {
        a->position = t->sequence;
    }
    if (seen == NULL || !seen->effect) {
        oracle_delivered(w, &d);
    }
    if (seen != NULL) {
        seen->effect = true;
    }
}

/* What the library promises about each message that it gives: an order, and a name that stays. */
static void check_taken(struct world *w, struct peer *p, const struct client_delivery *d, int message) {
    struct app *a = &p->app;
    const struct app_seen *seen = seen_find(a, d->sequence);
    const unsigned long long sequence = d->sequence;
    if (d->sequence <= a->last_taken) {
        world_fail(w, "G3", "c%d is given position %llu after %llu", p->index, sequence,
                   (unsigned long long)a->last_taken);
    } else if (p->plan->transaction && d->sequence <= a->position) {
        world_fail(w, "G4", "c%d is given position %llu, but has resumed from %llu", p->index, sequence,
                   (unsigned long long)a->position);
    } else if (seen != NULL && seen->message != message) {
        world_fail(w, "G4", "c%d is given m%d under position %llu, which was m%d before", p->index, message, sequence,
                   seen->message);
    } else if (seen != NULL && !d->redelivered) {
        world_fail(w, "G4", "c%d is given m%d (position %llu) again, not flagged", p->index, message, sequence);
    }
    a->last_taken = d->sequence;
    if (seen == NULL) {
        must(a->seen_count < SIM_SEEN_MAX);
        a->seen[a->seen_count++] = (struct app_seen){.sequence = d->sequence, .message = message};
    }
}

void app_given(struct world *w, struct peer *p, const struct client_delivery *d) {
    struct app *a = &p->app;
    const int message = oracle_identify(w, message_topic(d->message), message_payload(d->message));
    message_unref(d->message);
    world_trace(w, "c%d is given m%d at position %llu%s", p->index, message, (unsigned long long)d->sequence,
                d->redelivered ? ", perhaps again" : "");
    if (message < 0) {
        world_fail(w, "content", "c%d is given a message that nobody published so", p->index);
        return;
    }
    const struct app_taken t = {.sequence = d->sequence, .message = message, .qos = d->qos, .retain = d->retain};
    if (d->sequence == 0) {
        effect(w, p, &t);
        return;
    }
    check_taken(w, p, d, message);
    audit_delivery(w, p, d->sequence);
    a->hand[a->hand_count++] = t;
}

static void take(struct world *w, struct peer *p) {
    struct client_delivery d;
    if (client_take(p->client, &d)) {
        app_given(w, p, &d);
    } else {
        p->app.nothing = true;
    }
}

static void hand_drop(struct app *a, unsigned at) {
    a->hand_count--;
    memmove(a->hand + at, a->hand + at + 1, (a->hand_count - at) * sizeof a->hand[0]);
}

/* The first message without its effect has it, or one that has had it is done: in any order, unless effect and position
 * are one. */
static void work(struct world *w, struct peer *p) {
    struct app *a = &p->app;
    unsigned effects = 0;
    while (effects < a->hand_count && a->hand[effects].effect) {
        effects++;
    }
    const bool may_done = effects > 0, may_effect = effects < a->hand_count;
    if (may_effect && (!may_done || choose(w->choices, 2) == 0)) {
        effect(w, p, &a->hand[effects]);
        a->hand[effects].effect = true;
        return;
    }
    const unsigned at = p->plan->transaction ? 0 : choose(w->choices, effects);
    if (!client_done(p->client, a->hand[at].sequence)) {
        world_fail(w, "app", "c%d: position %llu cannot be done", p->index, (unsigned long long)a->hand[at].sequence);
    }
    p->dirty = true;
    hand_drop(a, at);
}

/* ---- subscribing ---- */

/* The place in wanted[] that the application would subscribe to, or leave; -1: none. */
static int next_wanted(const struct world *w, const struct peer *p, bool subscribe) {
    for (unsigned i = 0; i < p->plan->wanted_count && !w->calm; i++) {
        const bool fresh = !p->app.wants[i] && !p->app.leaves[i];
        if (subscribe ? fresh : p->app.wants[i] && p->spy.wanted[i].granted) {
            return (int)i;
        }
    }
    return -1;
}

void app_unsubscribed(struct peer *p, int place) {
    p->app.leaves[place] = false;
}

/* ---- all of it ---- */

bool app_can(struct world *w, const struct peer *p, enum action a) {
    switch ((int)a) {
    case ACTION_CREATE:
        return !w->calm && p->plan->publishes && w->oracle.message_count < w->plan->messages;
    case ACTION_FLOW:
        return p->client != NULL && row_to_hand(w, p) >= 0;
    case ACTION_APP_NOTE: {
        const unsigned stored = rows_stored(w, &p->app);
        return p->client != NULL && stored > 0 && !p->app.rows[stored - 1].noted;
    }
    case ACTION_APP_TAKE:
        return p->client != NULL && p->app.hand_count < p->plan->hand && !p->app.nothing;
    case ACTION_APP_EFFECT:
        return p->client != NULL && p->app.hand_count > 0;
    case ACTION_SUBSCRIBE:
    case ACTION_UNSUBSCRIBE:
        return p->client != NULL && next_wanted(w, p, a == ACTION_SUBSCRIBE) >= 0;
    default:
        return false;
    }
}

void app_act(struct world *w, struct peer *p, enum action a) {
    struct app *app = &p->app;
    const int place = next_wanted(w, p, a == ACTION_SUBSCRIBE);
    switch ((int)a) {
    case ACTION_CREATE:
        create(w, p);
        return;
    case ACTION_FLOW:
        hand_over(w, p);
        break;
    case ACTION_APP_NOTE:
        for (unsigned i = 0; i < rows_stored(w, app); i++) {
            app->rows[i].noted = true;
        }
        return;
    case ACTION_APP_TAKE:
        take(w, p);
        break;
    case ACTION_APP_EFFECT:
        work(w, p);
        break;
    case ACTION_SUBSCRIBE:
        app->wants[place] = true;
        declare(w, p, (unsigned)place);
        break;
    case ACTION_UNSUBSCRIBE:
        app->wants[place] = false;
        app->leaves[place] = true;
        undeclare(w, p, (unsigned)place);
        break;
    default:
        must_fail("an action of an application", __FILE__, __LINE__, __func__);
    }
    p->dirty = p->dirty || a != ACTION_APP_TAKE || !app->nothing;
}

bool app_describe(const struct world *w, const struct peer *p, char *out, size_t bytes) {
    const struct app *a = &p->app;
    for (unsigned i = 0; i < a->row_count; i++) {
        if (!a->rows[i].stored && w->oracle.messages[a->rows[i].message].qos > 0) {
            snprintf(out, bytes, "c%d is not told that m%d is stored", p->index, a->rows[i].message);
            return true;
        }
    }
    if (a->hand_count > 0) {
        snprintf(out, bytes, "c%d is not done with m%d", p->index, a->hand[0].message);
    }
    return a->hand_count > 0;
}

uint64_t app_digest(const struct app *a) {
    uint64_t sum = hash64(a->row_count, a->position);
    for (unsigned i = 0; i < a->row_count; i++) {
        const struct app_row *r = &a->rows[i];
        sum = hash64(sum, r->id * 8 + r->noted * 4U + r->handed * 2U + r->stored);
    }
    for (unsigned i = 0; i < a->seen_count; i++) {
        sum = hash64(sum, a->seen[i].sequence * 128 + (uint64_t)a->seen[i].message * 2 + a->seen[i].effect);
    }
    for (unsigned i = 0; i < a->hand_count; i++) {
        sum = hash64(sum, a->hand[i].sequence * 2 + a->hand[i].effect);
    }
    for (unsigned i = 0; i < SIM_WANTED_MAX; i++) {
        sum = hash64(sum, a->wants[i] * 2U + a->leaves[i]);
    }
    return hash64(sum, a->next_row);
}
