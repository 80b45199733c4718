/* A broker that lies, babbles or is silent: the client lives on, says what was wrong, and delivers nothing twice. */
#include "harness.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct quartet_options options_of(const struct false_broker *f, struct collected *c) {
    return (struct quartet_options){.servers = f->url,
                                    .client_id = "patient",
                                    .connect_timeout_ms = 1000,
                                    .retry_min_ms = 1,
                                    .retry_max_ms = 5,
                                    .on_message = collect_message,
                                    .on_event = collect_event,
                                    .user = c};
}

static struct quartet *started(const struct quartet_options *options) {
    struct quartet *client;
    assert_ok(quartet_open(&client, options));
    assert_ok(quartet_start(client));
    return client;
}

/* ---- nonsense ---- */

struct nonsense {
    const char *what;
    unsigned char bytes[40];
    size_t len;
    bool after_connack;
};

#define BYTES(...) {__VA_ARGS__}, sizeof((unsigned char[]){__VA_ARGS__})

static const struct nonsense nonsenses[] = {
    {"a PINGRESP before CONNACK", BYTES(0xd0, 0), false},
    {"a CONNACK with a body too short", BYTES(0x20, 1, 0), false},
    {"a CONNACK with a flag that is reserved", BYTES(0x20, 3, 2, 0, 0), false},
    {"a length of five bytes", BYTES(0x30, 0xff, 0xff, 0xff, 0xff, 0x01), true},
    {"a packet of 256 MiB", BYTES(0x30, 0xff, 0xff, 0xff, 0x7f), true},
    {"a second CONNACK", BYTES(0x20, 3, 0, 0, 0), true},
    {"a CONNECT", BYTES(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 0), true},
    {"a packet of type 0", BYTES(0x00, 0), true},
    {"PUBLISH of QoS 3", BYTES(0x36, 6, 0, 1, 'n', 0, 1, 0), true},
    {"PUBLISH with packet id 0", BYTES(0x32, 6, 0, 1, 'n', 0, 0, 0), true},
    {"PUBLISH to a wildcard", BYTES(0x30, 4, 0, 1, '#', 0), true},
    {"PUBLISH with a topic longer than itself", BYTES(0x30, 4, 0x7f, 1, 'n', 0), true},
    {"PUBLISH with a property twice", BYTES(0x30, 8, 0, 1, 'n', 4, 1, 0, 1, 0), true},
    {"PUBLISH with an alias that was not granted", BYTES(0x30, 6, 0, 0, 3, 0x23, 0, 9), true},
    {"PUBACK for nothing we sent", BYTES(0x40, 2, 0, 7), true},
    {"SUBACK for nothing we asked", BYTES(0x90, 4, 0, 7, 0, 0), true},
    {"PUBREL with wrong flags", BYTES(0x60, 2, 0, 1), true},
    {"UNSUBSCRIBE from a broker", BYTES(0xa2, 6, 0, 1, 0, 0, 1, 'n'), true},
};

static void babble(int fd, int connection, void *user) {
    const struct nonsense *n = user;
    unsigned char body[64];
    size_t len;
    (void)connection;
    if (n->after_connack) {
        false_connack(fd, 0, 0);
    } else {
        (void)packet_read(fd, body, sizeof body, &len);
    }
    packet_write(fd, n->bytes, n->len);
    while (packet_read(fd, body, sizeof body, &len) >= 0) {
    }
}

static void nonsense_ends_the_connection_not_the_client(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof nonsenses / sizeof *nonsenses; i++) {
        struct collected c;
        struct false_broker f;
        collected_init(&c);
        false_broker_start(&f, NULL, babble, (void *)(uintptr_t)&nonsenses[i]);
        struct quartet_options options = options_of(&f, &c);
        struct quartet *client = started(&options);
        /* An acknowledgement of something unknown may be ignored; everything else ends the connection. */
        bool ignored = nonsenses[i].bytes[0] == 0x40 || nonsenses[i].bytes[0] == 0x90;
        collected_wait_event(&c, ignored ? QUARTET_EVENT_CONNECTED : QUARTET_EVENT_DISCONNECTED, ignored ? 1 : 2);
        if (!ignored && collected_last(&c, QUARTET_EVENT_DISCONNECTED).error != QUARTET_PROTOCOL) {
            fail_msg("%s: %s, %s", nonsenses[i].what,
                     quartet_error_name(collected_last(&c, QUARTET_EVENT_DISCONNECTED).error),
                     collected_text(&c, QUARTET_EVENT_DISCONNECTED));
        }
        assert_int_equal(collected_count(&c), 0);
        quartet_close(client);
        false_broker_stop(&f);
        collected_deinit(&c);
    }
}

