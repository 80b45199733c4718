/* Callbacks may call everything, and what would wait for itself says so; closing from anywhere. */
#include "harness.h"

#include <poll.h>
#include <string.h>

struct watched {
    struct collected c;
    int codes[32]; /* what calls from the callback returned */
    int calls;
    int close_at; /* the message after which the client is closed; -1: never */
    enum quartet_event_kind close_event;
    struct quartet_message *kept;
};

static struct broker broker;

static int start_broker(void **state) {
    (void)state;
    broker_init(&broker);
    broker_start(&broker);
    return 0;
}

static int stop_broker(void **state) {
    (void)state;
    broker_deinit(&broker);
    return 0;
}

static void note(struct watched *w, int code) {
    w->codes[w->calls++] = code;
}

static void call_everything(struct quartet *client, struct quartet_message *message, void *user) {
    struct watched *w = user;
    if (w->calls > 0) {
        collect_message(client, message, &w->c);
        return;
    }
    struct quartet_subscription s = {.filter = "other", .qos = 1};
    struct quartet_message *next;
    struct quartet_status status;
    uint64_t id = 0;
    note(w, publish_number(client, "n", 2, 0, &id));     /* 0: OK, on disk */
    note(w, quartet_wait_stored(client, id, -1));        /* 1: OK */
    note(w, quartet_wait(client, id, -1));               /* 2: IN_CALLBACK */
    note(w, quartet_wait(client, id, 0));                /* 3: TIMEOUT */
    note(w, quartet_wait(client, 0, 100));               /* 4: IN_CALLBACK */
    note(w, quartet_subscribe(client, &s, 1));           /* 5: OK */
    note(w, quartet_unsubscribe(client, "other"));       /* 6: OK */
    note(w, quartet_next(client, &next, -1));            /* 7: INVALID, there is on_message */
    note(w, quartet_handle(client));                     /* 8: IN_CALLBACK, or INVALID with a thread */
    note(w, quartet_disconnect(client, 0, -1));          /* 9: IN_CALLBACK */
    note(w, quartet_start(client));                      /* 10: INVALID */
    note(w, quartet_resume(client, &message->position)); /* 11: INVALID, it runs already */
    w->kept = quartet_message_keep(message);
    note(w, quartet_done(client, message)); /* 12: OK */
    note(w, quartet_done(client, message)); /* 13: INVALID, done already */
    quartet_status(client, &status);
    note(w, status.connected ? QUARTET_OK : QUARTET_NETWORK);
    note(w, (int)quartet_last_sequence(client));
    note(w, quartet_timeout_ms(client) >= -1 ? QUARTET_OK : QUARTET_INVALID);
}

static void watch_event(struct quartet *client, const struct quartet_event *event, void *user) {
    struct watched *w = user;
    collect_event(client, event, &w->c);
    if (event->kind == w->close_event) {
        quartet_close(client);
    }
}

static struct quartet *open_watched(struct watched *w, const char *store,
                                    void (*on_message)(struct quartet *, struct quartet_message *, void *)) {
    struct quartet_subscription s = {.filter = "n", .qos = 2};
    struct quartet_options options = {.servers = broker.url,
                                      .client_id = store != NULL ? store : "watched",
                                      .clean_start = true,
                                      .store = store != NULL ? folder_file(broker.folder, store) : NULL,
                                      .on_message = on_message,
                                      .on_event = watch_event,
                                      .user = w};
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_subscribe(client, &s, 1));
    return client;
}

static void check_calls(const struct watched *w, bool thread) {
    static const int wanted[] = {QUARTET_OK,          QUARTET_OK,          QUARTET_IN_CALLBACK, QUARTET_TIMEOUT,
                                 QUARTET_IN_CALLBACK, QUARTET_OK,          QUARTET_OK,          QUARTET_INVALID,
                                 QUARTET_IN_CALLBACK, QUARTET_IN_CALLBACK, QUARTET_INVALID,     QUARTET_INVALID,
                                 QUARTET_OK,          QUARTET_INVALID,     QUARTET_OK,          0,
                                 QUARTET_OK};
    (void)thread;
    assert_int_equal(w->calls, sizeof wanted / sizeof *wanted);
    for (int i = 0; i < w->calls; i++) {
        if (w->codes[i] != wanted[i]) {
            fail_msg("call %d returned %s", i, quartet_error_name(w->codes[i]));
        }
    }
}

