#include "explain/stage.h"

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "explain/player.h"
#include "explain/tap.h"

enum { PLAYERS = 2, PUBLISHER = 0, SUBSCRIBER = 1, SERVER = 2, FINISH_ROUNDS_MAX = 200 };

struct stage {
    const struct stage_plan *what;
    struct plan plan;
    struct choices choices; /* always 0 */
    struct world *w;
    struct player players[PLAYERS];
    unsigned powers, cuts, cleans, takeovers; /* left */
    bool moving;                              /* the beginning is over */
    bool telling;                             /* the story is being told */
    struct story *story;                      /* NULL: nothing is told */
    struct tap tap;
};

/* ---- telling ---- */

/* The place of a player or of the server among the story's actors. */
static unsigned actor(const struct stage *s, unsigned who) {
    const unsigned first = s->what->queued ? 1 : 0;
    return (who == SERVER ? 1 : who == SUBSCRIBER ? 2 : 0) - first;
}

static bool tells(const struct stage *s, unsigned who) {
    return s->telling && s->story != NULL && (who != PUBLISHER || !s->what->queued);
}

/* The last event, to which something is to be added; NULL when there is none. */
static struct story_event *last_event(const struct stage *s) {
    return s->telling && s->story != NULL && s->story->count > 0 ? &s->story->events[s->story->count - 1] : NULL;
}

static struct story_event *tell_packet(struct stage *s, unsigned who, bool to_server, const struct mini_packet *p,
                                       bool lost) {
    char text[STORY_TEXT_BYTES];
    const unsigned from = to_server ? actor(s, who) : actor(s, SERVER);
    const unsigned to = to_server ? actor(s, SERVER) : actor(s, who);
    if (p->type == MINI_PUBLISH && p->qos > 0) {
        (void)snprintf(text, sizeof text, "PUBLISH %u %c%s", p->id, p->payload.ptr[0], p->dup ? " dup" : "");
    } else if (p->type == MINI_PUBLISH) {
        (void)snprintf(text, sizeof text, "PUBLISH %c", p->payload.ptr[0]);
    } else if (p->type == MINI_CONNECT || p->type == MINI_CONNACK) {
        (void)snprintf(text, sizeof text, "%s%s", mini_name(p->type),
                       p->type == MINI_CONNECT ? (p->clean ? " clean" : "")
                       : p->session_present    ? " resumed"
                                               : " new");
    } else if (p->type == MINI_SUBSCRIBE || p->type == MINI_SUBACK || p->type == MINI_DISCONNECT) {
        (void)snprintf(text, sizeof text, "%s", mini_name(p->type));
    } else {
        (void)snprintf(text, sizeof text, "%s %u", mini_name(p->type), p->id);
    }
    return story_add(s->story, lost ? STORY_LOST : STORY_PACKET, from, to, "%s", text);
}

static void staged(void *user, const char *record) {
    const struct stage *s = user;
    struct story_event *e = last_event(s);
    if (e != NULL) {
        story_note(e, actor(s, SERVER), "writes %s", record);
    }
}

/* The store is a new one after each start. */
static void listen_in(struct stage *s) {
    struct store *store = s->w->node.machine.store;
    if (store != NULL) {
        tap_in(&s->tap, store, staged, s);
    }
}

/* ---- the server ---- */

/* The shard that takes its mail only when that is a move; SIM_SHARDS_MAX: none does. */
static unsigned lazy_shard(const struct stage *s) {
    const int conn = s->players[SUBSCRIBER].conn;
    return s->what->shards > 1 && s->moving && conn >= 0 ? s->w->conns[conn].shard : SIM_SHARDS_MAX;
}

/* Something to do that waits for the move. */
static bool has_mail(const struct stage *s, unsigned shard) {
    const struct node *n = &s->w->node;
    return shard < SIM_SHARDS_MAX && n->up &&
           (s->what->slices ? n->dirty[shard] && !s->players[SUBSCRIBER].granted : n->mail[shard] != 0);
}

static void turn(struct stage *s, unsigned shard) {
    int from = -1;
    for (unsigned i = 0; i < s->plan.shards && from < 0; i++) {
        from = (s->w->node.mail[shard] >> i & 1) != 0 ? (int)i : -1;
    }
    node_turn(s->w, shard, from);
}

