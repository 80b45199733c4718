#include "sim/peer.h"

#include "base/map.h"
#include "base/must.h"
#include "sim/world.h"

/* ---- up and down ---- */

void peer_init(struct world *w, struct peer *p, int index, const struct plan_client *plan) {
    memset(p, 0, sizeof *p);
    p->index = index;
    p->plan = plan;
    p->conn = -1;
    machine_init(&p->machine, w->choices);
}

wall_ms_t peer_wall(const struct world *w, const struct peer *p) {
    return w->wall + p->wall_ahead;
}

static void down(struct world *w, struct peer *p) {
    if (p->client != NULL) {
        spy_died(w, p);
    }
    client_destroy(p->client);
    p->client = NULL;
    machine_close(&p->machine);
    app_died(&p->app);
    p->dirty = p->stopping = false;
    p->told = p->told_folded = 0;
}

void peer_deinit(struct world *w, struct peer *p) {
    down(w, p);
    machine_deinit(&p->machine);
}

/* The client's end of its connection is gone; what it wrote may still arrive. */
static void conn_leave(struct world *w, struct peer *p) {
    if (p->conn >= 0) {
        spy_lost(&p->spy);
        conn_abandon(&w->conns[p->conn], world_end(w));
        p->conn = -1;
    }
}

static void ignore_event(struct quartet *client, const struct quartet_event *event, void *user) {
    (void)client;
    (void)event;
    (void)user;
}

static struct quartet_options options_of(const struct world *w, const struct peer *p, const char *name) {
    static const enum quartet_lost_policy policies[] = {QUARTET_LOST_RESEND, QUARTET_LOST_DROP, QUARTET_LOST_HOLD};
    const struct plan_client *c = p->plan;
    return (struct quartet_options){
        .servers = "mqtt://broker",
        .client_id = name,
        .protocol = c->five ? 5 : 4,
        .session_expiry_s = c->session_expiry == SESSION_NEVER_EXPIRES ? 0 : c->session_expiry,
        .keep_alive_s = c->keep_alive != 0 ? c->keep_alive : QUARTET_NO_KEEP_ALIVE,
        .receive_maximum = c->receive_maximum,
        .send_window = c->window,
        .store = "simulated",
        .guarantee = QUARTET_EXACTLY_ONCE,
        .session_lost = policies[c->lost],
        .inbox_bytes = c->inbox_bytes,
        .packet_bytes_max = c->packet_max != 0                      ? c->packet_max
                            : w->plan->store.frame_bytes_max > 4096 ? 4096
                                                                    : 2048,
        .manual_done = true,
        .retry_min_ms = 200,
        .retry_max_ms = 4000,
        .on_event = ignore_event,
    };
}

static bool engine_start(struct world *w, struct peer *p, struct error *error) {
    char name[8];
    int number = QUARTET_OK;
    snprintf(name, sizeof name, "c%d", p->index);
    struct quartet_options options = options_of(w, p, name);
    must(client_options_complete(&options, &number, error));
    const struct client_setup setup = {.options = &options,
                                       .store = p->machine.store,
                                       .epoch = {(uint8_t)p->index},
                                       .seed = hash64(w->plan->seed, (uint64_t)p->index + 99),
                                       .ids_max = (packet_id_t)w->plan->ids,
                                       .mutant = w->plan->client_mutant};
    p->client = client_create(&setup, error);
    return p->client != NULL;
}

bool peer_start(struct world *w, struct peer *p) {
    struct error error = {0};
    struct store_local_options options = w->plan->store;
    options.salt = hash64(w->plan->seed, ++p->starts * 8 + (uint64_t)p->index);
    must(p->client == NULL);
    w->counts.restarts++;
    const bool up = machine_open(&p->machine, &options, &error) && engine_start(w, p, &error);
    world_trace(w, "c%d starts%s%s", p->index, up ? "" : ": ", up ? "" : error.text);
    if (!up) {
        const bool power = machine_state(&p->machine) == MACHINE_DARK;
        if (error.kind == ERROR_DAMAGED || error.kind == ERROR_FORMAT) {
            world_fail(w, "start", "c%d refuses its own store: %s", p->index, error.text);
        }
        down(w, p);
        if (power) {
            sim_disk_power_cut(&p->machine.disk, SIM_POWER_CHOOSE);
        }
        return false;
    }
    p->spy.given_up = p->spy.lost = 0;
    client_time(p->client, w->now, peer_wall(w, p));
    app_started(w, p);
    p->dirty = true;
    return true;
}

void peer_kill(struct world *w, struct peer *p, const char *why) {
    world_trace(w, "c%d is gone: %s", p->index, why);
    w->counts.kills++;
    down(w, p);
    conn_leave(w, p);
}

