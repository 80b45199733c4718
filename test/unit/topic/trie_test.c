/* The subscription trie against a list that is searched one by one, and at its limits. Several threads:
 * trie_threads_test.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "topic/topic.h"
#include "topic/trie.h"
#include "unit/topic/graveyard.h"
#include "unit/topic/random_topics.h"

enum { SEED = 42, MODEL_SUBSCRIBERS = 70, MODEL_MAX = 2000 };

static uint8_t people[100000];

/* ---- the model ---- */

struct model_row {
    struct random_topic filter;
    void *subscriber;
    uint32_t options;
};

struct model {
    struct model_row rows[MODEL_MAX];
    size_t count;
};

static struct model_row *model_find(struct model *m, const struct random_topic *filter, const void *subscriber) {
    for (size_t i = 0; i < m->count; i++) {
        if (m->rows[i].subscriber == subscriber && strcmp(m->rows[i].filter.text, filter->text) == 0) {
            return &m->rows[i];
        }
    }
    return NULL;
}

static int compare_matches(const void *a, const void *b) {
    const struct topic_match *x = a;
    const struct topic_match *y = b;
    if (x->subscriber != y->subscriber) {
        return (uintptr_t)x->subscriber < (uintptr_t)y->subscriber ? -1 : 1;
    }
    return x->options < y->options ? -1 : x->options > y->options;
}

static void assert_same_matches(const struct topic_trie *trie, const struct model *m, const struct random_topic *name,
                                struct topic_matches *matches) {
    struct topic_match expected[MODEL_MAX];
    size_t count = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (topic_matches(random_topic_span(&m->rows[i].filter), random_topic_span(name))) {
            expected[count++] = (struct topic_match){m->rows[i].subscriber, m->rows[i].options};
        }
    }
    topic_trie_match(trie, random_topic_span(name), matches);
    if (matches->count != count) {
        fail_msg("name %s: %zu matches, expected %zu", name->text, matches->count, count);
    }
    if (count == 0) {
        return;
    }
    qsort(expected, count, sizeof expected[0], compare_matches);
    qsort(matches->items, count, sizeof expected[0], compare_matches);
    for (size_t i = 0; i < count; i++) {
        assert_ptr_equal(matches->items[i].subscriber, expected[i].subscriber);
        assert_int_equal(matches->items[i].options, expected[i].options);
    }
}

static void model_add(struct topic_trie *trie, struct model *m, struct prng *prng) {
    struct random_topic filter = random_topic_of(prng, true);
    void *subscriber = &people[prng_below(prng, MODEL_SUBSCRIBERS)];
    uint32_t options = (uint32_t)prng_next(prng);
    struct model_row *row = model_find(m, &filter, subscriber);
    if (row != NULL) {
        assert_int_equal(topic_trie_add(trie, random_topic_span(&filter), subscriber, options), TOPIC_TRIE_REPLACED);
        row->options = options;
        return;
    }
    if (m->count == MODEL_MAX) {
        return;
    }
    if (prng_chance(prng, 1, 2)) {
        assert_int_equal(topic_trie_add(trie, random_topic_span(&filter), subscriber, options), TOPIC_TRIE_ADDED);
    } else {
        topic_trie_add_new(trie, random_topic_span(&filter), subscriber, options);
    }
    m->rows[m->count++] = (struct model_row){filter, subscriber, options};
}

static void model_remove(struct topic_trie *trie, struct model *m, struct prng *prng) {
    if (m->count > 0 && prng_chance(prng, 9, 10)) {
        struct model_row *row = &m->rows[prng_below(prng, m->count)];
        assert_int_equal(topic_trie_remove(trie, random_topic_span(&row->filter), row->subscriber), TOPIC_TRIE_REMOVED);
        *row = m->rows[--m->count];
        return;
    }
    struct random_topic filter = random_topic_of(prng, true);
    void *subscriber = &people[prng_below(prng, MODEL_SUBSCRIBERS)];
    if (model_find(m, &filter, subscriber) == NULL) {
        assert_int_equal(topic_trie_remove(trie, random_topic_span(&filter), subscriber), TOPIC_TRIE_ABSENT);
    }
}

