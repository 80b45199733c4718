/* A mutant leaves out its own barrier and no other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "session/barrier.h"

static void a_mutant_breaks_one_barrier(void **state) {
    (void)state;
    for (int left_out = MUTANT_NONE; left_out < MUTANT_COUNT; left_out++) {
        for (int which = MUTANT_NONE + 1; which < MUTANT_COUNT; which++) {
            lsn_t wait = barrier((enum mutant)left_out, (enum mutant)which, 41);
            assert_int_equal(wait, left_out == which ? 0 : 41);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_mutant_breaks_one_barrier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
