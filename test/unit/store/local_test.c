#include "local_run.h"

static void a_new_store_holds_what_was_committed(void **state) {
    (void)state;
    struct run r;
    run_init(&r, 1);
    assert_true(run_open(&r));
    run_compare(&r);
    assert_true(run_steps(&r, 200));
    run_close(&r);
    assert_true(run_open(&r));
    run_compare(&r);
    run_deinit(&r);
}

/* Many generations, each ended by a power cut or a kill at a random call; the stale frames of recycled segments and of
 * earlier generations lie everywhere. */
static void crashes_lose_nothing_durable(void **state) {
    (void)state;
    const char *more = getenv("QUARTET_TEST_SEEDS");
    uint64_t seeds = more != NULL ? strtoull(more, NULL, 10) : 60;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct run r;
        run_init(&r, seed * 1000);
        for (int generation = 0; generation < 12; generation++) {
            r.disk.fault = FAULT_CRASH;
            r.disk.fault_at = r.disk.calls + 1 + prng_below(&r.prng, generation % 3 == 0 ? 12 : 120);
            if (run_open(&r)) {
                run_compare(&r);
                (void)run_steps(&r, 400);
            } else if (r.error.kind != ERROR_CRASHED) {
                print_error("seed %llu generation %d: %s\n", (unsigned long long)seed, generation, r.error.text);
                fail();
            }
            run_close(&r);
            fault_disk_restart(&r.disk, prng_chance(&r.prng, 3, 4));
        }
        assert_true(run_open(&r));
        run_compare(&r);
        run_deinit(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_holds_what_was_committed),
        cmocka_unit_test(crashes_lose_nothing_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
