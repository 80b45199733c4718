/* Hash maps against a plain list, through growth, deletion and shrinking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/prng.h"

enum { KEYS = 300, STEPS = 20000 };

/* What the map should hold: the value of each key, NULL when it is not there. */
struct model {
    void *values[KEYS];
    size_t count;
};

static void *model_set(struct model *m, size_t key, void *value) {
    void *old = m->values[key];
    m->values[key] = value;
    m->count = m->count + (value != NULL) - (old != NULL);
    return old;
}

static void *random_value(struct prng *prng) {
    return (void *)(uintptr_t)(prng_next(prng) | 1U);
}

/* Adds prevail at first, then removals, then adds again: the table grows, shrinks to nothing and grows. */
static bool step_adds(struct prng *prng, unsigned step) {
    return prng_chance(prng, step / (STEPS / 4) % 2 == 0 ? 8 : 2, 10);
}

/* ---- from numbers ---- */

/* Keys of which many are close and many share their low bits. */
static uint64_t number_key(size_t i) {
    return i % 3 == 0 ? i : i % 3 == 1 ? (uint64_t)i << 40 : ~(uint64_t)i;
}

static void check_map64(const struct map64 *m, const struct model *model) {
    assert_int_equal(m->count, model->count);
    assert_true(m->count == 0 ? m->slots == NULL : m->capacity >= m->count);
    assert_true(m->capacity <= 8 || m->capacity <= 8 * m->count);
    for (size_t i = 0; i < KEYS; i++) {
        assert_ptr_equal(map64_get(m, number_key(i)), model->values[i]);
    }
}

static void check_map64_walk(const struct map64 *m, const struct model *model) {
    size_t seen = 0;
    uint64_t key;
    void *value;
    for (size_t at = 0; map64_next(m, &at, &key, &value); seen++) {
        assert_ptr_equal(map64_get(m, key), value);
    }
    assert_int_equal(seen, model->count);
}

static void map64_is_a_map(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct prng prng = prng_of(seed);
        struct map64 m = map64_of(prng_next(&prng));
        struct model model = {0};
        for (unsigned step = 0; step < STEPS; step++) {
            size_t i = prng_below(&prng, KEYS);
            void *value = step_adds(&prng, step) ? random_value(&prng) : NULL;
            void *old = value != NULL ? map64_put(&m, number_key(i), value) : map64_remove(&m, number_key(i));
            assert_ptr_equal(old, model_set(&model, i, value));
            assert_ptr_equal(map64_get(&m, number_key(i)), value);
            assert_int_equal(m.count, model.count);
            if (step % 50 == 0) {
                check_map64(&m, &model);
                check_map64_walk(&m, &model);
            }
        }
        map64_deinit(&m);
    }
}

static void map64_holds_every_key_there_is(void **state) {
    (void)state;
    static const uint64_t keys[] = {0, 1, UINT64_MAX, UINT64_MAX - 1, 1ULL << 63, 1ULL << 32, 0x9e3779b97f4a7c15ULL};
    int value = 0;
    struct map64 m = map64_of(0x9e3779b97f4a7c15ULL);
    assert_null(map64_get(&m, 0));
    assert_null(map64_remove(&m, 0));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_null(map64_get(&m, keys[i]));
        assert_null(map64_put(&m, keys[i], &value));
        assert_ptr_equal(map64_get(&m, keys[i]), &value);
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_ptr_equal(map64_remove(&m, keys[i]), &value);
        assert_null(map64_get(&m, keys[i]));
    }
    assert_int_equal(m.count, 0);
    assert_null(m.slots);
}

/* ---- from bytes ---- */

struct named {
    char name[24];
    size_t bytes;
};

/* Key 0 is empty; others have zero bytes in them, and some begin with others. */
static struct named bytes_key(size_t i) {
    struct named key = {.bytes = 0};
    for (size_t rest = i; rest > 0; rest /= 4) {
        key.name[key.bytes++] = (char)(rest % 4);
    }
    return key;
}

static struct span named_span(const struct named *key) {
    return span_of(key->name, key->bytes);
}

