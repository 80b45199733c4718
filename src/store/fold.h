/* The fold: what records mean for the table. It is the one place where the store knows sessions, deliveries and flows.
 *
 * A record that names a session which does not exist (any more) is ignored: a session's end and its last
 * acknowledgement may cross. So is a step of a flow that is not there. A message stays while it is referenced: by each
 * delivery that waits in a queue or is in flight with its body, and by being the retained message of its topic. A
 * retained message that a subscription brings is queued with its own body, which must still be there.
 *
 * Works on a write transaction that its owner begins and commits. Not thread-safe. */
#pragma once

#include "base/map.h"
#include "store/overlay.h"
#include "store/rows.h"

struct fold {
    struct overlay overlay;
    struct map64 sessions; /* id -> does it exist? what this fold has learned */
    lsn_t last_lsn;        /* folded last */
    uint64_t records;      /* folded, for those who count */
    struct record_clock clock;
    bool clock_moved;            /* it is not in the table yet */
    bool whole;                  /* no record is missing from the log */
    uint64_t changed_max;        /* bytes of memory that the transaction's changes may take, about; 0: any */
    bool spilled;                /* they do, or may: it is time to commit */
    const struct map64 *trimmed; /* sessions whose ends are never too much; NULL: none */
    bool giant;                  /* the fold has failed for this alone: a session's end is too much; see trim.h */
};

/* `after`: where the journal goes on after what the table holds; its salt, which nobody outside knows, is the seed of
 * the maps. `whole`: the log has no holes, so that an id that a record holds was not held before and an id that a
 * record sends had no flow: most ids then live and die without the table. */
void fold_init(struct fold *f, struct table *table, struct table_txn *txn, const struct chain *after, bool whole);
void fold_deinit(struct fold *f);
/* Folds one record, encoded; borrows `encoded` until fold_flush(). ERROR_DAMAGED when it cannot be decoded. */
bool fold_record(struct fold *f, lsn_t lsn, struct span encoded, struct error *error);
/* Folds the `count` records of a payload. */
bool fold_payload(struct fold *f, lsn_t first_lsn, uint32_t count, struct span payload, struct error *error);
/* Folds all frames of `in`, which continue `*chain`; moves the chain on. ERROR_DAMAGED unless `in` is whole frames. */
bool fold_frames(struct fold *f, struct span in, struct chain *chain, struct error *error);
/* The same for as many of the frames, from the first on, as make the transaction large; says how many bytes they were.
 * On failure `*bytes` is where the frame begins that did it. */
bool fold_some(struct fold *f, struct span in, struct chain *chain, uint64_t *bytes, struct error *error);
/* Removes the rows of sessions, but for those that say that they exist, until the transaction is large: `*all` says
 * whether nothing is left. The same messages leave all queues together, for they have one count of references, which
 * is written once then. Changes the list. */
bool fold_trim(struct fold *f, session_id_t *sessions, size_t count, bool *all, struct error *error);
/* Brings all changes into the transaction. */
bool fold_flush(struct fold *f, struct error *error);
