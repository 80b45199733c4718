#include "broker/onward.h"

#include "base/must.h"

enum { ONWARD_BYTES_MAX = 1024 }; /* of a body */

void onward_head(const struct shard *shard, const struct message *m, struct packet_publish_head *head) {
    head->topic = message_topic(m);
    head->forwarded = message_properties(m);
    head->payload_bytes = m->payload_bytes;
    head->has_message_expiry = m->expires_at != 0;
    if (head->has_message_expiry) {
        wall_ms_t left = m->expires_at - shard->wall;
        int64_t left_s = left <= 0 ? 0 : (left + 999) / 1000;
        head->message_expiry_interval_s = left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX;
    }
}

static void onward_keep(struct onward *o, struct message *m) {
    message_unref(o->message);
    o->message = message_ref(m);
    for (unsigned i = 0; i < ONWARD_PACKETS; i++) {
        o->packets[i].len = 0;
    }
}

/* What was seen may be gone, and another at its place: that costs an encoding too much, no more. What is kept is
 * referred to, so it is the same as long as the pointer is. */
struct span onward_packet(struct shard *shard, struct message *m, enum protocol protocol, bool retain) {
    struct onward *o = &shard->onward;
    if (o->message != m) {
        if (o->seen != m || m->payload_bytes > ONWARD_BYTES_MAX) {
            o->seen = m;
            return (struct span){NULL, 0};
        }
        onward_keep(o, m);
    }
    must(protocol == PROTOCOL_311 || protocol == PROTOCOL_5);
    struct buf *packet = &o->packets[(protocol == PROTOCOL_5 ? 2 : 0) + (retain ? 1 : 0)];
    if (packet->len == 0) {
        struct packet_publish_head head = {.qos = 0, .retain = retain};
        onward_head(shard, m, &head);
        packet_encode_publish_head(packet, protocol, &head);
        buf_bytes(packet, message_payload(m));
    }
    return buf_span(packet);
}

void onward_forget(struct shard *shard) {
    struct onward *o = &shard->onward;
    o->seen = NULL;
    if (o->message != NULL) {
        message_unref(o->message);
        o->message = NULL;
        for (unsigned i = 0; i < ONWARD_PACKETS; i++) {
            buf_deinit(&o->packets[i]);
        }
    }
}