static void check_map_bytes(const struct map_bytes *m, const struct model *model) {
    assert_int_equal(m->count, model->count);
    assert_true(m->count == 0 ? m->slots == NULL : m->capacity >= m->count);
    assert_true(m->capacity <= 8 || m->capacity <= 8 * m->count);
    size_t seen = 0;
    struct span name;
    void *value;
    for (size_t at = 0; map_bytes_next(m, &at, &name, &value); seen++) {
        assert_ptr_equal(map_bytes_get(m, name), value);
        assert_ptr_equal(name.ptr, ((struct named *)value)->name);
    }
    assert_int_equal(seen, model->count);
}

/* Each value owns the key that it is stored under, as the header asks; the replaced one is freed at once, so a map that
 * kept its key would be caught by the address sanitizer. */
static void map_bytes_is_a_map(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct prng prng = prng_of(seed);
        struct map_bytes m = map_bytes_of(prng_next(&prng));
        struct model model = {0};
        for (unsigned step = 0; step < STEPS; step++) {
            size_t i = prng_below(&prng, KEYS);
            struct named key = bytes_key(i);
            struct named *value = step_adds(&prng, step) ? mem_copy(&key, sizeof key) : NULL;
            void *old =
                value != NULL ? map_bytes_put(&m, named_span(value), value) : map_bytes_remove(&m, named_span(&key));
            assert_ptr_equal(old, model_set(&model, i, value));
            mem_free(old);
            assert_ptr_equal(map_bytes_get(&m, named_span(&key)), value);
            if (step % 50 == 0) {
                check_map_bytes(&m, &model);
            }
        }
        for (size_t i = 0; i < KEYS; i++) {
            mem_free(model.values[i]);
        }
        map_bytes_deinit(&m);
    }
}

static void an_empty_span_is_a_key(void **state) {
    (void)state;
    int value = 0;
    struct map_bytes m = map_bytes_of(5);
    struct span none = {NULL, 0};
    assert_null(map_bytes_get(&m, none));
    assert_null(map_bytes_remove(&m, none));
    assert_null(map_bytes_put(&m, none, &value));
    assert_ptr_equal(map_bytes_get(&m, SPAN("")), &value);
    assert_null(map_bytes_get(&m, SPAN("a")));
    assert_ptr_equal(map_bytes_put(&m, SPAN(""), &m), &value);
    assert_ptr_equal(map_bytes_remove(&m, none), &m);
    assert_null(m.slots);
}

/* ---- hashes ---- */

/* Keys that lie side by side must spread, also into few places: shards are chosen by hash too. */
static void hashes_spread(void **state) {
    (void)state;
    enum { PLACES = 8, COUNT = 8000 };
    size_t by_number[PLACES] = {0};
    size_t by_bytes[PLACES] = {0};
    for (uint32_t i = 0; i < COUNT; i++) {
        by_number[hash64(i, 1) % PLACES]++;
        by_bytes[hash_bytes(span_of(&i, sizeof i), 1) % PLACES]++;
    }
    for (size_t i = 0; i < PLACES; i++) {
        assert_in_range(by_number[i], COUNT / PLACES * 8 / 10, COUNT / PLACES * 12 / 10);
        assert_in_range(by_bytes[i], COUNT / PLACES * 8 / 10, COUNT / PLACES * 12 / 10);
    }
}

static void seeds_change_the_places(void **state) {
    (void)state;
    size_t same_number = 0;
    size_t same_bytes = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        same_number += hash64(i, 1) % 16 == hash64(i, 2) % 16;
        same_bytes += hash_bytes(span_of(&i, sizeof i), 1) % 16 == hash_bytes(span_of(&i, sizeof i), 2) % 16;
    }
    assert_in_range(same_number, 0, 150);
    assert_in_range(same_bytes, 0, 150);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map64_is_a_map),     cmocka_unit_test(map64_holds_every_key_there_is),
        cmocka_unit_test(map_bytes_is_a_map), cmocka_unit_test(an_empty_span_is_a_key),
        cmocka_unit_test(hashes_spread),      cmocka_unit_test(seeds_change_the_places),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
