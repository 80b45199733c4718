/* Where every decision of a simulated history comes from, so that a history is a list of small numbers.
 *
 * Choices are drawn at random from a seed, or taken from a script and beyond its end at random or always 0. What was
 * taken is recorded, with its bound: the explorer steps through neighbours of a script, the shrinker shortens one.
 * Callers put the calmest alternative at 0. Knows nothing of what is chosen. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prng.h"

struct choice {
    uint32_t value;
    uint32_t bound; /* value < bound */
};

struct choices {
    struct prng prng;
    const struct choice *script; /* borrowed; taken first */
    size_t script_count;
    bool random;          /* beyond the script: random, else 0 */
    size_t taken_count;   /* choices made so far, recorded or not */
    struct choice *taken; /* what was chosen; NULL when nothing is recorded */
    size_t taken_capacity;
    bool recording;
};

/* Zero-initialised is "always 0". Frees the record. */
void choices_deinit(struct choices *c);
/* Starts over; keeps the memory of the record. Borrows the script. */
void choices_start(struct choices *c, uint64_t seed, const struct choice *script, size_t script_count, bool random);
/* A number in [0, bound); bound > 0. */
uint32_t choose(struct choices *c, uint32_t bound);
/* True with probability numerator/denominator; false when the choice is 0, unless it is certain. */
bool chance(struct choices *c, uint32_t numerator, uint32_t denominator);
