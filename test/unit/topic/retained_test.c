/* The retained index against a list that is searched one by one, and at its limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "topic/retained.h"
#include "topic/topic.h"
#include "unit/topic/random_topics.h"

enum { SEED = 7, MODEL_MAX = 400, DEEPEST = 65535 };

struct model_row {
    struct random_topic name;
    void *value;
};

struct model {
    struct model_row rows[MODEL_MAX];
    size_t count;
};

struct found {
    void *values[MODEL_MAX];
    size_t count;
    size_t stop_at; /* the visit says no when it has so many; 0: never */
};

static bool found_add(void *user, void *value) {
    struct found *found = user;
    assert_true(found->count < MODEL_MAX);
    found->values[found->count++] = value;
    return found->count != found->stop_at;
}

static void release_nothing(void *value) {
    (void)value;
}

static int compare_pointers(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a;
    uintptr_t y = *(const uintptr_t *)b;
    return x < y ? -1 : x > y;
}

static struct model_row *model_find(struct model *m, const struct random_topic *name) {
    for (size_t i = 0; i < m->count; i++) {
        if (strcmp(m->rows[i].name.text, name->text) == 0) {
            return &m->rows[i];
        }
    }
    return NULL;
}

static void assert_same_values(const struct topic_retained *retained, const struct model *m,
                               const struct random_topic *filter) {
    static struct found expected;
    static struct found found;
    expected.count = 0;
    for (size_t i = 0; i < m->count; i++) {
        if (topic_matches(random_topic_span(filter), random_topic_span(&m->rows[i].name))) {
            expected.values[expected.count++] = m->rows[i].value;
        }
    }
    found = (struct found){.count = 0};
    topic_retained_match(retained, random_topic_span(filter), found_add, &found);
    if (found.count != expected.count) {
        fail_msg("filter %s: %zu values, expected %zu", filter->text, found.count, expected.count);
    }
    qsort(expected.values, expected.count, sizeof expected.values[0], compare_pointers);
    qsort(found.values, found.count, sizeof found.values[0], compare_pointers);
    assert_memory_equal(expected.values, found.values, expected.count * sizeof expected.values[0]);
}

static void model_change(struct topic_retained *retained, struct model *m, struct prng *prng, uint64_t sets_of_ten) {
    struct random_topic name = random_topic_of(prng, false);
    struct model_row *row = model_find(m, &name);
    void *old = row == NULL ? NULL : row->value;
    assert_ptr_equal(topic_retained_get(retained, random_topic_span(&name)), old);
    bool set = prng_chance(prng, sets_of_ten, 10) && (row != NULL || m->count < MODEL_MAX);
    void *value = set ? (void *)(uintptr_t)(1 + prng_next(prng) / 2) : NULL;
    assert_ptr_equal(topic_retained_set(retained, random_topic_span(&name), value), old);
    assert_ptr_equal(topic_retained_get(retained, random_topic_span(&name)), value);
    if (row == NULL && set) {
        m->rows[m->count++] = (struct model_row){name, value};
    } else if (row != NULL && set) {
        row->value = value;
    } else if (row != NULL) {
        *row = m->rows[--m->count];
    }
}

static void matches_what_one_by_one_search_matches(void **state) {
    (void)state;
    static struct model m;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prng prng = prng_of(seed);
        struct topic_retained *retained = topic_retained_create(prng_next(&prng));
        m.count = 0;
        for (unsigned step = 0; step < 1000; step++) {
            model_change(retained, &m, &prng, step < 500 ? 8 : 3);
            struct random_topic filter = random_topic_of(&prng, true);
            assert_same_values(retained, &m, &filter);
            assert_int_equal(topic_retained_count(retained), m.count);
        }
        topic_retained_destroy(retained, release_nothing);
    }
}

static void stops_when_the_visitor_says_so(void **state) {
    (void)state;
    struct topic_retained *retained = topic_retained_create(SEED);
    static const char *const names[] = {"a", "a/b", "a/c", "a/c/d", "b", "b/c", "/", "a/b/c/d"};
    for (size_t i = 0; i < 8; i++) {
        topic_retained_set(retained, span_str(names[i]), (void *)(uintptr_t)(i + 1));
    }
    static const struct {
        const char *filter;
        size_t all;
    } cases[] = {{"#", 8}, {"a/#", 5}, {"+/+", 4}, {"+", 2}, {"a/+", 2}, {"a/c", 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t stop_at = 0; stop_at <= cases[i].all; stop_at++) {
            struct found found = {.stop_at = stop_at};
            topic_retained_match(retained, span_str(cases[i].filter), found_add, &found);
            assert_int_equal(found.count, stop_at == 0 ? cases[i].all : stop_at);
        }
    }
    topic_retained_destroy(retained, release_nothing);
}

static size_t released;

static void count_release(void *value) {
    assert_non_null(value);
    released++;
}

