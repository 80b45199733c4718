/* The configuration as its users meet it: what is accepted, what is refused and how that is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "config/config.h"

/* A configuration and all that was said about it. */
struct reading {
    struct config config;
    struct config_report report;
    struct buf said;
};

static void hear(void *user, bool error, const char *line) {
    struct reading *r = user;
    buf_bytes(&r->said, span_str(error ? "error: " : "warning: "));
    buf_bytes(&r->said, span_str(line));
    buf_u8(&r->said, '\n');
}

static void reading_begin(struct reading *r) {
    *r = (struct reading){.report = {.say = hear, .user = r}};
    config_init(&r->config);
}

static const char *reading_said(struct reading *r) {
    buf_reserve(&r->said, 1)[0] = '\0';
    return (const char *)r->said.ptr;
}

static void reading_end(struct reading *r) {
    config_deinit(&r->config);
    buf_deinit(&r->said);
}

static void reading_of(struct reading *r, const char *text) {
    reading_begin(r);
    config_read_text(&r->config, "q.conf", span_str(text), &r->report);
    config_check(&r->config, &r->report);
}

static void expect_said(const char *text, const char *said) {
    struct reading r;
    reading_of(&r, text);
    assert_string_equal(reading_said(&r), said);
    reading_end(&r);
}

