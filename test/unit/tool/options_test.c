/* Arguments and configuration files become options, or a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tool/options.h"

enum { WORDS_MAX = 48 };

struct parsed {
    struct tool_options options;
    struct error error;
    char line[512];
    char *words[WORDS_MAX];
};

/* Parses a line of words with single spaces between them. */
static bool parse(struct parsed *p, enum tool_program program, const char *file, const char *line) {
    int count = 0;
    p->error = (struct error){0};
    (void)snprintf(p->line, sizeof p->line, "program %s", line);
    for (char *at = p->line; at != NULL && count < WORDS_MAX - 1;) {
        p->words[count++] = at;
        at = strchr(at, ' ');
        if (at != NULL) {
            *at++ = 0;
        }
    }
    p->words[count] = NULL;
    return tool_options_parse(&p->options, program, file, count, p->words, &p->error);
}

static void test_reads_flags(void **state) {
    (void)state;
    struct parsed p;
    assert_true(
        parse(&p, TOOL_SUB, NULL, "-t a/# --topic b -q 2 -C 5 -W 3 -v -N -F %t -h host -p 99 -k 10 -u me -P pw"));
    struct tool_options *o = &p.options;
    assert_int_equal(o->topics.count, 2);
    assert_string_equal(o->topics.items[1], "b");
    assert_int_equal(o->qos, 2);
    assert_int_equal(o->message_count, 5);
    assert_int_equal(o->timeout_s, 3);
    assert_true(o->verbose && o->no_eol && !o->quiet);
    assert_string_equal(o->format, "%t");
    assert_string_equal(o->host, "host");
    assert_int_equal(o->port, 99);
    assert_int_equal(o->keep_alive_s, 10);
    assert_string_equal(o->username, "me");
    assert_string_equal(o->password, "pw");
    assert_int_equal(tool_protocol(o), 4);
    tool_options_deinit(o);
}

static void test_takes_a_url_apart(void **state) {
    (void)state;
    static const struct {
        const char *line, *host, *topic, *user, *password;
        uint64_t port;
    } rows[] = {
        {"-L mqtt://host/a/b", "host", "a/b", NULL, NULL, 0},
        {"-L mqtt://host:99/a", "host", "a", NULL, NULL, 99},
        {"-L mqtt://me@host/a", "host", "a", "me", NULL, 0},
        {"-L mqtt://me:p@w:d@host:7/a", "host", "a", "me", "p@w:d", 7},
        {"-L mqtt://[::1]:88/a", "::1", "a", NULL, NULL, 88},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct parsed p;
        assert_true(parse(&p, TOOL_SUB, NULL, rows[i].line));
        assert_string_equal(p.options.host, rows[i].host);
        assert_string_equal(p.options.topics.items[0], rows[i].topic);
        assert_int_equal(p.options.port, rows[i].port);
        assert_true(rows[i].user == NULL ? p.options.username == NULL : strcmp(p.options.username, rows[i].user) == 0);
        assert_true(rows[i].password == NULL ? p.options.password == NULL
                                             : strcmp(p.options.password, rows[i].password) == 0);
        tool_options_deinit(&p.options);
    }
}

static void test_reads_properties(void **state) {
    (void)state;
    struct parsed p;
    assert_true(parse(&p, TOOL_PUB, NULL,
                      "-t a -n -D publish content-type x -D publish user-property a b -D publish user-property a c "
                      "-D publish message-expiry-interval 9"));
    struct quartet_properties q = tool_properties_of_message(&p.options.properties[TOOL_COMMAND_PUBLISH]);
    assert_string_equal(q.content_type, "x");
    assert_int_equal(q.user_count, 2);
    assert_string_equal(q.user[1].name, "a");
    assert_string_equal(q.user[1].value, "c");
    assert_true(q.has_expiry && q.expiry_s == 9);
    assert_null(q.response_topic);
    assert_false(q.payload_is_text);
    assert_int_equal(tool_protocol(&p.options), 5);
    tool_options_deinit(&p.options);
}

static void test_names_have_no_case(void **state) {
    (void)state;
    struct parsed p;
    assert_true(
        parse(&p, TOOL_PUB, NULL, "-L MQTT://host/a -n -D PUBLISH Content-Type x -D Connect USER-property a b"));
    assert_string_equal(tool_properties_of_message(&p.options.properties[TOOL_COMMAND_PUBLISH]).content_type, "x");
    assert_int_equal(p.options.properties[TOOL_COMMAND_CONNECT].user_count, 1);
    tool_options_deinit(&p.options);
}

