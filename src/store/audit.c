#include "store/audit.h"

#include <inttypes.h>

#include "base/map.h"
#include "base/mem.h"
#include "store/bytes.h"
#include "store/text.h"

/* Remove a row, or (REFERENCES) set its count. */
struct audit_fix {
    enum table_tree tree;
    struct row_key key;
    uint32_t count; /* 0: remove */
};

/* What is known while the walks go on. The values of the maps are numbers + 1, for NULL means absent. */
struct walk {
    struct audit *audit;
    struct map64 sessions; /* those whose row is good */
    struct map64 messages; /* those whose body is good -> references counted */
};

static void *number_value(uintptr_t number) {
    return (void *)(number + 1);
}

static uintptr_t value_number(const void *value) {
    return (uintptr_t)value - 1;
}

static void fix_add(struct audit *a, enum table_tree tree, struct span key, uint32_t count) {
    struct audit_fix fix = {.tree = tree, .count = count};
    if (row_key_copy(&fix.key, key)) {
        buf_bytes(&a->fixes, span_of(&fix, sizeof fix));
    }
}

/* A row that has to go. */
static void found(struct walk *w, enum table_tree tree, struct span key, const char *what) {
    w->audit->findings++;
    text_add(w->audit->out, "table: %s: ", what);
    text_key(w->audit->out, tree, key);
    text_add(w->audit->out, "\n");
    fix_add(w->audit, tree, key, 0);
}

typedef void row_visit(struct walk *w, enum table_tree tree, struct span key, struct span value);

static void rows_visit(struct walk *w, enum table_tree tree, row_visit *visit) {
    const struct table_ops *ops = w->audit->table->ops;
    struct table_cursor *cursor = ops->cursor_open(w->audit->txn, tree, span_of(NULL, 0));
    struct span key;
    struct span value;
    while (ops->cursor_next(cursor, &key, &value)) {
        visit(w, tree, key, value);
    }
    ops->cursor_close(cursor);
}

static bool record_good(struct span key, struct span value, enum record_kind kind) {
    struct record r;
    return row_checked(key, &value) && record_decode(value, &r) && r.kind == kind;
}

static void visit_session(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    session_id_t session;
    if (key.len != 8 || !row_key_session_read(key, &session) || !record_good(key, value, RECORD_SESSION)) {
        found(w, tree, key, "a session is damaged");
        return;
    }
    map64_put(&w->sessions, session, number_value(0));
}

static void visit_message(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    lsn_t lsn;
    struct message_parts parts;
    if (!row_key_message_read(key, &lsn) || !row_checked(key, &value) || !record_parts_decode(value, &parts)) {
        found(w, tree, key, "the body of a message is damaged");
        return;
    }
    map64_put(&w->messages, lsn, number_value(0));
}

/* Counts a reference; false when there is no good body. */
static bool message_refer(struct walk *w, lsn_t lsn) {
    const void *value = map64_get(&w->messages, lsn);
    if (value == NULL) {
        return false;
    }
    map64_put(&w->messages, lsn, number_value(value_number(value) + 1));
    return true;
}

/* False when the row belongs to no session. */
static bool owned(struct walk *w, enum table_tree tree, struct span key) {
    session_id_t session;
    if (row_key_session_read(key, &session) && map64_get(&w->sessions, session) != NULL) {
        return true;
    }
    found(w, tree, key, "a row belongs to no session");
    return false;
}

static void visit_subscription(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    if (owned(w, tree, key) && !record_good(key, value, RECORD_SUBSCRIBED)) {
        found(w, tree, key, "a subscription is damaged");
    }
}

static void visit_held(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    (void)value;
    if (owned(w, tree, key) && key.len != 10) {
        found(w, tree, key, "a held packet id is damaged");
    }
}

static void visit_flight(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    struct store_flight flight;
    if (!owned(w, tree, key)) {
        return;
    }
    if (key.len != 10 || !row_flight_read(value, &flight)) {
        found(w, tree, key, "a flow is damaged");
    } else if (!flight.released && !message_refer(w, flight.message_lsn)) {
        found(w, tree, key, "a flow has no message");
    }
}

static void visit_queued(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    session_id_t session;
    lsn_t lsn;
    uint32_t target;
    struct row_queued queued;
    if (!owned(w, tree, key)) {
        return;
    }
    if (!row_key_delivery_read(key, &session, &lsn, &target) || !row_queued_read(value, &queued)) {
        found(w, tree, key, "a queued delivery is damaged");
    } else if (!message_refer(w, lsn)) {
        found(w, tree, key, "a queued delivery has no message");
    }
}

