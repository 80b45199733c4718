/* Reading the table: all that is alive at the start, bodies and queues later. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/local.h"

#define BODIES_BYTES_MAX (1ULL << 30) /* of a table: up to this a start looks at the bodies of messages */

/* A walk through one tree whose keys begin with a session. */
struct stream {
    const struct table_ops *ops;
    enum table_tree tree;
    struct table_cursor *cursor;
    bool more;
    session_id_t session; /* of the row that comes next, if there is one more */
    struct span key;
    struct span value;
};

static bool damaged(struct error *error, enum table_tree tree, struct span key) {
    char hex[2 * ROW_KEY_MAX + 1];
    for (size_t i = 0; i < key.len && i < ROW_KEY_MAX; i++) {
        static const char digits[] = "0123456789abcdef";
        hex[2 * i] = digits[key.ptr[i] >> 4];
        hex[2 * i + 1] = digits[key.ptr[i] & 15];
    }
    hex[2 * (key.len < ROW_KEY_MAX ? key.len : ROW_KEY_MAX)] = '\0';
    return error_set(error, ERROR_DAMAGED, 0,
                     "the table is damaged: tree %d, key %.64s; 'quartet store check' tells more, 'quartet store "
                     "repair' removes it",
                     (int)tree, hex);
}

static bool stream_next(struct stream *s, struct error *error) {
    s->more = s->ops->cursor_next(s->cursor, &s->key, &s->value);
    if (s->more && !row_key_session_read(s->key, &s->session)) {
        return damaged(error, s->tree, s->key);
    }
    return true;
}

static bool stream_open(struct stream *s, struct table *table, struct table_txn *txn, enum table_tree tree,
                        struct error *error) {
    *s = (struct stream){.ops = table->ops, .tree = tree};
    s->cursor = table->ops->cursor_open(txn, tree, span_of(NULL, 0));
    return stream_next(s, error);
}

static void stream_close(struct stream *s) {
    if (s->cursor != NULL) {
        s->ops->cursor_close(s->cursor);
    }
}

struct loading {
    const struct store_sink *sink; /* NULL: nobody is told, all is only looked at */
    struct stream sessions;
    struct stream subscriptions;
    struct stream held;
    struct stream flights;
    struct stream queue;
    struct stream wills;
    struct stream positions;
    struct buf flight_rows; /* struct store_flight of one session */
    lsn_t last;             /* of the table */
    struct error *error;
};

/* True while `s` stands at a row of the session; a row of an earlier one belongs to none. */
static bool row_of(const struct stream *s, session_id_t session) {
    return s->more && s->session <= session;
}

static bool record_of(const struct loading *l, const struct stream *s, struct record *record) {
    return row_record_read(s->tree, s->key, s->value, l->last, record);
}

static bool load_sessions(struct loading *l) {
    while (l->sessions.more) {
        struct record r;
        if (!record_of(l, &l->sessions, &r)) {
            return damaged(l->error, TABLE_SESSIONS, l->sessions.key);
        }
        r.session.session_id = l->sessions.session;
        if (l->sink != NULL) {
            l->sink->session(l->sink->user, l->sessions.session, &r.session);
        }
        if (!stream_next(&l->sessions, l->error)) {
            return false;
        }
    }
    return true;
}

static bool load_subscriptions(struct loading *l, session_id_t session) {
    while (row_of(&l->subscriptions, session)) {
        struct record r;
        if (l->subscriptions.session != session || !record_of(l, &l->subscriptions, &r)) {
            return damaged(l->error, TABLE_SUBSCRIPTIONS, l->subscriptions.key);
        }
        if (l->sink != NULL) {
            l->sink->subscription(l->sink->user, session, &r.subscribed);
        }
        if (!stream_next(&l->subscriptions, l->error)) {
            return false;
        }
    }
    return true;
}

static bool load_held(struct loading *l, session_id_t session) {
    while (row_of(&l->held, session)) {
        session_id_t owner;
        packet_id_t packet_id;
        if (!row_key_packet_read(l->held.key, &owner, &packet_id) || owner != session) {
            return damaged(l->error, TABLE_HELD, l->held.key);
        }
        if (l->sink != NULL) {
            l->sink->held(l->sink->user, session, packet_id);
        }
        if (!stream_next(&l->held, l->error)) {
            return false;
        }
    }
    return true;
}

