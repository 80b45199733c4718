#include "sim/scenario_inside.h"

#include <stdlib.h>

#include "sim/scenario_packet.h"

/* ---- world ---- */

void scenario_begin(struct scenario *s) {
    struct plan *p = &s->plan;
    if (s->world != NULL) {
        return;
    }
    plan_base(p);
    p->seed = 1;
    p->shards = s->shards;
    p->client_count = SIM_CLIENTS_MAX;
    for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++) {
        p->clients[i].pipe_bytes = SIM_PIPE_BYTES;
    }
    p->broker.packet_ids_max = (packet_id_t)s->ids;
    p->broker.receive_maximum = 16;
    p->broker.inflight_max = 16;
    if (s->queue != 0) {
        p->broker.queue_messages_max = s->queue;
    }
    if (s->refuses) {
        p->broker.queue_policy = QUEUE_REFUSE;
    }
    plan_leave_out(p, s->mutants);
    choices_start(&s->choices, 1, NULL, 0, false);
    s->world = world_create(p, &s->choices, NULL);
}

void scenario_end(struct scenario *s) {
    for (unsigned i = 0; i < s->client_count; i++) {
        if (s->clients[i].real) {
            scenario_client_down(&s->clients[i]);
            machine_deinit(&s->clients[i].machine);
        }
    }
    if (s->world != NULL) {
        world_destroy(s->world);
    }
    choices_deinit(&s->choices);
    s->world = NULL;
    memset(&s->at, 0, sizeof s->at);
    s->title[0] = s->wrong[0] = '\0';
    s->client_count = 0;
    s->disk = DISK_GOES;
    s->no_broker = false;
    s->shards = 1;
    s->ids = UINT16_MAX;
    s->queue = 0;
    s->refuses = false;
}

static bool broker_turns(struct world *w) {
    bool any = false;
    for (unsigned shard = 0; shard < w->plan->shards && w->node.up; shard++) {
        for (unsigned i = 0; i < SIM_CONNS_MAX && w->node.up; i++) {
            struct conn *c = &w->conns[i];
            if (c->used && c->broker == BROKER_END_MOVING && c->shard == shard) {
                node_moved(w, c);
                any = true;
            }
        }
        while (w->node.up && node_wants_turn(w, shard)) {
            unsigned from = 0;
            while (from < w->plan->shards && (w->node.mail[shard] >> from & 1) == 0) {
                from++;
            }
            node_turn(w, shard, from < w->plan->shards ? (int)from : -1);
            any = true;
        }
    }
    return any;
}

bool scenario_disk_goes(const struct machine *m, enum scenario_disk how) {
    return how == DISK_GOES || (how == DISK_WRITES && !m->in_frame);
}

bool scenario_disk_word(const char *text, enum scenario_disk *how) {
    static const char *const words[] = {[DISK_GOES] = "goes", [DISK_WRITES] = "writes", [DISK_STOPS] = "stops"};
    for (unsigned i = 0; i < sizeof words / sizeof words[0] && strncmp(text, "disk ", 5) == 0; i++) {
        if (strcmp(text + 5, words[i]) == 0) {
            *how = (enum scenario_disk)i;
            return true;
        }
    }
    return false;
}

static bool broker_commit(struct scenario *s) {
    struct world *w = s->world;
    bool any = false;
    while (w->node.up && scenario_disk_goes(&w->node.machine, s->disk) && node_wants_commit(w) &&
           (node_commit(w) || node_checkpoint(w, false))) {
        any = true;
    }
    return any;
}

/* Disks come last: what does not wait for one is always faster. */
static bool settle_step(struct scenario *s) {
    bool any = broker_turns(s->world);
    for (unsigned i = 0; i < s->client_count; i++) {
        any = scenario_client_turn(s, &s->clients[i]) || any;
    }
    if (any) {
        return true;
    }
    any = broker_commit(s);
    for (unsigned i = 0; i < s->client_count; i++) {
        any = (s->clients[i].real && scenario_client_commit(&s->clients[i])) || any;
    }
    return any;
}

