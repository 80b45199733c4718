#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "record/message.h"

static void a_message_has_its_own_copy(void **state) {
    (void)state;
    char topic[] = "a/b";
    char payload[] = "hello";
    struct message_parts parts = {2, true, 77, span_str(topic), SPAN("\x01\x00"), span_str(payload), SPAN("192.0.2.7")};
    struct message *m = message_create(&parts);
    topic[0] = payload[0] = 'x';
    assert_true(span_equal(message_topic(m), SPAN("a/b")));
    assert_true(span_equal(message_properties(m), SPAN("\x01\x00")));
    assert_true(span_equal(message_payload(m), SPAN("hello")));
    assert_true(span_equal(message_owner(m), SPAN("192.0.2.7")));
    struct message *shell = message_shell(m);
    assert_true(span_equal(message_topic(shell), SPAN("a/b")) && span_equal(message_owner(shell), SPAN("192.0.2.7")));
    assert_int_equal(message_bytes(shell), message_bytes(m));
    message_unref(shell);
    assert_int_equal(m->qos, 2);
    assert_true(m->retain);
    assert_int_equal(m->expires_at, 77);
    assert_int_equal(m->lsn, 0);
    assert_int_equal(message_bytes(m), sizeof *m + 3 + 2 + 5);
    message_unref(m);
}

/* A leak or a use after the last reference is what the sanitizer would see. */
static void the_last_reference_frees(void **state) {
    (void)state;
    struct message_parts parts = {.topic = SPAN("t")};
    struct message *m = message_create(&parts);
    assert_ptr_equal(message_ref(m), m);
    message_unref(m);
    assert_true(span_equal(message_topic(m), SPAN("t")));
    message_unref(m);
    message_unref(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_has_its_own_copy),
        cmocka_unit_test(the_last_reference_frees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
