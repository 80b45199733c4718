/* The library and a real broker: the three ways to drive it, brokers that are not there yet or die, several threads. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <quartet/core.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A client that gets numbers of topic "n", collected. */
static struct quartet_options receiver_of(const struct broker *b, struct collected *c) {
    return (struct quartet_options){.servers = b->url,
                                    .client_id = "receiver",
                                    .retry_min_ms = 5,
                                    .retry_max_ms = 20,
                                    .on_message = collect_message,
                                    .on_event = collect_event,
                                    .user = c};
}

static struct quartet *subscribed(const struct quartet_options *options, const char *filter, int qos) {
    struct quartet *client;
    struct quartet_subscription s = {.filter = filter, .qos = qos};
    assert_ok(quartet_open(&client, options));
    assert_ok(quartet_subscribe(client, &s, 1));
    return client;
}

static void a_thread_publishes_and_receives_at_each_qos(void **state) {
    (void)state;
    struct broker b;
    struct collected c;
    broker_init(&b);
    broker_start(&b);
    for (int protocol = 4; protocol <= 5; protocol++) {
        for (int qos = 0; qos <= 2; qos++) {
            collected_init(&c);
            struct quartet_options options = receiver_of(&b, &c);
            options.protocol = protocol;
            options.clean_start = options.end_session = true;
            struct quartet *client = subscribed(&options, "n", 2);
            assert_ok(quartet_start(client));
            collected_wait_event(&c, QUARTET_EVENT_SUBSCRIBED, 1);
            for (unsigned i = 0; i < 1000; i++) {
                assert_ok(publish_number(client, "n", qos, i, NULL));
            }
            assert_ok(quartet_wait(client, 0, 20000));
            collected_wait(&c, 1000);
            collected_are(&c, 1000);
            collected_wait_event(&c, QUARTET_EVENT_PUBLISHED, qos == 0 ? 0 : 1000);
            quartet_close(client);
            assert_int_equal(collected_events(&c, QUARTET_EVENT_PUBLISHED), qos == 0 ? 0 : 1000);
            collected_deinit(&c);
        }
    }
    broker_deinit(&b);
}

static void run_loop(struct quartet *client, struct collected *c, unsigned count, bool ask_for_timeout) {
    struct pollfd fd = {.fd = quartet_fd(client), .events = POLLIN};
    assert_true(fd.fd >= 0);
    struct quartet_status status = {.connected = false};
    for (int turns = 0; c->count < count || status.outbox_messages > 0; turns++) {
        (void)poll(&fd, 1, ask_for_timeout ? quartet_timeout_ms(client) : -1);
        assert_ok(quartet_handle(client));
        assert_int_equal(quartet_fd(client), fd.fd);
        quartet_status(client, &status);
        if (turns > 100000) {
            fail_msg("%u messages after %d turns", c->count, turns);
        }
    }
}

static void a_loop_publishes_and_receives(void **state) {
    (void)state;
    struct broker b;
    struct collected c;
    broker_init(&b);
    broker_start(&b);
    for (int timeout = 0; timeout < 2; timeout++) {
        for (int store = 0; store < 2; store++) {
            collected_init(&c);
            struct quartet_options options = receiver_of(&b, &c);
            char name[] = "store-0";
            name[6] = (char)('0' + timeout);
            options.clean_start = true;
            options.store = store ? folder_file(b.folder, name) : NULL;
            struct quartet *client = subscribed(&options, "n", 2);
            for (unsigned i = 0; i < 100; i++) {
                assert_ok(publish_number(client, "n", 2, i, NULL));
            }
            run_loop(client, &c, 0, timeout);
            run_loop(client, &c, collected_count(&c), timeout);
            quartet_close(client);
            collected_deinit(&c);
        }
    }
    broker_deinit(&b);
}

static int64_t wall_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct by_hand {
    struct quartet *client;
    int port;
    int fd;
};

static void core_connect(struct by_hand *h) {
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)h->port), .sin_addr = {htonl(0x7f000001)}};
    h->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(h->fd, (struct sockaddr *)&to, sizeof to), 0);
    quartet_core_opened(h->client);
}

