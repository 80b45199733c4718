/* The proxy: every packet passes here, is recorded, and may be struck.
 *
 * A strike never acts at once: it marks the connection, which is cut at the end of the turn, so that nobody's packets
 * vanish under their reader's hands. From the mark on nothing passes. */
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "torture/torture.h"

/* The packet type of a break point. */
static uint8_t type_of(int point) {
    static const uint8_t types[] = {PACKET_NONE, PACKET_PUBLISH, PACKET_PUBREC, PACKET_PUBREL, PACKET_PUBCOMP};
    return types[point];
}

static bool struck(const struct actor *c, const struct wire_record *r) {
    const struct lane *lane = c->lane;
    const struct strike *s = &lane->strike;
    return s->left > 0 && lane->phase == LANE_RUN && s->row.point != 0 && r->type == type_of(s->row.point) &&
           c->who == s->who && r->message == s->message;
}

static void note_strike(struct actor *c) {
    struct strike *s = &c->lane->strike;
    s->left--;
    s->struck = s->struck || s->left == 0;
}

/* Nothing passes any more, and when a packet of this type gets lost the connection ends. */
static void mute(struct actor *c, uint8_t awaited, uint16_t packet_id) {
    c->muted = true;
    c->awaited = awaited;
    c->awaited_id = packet_id;
    c->muted_ns = c->lane->torture->now_ns;
}

/* The packet that answers a packet of a flow; nothing answers PUBCOMP but the answer to a PINGREQ behind it. */
static uint8_t answer_to(uint8_t type) {
    return type == PACKET_PUBLISH ? PACKET_PUBREC : type == PACKET_PUBCOMP ? PACKET_PINGRESP : (uint8_t)(type + 1);
}

static void lose(struct actor *c, struct wire_record *r) {
    r->fate = WIRE_LOST;
    lane_record(c->lane, *r);
    if (c->muted && r->type == c->awaited && (r->packet_id == c->awaited_id || r->type == PACKET_PINGRESP)) {
        c->cut = true;
    }
}

static void pass(struct actor *c, struct span bytes, const struct wire_record *r) {
    buf_bytes(&c->out, bytes);
    lane_record(c->lane, *r);
}

static void schedule_death(struct actor *c) {
    struct torture *t = c->lane->torture;
    t->kill_ns = t->now_ns + c->lane->strike.delay_ns;
    t->kill_kind = c->lane->strike.row.kind;
}

/* Who sends a PUBLISH again sets DUP [MQTT-3.3.1-1]. */
static void pass_often(struct actor *c, struct span bytes, struct wire_record *r, int times) {
    pass(c, bytes, r);
    for (int i = 1; i < times; i++) {
        size_t at = c->out.len;
        r->fate = WIRE_REPEATED;
        r->dup = r->type == PACKET_PUBLISH;
        pass(c, bytes, r);
        c->out.ptr[at] |= r->dup ? 8 : 0;
    }
}

static void strike_sent(struct actor *c, struct span bytes, struct wire_record *r) {
    const struct strike *s = &c->lane->strike;
    note_strike(c);
    switch (s->row.loss) {
    case LOSS_BEFORE:
        r->fate = WIRE_LOST;
        c->cut = true;
        lane_record(c->lane, *r);
        break;
    case LOSS_TORN:
        r->fate = WIRE_TORN;
        c->cut = true;
        pass(c, span_of(bytes.ptr, 1 + s->tear % (bytes.len - 1)), r);
        break;
    case LOSS_LATE:
        r->fate = WIRE_LATE;
        c->cut = true;
        buf_bytes(&c->late, bytes);
        lane_record(c->lane, *r);
        break;
    case LOSS_AFTER:
        pass(c, bytes, r);
        if (r->type == PACKET_PUBCOMP) {
            packet_encode_pingreq(&c->out);
        }
        mute(c, answer_to(r->type), r->packet_id);
        break;
    case LOSS_REPEATED:
        pass_often(c, bytes, r, s->row.times);
        break;
    case LOSS_NONE:
        pass(c, bytes, r);
        schedule_death(c);
        break;
    }
}

