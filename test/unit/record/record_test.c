#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/prng.h"
#include "record/record.h"

static const struct record_target targets[] = {{7, 1, false}, {1ULL << 40, 2, true}, {UINT64_MAX, 2, false}};

static const struct record_retained_item items[] = {{1, 1}, {1ULL << 40, 2}, {UINT64_MAX, 2}};

/* Every kind, with nothing set, with all set, and at the ends of the ranges. */
static const struct record cases[] = {
    {.kind = RECORD_SESSION, .session = {.client_id = {NULL, 0}}},
    {.kind = RECORD_SESSION, .session = {12, SPAN("pump"), SESSION_NEVER_EXPIRES, 1700000000123, 5}},
    {.kind = RECORD_SESSION,
     .session = {UINT64_MAX, SPAN("\xc3\xa9"), UINT32_MAX, INT64_MAX, 255, SPAN("2001:db8::1")}},
    {.kind = RECORD_SESSION_END, .end = {1}},
    {.kind = RECORD_SESSION_END, .end = {UINT64_MAX}},
    {.kind = RECORD_SUBSCRIBED, .subscribed = {3, SPAN("a/+/#"), 0xffffffff, 268435455}},
    {.kind = RECORD_UNSUBSCRIBED, .unsubscribed = {3, SPAN("$share/g/a")}},
    {.kind = RECORD_MESSAGE, .message = {.parts = {.topic = {NULL, 0}}}},
    {.kind = RECORD_MESSAGE,
     .message = {.origin = 300,
                 .packet_id = 65535,
                 .set_retained = true,
                 .clear_will = true,
                 .accepted_at = 1700000000000,
                 .parts = {2, true, 1800000000000, SPAN("a/b"), SPAN("\x01\x01"), SPAN("hello")},
                 .targets = targets,
                 .target_count = 3}},
    {.kind = RECORD_MESSAGE,
     .message = {.origin = 1,
                 .accepted_at = -1,
                 .parts = {.qos = 1, .topic = SPAN("t")},
                 .targets = targets,
                 .target_count = 1}},
    {.kind = RECORD_HELD, .flow = {9, 1}},
    {.kind = RECORD_FREED, .flow = {9, 65535}},
    {.kind = RECORD_SENT, .sent = {9, 128, 1ULL << 63, UINT32_MAX}},
    {.kind = RECORD_RECEIVED, .flow = {1, 127}},
    {.kind = RECORD_DONE, .flow = {UINT64_MAX, 2}},
    {.kind = RECORD_DROPPED, .dropped = {5, 6, 7}},
    {.kind = RECORD_WILL, .will = {5, 3600, 60, {1, true, 0, SPAN("gone"), SPAN("\x02"), SPAN("bye")}}},
    {.kind = RECORD_WILL, .will = {.session_id = 5}},
    {.kind = RECORD_WILL_CLEARED, .end = {5}},
    {.kind = RECORD_CLOCK, .clock = {1700000000000, 1700000001000}},
    {.kind = RECORD_CLOCK, .clock = {1, -1}},
    {.kind = RECORD_MESSAGE,
     .message = {.origin = UINT64_MAX,
                 .packet_id = 65535,
                 .sequence = UINT64_MAX,
                 .accepted_at = -1,
                 .parts = {.expires_at = -1, .topic = SPAN("t")}}},
    {.kind = RECORD_MESSAGE,
     .message = {.set_retained = true,
                 .accepted_at = 1,
                 .parts = {.retain = true, .topic = SPAN("t"), .payload = SPAN("v"), .owner = SPAN("192.0.2.7")}}},
    {.kind = RECORD_RETAINED, .retained = {.session_id = 0}},
    {.kind = RECORD_RETAINED, .retained = {5, 300, 0, items, {NULL, 0}, 3}},
    {.kind = RECORD_RETAINED, .retained = {UINT64_MAX, UINT64_MAX, UINT32_MAX - 1, items, {NULL, 0}, 1}},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static bool same_parts(const struct message_parts *a, const struct message_parts *b) {
    return a->qos == b->qos && a->retain == b->retain && a->expires_at == b->expires_at &&
           span_equal(a->topic, b->topic) && span_equal(a->properties, b->properties) &&
           span_equal(a->payload, b->payload) && span_equal(a->owner, b->owner);
}

static bool same_message(const struct record_message *in, const struct record_message *out) {
    struct reader r = reader_of(out->targets_raw);
    struct record_target t;
    struct message_parts again;
    for (uint32_t i = 0; i < in->target_count; i++) {
        if (!record_target_next(&r, &t) || t.session_id != in->targets[i].session_id || t.qos != in->targets[i].qos ||
            t.retain != in->targets[i].retain) {
            return false;
        }
    }
    return !record_target_next(&r, &t) && in->target_count == out->target_count && in->origin == out->origin &&
           in->packet_id == out->packet_id && in->sequence == out->sequence && in->set_retained == out->set_retained &&
           in->clear_will == out->clear_will && in->accepted_at == out->accepted_at &&
           same_parts(&in->parts, &out->parts) && record_parts_decode(out->parts_raw, &again) &&
           same_parts(&in->parts, &again);
}

static bool same_retained(const struct record_retained *in, const struct record_retained *out) {
    struct reader r = reader_of(out->items_raw);
    struct record_retained_item item;
    for (uint32_t i = 0; i < in->item_count; i++) {
        if (!record_retained_next(&r, &item) || item.message_lsn != in->items[i].message_lsn ||
            item.qos != in->items[i].qos) {
            return false;
        }
    }
    return !record_retained_next(&r, &item) && in->item_count == out->item_count && in->first == out->first &&
           in->session_id == out->session_id && in->subscribed_lsn == out->subscribed_lsn;
}

static bool same(const struct record *a, const struct record *b) {
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case RECORD_SESSION:
        return a->session.session_id == b->session.session_id &&
               span_equal(a->session.client_id, b->session.client_id) && a->session.expiry_s == b->session.expiry_s &&
               a->session.disconnected_at == b->session.disconnected_at && a->session.protocol == b->session.protocol &&
               span_equal(a->session.owner, b->session.owner);
    case RECORD_SESSION_END:
    case RECORD_WILL_CLEARED:
        return a->end.session_id == b->end.session_id;
    case RECORD_CLOCK:
        return a->clock.time == b->clock.time && a->clock.wall == b->clock.wall;
    case RECORD_SUBSCRIBED:
        return a->subscribed.session_id == b->subscribed.session_id &&
               span_equal(a->subscribed.filter, b->subscribed.filter) &&
               a->subscribed.options == b->subscribed.options && a->subscribed.identifier == b->subscribed.identifier;
    case RECORD_UNSUBSCRIBED:
        return a->unsubscribed.session_id == b->unsubscribed.session_id &&
               span_equal(a->unsubscribed.filter, b->unsubscribed.filter);
    case RECORD_MESSAGE:
        return same_message(&a->message, &b->message);
    case RECORD_HELD:
    case RECORD_FREED:
    case RECORD_RECEIVED:
    case RECORD_DONE:
        return a->flow.session_id == b->flow.session_id && a->flow.packet_id == b->flow.packet_id;
    case RECORD_SENT:
        return a->sent.session_id == b->sent.session_id && a->sent.packet_id == b->sent.packet_id &&
               a->sent.message_lsn == b->sent.message_lsn && a->sent.target == b->sent.target;
    case RECORD_DROPPED:
        return a->dropped.session_id == b->dropped.session_id && a->dropped.message_lsn == b->dropped.message_lsn &&
               a->dropped.target == b->dropped.target;
    case RECORD_WILL:
        return a->will.session_id == b->will.session_id && a->will.delay_s == b->will.delay_s &&
               a->will.expiry_s == b->will.expiry_s && same_parts(&a->will.parts, &b->will.parts);
    case RECORD_RETAINED:
        return same_retained(&a->retained, &b->retained);
    case RECORD_NONE:
        break;
    }
    return false;
}