static void core_step(struct by_hand *h) {
    const char *server;
    struct quartet_core_bytes pieces[4];
    char bytes[512];
    assert_ok(quartet_core_time(h->client, now_ms(), wall_ms()));
    if (h->fd < 0 && quartet_core_wish(h->client, &server) == QUARTET_CORE_CONNECT) {
        core_connect(h);
    }
    while (quartet_core_store(h->client) == 1) {
    }
    while (h->fd >= 0 && quartet_core_output(h->client, pieces, 4) > 0) {
        quartet_core_sent(h->client, (size_t)send(h->fd, pieces[0].bytes, pieces[0].len, MSG_NOSIGNAL));
    }
    while (quartet_core_deliver(h->client)) {
    }
    struct pollfd wait = {.fd = h->fd, .events = POLLIN};
    if (h->fd >= 0 && poll(&wait, 1, 10) == 1) {
        ssize_t got = recv(h->fd, bytes, sizeof bytes, 0);
        assert_true(got > 0);
        quartet_core_received(h->client, bytes, (size_t)got);
    }
}

static void by_hand_publishes_and_receives(void **state) {
    (void)state;
    struct broker b;
    struct collected c;
    broker_init(&b);
    broker_start(&b);
    for (int store = 0; store < 2; store++) {
        collected_init(&c);
        struct quartet_options options = receiver_of(&b, &c);
        options.clean_start = true;
        options.store = store ? folder_file(b.folder, "core") : NULL;
        struct by_hand h = {subscribed(&options, "n", 2), b.port, -1};
        assert_ok(quartet_core_time(h.client, now_ms(), wall_ms()));
        while (collected_events(&c, QUARTET_EVENT_SUBSCRIBED) == 0) {
            core_step(&h);
        }
        for (unsigned i = 0; i < 50; i++) {
            assert_ok(publish_number(h.client, "n", 2, i, NULL));
        }
        struct quartet_status status = {.outbox_messages = 1};
        while (collected_count(&c) < 50 || status.outbox_messages > 0) {
            core_step(&h);
            quartet_status(h.client, &status);
        }
        collected_are(&c, 50);
        assert_int_equal(quartet_wait(h.client, 0, -1), QUARTET_OK);
        assert_int_equal(quartet_start(h.client), QUARTET_INVALID);
        quartet_close(h.client);
        (void)close(h.fd);
        collected_deinit(&c);
    }
    broker_deinit(&b);
}

static void what_is_published_before_the_broker_exists_arrives_once(void **state) {
    (void)state;
    struct broker b;
    struct collected c;
    collected_init(&c);
    broker_init(&b);
    struct quartet_options options = receiver_of(&b, &c);
    options.store = folder_file(b.folder, "early");
    options.guarantee = QUARTET_EXACTLY_ONCE;
    struct quartet *client = subscribed(&options, "n", 2);
    for (unsigned i = 0; i < 20; i++) {
        assert_ok(publish_number(client, "n", 2, i, NULL));
    }
    quartet_close(client); /* never driven */
    options.store = folder_file(b.folder, "early");
    client = subscribed(&options, "n", 2);
    assert_ok(quartet_start(client));
    for (unsigned i = 20; i < 40; i++) {
        assert_ok(publish_number(client, "n", 2, i, NULL));
    }
    assert_int_equal(quartet_wait(client, 0, 50), QUARTET_TIMEOUT);
    struct quartet_status status;
    quartet_status(client, &status);
    assert_false(status.connected);
    assert_int_equal(status.outbox_messages, 40);
    broker_start(&b);
    assert_ok(quartet_wait(client, 0, 20000));
    quartet_status(client, &status);
    assert_int_equal(status.outbox_messages, 0);
    assert_int_equal(status.published, 40);
    assert_true(status.connected);
    quartet_close(client);
    collected_deinit(&c);
    broker_deinit(&b);
}

/* Publishes numbers from a thread of its own, with a store. */
struct publisher {
    struct quartet *client;
    unsigned count;
    int code;
};

static void *publish_all(void *argument) {
    struct publisher *p = argument;
    for (unsigned i = 0; i < p->count && p->code == QUARTET_OK; i++) {
        p->code = publish_number(p->client, "n", 2, i, NULL);
    }
    return NULL;
}

