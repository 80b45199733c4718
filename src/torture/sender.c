/* A strict publisher. Its outbox is the run's list of messages, numbered from 0; what it must not forget while it is
 * connected anew is which packet id carries which message and which of them were released [MQTT-4.3.3-1..6]. */
#include "base/mem.h"
#include "torture/torture.h"

#define MAGIC 0x51740A7EU
#define HEAD_BYTES 14U
#define FILL_MAX 120U
#define AGAIN_NS (50 * NS_PER_MS)

static void list_add(struct in_flight_list *l, struct in_flight flow) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity > 0 ? l->capacity * 2 : 32;
        l->flows = mem_resize(l->flows, l->capacity * sizeof(*l->flows));
    }
    l->flows[l->count++] = flow;
}

static void list_take(struct in_flight_list *l, size_t at) {
    l->count--;
    memmove(&l->flows[at], &l->flows[at + 1], (l->count - at) * sizeof(*l->flows));
}

/* The place of a packet id; the list's count when it is not there. */
static size_t list_find(const struct in_flight_list *l, uint16_t packet_id) {
    size_t at = 0;
    while (at < l->count && l->flows[at].packet_id != packet_id) {
        at++;
    }
    return at;
}

void sender_begin(struct actor *c) {
    struct sender *p = &c->sender;
    p->sent.count = p->released.count = p->again.count = 0;
    p->next = p->completed = 0;
    p->last_id = 0;
    p->again_ns = 0;
    p->window = c->lane->window;
    p->reuse = c->lane->strike.row.family == FAMILY_REUSE || prng_chance(&c->lane->prng, 1, 2);
    p->ids = (uint16_t)(p->window + (p->reuse ? 0 : 1 + prng_below(&c->lane->prng, 4)));
}

void sender_deinit(struct actor *c) {
    mem_free(c->sender.sent.flows);
    mem_free(c->sender.released.flows);
    mem_free(c->sender.again.flows);
}

bool sender_done(const struct actor *c) {
    return c->sender.completed >= c->lane->messages;
}

/* ---- the message ---- */

static size_t fill_bytes(uint32_t message) {
    return message * 2654435761U >> 8 & (FILL_MAX - 1) & 0x3FU;
}

static void write_payload(struct buf *b, const struct lane *lane, uint32_t message) {
    buf_u32(b, MAGIC);
    buf_u32(b, (uint32_t)lane->run);
    buf_u16(b, lane->number);
    buf_u32(b, message);
    for (size_t i = 0; i < fill_bytes(message); i++) {
        buf_u8(b, (uint8_t)(message + i));
    }
}

uint32_t message_number(const struct lane *lane, const struct packet_publish *p, bool *damaged) {
    struct reader r = reader_of(p->payload);
    bool ours = reader_u32(&r) == MAGIC;
    ours = reader_u32(&r) == (uint32_t)lane->run && ours;
    ours = reader_u16(&r) == lane->number && ours;
    uint32_t message = reader_u32(&r);
    ours = ours && !r.failed && message < lane->messages && reader_left(&r) == fill_bytes(message);
    for (size_t i = 0; ours && i < fill_bytes(message); i++) {
        ours = reader_u8(&r) == (uint8_t)(message + i);
    }
    ours = ours && span_equal(p->topic, span_str(lane->topic));
    *damaged = !ours;
    return ours ? message : WIRE_NO_MESSAGE;
}

static void send_publish(struct actor *c, struct in_flight flow, bool dup) {
    const struct lane *lane = c->lane;
    struct buf *b = &lane->torture->scratch;
    struct buf payload = {0};
    write_payload(&payload, lane, flow.message);
    struct packet_publish publish = {.dup = dup,
                                     .qos = 2,
                                     .packet_id = flow.packet_id,
                                     .topic = span_str(lane->topic),
                                     .payload = buf_span(&payload)};
    b->len = 0;
    packet_encode_publish(b, lane->protocol, &publish);
    buf_deinit(&payload);
    proxy_send(
        c, buf_span(b),
        (struct wire_record){.type = PACKET_PUBLISH, .message = flow.message, .packet_id = flow.packet_id, .dup = dup});
}