static void test_takes_a_filter_once(void **state) {
    (void)state;
    struct parsed p;
    assert_true(parse(&p, TOOL_SUB, NULL, "-t a -t b -t a -U c -U c -U a"));
    assert_int_equal(p.options.topics.count, 2);
    assert_string_equal(p.options.topics.items[1], "b");
    assert_int_equal(p.options.unsubscribe.count, 2);
    tool_options_deinit(&p.options);
    assert_true(parse(&p, TOOL_PUB, NULL, "-t a -t b -t a -n"));
    assert_string_equal(tool_publish_topic(&p.options), "a");
    tool_options_deinit(&p.options);
}

static void test_exactly_once_sets_what_it_needs(void **state) {
    (void)state;
    struct parsed p;
    assert_true(parse(&p, TOOL_SUB, NULL, "-t a -i me --exactly-once --store dir"));
    assert_int_equal(p.options.qos, 2);
    assert_true(p.options.keep_session);
    assert_int_equal(tool_protocol(&p.options), 5);
    tool_options_deinit(&p.options);
    assert_true(parse(&p, TOOL_PUB, NULL, "-t a -l -q 1 -i me --store dir --numbered --stored"));
    assert_true(p.options.keep_session);
    tool_options_deinit(&p.options);
}

static void test_prefix_makes_an_identifier(void **state) {
    (void)state;
    struct parsed p;
    char wanted[40];
    (void)snprintf(wanted, sizeof wanted, "pre%d", (int)getpid());
    assert_true(parse(&p, TOOL_SUB, NULL, "-t a -I pre"));
    assert_string_equal(p.options.client_id, wanted);
    tool_options_deinit(&p.options);
}

static void test_refuses_what_makes_no_sense(void **state) {
    (void)state;
    static const struct {
        enum tool_program program;
        const char *line, *says;
    } rows[] = {
        {TOOL_SUB, "--nosuch", "--nosuch"},
        {TOOL_SUB, "-t", "-t needs"},
        {TOOL_SUB, "-q 1", "-t TOPIC"},
        {TOOL_SUB, "-t a -q 3", "between 0 and 2"},
        {TOOL_SUB, "-t a -q x", "number"},
        {TOOL_SUB, "-t a/#/b", "a/#/b"},
        {TOOL_SUB, "-t a -T +b", "+b"},
        {TOOL_SUB, "-t a -c", "-i"},
        {TOOL_SUB, "-t a -x -1", "-i"},
        {TOOL_SUB, "-t a -i x -I y", "-I"},
        {TOOL_SUB, "-t a -R --retained-only", "-R"},
        {TOOL_SUB, "-t a -V mqttv31", "3.1"},
        {TOOL_SUB, "-t a --cafile x", "--cafile is not supported"},
        {TOOL_SUB, "-t a --ws", "--ws is not supported"},
        {TOOL_SUB, "-t a --proxy socks5h://h", "--proxy is not supported"},
        {TOOL_SUB, "-L mqtts://h/t", "TLS"},
        {TOOL_SUB, "-L mqtt://h", "no topic"},
        {TOOL_SUB, "-t a -F %y", "%y"},
        {TOOL_SUB, "-t a --exactly-once -i me", "--store"},
        {TOOL_SUB, "-t a --exactly-once --store d", "-i"},
        {TOOL_SUB, "-t a --exactly-once --store d -i me -x 0", "-x 0"},
        {TOOL_SUB, "-t a -m x", "-m"},
        {TOOL_PUB, "-t a", "-m"},
        {TOOL_PUB, "-m a", "-t"},
        {TOOL_PUB, "-t a -m x -n", "only one"},
        {TOOL_PUB, "-t a/+ -m x", "a/+"},
        {TOOL_PUB, "-t a -m x --stored", "--store"},
        {TOOL_PUB, "-t a -m x --store d -i i --stored", "-q 1"},
        {TOOL_PUB, "-t a -m x --store d -i i -q 1 --numbered", "-l"},
        {TOOL_PUB, "-t a -m x --repeat-delay -1", "negative"},
        {TOOL_PUB, "-t a -m x -D publish topic-alias 0", "between 1"},
        {TOOL_PUB, "-t a -m x -D publish subscription-identifier 1", "cannot stand in publish"},
        {TOOL_PUB, "-t a -m x -D publish user-property a", "name and a value"},
        {TOOL_PUB, "-t a -m x -D nosuch content-type a", "nosuch"},
        {TOOL_PUB, "-t a -m x -D publish content-type a -D publish content-type b", "once"},
        {TOOL_PUB, "-t a -m x -D publish response-topic a/#", "a/#"},
        {TOOL_PUB, "-t a -m x -D connect authentication-method x", "not supported"},
        {TOOL_PUB, "-t a -m x -o /nonexistent/options", "cannot be opened"},
        {TOOL_RR, "-t a -m x", "-e"},
        {TOOL_RR, "-t a -m x -e b/#", "b/#"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct parsed p;
        assert_false(parse(&p, rows[i].program, NULL, rows[i].line));
        if (strstr(p.error.text, rows[i].says) == NULL) {
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].line, p.error.text, rows[i].says);
        }
        tool_options_deinit(&p.options);
    }
}