static void a_broker_killed_under_load_costs_nothing(void **state) {
    (void)state;
    struct broker b;
    struct collected c;
    collected_init(&c);
    broker_init(&b);
    broker_start(&b);
    struct quartet_options options = receiver_of(&b, &c);
    options.store = folder_file(b.folder, "receiver");
    options.guarantee = QUARTET_EXACTLY_ONCE;
    struct quartet *receiver = subscribed(&options, "n", 2);
    assert_ok(quartet_start(receiver));
    collected_wait_event(&c, QUARTET_EVENT_SUBSCRIBED, 1);
    struct quartet_options sender = options;
    struct publisher p = {.count = 3000};
    sender.client_id = "sender";
    sender.store = folder_file(b.folder, "sender");
    sender.on_event = NULL;
    sender.on_message = NULL;
    assert_ok(quartet_open(&p.client, &sender));
    assert_ok(quartet_start(p.client));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, publish_all, &p), 0);
    for (unsigned kills = 1; kills <= 6; kills++) {
        collected_wait(&c, kills * 300);
        broker_kill(&b);
        broker_start(&b);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(p.code, QUARTET_OK);
    assert_ok(quartet_wait(p.client, 0, 30000));
    collected_wait(&c, p.count);
    collected_are(&c, p.count);
    quartet_close(p.client);
    quartet_close(receiver);
    collected_deinit(&c);
    broker_deinit(&b);
}

static void clients_restarted_go_on_where_they_were(void **state) {
    (void)state;
    struct broker b;
    struct collected c;
    collected_init(&c);
    broker_init(&b);
    broker_start(&b);
    struct quartet_options options = receiver_of(&b, &c);
    options.guarantee = QUARTET_EXACTLY_ONCE;
    for (unsigned round = 0; round < 5; round++) {
        options.store = folder_file(b.folder, "both");
        struct quartet *client = subscribed(&options, "n", 2);
        assert_ok(quartet_start(client));
        if (round == 0) {
            collected_wait_event(&c, QUARTET_EVENT_SUBSCRIBED, 1);
        }
        for (unsigned i = 0; i < 100; i++) {
            assert_ok(publish_number(client, "n", 2, round * 100 + i, NULL));
        }
        quartet_close(client); /* with all of it under way */
    }
    options.store = folder_file(b.folder, "both");
    struct quartet *client = subscribed(&options, "n", 2);
    assert_ok(quartet_start(client));
    collected_wait(&c, 500);
    assert_ok(quartet_wait(client, 0, 20000));
    collected_are(&c, 500);
    quartet_close(client);
    collected_deinit(&c);
    broker_deinit(&b);
}

/* ---- several threads ---- */

enum { THREADS = 4, PER_THREAD = 400 };

struct worker {
    struct quartet *client;
    unsigned first;
    int code;
};

static void *work(void *argument) {
    struct worker *w = argument;
    for (unsigned i = 0; i < PER_THREAD && w->code == QUARTET_OK; i++) {
        uint64_t id = 0;
        w->code = publish_number(w->client, "n", (int)(i % 2) + 1, w->first + i, &id);
        if (w->code == QUARTET_OK && i % 100 == 99) {
            w->code = quartet_wait(w->client, id, 20000);
        }
    }
    return NULL;
}

/* Each thread's QoS 1 messages in order, and its QoS 2 messages; each number once. */
static void check_workers(const struct collected *c) {
    unsigned char seen[THREADS][PER_THREAD] = {{0}};
    unsigned last[THREADS][2] = {{0}};
    for (unsigned i = 0; i < c->count; i++) {
        unsigned n = c->numbers[i];
        unsigned worker = n / PER_THREAD;
        assert_true(worker < THREADS);
        if (worker < THREADS) { /* for the compiler, which does not know that the assertion leaves */
            assert_int_equal(seen[worker][n % PER_THREAD]++, 0);
            assert_true(n + 1 > last[worker][n % 2]);
            last[worker][n % 2] = n + 1;
        }
    }
}