void peer_power_cut(struct world *w, struct peer *p, enum sim_power how) {
    world_trace(w, "c%d: the power goes", p->index);
    w->counts.power_cuts++;
    down(w, p);
    conn_leave(w, p);
    sim_disk_power_cut(&p->machine.disk, how);
}

void peer_replace(struct world *w, struct peer *p) {
    world_trace(w, "c%d goes on elsewhere, with an empty store", p->index);
    down(w, p);
    p->replaced = true;
    if (p->conn >= 0) {
        w->conns[p->conn].excused = true;
    }
    conn_leave(w, p);
    machine_deinit(&p->machine);
    machine_init(&p->machine, w->choices);
    app_replaced(w, p);
    spy_replaced(w, p);
}

/* After anything that may have called the disk: true while the process is still up. */
static bool alive(struct world *w, struct peer *p) {
    char why[200];
    if (p->client == NULL) {
        return false;
    }
    switch (machine_state(&p->machine)) {
    case MACHINE_WELL:
        return true;
    case MACHINE_DARK:
        peer_power_cut(w, p, SIM_POWER_CHOOSE);
        return false;
    case MACHINE_FAILED:
        snprintf(why, sizeof why, "its store has failed: %.150s", p->machine.store->error.text);
        peer_kill(w, p, why);
        return false;
    }
    return false;
}

/* ---- the connection ---- */

/* What may leave goes into the pipe, as far as there is room; false when some stays. */
static bool write_out(struct world *w, struct peer *p) {
    struct conn *c = &w->conns[p->conn];
    struct iovec iov[8];
    for (;;) {
        const int count = client_output(p->client, iov, 8);
        if (count == 0) {
            return true;
        }
        size_t taken = 0;
        for (int i = 0; i < count; i++) {
            const size_t room = pipe_space(&c->to_broker);
            const size_t part = iov[i].iov_len < room ? iov[i].iov_len : room;
            spy_out(w, p, span_of(iov[i].iov_base, part));
            if (!c->cut) {
                pipe_write(&c->to_broker, span_of(iov[i].iov_base, part));
            }
            taken += part;
            if (part < iov[i].iov_len) {
                break;
            }
        }
        if (taken == 0 || w->failed) {
            return false;
        }
        if (c->connect_bytes == 0) {
            c->connect_bytes = c->to_broker.len;
        }
        w->node.departed = true;
        client_sent(p->client, taken);
    }
}

static void connect(struct world *w, struct peer *p) {
    if (!w->node.up && choose(w->choices, 2) == 1) {
        world_trace(w, "c%d cannot connect", p->index);
        client_closed(p->client, QUARTET_NETWORK, "refused");
        return;
    }
    struct conn *c = world_connect(w, p->index);
    p->conn = (int)(c - w->conns);
    spy_connected(w, p);
    client_opened(p->client);
}

static void close_conn(struct world *w, struct peer *p) {
    world_trace(w, "c%d closes its connection", p->index);
    conn_leave(w, p);
    client_closed(p->client, QUARTET_OK, NULL);
}

/* A session that is lost is decided on by the application when the options do not. */
static void events(struct world *w, struct peer *p) {
    struct quartet_event event;
    while (client_event(p->client, &event)) {
        if (event.kind == QUARTET_EVENT_SESSION_LOST) {
            world_trace(w, "c%d is told that its session is lost, %llu messages were under way", p->index,
                        (unsigned long long)event.count);
            if (p->plan->lost == PLAN_LOST_ASK) {
                const bool drop = choose(w->choices, 2) == 1;
                client_session_lost(p->client, drop ? QUARTET_LOST_DROP : QUARTET_LOST_RESEND);
                if (drop) {
                    spy_given_up(&p->spy);
                }
            }
        } else if (event.kind == QUARTET_EVENT_DISCONNECTED) {
            world_trace(w, "c%d: %s", p->index, event.text);
            if (event.error == QUARTET_PROTOCOL) {
                world_fail(w, "wire", "c%d blames the broker: %s", p->index, event.text);
            }
        }
    }
}

static void service(struct world *w, struct peer *p) {
    app_watch(w, p);
    events(w, p);
    const bool all = p->conn < 0 || write_out(w, p);
    uint32_t server;
    if (p->client != NULL && !w->failed && client_wish(p->client, &server) == CLIENT_CLOSE && (all || w->calm)) {
        if (p->conn >= 0) {
            close_conn(w, p);
        } else {
            client_closed(p->client, QUARTET_OK, NULL);
        }
        events(w, p);
    }
    alive(w, p);
}

/* ---- what happens ---- */

