/* The table: ordered keys and values with atomic, durable transactions. One writer at a time; readers any time, each
 * with a snapshot. Engines: table_lmdb.c, and table_memory.c for the simulator and for tests. Keys of one tree are
 * compared as bytes. */
#pragma once

#include "base/error.h"
#include "base/span.h"

/* The trees of a store; see docs/format-journal.md for keys and values. */
enum table_tree {
    TABLE_META = 0,
    TABLE_SESSIONS,
    TABLE_SUBSCRIPTIONS,
    TABLE_HELD,
    TABLE_FLIGHTS,
    TABLE_QUEUE,
    TABLE_MESSAGES,
    TABLE_REFERENCES,
    TABLE_RETAINED,
    TABLE_WILLS,
    TABLE_POSITIONS,
    TABLE_TREES, /* how many */
};

struct table;        /* opaque, first member: struct table_ops pointer */
struct table_txn;    /* opaque */
struct table_cursor; /* opaque */

struct table_ops {
    void (*close)(struct table *t);
    /* Sees to it that the next transactions find room for so many bytes on the disk, as far as that can be known. By
     * the thread that writes. ERROR_NO_SPACE: there is no room. NULL: the table needs none. */
    bool (*reserve)(struct table *t, uint64_t bytes, struct error *error);
    /* Gives back to the disk what no row uses, but for `keep` bytes of it: for a quiet moment, by the thread that
     * writes. An error changes nothing. NULL: there is nothing to give back. */
    bool (*rest)(struct table *t, uint64_t keep, struct error *error);
    /* At a start, by the only thread, without a transaction: a file of which most is free is made anew, small. An error
     * leaves a table that can only be closed. NULL: there is no file. */
    bool (*anew)(struct table *t, struct error *error);
    /* Bytes that the table takes on the disk; `used`: those of them that rows use. Any thread. NULL: none. */
    uint64_t (*bytes)(struct table *t, uint64_t *used);
    /* A read transaction sees the last commit; a write transaction sees its own changes too. NULL with an error. */
    struct table_txn *(*begin)(struct table *t, bool write, struct error *error);
    /* Durable when it returns true. On false nothing has changed. Ends the transaction either way. Fails when any
     * read or change of the transaction has failed. */
    bool (*commit)(struct table_txn *txn, struct error *error);
    void (*abort)(struct table_txn *txn);
    /* Memory that the changes of a write transaction take until it ends, about. NULL: not known. */
    uint64_t (*changed)(const struct table_txn *txn);
    /* False with an error when a read of this transaction has failed: then "absent" was perhaps not true. */
    bool (*sound)(struct table_txn *txn, struct error *error);
    /* True when found; `value` is valid until the next change or the end of the transaction. */
    bool (*get)(struct table_txn *txn, enum table_tree tree, struct span key, struct span *value);
    bool (*put)(struct table_txn *txn, enum table_tree tree, struct span key, struct span value, struct error *error);
    /* Absent keys are no error. */
    bool (*remove)(struct table_txn *txn, enum table_tree tree, struct span key, struct error *error);
    /* The first key >= `from`; false at the end. Use next_after semantics by appending a zero byte to a key. */
    bool (*seek)(struct table_txn *txn, enum table_tree tree, struct span from, struct span *key, struct span *value);
    /* An ordered walk: cursor_open positions before the first key >= from; next moves and reports. The tree must not
     * be changed while a cursor is open. */
    struct table_cursor *(*cursor_open)(struct table_txn *txn, enum table_tree tree, struct span from);
    bool (*cursor_next)(struct table_cursor *c, struct span *key, struct span *value);
    void (*cursor_close)(struct table_cursor *c);
};

struct table {
    const struct table_ops *ops;
};

/* LMDB in the file `path`/table.mdb. From three quarters of `bytes_max` on reserve() finds no room; what is under way
 * then, and all that makes rows fewer, still has it, for the map is larger than `bytes_max` by as much as address space
 * allows. A file that is there is not changed by this. */
struct table *table_lmdb_open(const char *path, uint64_t bytes_max, struct error *error);

/* True when there is none, or an empty file: table_lmdb_open() would make one. */
bool table_lmdb_missing(const char *path);

/* A table in memory that outlives its user, so that the simulator can "restart" on it: open, close, open again sees
 * the commits. `fail` (may be NULL) is asked before each commit and may refuse it with an error (ERROR_CRASHED,
 * ERROR_NO_SPACE): then nothing has changed. */
struct table_memory;
struct table_memory *table_memory_create(bool (*fail)(void *user, struct error *error), void *user);
void table_memory_destroy(struct table_memory *m);
struct table *table_memory_open(struct table_memory *m);
