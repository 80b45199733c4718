/* A simulated machine: what was committed is there after every kind of end, what was only staged is not, and the owner
 * is told what became of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "sim/machine.h"
#include "sim/plan.h"

struct fixture {
    struct choices choices;
    struct machine m;
    struct store_local_options options;
    struct error error;
};

/* The sessions that a store loads. */
struct found {
    unsigned sessions;
};

static void on_session(void *user, session_id_t id, const struct record_session *s) {
    (void)id;
    (void)s;
    ((struct found *)user)->sessions++;
}

static void on_subscription(void *user, session_id_t id, const struct record_subscribed *s) {
    (void)user;
    (void)id;
    (void)s;
}

static void on_held(void *user, session_id_t id, packet_id_t packet_id) {
    (void)user;
    (void)id;
    (void)packet_id;
}

static void on_flight(void *user, session_id_t id, const struct store_flight *flight) {
    (void)user;
    (void)id;
    (void)flight;
}

static void on_queue(void *user, session_id_t id, uint64_t count, uint64_t bytes) {
    (void)user;
    (void)id;
    (void)count;
    (void)bytes;
}

static void on_will(void *user, const struct record_will *will) {
    (void)user;
    (void)will;
}

static void on_position(void *user, session_id_t id, uint64_t sequence) {
    (void)user;
    (void)id;
    (void)sequence;
}

static void on_retained(void *user, struct message *message) {
    (void)user;
    message_unref(message);
}

static unsigned load(struct fixture *f, struct machine *m) {
    struct found found = {0};
    const struct store_sink sink = {.user = &found,
                                    .session = on_session,
                                    .subscription = on_subscription,
                                    .held = on_held,
                                    .flight = on_flight,
                                    .queue = on_queue,
                                    .will = on_will,
                                    .position = on_position,
                                    .retained = on_retained};
    assert_true(machine_open(m, &f->options, &f->error));
    assert_true(store_load(m->store, &sink, &f->error));
    return found.sessions;
}

static void begin(struct fixture *f) {
    struct plan plan;
    memset(f, 0, sizeof *f);
    plan_base(&plan);
    f->options = plan.store;
    choices_start(&f->choices, 1, NULL, 0, false);
    machine_init(&f->m, &f->choices);
    assert_int_equal(load(f, &f->m), 0);
    while (machine_commit(&f->m)) {
    }
}

static void end(struct fixture *f) {
    machine_deinit(&f->m);
    choices_deinit(&f->choices);
}

static void stage(struct fixture *f, const char *name) {
    const struct record r = {.kind = RECORD_SESSION, .session = {.client_id = span_str(name), .protocol = 5}};
    (void)store_stage(f->m.store, &r);
}

static void commit(struct fixture *f) {
    while (machine_wants_commit(&f->m) && machine_commit(&f->m)) {
    }
}

static void what_is_committed_survives_every_end(void **state) {
    (void)state;
    static const enum sim_power ends[] = {SIM_POWER_KEEP, SIM_POWER_DROP};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct fixture f;
        begin(&f);
        stage(&f, "one");
        commit(&f);
        stage(&f, "two");
        machine_close(&f.m);
        sim_disk_power_cut(&f.m.disk, ends[i]);
        assert_int_equal(load(&f, &f.m), 1);
        end(&f);
    }
}

static void it_wants_a_commit_while_something_is_staged(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    commit(&f);
    stage(&f, "one");
    assert_true(machine_wants_commit(&f.m));
    assert_false(machine_is_housework(&f.m));
    const lsn_t before = store_durable(f.m.store);
    while (store_durable(f.m.store) == before) {
        assert_true(machine_commit(&f.m));
    }
    assert_true(machine_is_housework(&f.m));
    assert_false(f.m.in_frame);
    end(&f);
}

/* At each call of the disk in turn the power goes: the owner is told, and the record is there or not, but never
 * refused. */
static void the_power_can_go_at_every_call(void **state) {
    (void)state;
    unsigned there = 0, lost = 0;
    for (uint64_t at = 1; at <= 4; at++) {
        struct fixture f;
        begin(&f);
        stage(&f, "one");
        f.m.disk.crash_at = f.m.disk.calls + at;
        while (machine_state(&f.m) == MACHINE_WELL && machine_wants_commit(&f.m) && machine_commit(&f.m)) {
        }
        assert_int_equal(machine_state(&f.m), f.m.disk.calls >= f.m.disk.crash_at ? MACHINE_DARK : MACHINE_WELL);
        const bool durable = store_durable(f.m.store) > 0;
        machine_close(&f.m);
        sim_disk_power_cut(&f.m.disk, SIM_POWER_DROP);
        f.m.disk.crash_at = 0;
        const unsigned sessions = load(&f, &f.m);
        assert_true(sessions == 1 || !durable);
        there += sessions;
        lost += 1 - sessions;
        end(&f);
    }
    assert_true(there > 0 && lost > 0);
}

static void a_disk_that_fails_stops_the_store(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    stage(&f, "one");
    f.m.disk.fail_at = f.m.disk.calls + 1;
    commit(&f);
    assert_int_equal(machine_state(&f.m), MACHINE_FAILED);
    assert_int_equal(store_durable(f.m.store), 0);
    end(&f);
}

static void a_fork_is_what_a_crash_would_leave(void **state) {
    (void)state;
    struct fixture f;
    struct machine copy;
    begin(&f);
    stage(&f, "one");
    commit(&f);
    stage(&f, "two");
    const uint64_t before = machine_digest(&f.m);
    machine_fork(&copy, &f.m, &f.choices, SIM_POWER_DROP);
    assert_int_equal(load(&f, &copy), 1);
    machine_deinit(&copy);
    assert_true(machine_digest(&f.m) == before); /* asking changes nothing */
    commit(&f);
    machine_fork(&copy, &f.m, &f.choices, SIM_POWER_DROP);
    assert_int_equal(load(&f, &copy), 2);
    machine_deinit(&copy);
    end(&f);
}

static void a_checkpoint_moves_records_into_the_table(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    stage(&f, "one");
    commit(&f);
    const size_t before = machine_table_count(&f.m, TABLE_SESSIONS);
    for (unsigned i = 0; i < 64 && machine_checkpoint(&f.m, true); i++) {
    }
    assert_int_equal(before, 0);
    assert_int_equal(machine_table_count(&f.m, TABLE_SESSIONS), 1);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_committed_survives_every_end),
        cmocka_unit_test(it_wants_a_commit_while_something_is_staged),
        cmocka_unit_test(the_power_can_go_at_every_call),
        cmocka_unit_test(a_disk_that_fails_stops_the_store),
        cmocka_unit_test(a_fork_is_what_a_crash_would_leave),
        cmocka_unit_test(a_checkpoint_moves_records_into_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
