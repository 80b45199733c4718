/* The log as a person sees it: which lines are there, how they look, and that a flood of them ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/log.h"

struct written {
    char directory[32];
    char path[64];
    char text[256 * 1024];
};

static void written_begin(struct written *w, struct log *log, unsigned types, bool timestamps) {
    strcpy(w->directory, "/tmp/quartet-log-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    (void)snprintf(w->path, sizeof w->path, "%s/log", w->directory);
    struct config config = {.log_types = types, .log_dests = CONFIG_LOG_FILE, .log_timestamp = timestamps};
    config.log_file = w->path;
    struct error error;
    assert_true(log_open(log, &config, &error));
}

static const char *written_end(struct written *w, struct log *log) {
    log_close(log);
    FILE *file = fopen(w->path, "r");
    assert_non_null(file);
    size_t got = fread(w->text, 1, sizeof w->text - 1, file);
    w->text[got] = '\0';
    assert_int_equal(fclose(file), 0);
    assert_int_equal(unlink(w->path), 0);
    assert_int_equal(rmdir(w->directory), 0);
    return w->text;
}

static void a_line_has_its_level(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    written_begin(w, &log, CONFIG_LOG_ERROR | CONFIG_LOG_NOTICE, false);
    log_say(&log, LOG_ERROR, "%d is wrong", 7);
    log_line(&log, LOG_WARNING, "not asked for");
    log_line(&log, LOG_NOTICE, "100% as it is %s");
    log_line(&log, LOG_DEBUG, "not asked for");
    assert_string_equal(written_end(w, &log), "error    7 is wrong\nnotice   100% as it is %s\n");
    mem_free(w);
}

static void a_line_begins_with_the_time(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    written_begin(w, &log, CONFIG_LOG_ALL, true);
    log_line(&log, LOG_INFO, "now");
    int year = 0;
    char zone = 0;
    char rest[32] = "";
    int fields = sscanf(written_end(w, &log), "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3d%c %31[^\n]", &year, &zone, rest);
    assert_int_equal(fields, 3);
    assert_true(year >= 2024);
    assert_int_equal(zone, 'Z');
    assert_string_equal(rest, "info     now");
    mem_free(w);
}

static void a_long_line_is_cut_and_stays_one_line(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    char line[3000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    written_begin(w, &log, CONFIG_LOG_ALL, false);
    log_line(&log, LOG_INFO, line);
    const char *text = written_end(w, &log);
    assert_true(strlen(text) < 1100);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    mem_free(w);
}

static size_t lines_of(const char *text, const char *with) {
    size_t count = 0;
    while ((text = strstr(text, with)) != NULL) {
        count++;
        text++;
    }
    return count;
}

/* Within one second, or at most two when the clock ticks meanwhile. */
static void a_flood_is_cut_but_never_errors(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    written_begin(w, &log, CONFIG_LOG_ALL, false);
    for (int i = 0; i < 5 * LOG_LINES_PER_SECOND; i++) {
        log_line(&log, LOG_INFO, "again");
        log_line(&log, LOG_ERROR, "grave");
    }
    const char *text = written_end(w, &log);
    assert_in_range(lines_of(text, "again\n"), LOG_LINES_PER_SECOND, 2 * LOG_LINES_PER_SECOND);
    assert_int_equal(lines_of(text, "grave\n"), 5 * LOG_LINES_PER_SECOND);
    mem_free(w);
}

static void a_file_that_cannot_be_opened_is_an_error(void **state) {
    (void)state;
    char path[] = "/nonexistent/log";
    struct config config = {.log_types = CONFIG_LOG_ALL, .log_dests = CONFIG_LOG_FILE, .log_file = path};
    struct log log;
    struct error error;
    assert_false(log_open(&log, &config, &error));
    assert_string_equal(error.text, "the log file /nonexistent/log cannot be opened: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_its_level),
        cmocka_unit_test(a_line_begins_with_the_time),
        cmocka_unit_test(a_long_line_is_cut_and_stays_one_line),
        cmocka_unit_test(a_flood_is_cut_but_never_errors),
        cmocka_unit_test(a_file_that_cannot_be_opened_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
