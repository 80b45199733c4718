/* The sender's half of QoS 1 and 2: the whole table of states and events, and random events against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "session/qos_out.h"
#include "unit/session/qos_out_model.h"

enum { SEED = 17 };

static struct message *message_of(const char *payload) {
    return message_create(&(struct message_parts){.qos = 2, .topic = SPAN("t"), .payload = span_str(payload)});
}

/* The message goes to the flight; `kept` keeps it alive for the test to look at. */
static struct flight_parts parts_of(struct message *kept, uint8_t qos) {
    return (struct flight_parts){
        .message = message_ref(kept), .message_lsn = 5, .target = 6, .qos = qos, .retain = true};
}

static uint32_t references(const struct message *m) {
    return atomic_load(&m->references);
}

static packet_id_t begin(struct qos_out *out, struct message *kept, uint8_t qos) {
    assert_true(qos_out_ready(out));
    struct flight_parts parts = parts_of(kept, qos);
    return qos_out_begin(out, &parts)->packet_id;
}

static const uint8_t accepting[] = {0x00, 0x10, 0x7f};
static const uint8_t refusing[] = {0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99, 0xff};

static enum qos_out_answer send_event(struct qos_out *out, enum model_event event, packet_id_t id, size_t variant,
                                      struct flight **flight) {
    switch (event) {
    case MODEL_PUBACK:
        return qos_out_puback(out, id, flight);
    case MODEL_PUBREC:
        return qos_out_pubrec(out, id, accepting[variant % sizeof accepting], flight);
    case MODEL_PUBREC_REFUSED:
        return qos_out_pubrec(out, id, refusing[variant % sizeof refusing], flight);
    case MODEL_PUBCOMP:
    default:
        return qos_out_pubcomp(out, id, flight);
    }
}

/* ---- every state and every event ---- */

enum product_state { NO_FLOW, PUBLISHED_1, PUBLISHED_2, RELEASED, PRODUCT_STATES };

/* How the flow came into its state: nothing of it may change an answer. */
enum product_past { BEGUN_HERE, RESUMED_NOT_RESENT, RESUMED_RESENT, RESTORED, PRODUCT_PASTS };

static const enum qos_out_answer product[][PRODUCT_STATES] = {
    [MODEL_PUBACK] = {QOS_OUT_IGNORED, QOS_OUT_DONE, QOS_OUT_WRONG, QOS_OUT_WRONG},
    [MODEL_PUBREC] = {QOS_OUT_UNKNOWN, QOS_OUT_WRONG, QOS_OUT_RELEASED, QOS_OUT_AGAIN},
    [MODEL_PUBREC_REFUSED] = {QOS_OUT_IGNORED, QOS_OUT_WRONG, QOS_OUT_DONE, QOS_OUT_IGNORED},
    [MODEL_PUBCOMP] = {QOS_OUT_IGNORED, QOS_OUT_WRONG, QOS_OUT_WRONG, QOS_OUT_DONE},
};

static packet_id_t product_arrive(struct qos_out *out, enum product_state at, enum product_past past,
                                  struct message *kept) {
    uint8_t qos = at == PUBLISHED_1 ? 1 : 2;
    packet_id_t id = 1;
    struct flight *flight;
    if (at == NO_FLOW) {
        qos_out_connected(out, 1);
        return id;
    }
    if (past == RESTORED) {
        struct flight_parts parts = parts_of(kept, qos);
        if (at == RELEASED) {
            message_unref(parts.message);
            parts.message = NULL;
        }
        qos_out_restore(out, id, at == RELEASED, &parts);
        qos_out_connected(out, 1);
        return id;
    }
    qos_out_connected(out, 1);
    id = begin(out, kept, qos);
    if (at == RELEASED) {
        assert_int_equal(qos_out_pubrec(out, id, 0, &flight), QOS_OUT_RELEASED);
    }
    if (past != BEGUN_HERE) {
        qos_out_connected(out, 1);
    }
    if (past == RESUMED_RESENT) {
        (void)qos_out_resend_next(out);
    }
    return id;
}

