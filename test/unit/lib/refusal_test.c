/* What is known of messages that were not taken, and for how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/refusal.h"

static void note(struct refusals *r, uint64_t id, int error, uint8_t reason) {
    lib_refusal_note(r, &(struct quartet_event){.id = id, .error = error, .reason = reason});
}

static void each_is_known_with_its_cause(void **state) {
    (void)state;
    struct refusals r;
    struct refusal refusal;
    lib_refusals_init(&r, 1);
    assert_false(lib_refusal_of(&r, 7, &refusal));
    note(&r, 7, QUARTET_OK, 0x97);
    note(&r, 5, QUARTET_TIMEOUT, 0x80);
    note(&r, 9, QUARTET_SESSION_LOST, 0x80);
    assert_true(lib_refusal_of(&r, 7, &refusal));
    assert_int_equal(refusal.error, QUARTET_OK);
    assert_int_equal(refusal.reason, 0x97);
    assert_true(lib_refusal_of(&r, 5, &refusal));
    assert_int_equal(refusal.error, QUARTET_TIMEOUT);
    assert_true(lib_refusal_of(&r, 9, &refusal));
    assert_int_equal(refusal.error, QUARTET_SESSION_LOST);
    assert_false(lib_refusal_of(&r, 6, &refusal));
    assert_int_equal(r.forgotten, 0);
    lib_refusals_deinit(&r);
}

static void the_oldest_are_known_to_be_forgotten(void **state) {
    (void)state;
    struct refusals r;
    struct refusal refusal;
    lib_refusals_init(&r, 1);
    for (uint64_t id = 1; id <= REFUSALS_MAX + 10; id++) {
        note(&r, id, QUARTET_OK, 0x97);
        note(&r, id, QUARTET_OK, 0x97); /* twice is once */
    }
    assert_int_equal(r.forgotten, 10);
    assert_false(lib_refusal_of(&r, 10, &refusal));
    assert_true(lib_refusal_of(&r, 11, &refusal));
    assert_true(lib_refusal_of(&r, REFUSALS_MAX + 10, &refusal));
    assert_int_equal(r.ids.count, REFUSALS_MAX);
    assert_int_equal(r.by_id.count, REFUSALS_MAX);
    lib_refusals_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_known_with_its_cause),
        cmocka_unit_test(the_oldest_are_known_to_be_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
