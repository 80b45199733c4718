/* The log as a person sees it: which lines are there, how they look, and that a flood of them ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/log.h"
#include "net/log_limit.h"

struct written {
    char directory[32];
    char path[64];
    int fd; /* of a pipe that is read from instead */
    char text[512 * 1024];
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

/* Within one second, or at most two when the clock ticks meanwhile. What is left out is counted. */
static void a_flood_is_cut_but_never_errors(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    written_begin(w, &log, CONFIG_LOG_ALL, false);
    for (int i = 0; i < 500; i++) {
        log_say(&log, LOG_INFO, "again %d (%s)", i, "x");
        log_say(&log, LOG_ERROR, "grave");
    }
    log_say(&log, LOG_NOTICE, "other");
    const char *text = written_end(w, &log);
    size_t again = lines_of(text, "info     again ");
    assert_in_range(again, LOG_LINES_OF_KIND, 2 * LOG_LINES_OF_KIND);
    assert_int_equal(lines_of(text, "grave\n"), 500);
    assert_int_equal(lines_of(text, "other\n"), 1);
    char told[128];
    (void)snprintf(told, sizeof told, "info     %zu more lines like this were left out: again ... (...)\n",
                   500 - again);
    assert_int_equal(lines_of(text, told), 1);
    mem_free(w);
}

/* ---- a reader who sleeps ---- */

/* A pipe that takes 4,096 bytes in place of standard error. */
struct pipe_log {
    int before;
    int ends[2];
    struct log log;
};