/* ---- the configuration file ---- */

static bool parse_file(struct parsed *p, const char *content, const char *line) {
    char path[] = "/tmp/quartet-options-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    (void)close(fd);
    bool good = parse(p, TOOL_SUB, path, line);
    (void)unlink(path);
    return good;
}

static void test_reads_a_file_before_the_arguments(void **state) {
    (void)state;
    struct parsed p;
    assert_true(parse_file(&p,
                           "# a comment\n\n-t from/file\r\n  -F %p and %t\n-q 1\n"
                           "-D connect user-property a two words\n-v",
                           "-q 2 -t second"));
    assert_int_equal(p.options.topics.count, 2);
    assert_string_equal(p.options.topics.items[0], "from/file");
    assert_string_equal(p.options.format, "%p and %t");
    assert_int_equal(p.options.qos, 2);
    assert_true(p.options.verbose);
    assert_string_equal(p.options.properties[TOOL_COMMAND_CONNECT].user[0].value, "two words");
    tool_options_deinit(&p.options);
}

static void test_a_missing_file_is_none(void **state) {
    (void)state;
    struct parsed p;
    assert_true(parse(&p, TOOL_SUB, "/nonexistent/options", "-t a"));
    tool_options_deinit(&p.options);
    assert_false(parse(&p, TOOL_SUB, "/", "-t a"));
    tool_options_deinit(&p.options);
}

static void test_a_named_file_is_needed(void **state) {
    (void)state;
    struct parsed p;
    assert_false(parse(&p, TOOL_PUB, NULL, "-t a -o /nonexistent/options -n"));
    tool_options_deinit(&p.options);
    assert_true(parse(&p, TOOL_PUB, NULL, "-t a -D publish user-property -o /nonexistent/options -m -o"));
    assert_string_equal(p.options.payload_text, "-o");
    tool_options_deinit(&p.options);
}

static void test_names_the_line_that_is_wrong(void **state) {
    (void)state;
    static const char *const wrong[] = {"-t a\n--nosuch\n", "# x\n-q 7\n", "-t a\n-v yes\n", "-t a\n-q\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct parsed p;
        assert_false(parse_file(&p, wrong[i], "-t a"));
        assert_non_null(strstr(p.error.text, "line 2"));
        tool_options_deinit(&p.options);
    }
}

static void test_finds_the_file(void **state) {
    (void)state;
    struct buf path = {0};
    assert_int_equal(setenv("HOME", "/home/x", 1), 0);
    assert_int_equal(unsetenv("XDG_CONFIG_HOME"), 0);
    tool_config_path(&path, TOOL_SUB);
    assert_string_equal((const char *)path.ptr, "/home/x/.config/mosquitto_sub");
    path.len = 0;
    assert_int_equal(setenv("XDG_CONFIG_HOME", "/etc/y", 1), 0);
    tool_config_path(&path, TOOL_RR);
    assert_string_equal((const char *)path.ptr, "/etc/y/mosquitto_rr");
    buf_deinit(&path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_flags),
        cmocka_unit_test(test_takes_a_url_apart),
        cmocka_unit_test(test_reads_properties),
        cmocka_unit_test(test_exactly_once_sets_what_it_needs),
        cmocka_unit_test(test_prefix_makes_an_identifier),
        cmocka_unit_test(test_refuses_what_makes_no_sense),
        cmocka_unit_test(test_reads_a_file_before_the_arguments),
        cmocka_unit_test(test_a_missing_file_is_none),
        cmocka_unit_test(test_names_the_line_that_is_wrong),
        cmocka_unit_test(test_finds_the_file),
        cmocka_unit_test(test_names_have_no_case),
        cmocka_unit_test(test_takes_a_filter_once),
        cmocka_unit_test(test_a_named_file_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
