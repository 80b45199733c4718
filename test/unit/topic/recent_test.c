/* What a reader remembers of names: that it does, within its bounds, and that no change of the trie is missed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "topic/recent.h"
#include "topic/trie_inside.h"

enum { SEED = 7, TIMES = 3 };

static struct {
    struct topic_trie *trie;
    struct topic_matches matches;
} t;

static char people[8];

static void bury(void *user, void *memory, void (*free_function)(void *memory)) {
    (void)user;
    free_function(memory);
}

static int begin(void **state) {
    (void)state;
    t.trie = topic_trie_create(SEED, bury, NULL);
    return 0;
}

static int end(void **state) {
    (void)state;
    topic_matches_deinit(&t.matches);
    topic_trie_destroy(t.trie);
    return 0;
}

static size_t match(const char *name) {
    topic_trie_match(t.trie, span_str(name), &t.matches);
    return t.matches.count;
}

/* As often as it takes until a name is known. */
static void match_often(const char *name, size_t count) {
    for (int i = 0; i < TIMES; i++) {
        assert_int_equal(match(name), count);
    }
}

static bool is_kept(const char *name) {
    struct topic_recent_name *place;
    uint64_t changes = atomic_load(&t.trie->changes);
    return topic_recent_recall(&t.matches, span_str(name), SEED, changes, &place);
}

static struct topic_recent_name *place_of(const char *name) {
    return &t.matches.recent->names[hash_bytes(span_str(name), SEED) % RECENT_NAMES];
}

static void a_name_is_kept_when_it_comes_again(void **state) {
    (void)state;
    topic_trie_add(t.trie, SPAN("a/+"), &people[1], 11);
    assert_int_equal(match("a/b"), 1);
    assert_int_equal(place_of("a/b")->name_bytes, 0);
    assert_int_equal(match("a/b"), 1);
    assert_true(is_kept("a/b"));
    assert_int_equal(match("a/b"), 1);
    assert_ptr_equal(t.matches.items[0].subscriber, &people[1]);
    assert_int_equal(t.matches.items[0].options, 11);
    match_often("nobody", 0);
    assert_true(is_kept("nobody"));
}

static void every_change_is_seen(void **state) {
    (void)state;
    match_often("a/b", 0);
    topic_trie_add(t.trie, SPAN("a/b"), &people[1], 1);
    match_often("a/b", 1);
    topic_trie_add_new(t.trie, SPAN("#"), &people[2], 2);
    match_often("a/b", 2);
    topic_trie_add(t.trie, SPAN("a/b"), &people[1], 3);
    assert_int_equal(match("a/b"), 2);
    assert_int_equal(t.matches.items[0].options + t.matches.items[1].options, 5);
    match_often("a/b", 2);
    topic_trie_remove(t.trie, SPAN("a/b"), &people[1]);
    match_often("a/b", 1);
    topic_trie_remove(t.trie, SPAN("#"), &people[2]);
    match_often("a/b", 0);
}

/* The trie changes while the search goes on, which may have seen the change or not. */
static void a_change_during_the_search_is_not_missed(void **state) {
    (void)state;
    struct topic_recent_name *place;
    assert_int_equal(match("a"), 0);
    uint64_t changes = atomic_load(&t.trie->changes);
    assert_false(topic_recent_recall(&t.matches, SPAN("a"), SEED, changes, &place));
    assert_non_null(place);
    topic_trie_add(t.trie, SPAN("a"), &people[1], 0);
    topic_recent_note(place, SPAN("a"), changes, &t.matches);
    assert_int_equal(match("a"), 1);
}

/* Two names that want the same place, and one whose text is the beginning of the other's. */
static void names_in_one_place_are_told_apart(void **state) {
    (void)state;
    char other[16] = "a0";
    topic_trie_add(t.trie, SPAN("a"), &people[1], 0);
    match_often("a", 1);
    for (unsigned i = 1; place_of(other) != place_of("a"); i++) {
        (void)snprintf(other, sizeof other, "a%u", i);
    }
    for (int i = 0; i < TIMES; i++) {
        match_often("a", 1);
        match_often(other, 0);
        assert_false(is_kept("a"));
    }
}

/* Two names of one hash: the text decides. */
static void the_same_hash_is_not_the_same_name(void **state) {
    (void)state;
    topic_trie_add(t.trie, SPAN("a"), &people[1], 0);
    match_often("a", 1);
    *place_of("b") = *place_of("a");
    place_of("b")->hash = hash_bytes(SPAN("b"), SEED);
    assert_int_equal(match("b"), 0);
}

static void long_names_and_many_subscribers_are_not_kept(void **state) {
    (void)state;
    char name[RECENT_NAME_BYTES + 2];
    memset(name, 'n', sizeof name);
    name[RECENT_NAME_BYTES + 1] = '\0';
    match_often(name, 0);
    assert_false(is_kept(name));
    name[RECENT_NAME_BYTES] = '\0';
    match_often(name, 0);
    assert_true(is_kept(name));
    for (size_t i = 1; i <= RECENT_ITEMS + 1; i++) {
        topic_trie_add(t.trie, SPAN("many"), &people[i], 0);
        match_often("many", i);
        assert_int_equal(is_kept("many"), i <= RECENT_ITEMS);
    }
    topic_trie_remove(t.trie, SPAN("many"), &people[1]);
    match_often("many", RECENT_ITEMS);
    assert_true(is_kept("many"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_name_is_kept_when_it_comes_again, begin, end),
        cmocka_unit_test_setup_teardown(every_change_is_seen, begin, end),
        cmocka_unit_test_setup_teardown(a_change_during_the_search_is_not_missed, begin, end),
        cmocka_unit_test_setup_teardown(names_in_one_place_are_told_apart, begin, end),
        cmocka_unit_test_setup_teardown(the_same_hash_is_not_the_same_name, begin, end),
        cmocka_unit_test_setup_teardown(long_names_and_many_subscribers_are_not_kept, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
