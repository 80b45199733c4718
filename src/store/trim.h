/* Sessions whose ends are too much for one commit of the table: their rows go first, in commits of their own.
 *
 *     a fold fails, and says `giant` ──> trim_begin(): all sessions that end in that frame, and in those that follow;
 *                                        trim_add(): who is known to end later
 *     trim_step() until there are none ──> the fold once more, with `trimmed`: their ends find little
 *
 * Safe: that they end is durable, and whoever folds that frame, after whatever crash, removes the rest. Until then a
 * step of theirs that an earlier frame holds finds nothing and is ignored; rows that one adds go with the end. Nobody
 * reads the queue of a session that has ended. Those who end one after the other are trimmed together, because the same
 * messages wait for them as a rule. Not thread-safe. */
#pragma once

#include "store/fold.h"

struct trim {
    struct map64 sessions; /* of the first frame: for struct fold */
    struct buf ids;        /* of all, one after the other */
    bool over;             /* their rows are gone */
};

void trim_init(struct trim *t);
void trim_deinit(struct trim *t);
/* True while there is something to do. */
static inline bool trim_due(const struct trim *t) {
    return t->ids.len > 0 && !t->over;
}
/* `in`: durable frames, from the one at which the fold has stopped, which is at `at`; those that are whole count. */
void trim_begin(struct trim *t, struct span in, const struct chain *at);
/* One more that ends in a durable record, wherever that is. */
static inline void trim_add(struct trim *t, session_id_t session) {
    buf_bytes(&t->ids, span_of(&session, sizeof session));
}
/* One transaction, which is committed; it changes as much as a fold may. `after`: where the table stands. */
bool trim_step(struct trim *t, struct table *table, const struct chain *after, uint64_t changed_max,
               struct error *error);
/* The fold has succeeded. */
void trim_end(struct trim *t);
