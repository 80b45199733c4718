/* Packet by packet: what a real client writes is shown when it leaves the engine and is read by the broker at once;
 * what the broker has written is shown when the engine reads it. So a packet that waits for nothing is always faster
 * than a disk, and a barrier that is left out is seen. */
#include "sim/scenario_inside.h"

#include <stdlib.h>

#include "base/must.h"
#include "sim/scenario_packet.h"
#include "sim/scenario_words.h"

struct conn *scenario_conn(const struct scenario *s, const struct scenario_client *c) {
    return c->conn < 0 ? NULL : &s->world->conns[c->conn];
}

void scenario_wire_open(struct scenario *s, struct scenario_client *c) {
    struct world *w = s->world;
    c->dirty = true;
    if (!s->no_broker && !w->node.up) {
        client_closed(c->client, QUARTET_NETWORK, "refused");
        return;
    }
    struct conn *conn = world_connect(w, (int)(c - s->clients));
    c->conn = (int)(conn - w->conns);
    c->out_len = 0;
    if (!s->no_broker) {
        node_accept(w, conn, 0);
    }
    client_opened(c->client);
}

void scenario_wire_cut(struct scenario *s, struct scenario_client *c, bool seen) {
    struct world *w = s->world;
    struct conn *conn = scenario_conn(s, c);
    c->conn = -1;
    c->out_len = 0;
    if (conn == NULL || !conn->used) {
        return;
    }
    conn_abandon(conn, world_end(w));
    if (seen && conn->used && conn->broker == BROKER_END_OPEN && w->node.up) {
        node_sees_end(w, conn);
    }
    if (c->client != NULL) {
        client_closed(c->client, QUARTET_NETWORK, "cut");
        c->dirty = true;
    }
}

static void tell(struct scenario *s, const struct scenario_client *c, bool out, const struct mini_packet *k,
                 enum break_how how) {
    if (!out && s->no_broker) {
        return; /* the text has just said so */
    }
    FILE *to = scenario_see(s);
    (void)fprintf(to, "%s %c ", c->name, out ? '>' : '<');
    mini_print(to, k);
    (void)fputs(how == BREAK_LOST ? " lost" : how == BREAK_TORN ? " torn" : "", to);
}

/* ---- breaks ---- */

static enum break_how break_at(const struct scenario *s, const struct scenario_client *c, bool out,
                               const struct mini_packet *k) {
    const struct scenario_break *at = &s->at;
    const bool here = at->how != 0 && &s->clients[at->client] == c && at->out == out && at->type == k->type &&
                      (at->id == 0 || at->id == k->id);
    return here ? at->how : 0;
}

/* The packet has gone as far as it goes. First what happens besides, then both ends see that the connection is gone,
 * if they are still there. */
static void break_now(struct scenario *s, struct scenario_client *c) {
    char *then = s->at.then;
    char events[SCENARIO_LINE_BYTES];
    struct conn *conn = scenario_conn(s, c);
    memcpy(events, then, sizeof events);
    memset(&s->at, 0, sizeof s->at);
    conn->to_client.len = c->out_len = 0;
    char *rest = NULL;
    for (char *event = strtok_r(events, ",", &rest); event != NULL; event = strtok_r(NULL, ",", &rest)) {
        event += strspn(event, " ");
        if (!scenario_event(s, event)) {
            scenario_wrong(s, "this event is not understood", event, NULL);
        }
    }
    scenario_wire_cut(s, c, true);
}

static bool how_of(struct scenario_words *w, enum break_how *how) {
    *how = word_is(w, "lost")      ? BREAK_LOST
           : word_is(w, "torn")    ? BREAK_TORN
           : word_is(w, "arrived") ? BREAK_ARRIVED
                                   : 0;
    return *how != 0;
}

static bool client_of(const struct scenario *s, struct scenario_words *w, unsigned *out) {
    for (unsigned i = 0; i < s->client_count; i++) {
        if (s->clients[i].real && word_is(w, s->clients[i].name)) {
            *out = i;
            return true;
        }
    }
    return false;
}

static uint8_t type_of(struct scenario_words *w) {
    for (unsigned type = MINI_CONNECT; type <= MINI_DISCONNECT; type++) {
        if (word_is(w, mini_name(type))) {
            return (uint8_t)type;
        }
    }
    return 0;
}

bool scenario_break_set(struct scenario *s, const char *text) {
    struct scenario_words w;
    struct scenario_break at = {0};
    char where[SCENARIO_LINE_BYTES];
    uint32_t id = 0;
    const size_t len = strcspn(text, ":");
    memcpy(where, text, len);
    where[len] = '\0';
    (void)snprintf(at.then, sizeof at.then, "%s", text[len] == ':' ? text + len + 1 : "");
    if (s->at.how != 0 || !words_split(&w, where) || !client_of(s, &w, &at.client)) {
        return false;
    }
    at.out = word_is(&w, ">");
    if (!at.out && !word_is(&w, "<")) {
        return false;
    }
    at.type = type_of(&w);
    at.id = word_number(&w, &id) ? (uint16_t)id : 0;
    if (at.type == 0 || !how_of(&w, &at.how) || !words_end(&w)) {
        return false;
    }
    s->at = at;
    return true;
}

