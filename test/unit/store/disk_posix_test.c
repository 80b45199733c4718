#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "store/disk.h"
#include "temporary.h"

static struct disk disk;
static struct error error;

static void opened(const char *path) {
    if (!disk_posix_open(path, &disk, &error)) {
        print_error("%s\n", error.text);
        fail();
    }
}

static void what_is_written_is_read(void **state) {
    (void)state;
    opened(temporary_make());
    struct disk_file *f = disk.open(disk.user, "a", true, &error);
    uint64_t bytes;
    char read[8];
    assert_non_null(f);
    assert_true(disk.size(disk.user, f, &bytes, &error));
    assert_int_equal(bytes, 0);
    assert_true(disk.write(disk.user, f, 4096, SPAN("hello"), &error));
    assert_true(disk.sync(disk.user, f, &error));
    assert_true(disk.sync_directory(disk.user, &error));
    assert_true(disk.size(disk.user, f, &bytes, &error));
    assert_int_equal(bytes, 4101);
    disk.close(disk.user, f);
    f = disk.open(disk.user, "a", false, &error);
    assert_non_null(f);
    assert_true(disk.read(disk.user, f, 4095, read, 6, &error));
    assert_memory_equal(read, "\0hello", 6);
    assert_false(disk.read(disk.user, f, 4097, read, 5, &error));
    assert_int_equal(error.kind, ERROR_IO);
    assert_non_null(strstr(error.text, "/a"));
    disk.close(disk.user, f);
    disk_posix_close(&disk);
    temporary_remove(temporary);
}

static void what_is_cut_off_is_gone(void **state) {
    (void)state;
    uint64_t bytes = 0;
    char read[4];
    opened(temporary_make());
    struct disk_file *f = disk.open(disk.user, "a", true, &error);
    assert_true(disk.write(disk.user, f, 0, SPAN("abcdefgh"), &error));
    assert_true(disk.cut(disk.user, f, 3, &error));
    assert_true(disk.size(disk.user, f, &bytes, &error));
    assert_int_equal(bytes, 3);
    assert_false(disk.read(disk.user, f, 0, read, 4, &error));
    assert_true(disk.write(disk.user, f, 5, SPAN("x"), &error));
    assert_true(disk.read(disk.user, f, 2, read, 4, &error));
    assert_memory_equal(read, "c\0\0x", 4);
    disk.close(disk.user, f);
    disk_posix_close(&disk);
    temporary_remove(temporary);
}

static void count_name(void *context, const char *name) {
    int *counts = context;
    counts[0]++;
    counts[1] += strcmp(name, "a") == 0;
    counts[2] += strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void files_are_listed_and_removed(void **state) {
    (void)state;
    int counts[3] = {0, 0, 0};
    opened(temporary_make());
    struct disk_file *f = disk.open(disk.user, "a", true, &error);
    disk.close(disk.user, f);
    assert_true(disk.list(disk.user, count_name, counts, &error));
    assert_int_equal(counts[0], 2); /* a and lock */
    assert_int_equal(counts[1], 1);
    assert_int_equal(counts[2], 0);
    assert_true(disk.remove(disk.user, "a", &error));
    assert_true(disk.remove(disk.user, "a", &error));
    assert_null(disk.open(disk.user, "a", false, &error));
    assert_int_equal(error.kind, ERROR_IO);
    disk_posix_close(&disk);
    temporary_remove(temporary);
}

static void a_directory_has_one_owner(void **state) {
    (void)state;
    struct disk second;
    opened(temporary_make());
    assert_false(disk_posix_open(temporary, &second, &error));
    assert_int_equal(error.kind, ERROR_LOCKED);
    assert_non_null(strstr(error.text, temporary));
    disk_posix_close(&disk);
    assert_true(disk_posix_open(temporary, &second, &error));
    disk_posix_close(&second);
    temporary_remove(temporary);
}

static void nobody_else_may_look(void **state) {
    (void)state;
    char path[128];
    struct stat status;
    (void)temporary_make();
    temporary_path(path, sizeof path, "store");
    (void)umask(0);
    opened(path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0700);
    struct disk_file *f = disk.open(disk.user, "a", true, &error);
    disk.close(disk.user, f);
    disk_posix_close(&disk);
    char file[160];
    (void)snprintf(file, sizeof file, "%s/a", path);
    assert_int_equal(stat(file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    temporary_remove(path);
    temporary_remove(temporary);
}

static void a_directory_that_others_can_write_is_refused(void **state) {
    (void)state;
    (void)temporary_make();
    assert_int_equal(chmod(temporary, 0777), 0);
    assert_false(disk_posix_open(temporary, &disk, &error));
    assert_int_equal(error.kind, ERROR_INVALID);
    temporary_remove(temporary);
}

/* No file in the directory may be somebody's link to another place; the directory itself may be one. */
static void links_are_not_followed(void **state) {
    (void)state;
    char path[128];
    opened(temporary_make());
    temporary_path(path, sizeof path, "a");
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_null(disk.open(disk.user, "a", true, &error));
    disk_posix_close(&disk);
    (void)unlink(path);
    temporary_remove(temporary);
}

static void the_directory_may_be_a_link(void **state) {
    (void)state;
    char path[128];
    opened(temporary_make());
    disk_posix_close(&disk);
    temporary_path(path, sizeof path, "link");
    assert_int_equal(symlink(temporary, path), 0);
    assert_true(disk_posix_open(path, &disk, &error));
    struct disk other;
    assert_false(disk_posix_open(temporary, &other, &error));
    assert_int_equal(error.kind, ERROR_LOCKED);
    disk_posix_close(&disk);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/nonexistent/quartet", path), 0);
    assert_false(disk_posix_open(path, &disk, &error));
    assert_int_equal(unlink(path), 0);
    temporary_remove(temporary);
}

static void what_is_no_file_is_refused(void **state) {
    (void)state;
    char path[128];
    opened(temporary_make());
    temporary_path(path, sizeof path, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(disk.open(disk.user, "pipe", true, &error));
    assert_int_equal(error.kind, ERROR_FORMAT);
    disk_posix_close(&disk);
    temporary_remove(temporary);
    assert_false(disk_posix_open("/proc/no/such/place", &disk, &error));
    assert_int_equal(error.kind, ERROR_IO);
}

/* Somebody else's connections have them all for now: a new journal file is waited for, as on a full disk. */
static void without_a_descriptor_a_file_is_made_later(void **state) {
    (void)state;
    struct rlimit limit;
    opened(temporary_make());
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = {0, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct disk_file *f = disk.open(disk.user, "a", true, &error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_null(f);
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    f = disk.open(disk.user, "a", true, &error);
    assert_non_null(f);
    disk.close(disk.user, f);
    disk_posix_close(&disk);
    temporary_remove(temporary);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),      cmocka_unit_test(what_is_cut_off_is_gone),
        cmocka_unit_test(files_are_listed_and_removed), cmocka_unit_test(a_directory_has_one_owner),
        cmocka_unit_test(nobody_else_may_look),         cmocka_unit_test(a_directory_that_others_can_write_is_refused),
        cmocka_unit_test(links_are_not_followed),       cmocka_unit_test(the_directory_may_be_a_link),
        cmocka_unit_test(what_is_no_file_is_refused),   cmocka_unit_test(without_a_descriptor_a_file_is_made_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