static void pipe_begin(struct pipe_log *p, unsigned dests, char *file) {
    struct config config = {.log_types = CONFIG_LOG_ALL, .log_dests = dests, .log_file = file};
    struct error error;
    p->before = dup(STDERR_FILENO);
    assert_int_equal(pipe(p->ends), 0);
    assert_true(fcntl(p->ends[1], F_SETPIPE_SZ, 4096) >= 0);
    assert_int_equal(dup2(p->ends[1], STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(close(p->ends[1]), 0);
    assert_true(log_open(&p->log, &config, &error));
}

/* Reads from the pipe until `lines` lines have come, or all that is in it. */
static void pipe_read(const struct pipe_log *p, char *text, size_t bytes, size_t lines) {
    size_t used = 0;
    for (ssize_t got = 1; got > 0 && used < bytes - 1 && (lines == 0 || lines_of(text, "\n") < lines);
         used += (size_t)got) {
        got = read(p->ends[0], text + used, bytes - 1 - used);
        assert_true(got >= 0);
        text[used + (size_t)got] = '\0';
    }
}

static void pipe_end(const struct pipe_log *p) {
    assert_int_equal(dup2(p->before, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(close(p->before), 0);
}

#define ERRORS_SENT 5000 /* of 60 bytes each: more than the pipe and the buffer take */

static void *read_all(void *argument) {
    struct written *w = argument;
    int fd = w->fd;
    size_t used = 0;
    for (ssize_t got = 1; got > 0; used += (size_t)got) {
        got = read(fd, w->text + used, sizeof w->text - 1 - used);
    }
    w->text[used] = '\0';
    return NULL;
}

/* What all of the lines say that tell of missing ones. */
static size_t lines_told(const char *text) {
    size_t sum = 0;
    while ((text = strstr(text, "warning  ")) != NULL) {
        char *after;
        text += strlen("warning  ");
        const size_t count = strtoul(text, &after, 10);
        sum += strncmp(after, " lines were dropped: ", strlen(" lines were dropped: ")) == 0 ? count : 0;
    }
    return sum;
}

/* Who logs does not wait, and when somebody reads again it is said how much is missing: once, or more often when the
 * log's thread comes late and takes a part of the lines when some are missing already. */
static void nobody_waits_for_a_reader_who_sleeps(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct pipe_log p;
    pipe_begin(&p, CONFIG_LOG_STDERR, NULL);
    for (int i = 0; i < ERRORS_SENT; i++) {
        log_say(&p.log, LOG_ERROR, "line %4d of many that are long enough to fill a buffer", i);
    }
    w->fd = p.ends[0];
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_all, w), 0);
    log_flush(&p.log, 10000);
    log_say(&p.log, LOG_ERROR, "the last one");
    log_flush(&p.log, 10000);
    log_close(&p.log);
    pipe_end(&p);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(close(p.ends[0]), 0);
    size_t lines = lines_of(w->text, "error    line ");
    assert_in_range(lines, 1000, ERRORS_SENT - 1);
    assert_int_equal(lines_told(w->text), ERRORS_SENT - lines);
    assert_int_equal(lines_of(w->text, "the last one\n"), 1);
    mem_free(w);
}

/* The end waits for him, but not for ever; and the log's thread is left behind without harm. */
static void the_end_does_not_wait_for_ever(void **state) {
    (void)state;
    struct pipe_log p;
    static char text[64 * 1024];
    struct timespec begin;
    struct timespec end;
    pipe_begin(&p, CONFIG_LOG_STDERR, NULL);
    for (int i = 0; i < 200; i++) {
        log_say(&p.log, LOG_ERROR, "line %4d of many that are long enough to fill a pipe", i);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    log_close(&p.log);
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    assert_in_range(end.tv_sec - begin.tv_sec, 0, 5);
    pipe_read(&p, text, sizeof text, 200);
    assert_int_equal(lines_of(text, "error    line "), 200);
    pipe_end(&p);
    assert_int_equal(close(p.ends[0]), 0);
}

/* A file beside it goes on. */
static void one_who_sleeps_does_not_keep_the_others(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct pipe_log p;
    strcpy(w->directory, "/tmp/quartet-log-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    (void)snprintf(w->path, sizeof w->path, "%s/log", w->directory);
    pipe_begin(&p, CONFIG_LOG_STDERR | CONFIG_LOG_FILE, w->path);
    for (int i = 0; i < 300; i++) {
        log_say(&p.log, LOG_ERROR, "line %4d of many that are long enough to fill a pipe", i);
    }
    const char *text = written_end(w, &p.log);
    assert_int_equal(lines_of(text, "error    line "), 300);
    static char piped[64 * 1024];
    pipe_end(&p);
    pipe_read(&p, piped, sizeof piped, 0);
    assert_int_equal(close(p.ends[0]), 0);
    assert_in_range(lines_of(piped, "error    line "), 1, 299);
    mem_free(w);
}

/* ---- a file that is rotated ---- */

static void a_file_that_was_renamed_is_opened_again(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    char moved[80];
    written_begin(w, &log, CONFIG_LOG_ALL, false);
    log_line(&log, LOG_NOTICE, "before");
    log_flush(&log, 10000);
    (void)snprintf(moved, sizeof moved, "%s.1", w->path);
    assert_int_equal(rename(w->path, moved), 0);
    log_reopen(&log);
    log_line(&log, LOG_NOTICE, "after");
    log_flush(&log, 10000);
    FILE *file = fopen(moved, "r");
    assert_non_null(file);
    char old[64];
    old[fread(old, 1, sizeof old - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
    assert_int_equal(unlink(moved), 0);
    assert_string_equal(old, "notice   before\n");
    assert_string_equal(written_end(w, &log), "notice   after\n");
    mem_free(w);
}

/* When it cannot be, the old one is used. */
static void a_place_that_is_gone_keeps_the_old_file(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    char moved[80];
    written_begin(w, &log, CONFIG_LOG_ALL, false);
    (void)snprintf(moved, sizeof moved, "%s-moved", w->directory);
    assert_int_equal(rename(w->directory, moved), 0);
    log_reopen(&log);
    log_line(&log, LOG_NOTICE, "after");
    log_flush(&log, 10000);
    assert_int_equal(rename(moved, w->directory), 0);
    const char *text = written_end(w, &log);
    assert_non_null(strstr(text, "cannot be opened again: No such file or directory; the old one is used\n"));
    assert_non_null(strstr(text, "notice   after\n"));
    mem_free(w);
}

/* ---- last words ---- */

static void last_words_need_no_lock(void **state) {
    (void)state;
    struct written *w = mem_zero(1, sizeof *w);
    struct log log;
    written_begin(w, &log, CONFIG_LOG_ALL, false);
    log_line(&log, LOG_NOTICE, "before");
    log_last_words(&log, "this was the end");
    assert_string_equal(written_end(w, &log), "notice   before\nerror    this was the end\n");
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
        cmocka_unit_test(nobody_waits_for_a_reader_who_sleeps),
        cmocka_unit_test(one_who_sleeps_does_not_keep_the_others),
        cmocka_unit_test(a_file_that_was_renamed_is_opened_again),
        cmocka_unit_test(a_place_that_is_gone_keeps_the_old_file),
        cmocka_unit_test(last_words_need_no_lock),
        cmocka_unit_test(the_end_does_not_wait_for_ever),
        cmocka_unit_test(a_file_that_cannot_be_opened_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
