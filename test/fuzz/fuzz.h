/* What every fuzz target is: one function that must survive any input. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Returns 0; a fault is an assertion or a sanitizer's report. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