void proxy_send(struct actor *c, struct span bytes, struct wire_record r) {
    r.way = WIRE_TO_BROKER;
    r.who = c->who;
    r.connection = c->connection;
    if (r.type == PACKET_PUBLISH) {
        c->message_of[r.packet_id] = r.message;
    } else {
        r.message = r.packet_id != 0 ? c->message_of[r.packet_id] : WIRE_NO_MESSAGE;
    }
    if (c->muted || c->cut || c->dead) {
        lose(c, &r);
    } else if (struck(c, &r)) {
        strike_sent(c, bytes, &r);
    } else {
        pass(c, bytes, &r);
    }
}

static void arrive(struct actor *c, const struct packet *packet, const struct wire_record *r) {
    lane_record(c->lane, *r);
    actor_take(c, packet);
}

static void strike_received(struct actor *c, const struct packet *packet, struct wire_record *r) {
    const struct strike *s = &c->lane->strike;
    note_strike(c);
    switch (s->row.loss) {
    case LOSS_BEFORE:
    case LOSS_TORN:
    case LOSS_LATE:
        r->fate = s->row.loss == LOSS_TORN ? WIRE_TORN : WIRE_LOST;
        c->cut = true;
        lane_record(c->lane, *r);
        break;
    case LOSS_AFTER:
        mute(c, answer_to(r->type), r->packet_id);
        c->cut = r->type == PACKET_PUBCOMP;
        arrive(c, packet, r);
        break;
    case LOSS_REPEATED:
        for (int i = 0; i < s->row.times && !c->cut; i++) {
            r->fate = i == 0 ? WIRE_PASSED : WIRE_REPEATED;
            arrive(c, packet, r);
        }
        break;
    case LOSS_NONE:
        schedule_death(c);
        arrive(c, packet, r);
        break;
    }
}

void proxy_receive(struct actor *c, const struct packet_frame *frame, const struct packet *packet,
                   struct wire_record r) {
    r.way = WIRE_TO_CLIENT;
    r.who = c->who;
    r.connection = c->connection;
    r.type = (uint8_t)frame->type;
    if (r.statement != NULL) {
        lane_record(c->lane, r);
        c->cut = true;
        if (c->lane->phase < LANE_RUN) {
            torture_fail(c->lane->torture, "what listens there does not speak MQTT %s: %s [%s]",
                         c->lane->protocol == PROTOCOL_5 ? "5.0" : "3.1.1", r.text, r.statement);
        }
        return;
    }
    if (r.type == PACKET_PUBLISH) {
        c->message_of[r.packet_id] = r.message;
    } else {
        r.message = r.packet_id != 0 ? c->message_of[r.packet_id] : WIRE_NO_MESSAGE;
    }
    if (c->muted || c->cut) {
        lose(c, &r);
    } else if (struck(c, &r)) {
        strike_received(c, packet, &r);
    } else {
        arrive(c, packet, &r);
    }
}

void proxy_cut(struct actor *c) {
    static const enum wire_event events[] = {EVENT_RST, EVENT_FIN, EVENT_SILENCE};
    struct torture *t = c->lane->torture;
    const struct strike *s = &c->lane->strike;
    if (s->struck && fault_is_kill(&s->row) && s->who == c->who && !t->killed) {
        /* Muted until then. A broker whose disk has died already dies when it is time. */
        t->kill_ns = t->unpowered ? t->kill_ns : t->now_ns;
        t->kill_kind = s->row.kind;
        return;
    }
    t->cuts++;
    actor_close(c, s->struck && s->row.kind <= KIND_SILENCE ? events[s->row.kind] : EVENT_RST);
    actor_drop(c, s->away_ns);
}
