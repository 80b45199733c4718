/* Topic names and filters: the examples of section 4.7 and the edges around them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "topic/topic.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *filter;
    const char *name;
    bool matches;
} match_cases[] = {
    /* multi-level wildcard */
    {"sport/tennis/player1/#", "sport/tennis/player1", true},
    {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
    {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
    {"sport/tennis/player1/#", "sport/tennis/player2", false},
    {"sport/tennis/player1/#", "sport/tennis/player12", false},
    {"sport/#", "sport", true},
    {"sport/#", "sport/", true},
    {"sport/#", "sports", false},
    {"sport/#", "spor", false},
    {"#", "sport", true},
    {"#", "/", true},
    {"#", "a/b/c", true},
    {"/#", "/", true},
    {"/#", "/a", true},
    {"/#", "a", false},
    {"/#", "a/b", false},
    /* single-level wildcard */
    {"sport/tennis/+", "sport/tennis/player1", true},
    {"sport/tennis/+", "sport/tennis/player2", true},
    {"sport/tennis/+", "sport/tennis/player1/ranking", false},
    {"sport/tennis/+", "sport/tennis", false},
    {"sport/+", "sport", false},
    {"sport/+", "sport/", true},
    {"sport/+", "sport/a/", false},
    {"+", "sport", true},
    {"+", "/", false},
    {"+", "sport/", false},
    {"+/tennis/#", "sport/tennis", true},
    {"+/tennis/#", "sport/tennis/a/b", true},
    {"+/tennis/#", "/tennis/a", true},
    {"+/tennis/#", "sport/golf", false},
    {"sport/+/player1", "sport/tennis/player1", true},
    {"sport/+/player1", "sport//player1", true},
    {"sport/+/player1", "sport/player1", false},
    {"+/+", "/finance", true},
    {"/+", "/finance", true},
    {"+", "/finance", false},
    {"+/+/+", "//", true},
    {"+/+/+", "/", false},
    {"+/#", "a", true},
    {"+/#", "a/b/c", true},
    {"+/#", "/", true},
    {"+/+/#", "a", false},
    {"+/+/#", "a/b", true},
    /* topics that begin with `$` */
    {"#", "$SYS/uptime", false},
    {"#", "$", false},
    {"+", "$SYS", false},
    {"+/#", "$SYS/uptime", false},
    {"+/monitor/Clients", "$SYS/monitor/Clients", false},
    {"$SYS/#", "$SYS/monitor/Clients", true},
    {"$SYS/#", "$SYS", true},
    {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
    {"$SYS/+", "$SYS/$x", true},
    {"a/#", "a/$x", true},
    {"a/+", "a/$x", true},
    {"+/$x", "a/$x", true},
    {"#", "a/$x", true},
    {"/#", "/$x", true},
    /* names are taken byte for byte */
    {"ACCOUNTS", "Accounts", false},
    {"Accounts payable", "Accounts payable", true},
    {"/finance", "finance", false},
    {"finance", "/finance", false},
    {"finance/", "finance", false},
    {"finance", "finance/", false},
    {"/", "/", true},
    {"/", "//", false},
    {"//", "//", true},
    {"a//b", "a//b", true},
    {"a//b", "a/b", false},
    {"a/b", "a//b", false},
    {"a/+/b", "a//b", true},
    {"a/#", "ab", false},
    {"a", "ab", false},
    {"ab", "a", false},
    {"\xc3\xa9/+", "\xc3\xa9/\xe2\x82\xac", true},
};

static void matches_as_the_standard_says(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(match_cases); i++) {
        struct span filter = span_str(match_cases[i].filter);
        struct span name = span_str(match_cases[i].name);
        assert_true(topic_filter_valid(filter));
        assert_true(topic_name_valid(name));
        if (topic_matches(filter, name) != match_cases[i].matches) {
            fail_msg("filter %s, name %s: expected %s", match_cases[i].filter, match_cases[i].name,
                     match_cases[i].matches ? "a match" : "no match");
        }
    }
}

static const struct {
    const char *filter;
    bool valid;
} filter_cases[] = {
    {"a", true},
    {"/", true},
    {"//", true},
    {"+", true},
    {"#", true},
    {"+/+", true},
    {"/+/", true},
    {"a/+/b", true},
    {"a/#", true},
    {"/#", true},
    {"+/#", true},
    {"+/tennis/#", true},
    {"sport/+/player1", true},
    {"$SYS/#", true},
    {"$share", true},
    {" ", true},
    {"", false},
    {"a#", false},
    {"#a", false},
    {"##", false},
    {"#/", false},
    {"#/a", false},
    {"a/#/b", false},
    {"a/#/", false},
    {"a/b#", false},
    {"sport/tennis#", false},
    {"sport/tennis/#/ranking", false},
    {"+a", false},
    {"a+", false},
    {"sport+", false},
    {"a/+b/c", false},
    {"a/b+/c", false},
    {"++", false},
    {"+#", false},
    {"#+", false},
    {"a/+#", false},
    {"a/#+", false},
};

static void filters_are_checked(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(filter_cases); i++) {
        if (topic_filter_valid(span_str(filter_cases[i].filter)) != filter_cases[i].valid) {
            fail_msg("filter %s", filter_cases[i].filter);
        }
    }
    assert_false(topic_filter_valid(span_of("a\0b", 3)));
    assert_false(topic_filter_valid(span_of("\0", 1)));
    assert_false(topic_filter_valid(span_of(NULL, 0)));
}

