/* Options: what zero means, and what cannot be. */
#include "peer.h"

static int code_of(struct quartet_options options) {
    int code = QUARTET_OK;
    struct error error = {.text = ""};
    if (client_options_complete(&options, &code, &error)) {
        return QUARTET_OK;
    }
    assert_true(strlen(error.text) > 0);
    return code;
}

static void zero_is_the_default(void **state) {
    (void)state;
    struct quartet_options o = {.protocol = 0};
    int code;
    struct error error;
    assert_true(client_options_complete(&o, &code, &error));
    assert_string_equal(o.servers, "mqtt://localhost:1883");
    assert_int_equal(o.keep_alive_s, 60);
    assert_int_equal(o.receive_maximum, 1000);
    assert_int_equal(o.packet_bytes_max, 4 << 20);
    assert_int_equal(o.outbox_bytes, 64 << 20);
    assert_int_equal(o.inbox_bytes, 64 << 20);
    assert_int_equal(o.connect_timeout_ms, 10000);
    assert_int_equal(o.retry_min_ms, 250);
    assert_int_equal(o.retry_max_ms, 30000);
    o = (struct quartet_options){.store = "d", .retry_max_ms = 50};
    assert_true(client_options_complete(&o, &code, &error));
    assert_int_equal(o.outbox_bytes, 1 << 30);
    assert_int_equal(o.retry_min_ms, 50);
}

static void exactly_once_refuses_what_cannot_be(void **state) {
    (void)state;
    struct quartet_options fine = {.guarantee = QUARTET_EXACTLY_ONCE, .store = "d", .client_id = "c"};
    assert_int_equal(code_of(fine), QUARTET_OK);
    struct quartet_options o = fine;
    o.store = NULL;
    assert_int_equal(code_of(o), QUARTET_UNSAFE);
    o = fine;
    o.client_id = "";
    assert_int_equal(code_of(o), QUARTET_UNSAFE);
    o = fine;
    o.clean_start = true;
    assert_int_equal(code_of(o), QUARTET_UNSAFE);
    o = fine;
    o.end_session = true;
    assert_int_equal(code_of(o), QUARTET_UNSAFE);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    struct quartet_options wrong[] = {
        {.protocol = 3},
        {.protocol = 6},
        {.client_id = "\xff"},
        {.username = "\xff"},
        {.password_bytes = 1},
        {.password = "p", .password_bytes = 70000},
        {.protocol = 4, .client_id = "c", .password = "p", .password_bytes = 1},
        {.protocol = 4},
        {.packet_bytes_max = 300000000},
        {.session_lost = (enum quartet_lost_policy)7},
        {.guarantee = (enum quartet_guarantee)7},
        {.retry_min_ms = 10, .retry_max_ms = 5},
        {.will = {.topic = "a/#"}},
        {.will = {.topic = "a", .qos = 3}},
        {.will = {.topic = "a", .payload_bytes = 1}},
        {.will = {.topic = "a", .properties = {.content_type = "\xff"}}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(code_of(wrong[i]), QUARTET_INVALID);
    }
    assert_int_equal(code_of((struct quartet_options){.protocol = 4, .end_session = true}), QUARTET_OK);
}

static void servers_must_name_one(void **state) {
    (void)state;
    struct peer p;
    struct error error;
    peer_init(&p);
    struct quartet_options o = {.servers = "   "};
    int code;
    assert_true(client_options_complete(&o, &code, &error));
    struct client_setup setup = {.options = &o, .store = p.store, .ids_max = UINT16_MAX};
    assert_null(client_create(&setup, &error));
    peer_deinit(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_is_the_default),
        cmocka_unit_test(exactly_once_refuses_what_cannot_be),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(servers_must_name_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