/* Text, and exactly what is said about it. */
static const struct {
    const char *text;
    const char *said;
} said_rows[] = {
    {"", ""},
    {"# a comment\n\n   \t\n  # another\n", ""},
    {"persistence true", ""},
    {"  persistence\t false \r\n", ""},
    {"persistence", "error: q.conf:1: persistence: it needs a value\n"},
    {"persistence yes", "error: q.conf:1: persistence: \"yes\" is neither true nor false\n"},
    {"persistence true # for now", "error: q.conf:1: persistence: \"true # for now\" is neither true nor false\n"},
    {"\npersistance true", "error: q.conf:2: there is no option \"persistance\"; did you mean persistence?\n"},
    {"max_inflight_message 3",
     "error: q.conf:1: there is no option \"max_inflight_message\"; did you mean max_inflight_messages?\n"},
    {"shrads 3", "error: q.conf:1: there is no option \"shrads\"; did you mean shards?\n"},
    {"prot 1884", "error: q.conf:1: there is no option \"prot\"; did you mean port?\n"},
    {"colour blue", "error: q.conf:1: there is no option \"colour\"\n"},
    {"\x1b[31mred true", "error: q.conf:1: there is no option \"?[31mred\"\n"},
    {"plugin_opt_x 1", "error: q.conf:1: plugin_opt_x is refused: plugins are not supported\n"},
    {"password_file /etc/p", "error: q.conf:1: password_file is refused: authentication comes later\n"},
    {"acl_file /etc/a", "error: q.conf:1: acl_file is refused: access control comes later\n"},
    {"per_listener_settings false\nmax_qos 2\nretain_available true\nupgrade_outgoing_qos false", ""},
    {"max_inflight_bytes 0\nmessage_size_limit 0\nqueue_qos0_messages false", ""},
    {"max_qos 1", "error: q.conf:1: max_qos is refused: all of QoS 0, 1 and 2 are always offered\n"},
    {"retain_available false",
     "error: q.conf:1: retain_available is refused: retained messages are always available\n"},
    {"queue_qos0_messages true",
     "error: q.conf:1: queue_qos0_messages is refused: QoS 0 messages are not kept for absent clients\n"},
    {"cafile", "error: q.conf:1: cafile is refused: TLS comes later\n"},
    {"autosave_interval 60",
     "warning: q.conf:1: autosave_interval has no effect: every record is on the disk before it is acknowledged\n"},
    {"shards 2\nshards 3", "warning: q.conf:2: shards was set before; this value counts\n"},
    {"include_dir /etc/x", "error: q.conf:1: include_dir: only the main configuration file may include others\n"},
    {"listener 1883",
     "error: q.conf:1: a listener is named without `allow_anonymous true`, and there is no authentication yet, so "
     "every client would be refused; write `allow_anonymous true` to let all clients in without a password\n"},
    {"allow_anonymous false",
     "error: allow_anonymous is false, and there is no authentication yet, so every client would be refused; write "
     "`allow_anonymous true` to let all clients in without a password\n"},
    {"port 1884\nallow_anonymous true", ""},
    {"listener x", "error: q.conf:1: listener: \"x\" is not a port from 0 to 65535\n"},
    {"listener 65536 127.0.0.1", "error: q.conf:1: listener: \"65536\" is not a port from 0 to 65535\n"},
    {"allow_anonymous true\nlistener 0 /run/q.sock", ""},
    {"allow_anonymous true\nlistener 0 \t run/q.sock", ""},
    {"listener 0 /run/q.sock",
     "error: q.conf:1: a listener is named without `allow_anonymous true`, and there is no authentication yet, so "
     "every client would be refused; write `allow_anonymous true` to let all clients in without a password\n"},
    {"shards 1\nlistener 1883 /run/q.sock",
     "error: q.conf:2: listener: a UNIX socket has no port; write `listener 0 /run/q.sock`\n"},
    {"listener 0 @q",
     "error: q.conf:1: listener: \"@q\" is an abstract name, which every user could connect to; give a path\n"},
    {"listener 0 /run/q sock", "error: q.conf:1: listener: \"/run/q sock\" is not a path: it has a blank\n"},
    {"listener 0 /run/q\x1bsock", "error: q.conf:1: listener: \"/run/q?sock\" is not a path: it has a blank\n"},
    {"bind_address /run/q.sock", "error: q.conf:1: bind_address: \"/run/q.sock\" is not an address; write `listener 0 "
                                 "PATH` for a UNIX socket\n"},
    {"allow_anonymous true\nlistener 0 /run/q.sock\nsocket_domain unix",
     "warning: q.conf:3: socket_domain has no effect: the listener above is a UNIX socket\n"},
    {"allow_anonymous true\nlistener 0 /run/q.sock\nsocket_domain ipv4",
     "warning: q.conf:3: socket_domain has no effect: the listener above is a UNIX socket\n"},
    {"allow_anonymous true\nlistener 1883\nlistener 1883",
     "error: q.conf:3: a listener of this port and address is there already\n"},
    {"allow_anonymous true\nlistener 1883 ::1\nlistener 1884\nlistener 1883 ::1",
     "error: q.conf:4: a listener of this port and address is there already\n"},
    {"allow_anonymous true\nlistener 0 /run/q.sock\nlistener 0 /run/q.sock",
     "error: q.conf:3: a listener of /run/q.sock is there already\n"},
    {"allow_anonymous true\nlistener 0\nlistener 0\nlistener 1883 ::1\nlistener 1883 127.0.0.1", ""},
    {"allow_anonymous true\nlistener 1883\nsocket_domain ipv4\nlistener 1883\nsocket_domain ipv6", ""},
    {"listener 1883 a b", "error: q.conf:1: listener: \"a b\" is not an address\n"},
    {"protocol websockets", "error: q.conf:1: protocol: WebSocket listeners come later\n"},
    {"protocol mqtt", ""},
    {"socket_domain unix", "error: q.conf:1: socket_domain: a UNIX socket needs a path; write `listener 0 PATH`\n"},
    {"socket_domain ipv5", "error: q.conf:1: socket_domain: \"ipv5\" is none of ipv4, ipv6, unix\n"},
    {"log_type information\nlog_type none", ""},
    {"log_type chatty",
     "error: q.conf:1: log_type: \"chatty\" is none of error, warning, notice, information, debug, all, none\n"},
    {"log_dest topic", "warning: q.conf:1: log_dest: topic is not supported and is left out\n"},
    {"log_dest file", "error: q.conf:1: log_dest: file needs a path\n"},
    {"segment_size 1048577", "error: segment_size: 1048577 is not a multiple of 4096\n"
                             "error: frame_size: 4194304 is more than half of segment_size\n"
                             "error: max_packet_size: 1048576 is more than half of segment_size, which must hold it\n"},
    {"allow_anonymous true\nmax_connections 5\nlistener 1884",
     "error: q.conf:3: max_connections and socket_domain stand before the first listener and would have no effect\n"},
};

