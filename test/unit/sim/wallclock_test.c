/* The judge of store time: right while the broker runs, right over a stop, and what a step that nobody noted excuses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/mem.h"
#include "sim/world.h"

enum { SECOND = 1000, DAY = 86400 * SECOND };

static struct plan plan;

static struct world *world(void) {
    struct world *w = mem_zero(1, sizeof *w);
    plan_base(&plan);
    plan.steps_of_days = true;
    w->plan = &plan;
    w->indent = "";
    wallclock_judge(w, 5 * SECOND, true);
    return w;
}

static void expect(struct world *w, bool well) {
    assert_string_equal(well ? "" : "clock", w->failed ? "clock" : "");
    mem_free(w);
}

static void it_goes_on_with_the_time_that_passes(void **state) {
    (void)state;
    struct world *w = world();
    w->now += 7 * SECOND;
    wallclock_judge(w, 12 * SECOND, false);
    expect(w, true);
    w = world();
    w->now += 7 * SECOND;
    wallclock_judge(w, 11 * SECOND, false);
    expect(w, false);
}

static void no_step_moves_it_while_the_broker_runs(void **state) {
    (void)state;
    struct world *w = world();
    w->clock.ahead = DAY;
    wallclock_judge(w, 5 * SECOND + DAY, false);
    expect(w, false);
}

static void over_a_stop_it_is_right_within_two_seconds(void **state) {
    (void)state;
    static const struct {
        int64_t more;
        bool well;
    } rows[] = {{0, true}, {2 * SECOND, true}, {-2 * SECOND, true}, {3 * SECOND, false}, {-3 * SECOND, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world *w = world();
        w->now += 60 * SECOND;
        wallclock_judge(w, 65 * SECOND + rows[i].more, true);
        expect(w, rows[i].well);
    }
}

static void a_step_is_excused_until_it_is_noted(void **state) {
    (void)state;
    struct world *w = world();
    w->clock.ahead = DAY;
    wallclock_judge(w, 5 * SECOND + DAY, true);
    expect(w, true);
    w = world();
    w->clock.ahead = DAY;
    wallclock_seen(w);
    wallclock_noted(w);
    wallclock_judge(w, 5 * SECOND + DAY, true);
    expect(w, false);
}

static void what_it_is_ahead_has_passed_for_what_waits(void **state) {
    (void)state;
    struct world *w = world();
    const struct sim_message m = {.state = SIM_MESSAGE_DONE, .expiry = 60, .sent_at = 10};
    oracle_message(w, &m);
    w->clock.ahead = DAY;
    wallclock_judge(w, 5 * SECOND + DAY, true);
    assert_int_equal(w->oracle.messages[0].sent_at, 10 - DAY);
    expect(w, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_on_with_the_time_that_passes),
        cmocka_unit_test(no_step_moves_it_while_the_broker_runs),
        cmocka_unit_test(over_a_stop_it_is_right_within_two_seconds),
        cmocka_unit_test(a_step_is_excused_until_it_is_noted),
        cmocka_unit_test(what_it_is_ahead_has_passed_for_what_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
