/* When a session may be forgotten: exactly from its expiry on, by the broker's own count, whatever crashes and clocks
 * do. Moments by hand; the client's expiry is 10 seconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/world.h"

struct fixture {
    struct plan plan;
    struct choices choices;
    struct world *w;
};

static void begin(struct fixture *f) {
    memset(f, 0, sizeof *f);
    plan_base(&f->plan);
    f->plan.client_count = 1;
    f->plan.clients[0] =
        (struct plan_client){.real = true, .five = true, .session_expiry = 10, .pipe_bytes = SIM_PIPE_BYTES_DRAWN};
    choices_start(&f->choices, 1, NULL, 0, false);
    f->w = world_create(&f->plan, &f->choices, NULL);
    f->w->now = 100000;
}

static void end(struct fixture *f) {
    world_destroy(f->w);
    choices_deinit(&f->choices);
}

static void pass(struct fixture *f, mono_ms_t ms) {
    f->w->now += ms;
    f->w->wall += ms;
}

/* The broker handles a CONNECT on a new connection and, perhaps, its answer leaves. True when the session was due. */
static bool connects(struct fixture *f, struct conn *c, bool answered) {
    static uint32_t serials;
    *c = (struct conn){.serial = ++serials};
    absence_connect(f->w, c, true);
    if (answered) {
        absence_answered(f->w, c);
    }
    return c->session_due;
}

static bool due(struct fixture *f) {
    struct conn c;
    return connects(f, &c, true);
}

static void away_for(struct fixture *f, mono_ms_t ms) {
    struct conn c;
    (void)connects(f, &c, true);
    absence_ended(f->w, &c);
    pass(f, ms);
}

static void from_its_expiry_on(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    assert_false(due(&f)); /* there never was one */
    away_for(&f, 9999);
    assert_false(due(&f));
    away_for(&f, 10000);
    assert_true(due(&f));
    assert_false(due(&f)); /* the next one is new */
    end(&f);
}

static void not_while_it_is_connected(void **state) {
    (void)state;
    struct fixture f;
    struct conn c;
    begin(&f);
    assert_false(connects(&f, &c, true));
    pass(&f, 60000);
    absence_tick(f.w);
    assert_false(due(&f));
    end(&f);
}

/* From when the broker gives the connection up, not from when its last byte has left. */
static void an_end_counts_once(void **state) {
    (void)state;
    struct fixture f;
    struct conn c;
    begin(&f);
    (void)connects(&f, &c, true);
    absence_ended(f.w, &c);
    pass(&f, 9000);
    absence_ended(f.w, &c);
    pass(&f, 1000);
    assert_true(due(&f));
    end(&f);
}

static void the_end_of_an_older_connection_does_not_count(void **state) {
    (void)state;
    struct fixture f;
    struct conn old, now;
    begin(&f);
    (void)connects(&f, &old, true);
    (void)connects(&f, &now, true);
    absence_ended(f.w, &old);
    pass(&f, 10000);
    assert_false(due(&f));
    end(&f);
}

/* A connection counts, as long as the broker lives, though its CONNACK never left; a crash may take it back. */
static void an_unanswered_connect_counts_until_a_crash(void **state) {
    (void)state;
    for (int crash = 0; crash <= 1; crash++) {
        struct fixture f;
        struct conn c;
        begin(&f);
        away_for(&f, 6000);
        (void)connects(&f, &c, false);
        absence_ended(f.w, &c);
        pass(&f, 6000);
        if (crash != 0) {
            absence_down(f.w);
            absence_up(f.w);
        }
        assert_int_equal(due(&f), crash);
        end(&f);
    }
}

