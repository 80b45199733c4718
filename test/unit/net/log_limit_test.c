/* How many lines of a kind are written, and that those left out are told once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "net/log_limit.h"

static const char connect_kind[] = "%s connected from %s (%u)";
static const char close_kind[] = "100%% closed: %-5.3s %lld";

static unsigned allowed(struct log_limit *l, const char *kind, int64_t second, unsigned times) {
    unsigned count = 0;
    for (unsigned i = 0; i < times; i++) {
        count += log_limit_allows(l, kind, 3, second);
    }
    return count;
}

static void one_kind_leaves_room_for_others(void **state) {
    (void)state;
    static struct log_limit l;
    l = (struct log_limit){0};
    assert_int_equal(allowed(&l, connect_kind, 7, 1000), LOG_LINES_OF_KIND);
    assert_int_equal(allowed(&l, close_kind, 7, 5), 5);
    assert_int_equal(allowed(&l, NULL, 7, 5), 5);
    assert_int_equal(allowed(&l, connect_kind, 8, 5), 5);
}

static void all_together_are_bounded(void **state) {
    (void)state;
    static struct log_limit l;
    static const char kinds[20][8];
    l = (struct log_limit){0};
    unsigned count = 0;
    for (int i = 0; i < 20; i++) {
        count += allowed(&l, kinds[i], 7, 50);
    }
    assert_int_equal(count, LOG_LINES_PER_SECOND);
    assert_int_equal(l.left_out, 1000 - LOG_LINES_PER_SECOND);
}

static void what_was_left_out_is_told_once_and_later(void **state) {
    (void)state;
    static struct log_limit l;
    uint32_t count = 0;
    l = (struct log_limit){0};
    (void)allowed(&l, connect_kind, 7, LOG_LINES_OF_KIND + 9);
    assert_null(log_limit_tell(&l, 7, &count));
    const struct log_kind *kind = log_limit_tell(&l, 8, &count);
    assert_non_null(kind);
    assert_ptr_equal(kind->format, connect_kind);
    assert_int_equal(kind->level, 3);
    assert_int_equal(count, 9);
    assert_null(log_limit_tell(&l, 9, &count));
    assert_int_equal(l.left_out, 0);
}

/* A flood that does not end is told of while it lasts. */
static void a_flood_is_told_of_every_second(void **state) {
    (void)state;
    static struct log_limit l;
    uint32_t told = 0;
    l = (struct log_limit){0};
    for (int64_t second = 1; second <= 10; second++) {
        for (int quarter = 0; quarter < 4; quarter++) {
            uint32_t count = 0;
            (void)allowed(&l, connect_kind, second, LOG_LINES_OF_KIND);
            bool tells = log_limit_tell(&l, second, &count) != NULL;
            assert_int_equal(tells, second > 1 && quarter == 0);
            told += count;
        }
    }
    assert_int_equal(told + l.left_out, 10 * 3 * LOG_LINES_OF_KIND);
}

/* More kinds than there are places share one account: nothing is lost or written beyond it. */
static void any_number_of_kinds_is_counted(void **state) {
    (void)state;
    static struct log_limit l;
    static const char kinds[3 * LOG_KINDS_MAX];
    l = (struct log_limit){0};
    unsigned count = 0;
    for (int i = 0; i < 3 * LOG_KINDS_MAX; i++) {
        count += allowed(&l, &kinds[i], 7, 1);
    }
    assert_int_equal(count + l.left_out, 3 * LOG_KINDS_MAX);
    assert_in_range(count, LOG_KINDS_MAX - 1, LOG_LINES_PER_SECOND);
}

static void a_kind_is_shown_as_a_person_reads_it(void **state) {
    (void)state;
    char text[64];
    char narrow[8];
    struct log_kind kind = {.format = connect_kind};
    log_kind_print(&kind, text, sizeof text);
    assert_string_equal(text, "... connected from ... (...)");
    log_kind_print(&kind, narrow, sizeof narrow);
    assert_true(strlen(narrow) < sizeof narrow);
    kind.format = close_kind;
    log_kind_print(&kind, text, sizeof text);
    assert_string_equal(text, "100% closed: ... ...");
    kind.format = NULL;
    log_kind_print(&kind, text, sizeof text);
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_kind_leaves_room_for_others),
        cmocka_unit_test(all_together_are_bounded),
        cmocka_unit_test(what_was_left_out_is_told_once_and_later),
        cmocka_unit_test(a_flood_is_told_of_every_second),
        cmocka_unit_test(any_number_of_kinds_is_counted),
        cmocka_unit_test(a_kind_is_shown_as_a_person_reads_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
