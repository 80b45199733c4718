/* Lines of text for the offline tools. */
#pragma once

#include "base/buf.h"
#include "base/types.h"
#include "store/table.h"

/* Appends formatted text of at most some 500 bytes. */
void text_add(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends a tree's name and what its key says. The key may be anything. */
void text_key(struct buf *out, enum table_tree tree, struct span key);
/* Decodes the records of a payload, as far as they can be: one line each when `print`. Adds to `*bad` when the payload
 * is not wholly records, and says so. */
void text_records(struct buf *out, lsn_t first_lsn, struct span payload, bool print, uint64_t *bad);
