/* A strict subscriber. It answers every PUBLISH with PUBREC and every PUBREL with PUBCOMP, whether it knows them or not
 * [MQTT-4.3.3-8, -11]; what it took as new is for the judge to say. Its own counts only tell when a run is complete. */
#include "base/mem.h"
#include "torture/torture.h"

#define SUBSCRIBE_ID 65535

static bool bit(const uint8_t *bits, uint32_t n) {
    return (bits[n / 8] >> n % 8 & 1) != 0;
}

/* Sets or clears; true when that changed it. */
static bool bit_set(uint8_t *bits, uint32_t n, bool on) {
    bool changed = bit(bits, n) != on;
    bits[n / 8] = (uint8_t)(bits[n / 8] ^ (changed ? 1U << n % 8 : 0U));
    return changed;
}

void receiver_begin(struct actor *c) {
    struct receiver *s = &c->receiver;
    receiver_deinit(c);
    s->got = mem_zero(c->lane->messages / 8 + 1, 1);
    s->open = mem_zero(65536 / 8, 1);
    s->count = s->opened = 0;
    s->subscribed = false;
}

void receiver_deinit(struct actor *c) {
    mem_free(c->receiver.got);
    mem_free(c->receiver.open);
    c->receiver.got = c->receiver.open = NULL;
}

bool receiver_done(const struct actor *c) {
    return c->receiver.count >= c->lane->messages && c->receiver.opened == 0;
}

void receiver_up(struct actor *c, bool session) {
    struct receiver *s = &c->receiver;
    const struct lane *lane = c->lane;
    struct buf *b = &lane->torture->scratch;
    if (!session && s->subscribed) {
        s->subscribed = false;
        memset(s->open, 0, 65536 / 8);
        s->opened = 0;
    }
    if (!s->subscribed) {
        const struct properties none = {0};
        const struct packet_filter filter = {.filter = span_str(lane->topic), .qos = 2};
        b->len = 0;
        packet_encode_subscribe(b, lane->protocol, SUBSCRIBE_ID, &none, &filter, 1);
        proxy_send(c, buf_span(b), (struct wire_record){.type = PACKET_SUBSCRIBE, .packet_id = SUBSCRIBE_ID});
    }
}

static void take_publish(struct actor *c, const struct packet_publish *p) {
    struct receiver *s = &c->receiver;
    bool damaged = false;
    uint32_t message = message_number(c->lane, p, &damaged);
    if (!damaged) {
        s->count += bit_set(s->got, message, true);
    }
    if (p->qos == 2) {
        s->opened += bit_set(s->open, p->packet_id, true);
        actor_acknowledge(c, PACKET_PUBREC, p->packet_id);
    } else if (p->qos == 1) {
        actor_acknowledge(c, PACKET_PUBACK, p->packet_id);
    }
}

void receiver_take(struct actor *c, const struct packet *packet) {
    struct receiver *s = &c->receiver;
    if (packet->type == PACKET_PUBLISH) {
        take_publish(c, &packet->publish);
    } else if (packet->type == PACKET_PUBREL) {
        s->opened -= bit_set(s->open, packet->ack.packet_id, false);
        actor_acknowledge(c, PACKET_PUBCOMP, packet->ack.packet_id);
    } else if (packet->type == PACKET_SUBACK) {
        s->subscribed = packet->suback.reasons.len == 1 && packet->suback.reasons.ptr[0] == 2;
        if (!s->subscribed) {
            torture_fail(c->lane->torture, "the broker does not grant QoS 2, it answers SUBSCRIBE with 0x%02X",
                         packet->suback.reasons.len > 0 ? packet->suback.reasons.ptr[0] : 0U);
        }
    }
}