/* One trie through growth and decay: in the first half of the steps adds prevail, in the second removals. */
static void run_against_model(uint64_t seed, unsigned steps, topic_reclaim *reclaim, void *user) {
    static struct model m;
    m.count = 0;
    struct prng prng = prng_of(seed);
    struct topic_trie *trie = topic_trie_create(prng_next(&prng), reclaim, user);
    struct topic_matches matches = {0};
    for (unsigned step = 0; step < steps; step++) {
        if (prng_chance(&prng, step < steps / 2 ? 8 : 3, 10)) {
            model_add(trie, &m, &prng);
        } else {
            model_remove(trie, &m, &prng);
        }
        struct random_topic name = random_topic_of(&prng, false);
        assert_same_matches(trie, &m, &name, &matches);
        assert_int_equal(topic_trie_subscriptions(trie), m.count);
    }
    while (seed % 2 == 0 && m.count > 0) {
        model_remove(trie, &m, &prng);
    }
    if (m.count == 0) {
        assert_int_equal(topic_trie_nodes(trie), 0);
    }
    topic_trie_destroy(trie);
    topic_matches_deinit(&matches);
}

static void matches_what_one_by_one_search_matches(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_against_model(seed, 300, free_at_once, NULL);
    }
    run_against_model(61, 4000, free_at_once, NULL);
    run_against_model(62, 4000, free_at_once, NULL);
}

static void reclaims_everything_once(void **state) {
    (void)state;
    struct graveyard yard = {.known = map64_of(SEED)};
    for (uint64_t seed = 100; seed < 110; seed++) {
        run_against_model(seed, 300, graveyard_add, &yard);
    }
    assert_true(yard.total > 100);
    graveyard_empty(&yard);
}

/* ---- overlapping filters ---- */

static void overlapping_filters_are_separate_matches(void **state) {
    (void)state;
    struct topic_trie *trie = topic_trie_create(SEED, free_at_once, NULL);
    static const char *const filters[] = {"a/b", "a/+", "+/b", "+/+", "#", "a/#", "+/#", "a/b/#", "+/+/#"};
    for (uint32_t i = 0; i < 9; i++) {
        topic_trie_add(trie, span_str(filters[i]), &people[0], i);
    }
    struct topic_matches matches = {0};
    topic_trie_match(trie, SPAN("a/b"), &matches);
    assert_int_equal(matches.count, 9);
    uint32_t seen = 0;
    for (size_t i = 0; i < matches.count; i++) {
        assert_ptr_equal(matches.items[i].subscriber, &people[0]);
        seen |= 1U << matches.items[i].options;
    }
    assert_int_equal(seen, 0x1ff);
    topic_matches_deinit(&matches);
    topic_trie_destroy(trie);
}

static void wildcards_are_literal_when_removed(void **state) {
    (void)state;
    struct topic_trie *trie = topic_trie_create(SEED, free_at_once, NULL);
    topic_trie_add(trie, SPAN("a/b"), &people[0], 0);
    assert_int_equal(topic_trie_remove(trie, SPAN("a/+"), &people[0]), TOPIC_TRIE_ABSENT);
    assert_int_equal(topic_trie_remove(trie, SPAN("a/#"), &people[0]), TOPIC_TRIE_ABSENT);
    assert_int_equal(topic_trie_remove(trie, SPAN("a"), &people[0]), TOPIC_TRIE_ABSENT);
    assert_int_equal(topic_trie_remove(trie, SPAN("a/b/c"), &people[0]), TOPIC_TRIE_ABSENT);
    assert_int_equal(topic_trie_remove(trie, SPAN("a/b"), &people[1]), TOPIC_TRIE_ABSENT);
    assert_int_equal(topic_trie_nodes(trie), 1);
    assert_int_equal(topic_trie_remove(trie, SPAN("a/b"), &people[0]), TOPIC_TRIE_REMOVED);
    assert_int_equal(topic_trie_nodes(trie), 0);
    topic_trie_destroy(trie);
}

/* ---- depth ---- */

enum { DEEPEST = 65535 };

static void count_matches(const struct topic_trie *trie, struct span name, struct topic_matches *matches,
                          size_t count) {
    topic_trie_match(trie, name, matches);
    assert_int_equal(matches->count, count);
}

