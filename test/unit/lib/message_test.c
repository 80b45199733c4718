/* Messages as an application gets them: flat properties out of the encoded block, one allocation, counted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/lib.h"
#include "packet/property.h"

static void string_property(struct buf *b, uint8_t id, struct span value) {
    buf_u8(b, id);
    buf_prefixed(b, value);
}

/* A delivery of a message with this block of properties. */
static struct client_delivery delivery_of(struct span properties) {
    struct message_parts parts = {
        .qos = 2, .topic = SPAN("some/topic"), .properties = properties, .payload = SPAN("payload")};
    return (struct client_delivery){.message = message_create(&parts), .sequence = 7, .packet_id = 3, .qos = 1};
}

static struct quartet_message *received(struct span properties) {
    struct quartet q = {.epoch = "0123456789abcde"};
    struct client_delivery d = delivery_of(properties);
    return lib_message(&q, &d);
}

static void a_bare_message_ends_with_nul(void **state) {
    (void)state;
    struct quartet_message *m = received(SPAN(""));
    assert_string_equal(m->topic, "some/topic");
    assert_int_equal(m->topic_bytes, 10);
    assert_string_equal(m->payload, "payload");
    assert_int_equal(m->payload_bytes, 7);
    assert_int_equal(m->qos, 1);
    assert_int_equal(m->packet_id, 3);
    assert_int_equal(m->position.sequence, 7);
    assert_memory_equal(m->position.epoch, "0123456789abcde", 16);
    assert_null(m->properties.user);
    assert_null(m->properties.content_type);
    quartet_message_free(m);
}

static void properties_are_flat(void **state) {
    (void)state;
    struct buf b = {0};
    buf_u8(&b, 0x01);
    buf_u8(&b, 1);
    string_property(&b, 0x03, SPAN("text/plain"));
    string_property(&b, 0x08, SPAN("answers"));
    string_property(&b, 0x09, SPAN("a\0b"));
    packet_user_property_add(&b, SPAN("k"), SPAN("v1"));
    packet_user_property_add(&b, SPAN("k"), SPAN(""));
    struct quartet_message *m = received(buf_span(&b));
    buf_deinit(&b);
    const struct quartet_properties *p = &m->properties;
    assert_true(p->payload_is_text);
    assert_string_equal(p->content_type, "text/plain");
    assert_string_equal(p->response_topic, "answers");
    assert_int_equal(p->correlation_bytes, 3);
    assert_memory_equal(p->correlation_data, "a\0b", 4);
    assert_int_equal(p->user_count, 2);
    assert_string_equal(p->user[0].name, "k");
    assert_string_equal(p->user[0].value, "v1");
    assert_string_equal(p->user[1].value, "");
    quartet_message_free(m);
}

static void subscription_identifiers_are_listed(void **state) {
    (void)state;
    struct quartet q = {.drive = DRIVE_NONE};
    struct buf b = {0};
    packet_subscription_identifier_add(&b, 5);
    packet_subscription_identifier_add(&b, 268435455);
    struct client_delivery d = delivery_of(SPAN(""));
    d.subscription_identifiers = buf_span(&b);
    struct quartet_message *m = lib_message(&q, &d);
    buf_deinit(&b);
    assert_int_equal(m->properties.subscription_identifier_count, 2);
    assert_int_equal(m->properties.subscription_identifiers[0], 5);
    assert_int_equal(m->properties.subscription_identifiers[1], 268435455);
    quartet_message_free(m);
}

/* A store may be damaged in ways that no checksum sees; whatever the block holds, memory is not. */
static void a_broken_block_harms_nothing(void **state) {
    (void)state;
    struct buf b = {0};
    string_property(&b, 0x03, SPAN("text/plain"));
    packet_user_property_add(&b, SPAN("name"), SPAN("value"));
    buf_u8(&b, 0x7e);
    for (size_t cut = 0; cut <= b.len; cut++) {
        struct quartet_message *m = received(span_of(b.ptr, cut));
        assert_string_equal(m->payload, "payload");
        assert_true(m->properties.user_count <= 1);
        quartet_message_free(m);
    }
    buf_deinit(&b);
}

static void what_is_kept_lives_longer(void **state) {
    (void)state;
    struct quartet_message *m = received(SPAN(""));
    assert_false(lib_message_kept(m));
    assert_ptr_equal(quartet_message_keep(m), m);
    assert_true(lib_message_kept(m));
    quartet_message_free(m);
    assert_string_equal(m->topic, "some/topic");
    quartet_message_free(m);
    quartet_message_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bare_message_ends_with_nul),        cmocka_unit_test(properties_are_flat),
        cmocka_unit_test(subscription_identifiers_are_listed), cmocka_unit_test(a_broken_block_harms_nothing),
        cmocka_unit_test(what_is_kept_lives_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