static bool move_conns(struct stage *s) {
    bool any = false;
    for (unsigned i = 0; i < SIM_CONNS_MAX; i++) {
        struct conn *c = &s->w->conns[i];
        if (c->used && c->broker == BROKER_END_MOVING) {
            node_moved(s->w, c);
            any = true;
        }
    }
    return any;
}

/* All that shards do by themselves. */
static void turns(struct stage *s) {
    bool any = true;
    while (any && s->w->node.up) {
        any = move_conns(s);
        for (unsigned shard = 0; shard < s->plan.shards; shard++) {
            if (node_wants_turn(s->w, shard) && !(shard == lazy_shard(s) && has_mail(s, shard))) {
                turn(s, shard);
                any = true;
            }
        }
    }
}

/* One step of a commit, or of the housework that commits and publishers wait for. */
static bool store_step(struct stage *s) {
    return (node_wants_commit(s->w) && node_commit(s->w)) || node_checkpoint(s->w, false);
}

/* What is staged now becomes durable, and what waited for it goes on. */
static void commit(struct stage *s) {
    struct store *store = s->w->node.machine.store;
    const lsn_t before = store_durable(store);
    turns(s);
    tap_clear(&s->tap);
    while (store_durable(store) == before && store_step(s)) {
    }
    while (!store_local_staged(store) && store_step(s)) {
    }
    for (unsigned shard = 0; shard < s->plan.shards; shard++) {
        node_turn(s->w, shard, -1); /* a publisher that was slowed down goes on in a turn */
    }
    turns(s);
}

static void commit_all(struct stage *s) {
    do {
        commit(s);
    } while (store_local_staged(s->w->node.machine.store));
}

/* A whole packet at the front of some bytes, or of type 0. */
static size_t first_packet(const struct pipe *pipe, bool of_client, struct mini_packet *p) {
    const size_t len = mini_length(span_of(pipe->bytes, pipe->len));
    memset(p, 0, sizeof *p);
    if (len == 0 || len == MINI_WRONG) {
        return 0;
    }
    if (of_client) {
        (void)mini_decode_client(span_of(pipe->bytes, len), true, p);
    } else {
        must(mini_decode(span_of(pipe->bytes, len), true, p) == NULL);
    }
    return len;
}

static bool readable(const struct stage *s, int conn) {
    return conn >= 0 && s->w->node.up && s->w->conns[conn].used && s->w->conns[conn].broker == BROKER_END_OPEN &&
           s->w->conns[conn].to_broker.len > 0;
}

/* The first packet on its way to the server on this connection arrives. */
static void arrive(struct stage *s, unsigned who, int conn) {
    struct conn *c = &s->w->conns[conn];
    struct mini_packet p;
    const size_t len = first_packet(&c->to_broker, true, &p);
    must(len > 0);
    const bool silent = !s->what->connects && p.type == MINI_CONNECT;
    const bool telling = s->telling;
    if (tells(s, who) && !silent) {
        struct story_event *e = tell_packet(s, who, true, &p, false);
        if (conn == s->players[who].old) {
            story_note(e, actor(s, SERVER), "on the old connection:");
        }
    }
    s->telling = telling && !silent && tells(s, who);
    node_bytes(s->w, c, len);
    turns(s);
    s->telling = telling;
}

static void arrive_all(struct stage *s, unsigned who) {
    while (readable(s, s->players[who].conn)) {
        arrive(s, who, s->players[who].conn);
    }
}

/* ---- the players ---- */

/* It waits for the end of its connection, and that has come. */
static bool sees_end(const struct stage *s, unsigned who) {
    const struct player *p = &s->players[who];
    return p->conn >= 0 && p->leaves && s->w->conns[p->conn].to_client.len == 0 &&
           s->w->conns[p->conn].broker == BROKER_END_CLOSED;
}

static bool can_read(const struct stage *s, unsigned who) {
    const int conn = s->players[who].conn;
    return (conn >= 0 && s->w->conns[conn].to_client.len > 0) || sees_end(s, who);
}

static bool player_late(const struct stage *s, unsigned who) {
    return s->what->late && who == PUBLISHER;
}

/* What a player has written arrives at once, unless it is late. */
static void written(struct stage *s, unsigned who) {
    if (!player_late(s, who)) {
        arrive_all(s, who);
    }
}