static void random_bytes(int fd, int connection, void *user) {
    unsigned *seed = user;
    unsigned char bytes[600];
    if (connection % 3 != 0) {
        false_connack(fd, connection % 2, 0);
    }
    for (int i = 0; i < 20; i++) {
        for (size_t j = 0; j < sizeof bytes; j++) {
            *seed = *seed * 1664525 + 1013904223;
            bytes[j] = (unsigned char)(*seed >> 24);
        }
        packet_write(fd, bytes, 1 + *seed % sizeof bytes);
    }
}

static void random_bytes_do_no_harm(void **state) {
    (void)state;
    struct collected c;
    struct false_broker f;
    unsigned seed = 1;
    collected_init(&c);
    false_broker_start(&f, NULL, random_bytes, &seed);
    char *folder = folder_make();
    struct quartet_options options = options_of(&f, &c);
    options.store = folder_file(folder, "store");
    struct quartet *client = started(&options);
    collected_wait_event(&c, QUARTET_EVENT_DISCONNECTED, 60);
    assert_ok(publish_number(client, "n", 2, 1, NULL));
    quartet_close(client);
    false_broker_stop(&f);
    collected_deinit(&c);
    folder_drop(folder);
}

/* ---- repeats ---- */

/* The same QoS 2 message again and again, on one connection and the next, until the client has answered each. */
static void repeat_publish(int fd, int connection, void *user) {
    static const unsigned char publish[] = {0x34, 7, 0, 1, 'n', 0, 9, 0, '0'};
    static const unsigned char again[] = {0x3c, 7, 0, 1, 'n', 0, 9, 0, '0'};
    static const unsigned char pubrel[] = {0x62, 2, 0, 9};
    unsigned char body[64];
    size_t len;
    int *pubrecs = user;
    false_connack(fd, connection > 0, 0);
    if (connection > 3) {
        return; /* the flow is complete */
    }
    packet_write(fd, connection == 0 ? publish : again, sizeof publish);
    packet_write(fd, again, sizeof again);
    packet_write(fd, again, sizeof again);
    for (int i = 0; i < 3; i++) {
        int type = packet_read(fd, body, sizeof body, &len);
        *pubrecs += (type & 0xf0) == 0x50;
    }
    if (connection < 3) {
        return; /* cut */
    }
    packet_write(fd, pubrel, sizeof pubrel);
    packet_write(fd, pubrel, sizeof pubrel);
    (void)packet_read(fd, body, sizeof body, &len);
    (void)packet_read(fd, body, sizeof body, &len);
}

static void repeats_are_answered_and_delivered_once(void **state) {
    (void)state;
    for (int store = 0; store < 2; store++) {
        struct collected c;
        struct false_broker f;
        int pubrecs = 0;
        collected_init(&c);
        char *folder = folder_make();
        false_broker_start(&f, NULL, repeat_publish, &pubrecs);
        struct quartet_options options = options_of(&f, &c);
        options.store = store ? folder_file(folder, "store") : NULL;
        struct quartet *client = started(&options);
        collected_wait_event(&c, QUARTET_EVENT_DISCONNECTED, 4);
        collected_wait(&c, 1);
        quartet_close(client);
        false_broker_stop(&f);
        assert_int_equal(pubrecs, 12);
        assert_int_equal(collected_count(&c), 1);
        collected_deinit(&c);
        folder_drop(folder);
    }
}

/* ---- refusals, silence, forgetfulness ---- */

static void refuse_connection(int fd, int connection, void *user) {
    (void)connection;
    (void)user;
    false_connack(fd, 0, 0x87);
}