static void names_are_checked(void **state) {
    (void)state;
    static const char *const valid[] = {"a",           "/", "//", "a/b", "/a", "a/", "$SYS/x", "Accounts payable",
                                        "\xe2\x82\xac"};
    static const char *const invalid[] = {"", "+", "#", "a/+", "a/#", "a+b", "a#", "#a/b", "a/+/b"};
    for (size_t i = 0; i < COUNT(valid); i++) {
        assert_true(topic_name_valid(span_str(valid[i])));
    }
    for (size_t i = 0; i < COUNT(invalid); i++) {
        assert_false(topic_name_valid(span_str(invalid[i])));
    }
    assert_false(topic_name_valid(span_of("a\0b", 3)));
    assert_false(topic_name_valid(span_of("ab\0", 3)));
    assert_false(topic_name_valid(span_of(NULL, 0)));
}

static void length_ends_at_65535(void **state) {
    (void)state;
    uint8_t *bytes = mem_alloc(65536);
    memset(bytes, '/', 65536);
    assert_true(topic_name_valid(span_of(bytes, 65535)));
    assert_true(topic_filter_valid(span_of(bytes, 65535)));
    assert_false(topic_name_valid(span_of(bytes, 65536)));
    assert_false(topic_filter_valid(span_of(bytes, 65536)));
    assert_int_equal(topic_levels(span_of(bytes, 65535)), 65536);
    struct topic_filter parsed;
    assert_int_equal(topic_filter_parse(span_of(bytes, 65536), &parsed), TOPIC_FILTER_INVALID);
    struct span share = SPAN("$share/g/");
    memcpy(bytes, share.ptr, share.len);
    assert_int_equal(topic_filter_parse(span_of(bytes, 65535), &parsed), TOPIC_FILTER_OK);
    assert_int_equal(parsed.filter.len, 65526);
    mem_free(bytes);
}