static void problems_are_said_with_their_place(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof said_rows / sizeof *said_rows; i++) {
        expect_said(said_rows[i].text, said_rows[i].said);
    }
}

static void every_problem_is_said_and_counted(void **state) {
    (void)state;
    struct reading r;
    reading_of(&r, "shards 65\nfoo 1\npersistence maybe\n");
    assert_int_equal(r.report.errors, 3);
    reading_end(&r);
}

/* Sets `name` to `value`; true when nothing was said. */
static bool accepted(const char *name, const char *value) {
    struct reading r;
    reading_begin(&r);
    config_set(&r.config, "here", name, value, &r.report);
    bool fine = r.said.len == 0;
    reading_end(&r);
    return fine;
}

enum unit { COUNT, BYTES, TIME, LIFE };

static void number_bounds(const char *name, enum unit unit, uint64_t min, uint64_t max) {
    static const char *const suffix[] = {[COUNT] = "", [BYTES] = "", [TIME] = "ms", [LIFE] = "s"};
    char value[64];
    const struct {
        uint64_t number;
        bool fine;
    } rows[] = {{min, true}, {min - 1, false}, {0, min == 0}, {max, true}, {max + 1, false}, {UINT64_MAX, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)snprintf(value, sizeof value, "%llu%s", (unsigned long long)rows[i].number, suffix[unit]);
        if (accepted(name, value) != rows[i].fine) {
            fail_msg("%s %s was%s accepted", name, value, rows[i].fine ? " not" : "");
        }
    }
    static const char *const wrong[] = {
        "-1", "x", "1x", "0x10", "1.5", "1 2", "18446744073709551616", "18446744073709551620", "+1", "1kk"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (accepted(name, wrong[i])) {
            fail_msg("%s %s was accepted", name, wrong[i]);
        }
    }
}

static void numbers_are_taken_from_least_to_most(void **state) {
    (void)state;
#define BOUNDS(name, unit, min, max, initial, text) number_bounds(#name, unit, min, max);
    CONFIG_NUMBER_ROWS(BOUNDS)
#undef BOUNDS
}

static void defaults_are_within_their_bounds(void **state) {
    (void)state;
#define WITHIN(name, unit, min, max, initial, text)                                                                    \
    assert_true((initial) <= (max) && ((uint64_t)(initial) + 1 > (min) || (initial) == 0));
    CONFIG_NUMBER_ROWS(WITHIN)
#undef WITHIN
    struct reading r;
    reading_of(&r, "");
    assert_true(r.config.local_only);
    assert_int_equal(r.config.listener_count, 1);
    assert_int_equal(r.config.listeners[0].port, 1883);
    assert_true(r.config.persistence);
    reading_end(&r);
}

static void units_multiply(void **state) {
    (void)state;
    struct reading r;
    reading_of(&r, "max_queued_bytes 3G\nmax_packet_size 64k\nconnect_timeout 2m\nrefuse_timeout 7\n"
                   "persistent_client_expiration 2w\nsegment_size 64M\n");
    assert_string_equal(reading_said(&r), "");
    assert_true(r.config.max_queued_bytes == 3ULL << 30);
    assert_int_equal(r.config.max_packet_size, 65536);
    assert_int_equal(r.config.connect_timeout, 120000);
    assert_int_equal(r.config.refuse_timeout, 7000);
    assert_int_equal(r.config.persistent_client_expiration, 14 * 24 * 3600);
    assert_int_equal(r.config.segment_size, 64 << 20);
    reading_end(&r);
}

