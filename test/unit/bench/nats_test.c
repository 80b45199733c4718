/* NATS lines, whole and cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bench/bench.h"

static struct bench_options options = {.publishers = 1, .subscribers = 1, .payload = 20, .nats = true};
static struct client clients[2];
static struct client *dirty[2];
static struct bench bench;

static void start(void) {
    memset(clients, 0, sizeof(clients));
    bench = (struct bench){.options = &options,
                           .dialect = &dialect_nats,
                           .clients = clients,
                           .client_count = 2,
                           .dirty = dirty,
                           .run = "r"};
    clients[0].role = CLIENT_SUBSCRIBER;
    clients[0].state = CLIENT_OPENING;
    bench.busy = 1;
    clients[1].role = CLIENT_PUBLISHER;
    subscriber_init(&bench, &clients[0]);
    publisher_init(&bench, &clients[1]);
}

static void stop(void) {
    buf_deinit(&clients[0].channel.out);
    buf_deinit(&clients[1].channel.out);
    subscriber_deinit(clients[0].subscriber);
    publisher_deinit(clients[1].publisher);
}

static void text(struct buf *out, const char *words) {
    buf_bytes(out, span_str(words));
}

/* What a server sends a subscriber: a handshake, then two messages, one of them with a reply subject. */
static void script(struct buf *out) {
    text(out, "INFO {\"server_id\":\"x\"}\r\nPONG\r\n");
    for (uint32_t i = 0; i < 2; i++) {
        struct stamp stamp = {0, i, 0};
        text(out, i == 0 ? "MSG qb.r.0 1 20\r\n" : "MSG qb.r.0 1 reply 20\r\n");
        buf_bytes(out, span_of(&stamp, sizeof(stamp)));
        text(out, "\r\n\r\n\r\n"); /* a payload may look like an end of line */
    }
    text(out, "PING\r\n");
}

static void cut_anywhere_it_is_the_same(void **state) {
    (void)state;
    struct buf all = {0};
    script(&all);
    for (size_t cut = 0; cut <= all.len; cut++) {
        start();
        struct span in = span_of(all.ptr, cut);
        dialect_nats.take(&bench, &clients[0], &in);
        in = span_skip(buf_span(&all), cut - in.len);
        dialect_nats.take(&bench, &clients[0], &in);
        assert_int_equal(in.len, 0);
        assert_int_equal(clients[0].state, CLIENT_READY);
        assert_int_equal(bench.counts.delivered, 2);
        assert_int_equal(bench.counts.violations, 0);
        assert_int_equal(clients[0].channel.out.len, strlen("PONG\r\n"));
        stop();
    }
    buf_deinit(&all);
}

static void hello_subscribes(void **state) {
    (void)state;
    start();
    dialect_nats.hello(&bench, &clients[0]);
    buf_u8(&clients[0].channel.out, 0);
    assert_non_null(strstr((const char *)clients[0].channel.out.ptr, "\r\nSUB qb.r.0 1\r\nPING\r\n"));
    stop();
}

static void messages_are_published(void **state) {
    (void)state;
    start();
    clients[1].state = CLIENT_READY;
    bench.publishing = true;
    clients[1].publisher->quota = 1;
    publisher_fill(&bench, &clients[1]);
    const struct buf *out = &clients[1].channel.out;
    assert_int_equal(out->len, strlen("PUB qb.r.0 20\r\n") + 22);
    assert_memory_equal(out->ptr, "PUB qb.r.0 20\r\n", 15);
    assert_memory_equal(out->ptr + out->len - 2, "\r\n", 2);
    stop();
}

static void errors_end_the_run(void **state) {
    (void)state;
    static const char *const lines[] = {"-ERR 'Slow Consumer'\r\n", "MSG a 1 x\r\n", "MSG a 1 999999999999\r\n"};
    for (size_t i = 0; i < 3; i++) {
        start();
        struct span in = span_str(lines[i]);
        dialect_nats.take(&bench, &clients[0], &in);
        assert_true(bench.failed);
        stop();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_anywhere_it_is_the_same),
        cmocka_unit_test(hello_subscribes),
        cmocka_unit_test(messages_are_published),
        cmocka_unit_test(errors_end_the_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
