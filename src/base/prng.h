/* A small, fast, seeded generator (xoshiro256**): for the simulator, for jitter and for hash seeds, not for secrets. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct prng {
    uint64_t state[4];
};

struct prng prng_of(uint64_t seed);
uint64_t prng_next(struct prng *p);
/* A number in [0, bound); bound > 0. */
uint64_t prng_below(struct prng *p, uint64_t bound);
/* True with probability numerator/denominator. */
bool prng_chance(struct prng *p, uint64_t numerator, uint64_t denominator);