static void turn_begin(struct world *w, struct peer *p) {
    const lsn_t durable = store_durable(p->machine.store), folded = store_folded(p->machine.store);
    client_time(p->client, w->now, peer_wall(w, p));
    if (durable != p->told || folded != p->told_folded) {
        p->told = durable;
        p->told_folded = folded;
        client_stored(p->client);
    }
    p->dirty = p->app.nothing = false;
    p->machine.sealed = false;
}

void peer_turn(struct world *w, struct peer *p) {
    turn_begin(w, p);
    service(w, p);
}

bool peer_wants_turn(const struct world *w, const struct peer *p) {
    uint32_t server;
    struct iovec iov;
    if (p->client == NULL) {
        return false;
    }
    const mono_ms_t deadline = client_deadline(p->client);
    const bool room = p->conn >= 0 && pipe_space(&w->conns[p->conn].to_broker) > 0;
    return p->dirty || (deadline >= 0 && deadline <= w->now) || store_durable(p->machine.store) != p->told ||
           store_folded(p->machine.store) != p->told_folded || (room && client_output(p->client, &iov, 1) > 0) ||
           client_wish(p->client, &server) == CLIENT_CLOSE;
}

void peer_bytes(struct world *w, struct peer *p, struct span bytes) {
    uint32_t server;
    turn_begin(w, p);
    if (client_wish(p->client, &server) != CLIENT_CLOSE) { /* else it has given the connection up: nobody reads this */
        spy_in(w, p, bytes);
    }
    client_received(p->client, bytes);
    service(w, p);
}

void peer_sees_end(struct world *w, struct peer *p) {
    turn_begin(w, p);
    conn_leave(w, p);
    client_closed(p->client, QUARTET_NETWORK, NULL);
    service(w, p);
}

bool peer_commit(struct world *w, struct peer *p) {
    const bool did = machine_commit(&p->machine);
    if (!alive(w, p)) {
        return false;
    }
    if (machine_is_housework(&p->machine)) {
        spy_recorded(&p->spy);
    }
    return did;
}

void peer_stop(struct world *w, struct peer *p) {
    world_trace(w, "c%d ends in order", p->index);
    w->counts.stops++;
    client_disconnect(p->client, 0);
    for (unsigned i = 0; i < 64 && p->client != NULL && !w->failed; i++) {
        while (p->client != NULL && machine_wants_commit(&p->machine) && peer_commit(w, p)) {
        }
        if (p->client != NULL) {
            peer_turn(w, p);
        }
        if (p->client != NULL && !machine_wants_commit(&p->machine) && !peer_wants_turn(w, p)) {
            break;
        }
    }
    if (p->client != NULL) {
        down(w, p);
        conn_leave(w, p);
    }
}

static void disk_fault(struct world *w, struct peer *p, enum action a) {
    struct sim_disk *d = &p->machine.disk;
    if (a == ACTION_PEER_DISK_FULL) {
        d->no_space = !d->no_space;
        world_trace(w, "disk of c%d is %s", p->index, d->no_space ? "full" : "no longer full");
    } else if (a == ACTION_PEER_DISK_FAILS) {
        d->fail_at = d->calls + 1 + choose(w->choices, 8);
        world_trace(w, "a disk call of c%d will fail soon", p->index);
    } else {
        d->crash_at = d->calls + 1 + choose(w->choices, 16);
        world_trace(w, "the power of c%d will go at disk call %llu from now", p->index,
                    (unsigned long long)(d->crash_at - d->calls));
    }
}

bool peer_can(struct world *w, const struct peer *p, enum action a) {
    uint32_t server;
    const bool up = p->client != NULL;
    switch ((int)a) {
    case ACTION_PEER_START:
        return !up;
    case ACTION_PEER_TURN:
        return peer_wants_turn(w, p);
    case ACTION_PEER_COMMIT:
        return up && machine_wants_commit(&p->machine);
    case ACTION_PEER_CHECKPOINT:
        return up && machine_wants_checkpoint(&p->machine);
    case ACTION_PEER_SEAL:
        return up && !machine_wants_commit(&p->machine) && !p->machine.sealed;
    case ACTION_CONNECT:
        return up && p->conn < 0 && client_wish(p->client, &server) == CLIENT_CONNECT;
    case ACTION_PEER_REPLACE:
        return up && w->replacements_left > 0;
    case ACTION_DISCONNECT:
    case ACTION_PEER_KILL:
    case ACTION_PEER_POWER:
    case ACTION_PEER_POWER_SOON:
    case ACTION_PEER_DISK_FULL:
    case ACTION_PEER_DISK_FAILS:
        return up;
    default:
        return up && app_can(w, p, a);
    }
}