static void deepest_topics_match(void **state) {
    (void)state;
    uint8_t *name = mem_alloc(65535);
    uint8_t *filter = mem_alloc(65535);
    memset(name, '/', 65535);
    memset(filter, '/', 65535);
    assert_true(topic_matches(span_of(filter, 65535), span_of(name, 65535)));
    assert_false(topic_matches(span_of(filter, 65534), span_of(name, 65535)));
    assert_false(topic_matches(span_of(filter, 65535), span_of(name, 65534)));
    filter[65534] = '#';
    assert_true(topic_matches(span_of(filter, 65535), span_of(name, 65535)));
    assert_true(topic_matches(span_of(filter, 65535), span_of(name, 65533)));
    assert_false(topic_matches(span_of(filter, 65535), span_of(name, 65532)));
    for (size_t i = 0; i < 65535; i += 2) {
        filter[i] = '+';
    }
    assert_true(topic_matches(span_of(filter, 65535), span_of(name, 32767)));
    mem_free(name);
    mem_free(filter);
}

static void levels_are_counted(void **state) {
    (void)state;
    assert_int_equal(topic_levels(SPAN("a")), 1);
    assert_int_equal(topic_levels(SPAN("/")), 2);
    assert_int_equal(topic_levels(SPAN("a/b")), 2);
    assert_int_equal(topic_levels(SPAN("/a/b/")), 4);
}

static const struct {
    const char *subscribed;
    enum topic_filter_status status;
    const char *share;
    const char *filter;
} parse_cases[] = {
    {"a/b", TOPIC_FILTER_OK, "", "a/b"},
    {"#", TOPIC_FILTER_OK, "", "#"},
    {"$share", TOPIC_FILTER_OK, "", "$share"},
    {"$shared/a/b", TOPIC_FILTER_OK, "", "$shared/a/b"},
    {"$SHARE/a/b", TOPIC_FILTER_OK, "", "$SHARE/a/b"},
    {"a/$share/b/c", TOPIC_FILTER_OK, "", "a/$share/b/c"},
    {"+/share/b", TOPIC_FILTER_OK, "", "+/share/b"},
    {"$share/consumer1/sport/tennis/+", TOPIC_FILTER_OK, "consumer1", "sport/tennis/+"},
    {"$share/g/#", TOPIC_FILTER_OK, "g", "#"},
    {"$share/g//", TOPIC_FILTER_OK, "g", "/"},
    {"$share/g//finance", TOPIC_FILTER_OK, "g", "/finance"},
    {"$share/$share/$share/x/y", TOPIC_FILTER_OK, "$share", "$share/x/y"},
    {"", TOPIC_FILTER_INVALID, NULL, NULL},
    {"a/b#", TOPIC_FILTER_INVALID, NULL, NULL},
    {"$share/g/a#", TOPIC_FILTER_INVALID, NULL, NULL},
    {"$share/g/#/a", TOPIC_FILTER_INVALID, NULL, NULL},
    {"$share/", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share//", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share//a", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share/ab", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share/ab/", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share/+/a", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share/#", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share/#/a", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share/a+/b", TOPIC_SHARE_INVALID, NULL, NULL},
    {"$share/a#b/c", TOPIC_SHARE_INVALID, NULL, NULL},
};

static void shared_filters_are_taken_apart(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(parse_cases); i++) {
        struct topic_filter parsed;
        enum topic_filter_status status = topic_filter_parse(span_str(parse_cases[i].subscribed), &parsed);
        if (status != parse_cases[i].status) {
            fail_msg("%s: status %d", parse_cases[i].subscribed, (int)status);
        }
        if (status == TOPIC_FILTER_OK) {
            assert_true(span_equal(parsed.share, span_str(parse_cases[i].share)));
            assert_true(span_equal(parsed.filter, span_str(parse_cases[i].filter)));
        }
    }
    struct topic_filter parsed;
    assert_int_equal(topic_filter_parse(span_of("$share/a\0/b", 11), &parsed), TOPIC_FILTER_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_as_the_standard_says),
        cmocka_unit_test(filters_are_checked),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(length_ends_at_65535),
        cmocka_unit_test(deepest_topics_match),
        cmocka_unit_test(levels_are_counted),
        cmocka_unit_test(shared_filters_are_taken_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