static void visit_will(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    if (owned(w, tree, key) && !record_good(key, value, RECORD_WILL)) {
        found(w, tree, key, "a will is damaged");
    }
}

static void visit_position(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    uint64_t sequence;
    if (owned(w, tree, key) && !row_lsn_read(value, &sequence)) {
        found(w, tree, key, "the position of a publisher is damaged");
    }
}

static void visit_retained(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    lsn_t lsn;
    if (!row_lsn_read(value, &lsn)) {
        found(w, tree, key, "a retained message is damaged");
    } else if (!message_refer(w, lsn)) {
        found(w, tree, key, "a retained message has no body");
    }
}

/* After all references are counted. */
static void visit_references(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    lsn_t lsn;
    uint32_t count;
    const void *counted = row_key_message_read(key, &lsn) ? map64_get(&w->messages, lsn) : NULL;
    if (counted == NULL) {
        found(w, tree, key, "references of a message that is not there");
    } else if (!row_count_read(value, &count) || count < 2 || count != value_number(counted)) {
        w->audit->findings++;
        text_add(w->audit->out, "table: message %" PRIu64 " has a wrong count of references; they are %zu\n", lsn,
                 (size_t)value_number(counted));
        uint32_t right = value_number(counted) > 1 ? (uint32_t)value_number(counted) : 0;
        fix_add(w->audit, tree, key, right);
    }
}

/* A message without a row in REFERENCES must be referenced once. */
static void visit_count(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    lsn_t lsn;
    struct span count;
    const struct table_ops *ops = w->audit->table->ops;
    (void)value;
    const void *counted = row_key_message_read(key, &lsn) ? map64_get(&w->messages, lsn) : NULL;
    if (counted == NULL) {
        return;
    }
    if (value_number(counted) == 0) {
        found(w, tree, key, "a message is not referenced by anything");
    } else if (value_number(counted) > 1 && !ops->get(w->audit->txn, TABLE_REFERENCES, key, &count)) {
        w->audit->findings++;
        text_add(w->audit->out, "table: message %" PRIu64 " has no count of references; they are %zu\n", lsn,
                 (size_t)value_number(counted));
        fix_add(w->audit, TABLE_REFERENCES, key, (uint32_t)value_number(counted));
    }
}

bool audit_run(struct audit *audit, struct table *table, struct table_txn *txn, struct buf *out, struct error *error) {
    *audit = (struct audit){.table = table, .txn = txn, .out = out};
    struct walk w = {audit, map64_of(0), map64_of(0)};
    static const struct {
        enum table_tree tree;
        row_visit *visit;
    } walks[] = {
        {TABLE_SESSIONS, visit_session},   {TABLE_MESSAGES, visit_message},  {TABLE_SUBSCRIPTIONS, visit_subscription},
        {TABLE_HELD, visit_held},          {TABLE_FLIGHTS, visit_flight},    {TABLE_QUEUE, visit_queued},
        {TABLE_WILLS, visit_will},         {TABLE_RETAINED, visit_retained}, {TABLE_REFERENCES, visit_references},
        {TABLE_POSITIONS, visit_position}, {TABLE_MESSAGES, visit_count},
    };
    for (size_t i = 0; i < sizeof walks / sizeof walks[0]; i++) {
        rows_visit(&w, walks[i].tree, walks[i].visit);
    }
    map64_deinit(&w.sessions);
    map64_deinit(&w.messages);
    return table->ops->sound(txn, error);
}

static bool fix_make(struct audit *a, const struct audit_fix *fix, struct error *error) {
    if (fix->count == 0) {
        return a->table->ops->remove(a->txn, fix->tree, row_key_span(&fix->key), error);
    }
    uint8_t value[4];
    le32_put(value, fix->count);
    return a->table->ops->put(a->txn, fix->tree, row_key_span(&fix->key), span_of(value, sizeof value), error);
}

bool audit_fix(struct audit *audit, struct error *error) {
    for (size_t at = 0; at < audit->fixes.len; at += sizeof(struct audit_fix)) {
        struct audit_fix fix;
        memcpy(&fix, audit->fixes.ptr + at, sizeof fix);
        if (!fix_make(audit, &fix, error)) {
            return false;
        }
    }
    return true;
}

void audit_deinit(struct audit *audit) {
    buf_deinit(&audit->fixes);
}