void peer_act(struct world *w, struct peer *p, enum action a) {
    switch ((int)a) {
    case ACTION_PEER_START:
        peer_start(w, p);
        break;
    case ACTION_PEER_TURN:
        peer_turn(w, p);
        break;
    case ACTION_PEER_COMMIT:
        peer_commit(w, p);
        break;
    case ACTION_PEER_CHECKPOINT:
        machine_checkpoint(&p->machine, choose(w->choices, 2) == 1);
        alive(w, p);
        break;
    case ACTION_PEER_SEAL:
        machine_seal(&p->machine);
        alive(w, p);
        break;
    case ACTION_CONNECT:
        turn_begin(w, p);
        connect(w, p);
        service(w, p);
        break;
    case ACTION_DISCONNECT:
        peer_stop(w, p);
        break;
    case ACTION_PEER_KILL:
        peer_kill(w, p, "killed");
        if (choose(w->choices, 2) == 1) {
            sim_disk_evict(&p->machine.disk);
        }
        break;
    case ACTION_PEER_POWER:
        peer_power_cut(w, p, choose(w->choices, 2) == 0 ? SIM_POWER_DROP : SIM_POWER_CHOOSE);
        break;
    case ACTION_PEER_REPLACE:
        w->replacements_left--;
        peer_replace(w, p);
        break;
    case ACTION_PEER_POWER_SOON:
    case ACTION_PEER_DISK_FULL:
    case ACTION_PEER_DISK_FAILS:
        disk_fault(w, p, a);
        break;
    default:
        app_act(w, p, a);
        break;
    }
}

/* ---- looking in ---- */

void peer_describe(const struct world *w, const struct peer *p, char *out, size_t bytes) {
    struct quartet_status status;
    out[0] = '\0';
    if (p->client == NULL) {
        snprintf(out, bytes, "c%d is down", p->index);
        return;
    }
    client_status(p->client, &status);
    if (!status.connected) {
        snprintf(out, bytes, "c%d is not connected", p->index);
    } else if (app_describe(w, p, out, bytes) || spy_describe(w, p, out, bytes)) {
        return;
    } else if (status.outbox_messages + status.in_flight + status.inbox_messages > 0) {
        snprintf(out, bytes, "c%d has %llu messages in its outbox, %llu of them under way, and %llu in its inbox",
                 p->index, (unsigned long long)status.outbox_messages, (unsigned long long)status.in_flight,
                 (unsigned long long)status.inbox_messages);
    } else if (machine_wants_commit(&p->machine)) {
        snprintf(out, bytes, "c%d has staged records that no commit takes", p->index);
    }
}

bool peer_settled(const struct world *w, const struct peer *p) {
    char text[200];
    peer_describe(w, p, text, sizeof text);
    return text[0] == '\0';
}

void peer_judge_rest(struct world *w, struct peer *p) {
    static const struct {
        enum table_tree tree;
        const char *what;
    } trees[] = {{TABLE_MESSAGES, "messages"},
                 {TABLE_REFERENCES, "references to messages"},
                 {TABLE_QUEUE, "queued messages"},
                 {TABLE_FLIGHTS, "flows under way"},
                 {TABLE_HELD, "held packet ids"}};
    while (p->client != NULL && machine_checkpoint(&p->machine, true)) {
    }
    for (size_t i = 0; i < sizeof trees / sizeof trees[0] && p->client != NULL; i++) {
        const size_t count = machine_table_count(&p->machine, trees[i].tree);
        /* Nobody can tell a client that its session was lost with the broker's disk, or expired by the broker's clock
         * and not by its own, and was made anew by a CONNECT whose answer was lost. */
        const bool untold = w->plan->wall_jumps || w->plan->clocks || w->plan->disk_losses > 0;
        const bool unsure = trees[i].tree == TABLE_HELD && w->oracle.loose[p->index] && untold;
        if (count > 0 && !unsure) {
            world_fail(w, "G5", "after the drain the table of c%d still has %zu %s", p->index, count, trees[i].what);
        }
    }
}

void peer_fork(struct world *to, struct peer *p, const struct peer *from, enum sim_power how) {
    p->client = NULL;
    spy_died(to, p);
    machine_fork(&p->machine, &from->machine, to->choices, how);
    app_died(&p->app);
    p->dirty = p->stopping = false;
    p->told = p->told_folded = 0;
    conn_leave(to, p);
}

uint64_t peer_digest(const struct world *w, const struct peer *p) {
    uint64_t sum = hash64(machine_digest(&p->machine), p->conn >= 0);
    sum = hash64(hash64(sum, app_digest(&p->app)), spy_digest(&p->spy));
    if (p->client != NULL) {
        const uint64_t rest[] = {client_digest(p->client), p->dirty, p->told, p->told_folded, peer_wants_turn(w, p)};
        sum = hash_bytes(span_of(rest, sizeof rest), sum);
    }
    return sum;
}
