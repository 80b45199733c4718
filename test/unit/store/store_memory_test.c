#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "store/store_memory.h"

static void what_is_staged_is_durable(void **state) {
    (void)state;
    struct store *s = store_memory_create();
    struct record r = {.kind = RECORD_SESSION_END, .end = {1}};
    struct store_sink sink = {.user = NULL};
    struct store_delivery d;
    struct error error;
    assert_int_equal(store_durable(s), 0);
    for (lsn_t lsn = 1; lsn < 10; lsn++) {
        assert_int_equal(store_stage(s, &r), lsn);
        assert_int_equal(store_durable(s), lsn);
    }
    assert_int_equal(store_folded(s), 0);
    assert_int_equal(store_pressure(s), STORE_EASY);
    assert_false(store_failed(s));
    assert_true(store_load(s, &sink, &error));
    assert_int_equal(store_queue_read(s, 1, 0, 0, &d, 1), 0);
    store_memory_destroy(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_staged_is_durable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
