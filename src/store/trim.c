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

/* Those that end in one frame. */
static void trim_frame(struct trim *t, struct span records, bool first) {
    struct reader payload = reader_of(records);
    struct span encoded;
    struct record record;
    while (frame_record_next(&payload, &encoded) && record_decode(encoded, &record)) {
        const session_id_t session = record.kind == RECORD_SESSION_END ? record.end.session_id : 0;
        if (session != 0 && map64_get(&t->sessions, session) == NULL) {
            trim_add(t, session);
        }
        if (session != 0 && first) {
            map64_put(&t->sessions, session, &trimmed);
        }
    }
}

void trim_begin(struct trim *t, struct span in, const struct chain *at) {
    struct frame_header h;
    struct chain chain = *at;
    trim_deinit(t);
    *t = (struct trim){.sessions = map64_of(chain.salt)};
    while (frame_read(in, &chain, &h)) {
        trim_frame(t, span_of(in.ptr + FRAME_HEADER_BYTES, h.payload_bytes), t->sessions.count == 0);
        in = span_skip(in, frame_bytes(h.payload_bytes));
        chain = chain_after(&h);
    }
}

/* All of them, or until the transaction is large. */
static bool trim_some(struct trim *t, struct fold *fold, struct error *error) {
    bool all;
    session_id_t *sessions = mem_copy(t->ids.ptr, t->ids.len);
    const bool ok = fold_trim(fold, sessions, t->ids.len / sizeof *sessions, &all, error);
    mem_free(sessions);
    t->over = ok && all;
    return ok;
}

bool trim_step(struct trim *t, struct table *table, const struct chain *after, uint64_t changed_max,
               struct error *error) {
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
    t->over = ok && t->over;
    return ok;
}
