/* The parts of `quartet sim`. */
#pragma once

#include <stdint.h>

/* Runs every mutant against scenarios and seeds (from 1 on, so many, after those that are known to notice). */
int quartet_sim_mutants(uint64_t seeds);
