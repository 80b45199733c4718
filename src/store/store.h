/* The store, as broker and client see it: records go in, in order they become durable, and what is alive can be loaded
 * at the start and read back later.
 *
 *     stage(record) -> lsn          at once, any thread; the order of staging is the order of the log
 *     durable lsn                   only grows; everything up to it survives a power cut
 *     folded lsn                    only grows; everything up to it is in the table, so memory may let it go
 *
 * Does not know: sessions' protocol, sockets, time. Engines: store_local.h (journal and table on a disk),
 * store_memory.h (durable at once, nothing survives). A failure is final: the engine stops calling records durable,
 * store_failed() says why, and the process must exit. Nothing here assumes one process or one disk. */
#pragma once

#include <stdatomic.h>

#include "base/error.h"
#include "base/types.h"
#include "record/record.h"

/* How full the store is: what the broker does about it. */
enum store_pressure {
    STORE_EASY = 0,
    STORE_BUSY, /* much is staged and not yet durable: stop reading from publishers for a while */
    STORE_FULL, /* no space for more messages: refuse publishes (0x97), finish what has begun */
};

/* An outbound flow as the table knows it. */
struct store_flight {
    packet_id_t packet_id;
    bool released; /* PUBREC came: PUBREL is owed, the body is gone */
    uint8_t qos;
    bool retain;
    lsn_t message_lsn;
    uint32_t target;
    lsn_t body_lsn; /* of the record that has the body, when it is not message_lsn; else 0 */
    lsn_t order;    /* flows that are not released resend by it; released ones too */
};

/* What the load reports, in this order: sessions; then of each session its subscriptions, held ids, flights (by
 * order), queue; then wills; then retained messages. Views are valid during the call only. */
struct store_sink {
    void *user;
    void (*session)(void *user, session_id_t id, const struct record_session *s);
    void (*subscription)(void *user, session_id_t id, const struct record_subscribed *s);
    void (*held)(void *user, session_id_t id, packet_id_t packet_id);
    void (*flight)(void *user, session_id_t id, const struct store_flight *f);
    /* `count` deliveries of `bytes` bytes wait in the table (called once for each session that has any). */
    void (*queue)(void *user, session_id_t id, uint64_t count, uint64_t bytes);
    void (*will)(void *user, const struct record_will *w);
    /* The last sequence of the messages whose origin the session is; comes after its queue. NULL: not wanted. */
    void (*position)(void *user, session_id_t id, uint64_t sequence);
    /* Takes the message (one reference). */
    void (*retained)(void *user, struct message *m);
};

/* One delivery that was read back. */
struct store_delivery {
    lsn_t message_lsn;
    uint32_t target;
    uint8_t qos;
    bool retain;
    struct message *message; /* the reader takes one reference; its lsn is that of the record that has the body */
};

struct store;

struct store_ops {
    lsn_t (*stage)(struct store *store, const struct record *record);
    bool (*load)(struct store *store, const struct store_sink *sink, struct error *error);
    struct message *(*message)(struct store *store, lsn_t lsn);
    size_t (*queue_read)(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                         struct store_delivery *out, size_t max);
    enum store_pressure (*pressure)(const struct store *store);
};

enum { STORE_FILLED_ALL = 1000 };

struct store {
    const struct store_ops *ops;
    _Atomic lsn_t durable;     /* written by the engine alone */
    _Atomic lsn_t folded;      /* written by the engine alone */
    _Atomic bool failed;       /* written by the engine alone, once */
    _Atomic bool fold_wanted;  /* see store_want_fold() */
    struct error error;        /* why; valid once failed is seen true */
    _Atomic uint32_t filled;   /* how much of its limit it has, of STORE_FILLED_ALL; 0: not known, or no limit */
    uint64_t record_bytes_max; /* of a record that the engine can hold, by record_bytes_max(); 0: any. Constant */
    /* When it was opened: store time and wall clock, as the last CLOCK record and the messages after it say. */
    struct record_clock clock;
};

/* True when the engine can hold such a record. Who may stage a long one (a message, a will, a text from outside) asks
 * before anything has changed, and refuses what it cannot; records of numbers alone always fit. Any thread. */
static inline bool store_takes(const struct store *store, const struct record *record) {
    return store->record_bytes_max == 0 || record_bytes_max(record) <= store->record_bytes_max;
}
/* Takes the record, which store_takes(), into the log; never blocks, never fails, copies what it needs. Any thread.
 * Returns its lsn. */
static inline lsn_t store_stage(struct store *store, const struct record *record) {
    return store->ops->stage(store, record);
}
/* Every record up to this lsn is on stable storage. */
static inline lsn_t store_durable(const struct store *store) {
    return atomic_load_explicit(&store->durable, memory_order_acquire);
}
/* Every record up to this lsn is in the table: store_message() and store_queue_read() see it. */
static inline lsn_t store_folded(const struct store *store) {
    return atomic_load_explicit(&store->folded, memory_order_acquire);
}
/* How much of its limit the store has, in parts of STORE_FILLED_ALL, as last looked at. */
static inline uint32_t store_filled(const struct store *store) {
    return atomic_load_explicit(&store->filled, memory_order_relaxed);
}
/* True when the store has stopped for good; store->error says why. */
static inline bool store_failed(const struct store *store) {
    return atomic_load_explicit(&store->failed, memory_order_acquire);
}
/* Memory keeps much only because the table does not have it yet: what is durable is folded soon, though its journal
 * file is not full. Any thread. */
static inline void store_want_fold(struct store *store) {
    atomic_store_explicit(&store->fold_wanted, true, memory_order_relaxed);
}
static inline enum store_pressure store_pressure(const struct store *store) {
    return store->ops->pressure(store);
}
/* Reports everything that is alive; once, after opening, before anything is staged. */
static inline bool store_load(struct store *store, const struct store_sink *sink, struct error *error) {
    return store->ops->load(store, sink, error);
}
/* The body of a message whose lsn is folded and which is still referenced; one reference for the caller. NULL only
 * when the table cannot be read, and then the store has failed. Any thread. */
static inline struct message *store_message(struct store *store, lsn_t lsn) {
    return store->ops->message(store, lsn);
}
/* Reads up to `max` deliveries of a session's queue from the table, in order of their names, beginning after
 * (after_lsn, after_target). Only folded ones are seen, and of those also the ones that were SENT, DONE or DROPPED by
 * records that are not folded yet: the caller asks only beyond what it has taken. Any thread. */
static inline size_t store_queue_read(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                                      struct store_delivery *out, size_t max) {
    return store->ops->queue_read(store, session, after_lsn, after_target, out, max);
}
