/* What is in a real client's store: on its disk, as a power cut at this moment would leave it; and in its table, after
 * everything was folded, where nothing may be left. */
#include <stdlib.h>

#include "base/must.h"
#include "sim/scenario_inside.h"

enum { FOUND_MAX = 16 };

struct found {
    session_id_t out, in;
    struct store_flight flights[FOUND_MAX];
    unsigned flight_count;
    packet_id_t held[FOUND_MAX];
    unsigned held_count;
    uint64_t sequence;
};

static void on_session(void *user, session_id_t id, const struct record_session *s) {
    struct found *f = user;
    const bool in = s->client_id.len > 3 && memcmp(s->client_id.ptr, "in:", 3) == 0;
    *(in ? &f->in : &f->out) = id;
}

static void on_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    (void)user;
    (void)id;
    (void)s;
}

static void on_held(void *user, session_id_t id, packet_id_t packet_id) {
    struct found *f = user;
    must(id == f->in && f->held_count < FOUND_MAX);
    f->held[f->held_count++] = packet_id;
}

static void on_flight(void *user, session_id_t id, const struct store_flight *flight) {
    struct found *f = user;
    must(id == f->out && f->flight_count < FOUND_MAX);
    f->flights[f->flight_count++] = *flight;
}

static void on_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    (void)user;
    (void)id;
    (void)count;
    (void)bytes;
}

static void on_will(void *user, const struct record_will *will) {
    (void)user;
    (void)will;
}

static void on_position(void *user, session_id_t id, uint64_t sequence) {
    struct found *f = user;
    f->sequence = id == f->out ? sequence : f->sequence;
}

static void on_retained(void *user, struct message *m) {
    (void)user;
    message_unref(m);
}

static void print_payload(FILE *out, struct message *m) {
    must(m != NULL);
    const struct span payload = message_payload(m);
    (void)fprintf(out, " \"%.*s\"", (int)payload.len, (const char *)payload.ptr);
    message_unref(m);
}

static void print_queue(FILE *out, struct store *store, session_id_t session, const char *what) {
    struct store_delivery all[FOUND_MAX];
    const size_t count = session != 0 ? store_queue_read(store, session, 0, UINT32_MAX, all, FOUND_MAX) : 0;
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i == 0 ? what : "", out);
        print_payload(out, all[i].message);
    }
}

static void print_found(FILE *out, struct store *store, const struct found *f) {
    for (unsigned i = 0; i < f->flight_count; i++) {
        (void)fprintf(out, ", %u is%s", f->flights[i].packet_id, f->flights[i].released ? " released" : "");
        if (!f->flights[i].released) {
            print_payload(out, store_message(store, f->flights[i].message_lsn));
        }
    }
    for (unsigned i = 0; i < f->held_count; i++) {
        (void)fprintf(out, ", %u is held", f->held[i]);
    }
    print_queue(out, store, f->out, ", outbox");
    print_queue(out, store, f->in, ", inbox");
    if (f->sequence != 0) {
        (void)fprintf(out, ", number %llu", (unsigned long long)f->sequence);
    }
}

void scenario_client_disk(struct scenario *s, struct scenario_client *c) {
    struct error error = {0};
    struct machine copy;
    struct found f = {0};
    char *text = NULL;
    size_t bytes = 0;
    struct store_local_options options = s->plan.store;
    const struct store_sink sink = {.user = &f,
                                    .session = on_session,
                                    .subscription = on_subscription,
                                    .held = on_held,
                                    .flight = on_flight,
                                    .queue = on_queue,
                                    .will = on_will,
                                    .position = on_position,
                                    .retained = on_retained};
    machine_fork(&copy, &c->machine, &s->choices, SIM_POWER_DROP);
    if (!machine_open(&copy, &options, &error) || !store_load(copy.store, &sink, &error)) {
        scenario_wrong(s, error.text, NULL, NULL);
    } else {
        FILE *out = open_memstream(&text, &bytes);
        must(out != NULL);
        print_found(out, copy.store, &f);
        must(fclose(out) == 0);
        (void)fprintf(scenario_see(s), "%s disk: %s", c->name, bytes > 0 ? text + 2 : "nothing");
        free(text);
    }
    machine_deinit(&copy);
}

void scenario_client_drained(struct scenario *s, struct scenario_client *c) {
    static const enum table_tree trees[] = {TABLE_MESSAGES, TABLE_QUEUE, TABLE_FLIGHTS, TABLE_HELD};
    struct quartet_status status;
    size_t kept = 0;
    char seen[160];
    if (c->client == NULL) {
        scenario_wrong(s, "a client is down", NULL, c->name);
        return;
    }
    client_status(c->client, &status);
    while (c->machine.store != NULL && machine_checkpoint(&c->machine, true)) {
    }
    for (size_t i = 0; i < sizeof trees / sizeof trees[0] && c->machine.store != NULL; i++) {
        kept += machine_table_count(&c->machine, trees[i]);
    }
    if (status.outbox_messages + status.in_flight + status.inbox_messages + kept > 0) {
        (void)snprintf(seen, sizeof seen, "%s: %llu in the outbox, %llu in the inbox, %zu entries in the table",
                       c->name, (unsigned long long)status.outbox_messages, (unsigned long long)status.inbox_messages,
                       kept);
        scenario_wrong(s, "something is left", "nothing", seen);
    }
}
