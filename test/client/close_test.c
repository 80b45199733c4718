/* The end of a client while others are at it: a loop in a callback, a child process; and what an application has said
 * before the end counts. */
#include "harness.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct quartet_options options_of(const struct false_broker *f) {
    return (struct quartet_options){.servers = f->url, .client_id = "ending", .retry_min_ms = 1, .retry_max_ms = 5};
}

/* ---- closing while another thread handles ---- */

struct handling {
    struct quartet *client;
    _Atomic bool in_callback;
    int code; /* what quartet_handle() returned last */
};

/* Goes on using the client for a while after the closing has begun elsewhere. */
static void linger(struct quartet *client, const struct quartet_event *event, void *user) {
    struct handling *h = user;
    struct quartet_status status;
    if (event->kind == QUARTET_EVENT_CONNECTED) {
        h->in_callback = true;
        while (publish_number(client, "n", 0, 0, NULL) != QUARTET_CLOSED) {
        }
        for (int64_t until = now_ms() + 300; now_ms() < until;) {
            quartet_status(client, &status);
        }
    }
}

static void *handle_until_closed(void *argument) {
    struct handling *h = argument;
    struct pollfd fd = {.fd = quartet_fd(h->client), .events = POLLIN};
    while (h->code == QUARTET_OK && !h->in_callback) {
        (void)poll(&fd, 1, 1000);
        h->code = quartet_handle(h->client);
    }
    return NULL;
}

static void closing_waits_for_the_loop_of_another_thread(void **state) {
    (void)state;
    struct false_broker f;
    struct handling h = {.code = QUARTET_OK};
    pthread_t thread;
    false_broker_start(&f, NULL, false_serve, NULL);
    struct quartet_options options = options_of(&f);
    options.outbox_bytes = 1ULL << 40; /* of messages until the closing is seen */
    options.on_event = linger;
    options.user = &h;
    assert_ok(quartet_open(&h.client, &options));
    assert_int_equal(pthread_create(&thread, NULL, handle_until_closed, &h), 0);
    while (!h.in_callback) {
        (void)poll(NULL, 0, 1);
    }
    quartet_close(h.client);
    assert_int_equal(pthread_join(thread, NULL), 0);
    false_broker_stop(&f);
}

/* ---- what was said before the end ---- */

/* One message of QoS 1, once, and nothing is forgotten. */
static void deliver_one(int fd, int connection, void *user) {
    static const unsigned char publish[] = {0x32, 7, 0, 1, 'n', 0, 9, 0, '0'};
    unsigned char body[64];
    size_t len;
    (void)user;
    false_connack(fd, connection > 0, 0);
    if (connection == 0) {
        packet_write(fd, publish, sizeof publish);
    }
    while (packet_read(fd, body, sizeof body, &len) >= 0) {
    }
}

static void what_is_done_before_driving_stays_done(void **state) {
    (void)state;
    struct false_broker f;
    struct quartet_message *m;
    struct quartet *client;
    char *folder = folder_make();
    false_broker_start(&f, NULL, deliver_one, NULL);
    struct quartet_options options = options_of(&f);
    options.store = folder_file(folder, "store");
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_start(client));
    assert_ok(quartet_next(client, &m, 20000));
    quartet_message_free(m); /* not done: it comes again */
    quartet_close(client);
    assert_ok(quartet_open(&client, &options));
    assert_ok(quartet_next(client, &m, 0));
    assert_ok(quartet_done(client, m));
    quartet_message_free(m);
    quartet_close(client);
    assert_ok(quartet_open(&client, &options));
    assert_int_equal(quartet_next(client, &m, 0), QUARTET_EMPTY);
    quartet_close(client);
    false_broker_stop(&f);
    folder_drop(folder);
}

/* ---- a child process ---- */

/* The first connection ends with the first message; also when a child of this process holds the socket. */
static void end_first(int fd, int connection, void *user) {
    unsigned char body[64];
    size_t len;
    if (connection > 0) {
        false_serve(fd, connection, user);
        return;
    }
    false_connack(fd, 0, 0);
    (void)packet_read(fd, body, sizeof body, &len);
    (void)shutdown(fd, SHUT_RDWR);
}

static void turns_until_connected(struct quartet *client, struct collected *c, unsigned times) {
    struct pollfd fd = {.fd = quartet_fd(client), .events = POLLIN};
    while (collected_events(c, QUARTET_EVENT_CONNECTED) < times) {
        (void)poll(&fd, 1, 1000);
        assert_ok(quartet_handle(client));
    }
}

/* A child that was not made to execute anything holds the old socket open; nobody must look at that any more. */
static void a_child_does_not_keep_the_loop_busy(void **state) {
    (void)state;
    struct false_broker f;
    struct collected c;
    struct quartet *client;
    int ends[2];
    collected_init(&c);
    false_broker_start(&f, NULL, end_first, NULL);
    struct quartet_options options = options_of(&f);
    options.on_event = collect_event;
    options.user = &c;
    assert_ok(quartet_open(&client, &options));
    turns_until_connected(client, &c, 1);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        (void)close(ends[1]);
        (void)!read(ends[0], &byte, 1); /* until the parent has looked */
        _exit(0);
    }
    assert_ok(publish_number(client, "n", 0, 0, NULL));
    turns_until_connected(client, &c, 2);
    struct pollfd fd = {.fd = quartet_fd(client), .events = POLLIN};
    int turns = 0;
    while (turns < 100 && poll(&fd, 1, 100) == 1) {
        assert_ok(quartet_handle(client));
        turns++;
    }
    (void)close(ends[1]);
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(turns < 100);
    quartet_close(client);
    false_broker_stop(&f);
    collected_deinit(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closing_waits_for_the_loop_of_another_thread),
        cmocka_unit_test(what_is_done_before_driving_stays_done),
        cmocka_unit_test(a_child_does_not_keep_the_loop_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
