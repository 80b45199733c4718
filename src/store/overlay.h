/* The changes of a fold that have not reached the table: a view of the table with the changes on top.
 *
 * Most rows are born and die within one segment. In the overlay they leave no trace; what is alive at a flush is
 * written to the transaction in the order of the keys. Keys that name an lsn greater than that of the last flush cannot
 * be in the table, so that nobody has to look there for them; `born` carries that lsn, 0 where a key has none.
 *
 * Long values are borrowed until the next flush. Not thread-safe; knows keys and values only as bytes. */
#pragma once

#include "base/types.h"
#include "store/table.h"

struct overlay_entry;
struct overlay_slot;

struct overlay {
    struct table *table;
    struct table_txn *txn; /* a write transaction, owned by whoever made it */
    lsn_t flushed;         /* keys born after it are not in the transaction */
    uint64_t seed;         /* secret: the keys are chosen by clients */
    struct overlay_slot *slots;
    size_t capacity;              /* slots, a power of two, or 0 */
    size_t count;                 /* entries in use, */
    uint32_t counts[TABLE_TREES]; /* and those of each tree */
    struct overlay_entry **blocks;
    size_t block_count;
    uint32_t free; /* list of entries; 0: none */
    uint32_t used; /* entries ever taken from the blocks */
    bool damaged;  /* a row of the table had a form that is never written */
};

void overlay_init(struct overlay *o, struct table *table, struct table_txn *txn, lsn_t flushed, uint64_t seed);
void overlay_deinit(struct overlay *o);
/* True when the key has a value; it is valid until the next change. Only for trees with short values. */
bool overlay_get(struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span *value);
/* The same for values of any length, which are not remembered; a checksum is cut off and not verified. */
bool overlay_look(const struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span *value);
/* Copies the key, copies a short value, borrows a long one until the next flush. */
void overlay_put(struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span value);
/* The caller knows that the view has no such key: if it is removed again before a flush, it leaves no trace. */
void overlay_put_new(struct overlay *o, enum table_tree tree, struct span key, struct span value);
/* The same, unless there has been something of the key since the last flush: then nothing changes, and it says false.
 */
bool overlay_add(struct overlay *o, enum table_tree tree, struct span key, struct span value);
/* overlay_get() and overlay_remove() at once. */
bool overlay_take(struct overlay *o, enum table_tree tree, struct span key, lsn_t born, struct span *value);
void overlay_remove(struct overlay *o, enum table_tree tree, struct span key, lsn_t born);
/* Writes all changes to the transaction and forgets them. `flushed` is the lsn of the last record that they hold.
 * False when the table has failed since the overlay was made. */
bool overlay_flush(struct overlay *o, lsn_t flushed, struct error *error);