static int flight_compare(const void *a, const void *b) {
    lsn_t left = ((const struct store_flight *)a)->order;
    lsn_t right = ((const struct store_flight *)b)->order;
    return left < right ? -1 : left > right;
}

/* Those of one session, by their order. */
static void tell_flights(struct loading *l, session_id_t session) {
    size_t count = l->flight_rows.len / sizeof(struct store_flight);
    struct store_flight *flights = (struct store_flight *)(void *)l->flight_rows.ptr;
    if (count > 1) {
        qsort(flights, count, sizeof flights[0], flight_compare);
    }
    for (size_t i = 0; i < count; i++) {
        l->sink->flight(l->sink->user, session, &flights[i]);
    }
}

static bool load_flights(struct loading *l, session_id_t session) {
    l->flight_rows.len = 0;
    while (row_of(&l->flights, session)) {
        session_id_t owner;
        struct store_flight flight;
        if (!row_key_packet_read(l->flights.key, &owner, &flight.packet_id) || owner != session ||
            !row_flight_read(l->flights.value, &flight)) {
            return damaged(l->error, TABLE_FLIGHTS, l->flights.key);
        }
        buf_bytes(&l->flight_rows, span_of(&flight, sizeof flight));
        if (!stream_next(&l->flights, l->error)) {
            return false;
        }
    }
    if (l->sink != NULL) {
        tell_flights(l, session);
    }
    return true;
}

static bool load_queue(struct loading *l, session_id_t session) {
    uint64_t count = 0;
    uint64_t bytes = 0;
    while (row_of(&l->queue, session)) {
        struct row_queued queued;
        session_id_t owner;
        lsn_t lsn;
        uint32_t target;
        if (!row_key_delivery_read(l->queue.key, &owner, &lsn, &target) || owner != session || lsn > l->last ||
            !row_queued_read(l->queue.value, &queued)) {
            return damaged(l->error, TABLE_QUEUE, l->queue.key);
        }
        count++;
        bytes += queued.bytes;
        if (!stream_next(&l->queue, l->error)) {
            return false;
        }
    }
    if (count > 0 && l->sink != NULL) {
        l->sink->queue(l->sink->user, session, count, bytes);
    }
    return true;
}

static bool load_positions(struct loading *l, session_id_t session) {
    while (row_of(&l->positions, session)) {
        uint64_t sequence;
        if (l->positions.session != session || !row_lsn_read(l->positions.value, &sequence)) {
            return damaged(l->error, TABLE_POSITIONS, l->positions.key);
        }
        if (l->sink != NULL && l->sink->position != NULL) {
            l->sink->position(l->sink->user, session, sequence);
        }
        if (!stream_next(&l->positions, l->error)) {
            return false;
        }
    }
    return true;
}

static bool load_belongings(struct loading *l, struct table *table, struct table_txn *txn) {
    stream_close(&l->sessions);
    if (!stream_open(&l->sessions, table, txn, TABLE_SESSIONS, l->error)) {
        return false;
    }
    session_id_t session = 0;
    while (l->sessions.more) {
        session = l->sessions.session;
        if (!load_subscriptions(l, session) || !load_held(l, session) || !load_flights(l, session) ||
            !load_queue(l, session) || !load_positions(l, session) || !stream_next(&l->sessions, l->error)) {
            return false;
        }
    }
    const struct stream *rest[] = {&l->subscriptions, &l->held, &l->flights, &l->queue, &l->positions};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        if (rest[i]->more) {
            return damaged(l->error, rest[i]->tree, rest[i]->key);
        }
    }
    return true;
}

