/* What a run came to: as a table for people or as one JSON object for scripts. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "bench/bench.h"

/* Prints the report of a run that has ended. */
void report_print(FILE *out, const struct bench *b, bool json);
/* True when the broker kept its word: nothing lost above QoS 0, nothing twice, nothing against the protocol. */
bool report_clean(const struct bench *b);
