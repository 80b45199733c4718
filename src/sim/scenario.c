#include "sim/scenario.h"

#include <ctype.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "sim/scenario_packet.h"
#include "sim/world.h"

enum { LINE_BYTES = 512, LEFT_WIDTH = 46 };

/* One scenario under way. */
struct scenario {
    const char *file;
    unsigned line;          /* of the file */
    char title[LINE_BYTES]; /* empty: between scenarios */
    struct plan_mutants mutants;
    unsigned shards;
    struct plan plan;
    struct choices choices;
    struct world *world; /* NULL until the first event */
    struct scenario_client clients[SIM_CLIENTS_MAX];
    unsigned client_count;
    bool disk_stopped;
    char wrong[LINE_BYTES * 2]; /* the first thing that was wrong; empty: nothing */
    FILE *rewrite;
};

static void scenario_wrong(struct scenario *s, const char *what, const char *expected, const char *seen) {
    if (s->wrong[0] == '\0') {
        (void)snprintf(s->wrong, sizeof s->wrong, "%s:%u: %s%s%s%s%s", s->file, s->line, what,
                       expected != NULL ? "\n    expected: " : "", expected != NULL ? expected : "",
                       seen != NULL ? "\n    seen:     " : "", seen != NULL ? seen : "");
    }
}

/* ---- world ---- */

static void world_begin(struct scenario *s) {
    plan_base(&s->plan);
    s->plan.seed = 1;
    s->plan.shards = s->shards;
    s->plan.client_count = SIM_CLIENTS_MAX;
    for (unsigned i = 0; i < SIM_CLIENTS_MAX; i++) {
        s->plan.clients[i].pipe_bytes = SIM_PIPE_BYTES;
    }
    s->plan.broker.packet_ids_max = UINT16_MAX;
    s->plan.broker.receive_maximum = 16;
    s->plan.broker.inflight_max = 16;
    plan_leave_out(&s->plan, s->mutants);
    choices_start(&s->choices, 1, NULL, 0, false);
    s->world = world_create(&s->plan, &s->choices, NULL);
}