/* The memory that the decoder sees ends where the record ends, so that a sanitizer notices a read beyond it. */
static struct span exact_copy(struct span s) {
    uint8_t *bytes = mem_alloc(s.len);
    if (s.len > 0) {
        memcpy(bytes, s.ptr, s.len);
    }
    return span_of(bytes, s.len);
}

static bool decodes(struct span s, struct record *r) {
    struct span copy = exact_copy(s);
    bool ok = record_decode(copy, r);
    mem_free((void *)(uintptr_t)copy.ptr);
    return ok;
}

static void what_is_encoded_is_decoded(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct buf out = {NULL, 0, 0};
        struct record r;
        record_encode(&out, &cases[i]);
        assert_true(out.len <= record_bytes_max(&cases[i]));
        assert_true(record_bytes_max(&cases[i]) <= out.len + 60 + 11 * 4);
        if (!record_decode(buf_span(&out), &r) || !same(&cases[i], &r)) {
            print_error("case %zu\n", i);
            fail();
        }
        buf_deinit(&out);
    }
}

static void records_of_the_handshake_are_small(void **state) {
    (void)state;
    struct buf out = {NULL, 0, 0};
    struct record r = {.kind = RECORD_RECEIVED, .flow = {100, 100}};
    record_encode(&out, &r);
    assert_int_equal(out.len, 3);
    buf_deinit(&out);
}

