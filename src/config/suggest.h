/* Which known word an unknown one was probably meant to be. */
#pragma once

#include "base/span.h"

/* The best guess so far; zero to begin. */
struct suggestion {
    const char *word;  /* NULL: none is near */
    unsigned distance; /* edits between it and the unknown word */
};

/* Looks whether `candidate` is nearer to `unknown` than the best so far. An edit is an insertion, a removal, a
 * replacement or a swap of neighbours; more than a third of the word's length is no longer near. */
void suggestion_consider(struct suggestion *best, struct span unknown, const char *candidate);