static void assert_after(struct qos_out *out, enum product_state at, enum qos_out_answer answer, packet_id_t id,
                         struct flight *flight) {
    if (answer == QOS_OUT_DONE) {
        assert_ptr_equal(flight, qos_out_find(out, id));
        assert_int_equal(flight->packet_id, id);
        qos_out_end(out, flight);
        assert_null(qos_out_find(out, id));
        assert_int_equal(out->count, 0);
        assert_int_equal(out->quota, 1);
        return;
    }
    flight = qos_out_find(out, id);
    if (at == NO_FLOW) {
        assert_null(flight);
        return;
    }
    bool released = at == RELEASED || answer == QOS_OUT_RELEASED;
    assert_int_equal(flight->state, released ? FLIGHT_RELEASED : FLIGHT_PUBLISHED);
    assert_int_equal(list_empty(&out->published), released);
    assert_int_equal(list_empty(&out->released), !released);
    assert_int_equal(flight->message == NULL, released);
}

static void every_event_in_every_state(void **state) {
    (void)state;
    for (int event = MODEL_PUBACK; event <= MODEL_PUBCOMP; event++) {
        for (int at = NO_FLOW; at < PRODUCT_STATES; at++) {
            for (int past = BEGUN_HERE; past < PRODUCT_PASTS; past++) {
                for (size_t variant = 0; variant < sizeof refusing; variant++) {
                    struct message *kept = message_of("payload");
                    struct qos_out out;
                    struct flight *flight = NULL;
                    qos_out_init(&out, SEED, 65535, MUTANT_NONE);
                    packet_id_t id = product_arrive(&out, (enum product_state)at, (enum product_past)past, kept);
                    enum qos_out_answer answer = send_event(&out, (enum model_event)event, id, variant, &flight);
                    if (answer != product[event][at]) {
                        fail_msg("event %d in state %d (past %d): %d", event, at, past, (int)answer);
                    }
                    assert_after(&out, (enum product_state)at, answer, id, flight);
                    qos_out_deinit(&out);
                    assert_int_equal(references(kept), 1);
                    message_unref(kept);
                }
            }
        }
    }
}

/* ---- random events against the model ---- */

enum { POOL_MAX = 8 };

struct pair {
    struct qos_out out;
    struct model model;
    struct prng prng;
    struct message *kept; /* every flight carries this one */
    uint64_t next_lsn;
};

static bool same_flight(const struct flight *f, const struct model_flight *m) {
    if (f == NULL || m == NULL) {
        return f == NULL && m == NULL;
    }
    bool same = f->packet_id == m->id && f->qos == m->qos && f->retain == m->retain && f->message_lsn == m->lsn &&
                f->target == m->target && (void *)f->message == m->message;
    same = same && f->state == (m->released ? FLIGHT_RELEASED : FLIGHT_PUBLISHED);
    /* Whether it is a repeat matters for a PUBLISH alone: a PUBREL has no DUP flag. */
    return same && (m->released || (f->sent_before == m->dup && f->sent_here == m->sent_here));
}

static const char *published_disagree(struct pair *p) {
    size_t resend = 0;
    const struct link *l = p->out.published.next;
    for (size_t i = 0; i < p->model.count; i++) {
        if (p->model.flights[i].released) {
            continue;
        }
        if (l == &p->out.published || !same_flight(container_of(l, struct flight, link), &p->model.flights[i])) {
            return "the published flights or their order";
        }
        resend += !p->model.flights[i].sent_here;
        l = l->next;
    }
    if (l != &p->out.published) {
        return "a published flight too many";
    }
    return p->out.resend_count == resend ? NULL : "how many must be resent";
}

static const char *released_disagree(struct pair *p) {
    const struct link *l = p->out.released.next;
    for (size_t i = 0; i < p->model.released_count; i++) {
        if (l == &p->out.released ||
            !same_flight(container_of(l, struct flight, link), model_find(&p->model, p->model.released_ids[i]))) {
            return "the released flights or their order";
        }
        l = l->next;
    }
    return l == &p->out.released ? NULL : "a released flight too many";
}

