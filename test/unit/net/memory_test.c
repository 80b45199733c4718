/* How much memory there is: some, and no more than a limit says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/memory.h"

static uint64_t written(const char *text) {
    char path[] = "/tmp/quartet-memory-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
    uint64_t found = memory_of_file(path, 1000);
    (void)unlink(path);
    return found;
}

static void the_least_counts(void **state) {
    (void)state;
    assert_int_equal(written("max\n"), 1000);
    assert_int_equal(written("999\n"), 999);
    assert_int_equal(written("1001\n"), 1000);
    assert_int_equal(written(""), 1000);
    assert_int_equal(memory_of_file("/nowhere", 1000), 1000);
}

static void limits_of_the_process_count(void **state) {
    (void)state;
    struct rlimit before;
    assert_true(memory_there_is() > 16U << 20);
    assert_int_equal(getrlimit(RLIMIT_DATA, &before), 0);
    struct rlimit small = {256U << 20, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_DATA, &small), 0);
    assert_true(memory_there_is() <= 256U << 20);
    assert_int_equal(setrlimit(RLIMIT_DATA, &before), 0);
}

static void what_is_used_is_anonymous(void **state) {
    enum { BYTES = 64 << 20 };
    (void)state;
    uint64_t before = memory_anonymous();
    void *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memset(memory, 1, BYTES);
    uint64_t now = memory_anonymous();
    assert_in_range(now - before, BYTES / 2, 2 * (uint64_t)BYTES);
    assert_int_equal(munmap(memory, BYTES), 0);
    assert_true(memory_anonymous() < now - BYTES / 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_counts),
        cmocka_unit_test(limits_of_the_process_count),
        cmocka_unit_test(what_is_used_is_anonymous),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
