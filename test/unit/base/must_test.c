/* An assertion that fails says where, and stops the process. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/must.h"

static void what_holds_goes_on(void **state) {
    (void)state;
    int evaluated = 0;
    must(++evaluated == 1);
    assert_int_equal(evaluated, 1);
}

static void what_does_not_hold_stops_the_process(void **state) {
    (void)state;
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(pipe_ends[1], STDERR_FILENO);
        must(1 + 1 == 3);
        _exit(0);
    }
    close(pipe_ends[1]);
    char text[512];
    size_t bytes = 0;
    for (ssize_t got; bytes < sizeof text - 1; bytes += (size_t)got) {
        got = read(pipe_ends[0], text + bytes, sizeof text - 1 - bytes);
        if (got <= 0) {
            break;
        }
    }
    text[bytes] = '\0';
    close(pipe_ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "1 + 1 == 3"));
    assert_non_null(strstr(text, "must_test.c"));
    assert_non_null(strstr(text, "what_does_not_hold_stops_the_process"));
}

static int told_to;

static void tell(const char *line) {
    ssize_t ignored = write(told_to, line, strlen(line));
    (void)ignored;
    must(line == NULL); /* a teller that fails is not asked again */
}

/* A process in the background has no standard error: another place hears of it, once. */
static void somebody_else_is_told_as_well(void **state) {
    (void)state;
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        told_to = pipe_ends[1];
        must_tell(tell);
        must(1 + 1 == 3);
        _exit(0);
    }
    close(pipe_ends[1]);
    char text[512];
    ssize_t got = read(pipe_ends[0], text, sizeof text - 1);
    assert_true(got > 0);
    text[got] = '\0';
    assert_int_equal(read(pipe_ends[0], text + got, sizeof text - 1 - (size_t)got), 0);
    close(pipe_ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "this must hold: 1 + 1 == 3"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_holds_goes_on),
        cmocka_unit_test(what_does_not_hold_stops_the_process),
        cmocka_unit_test(somebody_else_is_told_as_well),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