static void read_packet(struct stage *s, unsigned who) {
    struct player *player = &s->players[who];
    struct conn *c = &s->w->conns[player->conn];
    char text[80];
    struct mini_packet p;
    const size_t len = first_packet(&c->to_client, false, &p);
    must(len > 0);
    const bool silent = !s->what->connects && p.type == MINI_CONNACK;
    struct story_event *e = tells(s, who) && !silent ? tell_packet(s, who, false, &p, false) : NULL;
    const char *did = player_read(s->w, player, &p, text, sizeof text);
    if (e != NULL && did != NULL) {
        story_note(e, actor(s, who), "%s", did);
    }
    pipe_drop_front(&c->to_client, len);
    turns(s);
    written(s, who);
}

static void lose_pipe(struct stage *s, unsigned who, struct pipe *pipe, bool to_server) {
    struct mini_packet p;
    for (size_t len; (len = first_packet(pipe, to_server, &p)) > 0; pipe_drop_front(pipe, len)) {
        if (tells(s, who)) {
            (void)tell_packet(s, who, to_server, &p, true);
        }
    }
}

/* What is on its way between a player and the server is lost; the player's end is gone. */
static void lose(struct stage *s, unsigned who) {
    struct player *player = &s->players[who];
    const int conns[] = {player->conn, player->old};
    for (unsigned i = 0; i < 2; i++) {
        if (conns[i] >= 0) {
            struct conn *c = &s->w->conns[conns[i]];
            lose_pipe(s, who, &c->to_broker, true);
            lose_pipe(s, who, &c->to_client, false);
            conn_abandon(c, world_end(s->w));
        }
    }
    player->old = -1;
    player_lost(player);
}

static void tell_line(struct stage *s, unsigned who, const char *text) {
    if (tells(s, who)) {
        (void)story_add(s->story, STORY_LINE, actor(s, who), actor(s, SERVER), "%s", text);
    }
}

/* CONNECT arrives; where that is no move of its own, the disk keeps up and CONNACK is read. */
static void connect_player(struct stage *s, unsigned who, const char *line) {
    struct player *player = &s->players[who];
    player->gone = player->will;
    player_connect(s->w, player);
    listen_in(s);
    arrive(s, who, player->conn);
    if (s->what->connects) {
        return;
    }
    tell_line(s, who, line);
    const bool telling = s->telling;
    s->telling = false;
    commit_all(s);
    s->telling = telling;
    must(can_read(s, who));
    read_packet(s, who);
}

static void connect_again(struct stage *s, unsigned who) {
    if (!s->what->connects && !s->players[who].gone) {
        connect_player(s, who, s->players[who].clean ? "clean start" : "connected again");
    }
}

/* The server has closed the connection: the client knows that its goodbye was heard. */
static void see_end(struct stage *s, unsigned who) {
    struct player *player = &s->players[who];
    player->left = true;
    lose(s, who);
    tell_line(s, who, "closed by the server");
    if (tells(s, who)) {
        story_note(last_event(s), actor(s, who), "is gone, and no will is due");
    }
}

/* ---- faults ---- */

/* The connection ends for both. */
static void disconnect(struct stage *s, unsigned who) {
    struct conn *c = &s->w->conns[s->players[who].conn];
    lose(s, who);
    tell_line(s, who, "connection cut");
    if (c->used && c->broker == BROKER_END_OPEN && s->w->node.up) {
        node_sees_end(s->w, c);
        turns(s);
    }
}

static void cut(struct stage *s, unsigned who) {
    disconnect(s, who);
    connect_again(s, who);
}

static void power(struct stage *s) {
    bool was[PLAYERS];
    for (unsigned i = 0; i < PLAYERS; i++) {
        was[i] = s->players[i].conn >= 0;
        lose(s, i);
    }
    if (s->telling && s->story != NULL) {
        const unsigned server = actor(s, SERVER);
        struct story_event *e = story_add(s->story, STORY_CRASH, server, server, "power");
        tap_lost(&s->tap, e, server);
    }
    tap_clear(&s->tap);
    node_power_cut(s->w, SIM_POWER_DROP);
    must(node_start(s->w));
    listen_in(s);
    turns(s);
    for (unsigned i = PLAYERS; i-- > 0;) { /* the subscriber first: QoS 0 does not wait for it */
        if (was[i]) {
            connect_again(s, i);
        }
    }
}

/* The new connection is there while what was sent on the old one is still under way. */
static void takeover(struct stage *s, unsigned who) {
    struct player *player = &s->players[who];
    const int old = player->conn;
    lose_pipe(s, who, &s->w->conns[old].to_client, false);
    conn_abandon(&s->w->conns[old], world_end(s->w));
    player_lost(player);
    connect_player(s, who, "new connection");
    player->old = readable(s, old) ? old : -1;
}

