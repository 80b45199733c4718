#include "quota/pace.h"

enum { US_PER_MS = 1000, US_PER_S = 1000000 };

bool pace_allows(const struct pace *pace, int64_t now_ms) {
    return atomic_load_explicit(&pace->until_us, memory_order_relaxed) < now_ms * US_PER_MS + US_PER_S;
}

uint64_t pace_taken(const struct pace *pace, int64_t now_ms, uint64_t rate) {
    const int64_t left_us = atomic_load_explicit(&pace->until_us, memory_order_relaxed) - now_ms * US_PER_MS;
    const uint64_t left = left_us > 0 ? (uint64_t)left_us : 0;
    return left / US_PER_S * rate + (left % US_PER_S * rate + US_PER_S - 1) / US_PER_S;
}

void pace_take(struct pace *pace, int64_t now_ms, uint64_t amount, uint64_t rate) {
    int64_t cost_us = (int64_t)(amount / rate * US_PER_S + amount % rate * US_PER_S / rate);
    int64_t until = atomic_load_explicit(&pace->until_us, memory_order_relaxed);
    int64_t after;
    do {
        after = (until > now_ms * US_PER_MS ? until : now_ms * US_PER_MS) + cost_us;
    } while (!atomic_compare_exchange_weak_explicit(&pace->until_us, &until, after, memory_order_relaxed,
                                                    memory_order_relaxed));
}