static void listeners_are_kept_in_order(void **state) {
    (void)state;
    struct reading r;
    reading_of(&r, "allow_anonymous true\nport 1880\nmax_connections 9\n"
                   "listener 1884 192.0.2.1\nmax_connections 10\nsocket_domain ipv4\n"
                   "listener 0 /run/q.sock\nmax_connections 11\n");
    assert_string_equal(reading_said(&r), "");
    assert_false(r.config.local_only);
    assert_int_equal(r.config.listener_count, 3);
    assert_null(r.config.listeners[0].path);
    assert_string_equal(r.config.listeners[1].path, "/run/q.sock");
    assert_int_equal(r.config.listeners[1].max_connections, 11);
    assert_int_equal(r.config.listeners[0].port, 1884);
    assert_string_equal(r.config.listeners[0].address, "192.0.2.1");
    assert_int_equal(r.config.listeners[0].max_connections, 10);
    assert_int_equal(r.config.listeners[0].family, 4);
    assert_null(r.config.listeners[1].address);
    assert_int_equal(r.config.listeners[2].port, 1880);
    assert_int_equal(r.config.listeners[2].max_connections, 9);
    reading_end(&r);
}

/* The longest path that a UNIX socket can have is taken, and one byte more is said with its place. */
static void a_path_fits_the_system(void **state) {
    (void)state;
    char text[256] = "allow_anonymous true\nlistener 0 /";
    size_t begin = strlen(text) - 1;
    memset(text + begin + 1, 'x', CONFIG_PATH_BYTES_MAX - 1);
    struct reading r;
    reading_of(&r, text);
    assert_string_equal(reading_said(&r), "");
    assert_string_equal(r.config.listeners[0].path, text + begin);
    reading_end(&r);
    text[begin + CONFIG_PATH_BYTES_MAX] = 'x';
    reading_of(&r, text);
    assert_int_equal(r.report.errors, 1);
    assert_non_null(strstr(reading_said(&r), "error: q.conf:2: listener: \"/xxxxx"));
    assert_non_null(strstr(reading_said(&r), "\" has 108 bytes, and the path of a UNIX socket may have 107\n"));
    reading_end(&r);
}

static void too_many_listeners_are_refused(void **state) {
    (void)state;
    struct buf text = {0};
    buf_bytes(&text, SPAN("allow_anonymous true\n"));
    for (int i = 0; i <= CONFIG_LISTENERS_MAX; i++) {
        buf_bytes(&text, SPAN("listener 0 ::1\n"));
    }
    buf_u8(&text, '\0');
    expect_said((const char *)text.ptr, "error: q.conf:66: more than 64 listeners\n");
    buf_deinit(&text);
}

static void the_log_goes_where_it_is_sent(void **state) {
    (void)state;
    struct reading r;
    reading_of(&r, "log_dest stdout\nlog_dest file /tmp/a b.log\nlog_type error\nlog_type debug\n");
    assert_string_equal(reading_said(&r), "");
    assert_int_equal(r.config.log_dests, CONFIG_LOG_STDOUT | CONFIG_LOG_FILE);
    assert_string_equal(r.config.log_file, "/tmp/a b.log");
    assert_int_equal(r.config.log_types, CONFIG_LOG_ERROR | CONFIG_LOG_DEBUG);
    reading_end(&r);
}

static void zero_bytes_are_refused(void **state) {
    (void)state;
    struct reading r;
    reading_begin(&r);
    config_read_text(&r.config, "q.conf", span_of("persistence_location a\0b", 24), &r.report);
    assert_int_equal(r.report.errors, 1);
    assert_null(r.config.persistence_location);
    reading_end(&r);
}

