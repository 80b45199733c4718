/* The array of one filter's subscribers from inside: its size, and what a reader sees who holds on to an old one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "topic/subscribers.h"

enum { SEED = 3, MANY = 5000 };

static uint8_t people[MANY];

static void discard(struct topic_subscribers *s) {
    topic_subscribers_retire(s);
    mem_free(s);
}

/* Does what the trie does when an array takes another's place. */
static struct topic_subscribers *replace(struct topic_subscribers *before, struct topic_subscribers *now) {
    if (before != NULL && before != now) {
        discard(before);
    }
    return now;
}

static struct topic_subscribers *append(struct topic_subscribers *s, unsigned who) {
    return replace(s, topic_subscribers_append(s, SEED, &people[who], who));
}

static struct topic_subscribers *take(struct topic_subscribers *s, unsigned who) {
    struct topic_place *place = topic_subscribers_find(s, &people[who]);
    assert_non_null(place);
    return replace(s, topic_subscribers_remove(s, SEED, place));
}

static void arrays_grow_and_shrink_with_the_subscribers(void **state) {
    (void)state;
    struct topic_subscribers *s = append(NULL, 0);
    assert_int_equal(s->capacity, 1);
    for (unsigned i = 1; i < MANY; i++) {
        s = append(s, i);
        assert_int_equal(s->live, i + 1);
        assert_true(s->capacity <= 2 * (i + 1));
    }
    for (unsigned i = 0; i < MANY - 1; i++) {
        s = take(s, i);
        assert_int_equal(s->live, MANY - 1 - i);
        assert_true(s->capacity <= 4 * s->live + 4);
        assert_null(topic_subscribers_find(s, &people[i]));
        assert_non_null(topic_subscribers_find(s, &people[MANY - 1]));
    }
    assert_null(s->index);
    s = take(s, MANY - 1);
    assert_null(s);
}

static void churn_does_not_grow_an_array(void **state) {
    (void)state;
    struct topic_subscribers *s = NULL;
    for (unsigned i = 0; i < 10 * MANY; i++) {
        s = append(s, i % MANY);
        if (i >= 100) {
            s = take(s, (i - 100) % MANY);
        }
        assert_true(s->capacity <= 256);
    }
    discard(s);
}

/* Whoever stays is found in every array that a reader may still hold, with options of its own. */
static void old_arrays_keep_what_stays(void **state) {
    (void)state;
    struct topic_subscribers *s = topic_subscribers_append(NULL, SEED, &people[0], 0);
    for (unsigned i = 1; i < 200; i++) {
        struct topic_subscribers *old = s;
        uint32_t count = atomic_load(&old->count);
        s = topic_subscribers_append(s, SEED, &people[i], i);
        if (s == old) {
            assert_int_equal(atomic_load(&s->count), count + 1);
            continue;
        }
        assert_int_equal(atomic_load(&old->count), count);
        for (uint32_t k = 0; k < count; k++) {
            assert_ptr_equal(atomic_load(&old->places[k].subscriber), &people[k]);
            assert_int_equal(atomic_load(&old->places[k].options), k);
        }
        discard(old);
    }
    discard(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_grow_and_shrink_with_the_subscribers),
        cmocka_unit_test(churn_does_not_grow_an_array),
        cmocka_unit_test(old_arrays_keep_what_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
