/* Flags that make sense are read; those that do not are refused with a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "torture/options.h"

struct refused {
    const char *flags[6];
    const char *word; /* of the sentence */
};

static int length(const char *const *flags) {
    int n = 0;
    while (flags[n] != NULL) {
        n++;
    }
    return n;
}

static bool parse(const char *const *flags, struct torture_options *o, struct error *error) {
    char *argv[8] = {(char *)(uintptr_t) "torture"};
    int n = length(flags);
    for (int i = 0; i < n; i++) {
        argv[i + 1] = (char *)(uintptr_t)flags[i];
    }
    return torture_options_parse(n + 1, argv, o, error);
}

static void defaults(void **state) {
    (void)state;
    struct torture_options o;
    struct error error = {0};
    const char *const none[] = {NULL};
    assert_true(parse(none, &o, &error));
    assert_string_equal(o.host, "127.0.0.1");
    assert_int_equal(o.port, 1883);
    assert_int_equal(o.kills, 0);
    assert_int_equal(o.cuts, UINT64_MAX);
    assert_false(o.seed_given);
}

static void a_broker_of_its_own_is_killed(void **state) {
    (void)state;
    struct torture_options o;
    struct error error = {0};
    const char *const flags[] = {"--broker", "b -p {port}", "--seed", "0x10", NULL};
    assert_true(parse(flags, &o, &error));
    assert_true(o.kills > 0);
    assert_true(o.seed_given);
    assert_int_equal(o.seed, 16);
}

static void what_makes_no_sense_is_refused(void **state) {
    (void)state;
    static const struct refused cases[] = {
        {{"--fast", NULL}, "--fast"},
        {{"--port", NULL}, "--port"},
        {{"--port", "0", NULL}, "--port"},
        {{"--port", "70000", NULL}, "--port"},
        {{"--cuts", "-1", NULL}, "--cuts"},
        {{"--cuts", "many", NULL}, "--cuts"},
        {{"--protocol", "4", NULL}, "--protocol"},
        {{"--kills", "3", NULL}, "--broker"},
        {{"--data-image", "x", NULL}, "--broker"},
        {{"--broker", "b", "--power-cuts", "1", NULL}, "--data-image"},
        {{"--publishers", "0", NULL}, "--publishers"},
        {{"--password", "p", NULL}, "--username"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct torture_options o;
        struct error error = {0};
        assert_false(parse(cases[i].flags, &o, &error));
        assert_non_null(strstr(error.text, cases[i].word));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(a_broker_of_its_own_is_killed),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