void scenario_settle(struct scenario *s) {
    for (unsigned i = 0; i < s->client_count; i++) {
        s->clients[i].dirty = true;
    }
    for (unsigned i = 0; i < SETTLE_STEPS_MAX; i++) {
        if (!settle_step(s)) {
            return;
        }
    }
    scenario_wrong(s, "it does not come to rest", NULL, NULL);
}

/* ---- what is seen ---- */

FILE *scenario_see(struct scenario *s) {
    (void)fputs(ftell(s->seen) > 0 ? "; " : "", s->seen);
    return s->seen;
}

/* Prints the packets in a connection's pipe, and that the broker has closed it. */
static void look_conn(struct scenario *s, const struct scenario_client *client, struct conn *c, const char *label) {
    for (;;) {
        struct mini_packet p;
        size_t bytes = mini_length(span_of(c->to_client.bytes, c->to_client.len));
        if (bytes == 0 || bytes == MINI_WRONG) {
            break;
        }
        const char *bad = mini_decode(span_of(c->to_client.bytes, bytes), client->five, &p);
        FILE *out = scenario_see(s);
        (void)fprintf(out, "%s%s < ", client->name, label);
        if (bad != NULL) {
            (void)fprintf(out, "wrong packet: %s", bad);
        } else {
            mini_print(out, &p);
        }
        pipe_drop_front(&c->to_client, bytes);
    }
    if (c->to_client.len > 0) {
        (void)fprintf(scenario_see(s), "%s%s < part of a packet", client->name, label);
        c->to_client.len = 0;
    }
    if (c->to_client.fin && c->client_open) {
        if (s->world->node.up) {
            (void)fprintf(scenario_see(s), "%s%s < closed", client->name, label);
        }
        conn_abandon(c, world_end(s->world));
    }
}

void scenario_look(struct scenario *s) {
    for (unsigned i = 0; i < s->client_count; i++) {
        struct scenario_client *client = &s->clients[i];
        for (unsigned k = 0; k < SIM_CONNS_MAX && !client->real; k++) {
            struct conn *c = &s->world->conns[k];
            bool current = client->conn == (int)k;
            if (c->used && c->client == (int)i && c->client_open) {
                look_conn(s, client, c, current ? "" : "/old");
                client->conn = current && !c->used ? -1 : client->conn;
            }
        }
    }
}

/* ---- events ---- */

static struct scenario_client *client_named(struct scenario *s, const char *name, size_t bytes) {
    for (unsigned i = 0; i < s->client_count; i++) {
        if (strlen(s->clients[i].name) == bytes && memcmp(s->clients[i].name, name, bytes) == 0) {
            return &s->clients[i];
        }
    }
    if (s->client_count == SIM_CLIENTS_MAX || bytes >= sizeof s->clients[0].name) {
        return NULL;
    }
    struct scenario_client *c = &s->clients[s->client_count++];
    memset(c, 0, sizeof *c);
    memcpy(c->name, name, bytes);
    c->conn = -1;
    return c;
}

static bool cut_suffix(char *text, const char *suffix) {
    size_t len = strlen(text);
    size_t tail = strlen(suffix);
    if (len < tail || strcmp(text + len - tail, suffix) != 0) {
        return false;
    }
    text[len - tail] = '\0';
    return true;
}

/* A scripted client sends. */
static bool event_send(struct scenario *s, struct scenario_client *client, char *text) {
    uint8_t bytes[MINI_PACKET_BYTES];
    uint8_t type;
    bool lost = cut_suffix(text, " lost");
    size_t count = scenario_packet(client->name, &client->five, text, bytes, &type);
    if (count == 0 || client->real) {
        return false;
    }
    if (type == MINI_CONNECT && s->world->node.up) {
        struct conn *c = world_connect(s->world, (int)(client - s->clients));
        client->conn = (int)(c - s->world->conns);
        node_accept(s->world, c, 0);
    }
    struct conn *c = scenario_conn(s, client);
    if (!lost && c != NULL && c->used && c->broker == BROKER_END_OPEN && s->world->node.up) {
        pipe_write(&c->to_broker, span_of(bytes, count));
        node_bytes(s->world, c, count);
    }
    return true;
}