static void several_threads_publish_and_wait(void **state) {
    (void)state;
    struct broker b;
    broker_init(&b);
    broker_start(&b);
    for (int store = 0; store < 2; store++) {
        struct collected c;
        collected_init(&c);
        struct quartet_options options = receiver_of(&b, &c);
        options.clean_start = true;
        options.store = store ? folder_file(b.folder, "threads") : NULL;
        struct quartet *client = subscribed(&options, "n", 2);
        assert_ok(quartet_start(client));
        collected_wait_event(&c, QUARTET_EVENT_SUBSCRIBED, 1);
        struct worker workers[THREADS];
        pthread_t threads[THREADS];
        for (unsigned i = 0; i < THREADS; i++) {
            workers[i] = (struct worker){client, i * PER_THREAD, QUARTET_OK};
            assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
        }
        for (unsigned i = 0; i < THREADS; i++) {
            assert_int_equal(pthread_join(threads[i], NULL), 0);
            assert_int_equal(workers[i].code, QUARTET_OK);
        }
        collected_wait(&c, THREADS * PER_THREAD);
        assert_ok(quartet_wait(client, 0, 20000));
        assert_int_equal(collected_count(&c), THREADS * PER_THREAD);
        check_workers(&c);
        quartet_close(client);
        collected_deinit(&c);
    }
    broker_deinit(&b);
}

/* ---- pulling ---- */

static void messages_are_fetched_one_by_one(void **state) {
    (void)state;
    struct broker b;
    broker_init(&b);
    broker_start(&b);
    struct collected c;
    collected_init(&c);
    struct quartet_options options = receiver_of(&b, &c);
    options.on_message = NULL;
    options.store = folder_file(b.folder, "pull");
    options.guarantee = QUARTET_EXACTLY_ONCE;
    struct quartet_position position = {.sequence = 0};
    for (unsigned round = 0; round < 2; round++) {
        options.store = folder_file(b.folder, "pull");
        struct quartet *client = subscribed(&options, "n", 2);
        assert_ok(quartet_resume(client, &position));
        assert_ok(quartet_start(client));
        if (round == 0) {
            collected_wait_event(&c, QUARTET_EVENT_SUBSCRIBED, 1);
            for (unsigned i = 0; i < 30; i++) {
                assert_ok(publish_number(client, "n", 2, i, NULL));
            }
        }
        /* The first ten are done as far as the application's position says, but the library is not told. */
        for (unsigned i = round * 10; i < (round + 1) * 10; i++) {
            struct quartet_message *m;
            assert_ok(quartet_next(client, &m, 20000));
            assert_int_equal(strtoul(m->payload, NULL, 10), i);
            assert_true(m->position.sequence > position.sequence);
            assert_int_equal(m->redelivered, round == 1);
            position = m->position;
            quartet_message_free(m);
        }
        assert_ok(quartet_wait(client, 0, 20000));
        quartet_close(client);
    }
    collected_deinit(&c);
    broker_deinit(&b);
}

/* Published before anything drives the client: the expiry interval begins now, not in 1970. */
static void properties_travel(void **state) {
    (void)state;
    struct broker b;
    broker_init(&b);
    broker_start(&b);
    const struct quartet_user_property user[] = {{"k", "v1"}, {"k", "v2"}};
    struct quartet_publication p = {.topic = "n",
                                    .payload = "x",
                                    .payload_bytes = 1,
                                    .qos = 2,
                                    .properties = {.payload_is_text = true,
                                                   .has_expiry = true,
                                                   .expiry_s = 100,
                                                   .content_type = "text/plain",
                                                   .response_topic = "answers",
                                                   .correlation_data = "a\0b",
                                                   .correlation_bytes = 3,
                                                   .user = user,
                                                   .user_count = 2}};
    struct quartet_options options = {.servers = b.url, .client_id = "receiver"};
    struct quartet_subscription subscription = {.filter = "+", .qos = 2};
    struct quartet *receiver;
    struct quartet *sender;
    struct quartet_message *m;
    assert_ok(quartet_open(&receiver, &options));
    assert_ok(quartet_subscribe(receiver, &subscription, 1));
    assert_ok(quartet_start(receiver));
    options.client_id = "sender";
    assert_ok(quartet_open(&sender, &options));
    p.retain = true; /* also for a subscription that comes later */
    assert_ok(quartet_publish(sender, &p, NULL));
    assert_ok(quartet_start(sender));
    assert_ok(quartet_wait(sender, 0, 20000));
    assert_ok(quartet_next(receiver, &m, 20000));
    const struct quartet_properties *x = &m->properties;
    assert_true(x->payload_is_text && x->has_expiry && x->expiry_s > 90 && x->expiry_s <= 100);
    assert_string_equal(x->content_type, "text/plain");
    assert_string_equal(x->response_topic, "answers");
    assert_int_equal(x->correlation_bytes, 3);
    assert_memory_equal(x->correlation_data, "a\0b", 3);
    assert_int_equal(x->user_count, 2);
    assert_string_equal(x->user[1].value, "v2");
    assert_ok(quartet_done(receiver, m));
    quartet_message_free(m);
    quartet_close(sender);
    quartet_close(receiver);
    broker_deinit(&b);
}