static void every_truncation_and_every_addition_is_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct buf out = {NULL, 0, 0};
        struct record r;
        record_encode(&out, &cases[i]);
        bool owned = cases[i].kind == RECORD_SESSION && cases[i].session.owner.len > 0;
        size_t without = owned ? out.len - 1 - cases[i].session.owner.len : out.len; /* as it was written before */
        for (size_t len = 0; len < out.len; len++) {
            assert_int_equal(decodes(span_of(out.ptr, len), &r), len == without);
        }
        buf_u8(&out, 0);
        assert_false(decodes(buf_span(&out), &r));
        buf_deinit(&out);
    }
}

/* Mutations either fail or give a record that can be encoded, printed and made into a message. */
static void mutations_do_no_harm(void **state) {
    (void)state;
    struct prng p = prng_of(1);
    uint64_t accepted = 0;
    for (int round = 0; round < 20000; round++) {
        struct buf out = {NULL, 0, 0};
        struct buf again = {NULL, 0, 0};
        record_encode(&out, &cases[prng_below(&p, CASES)]);
        for (uint64_t n = 1 + prng_below(&p, 3); n > 0; n--) {
            out.ptr[prng_below(&p, out.len)] = (uint8_t)(prng_chance(&p, 1, 2) ? prng_next(&p) : 0xff);
        }
        struct span copy = exact_copy(buf_span(&out));
        struct record r;
        if (record_decode(copy, &r)) {
            accepted++;
            record_print(&again, 1, &r);
            assert_true(again.len > 0);
            if (r.kind == RECORD_RETAINED) {
                struct reader walk = reader_of(r.retained.items_raw);
                struct record_retained_item item;
                uint32_t count = 0;
                while (record_retained_next(&walk, &item)) {
                    assert_true(item.qos == 1 || item.qos == 2);
                    count++;
                }
                assert_int_equal(count, r.retained.item_count);
            } else if (r.kind == RECORD_MESSAGE) {
                struct reader walk = reader_of(r.message.targets_raw);
                struct record_target t;
                uint32_t count = 0;
                while (record_target_next(&walk, &t)) {
                    assert_true(t.qos == 1 || t.qos == 2);
                    count++;
                }
                assert_int_equal(count, r.message.target_count);
                message_unref(message_create(&r.message.parts));
            } else {
                again.len = 0;
                record_encode(&again, &r);
                struct record twice;
                assert_true(record_decode(buf_span(&again), &twice));
                assert_true(same(&r, &twice));
            }
        }
        mem_free((void *)(uintptr_t)copy.ptr);
        buf_deinit(&out);
        buf_deinit(&again);
    }
    assert_true(accepted > 1000);
}

static void random_bytes_do_no_harm(void **state) {
    (void)state;
    struct prng p = prng_of(2);
    for (int round = 0; round < 50000; round++) {
        uint8_t bytes[48];
        size_t len = (size_t)prng_below(&p, sizeof bytes + 1);
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)(prng_chance(&p, 1, 3) ? prng_below(&p, 16) : prng_next(&p));
        }
        struct record r;
        (void)decodes(span_of(bytes, len), &r);
        struct message_parts parts;
        (void)record_parts_decode(span_of(bytes, len), &parts);
    }
}

