/* The catalogue has every break point on every hop, and every row a name of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "torture/fault.h"

static size_t count(const char *only) {
    struct fault_table t;
    fault_table_init(&t, only);
    return t.count;
}

static void every_product_is_there(void **state) {
    (void)state;
    assert_int_equal(count("cut."), 4 * 2 * 3 * 3);
    assert_int_equal(count("kill."), 4 * 2 * 4);
    assert_int_equal(count("power."), 4 * 2 * 4);
    assert_int_equal(count("repeat."), 4 * 2);
    assert_int_equal(count("thrice."), 2 * 2); /* PUBREC and PUBCOMP are not sent again once they have arrived */
    assert_int_equal(count("takeover."), 4);
    assert_int_equal(count("window"), 1);
    assert_int_equal(count("no such row"), 0);
}

static void names_are_unique(void **state) {
    (void)state;
    struct fault_table t;
    fault_table_init(&t, NULL);
    for (size_t i = 0; i < t.count; i++) {
        for (size_t k = 0; k < i; k++) {
            char one[64];
            char two[64];
            assert_string_not_equal(fault_name(&t.rows[i], one, sizeof(one)), fault_name(&t.rows[k], two, sizeof(two)));
        }
    }
}

static void a_name_finds_its_row(void **state) {
    (void)state;
    struct fault_table t;
    fault_table_init(&t, "cut.sub.pubrec.torn.fin");
    assert_int_equal(t.count, 1);
    assert_int_equal(t.rows[0].hop, HOP_SUBSCRIBER);
    assert_int_equal(t.rows[0].point, 2);
    assert_int_equal(t.rows[0].loss, LOSS_TORN);
    assert_int_equal(t.rows[0].kind, KIND_FIN);
    assert_true(fault_to_broker(&t.rows[0]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_product_is_there),
        cmocka_unit_test(names_are_unique),
        cmocka_unit_test(a_name_finds_its_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