/* ---- moves ---- */

static void add(struct move *out, unsigned *count, bool possible, enum stage_move kind, unsigned who) {
    if (possible) {
        must(*count < SEARCH_MOVES_MAX);
        out[(*count)++] = (struct move){(uint8_t)kind, (uint8_t)who};
    }
}

/* What is published before SUBACK need not arrive, unless it is retained: so it is not published. */
static bool may_publish(const struct stage *s) {
    return !s->what->subscribes || s->what->retain || s->players[SUBSCRIBER].granted;
}

static void add_player(const struct stage *s, unsigned who, struct move *out, unsigned *count) {
    const struct player *p = &s->players[who];
    const bool connected = p->conn >= 0;
    add(out, count, can_read(s, who), STAGE_READ, who);
    add(out, count, player_late(s, who) && readable(s, p->conn), STAGE_ARRIVE, who);
    add(out, count, readable(s, p->old), STAGE_LATE, who);
    add(out, count, s->cuts > 0 && connected, STAGE_CUT, who);
    add(out, count, s->cleans > 0 && connected && who == PUBLISHER, STAGE_CLEAN, who);
    add(out, count, s->takeovers > 0 && p->live && readable(s, p->conn), STAGE_TAKEOVER, who);
    add(out, count, !connected && !p->gone, STAGE_CONNECT, who);
    add(out, count, s->what->goodbye && who == PUBLISHER && p->live && !p->leaves, STAGE_GOODBYE, who);
    add(out, count, player_wants(p) && (who == SUBSCRIBER || may_publish(s)), STAGE_NEXT, who);
}

static unsigned stage_moves(void *world, struct move out[SEARCH_MOVES_MAX]) {
    const struct stage *s = world;
    unsigned count = 0;
    for (unsigned i = 0; i < PLAYERS; i++) {
        add_player(s, i, out, &count);
    }
    add(out, &count, has_mail(s, lazy_shard(s)), STAGE_TURN, 0);
    add(out, &count, s->powers > 0, STAGE_POWER, 0);
    add(out, &count, node_wants_commit(s->w), STAGE_COMMIT, 0);
    return count;
}

static void tell_commit(struct stage *s) {
    if (s->telling && s->story != NULL && s->tap.pending[0] != '\0') {
        const unsigned server = actor(s, SERVER);
        story_note(story_add(s->story, STORY_NOTE, server, server, "commit"), server, "on the disk: %s",
                   s->tap.pending);
    }
}

static void move_act(struct stage *s, struct move move) {
    struct player *p = &s->players[move.who];
    switch ((enum stage_move)move.kind) {
    case STAGE_READ:
        if (sees_end(s, move.who)) {
            see_end(s, move.who);
        } else {
            read_packet(s, move.who);
        }
        break;
    case STAGE_ARRIVE:
        arrive(s, move.who, p->conn);
        break;
    case STAGE_LATE:
        arrive(s, move.who, p->old);
        break;
    case STAGE_POWER:
        s->powers--;
        power(s);
        break;
    case STAGE_CUT:
        s->cuts--;
        cut(s, move.who);
        break;
    case STAGE_CLEAN:
        s->cleans--;
        p->clean = true;
        cut(s, move.who);
        break;
    case STAGE_TAKEOVER:
        s->takeovers--;
        takeover(s, move.who);
        break;
    case STAGE_COMMIT:
        turns(s);
        tell_commit(s);
        commit(s);
        break;
    case STAGE_TURN:
        turn(s, lazy_shard(s));
        turns(s);
        break;
    case STAGE_CONNECT:
        connect_player(s, move.who, "connected again");
        break;
    case STAGE_GOODBYE:
        player_goodbye(s->w, p);
        written(s, move.who);
        break;
    case STAGE_NEXT:
        player_next(s->w, p);
        written(s, move.who);
        break;
    }
}

static void stage_act(void *world, struct move move) {
    struct stage *s = world;
    move_act(s, move);
    for (unsigned who = 0; s->what->quick && who < PLAYERS;) {
        const bool reads = can_read(s, who);
        if (reads) {
            read_packet(s, who);
        }
        who = reads ? 0 : who + 1;
    }
}

/* ---- to the end ---- */