/* ---- files ---- */

static void write_file(const char *directory, const char *name, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void remove_file(const char *directory, const char *name) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(unlink(path), 0);
}

static void a_directory_is_included_in_order(void **state) {
    (void)state;
    char directory[] = "/tmp/quartet-config-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char text[128];
    (void)snprintf(text, sizeof text, "include_dir %s\n", directory);
    write_file(directory, "main", text);
    write_file(directory, "b.conf", "shards 3\n");
    write_file(directory, "a.conf", "shards 2\n");
    write_file(directory, "c.txt", "nonsense\n");
    char main_path[128];
    (void)snprintf(main_path, sizeof main_path, "%s/main", directory);
    struct reading r;
    reading_begin(&r);
    config_read_file(&r.config, main_path, &r.report);
    assert_int_equal(r.report.errors, 0);
    assert_int_equal(r.config.shards, 3);
    char said[256];
    (void)snprintf(said, sizeof said, "warning: %s/b.conf:1: shards was set before; this value counts\n", directory);
    assert_string_equal(reading_said(&r), said);
    reading_end(&r);
    remove_file(directory, "main");
    remove_file(directory, "a.conf");
    remove_file(directory, "b.conf");
    remove_file(directory, "c.txt");
    assert_int_equal(rmdir(directory), 0);
}

static void an_absent_file_is_an_error(void **state) {
    (void)state;
    struct reading r;
    reading_begin(&r);
    config_read_file(&r.config, "/nonexistent/q.conf", &r.report);
    assert_string_equal(reading_said(&r), "error: /nonexistent/q.conf cannot be opened: No such file or directory\n");
    reading_end(&r);
    reading_begin(&r);
    config_read_file(&r.config, "/", &r.report);
    assert_int_equal(r.report.errors, 1);
    reading_end(&r);
}

/* ---- the manual ---- */

/* The manual page, read from beside the tree that this test was built from. */
static struct buf manual_page(void) {
    static const char test[] = "test/unit/config/config_test.c";
    struct buf text = {0};
    char path[512];
    (void)snprintf(path, sizeof path, "%.*sdocs/quartetd.8", (int)(strlen(__FILE__) - strlen(test)), __FILE__);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t got;
    do {
        got = fread(buf_reserve(&text, 4096), 1, 4096, file);
        text.len += got;
    } while (got > 0);
    assert_int_equal(fclose(file), 0);
    buf_u8(&text, '\0');
    return text;
}

static void the_manual_explains_every_option(void **state) {
    (void)state;
    struct buf manual = manual_page();
#define EXPLAINED(name, ...)                                                                                           \
    if (strstr((const char *)manual.ptr, ".It Cm " #name " ") == NULL) {                                               \
        fail_msg("the manual does not explain %s", #name);                                                             \
    }
    CONFIG_NUMBER_ROWS(EXPLAINED)
    CONFIG_FLAG_ROWS(EXPLAINED)
    CONFIG_TEXT_ROWS(EXPLAINED)
    CONFIG_WORD_ROWS(EXPLAINED)
#undef EXPLAINED
    buf_deinit(&manual);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_are_said_with_their_place),
        cmocka_unit_test(every_problem_is_said_and_counted),
        cmocka_unit_test(numbers_are_taken_from_least_to_most),
        cmocka_unit_test(defaults_are_within_their_bounds),
        cmocka_unit_test(units_multiply),
        cmocka_unit_test(listeners_are_kept_in_order),
        cmocka_unit_test(a_path_fits_the_system),
        cmocka_unit_test(too_many_listeners_are_refused),
        cmocka_unit_test(the_log_goes_where_it_is_sent),
        cmocka_unit_test(zero_bytes_are_refused),
        cmocka_unit_test(a_directory_is_included_in_order),
        cmocka_unit_test(an_absent_file_is_an_error),
        cmocka_unit_test(the_manual_explains_every_option),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