static void deepest_filters_match(void **state) {
    (void)state;
    uint8_t *empty = mem_alloc(DEEPEST);
    uint8_t *any = mem_alloc(DEEPEST);
    uint8_t *rest = mem_alloc(DEEPEST);
    memset(empty, '/', DEEPEST);
    memset(any, '/', DEEPEST);
    memset(rest, '/', DEEPEST);
    for (size_t i = 0; i < DEEPEST; i += 2) {
        any[i] = '+';
    }
    rest[DEEPEST - 1] = '#';
    struct topic_trie *trie = topic_trie_create(SEED, free_at_once, NULL);
    topic_trie_add(trie, span_of(empty, DEEPEST), &people[0], 0);
    topic_trie_add(trie, span_of(any, DEEPEST), &people[1], 0);
    topic_trie_add(trie, span_of(rest, DEEPEST), &people[2], 0);
    struct topic_matches matches = {0};
    count_matches(trie, span_of(empty, DEEPEST), &matches, 2);
    count_matches(trie, span_of(empty, DEEPEST - 1), &matches, 1);
    count_matches(trie, span_of(empty, DEEPEST - 2), &matches, 1);
    count_matches(trie, span_of(empty, DEEPEST - 3), &matches, 0);
    count_matches(trie, span_of(empty, DEEPEST / 2), &matches, 1);
    count_matches(trie, SPAN("a"), &matches, 0);
    assert_int_equal(topic_trie_remove(trie, span_of(any, DEEPEST), &people[1]), TOPIC_TRIE_REMOVED);
    assert_int_equal(topic_trie_nodes(trie), 3);
    count_matches(trie, span_of(empty, DEEPEST), &matches, 2);
    topic_trie_destroy(trie);
    topic_matches_deinit(&matches);
    mem_free(empty);
    mem_free(any);
    mem_free(rest);
}

/* Every level has a way on by its own text and one by "+": the stack is as deep as the name, and the search visits
 * each node once. */
static void forks_at_every_level(void **state) {
    (void)state;
    enum { LEVELS = 20000 };
    struct topic_trie *trie = topic_trie_create(SEED, free_at_once, NULL);
    uint8_t *text = mem_alloc(2 * LEVELS);
    for (size_t i = 0; i < LEVELS; i++) {
        text[2 * i] = 'a';
        text[2 * i + 1] = '/';
    }
    struct span name = span_of(text, 2 * LEVELS - 1);
    topic_trie_add(trie, name, &people[0], 0);
    for (size_t i = 0; i < LEVELS; i += 100) {
        text[2 * i] = '+';
        topic_trie_add(trie, span_of(text, 2 * i + 1), &people[1], 0);
        text[2 * i] = 'a';
    }
    struct topic_matches matches = {0};
    count_matches(trie, name, &matches, 1);
    count_matches(trie, span_of(text, 2 * 100 + 1), &matches, 1);
    topic_trie_destroy(trie);
    topic_matches_deinit(&matches);
    mem_free(text);
}

/* All filters of "a" and "+" over so many levels: each of them matches. */
static void all_combinations_match(void **state) {
    (void)state;
    enum { LEVELS = 10 };
    struct topic_trie *trie = topic_trie_create(SEED, free_at_once, NULL);
    char text[2 * LEVELS];
    for (uint32_t bits = 0; bits < 1U << LEVELS; bits++) {
        for (size_t i = 0; i < LEVELS; i++) {
            text[2 * i] = bits >> i & 1U ? '+' : 'a';
            text[2 * i + 1] = '/';
        }
        topic_trie_add(trie, span_of(text, sizeof text - 1), &people[0], bits);
    }
    struct topic_matches matches = {0};
    count_matches(trie, SPAN("a/a/a/a/a/a/a/a/a/a"), &matches, 1U << LEVELS);
    count_matches(trie, SPAN("a/a/a/a/a/a/a/a/a/b"), &matches, 1U << (LEVELS - 1));
    topic_trie_destroy(trie);
    topic_matches_deinit(&matches);
}

/* ---- width ---- */

static void many_subscribers_of_one_filter(void **state) {
    (void)state;
    enum { MANY = sizeof people };
    struct topic_trie *trie = topic_trie_create(SEED, free_at_once, NULL);
    struct topic_matches matches = {0};
    for (uint32_t i = 0; i < MANY; i++) {
        topic_trie_add_new(trie, SPAN("news/all"), &people[i], i);
    }
    count_matches(trie, SPAN("news/all"), &matches, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(topic_trie_add(trie, SPAN("news/all"), &people[i], i + 1), TOPIC_TRIE_REPLACED);
    }
    topic_trie_match(trie, SPAN("news/all"), &matches);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(matches.items[i].options, (uint8_t *)matches.items[i].subscriber - people + 1);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(topic_trie_remove(trie, SPAN("news/all"), &people[i]), TOPIC_TRIE_REMOVED);
        if (i % 10000 == 0) {
            count_matches(trie, SPAN("news/all"), &matches, MANY - 1 - i);
        }
    }
    assert_int_equal(topic_trie_nodes(trie), 0);
    topic_trie_destroy(trie);
    topic_matches_deinit(&matches);
}