static void a_refused_connection_is_final_when_asked(void **state) {
    (void)state;
    struct collected c;
    struct false_broker f;
    collected_init(&c);
    false_broker_start(&f, NULL, refuse_connection, NULL);
    struct quartet_options options = options_of(&f, &c);
    options.no_retry = true;
    struct quartet *client = started(&options);
    assert_ok(publish_number(client, "n", 1, 1, NULL));
    assert_int_equal(quartet_wait(client, 0, -1), QUARTET_REFUSED);
    struct quartet_status status;
    quartet_status(client, &status);
    assert_true(status.final);
    assert_int_equal(status.error, QUARTET_REFUSED);
    assert_int_equal(status.reason, 0x87);
    collected_wait_event(&c, QUARTET_EVENT_DISCONNECTED, 1);
    assert_int_equal(collected_last(&c, QUARTET_EVENT_DISCONNECTED).reason, 0x87);
    assert_true(collected_last(&c, QUARTET_EVENT_DISCONNECTED).final);
    quartet_close(client);
    false_broker_stop(&f);
    collected_deinit(&c);
}

static void refuse_message(int fd, int connection, void *user) {
    (void)connection;
    (void)user;
    false_refuse(fd, 0x97);
}

static void a_refused_message_is_told(void **state) {
    (void)state;
    for (int events = 0; events < 2; events++) {
        struct collected c;
        struct false_broker f;
        uint64_t id;
        collected_init(&c);
        false_broker_start(&f, NULL, refuse_message, NULL);
        struct quartet_options options = options_of(&f, &c);
        options.on_event = events ? collect_event : NULL;
        struct quartet *client = started(&options);
        assert_ok(publish_number(client, "n", 1, 1, &id));
        assert_int_equal(quartet_wait(client, id, -1), QUARTET_REFUSED);
        assert_non_null(strstr(quartet_last_error(), "Quota exceeded"));
        assert_ok(quartet_wait(client, 0, -1));
        assert_int_equal(quartet_wait(client, id, 0), QUARTET_REFUSED);
        if (events) {
            collected_wait_event(&c, QUARTET_EVENT_PUBLISHED, 1);
            assert_int_equal(collected_last(&c, QUARTET_EVENT_PUBLISHED).reason, 0x97);
            assert_int_equal(collected_last(&c, QUARTET_EVENT_PUBLISHED).id, id);
        }
        quartet_close(client);
        false_broker_stop(&f);
        collected_deinit(&c);
    }
}

/* Takes the first message without an answer, and knows nothing of it afterwards. */
static void forget(int fd, int connection, void *user) {
    unsigned char body[64];
    size_t len;
    int *publishes = user;
    false_connack(fd, 0, 0);
    for (int type = 0; type >= 0;) {
        type = packet_read(fd, body, sizeof body, &len);
        if ((type & 0xf0) == 0x30) {
            ++*publishes;
            if (connection == 0) {
                return;
            }
            size_t at = 2 + ((size_t)body[0] << 8) + body[1];
            packet_write(fd, (unsigned char[]){0x50, 2, body[at], body[at + 1]}, 4);
        } else if ((type & 0xf0) == 0x60) {
            packet_write(fd, (unsigned char[]){0x70, 2, body[0], body[1]}, 4);
        }
    }
}

static void a_lost_session_is_the_application_s_decision(void **state) {
    (void)state;
    static const enum quartet_lost_policy decisions[] = {QUARTET_LOST_RESEND, QUARTET_LOST_DROP};
    for (int i = 0; i < 2; i++) {
        struct collected c;
        struct false_broker f;
        int publishes = 0;
        collected_init(&c);
        false_broker_start(&f, NULL, forget, &publishes);
        struct quartet_options options = options_of(&f, &c);
        struct quartet *client = started(&options);
        uint64_t id;
        assert_ok(publish_number(client, "n", 2, 1, &id));
        collected_wait_event(&c, QUARTET_EVENT_SESSION_LOST, 1);
        assert_int_equal(collected_last(&c, QUARTET_EVENT_SESSION_LOST).count, 1);
        assert_int_equal(quartet_wait(client, id, -1), QUARTET_SESSION_LOST);
        struct quartet_status status;
        quartet_status(client, &status);
        assert_true(status.session_is_lost);
        assert_int_equal(quartet_session_lost(client, QUARTET_LOST_HOLD), QUARTET_INVALID);
        assert_ok(quartet_session_lost(client, decisions[i]));
        int code = quartet_wait(client, id, -1);
        assert_true(code == QUARTET_OK || i == 1);
        quartet_close(client);
        false_broker_stop(&f);
        assert_int_equal(publishes, i == 0 ? 2 : 1);
        collected_deinit(&c);
    }
}

