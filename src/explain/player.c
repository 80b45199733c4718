#include "explain/player.h"

#include <stdio.h>
#include <string.h>

#include "base/map.h"
#include "base/must.h"
#include "explain/digest.h"

void player_init(struct player *p, int index, const char *name, packet_id_t ids) {
    memset(p, 0, sizeof *p);
    p->index = index;
    p->name = name;
    p->conn = p->old = -1;
    p->wants = PLAYER_NO_SUBSCRIPTION;
    p->ids = ids;
    qos_out_init(&p->out, 1, ids, MUTANT_NONE);
}

void player_deinit(struct player *p) {
    qos_out_deinit(&p->out);
    qos_in_deinit(&p->in);
}

static void write_packet(struct world *w, const struct player *p, struct mini_packet packet) {
    uint8_t bytes[MINI_PACKET_BYTES];
    struct conn *c = &w->conns[p->conn];
    packet.five = true;
    const size_t len = mini_encode(&packet, bytes);
    if (!c->cut) {
        pipe_write(&c->to_broker, span_of(bytes, len));
    }
}

static void write_ack(struct world *w, const struct player *p, enum mini_type type, packet_id_t id) {
    write_packet(w, p, (struct mini_packet){.type = (uint8_t)type, .id = id});
}

static void write_publish(struct world *w, const struct player *p, const struct flight *f) {
    const char letter = (char)('A' + f->target);
    write_packet(w, p,
                 (struct mini_packet){.type = MINI_PUBLISH,
                                      .qos = 2,
                                      .id = f->packet_id,
                                      .dup = f->sent_before,
                                      .retain = p->retain,
                                      .topic = SPAN(PLAYER_TOPIC),
                                      .payload = span_of(&letter, 1)});
}

/* ---- connection ---- */

/* A clean start ends the session: what was under way is given up. */
static void start_clean(struct player *p) {
    for (struct link *l = p->out.published.next; l != &p->out.published; l = l->next) {
        p->abandoned[container_of(l, struct flight, link)->target] = true;
    }
    qos_out_deinit(&p->out);
    qos_in_deinit(&p->in);
    p->session = false;
    p->asked = p->granted = false;
}

void player_connect(struct world *w, struct player *p) {
    struct conn *c = world_connect(w, p->index);
    const char letter = (char)('A' + p->messages);
    const struct mini_packet packet = {.type = MINI_CONNECT,
                                       .clean = p->clean,
                                       .client = span_str(p->name),
                                       .session_expiry = p->clean ? 0 : UINT32_MAX,
                                       .has_will = p->will,
                                       .will_qos = 2,
                                       .will_topic = SPAN(PLAYER_TOPIC),
                                       .will_payload = span_of(&letter, 1)};
    if (p->clean) {
        start_clean(p);
    }
    p->conn = (int)(c - w->conns);
    p->live = false;
    node_accept(w, c, 0);
    write_packet(w, p, packet);
}

void player_lost(struct player *p) {
    p->conn = -1;
    p->live = false;
    p->asked = p->granted;
}

static const char *on_connack(struct world *w, struct player *p, const struct mini_packet *packet) {
    p->live = true;
    p->forgotten = p->forgotten || (p->session && !packet->session_present);
    if (!packet->session_present) {
        p->asked = p->granted = false;
        qos_in_deinit(&p->in);
    }
    p->ghost = p->ghost || (p->ended && packet->session_present);
    p->session = !p->clean;
    p->ended = p->clean;
    p->clean = false;
    qos_out_connected(&p->out, p->ids);
    for (struct link *l = p->out.released.next; l != &p->out.released; l = l->next) {
        write_ack(w, p, MINI_PUBREL, container_of(l, struct flight, link)->packet_id);
    }
    for (const struct flight *f; (f = qos_out_resend_next(&p->out)) != NULL;) {
        write_publish(w, p, f);
    }
    return p->forgotten ? "IS NOT KNOWN ANY MORE" : p->ghost ? "HAS A SESSION THAT IT HAD ENDED" : NULL;
}

/* ---- flows ---- */

bool player_wants(const struct player *p) {
    return p->live &&
           ((p->wants != PLAYER_NO_SUBSCRIPTION && !p->asked) || (p->next < p->messages && qos_out_ready(&p->out)));
}

