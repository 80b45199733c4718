/* Feeds the codec with whatever comes, as a broker and as a client see it.
 *
 * The first byte chooses the side and the protocol, the rest is the stream. What is refused must name a reason and a
 * statement; what is accepted must survive being encoded and decoded again, and must be seen the same way in whatever
 * portions it arrives. */
#include "base/must.h"
#include "fuzz.h"
#include "packet/codec.h"

/* Small enough that the fuzzer reaches the limits. */
static const struct packet_limits fuzz_limits = {.packet_bytes_max = 4096,
                                                 .topic_bytes_max = 64,
                                                 .topic_levels_max = 8,
                                                 .user_properties_max = 4,
                                                 .subscriptions_max = 8};
/* What we write ourselves may be longer than what we accept: lengths take their shortest form, never a longer one. */
static const struct packet_limits wide_limits = {.packet_bytes_max = REMAINING_LENGTH_MAX,
                                                 .topic_bytes_max = 64,
                                                 .topic_levels_max = 8,
                                                 .user_properties_max = 4,
                                                 .subscriptions_max = 8};

/* One end of a connection that reads. */
struct fuzz_reader {
    enum packet_sender sender; /* of what is read */
    enum protocol protocol;    /* what packet_frame() is told */
    enum protocol spoken;      /* what packet_decode() is told */
};

static void check_verdict(const struct verdict *verdict) {
    must(verdict->reason >= 0x80 && verdict->statement != NULL && verdict->text != NULL);
    must(strncmp(verdict->statement, "MQTT-", 5) == 0);
}

/* ---- encoding what was decoded ---- */

static void encode_subscribe(struct buf *out, enum protocol protocol, const struct packet *p) {
    struct packet_filter filters[8];
    bool subscribe = p->type == PACKET_SUBSCRIBE;
    struct reader r = reader_of(p->subscribe.filters);
    size_t count = 0;
    while (count < sizeof(filters) / sizeof(filters[0]) &&
           packet_filter_next(&r, protocol, subscribe, &filters[count])) {
        must(filters[count].qos <= 2 && filters[count].filter.len > 0);
        count++;
    }
    must(count == p->subscribe.count);
    (subscribe ? packet_encode_subscribe : packet_encode_unsubscribe)(out, protocol, p->subscribe.packet_id,
                                                                      &p->subscribe.properties, filters, count);
}

static void encode(struct buf *out, enum protocol protocol, const struct packet *p) {
    switch (p->type) {
    case PACKET_CONNECT:
        packet_encode_connect(out, &p->connect);
        break;
    case PACKET_CONNACK:
        packet_encode_connack(out, protocol, &p->connack);
        break;
    case PACKET_PUBLISH:
        packet_encode_publish(out, protocol, &p->publish);
        break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP:
        packet_encode_ack(out, protocol, p->type, &p->ack);
        break;
    case PACKET_SUBSCRIBE:
    case PACKET_UNSUBSCRIBE:
        encode_subscribe(out, protocol, p);
        break;
    case PACKET_SUBACK:
        packet_encode_suback(out, protocol, &p->suback);
        break;
    case PACKET_UNSUBACK:
        packet_encode_unsuback(out, protocol, &p->suback);
        break;
    case PACKET_PINGREQ:
        packet_encode_pingreq(out);
        break;
    case PACKET_PINGRESP:
        packet_encode_pingresp(out);
        break;
    case PACKET_DISCONNECT:
        packet_encode_disconnect(out, protocol, &p->disconnect);
        break;
    case PACKET_AUTH:
        packet_encode_auth(out, &p->disconnect);
        break;
    case PACKET_NONE:
        must(false);
    }
}

/* The line for a person shows every field in an order of its own, so that equal packets give equal lines. */
static void check_round_trip(const struct fuzz_reader *reader, const struct packet *p) {
    struct buf bytes = {NULL, 0, 0}, first = {NULL, 0, 0}, second = {NULL, 0, 0};
    struct packet_frame frame;
    struct packet again;
    struct verdict verdict;
    encode(&bytes, reader->spoken, p);
    must(packet_frame(buf_span(&bytes), reader->sender, reader->protocol, &wide_limits, &frame, &verdict) ==
         PACKET_WHOLE);
    must(frame.bytes == bytes.len);
    must(packet_decode(&frame, reader->spoken, &wide_limits, &again, &verdict));
    packet_print(&first, reader->spoken, p);
    packet_print(&second, reader->spoken, &again);
    must(span_equal(buf_span(&first), buf_span(&second)));
    if (p->type == PACKET_PUBLISH) {
        struct buf forwarded = {NULL, 0, 0};
        packet_properties_forward(&forwarded, &p->publish.properties);
        must(forwarded.len <= p->publish.properties.raw.len);
        buf_deinit(&forwarded);
    }
    buf_deinit(&second);
    buf_deinit(&first);
    buf_deinit(&bytes);
}

/* Until all of it is there a packet is never whole, and never refused for another reason than when it is. */
static void check_portions(const struct fuzz_reader *reader, struct span in, const struct packet_frame *whole) {
    for (size_t cut = 0; cut < whole->bytes; cut += cut < 8 ? 1 : 1 + whole->bytes / 8) {
        struct packet_frame frame;
        struct verdict verdict;
        must(packet_frame(span_of(in.ptr, cut), reader->sender, reader->protocol, &fuzz_limits, &frame, &verdict) ==
             PACKET_PARTIAL);
        must(frame.bytes == 0 || frame.bytes == whole->bytes);
    }
}

/* Reads one packet; returns its bytes, 0 when the connection would wait or end. */
static size_t read_packet(struct fuzz_reader *reader, struct span in) {
    struct packet_frame frame;
    struct packet packet;
    struct verdict verdict = {0, NULL, NULL};
    enum packet_status status = packet_frame(in, reader->sender, reader->protocol, &fuzz_limits, &frame, &verdict);
    if (status == PACKET_PARTIAL) {
        return 0;
    }
    if (status == PACKET_BAD) {
        check_verdict(&verdict);
        return 0;
    }
    check_portions(reader, in, &frame);
    if (!packet_decode(&frame, reader->spoken, &fuzz_limits, &packet, &verdict)) {
        check_verdict(&verdict);
        return 0;
    }
    if (packet.type == PACKET_CONNECT) {
        reader->spoken = (enum protocol)packet.connect.protocol;
    }
    check_round_trip(reader, &packet);
    if (packet.type == PACKET_CONNECT || packet.type == PACKET_CONNACK) {
        reader->protocol = reader->spoken;
    }
    return frame.bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    struct fuzz_reader reader = {
        .sender = (data[0] & 1U) != 0 ? PACKET_FROM_SERVER : PACKET_FROM_CLIENT,
        .spoken = (data[0] & 2U) != 0 ? PROTOCOL_5 : PROTOCOL_311,
    };
    reader.protocol = (data[0] & 4U) != 0 ? reader.spoken : PROTOCOL_NONE;
    struct span in = span_of(data + 1, size - 1);
    for (size_t used = 1; used > 0;) {
        used = read_packet(&reader, in);
        in = span_skip(in, used);
    }
    return 0;
}
