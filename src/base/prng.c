#include "base/prng.h"

#include "base/must.h"

static uint64_t rotate_left(uint64_t x, unsigned bits) {
    return x << bits | x >> (64 - bits);
}

/* The state is filled by splitmix64, so that seeds that are close give streams that are not. */
struct prng prng_of(uint64_t seed) {
    struct prng p;
    for (int i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15ULL;
        uint64_t z = seed;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        p.state[i] = z ^ z >> 31;
    }
    return p;
}

uint64_t prng_next(struct prng *p) {
    uint64_t *s = p->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *p, uint64_t bound) {
    must(bound > 0);
    return (uint64_t)(((unsigned __int128)prng_next(p) * bound) >> 64);
}

bool prng_chance(struct prng *p, uint64_t numerator, uint64_t denominator) {
    return prng_below(p, denominator) < numerator;
}
