/* What a torture found, for people or as JSON. Knows nothing of sockets. */
#pragma once

#include <stdio.h>

#include "torture/torture.h"

/* Prints the whole catalogue, a row a line. */
void report_catalogue(FILE *out, const char *only);
void report_print(FILE *out, struct torture *t);
