/* A directory opened as a local store: disk, table and engine together. Its threads are store_work.h's. */
#pragma once

#include "store/disk.h"
#include "store/store_local.h"
#include "store/table.h"

struct local_store {
    struct store *store; /* NULL: not open */
    struct table *table; /* NULL: not open */
    struct disk disk;
    bool disk_open;
};

/* Creates or recovers the store in `path`; `table_bytes` bounds its table. False with an error; local_store_close()
 * then gives back what was opened. */
bool local_store_open(struct local_store *s, const char *path, uint64_t table_bytes,
                      const struct store_local_options *options, struct error *error);
/* Of a limit of the store that is 0: half of what is free on the file system of `path` and of what the store has
 * (NULL or not open: nothing), and 1 GiB at least. */
uint64_t local_store_limit(const struct local_store *s, const char *path, uint64_t limit);
/* Nothing is written: what is staged and not durable is lost. Zeroed is closed. */
void local_store_close(struct local_store *s);
