/* All packets that break a rule: each is refused with the reason and the statement of its row, as soon as the bytes
 * that show it are there, and without a byte being changed or kept. */
#include "packet_support.h"

struct bad_packet {
    const char *name;
    enum packet_sender sender;
    enum protocol protocol;
    enum test_when when;
    const char *bytes;
    uint8_t reason;
    const char *statement;
};

#define MALFORMED(name_, sender_, protocol_, when_, bytes_, reason_, statement_)                                       \
    {name_, PACKET_FROM_##sender_, PROTOCOL_##protocol_, when_, bytes_, reason_, statement_},
static const struct bad_packet bad_packets[] = {
#include "data/malformed.inc"
};
#define BAD_PACKETS (sizeof(bad_packets) / sizeof(bad_packets[0]))

/* What became of a packet. */
struct outcome {
    bool refused;
    bool decoded;   /* it came as far as packet_decode() */
    uint8_t answer; /* of a CONNECT: the protocol of the answer */
    struct verdict verdict;
};

static struct outcome judge(const struct bad_packet *row, struct span bytes) {
    struct packet_limits limits = test_limits();
    struct outcome o = {.answer = PROTOCOL_NONE};
    struct packet_frame frame;
    struct packet packet;
    enum protocol protocol = test_frame_protocol(row->when, row->protocol);
    enum packet_status status = packet_frame(bytes, row->sender, protocol, &limits, &frame, &o.verdict);
    if (status == PACKET_BAD) {
        o.refused = true;
    } else if (status == PACKET_WHOLE) {
        o.decoded = true;
        o.refused = !packet_decode(&frame, row->protocol, &limits, &packet, &o.verdict);
        o.answer = packet.type == PACKET_CONNECT ? packet.connect.protocol : PROTOCOL_NONE;
    }
    return o;
}

static void each_is_refused_with_its_reason(void **state) {
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < BAD_PACKETS; i++) {
        const struct bad_packet *row = &bad_packets[i];
        struct span bytes = test_bytes(row->name, row->bytes);
        struct outcome o = judge(row, bytes);
        if (!o.refused) {
            print_error("%s: accepted\n", row->name);
            wrong++;
        } else if (o.verdict.reason != row->reason || strcmp(o.verdict.statement, row->statement) != 0) {
            print_error("%s: 0x%02x %s (%s), should be 0x%02x %s\n", row->name, o.verdict.reason, o.verdict.statement,
                        o.verdict.text, row->reason, row->statement);
            wrong++;
        } else if (row->sender == PACKET_FROM_CLIENT && row->when == FIRST && o.answer != row->protocol) {
            print_error("%s: answered as %u\n", row->name, o.answer);
            wrong++;
        }
        test_release(bytes);
    }
    assert_int_equal(wrong, 0);
}

/* A fault of the first byte or of the size is seen before the body is there, so that nothing is kept for it. */
static void a_bad_header_is_refused_without_its_body(void **state) {
    (void)state;
    for (size_t i = 0; i < BAD_PACKETS; i++) {
        const struct bad_packet *row = &bad_packets[i];
        struct span bytes = test_bytes(row->name, row->bytes);
        struct outcome whole = judge(row, bytes);
        size_t header = bytes.len < 5 ? bytes.len : 5;
        if (!whole.decoded) {
            struct outcome o = judge(row, span_of(bytes.ptr, header));
            assert_true(o.refused);
            assert_string_equal(o.verdict.statement, row->statement);
        }
        test_release(bytes);
    }
}

/* Names are how a failure is found again. */
static void names_are_unique(void **state) {
    (void)state;
    for (size_t i = 0; i < BAD_PACKETS; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(bad_packets[i].name, bad_packets[k].name);
        }
    }
}

/* Where reasons are for a CONNACK or a DISCONNECT, the standard lets a server send them there. */
static void reasons_can_be_sent(void **state) {
    (void)state;
    for (size_t i = 0; i < BAD_PACKETS; i++) {
        const struct bad_packet *row = &bad_packets[i];
        bool connecting = row->when == FIRST && row->sender == PACKET_FROM_CLIENT;
        enum packet_type answer = connecting ? PACKET_CONNACK : PACKET_DISCONNECT;
        enum packet_sender sender = row->sender == PACKET_FROM_CLIENT ? PACKET_FROM_SERVER : PACKET_FROM_CLIENT;
        bool can = packet_reason_allowed(answer, sender, row->reason);
        if (!can) {
            print_error("%s: 0x%02x cannot be sent\n", row->name, row->reason);
        }
        assert_true(can);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_refused_with_its_reason),
        cmocka_unit_test(a_bad_header_is_refused_without_its_body),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(reasons_can_be_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