/* ---- packets ---- */

static size_t part_of(enum break_how how, size_t bytes) {
    return how == BREAK_LOST ? 0 : how == BREAK_TORN ? bytes / 2 : bytes;
}

static void to_broker(struct scenario *s, struct conn *conn, struct span bytes) {
    if (bytes.len > 0 && conn->broker == BROKER_END_OPEN && s->world->node.up) {
        pipe_write(&conn->to_broker, bytes);
        node_bytes(s->world, conn, bytes.len);
    }
}

/* Between two shards a connection cannot be read. */
static bool packet_out(struct scenario *s, struct scenario_client *c) {
    uint8_t packet[MINI_PACKET_BYTES];
    struct mini_packet k;
    struct conn *conn = scenario_conn(s, c);
    const size_t bytes = conn != NULL ? mini_length(span_of(c->out, c->out_len)) : 0;
    if (bytes == 0 || conn->broker == BROKER_END_MOVING) {
        return false;
    }
    if (bytes == MINI_WRONG || !mini_decode_client(span_of(c->out, bytes), c->five, &k)) {
        scenario_wrong(s, "a real client writes what is no packet", NULL, NULL);
        c->out_len = 0;
        return false;
    }
    memcpy(packet, c->out, bytes);
    c->out_len -= bytes;
    memmove(c->out, c->out + bytes, c->out_len);
    (void)mini_decode_client(span_of(packet, bytes), c->five, &k);
    const enum break_how how = break_at(s, c, true, &k);
    tell(s, c, true, &k, how);
    to_broker(s, conn, span_of(packet, part_of(how, bytes)));
    if (how != 0) {
        break_now(s, c);
    }
    return true;
}

static bool sees_end(struct scenario *s, struct scenario_client *c, const struct conn *conn) {
    if (!conn->to_client.fin) {
        return false;
    }
    if (s->world->node.up) {
        (void)fprintf(scenario_see(s), "%s < closed", c->name);
    }
    scenario_wire_cut(s, c, true);
    return true;
}

static bool packet_in(struct scenario *s, struct scenario_client *c) {
    uint8_t packet[MINI_PACKET_BYTES];
    struct mini_packet k;
    struct conn *conn = scenario_conn(s, c);
    if (conn == NULL || c->client == NULL) {
        return false;
    }
    const size_t bytes = mini_length(span_of(conn->to_client.bytes, conn->to_client.len));
    if (bytes == 0) {
        return sees_end(s, c, conn);
    }
    must(bytes != MINI_WRONG);
    memcpy(packet, conn->to_client.bytes, bytes);
    pipe_drop_front(&conn->to_client, bytes);
    const char *bad = mini_decode(span_of(packet, bytes), c->five, &k);
    if (bad != NULL) {
        scenario_wrong(s, bad, NULL, NULL);
        return false;
    }
    const enum break_how how = break_at(s, c, false, &k);
    tell(s, c, false, &k, how);
    client_received(c->client, span_of(packet, part_of(how, bytes)));
    c->dirty = true;
    if (how != 0) {
        break_now(s, c);
    }
    return true;
}

/* Takes what may leave the engine. */
static bool fill(struct scenario_client *c) {
    struct iovec iov[8];
    const size_t before = c->out_len;
    const int count = client_output(c->client, iov, 8);
    for (int i = 0; i < count; i++) {
        const size_t room = sizeof c->out - c->out_len;
        const size_t part = iov[i].iov_len < room ? iov[i].iov_len : room;
        memcpy(c->out + c->out_len, iov[i].iov_base, part);
        c->out_len += part;
    }
    client_sent(c->client, c->out_len - before);
    return c->out_len > before;
}

bool scenario_wire_turn(struct scenario *s, struct scenario_client *c) {
    bool any = false;
    while (c->client != NULL && c->conn >= 0 && fill(c)) {
        while (packet_out(s, c)) {
            any = true;
        }
    }
    while (packet_out(s, c)) {
        any = true;
    }
    return packet_in(s, c) || any;
}

bool scenario_wire_script(struct scenario *s, struct scenario_client *c, const char *text) {
    uint8_t bytes[MINI_PACKET_BYTES];
    struct conn *conn = scenario_conn(s, c);
    const size_t count = s->no_broker && c->real && conn != NULL ? scenario_answer(c->five, text, bytes) : 0;
    if (count == 0) {
        return false;
    }
    pipe_write(&conn->to_client, span_of(bytes, count));
    return true;
}
