/* What those who wait are answered: the truth about their message, also when it is a bad one or an old one. */
#include "harness.h"

#include <string.h>

static struct quartet_options options_of(const char *url) {
    return (struct quartet_options){.servers = url, .client_id = "waiting", .retry_min_ms = 1, .retry_max_ms = 5};
}

static void serve_refusing(int fd, int connection, void *user) {
    (void)connection;
    (void)user;
    false_refuse(fd, 0x97);
}

/* More refusals than a client that asks late could ever be thought to have missed. */
static void each_of_many_refusals_is_known(void **state) {
    (void)state;
    enum { MANY = 3000 };
    static uint64_t ids[MANY];
    struct false_broker f;
    struct quartet *client;
    false_broker_start(&f, NULL, serve_refusing, NULL);
    struct quartet_options options = options_of(f.url);
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    for (unsigned i = 0; i < MANY; i++) {
        assert_ok(publish_number(client, "n", 1, i, &ids[i]));
    }
    assert_ok(quartet_wait(client, 0, 20000));
    for (unsigned i = 0; i < MANY; i++) {
        int code = quartet_wait(client, ids[i], 0);
        if (code != QUARTET_REFUSED) {
            fail_msg("message %u of %u was refused, but waiting for it says %s", i, MANY, quartet_error_name(code));
        }
    }
    quartet_close(client);
    false_broker_stop(&f);
}

static void a_message_that_expired_was_not_refused_by_the_broker(void **state) {
    (void)state;
    struct false_broker f;
    struct quartet *client;
    uint64_t id;
    false_broker_start(&f, NULL, false_serve, NULL);
    struct quartet_options options = options_of(f.url);
    struct quartet_publication p = {.topic = "n", .qos = 1, .properties = {.has_expiry = true, .expiry_s = 0}};
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_publish(client, &p, &id));
    assert_ok(quartet_start(client));
    assert_int_equal(quartet_wait(client, id, 20000), QUARTET_REFUSED);
    assert_non_null(strstr(quartet_last_error(), "expired"));
    quartet_close(client);
    false_broker_stop(&f);
}

static void nobody_waits_for_what_was_never_published(void **state) {
    (void)state;
    struct quartet_options options = options_of("mqtt://127.0.0.1:1");
    struct quartet *client;
    uint64_t id;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    assert_ok(publish_number(client, "n", 1, 0, &id));
    assert_int_equal(quartet_wait(client, id, 0), QUARTET_TIMEOUT);
    assert_int_equal(quartet_wait(client, id + 1, 0), QUARTET_INVALID);
    assert_ok(quartet_wait_stored(client, id, 0));
    assert_int_equal(quartet_wait_stored(client, id + 1, 0), QUARTET_INVALID);
    quartet_close(client);
}

/* Takes the first message and forgets it. */
static void forget(int fd, int connection, void *user) {
    unsigned char body[64];
    size_t len;
    if (connection > 0) {
        false_serve(fd, connection, user);
        return;
    }
    false_connack(fd, 0, 0);
    while ((packet_read(fd, body, sizeof body, &len) & 0xf0) != 0x30) {
    }
}

static void disconnecting_does_not_wait_for_a_decision(void **state) {
    (void)state;
    struct false_broker f;
    struct collected c;
    struct quartet *client;
    struct quartet_status status;
    collected_init(&c);
    false_broker_start(&f, NULL, forget, NULL);
    struct quartet_options options = options_of(f.url);
    options.on_event = collect_event;
    options.user = &c;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    assert_ok(publish_number(client, "n", 2, 0, NULL));
    collected_wait_event(&c, QUARTET_EVENT_SESSION_LOST, 1);
    assert_int_equal(quartet_disconnect(client, 0, 20000), QUARTET_SESSION_LOST);
    collected_wait_event(&c, QUARTET_EVENT_DISCONNECTED, 2);
    quartet_status(client, &status);
    assert_true(status.final);
    quartet_close(client);
    false_broker_stop(&f);
    collected_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_of_many_refusals_is_known),
        cmocka_unit_test(a_message_that_expired_was_not_refused_by_the_broker),
        cmocka_unit_test(nobody_waits_for_what_was_never_published),
        cmocka_unit_test(disconnecting_does_not_wait_for_a_decision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
