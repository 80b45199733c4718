/* The file with the process id belongs to one process at a time, and only that one removes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/pid_file.h"

static char directory[32];
static char path[64];

static int begin(void **state) {
    (void)state;
    strcpy(directory, "/tmp/quartet-pid-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/pid", directory);
    return 0;
}

static int end(void **state) {
    (void)state;
    (void)unlink(path);
    return rmdir(directory);
}

/* What is in the file; -1 when it is not there, 0 when it is empty. */
static long content(void) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return -1;
    }
    long number = 0;
    (void)(fscanf(file, "%ld", &number) == 1);
    (void)fclose(file);
    return number;
}

static void leave_behind(const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void it_holds_the_process_id_and_is_removed(void **state) {
    (void)state;
    struct pid_file f;
    struct error error;
    assert_true(pid_file_open(&f, path, &error));
    assert_int_equal(content(), 0);
    assert_true(pid_file_write(&f, &error));
    assert_int_equal(content(), getpid());
    pid_file_close(&f);
    assert_int_equal(content(), -1);
    assert_true(pid_file_open(&f, NULL, &error));
    assert_true(pid_file_write(&f, &error));
    pid_file_close(&f);
}

static void a_second_start_leaves_it_alone(void **state) {
    (void)state;
    struct pid_file first;
    struct pid_file second;
    struct error error;
    assert_true(pid_file_open(&first, path, &error));
    assert_true(pid_file_write(&first, &error));
    assert_false(pid_file_open(&second, path, &error));
    assert_non_null(strstr(error.text, "belongs to a broker that runs"));
    pid_file_close(&second);
    assert_int_equal(content(), getpid());
    pid_file_close(&first);
}

/* A start that fails before it has a store: what was there stays, what was not does not come. */
static void a_start_that_fails_changes_nothing(void **state) {
    (void)state;
    struct pid_file f;
    struct error error;
    leave_behind("4711\n");
    assert_true(pid_file_open(&f, path, &error));
    pid_file_close(&f);
    assert_int_equal(content(), 4711);
    assert_int_equal(unlink(path), 0);
    assert_true(pid_file_open(&f, path, &error));
    pid_file_close(&f);
    assert_int_equal(content(), -1);
}

static void one_of_a_dead_process_is_taken_over(void **state) {
    (void)state;
    struct pid_file f;
    struct error error;
    leave_behind("471100000\n");
    assert_true(pid_file_open(&f, path, &error));
    assert_true(pid_file_write(&f, &error));
    assert_int_equal(content(), getpid());
    pid_file_close(&f);
    assert_int_equal(content(), -1);
}

/* Somebody else has put his own there meanwhile. */
static void another_file_of_that_name_is_not_removed(void **state) {
    (void)state;
    struct pid_file f;
    struct error error;
    assert_true(pid_file_open(&f, path, &error));
    assert_true(pid_file_write(&f, &error));
    assert_int_equal(unlink(path), 0);
    leave_behind("1\n");
    pid_file_close(&f);
    assert_int_equal(content(), 1);
}

static void links_and_missing_directories_are_refused(void **state) {
    (void)state;
    struct pid_file f;
    struct error error;
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_false(pid_file_open(&f, path, &error));
    assert_non_null(strstr(error.text, "cannot be written"));
    assert_false(pid_file_open(&f, "/nonexistent/pid", &error));
    assert_string_equal(error.text, "the pid file /nonexistent/pid cannot be written: No such file or directory");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_holds_the_process_id_and_is_removed, begin, end),
        cmocka_unit_test_setup_teardown(a_second_start_leaves_it_alone, begin, end),
        cmocka_unit_test_setup_teardown(a_start_that_fails_changes_nothing, begin, end),
        cmocka_unit_test_setup_teardown(one_of_a_dead_process_is_taken_over, begin, end),
        cmocka_unit_test_setup_teardown(another_file_of_that_name_is_not_removed, begin, end),
        cmocka_unit_test_setup_teardown(links_and_missing_directories_are_refused, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