static void event_drained(struct scenario *s) {
    struct world *w = s->world;
    if (!w->node.up) {
        scenario_wrong(s, "the broker is down", NULL, NULL);
        return;
    }
    while (node_checkpoint(w, true)) {
    }
    struct shard_counters counters = node_counters(w);
    size_t messages = machine_table_count(&w->node.machine, TABLE_MESSAGES);
    size_t retained = machine_table_count(&w->node.machine, TABLE_RETAINED);
    if (counters.queued != 0 || counters.held_ids != 0 || messages != retained ||
        machine_table_count(&w->node.machine, TABLE_HELD) + machine_table_count(&w->node.machine, TABLE_FLIGHTS) != 0) {
        char seen[160];
        (void)snprintf(seen, sizeof seen, "%llu queued, %llu ids held; in the table %zu messages, %zu retained",
                       (unsigned long long)counters.queued, (unsigned long long)counters.held_ids, messages, retained);
        scenario_wrong(s, "something is left", "nothing", seen);
    }
    for (unsigned i = 0; i < s->client_count; i++) {
        if (s->clients[i].real) {
            scenario_client_drained(s, &s->clients[i]);
        }
    }
}

static bool event_wait(struct scenario *s, const char *text) {
    char *end;
    unsigned long seconds = strtoul(text, &end, 10);
    if (*end != '\0' || seconds == 0 || seconds > 1000000) {
        return false;
    }
    s->world->now += (mono_ms_t)seconds * 1000;
    s->world->wall += (wall_ms_t)seconds * 1000;
    if (s->world->node.up) {
        node_tick(s->world);
    }
    return true;
}

/* The wall clock is set. */
static bool event_clock(struct scenario *s, const char *text) {
    char *end;
    long long seconds = strtoll(text, &end, 10);
    if (*end != '\0' || seconds == 0 || seconds > 100000000 || seconds < -100000000) {
        return false;
    }
    s->world->wall += (wall_ms_t)seconds * 1000;
    return true;
}

/* What ends or begins the broker; false when it is none, or cannot be now. */
static bool event_broker(struct scenario *s, const char *text) {
    struct world *w = s->world;
    if (strcmp(text, "broker killed") == 0 && w->node.up) {
        node_kill(w, "scenario");
    } else if (strcmp(text, "power cut") == 0) {
        node_power_cut(w, SIM_POWER_DROP);
    } else if (strcmp(text, "broker stopped") == 0 && w->node.up) {
        node_stop(w);
    } else if (strcmp(text, "broker started") == 0 && !w->node.up) {
        s->disk = DISK_GOES;
        (void)node_start(w);
    } else {
        return false;
    }
    return true;
}

/* Events that name no client; false when it is none. */
static bool event_machine(struct scenario *s, const char *text) {
    struct world *w = s->world;
    if (scenario_disk_word(text, &s->disk)) {
        return true;
    }
    if (strcmp(text, "fold") == 0) {
        while (node_checkpoint(w, true)) {
        }
    } else if (strcmp(text, "drained") == 0) {
        event_drained(s);
    } else if (strncmp(text, "break ", 6) == 0) {
        return scenario_break_set(s, text + 6);
    } else {
        return event_broker(s, text) || (strncmp(text, "wait ", 5) == 0 && event_wait(s, text + 5)) ||
               (strncmp(text, "clock ", 6) == 0 && event_clock(s, text + 6));
    }
    return true;
}

bool scenario_event(struct scenario *s, const char *line) {
    char text[SCENARIO_LINE_BYTES];
    (void)snprintf(text, sizeof text, "%s", line);
    size_t name = strcspn(text, " ");
    if (event_machine(s, text)) {
        return true;
    }
    if (text[name] == '\0') {
        return false;
    }
    struct scenario_client *client = client_named(s, text, name);
    char *rest = text + name + 1;
    if (client == NULL) {
        return false;
    }
    if (strcmp(rest, "cut") == 0 || strcmp(rest, "gone") == 0) {
        scenario_wire_cut(s, client, rest[0] == 'c');
        return true;
    }
    if (strncmp(rest, "> ", 2) == 0) {
        return event_send(s, client, rest + 2);
    }
    if (strncmp(rest, "< ", 2) == 0) {
        return scenario_wire_script(s, client, rest + 2);
    }
    return scenario_client_event(s, client, rest);
}
