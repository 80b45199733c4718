/* Bytes of the broker: whole packets, checked, and who takes them. */
#include "client/state.h"

static void input_answer(struct client *c, const struct packet *p) {
    switch (p->type) {
    case PACKET_CONNACK:
        connect_answer(c, &p->connack);
        return;
    case PACKET_PUBLISH:
        receive_publish(c, &p->publish);
        return;
    case PACKET_PUBREL:
        receive_pubrel(c, &p->ack);
        return;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBCOMP:
        send_ack(c, p->type, &p->ack);
        return;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        subscribe_answer(c, p->type, &p->suback);
        return;
    case PACKET_PINGRESP:
        connect_seen(c, 0);
        return;
    case PACKET_DISCONNECT:
        c->taken_over = p->disconnect.reason == REASON_SESSION_TAKEN_OVER;
        client_end(c, QUARTET_REFUSED, p->disconnect.reason, -1, "the broker disconnects: %s",
                   reason_text(p->disconnect.reason));
        return;
    case PACKET_AUTH:
        client_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-4.12.0-6",
                                          "AUTH, but no authentication method was asked for"});
        return;
    case PACKET_NONE:
    case PACKET_CONNECT:
    case PACKET_SUBSCRIBE:
    case PACKET_UNSUBSCRIBE:
    case PACKET_PINGREQ:
        break;
    }
    client_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-4.13.1-1", "a packet that no server sends"});
}

static bool input_open(const struct client *c) {
    return c->phase == PHASE_OPENED || c->phase == PHASE_LIVE;
}

/* Takes the packet at the beginning of `in`; returns its bytes, 0 when it is not whole or the connection ends. `*lacks`
 * is how many bytes more are needed at least. */
static size_t input_packet(struct client *c, struct span in, size_t *lacks) {
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict;
    enum protocol expected = c->phase == PHASE_OPENED ? PROTOCOL_NONE : c->protocol;
    switch (packet_frame(in, PACKET_FROM_SERVER, expected, &c->limits, &frame, &verdict)) {
    case PACKET_PARTIAL:
        *lacks = frame.bytes > in.len ? frame.bytes - in.len : 1;
        return 0;
    case PACKET_BAD:
        client_wrong(c, &verdict);
        return 0;
    case PACKET_WHOLE:
        break;
    }
    enum protocol spoken = connect_answer_is_311(c, &frame) ? PROTOCOL_311 : c->protocol;
    packet.type = frame.type;
    if (!packet_decode(&frame, spoken, &c->limits, &packet, &verdict)) {
        client_wrong(c, &verdict);
        return 0;
    }
    if (c->options.trace) {
        event_packet(c, false, &packet, frame.bytes);
    }
    input_answer(c, &packet);
    return frame.bytes;
}

/* Completes the packet that was begun, so that only its bytes are copied. Returns what is left of `bytes`. */
static struct span input_complete(struct client *c, struct span bytes) {
    size_t lacks = 0;
    while (c->in.len > 0 && input_open(c)) {
        size_t used = input_packet(c, buf_span(&c->in), &lacks);
        if (used > 0 || !input_open(c)) {
            buf_deinit(&c->in);
            break;
        }
        if (bytes.len == 0) {
            break;
        }
        size_t take = lacks < bytes.len ? lacks : bytes.len;
        buf_bytes(&c->in, span_of(bytes.ptr, take));
        bytes = span_skip(bytes, take);
    }
    return bytes;
}

void client_received(struct client *c, struct span bytes) {
    if (!input_open(c) || bytes.len == 0) {
        return;
    }
    c->received_at = c->now;
    c->pinging = false;
    bytes = input_complete(c, bytes);
    while (input_open(c) && bytes.len > 0 && c->in.len == 0) {
        size_t lacks;
        size_t used = input_packet(c, bytes, &lacks);
        if (used == 0) {
            break;
        }
        bytes = span_skip(bytes, used);
    }
    if (!input_open(c)) {
        buf_deinit(&c->in);
        return;
    }
    buf_bytes(&c->in, bytes);
    if (c->out.bytes.len - c->out.taken > OUTBOX_ANSWERS_BYTES_MAX) {
        client_end(c, QUARTET_NETWORK, 0, -1, "the broker does not read what it makes us answer");
        return;
    }
    receive_settle(c);
    send_pump(c);
}
