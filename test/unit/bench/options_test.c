/* Which command lines are taken, what they mean, and what is said about the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "bench/options.h"

enum { ARGUMENTS_MAX = 24 };

/* Splits a line at its spaces and parses it. */
static bool parse(const char *line, struct bench_options *o, struct error *error) {
    static char text[512];
    static char verb[] = "bench";
    char *argv[ARGUMENTS_MAX] = {verb};
    int argc = 1;
    assert_true(strlen(line) < sizeof(text));
    strcpy(text, line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
        assert_true(argc + 1 < ARGUMENTS_MAX);
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    *error = (struct error){0};
    return bench_options_parse(argc, argv, o, error);
}

static struct bench_options parsed(const char *line) {
    struct bench_options o;
    struct error error;
    if (!parse(line, &o, &error)) {
        fail_msg("\"%s\": %s", line, error.text);
    }
    return o;
}

static void defaults(void **state) {
    (void)state;
    struct bench_options o = parsed("");
    assert_string_equal(o.host, "127.0.0.1");
    assert_int_equal(o.port, 1883);
    assert_int_equal(o.publishers, 10);
    assert_int_equal(o.subscribers, 10);
    assert_int_equal(o.qos, 0);
    assert_int_equal(o.sub_qos, 0);
    assert_int_equal(o.payload, 64);
    assert_int_equal(o.seconds, 10);
    assert_int_equal(o.warmup, 1);
    assert_int_equal(o.drain, 1);
    assert_int_equal(o.messages, 0);
    assert_int_equal(o.protocol, 0);
    assert_false(o.durable || o.json || o.progress || o.nats || o.stub || o.help);
}

static void values_are_taken(void **state) {
    (void)state;
    struct bench_options o = parsed("--host ::1 --port 1 --publishers 3 --topology fan-all --subscribers 7 --qos 2 "
                                    "--payload 16 --window 65000 --protocol 5 --durable --messages 9 --json");
    assert_string_equal(o.host, "::1");
    assert_int_equal(o.port, 1);
    assert_int_equal(o.publishers, 3);
    assert_int_equal(o.subscribers, 7);
    assert_int_equal(o.topology, TOPOLOGY_FAN_ALL);
    assert_int_equal(o.qos, 2);
    assert_int_equal(o.payload, 16);
    assert_int_equal(o.window, 65000);
    assert_int_equal(o.protocol, 1);
    assert_int_equal(o.messages, 9);
    assert_true(o.durable && o.json);
}

static void defaults_follow_other_flags(void **state) {
    (void)state;
    assert_int_equal(parsed("--qos 2").sub_qos, 2);
    assert_int_equal(parsed("--qos 1").drain, 5);
    assert_int_equal(parsed("--nats").port, 4222);
    assert_int_equal(parsed("--messages 5").warmup, 0);
    assert_int_equal(parsed("--idle 5").publishers, 0);
    assert_int_equal(parsed("--idle 5").subscribers, 0);
    assert_int_equal(parsed("--idle 5 --publishers 2").subscribers, 2);
    assert_int_equal(parsed("--topology fan-in --publishers 40").subscribers, 1);
    assert_int_equal(parsed("--topology fan-out --publishers 1").subscribers, 10);
}

struct bad_line {
    const char *line;
    const char *words; /* that the sentence must hold */
};

static void mistakes_are_named(void **state) {
    (void)state;
    static const struct bad_line lines[] = {
        {"--frob", "--frob"},
        {"qos", "qos"},
        {"--qos", "--qos needs a value"},
        {"--qos 3", "between 0 and 2"},
        {"--qos -1", "a number"},
        {"--qos 1x", "a number"},
        {"--port 0", "between 1 and 65535"},
        {"--port 65536", "between 1 and 65535"},
        {"--messages 99999999999999999999", "a number"},
        {"--payload 15", "--payload"},
        {"--topology ring", "pairs|fan-in|fan-out|fan-all"},
        {"--protocol 3.1", "3.1.1|5"},
        {"--protocol", "--protocol"},
        {"--clean --durable", "exclude"},
        {"--messages 1 --seconds 1", "exclude"},
        {"--nats --qos 1", "--nats"},
        {"--nats --durable", "--nats"},
        {"--publishers 3 --subscribers 4", "pairs"},
        {"--topology fan-in --publishers 3 --subscribers 4", "fan-in"},
        {"--topology fan-out --publishers 3 --subscribers 2", "fan-out"},
        {"--publishers 0", "nothing to do"},
        {"--subscribers 0 --backlog 5", "--backlog"},
        {"--stage fill --qos 1 --messages 5 --run x", "--durable"},
        {"--stage fill --durable --messages 5 --run x", "QoS"},
        {"--stage fill --durable --qos 1 --run x", "--messages"},
        {"--stage fill --durable --qos 1 --messages 5", "--run"},
        {"--stage wipe --durable", "--run"},
        {"--run a/b", "--run"},
        {"--run #", "--run"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct bench_options o;
        struct error error;
        if (parse(lines[i].line, &o, &error)) {
            fail_msg("\"%s\" was taken", lines[i].line);
        }
        assert_int_equal(error.kind, ERROR_INVALID);
        if (strstr(error.text, lines[i].words) == NULL) {
            fail_msg("\"%s\" gave \"%s\"", lines[i].line, error.text);
        }
    }
}

static void help_wins_over_nonsense(void **state) {
    (void)state;
    assert_true(parsed("--clean --durable --help").help);
}

/* Counts the pairs that share a topic, one by one. */
static uint64_t count_fan(const struct bench_options *o, uint64_t publisher) {
    uint64_t fan = 0;
    for (uint64_t s = 0; s < o->subscribers; s++) {
        bool same = publisher % bench_topics(o) == s % bench_topics(o);
        fan += o->topology == TOPOLOGY_FAN_ALL || same ? 1 : 0;
    }
    return fan;
}

static void fans_add_up(void **state) {
    (void)state;
    static const char *const lines[] = {
        "--publishers 7",
        "--topology fan-in --publishers 7 --subscribers 3",
        "--topology fan-out --publishers 3 --subscribers 8",
        "--topology fan-all --publishers 3 --subscribers 8",
        "--publishers 5 --subscribers 0",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct bench_options o = parsed(lines[i]);
        for (uint64_t p = 0; p < o.publishers; p++) {
            assert_int_equal(bench_fan(&o, p), count_fan(&o, p));
        }
    }
}

static void every_topic_has_both_ends(void **state) {
    (void)state;
    assert_int_equal(bench_topics(&(struct bench_options){.publishers = 7, .subscribers = 7}), 7);
    assert_int_equal(bench_topics(&(struct bench_options){.publishers = 7, .subscribers = 3}), 3);
    assert_int_equal(bench_topics(&(struct bench_options){.publishers = 3, .subscribers = 8}), 3);
    assert_int_equal(bench_topics(&(struct bench_options){.publishers = 3, .subscribers = 0}), 3);
    struct bench_options all = {.publishers = 7, .subscribers = 3, .topology = TOPOLOGY_FAN_ALL};
    assert_int_equal(bench_topics(&all), 7);
}

static void quotas_add_up(void **state) {
    (void)state;
    struct bench_options o = parsed("--publishers 7 --messages 1000");
    uint64_t sum = 0;
    for (uint64_t p = 0; p < o.publishers; p++) {
        uint64_t quota = bench_quota(&o, p);
        assert_true(quota == 142 || quota == 143);
        sum += quota;
    }
    assert_int_equal(sum, 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(values_are_taken),
        cmocka_unit_test(defaults_follow_other_flags),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(help_wins_over_nonsense),
        cmocka_unit_test(fans_add_up),
        cmocka_unit_test(every_topic_has_both_ends),
        cmocka_unit_test(quotas_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