static void time_spent_down_counts_by_the_wall_clock(void **state) {
    (void)state;
    static const struct {
        wall_ms_t set;
        bool due;
    } rows[] = {{0, false}, {3999, false}, {4000, true}, {-100000, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        begin(&f);
        away_for(&f, 6000);
        absence_down(f.w);
        f.w->wall += rows[i].set;
        absence_up(f.w);
        assert_int_equal(due(&f), rows[i].due);
        end(&f);
    }
}

/* While the broker is up, and has looked at its clocks once, a wall clock that is set ends no session. */
static void a_clock_that_is_set_later_does_not_count(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    away_for(&f, 1000);
    f.w->wall += 3600000;
    assert_false(due(&f));
    away_for(&f, 1000);
    absence_down(f.w);
    absence_up(f.w);
    absence_tick(f.w);
    f.w->wall += 3600000;
    assert_false(due(&f));
    end(&f);
}

/* Put back while the broker is up, which notes it, and then put forth, which it does not before it dies: of the absence
 * nothing is taken away, and the second step counts. */
static void a_clock_that_was_put_back_takes_nothing_away(void **state) {
    (void)state;
    static const struct {
        bool crash;
        wall_ms_t forth;
        bool due;
    } rows[] = {{true, 8999, false}, {true, 9000, true}, {true, -1000, false}, {false, 9000, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture f;
        begin(&f);
        away_for(&f, 1000);
        f.w->wall -= 3600000;
        absence_clock_back(f.w, 3600000);
        f.w->wall += rows[i].forth;
        if (rows[i].crash) {
            absence_down(f.w);
            absence_up(f.w);
        }
        assert_int_equal(due(&f), rows[i].due);
        end(&f);
    }
}

/* It was connected when the broker died: away since the next start. */
static void a_crash_ends_the_connection_at_the_next_start(void **state) {
    (void)state;
    struct fixture f;
    struct conn c;
    begin(&f);
    (void)connects(&f, &c, true);
    absence_down(f.w);
    pass(&f, 60000);
    absence_up(f.w);
    pass(&f, 9999);
    absence_tick(f.w);
    assert_false(f.w->absences[0].due);
    pass(&f, 1);
    assert_true(due(&f));
    end(&f);
}

static void once_due_it_stays_due_until_a_connack_has_left(void **state) {
    (void)state;
    struct fixture f;
    struct conn c;
    begin(&f);
    away_for(&f, 10000);
    absence_tick(f.w);
    assert_true(connects(&f, &c, false));
    absence_ended(f.w, &c);
    assert_true(due(&f));
    assert_false(due(&f));
    end(&f);
}

static void a_lost_disk_ends_all(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    (void)due(&f);
    absence_all_lost(f.w);
    assert_true(due(&f));
    assert_false(due(&f));
    end(&f);
}

static void what_never_expires_is_never_due(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct fixture f;
        begin(&f);
        f.plan.clients[0].five = which != 0;
        f.plan.clients[0].session_expiry = which != 0 ? 0xffffffffU : 10;
        away_for(&f, 1000000);
        assert_int_equal(absence_left(f.w), 0);
        assert_false(due(&f));
        end(&f);
    }
}

static void how_long_it_has_left_is_known(void **state) {
    (void)state;
    struct fixture f;
    begin(&f);
    assert_int_equal(absence_left(f.w), 0);
    away_for(&f, 2500);
    assert_int_equal(absence_left(f.w), 7500);
    pass(&f, 7500);
    assert_int_equal(absence_left(f.w), 0);
    end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_its_expiry_on),
        cmocka_unit_test(not_while_it_is_connected),
        cmocka_unit_test(an_end_counts_once),
        cmocka_unit_test(the_end_of_an_older_connection_does_not_count),
        cmocka_unit_test(an_unanswered_connect_counts_until_a_crash),
        cmocka_unit_test(time_spent_down_counts_by_the_wall_clock),
        cmocka_unit_test(a_clock_that_is_set_later_does_not_count),
        cmocka_unit_test(a_clock_that_was_put_back_takes_nothing_away),
        cmocka_unit_test(a_crash_ends_the_connection_at_the_next_start),
        cmocka_unit_test(once_due_it_stays_due_until_a_connack_has_left),
        cmocka_unit_test(a_lost_disk_ends_all),
        cmocka_unit_test(what_never_expires_is_never_due),
        cmocka_unit_test(how_long_it_has_left_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
