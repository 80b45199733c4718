#include "store/trim.h"

#include "base/mem.h"

static char trimmed;

void trim_init(struct trim *t) {
    *t = (struct trim){.sessions = map64_of(0)};
}

void trim_deinit(struct trim *t) {
    map64_deinit(&t->sessions);
    buf_deinit(&t->ids);
}

void trim_end(struct trim *t) {
    if (t->ids.len > 0) {
        trim_deinit(t);
        trim_init(t);
    }
}

void trim_begin(struct trim *t, struct span in, uint64_t seed) {
    struct frame_header h;
    struct span encoded;
    struct record record;
    trim_deinit(t);
    *t = (struct trim){.sessions = map64_of(seed)};
    if (!frame_header_read(in.ptr, &h) || in.len - FRAME_HEADER_BYTES < h.payload_bytes) {
        return;
    }
    struct reader payload = reader_of(span_of(in.ptr + FRAME_HEADER_BYTES, h.payload_bytes));
    while (frame_record_next(&payload, &encoded) && record_decode(encoded, &record)) {
        const session_id_t session = record.kind == RECORD_SESSION_END ? record.end.session_id : 0;
        if (session != 0 && map64_get(&t->sessions, session) == NULL) {
            map64_put(&t->sessions, session, &trimmed);
            buf_bytes(&t->ids, span_of(&session, sizeof session));
        }
    }
}

/* One after the other, until the transaction is large. */
static bool trim_some(struct trim *t, struct fold *fold, struct error *error) {
    for (bool all = true; all && trim_due(t);) {
        session_id_t session;
        memcpy(&session, t->ids.ptr + t->done, sizeof session);
        if (!fold_trim(fold, session, &all, error)) {
            return false;
        }
        t->done += all ? sizeof session : 0;
    }
    return true;
}

bool trim_step(struct trim *t, struct table *table, const struct chain *after, uint64_t changed_max,
               struct error *error) {
    const size_t before = t->done;
    struct table_txn *txn = table->ops->begin(table, true, error);
    if (txn == NULL) {
        return false;
    }
    struct fold fold;
    fold_init(&fold, table, txn, after, true);
    fold.changed_max = changed_max;
    bool ok = trim_some(t, &fold, error);
    fold_deinit(&fold);
    if (!ok) {
        table->ops->abort(txn);
    }
    ok = ok && table->ops->commit(txn, error);
    t->done = ok ? t->done : before;
    return ok;
}
