#include <string.h>

#include "base/mem.h"
#include "bench/bench.h"

#define PACKET_IDS 65536U
#define BITS_PER_WORD 64U

void subscriber_init(struct bench *b, struct client *c) {
    const struct bench_options *o = b->options;
    struct subscriber *s = mem_zero(1, sizeof(*s));
    c->subscriber = s;
    uint64_t topics = bench_topics(o);
    bool all = o->topology == TOPOLOGY_FAN_ALL || topics == 0;
    uint64_t group = all ? 0 : c->number % topics;
    s->flow_count = (uint32_t)(all ? o->publishers : (o->publishers - group + topics - 1) / topics);
    if (s->flow_count > 0) {
        s->flows = mem_zero(s->flow_count, sizeof(*s->flows));
    }
    if (o->qos == 2 && o->sub_qos == 2) {
        s->unreleased = mem_zero(PACKET_IDS / BITS_PER_WORD, sizeof(*s->unreleased));
    }
}

void subscriber_deinit(struct subscriber *s) {
    if (s == NULL) {
        return;
    }
    for (uint32_t i = 0; i < s->flow_count; i++) {
        flow_deinit(&s->flows[i]);
    }
    mem_free(s->flows);
    mem_free(s->unreleased);
    mem_free(s);
}

/* The flow that a message belongs to; NULL when this subscriber should not have got it. */
static struct flow *flow_of(const struct bench *b, const struct client *c, uint32_t publisher) {
    const struct bench_options *o = b->options;
    if (publisher >= o->publishers) {
        return NULL;
    }
    if (o->topology == TOPOLOGY_FAN_ALL) {
        return &c->subscriber->flows[publisher];
    }
    uint32_t topics = (uint32_t)bench_topics(o);
    if (publisher % topics != c->number % topics) {
        return NULL;
    }
    return &c->subscriber->flows[publisher / topics];
}

/* A message of the closed loop arrived: its publisher may have room again. */
static void release_backlog(struct bench *b, uint32_t number) {
    struct client *c = bench_publisher(b, number);
    c->publisher->delivered++;
    if (b->options->backlog > 0 && b->publishing) {
        client_mark(b, c);
    }
}

void subscriber_deliver(struct bench *b, struct client *c, struct span payload) {
    struct stamp stamp;
    if (payload.len != b->options->payload) {
        b->counts.violations++;
        return;
    }
    memcpy(&stamp, payload.ptr, sizeof(stamp));
    struct flow *flow = flow_of(b, c, stamp.publisher);
    if (flow == NULL) {
        b->counts.violations++;
        return;
    }
    enum flow_verdict verdict = flow_take(flow, stamp.sequence);
    if (verdict == FLOW_DUPLICATE) {
        b->counts.duplicates++;
        return;
    }
    b->counts.late += verdict == FLOW_LATE ? 1 : 0;
    b->counts.delivered++;
    if (b->recording && b->now_ns > stamp.time_ns) {
        histogram_record(&b->delivery, b->now_ns - stamp.time_ns);
    }
    release_backlog(b, stamp.publisher);
}

static bool unreleased_set(struct subscriber *s, uint16_t packet_id) {
    uint64_t *word = &s->unreleased[packet_id / BITS_PER_WORD];
    uint64_t bit = 1ULL << packet_id % BITS_PER_WORD;
    bool was = (*word & bit) != 0;
    *word |= bit;
    return was;
}

static bool unreleased_clear(struct subscriber *s, uint16_t packet_id) {
    uint64_t *word = &s->unreleased[packet_id / BITS_PER_WORD];
    uint64_t bit = 1ULL << packet_id % BITS_PER_WORD;
    bool was = (*word & bit) != 0;
    *word &= ~bit;
    return was;
}

/* The receiver's half of QoS 2: the message counts at PUBLISH, the identifier is forgotten at PUBREL. */
static void publish_exactly_once(struct bench *b, struct client *c, const struct wire_publish *publish) {
    struct subscriber *s = c->subscriber;
    wire_put_ack(&c->channel.out, WIRE_PUBREC, publish->packet_id);
    if (unreleased_set(s, publish->packet_id)) {
        b->counts.violations++; /* a repeat on a live connection [MQTT-4.4.0-1] */
        return;
    }
    s->unreleased_sum++;
    b->counts.unreleased++;
    subscriber_deliver(b, c, publish->payload);
}

void subscriber_publish(struct bench *b, struct client *c, const struct wire_publish *publish) {
    struct subscriber *s = c->subscriber;
    if (publish->qos != (b->options->qos < b->options->sub_qos ? b->options->qos : b->options->sub_qos)) {
        b->counts.violations++;
    }
    if (publish->qos == 2 && s->unreleased != NULL) {
        publish_exactly_once(b, c, publish);
    } else {
        if (publish->qos == 1) {
            wire_put_ack(&c->channel.out, WIRE_PUBACK, publish->packet_id);
            s->unsent_acks++;
        }
        subscriber_deliver(b, c, publish->payload);
    }
    if (b->options->protocol == 1 && s->unsent_acks + s->unreleased_sum > b->options->receive_maximum) {
        b->counts.violations++; /* more in flight than we allowed [MQTT-3.3.4-9] */
    }
}

void subscriber_pubrel(struct bench *b, struct client *c, uint16_t packet_id) {
    struct subscriber *s = c->subscriber;
    wire_put_ack(&c->channel.out, WIRE_PUBCOMP, packet_id);
    if (s->unreleased == NULL || !unreleased_clear(s, packet_id)) {
        b->counts.violations++;
        return;
    }
    s->unreleased_sum--;
    b->counts.unreleased--;
}
