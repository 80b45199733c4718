/* Lines of standard input, however they are cut into reads. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "tool/payload.h"

struct pipe_lines {
    struct tool_payload_lines lines;
    int write;
};

static struct pipe_lines open_lines(void) {
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    return (struct pipe_lines){.lines = {.fd = fds[0]}, .write = fds[1]};
}

static void feed(struct pipe_lines *p, const char *text) {
    struct error error;
    assert_int_equal(write(p->write, text, strlen(text)), (ssize_t)strlen(text));
    assert_true(tool_payload_lines_read(&p->lines, &error));
}

static void finish(struct pipe_lines *p) {
    struct error error;
    (void)close(p->write);
    assert_true(tool_payload_lines_read(&p->lines, &error));
    assert_true(p->lines.over);
}

static void wants(struct pipe_lines *p, const char *text) {
    struct span line;
    assert_true(tool_payload_lines_next(&p->lines, &line));
    assert_true(span_equal(line, span_str(text)));
}

static void wants_none(struct pipe_lines *p) {
    struct span line;
    assert_false(tool_payload_lines_next(&p->lines, &line));
}

static void close_lines(struct pipe_lines *p) {
    buf_deinit(&p->lines.bytes);
    (void)close(p->lines.fd);
}

static void test_lines_are_cut_anywhere(void **state) {
    (void)state;
    struct pipe_lines p = open_lines();
    wants_none(&p);
    feed(&p, "one\ntw");
    wants(&p, "one");
    wants_none(&p);
    feed(&p, "o");
    wants_none(&p);
    feed(&p, "\n\nfour\r\n");
    wants(&p, "two");
    wants(&p, "");
    wants(&p, "four\r");
    finish(&p);
    wants_none(&p);
    close_lines(&p);
}

static void test_the_last_line_needs_no_end(void **state) {
    (void)state;
    struct pipe_lines p = open_lines();
    feed(&p, "one\nlast");
    wants(&p, "one");
    wants_none(&p);
    finish(&p);
    wants(&p, "last");
    wants_none(&p);
    close_lines(&p);
}

static void test_nothing_is_no_line(void **state) {
    (void)state;
    struct pipe_lines p = open_lines();
    finish(&p);
    wants_none(&p);
    close_lines(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_cut_anywhere),
        cmocka_unit_test(test_the_last_line_needs_no_end),
        cmocka_unit_test(test_nothing_is_no_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