/* Three messages in one piece, each with its own Subscription Identifier. */
static void deliver_identified(int fd, int connection, void *user) {
    unsigned char body[64];
    size_t len;
    unsigned char publishes[3][12];
    (void)connection;
    (void)user;
    for (unsigned char i = 0; i < 3; i++) {
        memcpy(publishes[i], (unsigned char[]){0x32, 10, 0, 1, 'n', 0, (unsigned char)(i + 1), 2, 0x0b, 0, '0', 0}, 12);
        publishes[i][9] = (unsigned char)(11 + i);
        publishes[i][10] = (unsigned char)('0' + i);
    }
    false_connack(fd, 0, 0);
    packet_write(fd, publishes, sizeof publishes);
    while (packet_read(fd, body, sizeof body, &len) >= 0) {
    }
}

static void check_identified(struct quartet *client, struct quartet_message *m, void *user) {
    assert_int_equal(m->properties.subscription_identifier_count, 1);
    assert_int_equal(m->properties.subscription_identifiers[0], 11 + strtoul(m->payload, NULL, 10));
    if (user != NULL) {
        collect_message(client, m, user);
    }
}

static void each_message_keeps_its_own_identifiers(void **state) {
    (void)state;
    struct collected c;
    struct false_broker f;
    struct quartet *client;
    false_broker_start(&f, NULL, deliver_identified, NULL);
    for (int pull = 0; pull < 2; pull++) {
        collected_init(&c);
        struct quartet_options options = {.servers = f.url, .client_id = "identified", .user = &c};
        options.on_message = pull ? NULL : check_identified;
        assert_ok(quartet_open(&client, &options));
        assert_ok(quartet_start(client));
        for (int i = 0; pull && i < 3; i++) {
            struct quartet_message *m;
            assert_ok(quartet_next(client, &m, 20000));
            check_identified(client, m, NULL);
            quartet_message_free(m);
        }
        collected_wait(&c, pull ? 0 : 3);
        quartet_close(client);
        collected_deinit(&c);
    }
    false_broker_stop(&f);
}

/* Other threads may publish while the first call by hand ends the threads of the store. */
static void a_client_is_taken_into_the_hand_while_others_publish(void **state) {
    (void)state;
    char *folder = folder_make();
    struct quartet_options options = {.servers = "mqtt://127.0.0.1:1", .client_id = "hand"};
    for (int round = 0; round < 20; round++) {
        struct publisher p = {.count = 100};
        pthread_t thread;
        char name[32];
        (void)snprintf(name, sizeof name, "hand-%d", round);
        options.store = folder_file(folder, name);
        assert_ok(quartet_open(&p.client, &options));
        assert_int_equal(pthread_create(&thread, NULL, publish_all, &p), 0);
        struct quartet_status status = {.outbox_messages = 0};
        while (status.outbox_messages < 2) {
            quartet_status(p.client, &status);
        }
        assert_ok(quartet_core_time(p.client, now_ms(), wall_ms()));
        while (quartet_core_store(p.client) == 1) {
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(p.code, QUARTET_OK);
        while (quartet_core_store(p.client) == 1) {
        }
        quartet_status(p.client, &status);
        assert_int_equal(status.outbox_messages, 100);
        quartet_close(p.client);
    }
    folder_drop(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_publishes_and_receives_at_each_qos),
        cmocka_unit_test(a_loop_publishes_and_receives),
        cmocka_unit_test(by_hand_publishes_and_receives),
        cmocka_unit_test(what_is_published_before_the_broker_exists_arrives_once),
        cmocka_unit_test(a_broker_killed_under_load_costs_nothing),
        cmocka_unit_test(clients_restarted_go_on_where_they_were),
        cmocka_unit_test(several_threads_publish_and_wait),
        cmocka_unit_test(messages_are_fetched_one_by_one),
        cmocka_unit_test(properties_travel),
        cmocka_unit_test(each_message_keeps_its_own_identifiers),
        cmocka_unit_test(a_client_is_taken_into_the_hand_while_others_publish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
