#include "sim/scenario_inside.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/must.h"
#include "sim/scenario_words.h"
#include "store/store_memory.h"

static struct store *store_of(const struct scenario_client *c) {
    return c->memory != NULL ? c->memory : c->machine.store;
}

/* ---- up and down ---- */

static bool options_word(struct scenario_words *w, struct scenario_options *o) {
    struct {
        const char *word;
        bool *flag;
    } const flags[] = {
        {"5.0", &o->five},
        {"clean", &o->clean},
        {"end-session", &o->end_session},
        {"no-store", &o->no_store},
        {"exactly-once", &o->exactly_once},
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (word_is(w, flags[i].word)) {
            *flags[i].flag = true;
            return true;
        }
    }
    if (word_is(w, "commits")) {
        o->kind = APP_COMMITS;
    } else if (word_is(w, "does")) {
        o->kind = APP_DOES;
    } else if (word_is(w, "resends")) {
        o->lost = QUARTET_LOST_RESEND;
    } else if (word_is(w, "drops")) {
        o->lost = QUARTET_LOST_DROP;
    } else {
        return word_is(w, "3.1.1") || word_setting(w, "session-expiry", UINT32_MAX, &o->session_expiry) ||
               word_setting(w, "receive-maximum", UINT16_MAX, &o->receive_maximum) ||
               word_setting(w, "window", UINT16_MAX, &o->window) || word_setting(w, "inbox", UINT16_MAX, &o->inbox) ||
               word_setting(w, "outbox", UINT16_MAX, &o->outbox) ||
               word_setting(w, "keep-alive", UINT16_MAX, &o->keep_alive);
    }
    return true;
}

static void ignore_event(struct quartet *client, const struct quartet_event *event, void *user) {
    (void)client;
    (void)event;
    (void)user;
}

static struct quartet_options options_of(const struct scenario_client *c) {
    const struct scenario_options *o = &c->options;
    return (struct quartet_options){
        .servers = "mqtt://broker",
        .client_id = c->name,
        .protocol = o->five ? 5 : 4,
        .clean_start = o->clean,
        .end_session = o->end_session,
        .session_expiry_s = o->session_expiry,
        .keep_alive_s = o->keep_alive != 0 ? (uint16_t)o->keep_alive : QUARTET_NO_KEEP_ALIVE,
        .receive_maximum = (uint16_t)o->receive_maximum,
        .send_window = (uint16_t)o->window,
        .store = o->no_store ? NULL : "simulated",
        .guarantee = o->exactly_once ? QUARTET_EXACTLY_ONCE : QUARTET_AS_ASKED,
        .session_lost = o->lost,
        .inbox_bytes = o->inbox,
        .outbox_bytes = o->outbox,
        .packet_bytes_max = 4096,
        .manual_done = true,
        .retry_min_ms = 1000,
        .retry_max_ms = 1000,
        .on_event = ignore_event,
    };
}

static bool engine_start(struct scenario *s, struct scenario_client *c, struct error *error) {
    int number = QUARTET_OK;
    const unsigned place = (unsigned)(c - s->clients);
    struct quartet_options options = options_of(c);
    struct store_local_options store = s->plan.store;
    store.salt = hash64(s->plan.seed, ++c->starts * 8ULL + place);
    if (!client_options_complete(&options, &number, error)) {
        return false;
    }
    if (c->options.no_store) {
        c->memory = store_memory_create();
    } else if (!machine_open(&c->machine, &store, error)) {
        return false;
    }
    const struct client_setup setup = {.options = &options,
                                       .store = store_of(c),
                                       .epoch = {(uint8_t)place},
                                       .seed = hash64(s->plan.seed, place + 99),
                                       .ids_max = (packet_id_t)s->ids,
                                       .mutant = s->plan.client_mutant};
    c->client = client_create(&setup, error);
    return c->client != NULL;
}

static void declare(struct scenario *s, struct scenario_client *c, const struct app_wish *wish) {
    struct error error = {0};
    const struct quartet_subscription what = {.filter = wish->filter, .qos = wish->qos};
    if (client_subscribe(c->client, &what, 1, &error) != QUARTET_OK) {
        scenario_wrong(s, error.text, NULL, NULL);
    }
}

static void start(struct scenario *s, struct scenario_client *c) {
    struct error error = {0};
    if (!engine_start(s, c, &error)) {
        (void)fprintf(scenario_see(s), "%s refused: %s", c->name, error.text);
        scenario_client_down(c);
        return;
    }
    client_clock(c->client, s->world->now, s->world->wall);
    if (c->app.position > 0 && client_resume(c->client, c->app.position) != QUARTET_OK) {
        scenario_wrong(s, "the library refuses the position that the application has kept", NULL, NULL);
    }
    for (unsigned i = 0; i < c->app.wish_count; i++) {
        declare(s, c, &c->app.wishes[i]);
    }
}