void player_next(struct world *w, struct player *p) {
    if (p->wants != PLAYER_NO_SUBSCRIPTION && !p->asked) {
        p->asked = true;
        write_packet(
            w, p,
            (struct mini_packet){.type = MINI_SUBSCRIBE, .id = p->ids, .qos = p->wants, .topic = SPAN(PLAYER_TOPIC)});
        return;
    }
    const char letter = (char)('A' + p->next);
    struct message *m =
        message_create(&(struct message_parts){.qos = 2, .topic = SPAN(PLAYER_TOPIC), .payload = span_of(&letter, 1)});
    write_publish(w, p, qos_out_begin(&p->out, &(struct flight_parts){.message = m, .target = p->next, .qos = 2}));
    p->next++;
}

void player_goodbye(struct world *w, struct player *p) {
    p->leaves = true;
    write_packet(w, p, (struct mini_packet){.type = MINI_DISCONNECT});
}

static const char *on_publish(struct world *w, struct player *p, const struct mini_packet *packet, char *text,
                              size_t bytes) {
    must(packet->payload.len == 1);
    const unsigned message = packet->payload.ptr[0] - (unsigned)'A';
    must(message < PLAYER_MESSAGES_MAX);
    if (packet->qos == 2) {
        write_ack(w, p, MINI_PUBREC, packet->id);
    }
    if (packet->qos == 2 && !qos_in_hold(&p->in, packet->id)) {
        (void)snprintf(text, bytes, "has %u: a repeat", packet->id);
        return text;
    }
    const bool again = p->taken[message]++ > 0;
    (void)snprintf(text, bytes, again ? "gets %c FOR THE SECOND TIME" : "gets %c", 'A' + message);
    return text;
}

static const char *on_pubrec(struct world *w, struct player *p, packet_id_t id, char *text, size_t bytes) {
    struct flight *f = NULL;
    const enum qos_out_answer answer = qos_out_pubrec(&p->out, id, 0, &f);
    write_ack(w, p, MINI_PUBREL, id);
    if (answer != QOS_OUT_RELEASED) {
        return NULL;
    }
    (void)snprintf(text, bytes, "deletes %c", 'A' + f->target);
    return text;
}

const char *player_read(struct world *w, struct player *p, const struct mini_packet *packet, char *text, size_t bytes) {
    struct flight *f = NULL;
    switch (packet->type) {
    case MINI_CONNACK:
        return on_connack(w, p, packet);
    case MINI_SUBACK:
        p->granted = true;
        return "is subscribed, as far as it knows";
    case MINI_PUBLISH:
        return on_publish(w, p, packet, text, bytes);
    case MINI_PUBREC:
        return on_pubrec(w, p, packet->id, text, bytes);
    case MINI_PUBREL:
        (void)snprintf(text, bytes, qos_in_free(&p->in, packet->id) ? "deletes %u" : "has no %u", packet->id);
        write_ack(w, p, MINI_PUBCOMP, packet->id);
        return text;
    case MINI_PUBCOMP:
        if (qos_out_pubcomp(&p->out, packet->id, &f) == QOS_OUT_DONE) {
            qos_out_end(&p->out, f);
            (void)snprintf(text, bytes, "%u may be used again", packet->id);
            return text;
        }
        return NULL;
    default:
        return NULL;
    }
}

uint64_t player_digest(const struct player *p) {
    struct buf b = {NULL, 0, 0};
    const uint8_t flags[] = {p->conn >= 0, p->old >= 0, p->live,  p->session, p->clean,         p->forgotten, p->gone,
                             p->ended,     p->ghost,    p->asked, p->granted, (uint8_t)p->next, p->leaves,    p->left};
    buf_bytes(&b, span_of(flags, sizeof flags));
    buf_bytes(&b, span_of(p->abandoned, sizeof p->abandoned));
    buf_bytes(&b, span_of(p->taken, sizeof p->taken));
    digest_flights(&b, &p->out.published);
    digest_flights(&b, &p->out.released);
    buf_u16(&b, p->out.last_id);
    digest_held(&b, &p->in);
    const uint64_t digest = hash_bytes(buf_span(&b), 2);
    buf_deinit(&b);
    return digest;
}
