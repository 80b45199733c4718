/* What a torture found, for people or as JSON. Knows nothing of sockets. */
#pragma once

#include <stdio.h>

#include "torture/torture.h"

/* Prints the whole catalogue, a row a line. */
void torture_catalogue(FILE *out, const char *only);
void torture_report(FILE *out, struct torture *t);
