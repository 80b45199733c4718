/* A store whose durable and folded lsn the test moves by hand. It keeps every record as it was staged, and answers
 * queue_read() and message() as a table does that was folded up to `folded`: what later records took is still there. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "record/record.h"
#include "store/store.h"

enum { FAKE_RECORDS_MAX = 100000 };

/* One retained message that a subscription brings: hangs at the SUBSCRIBED record. */
struct fake_retained {
    lsn_t body, staged;
    lsn_t taken; /* as below */
    session_id_t session_id;
    uint8_t qos;
};

struct fake_record {
    struct buf bytes; /* encoded; decode with fake_record_of() */
    struct message *message;
    struct record_target *targets;
    lsn_t *taken; /* the SENT or DROPPED that took the target out of its queue; 0: still there */
    uint32_t target_count;
    struct fake_retained *retained; /* by index */
    uint32_t retained_count;
};

struct fake_store {
    struct store store;
    struct fake_record *records; /* [lsn] */
    lsn_t last;
    enum store_pressure pressure;
    void (*load)(const struct store_sink *sink, void *user);
    void *load_user;
    unsigned reads; /* of message() */
};

static inline struct fake_store *fake_of(struct store *store) {
    return (struct fake_store *)store;
}

static inline struct record fake_record_of(const struct fake_store *fake, lsn_t lsn) {
    struct record record;
    assert_true(lsn >= 1 && lsn <= fake->last);
    assert_true(record_decode(buf_span(&fake->records[lsn].bytes), &record));
    return record;
}

static inline void fake_take(struct fake_store *fake, session_id_t session, lsn_t message, uint32_t target, lsn_t by) {
    struct fake_record *r = &fake->records[message];
    if (target < r->retained_count) {
        assert_int_equal(r->retained[target].session_id, session);
        assert_int_equal(r->retained[target].taken, 0);
        r->retained[target].taken = by;
        return;
    }
    assert_true(message >= 1 && message < by && target < r->target_count);
    assert_int_equal(r->targets[target].session_id, session);
    assert_int_equal(r->taken[target], 0); /* one delivery is sent or dropped once */
    r->taken[target] = by;
}

static inline void fake_bring(struct fake_store *fake, lsn_t lsn, const struct record_retained *r) {
    struct fake_record *s = &fake->records[r->subscribed_lsn];
    assert_int_equal(fake_record_of(fake, r->subscribed_lsn).kind, RECORD_SUBSCRIBED);
    assert_int_equal(r->first, s->retained_count); /* one after the other, none twice */
    s->retained_count += r->item_count;
    s->retained = mem_resize(s->retained, s->retained_count * sizeof *s->retained);
    for (uint32_t i = 0; i < r->item_count; i++) {
        assert_non_null(fake->records[r->items[i].message_lsn].message);
        s->retained[r->first + i] =
            (struct fake_retained){r->items[i].message_lsn, lsn, 0, r->session_id, r->items[i].qos};
    }
}

static inline lsn_t fake_stage(struct store *store, const struct record *record) {
    struct fake_store *fake = fake_of(store);
    lsn_t lsn = ++fake->last;
    assert_true(lsn < FAKE_RECORDS_MAX);
    assert_true(store_takes(store, record));
    struct fake_record *r = &fake->records[lsn];
    record_encode(&r->bytes, record);
    if (record->kind == RECORD_MESSAGE) {
        r->message = message_create(&record->message.parts);
        r->message->lsn = lsn;
        r->target_count = record->message.target_count;
        r->targets = mem_alloc((r->target_count + 1) * sizeof *r->targets);
        r->taken = mem_zero(r->target_count + 1, sizeof *r->taken);
        for (uint32_t i = 0; i < r->target_count; i++) {
            r->targets[i] = record->message.targets[i];
        }
    } else if (record->kind == RECORD_RETAINED) {
        fake_bring(fake, lsn, &record->retained);
    } else if (record->kind == RECORD_SENT) {
        fake_take(fake, record->sent.session_id, record->sent.message_lsn, record->sent.target, lsn);
    } else if (record->kind == RECORD_DROPPED) {
        fake_take(fake, record->dropped.session_id, record->dropped.message_lsn, record->dropped.target, lsn);
    }
    return lsn;
}