void scenario_client_down(struct scenario_client *c) {
    client_destroy(c->client);
    c->client = NULL;
    if (c->memory != NULL) {
        store_memory_destroy(c->memory);
        c->memory = NULL;
    }
    machine_close(&c->machine);
    c->told = c->told_folded = 0;
    c->app.open_count = c->app.published_count = 0;
    c->disk = DISK_GOES;
}

/* The system closes the connections of a process that dies; of a machine without power nobody hears. */
static void die(struct scenario *s, struct scenario_client *c, bool power) {
    scenario_client_down(c);
    scenario_wire_cut(s, c, !power);
    if (power) {
        sim_disk_power_cut(&c->machine.disk, SIM_POWER_DROP);
    }
}

static void stop(struct scenario *s, struct scenario_client *c) {
    client_disconnect(c->client, 0);
    while (scenario_client_turn(s, c) || scenario_client_commit(c)) {
    }
    die(s, c, false);
}

/* ---- the application ---- */

static unsigned position_number(struct scenario_app *a, uint64_t sequence) {
    unsigned at = 0;
    while (at < a->position_count && a->positions[at] != sequence) {
        at++;
    }
    if (at == a->position_count) {
        must(at < SCENARIO_APP_MAX);
        a->positions[a->position_count++] = sequence;
    }
    return at + 1;
}

static void effect(struct scenario_app *a, struct app_open *open, bool with_position) {
    must(a->effect_count < SCENARIO_APP_MAX);
    memcpy(a->effects[a->effect_count++], open->payload, sizeof open->payload);
    open->effect = true;
    if (with_position) {
        a->position = open->sequence;
    }
}

static void payload_copy(char *out, struct span payload) {
    (void)snprintf(out, SCENARIO_PAYLOAD_BYTES, "%.*s", (int)payload.len, (const char *)payload.ptr);
}

/* The next message, into the hands of the application; NULL when there is none. */
static struct app_open *take(struct scenario_client *c, bool *again) {
    struct client_delivery d;
    struct scenario_app *a = &c->app;
    if (a->open_count == SCENARIO_APP_MAX || !client_take(c->client, &d)) {
        return NULL;
    }
    struct app_open *open = &a->open[a->open_count++];
    *open = (struct app_open){.sequence = d.sequence};
    payload_copy(open->payload, message_payload(d.message));
    message_unref(d.message);
    *again = d.redelivered;
    return open;
}

static bool done(struct scenario_client *c, unsigned at) {
    struct scenario_app *a = &c->app;
    if (at >= a->open_count) {
        return false;
    }
    const uint64_t sequence = a->open[at].sequence;
    a->open_count--;
    memmove(a->open + at, a->open + at + 1, (a->open_count - at) * sizeof a->open[0]);
    c->dirty = true;
    return client_done(c->client, sequence);
}

static bool app_goes_on(struct scenario *s, struct scenario_client *c) {
    const struct app_open *open;
    bool any = false, again;
    while (c->options.kind != APP_BY_HAND && (open = take(c, &again)) != NULL) {
        (void)fprintf(scenario_see(s), "%s has \"%s\"%s", c->name, open->payload, again ? " again" : "");
        effect(&c->app, &c->app.open[c->app.open_count - 1], c->options.kind == APP_COMMITS);
        must(done(c, c->app.open_count - 1));
        any = true;
    }
    return any;
}

static bool app_is_told_stored(struct scenario *s, struct scenario_client *c) {
    struct scenario_app *a = &c->app;
    bool any = false;
    for (unsigned i = 0; i < a->published_count; i++) {
        struct app_published *p = &a->published[i];
        if (p->id != 0 && client_publish_stored(c->client, p->id)) {
            (void)fprintf(scenario_see(s), "%s stored \"%s\"", c->name, p->payload);
            p->id = 0;
            any = true;
        }
    }
    return any;
}

static bool app_is_told(struct scenario *s, struct scenario_client *c) {
    struct quartet_event event;
    bool any = false;
    while (client_event(c->client, &event)) {
        const bool tells = event.error != QUARTET_OK && event.error != QUARTET_NETWORK;
        any = true;
        if (event.kind == QUARTET_EVENT_SESSION_LOST) {
            (void)fprintf(scenario_see(s), "%s told: session lost, %llu under way", c->name,
                          (unsigned long long)event.count);
        } else if (event.kind == QUARTET_EVENT_PUBLISHED && (event.error != QUARTET_OK || event.reason >= 0x80)) {
            (void)fprintf(scenario_see(s), "%s told: not published: 0x%02X%s%s", c->name, event.reason,
                          event.text[0] != '\0' ? " " : "", event.text);
        } else if (event.kind == QUARTET_EVENT_DISCONNECTED && tells) {
            (void)fprintf(scenario_see(s), "%s told: %s", c->name, event.text);
        }
    }
    return any;
}

