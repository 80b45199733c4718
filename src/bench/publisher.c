#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "bench/bench.h"

/* Bytes that a QoS 0 publisher writes at once: enough that system calls do not decide, little enough to stay fair. */
#define FILL_BYTES (64U << 10)

void publisher_init(struct bench *b, struct client *c) {
    const struct bench_options *o = b->options;
    struct publisher *p = mem_zero(1, sizeof(*p));
    c->publisher = p;
    p->message = b->dialect->template(b, c->number);
    p->window = (uint32_t)o->window;
    p->quota = o->messages > 0 ? (uint32_t)bench_quota(o, c->number) : UINT32_MAX;
    p->fan = o->stage == STAGE_FILL ? 0 : (uint32_t)bench_fan(o, c->number);
    if (o->qos > 0) {
        uint32_t slots = 2;
        while (slots <= p->window) {
            slots *= 2;
        }
        p->slot_mask = slots - 1;
        p->slots = mem_zero(slots, sizeof(*p->slots));
    }
}

void publisher_deinit(struct publisher *p) {
    if (p != NULL) {
        buf_deinit(&p->message.bytes);
        mem_free(p->slots);
        mem_free(p);
    }
}

static uint64_t smaller(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Messages that may still be under way to subscribers before the backlog is full. */
static uint64_t backlog_room(const struct bench *b, const struct publisher *p) {
    if (b->options->backlog == 0 || p->fan == 0) {
        return UINT64_MAX;
    }
    uint64_t waiting = ((uint64_t)p->sequence * p->fan - p->delivered) / p->fan;
    return b->options->backlog > waiting ? b->options->backlog - waiting : 0;
}

/* How many messages the publisher may send now. */
static uint64_t allowance(const struct bench *b, const struct client *c) {
    const struct publisher *p = c->publisher;
    if (!b->publishing || c->state != CLIENT_READY) {
        return 0;
    }
    uint64_t room = smaller(p->quota - p->sequence, backlog_room(b, p));
    if (b->options->rate > 0) {
        room = smaller(room, p->due - p->sequence);
    }
    if (p->slots != NULL) {
        return smaller(room, p->window - p->in_flight);
    }
    return channel_pending(&c->channel) > 0 ? 0 : smaller(room, FILL_BYTES / p->message.bytes.len + 1);
}

bool publisher_eager(const struct bench *b, const struct client *c) {
    return c->publisher->slots == NULL && allowance(b, c) > 0;
}

static uint64_t stamp_time(const struct bench *b, const struct client *c) {
    if (b->options->rate == 0) {
        return b->now_ns;
    }
    double message = (double)c->publisher->sequence * (double)b->options->publishers + (double)c->number;
    return b->pace_start_ns + (uint64_t)(message * b->ns_per_message);
}

/* The slot of the next packet identifier, which is taken; NULL when its last message is not through yet. */
static struct slot *slot_take(struct publisher *p) {
    uint16_t next = p->packet_id == UINT16_MAX ? 1 : (uint16_t)(p->packet_id + 1);
    struct slot *slot = &p->slots[next & p->slot_mask];
    if (slot->state != SLOT_FREE) {
        return NULL;
    }
    p->packet_id = next;
    slot->packet_id = next;
    p->in_flight++;
    return slot;
}

void publisher_fill(struct bench *b, struct client *c) {
    struct publisher *p = c->publisher;
    uint64_t count = allowance(b, c);
    uint64_t sent = 0;
    if (count == 0) {
        return;
    }
    (void)buf_reserve(&c->channel.out, count * p->message.bytes.len);
    for (; sent < count; sent++) {
        struct stamp stamp = {c->number, p->sequence, stamp_time(b, c)};
        if (p->slots != NULL) {
            struct slot *slot = slot_take(p);
            if (slot == NULL) {
                break;
            }
            slot->state = b->options->qos == 1 ? SLOT_PUBACK : SLOT_PUBREC;
            slot->time_ns = stamp.time_ns;
        }
        wire_put_message(&c->channel.out, &p->message, p->packet_id, &stamp);
        p->sequence++;
    }
    b->counts.published += sent;
    b->counts.expected += sent * p->fan;
    if (p->slots != NULL) {
        b->counts.in_flight += sent;
    } else {
        b->counts.completed += sent;
    }
}

static void slot_finish(struct bench *b, struct client *c, struct slot *slot, uint8_t reason) {
    struct publisher *p = c->publisher;
    must(p->in_flight > 0);
    p->in_flight--;
    b->counts.in_flight--;
    if (reason >= 0x80) {
        p->refused++;
        p->delivered += p->fan;
        b->counts.refused++;
        b->counts.expected -= p->fan;
    } else {
        b->counts.completed++;
        if (b->recording) {
            histogram_record(&b->acknowledgement, b->now_ns - slot->time_ns);
        }
    }
    *slot = (struct slot){0};
}

void publisher_ack(struct bench *b, struct client *c, uint8_t first, uint16_t packet_id, uint8_t reason) {
    struct publisher *p = c->publisher;
    struct slot *slot = p->slots == NULL ? NULL : &p->slots[packet_id & p->slot_mask];
    if (slot == NULL || slot->packet_id != packet_id) {
        b->counts.violations++;
        return;
    }
    if (first == WIRE_PUBREC && slot->state == SLOT_PUBREC && reason < 0x80) {
        slot->state = SLOT_PUBCOMP;
        wire_put_ack(&c->channel.out, WIRE_PUBREL, packet_id);
    } else if ((first == WIRE_PUBACK && slot->state == SLOT_PUBACK) ||
               (first == WIRE_PUBREC && slot->state == SLOT_PUBREC) ||
               (first == WIRE_PUBCOMP && slot->state == SLOT_PUBCOMP)) {
        slot_finish(b, c, slot, reason);
    } else {
        b->counts.violations++;
    }
}

void publisher_pace(struct bench *b) {
    if (b->options->rate == 0 || !b->publishing || b->now_ns < b->pace_start_ns) {
        return;
    }
    uint64_t due = (uint64_t)((double)(b->now_ns - b->pace_start_ns) / b->ns_per_message) + 1;
    if (b->options->messages > 0) {
        due = smaller(due, b->options->messages);
    }
    for (; b->paced < due; b->paced++) {
        struct client *c = bench_publisher(b, b->paced % b->options->publishers);
        c->publisher->due++;
        client_mark(b, c);
    }
}
