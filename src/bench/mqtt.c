#include <inttypes.h>
#include <stdio.h>

#include "bench/bench.h"

/* A durable session of a run that was killed goes away by itself after this time, where the protocol allows it. */
#define SESSION_EXPIRY_S 3600U
#define SUBSCRIBE_PACKET_ID 1

static uint8_t protocol_level(const struct bench *b) {
    return b->options->protocol == 1 ? WIRE_PROTOCOL_5 : WIRE_PROTOCOL_311;
}

static void mqtt_hello(struct bench *b, struct client *c) {
    static const char letters[] = {'?', 's', 'p', 'i'};
    char client_id[96];
    (void)snprintf(client_id, sizeof(client_id), "qb-%s-%c%" PRIu32, b->run, letters[c->role], c->number);
    bool durable = b->options->durable && c->role != CLIENT_IDLE && c->aim != AIM_WIPE;
    struct wire_connect connect = {
        .protocol = protocol_level(b),
        .clean_start = !durable,
        .session_expiry_s = durable ? SESSION_EXPIRY_S : 0,
        .receive_maximum = (uint16_t)b->options->receive_maximum,
        .client_id = client_id,
    };
    wire_put_connect(&c->channel.out, &connect);
}

static void mqtt_goodbye(struct client *c) {
    wire_put_disconnect(&c->channel.out);
}

static struct wire_template mqtt_template(const struct bench *b, uint32_t publisher) {
    char topic[96];
    (void)snprintf(topic, sizeof(topic), "qb/%s/%" PRIu64, b->run, publisher % bench_topics(b->options));
    return wire_template_of(protocol_level(b), topic, (uint8_t)b->options->qos, b->options->payload);
}

static void mqtt_subscribe(struct bench *b, struct client *c) {
    char filter[96];
    uint64_t topics = bench_topics(b->options);
    if (b->options->topology == TOPOLOGY_FAN_ALL || topics == 0) {
        (void)snprintf(filter, sizeof(filter), "qb/%s/#", b->run);
    } else {
        (void)snprintf(filter, sizeof(filter), "qb/%s/%" PRIu64, b->run, c->number % topics);
    }
    wire_put_subscribe(&c->channel.out, protocol_level(b), SUBSCRIBE_PACKET_ID, filter, (uint8_t)b->options->sub_qos);
    client_become(b, c, CLIENT_SUBSCRIBING);
}

/* Keeps to what the broker allows. */
static void obey_limits(struct bench *b, struct client *c, const struct wire_connack *connack) {
    char name[48];
    if (c->publisher == NULL) {
        return;
    }
    if (connack->receive_maximum < c->publisher->window) {
        c->publisher->window = connack->receive_maximum;
    }
    if (connack->maximum_qos < b->options->qos || connack->packet_bytes_max < c->publisher->message.bytes.len) {
        bench_fail(b, "%s: the broker does not accept messages of this QoS or size",
                   client_name(c, name, sizeof(name)));
    }
}

static void take_connack(struct bench *b, struct client *c, struct span body) {
    char name[48];
    struct wire_connack connack;
    (void)client_name(c, name, sizeof(name));
    if (c->state != CLIENT_OPENING || !wire_get_connack(body, protocol_level(b), &connack)) {
        bench_fail(b, "%s: a malformed or unexpected CONNACK", name);
        return;
    }
    if (connack.reason != 0) {
        bench_fail(b, "%s: the broker refused the connection with reason 0x%02X", name, connack.reason);
        return;
    }
    if (connack.session_present != (c->aim == AIM_RESUME)) {
        bench_fail(b, "%s: Session Present is %d, which is wrong here", name, connack.session_present);
        return;
    }
    obey_limits(b, c, &connack);
    if (c->aim == AIM_WIPE) {
        client_leave(b, c);
    } else if (c->role == CLIENT_SUBSCRIBER && c->aim == AIM_FRESH) {
        mqtt_subscribe(b, c);
    } else {
        client_become(b, c, CLIENT_READY);
    }
}

static void take_suback(struct bench *b, struct client *c, struct span body) {
    char name[48];
    uint16_t packet_id = 0;
    uint8_t reason = 0;
    if (c->state != CLIENT_SUBSCRIBING || !wire_get_suback(body, protocol_level(b), &packet_id, &reason) ||
        packet_id != SUBSCRIBE_PACKET_ID) {
        b->counts.violations++;
    } else if (reason != b->options->sub_qos) {
        bench_fail(b, "%s: SUBACK says 0x%02X", client_name(c, name, sizeof(name)), reason);
    } else {
        client_become(b, c, CLIENT_READY);
    }
}

static void take_publish(struct bench *b, struct client *c, const struct wire_packet *packet) {
    struct wire_publish publish;
    if (c->subscriber == NULL || c->state == CLIENT_OPENING || !wire_get_publish(packet, protocol_level(b), &publish)) {
        b->counts.violations++;
        return;
    }
    subscriber_publish(b, c, &publish);
}

static void take_acknowledgement(struct bench *b, struct client *c, const struct wire_packet *packet) {
    uint16_t packet_id = 0;
    uint8_t reason = 0;
    bool good = wire_get_ack(packet->body, &packet_id, &reason);
    if (good && packet->first == WIRE_PUBREL && c->subscriber != NULL) {
        subscriber_pubrel(b, c, packet_id);
    } else if (good && packet->first != WIRE_PUBREL && c->publisher != NULL) {
        publisher_ack(b, c, packet->first, packet_id, reason);
    } else {
        b->counts.violations++;
    }
}

static void take_disconnect(struct bench *b, struct client *c, struct span body) {
    char name[48];
    bench_fail(b, "%s: the broker sent DISCONNECT with reason 0x%02X", client_name(c, name, sizeof(name)),
               body.len > 0 ? body.ptr[0] : 0);
}

static void take_packet(struct bench *b, struct client *c, const struct wire_packet *packet) {
    if ((packet->first & 0xF0U) == WIRE_PUBLISH) {
        take_publish(b, c, packet);
        return;
    }
    switch (packet->first) {
    case WIRE_PUBACK:
    case WIRE_PUBREC:
    case WIRE_PUBREL:
    case WIRE_PUBCOMP:
        take_acknowledgement(b, c, packet);
        break;
    case WIRE_CONNACK:
        take_connack(b, c, packet->body);
        break;
    case WIRE_SUBACK:
        take_suback(b, c, packet->body);
        break;
    case WIRE_DISCONNECT:
        take_disconnect(b, c, packet->body);
        break;
    default:
        b->counts.violations++;
        break;
    }
}

static void mqtt_take(struct bench *b, struct client *c, struct span *in) {
    char name[48];
    struct wire_packet packet;
    enum wire_status status = WIRE_WHOLE;
    while (!b->failed && (status = wire_next(*in, &packet)) == WIRE_WHOLE) {
        *in = span_skip(*in, packet.bytes);
        take_packet(b, c, &packet);
    }
    if (status == WIRE_BAD) {
        bench_fail(b, "%s: the broker sent a malformed packet", client_name(c, name, sizeof(name)));
    }
}

const struct dialect dialect_mqtt = {
    .hello = mqtt_hello,
    .goodbye = mqtt_goodbye,
    .take = mqtt_take,
    .template = mqtt_template,
};