static void every_function_may_be_called_from_a_thread_s_callback(void **state) {
    (void)state;
    for (int store = 0; store < 2; store++) {
        struct watched w = {.close_at = -1};
        collected_init(&w.c);
        struct quartet *client = open_watched(&w, store ? "thread" : NULL, call_everything);
        assert_ok(quartet_start(client));
        collected_wait_event(&w.c, QUARTET_EVENT_SUBSCRIBED, 1);
        assert_ok(publish_number(client, "n", 2, 77, NULL));
        collected_wait(&w.c, 1);
        check_calls(&w, true);
        assert_string_equal(w.kept->payload, "77");
        quartet_message_free(w.kept);
        quartet_close(client);
        collected_deinit(&w.c);
    }
}

static void turn(struct quartet *client) {
    struct pollfd fd = {.fd = quartet_fd(client), .events = POLLIN};
    (void)poll(&fd, 1, 1000);
    assert_ok(quartet_handle(client));
}

static void every_function_may_be_called_from_a_loop_s_callback(void **state) {
    (void)state;
    for (int store = 0; store < 2; store++) {
        struct watched w = {.close_at = -1};
        collected_init(&w.c);
        struct quartet *client = open_watched(&w, store ? "loop" : NULL, call_everything);
        while (collected_events(&w.c, QUARTET_EVENT_SUBSCRIBED) == 0) {
            turn(client);
        }
        assert_ok(publish_number(client, "n", 2, 77, NULL));
        assert_int_equal(quartet_wait(client, 0, 1000), QUARTET_IN_CALLBACK); /* the loop's own thread */
        while (collected_count(&w.c) == 0) {
            turn(client);
        }
        check_calls(&w, false);
        quartet_message_free(w.kept);
        quartet_close(client);
        collected_deinit(&w.c);
    }
}

/* ---- closing ---- */

static void close_after(struct quartet *client, struct quartet_message *message, void *user) {
    struct watched *w = user;
    collect_message(client, message, &w->c);
    if ((int)w->c.count > w->close_at) {
        quartet_close(client);
        quartet_close(client); /* twice is once */
    }
}

static void closing_from_a_message_s_callback_stops_at_once(void **state) {
    (void)state;
    for (int store = 0; store < 2; store++) {
        struct watched w = {.close_at = 4};
        collected_init(&w.c);
        struct quartet *client = open_watched(&w, store ? "closing" : NULL, close_after);
        while (collected_events(&w.c, QUARTET_EVENT_SUBSCRIBED) == 0) {
            turn(client);
        }
        for (unsigned i = 0; i < 100; i++) {
            assert_ok(publish_number(client, "n", 1, i, NULL));
        }
        struct pollfd fd = {.fd = quartet_fd(client), .events = POLLIN};
        int code = QUARTET_OK;
        while (code == QUARTET_OK) {
            (void)poll(&fd, 1, 1000);
            code = quartet_handle(client);
        }
        assert_int_equal(code, QUARTET_CLOSED);
        assert_int_equal(collected_count(&w.c), 5);
        collected_deinit(&w.c);
    }
}

static void what_was_not_given_before_closing_comes_again(void **state) {
    (void)state;
    struct watched w = {.close_at = 9};
    collected_init(&w.c);
    struct quartet *client = open_watched(&w, "again", close_after);
    while (collected_events(&w.c, QUARTET_EVENT_SUBSCRIBED) == 0) {
        turn(client);
    }
    for (unsigned i = 0; i < 50; i++) {
        assert_ok(publish_number(client, "n", 2, i, NULL));
    }
    for (int code = QUARTET_OK; code == QUARTET_OK;) {
        struct pollfd fd = {.fd = quartet_fd(client), .events = POLLIN};
        (void)poll(&fd, 1, 1000);
        code = quartet_handle(client);
    }
    w.close_at = 1000;
    struct quartet_options options = {.servers = broker.url,
                                      .client_id = "again",
                                      .store = folder_file(broker.folder, "again"),
                                      .on_message = close_after,
                                      .user = &w};
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    collected_wait(&w.c, 50);
    assert_ok(quartet_wait(client, 0, 20000));
    collected_are(&w.c, 50);
    quartet_close(client);
    collected_deinit(&w.c);
}

