/* The memory engine: a record is durable when it is staged, and nothing survives. For tests, and for those who switch
 * persistence off knowingly. It never folds, so nothing is let go of memory. */
#pragma once

#include "store/store.h"

struct store *store_memory_create(void);
void store_memory_destroy(struct store *store);