/* ---- what happens by itself ---- */

/* A connection is closed when what may still leave has left. */
static bool engine_wishes(struct scenario *s, struct scenario_client *c) {
    uint32_t server;
    struct iovec last;
    switch (client_wish(c->client, &server)) {
    case CLIENT_CONNECT:
        scenario_wire_open(s, c);
        return true;
    case CLIENT_CLOSE:
        if (c->conn < 0 || client_output(c->client, &last, 1) == 0) {
            scenario_wire_cut(s, c, true);
            client_closed(c->client, QUARTET_OK, NULL);
        }
        return true;
    case CLIENT_NOTHING:
        break;
    }
    return false;
}

static bool engine_stored(struct scenario_client *c) {
    const struct store *store = store_of(c);
    const lsn_t durable = store_durable(store), folded = store_folded(store);
    if (durable == c->told && folded == c->told_folded) {
        return false;
    }
    c->told = durable;
    c->told_folded = folded;
    client_stored(c->client);
    return true;
}

bool scenario_client_turn(struct scenario *s, struct scenario_client *c) {
    if (c->client == NULL) {
        return false;
    }
    bool any = c->dirty;
    c->dirty = false;
    client_time(c->client, s->world->now, s->world->wall);
    any = engine_stored(c) || any;
    any = app_is_told_stored(s, c) || any;
    any = scenario_wire_turn(s, c) || any;
    any = (c->client != NULL && app_goes_on(s, c)) || any;
    any = (c->client != NULL && engine_wishes(s, c)) || any;
    return (c->client != NULL && app_is_told(s, c)) || any;
}

bool scenario_client_commit(struct scenario_client *c) {
    struct machine *m = &c->machine;
    bool any = false;
    while (m->store != NULL && scenario_disk_goes(m, c->disk) && machine_wants_commit(m) &&
           (machine_commit(m) || machine_checkpoint(m, false))) {
        any = true;
    }
    return any;
}

/* ---- what the text says ---- */

static bool event_client(struct scenario *s, struct scenario_client *c, struct scenario_words *w) {
    struct scenario_options options = {0};
    while (!words_end(w)) {
        if (!options_word(w, &options)) {
            return false;
        }
    }
    if (!c->real) {
        c->real = true;
        machine_init(&c->machine, &s->choices);
    }
    if (c->client != NULL) {
        return false;
    }
    c->options = options;
    c->five = options.five;
    start(s, c);
    return true;
}

static bool event_publishes(struct scenario *s, struct scenario_client *c, struct scenario_words *w) {
    struct error error = {0};
    struct scenario_app *a = &c->app;
    struct app_published *row = &a->published[a->published_count];
    const char *topic, *payload;
    uint8_t qos = 0;
    uint32_t number = 0, expiry = 0;
    if (!word_text(w, false, &topic) || !word_qos(w, &qos)) {
        return false;
    }
    const bool retain = word_is(w, "retain");
    if (!word_text(w, true, &payload)) {
        return false;
    }
    const bool expires = word_setting(w, "expires", UINT32_MAX, &expiry);
    (void)word_setting(w, "number", UINT32_MAX, &number);
    if (!words_end(w) || a->published_count == SCENARIO_APP_MAX) {
        return false;
    }
    const struct quartet_publication p = {.topic = topic,
                                          .payload = payload,
                                          .payload_bytes = strlen(payload),
                                          .qos = qos,
                                          .retain = retain,
                                          .sequence = number,
                                          .no_wait = true,
                                          .properties = {.has_expiry = expires, .expiry_s = expiry}};
    *row = (struct app_published){0};
    (void)snprintf(row->payload, sizeof row->payload, "%s", payload);
    const int result = client_publish(c->client, &p, &row->id, &error);
    if (result != QUARTET_OK) { /* a full outbox tells bytes, which are no part of the story */
        (void)fprintf(scenario_see(s), "%s refused: %s", c->name, result == QUARTET_FULL ? "full" : error.text);
    } else if (row->id != 0) {
        a->published_count++;
    } else if (qos > 0) {
        (void)fprintf(scenario_see(s), "%s has %u already", c->name, number);
    }
    return true;
}

static bool event_subscribes(struct scenario *s, struct scenario_client *c, struct scenario_words *w) {
    struct scenario_app *a = &c->app;
    const char *filter;
    struct app_wish wish = {.qos = 0};
    if (!word_text(w, false, &filter) || !word_qos(w, &wish.qos) || !words_end(w) ||
        a->wish_count == SCENARIO_WISHES_MAX) {
        return false;
    }
    (void)snprintf(wish.filter, sizeof wish.filter, "%s", filter);
    a->wishes[a->wish_count++] = wish;
    declare(s, c, &wish);
    return true;
}