/* ---- the session ---- */

static bool id_busy(const struct sender *p, uint16_t id) {
    return list_find(&p->sent, id) < p->sent.count || list_find(&p->released, id) < p->released.count;
}

/* Either the lowest free id, which is the one that was free last when the window is small, or the next one around. */
static uint16_t choose_id(struct sender *p) {
    uint16_t id = p->reuse ? 0 : p->last_id;
    do {
        id = (uint16_t)(id % p->ids + 1);
    } while (id_busy(p, id));
    p->last_id = id;
    return id;
}

void sender_fill(struct actor *c) {
    struct sender *p = &c->sender;
    const struct lane *lane = c->lane;
    if (p->again.count > 0 && lane->torture->now_ns < p->again_ns) {
        return;
    }
    while (c->state == ACTOR_UP && !c->cut && !c->dead && lane->phase >= LANE_RUN &&
           p->sent.count + p->released.count < p->window && (p->again.count > 0 || p->next < lane->messages)) {
        struct in_flight flow = {p->next, 0};
        if (p->again.count > 0) {
            flow = p->again.flows[0];
            list_take(&p->again, 0);
        } else {
            p->next++;
        }
        flow.packet_id = choose_id(p);
        list_add(&p->sent, flow);
        send_publish(c, flow, false);
    }
}

/* The broker has no session: what it had acknowledged is its own, all else is new again. */
static void session_lost(struct sender *p) {
    struct in_flight_list again = p->again;
    p->completed += (uint32_t)p->released.count;
    p->again = p->sent;
    p->sent = (struct in_flight_list){0};
    p->released.count = 0;
    for (size_t i = 0; i < again.count; i++) {
        list_add(&p->again, again.flows[i]);
    }
    mem_free(again.flows);
}

void sender_up(struct actor *c, bool session) {
    struct sender *p = &c->sender;
    if (!session) {
        session_lost(p);
    }
    for (size_t i = 0; i < p->released.count; i++) {
        actor_acknowledge(c, PACKET_PUBREL, p->released.flows[i].packet_id);
    }
    for (size_t i = 0; i < p->sent.count; i++) {
        send_publish(c, p->sent.flows[i], true);
    }
    sender_fill(c);
}

/* What is refused for the moment is published anew after a while; some reasons are for ever. */
static void refused(struct actor *c, struct in_flight flow, uint8_t reason) {
    struct sender *p = &c->sender;
    list_add(&p->again, flow);
    p->again_ns = c->lane->torture->now_ns + AGAIN_NS;
    if (reason == REASON_NOT_AUTHORIZED || reason == REASON_TOPIC_NAME_INVALID ||
        reason == REASON_PAYLOAD_FORMAT_INVALID) {
        torture_fail(c->lane->torture, "the broker does not take messages from us, it answers PUBLISH with 0x%02X",
                     reason);
    }
}

/* An acknowledgement of an id that is not in flight is a repeat. */
static void take_pubrec(struct actor *c, const struct packet_ack *ack) {
    struct sender *p = &c->sender;
    size_t at = list_find(&p->sent, ack->packet_id);
    if (at < p->sent.count) {
        struct in_flight flow = p->sent.flows[at];
        list_take(&p->sent, at);
        if (ack->reason >= 0x80) {
            refused(c, flow, ack->reason);
            return;
        }
        list_add(&p->released, flow);
    }
    if (list_find(&p->released, ack->packet_id) < p->released.count) {
        actor_acknowledge(c, PACKET_PUBREL, ack->packet_id);
    }
}

void sender_take(struct actor *c, const struct packet *packet) {
    struct sender *p = &c->sender;
    if (packet->type == PACKET_PUBREC) {
        take_pubrec(c, &packet->ack);
    } else if (packet->type == PACKET_PUBCOMP) {
        size_t at = list_find(&p->released, packet->ack.packet_id);
        if (at < p->released.count) {
            list_take(&p->released, at);
            p->completed++;
        }
    }
    sender_fill(c);
}