static const char *pair_disagrees(struct pair *p) {
    for (unsigned id = 0; id <= POOL_MAX; id++) {
        if (!same_flight(qos_out_find(&p->out, (packet_id_t)id), model_find(&p->model, id))) {
            return "a flight";
        }
    }
    const char *where = published_disagree(p);
    where = where != NULL ? where : released_disagree(p);
    if (where != NULL) {
        return where;
    }
    if (p->out.count != p->model.count) {
        return "the count";
    }
    if (p->model.receive_maximum > 0 && p->out.quota != model_quota(&p->model)) {
        return "the quota";
    }
    if (qos_out_ready(&p->out) != model_ready(&p->model)) {
        return "whether a flow may begin";
    }
    bool resend = model_to_resend(&p->model) != NULL && model_quota(&p->model) > 0;
    return qos_out_must_resend(&p->out) == resend ? NULL : "whether there is something to resend";
}

static const char *pair_begin(struct pair *p) {
    if (!model_ready(&p->model)) {
        return NULL;
    }
    struct model_flight flight = {.qos = 1 + (unsigned)prng_below(&p->prng, 2),
                                  .retain = prng_chance(&p->prng, 1, 2),
                                  .lsn = p->next_lsn++,
                                  .target = (unsigned)prng_below(&p->prng, 3),
                                  .message = p->kept};
    struct flight_parts parts = {message_ref(p->kept), flight.lsn,    flight.target,
                                 (uint8_t)flight.qos,  flight.retain, 0};
    model_begin(&p->model, flight);
    return qos_out_begin(&p->out, &parts)->packet_id == p->model.last_id ? NULL : "the id of a new flow";
}

static const char *pair_resend(struct pair *p) {
    struct model_flight *expected = model_quota(&p->model) > 0 ? model_to_resend(&p->model) : NULL;
    struct flight *f = qos_out_resend_next(&p->out);
    if (expected == NULL || f == NULL) {
        return expected == NULL && f == NULL ? NULL : "whether something is resent";
    }
    expected->sent_here = true;
    return f->packet_id == expected->id && f->sent_before ? NULL : "what is resent, or its DUP flag";
}

static const char *pair_event(struct pair *p) {
    static const enum qos_out_answer answers[] = {
        [MODEL_IGNORED] = QOS_OUT_IGNORED,    [MODEL_DONE] = QOS_OUT_DONE,   [MODEL_RELEASED] = QOS_OUT_RELEASED,
        [MODEL_PUBREL_AGAIN] = QOS_OUT_AGAIN, [MODEL_WRONG] = QOS_OUT_WRONG, [MODEL_PUBREL_NOT_FOUND] = QOS_OUT_UNKNOWN,
    };
    enum model_event event = (enum model_event)(1 + prng_below(&p->prng, 4));
    packet_id_t id = (packet_id_t)prng_below(&p->prng, p->model.ids_max + 2U);
    size_t variant = prng_below(&p->prng, 100);
    struct flight *flight = NULL;
    enum qos_out_answer answer = send_event(&p->out, event, id, variant, &flight);
    if (answer != answers[model_take(&p->model, event, id)]) {
        return "the answer to a packet";
    }
    if (answer == QOS_OUT_DONE) {
        if (flight == NULL || flight->packet_id != id) {
            return "the flight that is done";
        }
        qos_out_end(&p->out, flight);
    }
    return NULL;
}

static void pair_connect(struct pair *p) {
    unsigned receive_maximum = 1 + (unsigned)prng_below(&p->prng, p->model.ids_max + 1U);
    model_connected(&p->model, receive_maximum);
    qos_out_connected(&p->out, (uint16_t)receive_maximum);
}

static void pair_restore_one(struct pair *p, struct model_flight *m) {
    bool body = m->message != NULL && prng_chance(&p->prng, 1, 2);
    m->message = body ? p->kept : NULL;
    struct flight_parts parts = {body ? message_ref(p->kept) : NULL, m->lsn, m->target, (uint8_t)m->qos, m->retain, 0};
    qos_out_restore(&p->out, (packet_id_t)m->id, m->released, &parts);
}

/* The process ends, and the store gives back what it knew: released flows in the order of their PUBRECs, published ones
 * in the order in which they were begun. Where the allocator goes on is its own affair. */