static void closing_from_an_event_s_callback_ends_the_thread(void **state) {
    (void)state;
    static const enum quartet_event_kind kinds[] = {QUARTET_EVENT_CONNECTED, QUARTET_EVENT_SUBSCRIBED};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        static struct watched both[2]; /* the first client's thread may still be at its end when this returns */
        struct watched *w = &both[i];
        w->close_event = kinds[i];
        collected_init(&w->c);
        struct quartet *client = open_watched(w, i ? "events" : NULL, collect_message);
        assert_ok(quartet_start(client));
        collected_wait_event(&w->c, kinds[i], 1);
        /* The thread frees the client by itself; the store is free when it has. */
        for (int code = i ? QUARTET_STORE_LOCKED : QUARTET_OK; code != QUARTET_OK;) {
            struct quartet_options options = {.client_id = "events", .store = folder_file(broker.folder, "events")};
            struct quartet *other;
            code = quartet_open(&other, &options);
            assert_true(code == QUARTET_OK || code == QUARTET_STORE_LOCKED);
            quartet_close(other);
        }
    }
}

struct waiter {
    struct quartet *client;
    int code;
};

static void *wait_for_ever(void *argument) {
    struct waiter *w = argument;
    w->code = quartet_wait(w->client, 0, -1);
    return NULL;
}

static void closing_ends_the_waits_of_other_threads(void **state) {
    (void)state;
    struct quartet_options options = {.servers = "mqtt://127.0.0.1:1", .client_id = "waits"};
    struct waiter w = {.code = 1};
    assert_ok(quartet_open(&w.client, &options));
    assert_ok(quartet_start(w.client));
    assert_ok(publish_number(w.client, "n", 1, 0, NULL));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &w), 0);
    assert_int_equal(quartet_wait(w.client, 0, 50), QUARTET_TIMEOUT); /* the other one most likely waits by now */
    quartet_close(w.client);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(w.code, QUARTET_CLOSED);
}

static void nobody_waits_for_a_client_that_nobody_drives(void **state) {
    (void)state;
    struct quartet_options options = {.servers = broker.url, .client_id = "undriven"};
    struct quartet_message *message;
    struct quartet *client;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_wait(client, 0, -1)); /* there is nothing to wait for */
    assert_ok(publish_number(client, "n", 1, 0, NULL));
    assert_int_equal(quartet_wait(client, 0, -1), QUARTET_INVALID);
    assert_int_equal(quartet_next(client, &message, -1), QUARTET_INVALID);
    assert_int_equal(quartet_next(client, &message, 0), QUARTET_EMPTY);
    quartet_close(client);
    quartet_close(NULL);
}

static void disconnecting_ends_the_session_s_connection_for_good(void **state) {
    (void)state;
    struct collected c;
    collected_init(&c);
    struct quartet_options options = {
        .servers = broker.url, .client_id = "leaving", .on_event = collect_event, .user = &c};
    struct quartet *client;
    struct quartet_status status;
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    assert_ok(publish_number(client, "n", 2, 0, NULL));
    assert_ok(quartet_disconnect(client, 0, 20000));
    quartet_status(client, &status);
    assert_true(status.final);
    assert_false(status.connected);
    assert_int_equal(status.outbox_messages, 0);
    collected_wait_event(&c, QUARTET_EVENT_DISCONNECTED, 1);
    assert_true(collected_last(&c, QUARTET_EVENT_DISCONNECTED).final);
    assert_ok(publish_number(client, "n", 2, 1, NULL)); /* taken, but nobody will send it */
    assert_int_equal(quartet_wait(client, 0, -1), QUARTET_CLOSED);
    quartet_close(client);
    collected_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_function_may_be_called_from_a_thread_s_callback),
        cmocka_unit_test(every_function_may_be_called_from_a_loop_s_callback),
        cmocka_unit_test(closing_from_a_message_s_callback_stops_at_once),
        cmocka_unit_test(what_was_not_given_before_closing_comes_again),
        cmocka_unit_test(closing_from_an_event_s_callback_ends_the_thread),
        cmocka_unit_test(closing_ends_the_waits_of_other_threads),
        cmocka_unit_test(nobody_waits_for_a_client_that_nobody_drives),
        cmocka_unit_test(disconnecting_ends_the_session_s_connection_for_good),
    };
    return cmocka_run_group_tests(tests, start_broker, stop_broker);
}
