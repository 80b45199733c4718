#include "bench/histogram.h"

#include <string.h>

#include "base/must.h"

void histogram_reset(struct histogram *h) {
    memset(h, 0, sizeof(*h));
}

/* How many of the smallest values make up the fraction, rounded up, at least one; no overflow for any count. */
static uint64_t quantile_rank(uint64_t count, uint32_t per_million) {
    uint64_t whole = count / 1000000 * per_million;
    uint64_t rest = (count % 1000000 * per_million + 999999) / 1000000;
    uint64_t rank = whole + rest;
    return rank == 0 ? 1 : rank;
}

uint64_t histogram_quantile(const struct histogram *h, uint32_t per_million) {
    must(per_million <= 1000000);
    if (h->count == 0) {
        return 0;
    }
    uint64_t left = quantile_rank(h->count, per_million);
    for (uint32_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        if (h->buckets[i] >= left) {
            uint64_t top = histogram_bucket_top(i);
            return top < h->max ? top : h->max;
        }
        left -= h->buckets[i];
    }
    return h->max;
}

uint64_t histogram_mean(const struct histogram *h) {
    return h->count == 0 ? 0 : h->sum / h->count;
}