static void pair_restart(struct pair *p) {
    packet_id_t ids_max = p->out.ids_max;
    enum mutant mutant = p->out.mutant;
    qos_out_deinit(&p->out);
    qos_out_init(&p->out, SEED, ids_max, mutant);
    for (size_t i = 0; i < p->model.released_count; i++) {
        pair_restore_one(p, model_find(&p->model, p->model.released_ids[i]));
    }
    for (size_t i = 0; i < p->model.count; i++) {
        if (!p->model.flights[i].released) {
            pair_restore_one(p, &p->model.flights[i]);
        }
    }
    p->model.last_id = p->out.last_id;
    pair_connect(p);
}

/* Runs random events until the two disagree; returns where, or NULL when they never did. */
static const char *pair_run(uint64_t seed, packet_id_t ids_max, enum mutant mutant, unsigned steps) {
    struct pair p = {.prng = prng_of(seed), .kept = message_of("x"), .next_lsn = 1};
    p.model.ids_max = ids_max;
    qos_out_init(&p.out, SEED, ids_max, mutant);
    const char *where = pair_disagrees(&p);
    pair_connect(&p);
    for (unsigned step = 0; where == NULL && step < steps; step++) {
        uint64_t dice = prng_below(&p.prng, 100);
        if (dice < 25) {
            where = pair_begin(&p);
        } else if (dice < 40) {
            where = pair_resend(&p);
        } else if (dice < 95) {
            where = pair_event(&p);
        } else if (dice < 99) {
            pair_connect(&p);
        } else {
            pair_restart(&p);
        }
        where = where != NULL ? where : pair_disagrees(&p);
    }
    qos_out_deinit(&p.out);
    if (references(p.kept) != 1) {
        where = where != NULL ? where : "the references of the message";
    }
    message_unref(p.kept);
    return where;
}

static void random_events_agree_with_the_model(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        static const packet_id_t ids_max[] = {1, 2, 4, 4, POOL_MAX};
        const char *where = pair_run(seed, ids_max[seed % 5], MUTANT_NONE, 2000);
        if (where != NULL) {
            fail_msg("seed %llu: they disagree about %s", (unsigned long long)seed, where);
        }
    }
}

/* What the rules forbid must be seen: each mutant of this file, by some seed. */
static void the_model_sees_each_mutant(void **state) {
    (void)state;
    static const enum mutant mutants[] = {MUTANT_R4, MUTANT_R5_QUOTA, MUTANT_R5_CONNECTION, MUTANT_ORDER};
    for (size_t i = 0; i < sizeof mutants / sizeof mutants[0]; i++) {
        bool seen = false;
        for (uint64_t seed = 1; seed <= 20 && !seen; seed++) {
            seen = pair_run(seed, 4, mutants[i], 2000) != NULL;
        }
        if (!seen) {
            fail_msg("mutant %d was not seen", (int)mutants[i]);
        }
    }
}

/* ---- rules of their own ---- */