static void destroy_releases_what_is_left(void **state) {
    (void)state;
    struct topic_retained *retained = topic_retained_create(SEED);
    int value = 0;
    char name[32];
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "%d/%d", i % 30, i);
        assert_null(topic_retained_set(retained, span_str(name), &value));
    }
    assert_ptr_equal(topic_retained_set(retained, SPAN("1/31"), NULL), &value);
    assert_null(topic_retained_set(retained, SPAN("1/31"), NULL));
    assert_null(topic_retained_set(retained, SPAN("1"), NULL));
    assert_null(topic_retained_set(retained, SPAN("none/there"), NULL));
    assert_int_equal(topic_retained_count(retained), 999);
    released = 0;
    topic_retained_destroy(retained, count_release);
    assert_int_equal(released, 999);
    topic_retained_destroy(NULL, count_release);
}

static size_t count_found(const struct topic_retained *retained, struct span filter) {
    struct found found = {.count = 0};
    topic_retained_match(retained, filter, found_add, &found);
    return found.count;
}

static void deepest_names_are_found(void **state) {
    (void)state;
    struct topic_retained *retained = topic_retained_create(SEED);
    int value = 0;
    uint8_t *name = mem_alloc(DEEPEST);
    uint8_t *filter = mem_alloc(DEEPEST);
    memset(name, '/', DEEPEST);
    memset(filter, '/', DEEPEST);
    topic_retained_set(retained, span_of(name, DEEPEST), &value);
    topic_retained_set(retained, span_of(name, DEEPEST - 2), &value);
    assert_int_equal(count_found(retained, SPAN("#")), 2);
    assert_int_equal(count_found(retained, SPAN("/#")), 2);
    assert_int_equal(count_found(retained, span_of(name, DEEPEST)), 1);
    assert_int_equal(count_found(retained, span_of(name, DEEPEST - 1)), 0);
    filter[DEEPEST - 1] = '#';
    assert_int_equal(count_found(retained, span_of(filter, DEEPEST)), 2);
    for (size_t i = 0; i < DEEPEST; i += 2) {
        filter[i] = '+';
    }
    assert_int_equal(count_found(retained, span_of(filter, DEEPEST)), 0);
    topic_retained_set(retained, span_of(name, DEEPEST / 2), &value);
    assert_int_equal(count_found(retained, span_of(filter, DEEPEST)), 1);
    assert_int_equal(count_found(retained, SPAN("+/#")), 3);
    assert_ptr_equal(topic_retained_set(retained, span_of(name, DEEPEST), NULL), &value);
    assert_int_equal(count_found(retained, SPAN("#")), 2);
    topic_retained_destroy(retained, release_nothing);
    mem_free(name);
    mem_free(filter);
}

/* ---- a search that goes on while the index changes ---- */

enum { NAMES_MAX = 300 };

struct named {
    struct random_topic name;
    bool stays; /* from before the search to its end */
    bool there;
    bool matches;
    unsigned given;
};

struct walking {
    struct named names[NAMES_MAX];
    size_t count;
    struct prng prng;
    unsigned refused;
};

static bool take_sometimes(void *user, void *value) {
    struct walking *w = user;
    if (prng_chance(&w->prng, 1, 3)) {
        w->refused++;
        return false;
    }
    struct named *n = value;
    assert_true(n->there && n->matches);
    n->given++;
    return true;
}

/* Names of two levels at most, some of them many side by side, so that tables grow and shrink. */
static struct random_topic name_of(struct prng *prng) {
    if (prng_chance(prng, 1, 2)) {
        return random_topic_of(prng, false);
    }
    struct random_topic name;
    unsigned number = (unsigned)prng_below(prng, 200);
    (void)snprintf(name.text, sizeof name.text, prng_chance(prng, 1, 2) ? "a/%u" : "%u/a", number);
    return name;
}

static struct named *walking_find(struct walking *w, const struct random_topic *name) {
    for (size_t i = 0; i < w->count; i++) {
        if (strcmp(w->names[i].name.text, name->text) == 0) {
            return &w->names[i];
        }
    }
    return NULL;
}

static void change_some(struct topic_retained *retained, struct walking *w, const struct random_topic *filter) {
    for (uint64_t n = prng_below(&w->prng, 40); n > 0; n--) {
        struct random_topic name = name_of(&w->prng);
        struct named *named = walking_find(w, &name);
        if (named == NULL && w->count < NAMES_MAX) {
            named = &w->names[w->count++];
            *named = (struct named){.name = name};
            named->matches = topic_matches(random_topic_span(filter), random_topic_span(&name));
        }
        if (named != NULL && !named->stays) {
            named->there = prng_chance(&w->prng, 1, 2);
            (void)topic_retained_set(retained, random_topic_span(&name), named->there ? named : NULL);
        }
    }
}