static inline bool fake_load(struct store *store, const struct store_sink *sink, struct error *error) {
    (void)error;
    if (fake_of(store)->load != NULL) {
        fake_of(store)->load(sink, fake_of(store)->load_user);
    }
    return true;
}

static inline struct message *fake_message(struct store *store, lsn_t lsn) {
    assert_true(lsn <= store_folded(store) && fake_of(store)->records[lsn].message != NULL);
    const struct message *m = fake_of(store)->records[lsn].message;
    fake_of(store)->reads++;
    struct message *read =
        message_create(&(struct message_parts){m->qos, m->retain, m->expires_at, message_topic(m),
                                               message_properties(m), message_payload(m), message_owner(m)});
    read->lsn = lsn;
    return read;
}

static inline size_t fake_queue_read(struct store *store, session_id_t session, lsn_t after_lsn, uint32_t after_target,
                                     struct store_delivery *out, size_t max) {
    struct fake_store *fake = fake_of(store);
    lsn_t folded = store_folded(store);
    size_t count = 0;
    for (lsn_t lsn = after_lsn > 0 ? after_lsn : 1; lsn <= folded; lsn++) {
        const struct fake_record *r = &fake->records[lsn];
        for (uint32_t i = 0; i < r->retained_count && count < max; i++) {
            const struct fake_retained *f = &r->retained[i];
            bool there = f->staged <= folded && (f->taken == 0 || f->taken > folded);
            if ((lsn > after_lsn || i > after_target) && there && f->session_id == session) {
                out[count++] =
                    (struct store_delivery){lsn, i, f->qos, true, message_ref(fake->records[f->body].message)};
            }
        }
        for (uint32_t i = 0; i < r->target_count && count < max; i++) {
            bool beyond = lsn > after_lsn || i > after_target;
            bool there = r->taken[i] == 0 || r->taken[i] > folded;
            if (beyond && there && r->targets[i].session_id == session) {
                out[count++] =
                    (struct store_delivery){lsn, i, r->targets[i].qos, r->targets[i].retain, message_ref(r->message)};
            }
        }
    }
    return count;
}

static inline enum store_pressure fake_pressure(const struct store *store) {
    return ((const struct fake_store *)store)->pressure;
}

static inline void fake_init(struct fake_store *fake) {
    static const struct store_ops ops = {fake_stage, fake_load, fake_message, fake_queue_read, fake_pressure};
    memset(fake, 0, sizeof *fake);
    fake->store.ops = &ops;
    fake->records = mem_zero(FAKE_RECORDS_MAX, sizeof *fake->records);
}

static inline void fake_deinit(struct fake_store *fake) {
    for (lsn_t lsn = 1; lsn <= fake->last; lsn++) {
        buf_deinit(&fake->records[lsn].bytes);
        message_unref(fake->records[lsn].message);
        mem_free(fake->records[lsn].retained);
        mem_free(fake->records[lsn].targets);
        mem_free(fake->records[lsn].taken);
    }
    mem_free(fake->records);
}

/* The lsn of the newest record of a kind; 0 when there is none. */
static inline lsn_t fake_newest(const struct fake_store *fake, enum record_kind kind) {
    for (lsn_t lsn = fake->last; lsn > 0; lsn--) {
        if (fake_record_of(fake, lsn).kind == kind) {
            return lsn;
        }
    }
    return 0;
}

static inline unsigned fake_count(const struct fake_store *fake, enum record_kind kind) {
    unsigned count = 0;
    for (lsn_t lsn = 1; lsn <= fake->last; lsn++) {
        count += fake_record_of(fake, lsn).kind == kind;
    }
    return count;
}
