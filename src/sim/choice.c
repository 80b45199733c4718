#include "sim/choice.h"

#include "base/mem.h"
#include "base/must.h"

void choices_deinit(struct choices *c) {
    mem_free(c->taken);
    c->taken = NULL;
    c->taken_capacity = 0;
    c->taken_count = 0;
}

void choices_start(struct choices *c, uint64_t seed, const struct choice *script, size_t script_count, bool random) {
    c->prng = prng_of(seed);
    c->script = script;
    c->script_count = script_count;
    c->random = random;
    c->taken_count = 0;
}

static void record(struct choices *c, uint32_t value, uint32_t bound) {
    if (c->taken_count == c->taken_capacity) {
        c->taken_capacity = c->taken_capacity == 0 ? 1024 : c->taken_capacity * 2;
        c->taken = mem_resize(c->taken, c->taken_capacity * sizeof *c->taken);
    }
    c->taken[c->taken_count] = (struct choice){value, bound};
}

uint32_t choose(struct choices *c, uint32_t bound) {
    must(bound > 0);
    uint32_t value = 0;
    if (bound == 1) {
        return 0;
    }
    if (c->taken_count < c->script_count) {
        value = c->script[c->taken_count].value % bound;
    } else if (c->random) {
        value = (uint32_t)prng_below(&c->prng, bound);
    }
    if (c->recording) {
        record(c, value, bound);
    }
    c->taken_count++;
    return value;
}

bool chance(struct choices *c, uint32_t numerator, uint32_t denominator) {
    if (numerator == 0) {
        return false;
    }
    return choose(c, denominator) >= denominator - numerator;
}
