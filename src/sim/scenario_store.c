/* What is in a real client's store: on its disk, as a power cut at this moment would leave it; and in its table, after
 * everything was folded, where nothing may be left. */
#include <stdlib.h>

#include "base/must.h"
#include "sim/kept.h"
#include "sim/scenario_inside.h"

enum { QUEUED_MAX = 16 };

static void print_payload(FILE *out, struct message *m) {
    must(m != NULL);
    const struct span payload = message_payload(m);
    (void)fprintf(out, " \"%.*s\"", (int)payload.len, (const char *)payload.ptr);
    message_unref(m);
}

static void print_queue(FILE *out, struct store *store, session_id_t session, const char *what) {
    struct store_delivery all[QUEUED_MAX];
    const size_t count = session != 0 ? store_queue_read(store, session, 0, UINT32_MAX, all, QUEUED_MAX) : 0;
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i == 0 ? what : "", out);
        print_payload(out, all[i].message);
    }
}

static void print_kept(FILE *out, struct store *store, const struct kept *k) {
    for (unsigned i = 0; i < k->flight_count; i++) {
        (void)fprintf(out, ", %u is%s", k->flights[i].packet_id, k->flights[i].released ? " released" : "");
        if (!k->flights[i].released) {
            print_payload(out, store_message(store, k->flights[i].message_lsn));
        }
    }
    for (unsigned i = 0; i < k->held_count; i++) {
        (void)fprintf(out, ", %u is held", k->held[i]);
    }
    print_queue(out, store, k->out, ", outbox");
    print_queue(out, store, k->in, ", inbox");
    if (k->sequence != 0) {
        (void)fprintf(out, ", number %llu", (unsigned long long)k->sequence);
    }
}

void scenario_client_disk(struct scenario *s, struct scenario_client *c) {
    struct error error = {0};
    struct machine copy;
    struct kept kept;
    char *text = NULL;
    size_t bytes = 0;
    if (!kept_look(&kept, &copy, &c->machine, &s->plan.store, &s->choices, &error)) {
        scenario_wrong(s, error.text, NULL, NULL);
    } else {
        FILE *out = open_memstream(&text, &bytes);
        must(out != NULL);
        print_kept(out, copy.store, &kept);
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
