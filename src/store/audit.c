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
    lsn_t last;             /* of the table */
    struct map64 sessions;  /* those whose row is good */
    struct map_bytes names; /* client ids -> sessions, the newest of each */
    struct map64 messages;  /* those whose body is good -> references counted */
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

static bool record_good(const struct walk *w, enum table_tree tree, struct span key, struct span value) {
    struct record r;
    return row_record_read(tree, key, value, w->last, &r);
}

/* The walk goes from the oldest session to the newest: of two with one client id the later is the one that lives, for a
 * client that has a session gets no other before that one has ended. */
static void visit_session(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    struct record r;
    session_id_t session;
    if (!row_record_read(tree, key, value, w->last, &r) || !row_key_session_read(key, &session)) {
        found(w, tree, key, "a session is damaged");
        return;
    }
    void *old = map_bytes_put(&w->names, r.session.client_id, number_value(session));
    map64_put(&w->sessions, session, number_value(0));
    if (old != NULL) {
        struct row_key older;
        row_key_session(&older, value_number(old));
        found(w, tree, row_key_span(&older), "the client of this session has a newer one");
        (void)map64_remove(&w->sessions, value_number(old));
    }
}

static void visit_message(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    lsn_t lsn;
    struct message_parts parts;
    if (!row_key_message_read(key, &lsn) || lsn > w->last || !row_checked(key, &value) ||
        !record_parts_decode(value, &parts)) {
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
    if (owned(w, tree, key) && !record_good(w, tree, key, value)) {
        found(w, tree, key, "a subscription is damaged");
    }
}

static void visit_held(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    session_id_t session;
    packet_id_t packet_id;
    (void)value;
    if (owned(w, tree, key) && !row_key_packet_read(key, &session, &packet_id)) {
        found(w, tree, key, "a held packet id is damaged");
    }
}

static void visit_flight(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    struct store_flight flight;
    session_id_t session;
    if (!owned(w, tree, key)) {
        return;
    }
    if (!row_key_packet_read(key, &session, &flight.packet_id) || !row_flight_read(value, &flight)) {
        found(w, tree, key, "a flow is damaged");
    } else if (!flight.released && !message_refer(w, flight.body_lsn != 0 ? flight.body_lsn : flight.message_lsn)) {
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
    if (!row_key_delivery_read(key, &session, &lsn, &target) || lsn > w->last || !row_queued_read(value, &queued)) {
        found(w, tree, key, "a queued delivery is damaged");
    } else if (!message_refer(w, queued.body_lsn != 0 ? queued.body_lsn : lsn)) {
        found(w, tree, key, "a queued delivery has no message");
    }
}

static void visit_will(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    if (owned(w, tree, key) && !record_good(w, tree, key, value)) {
        found(w, tree, key, "a will is damaged");
    }
}

static void visit_position(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    uint64_t sequence;
    if (owned(w, tree, key) && (key.len != 8 || !row_lsn_read(value, &sequence))) {
        found(w, tree, key, "the position of a publisher is damaged");
    }
}

/* False when there is a good body, and it is of another topic. */
static bool retained_named(const struct walk *w, struct span key, lsn_t lsn) {
    struct row_key message;
    struct span value;
    struct message_parts parts;
    row_key_message(&message, lsn);
    if (map64_get(&w->messages, lsn) == NULL ||
        !w->audit->table->ops->get(w->audit->txn, TABLE_MESSAGES, row_key_span(&message), &value) ||
        !row_checked(row_key_span(&message), &value) || !record_parts_decode(value, &parts)) {
        return true;
    }
    return row_key_names_topic(key, parts.topic);
}

static void visit_retained(struct walk *w, enum table_tree tree, struct span key, struct span value) {
    lsn_t lsn;
    if (!row_lsn_read(value, &lsn)) {
        found(w, tree, key, "a retained message is damaged");
    } else if (!retained_named(w, key, lsn)) {
        found(w, tree, key, "a retained message has another topic");
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

bool audit_run(struct audit *audit, struct table *table, struct table_txn *txn, const struct row_meta *meta,
               struct buf *out, struct error *error) {
    *audit = (struct audit){.table = table, .txn = txn, .out = out};
    uint64_t seed = meta->chain.salt; /* the texts are the clients' choice */
    struct walk w = {audit, meta->chain.next_lsn - 1, map64_of(seed), map_bytes_of(seed), map64_of(seed)};
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
    map_bytes_deinit(&w.names);
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