static struct finding look(const struct stage *s) {
    for (unsigned m = 0; m < PLAYER_MESSAGES_MAX; m++) {
        /* Who subscribes again gets what is retained again. */
        if (s->players[SUBSCRIBER].taken[m] > 1 && !s->what->retain) {
            return (struct finding){OUTCOME_DUPLICATE, m, 0};
        }
    }
    for (unsigned i = 0; i < PLAYERS; i++) {
        if (s->players[i].forgotten || s->players[i].ghost) {
            return (struct finding){OUTCOME_LOST, s->players[i].ghost ? STAGE_GHOST : STAGE_SESSION, 0};
        }
    }
    return (struct finding){OUTCOME_RIGHT, 0, 0};
}

/* One thing that goes on without a fault; false when there is none. */
static bool go_on(struct stage *s) {
    struct move moves[SEARCH_MOVES_MAX];
    static const enum stage_move order[] = {STAGE_TURN,   STAGE_CONNECT, STAGE_ARRIVE, STAGE_LATE,
                                            STAGE_COMMIT, STAGE_READ,    STAGE_NEXT}; /* nobody must say goodbye */
    const unsigned count = stage_moves(s, moves);
    for (size_t k = 0; k < sizeof order / sizeof order[0]; k++) {
        for (unsigned i = 0; i < count; i++) {
            if (moves[i].kind == order[k]) {
                stage_act(s, moves[i]);
                return true;
            }
        }
    }
    return false;
}

/* Goes on until something is wrong or nothing is left to do; false when it never ends. */
static bool go_on_all(struct stage *s) {
    for (unsigned i = 0; i < FINISH_ROUNDS_MAX; i++) {
        if (look(s).outcome != OUTCOME_RIGHT || !go_on(s)) {
            return true;
        }
    }
    return false;
}

/* The connection ends without DISCONNECT, so that the will is published, if the publisher was told that there is one.
 */
static bool end_for_will(struct stage *s) {
    struct player *publisher = &s->players[PUBLISHER];
    publisher->abandoned[s->what->messages] = !publisher->session;
    if (publisher->conn >= 0) {
        disconnect(s, PUBLISHER);
    }
    node_tick(s->w);
    return go_on_all(s);
}

/* A client that knows that its goodbye was heard is gone in order, whatever happens then. */
static struct finding goodbye(struct stage *s) {
    const unsigned will = s->what->messages;
    node_tick(s->w);
    (void)go_on_all(s);
    const bool published = s->players[SUBSCRIBER].taken[will] > 0;
    return (struct finding){published ? OUTCOME_LOST : OUTCOME_RIGHT, published ? STAGE_GOODBYE_LOST : 0, 0};
}

/* What the server still has of finished flows when it starts again. */
static struct finding restart(struct stage *s) {
    power(s);
    const unsigned left = (unsigned)node_counters(s->w).queued;
    (void)go_on_all(s);
    return (struct finding){left > 0 ? OUTCOME_LEFTOVER : OUTCOME_RIGHT, 0, left};
}

static struct finding stage_judge(void *world) {
    struct stage *s = world;
    const struct player *publisher = &s->players[PUBLISHER];
    bool ends = go_on_all(s);
    if (s->what->goodbye && publisher->leaves) {
        return publisher->left ? goodbye(s) : look(s);
    }
    ends = ends && (!s->what->will || end_for_will(s));
    const struct finding f = look(s);
    const unsigned messages = s->what->messages + (s->what->will ? 1 : 0);
    if (f.outcome != OUTCOME_RIGHT) {
        return f;
    }
    for (unsigned m = 0; m < messages && s->what->qos > 0; m++) {
        if (s->players[SUBSCRIBER].taken[m] == 0 && !publisher->abandoned[m]) {
            return (struct finding){!ends || publisher->out.count > 0 ? OUTCOME_STUCK : OUTCOME_LOST, m, 0};
        }
    }
    return s->what->restart ? restart(s) : f;
}

/* ---- making ---- */

static void make_plan(struct stage *s) {
    struct plan *p = &s->plan;
    plan_base(p);
    p->seed = 2; /* two clients on two shards */
    p->client_count = PLAYERS;
    p->shards = s->what->shards > 0 ? s->what->shards : 1;
    for (unsigned i = 0; i < PLAYERS; i++) {
        p->clients[i].pipe_bytes = SIM_PIPE_BYTES_DRAWN;
    }
    p->broker.packet_ids_max = s->what->ids;
    p->broker.receive_maximum = 4;
    p->broker.inflight_max = 4;
    p->broker.mutant = s->what->mutant;
    p->broker.turn_points = s->what->slices ? 1 : p->broker.turn_points;
}