static void what_no_encoder_writes_is_refused(void **state) {
    (void)state;
    static const struct span bad[] = {
        {NULL, 0},
        SPAN("\x00"),                                         /* no kind */
        SPAN("\x0f\x01"),                                     /* an unknown kind */
        SPAN("\x0e\x01\x01\x00\x01\x01\x00"),                 /* a retained message at QoS 0 */
        SPAN("\x0e\x01\x01\x00\x01\x01\x06"),                 /* an unknown flag of one */
        SPAN("\x0e\x01\x01\x00\x02\x01\x01"),                 /* retained messages that are not there */
        SPAN("\x0e\x01\x01\xff\xff\xff\xff\x0f\x01\x01\x01"), /* an index beyond 2^32 */
        SPAN("\x07\x01\x80\x80\x04"),                         /* packet id 65,536 */
        SPAN("\x08\x01\x01\x01\x80\x80\x80\x80\x10"),         /* target 2^32 */
        SPAN("\x05\x10\x00\x00\x00\x00\x00"),                 /* an unknown flag of MESSAGE */
        SPAN("\x05\x00\x00\x03\x00\x00\x00"),                 /* QoS 3 */
        SPAN("\x05\x00\x00\x40\x00\x00\x00"),                 /* an unknown flag of the parts */
        SPAN("\x05\x00\x00\x20\x00\x00\x00\x00"),             /* an owner without a name */
        SPAN("\x05\x00\x00\x20\x00\x00\x80\x02\x00"),         /* one that is too long */
        SPAN("\x05\x00\x00\x00\x00\x00\x01\x01\x00"),         /* a target of QoS 0 */
        SPAN("\x05\x00\x00\x00\x00\x00\x01\x01\x09"),         /* an unknown flag of a target */
        SPAN("\x05\x00\x00\x00\x00\x00\xff\xff\xff\xff\x0f"), /* targets that are not there */
        SPAN("\x02\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), /* a number beyond 64 bits */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct record r;
        if (decodes(bad[i], &r)) {
            print_error("case %zu\n", i);
            fail();
        }
    }
}

static void printed(const struct record *r, const char *expected) {
    struct buf out = {NULL, 0, 0};
    record_print(&out, 42, r);
    buf_u8(&out, 0);
    assert_string_equal((char *)out.ptr, expected);
    buf_deinit(&out);
}

static void records_are_printed_for_a_person(void **state) {
    (void)state;
    printed(&cases[1],
            "42 SESSION session=12 client_id=\"pump\" expiry=never disconnected_at=1700000000123 protocol=5");
    printed(&cases[3], "42 SESSION_END session=1");
    printed(&cases[5], "42 SUBSCRIBED session=3 filter=\"a/+/#\" options=0xffffffff identifier=268435455");
    printed(&cases[8], "42 MESSAGE origin=300 packet_id=65535 set_retained clear_will accepted_at=1700000000000 "
                       "topic=\"a/b\" qos=2 retain payload=5 properties=2 expires_at=1800000000000 targets=3 7:qos1 "
                       "1099511627776:qos2:retain 18446744073709551615:qos2");
    printed(&cases[12], "42 SENT session=9 packet_id=128 message=9223372036854775808 target=4294967295");
    printed(&cases[16], "42 WILL session=5 delay=3600s expiry=60s topic=\"gone\" qos=1 retain payload=3 properties=1");
    printed(&cases[CASES - 4],
            "42 MESSAGE set_retained accepted_at=1 topic=\"t\" qos=0 retain payload=1 owner=\"192.0.2.7\" targets=0");
    printed(&cases[CASES - 2], "42 RETAINED session=5 subscribed=300 first=0 messages=3 1:qos1 1099511627776:qos2 "
                               "18446744073709551615:qos2");
}

/* Neither a terminal nor a line-by-line reader can be led astray; other scripts stay readable. */
static void printed_text_is_escaped(void **state) {
    (void)state;
    struct record r = {.kind = RECORD_UNSUBSCRIBED,
                       .unsubscribed = {1, SPAN("a\nb\x1b[2J\"\\\x7f \xc2\x9b \xc3\xa9 \xe2\x82\xac \x9b")}};
    printed(&r, "42 UNSUBSCRIBED session=1 filter=\"a\\x0ab\\x1b[2J\\x22\\x5c\\x7f \\xc2\\x9b \xc3\xa9 \xe2\x82\xac "
                "\\x9b\"");
    uint8_t text[300];
    memset(text, 'x', sizeof text);
    r.unsubscribed.filter = span_of(text, sizeof text);
    struct buf out = {NULL, 0, 0};
    record_print(&out, 1, &r);
    assert_true(out.len < 340);
    buf_deinit(&out);
}

static void kinds_have_names(void **state) {
    (void)state;
    assert_string_equal(record_kind_name(RECORD_MESSAGE), "MESSAGE");
    assert_string_equal(record_kind_name(RECORD_WILL_CLEARED), "WILL_CLEARED");
    assert_string_equal(record_kind_name(RECORD_NONE), "NONE");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(records_of_the_handshake_are_small),
        cmocka_unit_test(every_truncation_and_every_addition_is_refused),
        cmocka_unit_test(mutations_do_no_harm),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(what_no_encoder_writes_is_refused),
        cmocka_unit_test(records_are_printed_for_a_person),
        cmocka_unit_test(printed_text_is_escaped),
        cmocka_unit_test(kinds_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
