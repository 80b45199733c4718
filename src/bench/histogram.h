/* A histogram of durations with a bounded relative error: log-linear buckets, 64 to each power of two.
 *
 * A value is off by at most 1/64 of itself, from 1 ns to 73 minutes; longer ones are counted in the last bucket, the
 * exact maximum is kept beside it. Recording is a few instructions and touches one cache line. Knows nothing of clocks.
 */
#pragma once

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_SUB (1U << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_VALUE_BITS 42
#define HISTOGRAM_BUCKETS ((HISTOGRAM_VALUE_BITS - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB)

struct histogram {
    uint64_t count;                      /* values recorded */
    uint64_t sum;                        /* of all values, for the mean */
    uint64_t max;                        /* the largest value, exact */
    uint64_t buckets[HISTOGRAM_BUCKETS]; /* values in each bucket */
};

/* The bucket of a value: below 64 each value has its own, above the top seven bits and the exponent choose. */
static inline uint32_t histogram_bucket(uint64_t value) {
    if (value < HISTOGRAM_SUB) {
        return (uint32_t)value;
    }
    if (value >> HISTOGRAM_VALUE_BITS != 0) {
        return HISTOGRAM_BUCKETS - 1;
    }
    uint32_t shift = 63U - (uint32_t)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return (shift + 1) * HISTOGRAM_SUB + (uint32_t)(value >> shift) - HISTOGRAM_SUB;
}

/* The largest value that falls into a bucket. */
static inline uint64_t histogram_bucket_top(uint32_t bucket) {
    if (bucket < HISTOGRAM_SUB) {
        return bucket;
    }
    uint32_t shift = bucket / HISTOGRAM_SUB - 1;
    return ((uint64_t)(bucket % HISTOGRAM_SUB + HISTOGRAM_SUB + 1) << shift) - 1;
}

static inline void histogram_record(struct histogram *h, uint64_t value) {
    h->count++;
    h->sum += value;
    if (value > h->max) {
        h->max = value;
    }
    h->buckets[histogram_bucket(value)]++;
}

/* Forgets all values. */
void histogram_reset(struct histogram *h);
/* The value that `per_million` millionths of all values do not exceed (500,000 is the median); 0 when there are none.
 */
uint64_t histogram_quantile(const struct histogram *h, uint32_t per_million);
uint64_t histogram_mean(const struct histogram *h);