static bool event_unsubscribes(struct scenario_client *c, struct scenario_words *w) {
    struct scenario_app *a = &c->app;
    struct error error = {0};
    const char *filter;
    if (!word_text(w, false, &filter) || !words_end(w)) {
        return false;
    }
    for (unsigned i = 0; i < a->wish_count; i++) {
        if (strcmp(a->wishes[i].filter, filter) == 0) {
            a->wishes[i] = a->wishes[--a->wish_count];
            return client_unsubscribe(c->client, filter, &error) == QUARTET_OK;
        }
    }
    return false;
}

static bool event_takes(struct scenario *s, struct scenario_client *c) {
    bool again = false;
    const struct app_open *open = take(c, &again);
    FILE *out = scenario_see(s);
    if (open == NULL) {
        (void)fprintf(out, "%s takes nothing", c->name);
    } else if (open->sequence == 0) {
        (void)fprintf(out, "%s takes \"%s\"", c->name, open->payload);
    } else {
        (void)fprintf(out, "%s takes %u \"%s\"%s", c->name, position_number(&c->app, open->sequence), open->payload,
                      again ? " again" : "");
    }
    return true;
}

static bool event_effect(struct scenario_client *c, bool with_position) {
    struct scenario_app *a = &c->app;
    for (unsigned i = 0; i < a->open_count; i++) {
        if (!a->open[i].effect) {
            effect(a, &a->open[i], with_position);
            return true;
        }
    }
    return false;
}

/* "done", the first; "done 2", the one of that number. */
static bool event_done(struct scenario_client *c, struct scenario_words *w) {
    uint32_t number = 0;
    unsigned at = 0;
    if (word_number(w, &number)) {
        while (at < c->app.open_count && position_number(&c->app, c->app.open[at].sequence) != number) {
            at++;
        }
    }
    return words_end(w) && done(c, at);
}

static void event_has(struct scenario *s, const struct scenario_client *c) {
    FILE *out = scenario_see(s);
    (void)fprintf(out, "%s has%s", c->name, c->app.effect_count == 0 ? " nothing" : "");
    for (unsigned i = 0; i < c->app.effect_count; i++) {
        (void)fprintf(out, "%s\"%s\"", i > 0 ? ", " : " ", c->app.effects[i]);
    }
}

/* What can be said of its process; it is up. */
static bool event_up(struct scenario *s, struct scenario_client *c, struct scenario_words *w) {
    if (word_is(w, "publishes")) {
        return event_publishes(s, c, w);
    }
    if (word_is(w, "subscribes")) {
        return event_subscribes(s, c, w);
    }
    if (word_is(w, "unsubscribes")) {
        return event_unsubscribes(c, w);
    }
    if (word_is(w, "done")) {
        return event_done(c, w);
    }
    if (word_is(w, "takes")) {
        return event_takes(s, c);
    }
    if (word_is(w, "does") || word_is(w, "commits")) {
        return event_effect(c, w->text[0][0] == 'c');
    }
    if (word_is(w, "resends") || word_is(w, "drops")) {
        const bool drops = w->text[0][0] == 'd';
        return client_session_lost(c->client, drops ? QUARTET_LOST_DROP : QUARTET_LOST_RESEND) == QUARTET_OK;
    }
    if (word_is(w, "killed")) {
        die(s, c, false);
    } else if (word_is(w, "stopped")) {
        stop(s, c);
    } else if (word_is(w, "fold")) {
        while (machine_checkpoint(&c->machine, true)) {
        }
    } else {
        return false;
    }
    return true;
}

/* And of its machine. */
static bool event_any(struct scenario *s, struct scenario_client *c, const char *text) {
    if (scenario_disk_word(text, &c->disk)) {
        return true;
    }
    if (strcmp(text, "disk?") == 0) {
        scenario_client_disk(s, c);
    } else if (strcmp(text, "has?") == 0) {
        event_has(s, c);
    } else if (strcmp(text, "power cut") == 0) {
        die(s, c, true);
    } else if (strcmp(text, "started") == 0 && c->client == NULL) {
        start(s, c);
    } else {
        return false;
    }
    return true;
}

bool scenario_client_event(struct scenario *s, struct scenario_client *c, const char *text) {
    struct scenario_words w;
    if (!words_split(&w, text)) {
        return false;
    }
    if (word_is(&w, "client")) {
        return event_client(s, c, &w);
    }
    if (!c->real) {
        return false;
    }
    return event_any(s, c, text) || (c->client != NULL && event_up(s, c, &w));
}