static void go_on_silently(struct stage *s) {
    while (go_on(s)) {
    }
}

/* The publisher hands over all its messages, and is gone, while the subscriber is away. */
static void queue_messages(struct stage *s) {
    struct player *publisher = &s->players[PUBLISHER];
    struct player *subscriber = &s->players[SUBSCRIBER];
    subscriber->gone = true;
    disconnect(s, SUBSCRIBER);
    publisher->gone = false;
    publisher->messages = s->what->messages;
    go_on_silently(s);
    publisher->gone = true;
    disconnect(s, PUBLISHER);
    subscriber->gone = false;
}

/* The subscription is granted, unless it is a move; the messages are accepted, if they are queued; both are connected,
 * unless that is a move. */
static void prepare(struct stage *s) {
    const struct stage_plan *what = s->what;
    struct stage_plan calm = *what;
    struct player *publisher = &s->players[PUBLISHER];
    struct player *subscriber = &s->players[SUBSCRIBER];
    calm.connects = calm.late = calm.subscribes = false;
    s->what = &calm;
    subscriber->wants = what->subscribes ? PLAYER_NO_SUBSCRIPTION : what->qos;
    publisher->gone = true;
    go_on_silently(s);
    if (what->queued) {
        queue_messages(s);
        connect_player(s, SUBSCRIBER, "");
    }
    publisher->gone = publisher->gone && what->queued;
    publisher->retain = what->retain;
    publisher->will = what->will;
    if (!what->connects && !what->queued) {
        connect_player(s, PUBLISHER, "");
        go_on_silently(s);
    }
    if (what->prior > 0) {
        publisher->messages = what->prior;
        go_on_silently(s);
    }
    publisher->messages = what->messages;
    for (unsigned m = 0; m + 1 < what->messages && what->retain; m++) {
        publisher->abandoned[m] = true; /* the next one may replace it before its turn comes, and comes then */
    }
    subscriber->wants = what->qos;
    s->what = what;
}

static void *stage_create(const void *what, struct story *story) {
    struct stage *s = mem_zero(1, sizeof *s);
    s->what = what;
    s->story = story;
    make_plan(s);
    if (story != NULL) {
        static const char *const names[] = {"publisher", "server", "subscriber"};
        story->actor_count = s->what->queued ? 2 : 3;
        for (unsigned i = 0; i < story->actor_count; i++) {
            story->actors[i] = names[i + (s->what->queued ? 1 : 0)];
        }
    }
    choices_start(&s->choices, 1, NULL, 0, false);
    s->w = world_create(&s->plan, &s->choices, NULL);
    player_init(&s->players[PUBLISHER], PUBLISHER, "publisher", s->what->ids);
    player_init(&s->players[SUBSCRIBER], SUBSCRIBER, "subscriber", s->what->ids);
    prepare(s);
    s->powers = s->what->powers;
    s->cuts = s->what->cuts;
    s->cleans = s->what->cleans;
    s->takeovers = s->what->takeovers;
    s->telling = s->moving = true;
    tap_clear(&s->tap);
    listen_in(s);
    return s;
}

static void stage_destroy(void *world) {
    struct stage *s = world;
    for (unsigned i = 0; i < PLAYERS; i++) {
        player_deinit(&s->players[i]);
    }
    world_destroy(s->w);
    choices_deinit(&s->choices);
    mem_free(s);
}

static uint64_t stage_digest(void *world) {
    struct stage *s = world;
    const uint64_t budget[] = {s->powers, s->cuts, s->cleans, s->takeovers, s->tap.digest};
    uint64_t sum = hash_bytes(span_of(budget, sizeof budget), node_digest(s->w));
    for (unsigned i = 0; i < PLAYERS; i++) {
        const struct player *p = &s->players[i];
        const int conns[] = {p->conn, p->old};
        sum = hash64(sum, player_digest(p));
        for (unsigned k = 0; k < 2; k++) {
            if (conns[k] >= 0) {
                const struct conn *c = &s->w->conns[conns[k]];
                sum = hash_bytes(span_of(c->to_broker.bytes, c->to_broker.len), sum);
                sum = hash_bytes(span_of(c->to_client.bytes, c->to_client.len), sum);
            }
        }
    }
    return sum;
}

const struct search_world stage_world = {stage_create, stage_destroy, stage_act,
                                         stage_moves,  stage_digest,  stage_judge};
