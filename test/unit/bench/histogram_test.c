/* Every value lands in a bucket whose top is at most 1/64 away, and quantiles agree with a sorted list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "bench/histogram.h"

enum { SEED = 11, VALUES = 5000 };

static void small_values_are_exact(void **state) {
    (void)state;
    for (uint64_t v = 0; v < 128; v++) {
        assert_int_equal(histogram_bucket_top(histogram_bucket(v)), v);
    }
}

static void assert_close(uint64_t value) {
    uint64_t top = histogram_bucket_top(histogram_bucket(value));
    assert_true(top >= value);
    assert_true(top - value <= value / HISTOGRAM_SUB);
}

static void error_is_bounded(void **state) {
    (void)state;
    struct prng p = prng_of(SEED);
    for (uint32_t bits = 1; bits < HISTOGRAM_VALUE_BITS; bits++) {
        uint64_t power = 1ULL << bits;
        assert_close(power - 1);
        assert_close(power);
        assert_close(power + prng_below(&p, power));
    }
    assert_close((1ULL << HISTOGRAM_VALUE_BITS) - 1);
}

static void buckets_are_contiguous(void **state) {
    (void)state;
    for (uint32_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        assert_int_equal(histogram_bucket(histogram_bucket_top(i)), i);
        assert_int_equal(histogram_bucket(histogram_bucket_top(i) + 1), i + 1);
    }
}

static void too_long_values_keep_their_maximum(void **state) {
    (void)state;
    static struct histogram h;
    histogram_reset(&h);
    histogram_record(&h, UINT64_MAX / 2);
    assert_int_equal(histogram_quantile(&h, 500000), UINT64_MAX / 2);
    assert_int_equal(h.buckets[HISTOGRAM_BUCKETS - 1], 1);
}

static void the_maximum_is_exact(void **state) {
    (void)state;
    static struct histogram h;
    histogram_reset(&h);
    histogram_record(&h, 1000000);
    assert_int_equal(histogram_quantile(&h, 500000), 1000000);
}

static void empty_is_zero(void **state) {
    (void)state;
    static struct histogram h;
    histogram_reset(&h);
    assert_int_equal(histogram_quantile(&h, 999000), 0);
    assert_int_equal(histogram_mean(&h), 0);
}

static void quantiles_of_few(void **state) {
    (void)state;
    static struct histogram h;
    histogram_reset(&h);
    for (uint64_t v = 1; v <= 10; v++) {
        histogram_record(&h, v);
    }
    assert_int_equal(histogram_quantile(&h, 0), 1);
    assert_int_equal(histogram_quantile(&h, 500000), 5);
    assert_int_equal(histogram_quantile(&h, 500001), 6);
    assert_int_equal(histogram_quantile(&h, 900000), 9);
    assert_int_equal(histogram_quantile(&h, 990000), 10);
    assert_int_equal(histogram_quantile(&h, 1000000), 10);
    assert_int_equal(histogram_mean(&h), 5);
}

static int compare_values(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void quantiles_agree_with_a_sorted_list(void **state) {
    (void)state;
    static const uint32_t per_million[] = {1000, 250000, 500000, 900000, 990000, 999000, 1000000};
    static struct histogram h;
    static uint64_t values[VALUES];
    struct prng p = prng_of(SEED);
    histogram_reset(&h);
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = prng_next(&p) >> (24 + prng_below(&p, 40));
        histogram_record(&h, values[i]);
    }
    qsort(values, VALUES, sizeof(values[0]), compare_values);
    for (size_t i = 0; i < sizeof(per_million) / sizeof(per_million[0]); i++) {
        uint64_t exact = values[(uint64_t)VALUES * per_million[i] / 1000000 - 1];
        uint64_t found = histogram_quantile(&h, per_million[i]);
        assert_true(found >= exact && found - exact <= exact / HISTOGRAM_SUB);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_values_are_exact), cmocka_unit_test(error_is_bounded),
        cmocka_unit_test(buckets_are_contiguous), cmocka_unit_test(too_long_values_keep_their_maximum),
        cmocka_unit_test(the_maximum_is_exact),   cmocka_unit_test(empty_is_zero),
        cmocka_unit_test(quantiles_of_few),       cmocka_unit_test(quantiles_agree_with_a_sorted_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