static struct span device_topic(char *text, size_t bytes, uint32_t device) {
    (void)snprintf(text, bytes, "site%u/room%u/device%u", device % 10, device % 1000, device);
    return span_str(text);
}

static void many_filters(void **state) {
    (void)state;
    enum { MANY = 50000 };
    struct graveyard yard = {.known = map64_of(SEED)};
    struct topic_trie *trie = topic_trie_create(SEED, graveyard_add, &yard);
    struct topic_matches matches = {0};
    char text[64];
    for (uint32_t i = 0; i < MANY; i++) {
        topic_trie_add(trie, device_topic(text, sizeof text, i), &people[i], i);
        topic_trie_add(trie, SPAN("flat/+"), &people[i], i);
    }
    assert_int_equal(topic_trie_nodes(trie), MANY + 1000 + 10 + 1);
    for (uint32_t i = 0; i < MANY; i++) {
        count_matches(trie, device_topic(text, sizeof text, i), &matches, 1);
        assert_ptr_equal(matches.items[0].subscriber, &people[i]);
    }
    count_matches(trie, SPAN("site0/room0/device1"), &matches, 0);
    graveyard_empty(&yard);
    for (uint32_t i = 0; i < MANY; i++) {
        assert_int_equal(topic_trie_remove(trie, device_topic(text, sizeof text, i), &people[i]), TOPIC_TRIE_REMOVED);
        topic_trie_remove(trie, SPAN("flat/+"), &people[i]);
        count_matches(trie, device_topic(text, sizeof text, i), &matches, 0);
        count_matches(trie, device_topic(text, sizeof text, (i + 1000) % MANY), &matches, i + 1000 < MANY);
    }
    assert_int_equal(topic_trie_nodes(trie), 0);
    assert_int_equal(topic_trie_subscriptions(trie), 0);
    graveyard_empty(&yard);
    topic_trie_destroy(trie);
    topic_matches_deinit(&matches);
}

/* Levels that come and go for ever beside one that stays must neither grow the table nor slow the search. */
static void churn_keeps_the_table_small(void **state) {
    (void)state;
    struct graveyard yard = {.known = map64_of(SEED)};
    struct topic_trie *trie = topic_trie_create(SEED, graveyard_add, &yard);
    struct topic_matches matches = {0};
    char text[64];
    topic_trie_add(trie, SPAN("stays/+/here"), &people[0], 7);
    for (uint32_t i = 0; i < 20000; i++) {
        topic_trie_add(trie, device_topic(text, sizeof text, i), &people[1], 0);
        if (i >= 20) {
            topic_trie_remove(trie, device_topic(text, sizeof text, i - 20), &people[1]);
        }
        count_matches(trie, SPAN("stays/x/here"), &matches, 1);
        graveyard_empty(&yard);
    }
    assert_int_equal(topic_trie_subscriptions(trie), 21);
    assert_true(topic_trie_nodes(trie) <= 3 + 20 + 20 + 10);
    topic_trie_destroy(trie);
    topic_matches_deinit(&matches);
    graveyard_empty(&yard);
}

static void an_empty_trie_matches_nothing(void **state) {
    (void)state;
    struct topic_trie *trie = topic_trie_create(SEED, free_at_once, NULL);
    struct topic_matches matches = {0};
    count_matches(trie, SPAN("a/b"), &matches, 0);
    assert_int_equal(topic_trie_remove(trie, SPAN("a/b"), &people[0]), TOPIC_TRIE_ABSENT);
    topic_trie_destroy(trie);
    topic_trie_destroy(NULL);
    topic_matches_deinit(&matches);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_what_one_by_one_search_matches),
        cmocka_unit_test(reclaims_everything_once),
        cmocka_unit_test(overlapping_filters_are_separate_matches),
        cmocka_unit_test(wildcards_are_literal_when_removed),
        cmocka_unit_test(deepest_filters_match),
        cmocka_unit_test(forks_at_every_level),
        cmocka_unit_test(all_combinations_match),
        cmocka_unit_test(many_subscribers_of_one_filter),
        cmocka_unit_test(many_filters),
        cmocka_unit_test(churn_keeps_the_table_small),
        cmocka_unit_test(an_empty_trie_matches_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
