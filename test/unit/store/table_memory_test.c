#include "table_suite.h"

static struct table_memory *memory;

static struct table *again(struct table *old) {
    if (old != NULL) {
        old->ops->close(old);
    }
    return table_memory_open(memory);
}

static void random_transactions(void **state) {
    (void)state;
    memory = table_memory_create(NULL, NULL);
    struct table *t = again(NULL);
    suite_empty(t);
    t->ops->close(t);
    suite_random(again, 1, 300);
    table_memory_destroy(memory);
}

struct refusal {
    enum error_kind kind;
    int asked;
};

static bool refuse(void *user, struct error *error) {
    struct refusal *r = user;
    r->asked++;
    return r->kind == ERROR_NONE || error_set(error, r->kind, 0, "refused");
}

static void a_refused_commit_changes_nothing(void **state) {
    (void)state;
    struct refusal r = {ERROR_NO_SPACE, 0};
    struct error error;
    struct span value;
    struct table_memory *m = table_memory_create(refuse, &r);
    struct table *t = table_memory_open(m);
    struct table_txn *x = t->ops->begin(t, true, &error);
    assert_true(t->ops->put(x, TABLE_HELD, SPAN("k"), SPAN("v"), &error));
    assert_int_equal(r.asked, 0);
    assert_false(t->ops->commit(x, &error));
    assert_int_equal(error.kind, ERROR_NO_SPACE);
    assert_int_equal(r.asked, 1);
    x = t->ops->begin(t, false, &error);
    assert_false(t->ops->get(x, TABLE_HELD, SPAN("k"), &value));
    assert_true(t->ops->commit(x, &error)); /* a reader's end is no commit */
    assert_int_equal(r.asked, 1);
    r.kind = ERROR_NONE;
    x = t->ops->begin(t, true, &error);
    assert_true(t->ops->put(x, TABLE_HELD, SPAN("k"), SPAN("v"), &error));
    assert_true(t->ops->commit(x, &error));
    x = t->ops->begin(t, false, &error);
    assert_true(t->ops->get(x, TABLE_HELD, SPAN("k"), &value));
    t->ops->abort(x);
    t->ops->close(t);
    table_memory_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_transactions),
        cmocka_unit_test(a_refused_commit_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