static void a_search_goes_on_while_the_index_changes(void **state) {
    (void)state;
    static struct walking w;
    unsigned slices = 0;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        w.prng = prng_of(seed);
        w.count = 0;
        struct topic_retained *retained = topic_retained_create(prng_next(&w.prng));
        struct random_topic filter = random_topic_of(&w.prng, true);
        if (prng_chance(&w.prng, 1, 2)) {
            static const char *const filters[] = {"#", "a/#", "a/+", "+/a", "+/+", "+/#"};
            (void)snprintf(filter.text, sizeof filter.text, "%s", filters[prng_below(&w.prng, 6)]);
        }
        for (int i = 0; i < 5; i++) {
            change_some(retained, &w, &filter);
        }
        for (size_t i = 0; i < w.count; i++) {
            w.names[i].stays = w.names[i].there && prng_chance(&w.prng, 1, 2);
        }
        struct topic_retained_cursor cursor = {.filter = random_topic_span(&filter)};
        for (; !cursor.ended; slices++) {
            (void)topic_retained_walk(retained, &cursor, 1 + prng_below(&w.prng, 8), take_sometimes, &w);
            change_some(retained, &w, &filter);
        }
        assert_int_equal(topic_retained_walk(retained, &cursor, 1, take_sometimes, &w), 0);
        for (size_t i = 0; i < w.count; i++) {
            const struct named *n = &w.names[i];
            if (n->given > 1 || (n->stays && n->matches && n->given == 0)) {
                fail_msg("seed %d, filter %s: %s was given %u times", (int)seed, filter.text, n->name.text, n->given);
            }
        }
        topic_retained_cursor_deinit(&cursor);
        topic_retained_destroy(retained, release_nothing);
    }
    assert_true(slices > 3000 && w.refused > 1000);
}

/* What one slice costs does not depend on how much there is. */
static void a_slice_is_bounded(void **state) {
    (void)state;
    struct topic_retained *retained = topic_retained_create(SEED);
    static struct named names[20000];
    for (size_t i = 0; i < 20000; i++) {
        (void)snprintf(names[i].name.text, sizeof names[i].name.text, i % 2 == 0 ? "%zu" : "x/%zu", i);
        (void)topic_retained_set(retained, random_topic_span(&names[i].name), &names[i]);
    }
    static const char *const filters[] = {"#", "+/no", "x/+/no", "x/#"};
    for (size_t f = 0; f < 4; f++) {
        struct walking w = {.prng = prng_of(f)};
        struct topic_retained_cursor cursor = {.filter = span_str(filters[f])};
        size_t slices = 0;
        for (size_t i = 0; i < 20000; i++) {
            names[i].there = names[i].matches = true;
        }
        for (; !cursor.ended; slices++) {
            assert_true(topic_retained_walk(retained, &cursor, 100, take_sometimes, &w) < 1000);
        }
        assert_true(slices >= 90);
        topic_retained_cursor_deinit(&cursor);
    }
    topic_retained_destroy(retained, release_nothing);
}

/* The same with so many names side by side that they come to lie in parts, are split, and are few again: forward and
 * back, while the search is under way. */
static void a_search_goes_on_while_many_come_and_go(void **state) {
    (void)state;
    enum { MANY = 12000, STAY = 400 };
    static struct named names[MANY];
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct walking w = {.prng = prng_of(seed)};
        struct topic_retained *retained = topic_retained_create(prng_next(&w.prng));
        struct topic_retained_cursor cursor = {.filter = span_str(seed % 2 == 0 ? "#" : "x/+")};
        const size_t step = seed * 1000;
        size_t there = 0;
        bool grows = true;
        for (size_t i = 0; i < MANY; i++) {
            names[i] = (struct named){.matches = true};
            (void)snprintf(names[i].name.text, sizeof names[i].name.text, "x/%zu", i);
        }
        while (!cursor.ended) {
            const size_t to = grows ? there + step : there > step ? there - step : STAY;
            for (; there < to && there < MANY; there++) {
                names[there].there = true;
                (void)topic_retained_set(retained, random_topic_span(&names[there].name), &names[there]);
            }
            for (; there > to && there > STAY; there--) {
                names[there - 1].there = false;
                (void)topic_retained_set(retained, random_topic_span(&names[there - 1].name), NULL);
            }
            grows = there <= STAY || (grows && there < MANY);
            (void)topic_retained_walk(retained, &cursor, 300, take_sometimes, &w);
        }
        for (size_t i = 0; i < MANY; i++) {
            assert_true(names[i].given <= 1);
            assert_true(i >= STAY || names[i].given == 1);
        }
        topic_retained_cursor_deinit(&cursor);
        topic_retained_destroy(retained, release_nothing);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_what_one_by_one_search_matches),
        cmocka_unit_test(stops_when_the_visitor_says_so),
        cmocka_unit_test(destroy_releases_what_is_left),
        cmocka_unit_test(deepest_names_are_found),
        cmocka_unit_test(a_search_goes_on_while_the_index_changes),
        cmocka_unit_test(a_search_goes_on_while_many_come_and_go),
        cmocka_unit_test(a_slice_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
