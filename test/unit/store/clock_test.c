/* Store time: by the boot clock while running, by the wall clock over a stop, never back; and what the disk keeps of
 * it. A run is a machine whose store outlives it. */
#include "local_run.h"

#include "store/clock.h"

enum { SECOND = 1000, HOUR = 3600 * SECOND };
#define DAY (24 * (int64_t)HOUR)
#define TODAY ((wall_ms_t)1700000000000)

struct times {
    struct run run;
    struct store_clock clock;
    wall_ms_t wall;
    int64_t boot;
};

static void begin(struct times *t) {
    assert_true(run_open(&t->run));
    clock_start(&t->clock, &t->run.store->clock, t->wall, t->boot);
}

static void commit(struct times *t) {
    while (store_local_commit_step(t->run.store) != STORE_STEP_IDLE) {
    }
}

static wall_ms_t now(struct times *t) {
    wall_ms_t time = clock_now(&t->clock, t->run.store, t->wall, t->boot);
    commit(t);
    return time;
}

/* The process ends, by a kill -9 when `killed`, and nothing is folded then; the next begins after `ms` by the clocks,
 * or on a machine that was started anew and says that it is `wall`. */
static void again(struct times *t, bool killed, wall_ms_t wall, int64_t boot) {
    while (!killed && store_local_checkpoint_step(t->run.store, true) != STORE_STEP_IDLE) {
    }
    run_close(&t->run);
    t->wall = wall;
    t->boot = boot;
    begin(t);
}

static void pass(struct times *t, int64_t ms) {
    t->wall += ms;
    t->boot += ms;
}

static void times_init(struct times *t, wall_ms_t wall) {
    *t = (struct times){.wall = wall, .boot = 5000};
    run_init(&t->run, 1);
    begin(t);
    assert_int_equal(now(t), wall);
}

static void a_new_store_has_the_wall_clocks_time(void **state) {
    (void)state;
    struct times t;
    times_init(&t, TODAY);
    pass(&t, HOUR);
    assert_int_equal(now(&t), TODAY + HOUR);
    run_deinit(&t.run);
}

static void steps_of_the_wall_clock_are_not_seen(void **state) {
    (void)state;
    static const int64_t steps[] = {DAY, -DAY, 400 * DAY, -400 * DAY, 2 * SECOND, -2 * SECOND, 1};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        for (int killed = 0; killed <= 1; killed++) {
            struct times t;
            times_init(&t, TODAY);
            pass(&t, HOUR);
            t.wall += steps[i];
            assert_int_equal(now(&t), TODAY + HOUR);
            pass(&t, HOUR);
            /* Neither by what was stopped meanwhile: a minute is a minute. */
            again(&t, killed, t.wall + 60 * SECOND, t.boot + 60 * SECOND);
            assert_int_equal(now(&t) / SECOND, (TODAY + 2 * HOUR + 60 * SECOND) / SECOND);
            run_deinit(&t.run);
        }
    }
}

/* It begins with the time of its making, learns the right one, and is started anew twice. */
static void a_machine_without_a_clock(void **state) {
    (void)state;
    for (int killed = 0; killed <= 1; killed++) {
        struct times t;
        wall_ms_t wrong = TODAY - 300 * DAY;
        times_init(&t, wrong);
        pass(&t, 10 * SECOND);
        t.wall = TODAY; /* NTP */
        assert_int_equal(now(&t), wrong + 10 * SECOND);
        pass(&t, HOUR);
        assert_int_equal(now(&t), wrong + 10 * SECOND + HOUR);
        again(&t, killed, wrong, 3000);
        wall_ms_t time = now(&t);
        assert_true(time >= wrong + 10 * SECOND && time <= wrong + 10 * SECOND + HOUR);
        pass(&t, 10 * SECOND);
        t.wall = TODAY + 2 * HOUR;
        assert_int_equal(now(&t), time + 10 * SECOND);
        again(&t, killed, t.wall + HOUR, t.boot + HOUR);
        assert_int_equal(now(&t), time + 10 * SECOND + HOUR);
        run_deinit(&t.run);
    }
}

/* What was accepted is never newer than the time of the next start, whatever its wall clock says. */
static void a_message_moves_the_time_on(void **state) {
    (void)state;
    for (int killed = 0; killed <= 1; killed++) {
        struct times t;
        times_init(&t, TODAY);
        pass(&t, 10 * DAY);
        struct record record = {.kind = RECORD_MESSAGE,
                                .message = {.accepted_at = now(&t), .parts = {.topic = SPAN("t")}}};
        (void)store_stage(t.run.store, &record);
        commit(&t);
        again(&t, killed, TODAY - DAY, 1000);
        assert_int_equal(now(&t), TODAY + 10 * DAY);
        again(&t, killed, TODAY, 1000);
        assert_int_equal(now(&t), TODAY + 11 * DAY); /* by its own clock it was a day */
        run_deinit(&t.run);
    }
}

static void an_idle_store_is_not_written_to(void **state) {
    (void)state;
    struct times t;
    times_init(&t, TODAY);
    lsn_t mark = store_durable(t.run.store);
    for (int i = 0; i < 1000; i++) {
        pass(&t, HOUR);
        t.wall += i % 3 - 1; /* within a second it is no step */
        (void)now(&t);
    }
    assert_int_equal(store_durable(t.run.store), mark);
    again(&t, false, t.wall, t.boot);
    (void)now(&t);
    assert_int_equal(store_durable(t.run.store), mark);
    t.wall += DAY;
    (void)now(&t);
    assert_int_equal(store_durable(t.run.store), mark + 1);
    (void)now(&t);
    assert_int_equal(store_durable(t.run.store), mark + 1);
    run_deinit(&t.run);
}

/* Records and rows that no broker writes change nothing. */
static void an_impossible_mark_is_none(void **state) {
    (void)state;
    static const struct record_clock marks[] = {
        {0, 5}, {-1, 5}, {CLOCK_MOST_MS, 5}, {INT64_MAX, INT64_MAX}, {5, INT64_MIN}, {5, CLOCK_MOST_MS},
    };
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        struct times t;
        times_init(&t, TODAY);
        struct record record = {.kind = RECORD_CLOCK, .clock = marks[i]};
        (void)store_stage(t.run.store, &record);
        record = (struct record){.kind = RECORD_MESSAGE, .message = {.accepted_at = INT64_MAX - (int64_t)i}};
        (void)store_stage(t.run.store, &record);
        commit(&t);
        again(&t, i % 2 == 0, TODAY + HOUR, t.boot);
        assert_int_equal(now(&t), TODAY + HOUR);
        run_deinit(&t.run);
    }
    struct record_clock clock;
    uint8_t row[ROW_CLOCK_BYTES];
    row_clock_write(row, &(struct record_clock){TODAY, TODAY});
    assert_true(row_clock_read(span_of(row, sizeof row), &clock));
    assert_int_equal(clock.time, TODAY);
    row[3] ^= 1;
    assert_false(row_clock_read(span_of(row, sizeof row), &clock));
    assert_int_equal(clock.time, 0);
    assert_false(row_clock_read(span_of(row, 8), &clock));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_has_the_wall_clocks_time),
        cmocka_unit_test(steps_of_the_wall_clock_are_not_seen),
        cmocka_unit_test(a_machine_without_a_clock),
        cmocka_unit_test(a_message_moves_the_time_on),
        cmocka_unit_test(an_idle_store_is_not_written_to),
        cmocka_unit_test(an_impossible_mark_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
