/* A look at a client's disk: what the client says is believed when a power cut now would leave what it rests on, and
 * not a moment earlier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "record/message.h"
#include "sim/world.h"

struct fixture {
    struct plan plan;
    struct choices choices;
    struct world *w;
    struct peer *p;
    session_id_t out, in;
    lsn_t published, received; /* the messages of the two */
};

static void begin(struct fixture *f, unsigned audits) {
    struct error error;
    memset(f, 0, sizeof *f);
    plan_base(&f->plan);
    f->plan.client_count = 1;
    f->plan.audits = audits;
    f->plan.clients[0] = (struct plan_client){.real = true, .five = true, .pipe_bytes = SIM_PIPE_BYTES_DRAWN};
    choices_start(&f->choices, 1, NULL, 0, false);
    f->w = world_create(&f->plan, &f->choices, NULL);
    f->p = &f->w->peers[0];
    assert_true(machine_open(&f->p->machine, &f->plan.store, &error));
}

static void end(struct fixture *f) {
    world_destroy(f->w);
    choices_deinit(&f->choices);
}

static lsn_t stage(struct fixture *f, struct record r) {
    return store_stage(f->p->machine.store, &r);
}

static session_id_t session(struct fixture *f, const char *name) {
    return stage(f, (struct record){.kind = RECORD_SESSION, .session = {.client_id = span_str(name), .protocol = 5}});
}

static lsn_t message(struct fixture *f, session_id_t owner, packet_id_t id, uint64_t sequence) {
    const struct record_target target = {.session_id = owner, .qos = 2};
    return stage(f, (struct record){.kind = RECORD_MESSAGE,
                                    .message = {.origin = owner,
                                                .packet_id = id,
                                                .sequence = sequence,
                                                .parts = {.qos = 2, .topic = span_str("a"), .payload = span_str("m")},
                                                .targets = &target,
                                                .target_count = 1}});
}

static void flow(struct fixture *f, enum record_kind kind, session_id_t owner, packet_id_t id) {
    (void)stage(f, (struct record){.kind = kind, .flow = {owner, id}});
}

static void commit(struct fixture *f) {
    struct machine *m = &f->p->machine;
    while (machine_wants_commit(m) && machine_commit(m)) {
    }
}

/* What must be on the disk before a packet leaves, record by record. */
static void sessions(struct fixture *f) {
    f->out = session(f, "out:c0");
    f->in = session(f, "in:c0");
}

static void sent(struct fixture *f) {
    f->published = message(f, f->out, 0, 1);
    (void)stage(f, (struct record){.kind = RECORD_SENT, .sent = {f->out, 1, f->published, 0}});
}

static void got_pubrec(struct fixture *f) {
    flow(f, RECORD_RECEIVED, f->out, 1);
}

static void got(struct fixture *f) {
    f->received = message(f, f->in, 1, 0);
}

static void released(struct fixture *f) {
    flow(f, RECORD_FREED, f->in, 1);
}

static void ask(struct fixture *f, unsigned type) {
    const struct mini_packet k = {
        .type = (uint8_t)type, .qos = 2, .id = 1, .topic = span_str("a"), .payload = span_str("m")};
    audit_packet(f->w, f->p, &k);
}

static void ask_stored(struct fixture *f, unsigned type) {
    (void)type;
    audit_stored(f->w, f->p, 1);
}

static void ask_delivery(struct fixture *f, unsigned type) {
    (void)type;
    audit_delivery(f->w, f->p, f->received);
}

static const struct {
    const char *rule;
    void (*before[3])(struct fixture *f); /* on the disk already */
    void (*basis)(struct fixture *f);     /* what is said rests on this */
    void (*ask)(struct fixture *f, unsigned type);
    unsigned type;
} rows[] = {
    {"B0", {sessions}, sent, ask_stored, 0},
    {"B1", {sessions}, sent, ask, MINI_PUBLISH},
    {"B2", {sessions}, got, ask, MINI_PUBREC},
    {"B2", {sessions}, got, ask_delivery, 0},
    {"B3", {sessions, sent}, got_pubrec, ask, MINI_PUBREL},
    {"B4", {sessions, got}, released, ask, MINI_PUBCOMP},
};

/* The rule that the judge finds broken; "" when it believes. */
static const char *says(size_t row, unsigned audits, bool durable, char out[24]) {
    struct fixture f;
    begin(&f, audits);
    for (size_t i = 0; i < 3 && rows[row].before[i] != NULL; i++) {
        rows[row].before[i](&f);
    }
    commit(&f);
    rows[row].basis(&f);
    if (durable) {
        commit(&f);
    }
    rows[row].ask(&f, rows[row].type);
    snprintf(out, 24, "%.*s", (int)strcspn(f.w->failure, ":"), f.w->failure);
    end(&f);
    return out;
}

static void what_is_said_rests_on_the_disk(void **state) {
    (void)state;
    char rule[24];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_string_equal(says(i, 1, false, rule), rows[i].rule);
        assert_string_equal(says(i, 1, true, rule), "");
    }
}

static void nobody_looks_unless_the_plan_says_so(void **state) {
    (void)state;
    char rule[24];
    assert_string_equal(says(0, 0, false, rule), "");
}

/* The right id is not enough: it must name the same message. */
static void an_id_of_another_message_is_seen(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, 1);
    sessions(&f);
    sent(&f);
    commit(&f);
    const struct mini_packet k = {.type = MINI_PUBLISH, .qos = 2, .id = 1, .payload = span_str("another")};
    audit_packet(f.w, f.p, &k);
    assert_true(f.w->failed);
    end(&f);
}

/* PUBACK and refusals promise nothing that an id on the disk could show. */
static void what_needs_no_id_is_not_asked_for(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, 1);
    sessions(&f);
    commit(&f);
    ask(&f, MINI_PUBACK);
    const struct mini_packet refusal = {.type = MINI_PUBREC, .id = 1, .reason = 0x97};
    audit_packet(f.w, f.p, &refusal);
    assert_false(f.w->failed);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_rests_on_the_disk),
        cmocka_unit_test(nobody_looks_unless_the_plan_says_so),
        cmocka_unit_test(an_id_of_another_message_is_seen),
        cmocka_unit_test(what_needs_no_id_is_not_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
