/* The audit of a table: is every row well formed, does everything that is named exist, are the references of each
 * message as many as it has? Reads within a transaction; what it finds it says in lines of text, and as the changes
 * that would make the table sound again. */
#pragma once

#include "base/buf.h"
#include "store/rows.h"

struct audit {
    struct table *table;
    struct table_txn *txn;
    struct buf *out; /* a line for each finding */
    uint64_t findings;
    struct buf fixes; /* struct audit_fix, one after the other */
};

/* Looks at the whole table, of which `meta` says what it holds; audit->findings says how much is wrong. False when the
 * table cannot be read. */
bool audit_run(struct audit *audit, struct table *table, struct table_txn *txn, const struct row_meta *meta,
               struct buf *out, struct error *error);
/* Makes the changes, in the same transaction, which must be one that writes. Another audit may then find more. */
bool audit_fix(struct audit *audit, struct error *error);
void audit_deinit(struct audit *audit);