/* R4: after 65,535 the ids begin again at 1 and skip those in flight. */
static void ids_wrap_and_skip_what_is_in_flight(void **state) {
    (void)state;
    struct message *kept = message_of("x");
    struct qos_out out;
    struct flight *flight;
    qos_out_init(&out, SEED, 65535, MUTANT_NONE);
    qos_out_connected(&out, 10);
    assert_int_equal(begin(&out, kept, 1), 1);
    assert_int_equal(begin(&out, kept, 1), 2);
    for (uint32_t id = 3; id <= 65535; id++) {
        assert_int_equal(begin(&out, kept, 1), id);
        if (id != 65535) {
            assert_int_equal(qos_out_puback(&out, (packet_id_t)id, &flight), QOS_OUT_DONE);
            qos_out_end(&out, flight);
        }
    }
    assert_int_equal(qos_out_puback(&out, 2, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_int_equal(begin(&out, kept, 1), 2);
    assert_int_equal(begin(&out, kept, 1), 3);
    assert_int_equal(out.count, 4);
    qos_out_deinit(&out);
    message_unref(kept);
}

static void no_flow_begins_without_a_free_id(void **state) {
    (void)state;
    struct message *kept = message_of("x");
    struct qos_out out;
    struct flight *flight;
    qos_out_init(&out, SEED, 3, MUTANT_NONE);
    assert_false(qos_out_ready(&out));
    qos_out_connected(&out, 100);
    for (packet_id_t id = 1; id <= 3; id++) {
        assert_int_equal(begin(&out, kept, 2), id);
    }
    assert_false(qos_out_ready(&out));
    assert_int_equal(qos_out_pubrec(&out, 2, 0, &flight), QOS_OUT_RELEASED);
    assert_false(qos_out_ready(&out));
    assert_int_equal(qos_out_pubcomp(&out, 2, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_int_equal(begin(&out, kept, 2), 2);
    assert_false(qos_out_ready(&out));
    qos_out_deinit(&out);
    message_unref(kept);
}

/* R5: PUBREC gives no quota back, PUBCOMP does; a new connection has the whole Receive Maximum, and what ends of the
 * flows that it did not send must not lift it above. */
static void the_quota_belongs_to_the_connection(void **state) {
    (void)state;
    struct message *kept = message_of("x");
    struct qos_out out;
    struct flight *flight;
    qos_out_init(&out, SEED, 65535, MUTANT_NONE);
    qos_out_connected(&out, 2);
    packet_id_t first = begin(&out, kept, 2);
    packet_id_t second = begin(&out, kept, 2);
    assert_false(qos_out_ready(&out));
    assert_int_equal(qos_out_pubrec(&out, first, 0x10, &flight), QOS_OUT_RELEASED);
    assert_int_equal(out.quota, 0);
    assert_int_equal(qos_out_pubrec(&out, second, 0x97, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_int_equal(out.quota, 1);

    qos_out_connected(&out, 1);
    assert_int_equal(out.quota, 1);
    packet_id_t third = begin(&out, kept, 1);
    assert_int_equal(out.quota, 0);
    assert_int_equal(qos_out_pubcomp(&out, first, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_false(qos_out_ready(&out));
    assert_int_equal(qos_out_puback(&out, third, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_int_equal(out.quota, 1);
    qos_out_deinit(&out);
    message_unref(kept);
}

/* R7 and the order of 4.6: a live connection resends nothing; a new one resends in the original order, with DUP, as far
 * as the quota goes, and begins nothing new before. */
static void a_new_connection_resends_in_order(void **state) {
    (void)state;
    struct message *kept = message_of("x");
    struct qos_out out;
    struct flight *flight;
    qos_out_init(&out, SEED, 4, MUTANT_NONE);
    qos_out_connected(&out, 4);
    for (packet_id_t id = 1; id <= 4; id++) {
        assert_int_equal(begin(&out, kept, 2), id);
    }
    assert_int_equal(qos_out_pubrec(&out, 1, 0x80, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_int_equal(begin(&out, kept, 1), 1);
    assert_false(qos_out_find(&out, 1)->sent_before);
    assert_null(qos_out_resend_next(&out));
    assert_int_equal(qos_out_pubrec(&out, 4, 0, &flight), QOS_OUT_RELEASED);
    assert_int_equal(qos_out_pubrec(&out, 3, 0, &flight), QOS_OUT_RELEASED);

    qos_out_connected(&out, 1);
    assert_int_equal(container_of(out.released.next, struct flight, link)->packet_id, 4);
    assert_int_equal(container_of(out.released.prev, struct flight, link)->packet_id, 3);
    assert_false(qos_out_ready(&out));
    flight = qos_out_resend_next(&out);
    assert_int_equal(flight->packet_id, 2);
    assert_true(flight->sent_before);
    assert_null(qos_out_resend_next(&out));
    assert_int_equal(qos_out_pubrec(&out, 2, 0x83, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_false(qos_out_ready(&out));
    flight = qos_out_resend_next(&out);
    assert_int_equal(flight->packet_id, 1);
    assert_int_equal(flight->qos, 1);
    assert_int_equal(qos_out_puback(&out, 1, &flight), QOS_OUT_DONE);
    qos_out_end(&out, flight);
    assert_null(qos_out_resend_next(&out));
    assert_true(qos_out_ready(&out));
    qos_out_deinit(&out);
    message_unref(kept);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_event_in_every_state),        cmocka_unit_test(random_events_agree_with_the_model),
        cmocka_unit_test(the_model_sees_each_mutant),        cmocka_unit_test(ids_wrap_and_skip_what_is_in_flight),
        cmocka_unit_test(no_flow_begins_without_a_free_id),  cmocka_unit_test(the_quota_belongs_to_the_connection),
        cmocka_unit_test(a_new_connection_resends_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