/* A will belongs to a session that was loaded. */
static bool load_wills(struct loading *l, struct table *table, struct table_txn *txn) {
    while (l->wills.more) {
        struct record r;
        struct span session;
        if (!record_of(l, &l->wills, &r) || !table->ops->get(txn, TABLE_SESSIONS, l->wills.key, &session)) {
            return damaged(l->error, TABLE_WILLS, l->wills.key);
        }
        if (l->sink != NULL) {
            l->sink->will(l->sink->user, &r.will);
        }
        if (!stream_next(&l->wills, l->error)) {
            return false;
        }
    }
    return true;
}

static struct message *message_read(struct table *table, struct table_txn *txn, lsn_t lsn) {
    struct row_key key;
    struct span value;
    row_key_message(&key, lsn);
    return table->ops->get(txn, TABLE_MESSAGES, row_key_span(&key), &value) ? row_message(lsn, value) : NULL;
}

static bool load_retained(struct loading *l, struct table *table, struct table_txn *txn) {
    struct table_cursor *cursor = table->ops->cursor_open(txn, TABLE_RETAINED, span_of(NULL, 0));
    struct span key;
    struct span value;
    bool ok = true;
    while (ok && table->ops->cursor_next(cursor, &key, &value)) {
        lsn_t lsn;
        struct message *m = row_lsn_read(value, &lsn) ? message_read(table, txn, lsn) : NULL;
        ok = m != NULL && row_key_names_topic(key, message_topic(m));
        if (ok && l->sink != NULL) {
            l->sink->retained(l->sink->user, m);
        } else {
            message_unref(m);
        }
        ok = ok || damaged(l->error, TABLE_RETAINED, key);
    }
    table->ops->cursor_close(cursor);
    return ok;
}

static bool load_all(struct loading *l, struct table *table, struct table_txn *txn) {
    return stream_open(&l->sessions, table, txn, TABLE_SESSIONS, l->error) &&
           stream_open(&l->subscriptions, table, txn, TABLE_SUBSCRIPTIONS, l->error) &&
           stream_open(&l->held, table, txn, TABLE_HELD, l->error) &&
           stream_open(&l->flights, table, txn, TABLE_FLIGHTS, l->error) &&
           stream_open(&l->queue, table, txn, TABLE_QUEUE, l->error) &&
           stream_open(&l->wills, table, txn, TABLE_WILLS, l->error) &&
           stream_open(&l->positions, table, txn, TABLE_POSITIONS, l->error) && load_sessions(l) &&
           load_belongings(l, table, txn) && load_wills(l, table, txn) && load_retained(l, table, txn) &&
           table->ops->sound(txn, l->error);
}

/* A count is only asked for when it changes. */
static bool references_good(struct table *table, struct table_txn *txn, struct error *error) {
    struct table_cursor *cursor = table->ops->cursor_open(txn, TABLE_REFERENCES, span_of(NULL, 0));
    struct span key;
    struct span value;
    uint32_t count;
    lsn_t lsn;
    bool ok = true;
    while (ok && table->ops->cursor_next(cursor, &key, &value)) {
        ok =
            (row_key_message_read(key, &lsn) && row_count_read(value, &count)) || damaged(error, TABLE_REFERENCES, key);
    }
    table->ops->cursor_close(cursor);
    return ok;
}

static bool bodies_good(struct table *table, struct table_txn *txn, lsn_t last, struct error *error) {
    struct table_cursor *cursor = table->ops->cursor_open(txn, TABLE_MESSAGES, span_of(NULL, 0));
    struct message_parts parts;
    struct span key;
    struct span value;
    lsn_t lsn;
    bool ok = true;
    while (ok && table->ops->cursor_next(cursor, &key, &value)) {
        ok = row_key_message_read(key, &lsn) && lsn <= last && row_checked(key, &value) &&
             record_parts_decode(value, &parts);
        ok = ok || damaged(error, TABLE_MESSAGES, key);
    }
    table->ops->cursor_close(cursor);
    return ok;
}

/* What the load does not ask for. A table whose pages were all read when it was opened has its bodies looked at, too:
 * so damage to one is found now, and not in the middle of the work. */
static bool rest_good(struct table *table, struct table_txn *txn, lsn_t last, struct error *error) {
    uint64_t used = 0;
    if (table->ops->bytes != NULL) {
        (void)table->ops->bytes(table, &used);
    }
    return references_good(table, txn, error) && (used > BODIES_BYTES_MAX || bodies_good(table, txn, last, error));
}