static void say_nothing(int fd, int connection, void *user) {
    unsigned char body[64];
    size_t len;
    (void)connection;
    (void)user;
    while (packet_read(fd, body, sizeof body, &len) >= 0) {
    }
}

static void a_silent_broker_is_left(void **state) {
    (void)state;
    struct collected c;
    struct false_broker f;
    collected_init(&c);
    false_broker_start(&f, NULL, say_nothing, NULL);
    struct quartet_options options = options_of(&f, &c);
    options.connect_timeout_ms = 50;
    struct quartet *client = started(&options);
    collected_wait_event(&c, QUARTET_EVENT_DISCONNECTED, 3);
    assert_int_equal(collected_last(&c, QUARTET_EVENT_DISCONNECTED).error, QUARTET_NETWORK);
    quartet_close(client);
    false_broker_stop(&f);
    collected_deinit(&c);
}

/* ---- where brokers are ---- */

static void a_unix_socket_serves_too(void **state) {
    (void)state;
    struct collected c;
    struct false_broker f;
    collected_init(&c);
    char *folder = folder_make();
    false_broker_start(&f, folder_file(folder, "socket"), false_serve, NULL);
    struct quartet_options options = options_of(&f, &c);
    struct quartet *client = started(&options);
    collected_wait_event(&c, QUARTET_EVENT_CONNECTED, 1);
    quartet_close(client);
    false_broker_stop(&f);
    collected_deinit(&c);
    folder_drop(folder);
}

static void servers_are_tried_in_order(void **state) {
    (void)state;
    struct collected c;
    struct false_broker f;
    char servers[300];
    collected_init(&c);
    false_broker_start(&f, NULL, false_serve, NULL);
    (void)snprintf(servers, sizeof servers, "mqtt://127.0.0.1:1 unix:///nowhere mqtt://no.such.host.invalid %s", f.url);
    struct quartet_options options = options_of(&f, &c);
    options.servers = servers;
    options.connect_timeout_ms = 10000;
    struct quartet *client = started(&options);
    collected_wait_event(&c, QUARTET_EVENT_CONNECTED, 1);
    assert_true(collected_events(&c, QUARTET_EVENT_DISCONNECTED) >= 3);
    quartet_close(client);
    false_broker_stop(&f);
    collected_deinit(&c);
}

/* Whatever the resolver does with such a name, the loop goes on, and closing does not wait for it. */
static void looking_up_a_name_does_not_hold_the_loop(void **state) {
    (void)state;
    struct quartet_options options = {.servers = "mqtt://no.such.host.invalid", .retry_min_ms = 1, .retry_max_ms = 5};
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    struct pollfd fd = {.fd = quartet_fd(client), .events = POLLIN};
    int64_t longest = 0;
    for (int i = 0; i < 20; i++) {
        (void)poll(&fd, 1, 5);
        int64_t begin = now_ms();
        assert_ok(quartet_handle(client));
        longest = now_ms() - begin > longest ? now_ms() - begin : longest;
    }
    assert_true(longest < 2000);
    quartet_close(client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_ends_the_connection_not_the_client),
        cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(repeats_are_answered_and_delivered_once),
        cmocka_unit_test(a_refused_connection_is_final_when_asked),
        cmocka_unit_test(a_refused_message_is_told),
        cmocka_unit_test(a_lost_session_is_the_application_s_decision),
        cmocka_unit_test(a_silent_broker_is_left),
        cmocka_unit_test(a_unix_socket_serves_too),
        cmocka_unit_test(servers_are_tried_in_order),
        cmocka_unit_test(looking_up_a_name_does_not_hold_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