static bool turns(struct world *w) {
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

/* All that follows from the last event happens, as far as the disk lets it. */
static void settle(struct scenario *s) {
    struct world *w = s->world;
    bool any = true;
    while (any && w->node.up) {
        any = turns(w);
        while (!s->disk_stopped && w->node.up && node_wants_commit(w) &&
               (node_commit(w) || node_checkpoint(w, false))) {
            any = true;
        }
    }
}

/* ---- what is seen ---- */

static struct conn *client_conn(const struct scenario *s, const struct scenario_client *c) {
    return c->conn < 0 ? NULL : &s->world->conns[c->conn];
}

/* Prints the packets in a connection's pipe, and that the broker has closed it. */
static void see_conn(struct scenario *s, const struct scenario_client *client, struct conn *c, bool old, FILE *out) {
    const char *label = old ? "/old" : "";
    for (;;) {
        struct mini_packet p;
        size_t bytes = mini_length(span_of(c->to_client.bytes, c->to_client.len));
        if (bytes == 0 || bytes == MINI_WRONG) {
            break;
        }
        const char *bad = mini_decode(span_of(c->to_client.bytes, bytes), client->five, &p);
        (void)fprintf(out, "%s%s%s < ", ftell(out) > 0 ? "; " : "", client->name, label);
        if (bad != NULL) {
            (void)fprintf(out, "wrong packet: %s", bad);
        } else {
            mini_print(out, &p);
        }
        pipe_drop_front(&c->to_client, bytes);
    }
    if (c->to_client.len > 0) {
        (void)fprintf(out, "%s%s%s < part of a packet", ftell(out) > 0 ? "; " : "", client->name, label);
        c->to_client.len = 0;
    }
    if (c->to_client.fin && c->client_open) {
        if (s->world->node.up) {
            (void)fprintf(out, "%s%s%s < closed", ftell(out) > 0 ? "; " : "", client->name, label);
        }
        conn_abandon(c, world_end(s->world));
    }
}

static void see(struct scenario *s, FILE *out) {
    for (unsigned i = 0; i < s->client_count; i++) {
        struct scenario_client *client = &s->clients[i];
        for (unsigned k = 0; k < SIM_CONNS_MAX; k++) {
            struct conn *c = &s->world->conns[k];
            bool current = client->conn == (int)k;
            if (c->used && c->client == (int)i && c->client_open) {
                see_conn(s, client, c, !current, out);
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

static bool event_send(struct scenario *s, struct scenario_client *client, char *text) {
    uint8_t bytes[MINI_PACKET_BYTES];
    uint8_t type;
    bool lost = cut_suffix(text, " lost");
    size_t count = scenario_packet(client, text, bytes, &type);
    if (count == 0) {
        return false;
    }
    if (type == MINI_CONNECT && s->world->node.up) {
        struct conn *c = world_connect(s->world, (int)(client - s->clients));
        client->conn = (int)(c - s->world->conns);
        node_accept(s->world, c, 0);
    }
    struct conn *c = client_conn(s, client);
    if (!lost && c != NULL && c->used && c->broker == BROKER_END_OPEN && s->world->node.up) {
        pipe_write(&c->to_broker, span_of(bytes, count));
        node_bytes(s->world, c, count);
    }
    return true;
}

/* The client's end goes; `seen`: the broker's too. */
static void event_cut(struct scenario *s, struct scenario_client *client, bool seen) {
    struct conn *c = client_conn(s, client);
    client->conn = -1;
    if (c == NULL || !c->used) {
        return;
    }
    conn_abandon(c, world_end(s->world));
    if (seen && c->used && c->broker == BROKER_END_OPEN && s->world->node.up) {
        node_sees_end(s->world, c);
    }
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

/* Events that name no client; false when it is none. */
static bool event_machine(struct scenario *s, const char *text) {
    struct world *w = s->world;
    if (strcmp(text, "disk stops") == 0 || strcmp(text, "disk goes") == 0) {
        s->disk_stopped = text[5] == 's';
    } else if (strcmp(text, "broker killed") == 0) {
        node_kill(w, "scenario");
    } else if (strcmp(text, "power cut") == 0) {
        node_power_cut(w, SIM_POWER_DROP);
    } else if (strcmp(text, "broker stopped") == 0) {
        node_stop(w);
    } else if (strcmp(text, "broker started") == 0) {
        s->disk_stopped = false;
        (void)node_start(w);
    } else if (strcmp(text, "fold") == 0) {
        while (node_checkpoint(w, true)) {
        }
    } else if (strcmp(text, "drained") == 0) {
        event_drained(s);
    } else {
        return strncmp(text, "wait ", 5) == 0 && event_wait(s, text + 5);
    }
    return true;
}

static bool event(struct scenario *s, char *text) {
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
        event_cut(s, client, rest[0] == 'c');
        return true;
    }
    return strncmp(rest, "> ", 2) == 0 && event_send(s, client, rest + 2);
}

/* ---- lines ---- */

static void trim(char *text) {
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1])) {
        text[--len] = '\0';
    }
}

static void scenario_finish(struct scenario *s, FILE *out, struct scenario_counts *counts) {
    if (s->title[0] == '\0') {
        return;
    }
    if (s->world != NULL && s->world->failed) {
        scenario_wrong(s, s->world->failure, NULL, NULL);
    }
    if (s->wrong[0] != '\0') {
        counts->failed++;
        if (out != NULL) {
            (void)fprintf(out, "FAILED %s\n  %s\n", s->title, s->wrong);
        }
    } else {
        counts->passed++;
    }
    if (s->world != NULL) {
        world_destroy(s->world);
    }
    choices_deinit(&s->choices);
    s->world = NULL;
    s->title[0] = s->wrong[0] = '\0';
    s->client_count = 0;
    s->disk_stopped = false;
    s->shards = 1;
}

static void event_line(struct scenario *s, char *line) {
    char *right = strchr(line, '|');
    const char *expected = "";
    if (right != NULL) {
        *right = '\0';
        expected = right + 1 + strspn(right + 1, " ");
    }
    trim(line);
    char left[LINE_BYTES];
    memcpy(left, line, strlen(line) + 1);
    if (s->world == NULL) {
        world_begin(s);
    }
    if (!event(s, line)) {
        scenario_wrong(s, "this line is not understood", left, NULL);
    }
    settle(s);
    char *seen = NULL;
    size_t seen_bytes = 0;
    FILE *out = open_memstream(&seen, &seen_bytes);
    must(out != NULL);
    see(s, out);
    must(fclose(out) == 0);
    if (strcmp(seen, expected) != 0) {
        scenario_wrong(s, left, expected[0] != '\0' ? expected : "nothing", seen[0] != '\0' ? seen : "nothing");
    }
    if (s->rewrite != NULL) {
        (void)fprintf(s->rewrite, seen[0] != '\0' ? "%-*s| %s\n" : "%-*s|\n", LEFT_WIDTH, left, seen);
    }
    free(seen);
}

static void scenario_line(struct scenario *s, char *line, FILE *out, struct scenario_counts *counts) {
    trim(line);
    bool is_title = strncmp(line, "== ", 3) == 0;
    bool is_shards = strncmp(line, "shards ", 7) == 0;
    if (is_title || is_shards || line[0] == '#' || line[0] == '\0') {
        if (s->rewrite != NULL) {
            (void)fprintf(s->rewrite, "%s\n", line);
        }
    }
    if (is_title) {
        scenario_finish(s, out, counts);
        memcpy(s->title, line + 3, strlen(line + 3) + 1);
    } else if (is_shards) {
        s->shards = (unsigned)strtoul(line + 7, NULL, 10);
        s->shards = s->shards >= 1 && s->shards <= SIM_SHARDS_MAX ? s->shards : 1;
    } else if (line[0] != '#' && line[0] != '\0') {
        event_line(s, line);
    }
}

void scenario_run(const char *name, const char *text, struct plan_mutants mutants, FILE *out, FILE *rewrite,
                  struct scenario_counts *counts) {
    struct scenario *s = mem_zero(1, sizeof *s);
    s->file = name;
    s->mutants = mutants;
    s->shards = 1;
    s->rewrite = rewrite;
    while (*text != '\0') {
        char line[LINE_BYTES];
        size_t len = strcspn(text, "\n");
        size_t kept = len < LINE_BYTES - 1 ? len : LINE_BYTES - 1;
        memcpy(line, text, kept);
        line[kept] = '\0';
        s->line++;
        scenario_line(s, line, out, counts);
        text += len + (text[len] == '\n');
    }
    scenario_finish(s, out, counts);
    mem_free(s);
}

static char *file_read(const char *path) {
    FILE *in = fopen(path, "r");
    char *text = NULL;
    size_t bytes = 0;
    if (in == NULL) {
        return NULL;
    }
    FILE *copy = open_memstream(&text, &bytes);
    must(copy != NULL);
    for (int byte; (byte = fgetc(in)) != EOF;) {
        (void)fputc(byte, copy);
    }
    must(fclose(copy) == 0);
    (void)fclose(in);
    return text;
}

bool scenario_file(const char *path, struct plan_mutants mutants, FILE *out, bool rewrite,
                   struct scenario_counts *counts) {
    char *text = file_read(path);
    if (text == NULL) {
        return false;
    }
    FILE *to = rewrite ? fopen(path, "w") : NULL;
    bool ok = !rewrite || to != NULL;
    if (ok) {
        scenario_run(path, text, mutants, out, to, counts);
    }
    ok = (to == NULL || fclose(to) == 0) && ok;
    free(text);
    return ok;
}