static bool walk(struct table *table, lsn_t last, const struct store_sink *sink, struct error *error) {
    struct table_txn *txn = table->ops->begin(table, false, error);
    if (txn == NULL) {
        return false;
    }
    struct loading l = {.sink = sink, .error = error, .last = last};
    bool ok = (sink != NULL || rest_good(table, txn, last, error)) && load_all(&l, table, txn);
    struct stream *all[] = {&l.sessions, &l.subscriptions, &l.held, &l.flights, &l.queue, &l.wills, &l.positions};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        stream_close(all[i]);
    }
    buf_deinit(&l.flight_rows);
    table->ops->abort(txn);
    return ok;
}

bool local_load(struct store *store, const struct store_sink *sink, struct error *error) {
    return walk(local_of(store)->table, store_folded(store), sink, error);
}

bool local_judge(struct table *table, lsn_t last, struct error *error) {
    return walk(table, last, NULL, error);
}

/* ---- later ---- */

/* The table did not give what it must have: the store has failed. */
static void read_failed(struct local *l, struct table_txn *txn, lsn_t lsn) {
    struct error error;
    if (l->table->ops->sound(txn, &error)) {
        error_set(&error, ERROR_DAMAGED, 0,
                  "message %" PRIu64 " is missing or damaged in the table; 'quartet store check' tells more", lsn);
    }
    (void)local_fail(l, &error);
}

struct message *local_message(struct store *store, lsn_t lsn) {
    struct local *l = local_of(store);
    struct error error;
    struct table_txn *txn = l->table->ops->begin(l->table, false, &error);
    if (txn == NULL) {
        (void)local_fail(l, &error);
        return NULL;
    }
    struct message *m = message_read(l->table, txn, lsn);
    if (m == NULL) {
        read_failed(l, txn, lsn);
    }
    l->table->ops->abort(txn);
    return m;
}

static bool delivery_read(struct local *l, struct table_txn *txn, struct span key, struct span value,
                          struct store_delivery *d) {
    session_id_t session;
    struct row_queued queued;
    if (!row_key_delivery_read(key, &session, &d->message_lsn, &d->target) || !row_queued_read(value, &queued)) {
        d->message_lsn = 0;
        return false;
    }
    d->qos = queued.qos;
    d->retain = queued.retain;
    d->message = message_read(l->table, txn, queued.body_lsn != 0 ? queued.body_lsn : d->message_lsn);
    return d->message != NULL;
}

static size_t queue_walk(struct local *l, struct table_txn *txn, struct table_cursor *cursor, session_id_t session,
                         struct store_delivery *out, size_t max) {
    size_t count = 0;
    struct span key;
    struct span value;
    session_id_t owner;
    while (count < max && l->table->ops->cursor_next(cursor, &key, &value) && row_key_session_read(key, &owner) &&
           owner == session) {
        if (!delivery_read(l, txn, key, value, &out[count])) {
            read_failed(l, txn, out[count].message_lsn);
            break;
        }
        count++;
    }
    return count;
}

size_t local_queue_read(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                        struct store_delivery *out, size_t max) {
    struct local *l = local_of(store);
    struct error error;
    struct table_txn *txn = l->table->ops->begin(l->table, false, &error);
    if (txn == NULL) {
        (void)local_fail(l, &error);
        return 0;
    }
    struct row_key from;
    row_key_delivery(&from, session, after_target == UINT32_MAX ? after_lsn + 1 : after_lsn,
                     after_target == UINT32_MAX || after_lsn == 0 ? 0 : after_target + 1);
    struct table_cursor *cursor = l->table->ops->cursor_open(txn, TABLE_QUEUE, row_key_span(&from));
    size_t count = queue_walk(l, txn, cursor, session, out, max);
    l->table->ops->cursor_close(cursor);
    if (!l->table->ops->sound(txn, &error)) {
        (void)local_fail(l, &error);
    }
    l->table->ops->abort(txn);
    return count;
}
