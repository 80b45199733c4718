/* Packets into the outbox of the connection, each behind the record that it rests on. */
#include "client/state.h"

struct buf *output_begin(struct client *c, lsn_t after) {
    if (after > store_durable(c->store)) {
        outbox_gate(&c->out, after);
    }
    return outbox_buf(&c->out);
}

static void output_trace(struct client *c, size_t from) {
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict;
    struct packet_limits any = {.packet_bytes_max = UINT32_MAX,
                                .topic_bytes_max = UINT16_MAX,
                                .topic_levels_max = UINT16_MAX,
                                .user_properties_max = UINT16_MAX,
                                .subscriptions_max = UINT16_MAX};
    struct span bytes = span_skip(buf_span(&c->out.bytes), from);
    enum protocol protocol = c->phase == PHASE_OPENED ? PROTOCOL_NONE : c->protocol;
    if (packet_frame(bytes, PACKET_FROM_CLIENT, protocol, &any, &frame, &verdict) == PACKET_WHOLE) {
        packet.type = frame.type;
        if (packet_decode(&frame, c->protocol, &any, &packet, &verdict)) {
            event_packet(c, true, &packet, frame.bytes);
        }
    }
}

void output_end(struct client *c) {
    size_t from = c->out.counted;
    outbox_appended(&c->out);
    c->sent_at = c->now;
    if (c->options.trace) {
        output_trace(c, from);
    }
}

void output_ack(struct client *c, enum packet_type type, packet_id_t packet_id, uint8_t reason, lsn_t after) {
    struct packet_ack ack;
    ack.packet_id = packet_id;
    ack.reason = reason;
    ack.properties.present = 0;
    ack.properties.user_property_count = 0;
    packet_encode_ack(output_begin(c, after), c->protocol, type, &ack);
    output_end(c);
}

static struct packet_publish_head publish_head(const struct client *c, const struct message *m,
                                               const struct publish_fields *fields) {
    struct packet_publish_head head = {.dup = fields->dup,
                                       .qos = fields->qos,
                                       .retain = fields->retain,
                                       .packet_id = fields->packet_id,
                                       .topic = message_topic(m),
                                       .forwarded = message_properties(m),
                                       .payload_bytes = m->payload_bytes,
                                       .has_message_expiry = m->expires_at != 0};
    if (head.has_message_expiry) {
        wall_ms_t left = m->expires_at - c->time;
        int64_t left_s = left <= 0 ? 0 : (left + 999) / 1000;
        head.message_expiry_interval_s = left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX;
    }
    return head;
}

static void publish_trace(struct client *c, const struct packet_publish_head *head, const struct message *m) {
    struct packet packet = {.type = PACKET_PUBLISH,
                            .publish = {.dup = head->dup,
                                        .qos = head->qos,
                                        .retain = head->retain,
                                        .packet_id = head->packet_id,
                                        .topic = head->topic,
                                        .payload = message_payload(m)}};
    event_packet(c, true, &packet, packet_publish_size(c->protocol, head));
}

void output_publish(struct client *c, const struct message *m, const struct publish_fields *fields, lsn_t after) {
    struct packet_publish_head head = publish_head(c, m, fields);
    packet_encode_publish_head(output_begin(c, after), c->protocol, &head);
    outbox_appended(&c->out);
    outbox_body(&c->out, (struct message *)(uintptr_t)m);
    c->sent_at = c->now;
    if (c->options.trace) {
        publish_trace(c, &head, m);
    }
}

uint8_t output_refuses(const struct client *c, const struct message *m, uint8_t qos, bool retain) {
    if (qos > c->allowed.maximum_qos) {
        return REASON_QOS_NOT_SUPPORTED;
    }
    if (retain && !c->allowed.retain) {
        return REASON_RETAIN_NOT_SUPPORTED;
    }
    if (c->allowed.packet_bytes_max != UINT32_MAX) {
        struct publish_fields fields = {.packet_id = qos > 0 ? 1 : 0, .qos = qos, .retain = retain};
        struct packet_publish_head head = publish_head(c, m, &fields);
        if (packet_publish_size(c->protocol, &head) > c->allowed.packet_bytes_max) {
            return REASON_PACKET_TOO_LARGE;
        }
    }
    return 0;
}
