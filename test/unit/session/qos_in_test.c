/* The receiver's half of QoS 2 against an array of 65,536 booleans. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "session/qos_in.h"

enum { IDS = 65536 };

struct model {
    bool held[IDS];
    uint32_t count;
};

static packet_id_t model_next(const struct model *m, uint32_t from) {
    for (uint32_t id = from; id < IDS; id++) {
        if (m->held[id]) {
            return (packet_id_t)id;
        }
    }
    return 0;
}

/* The walk as its users do it: from one held id to the next. */
static void assert_same_walk(const struct qos_in *in, const struct model *m) {
    uint32_t seen = 0;
    for (packet_id_t id = qos_in_next(in, 0); id != 0; id = qos_in_next(in, (uint32_t)id + 1)) {
        assert_true(m->held[id]);
        seen++;
    }
    assert_int_equal(seen, m->count);
    assert_int_equal(in->count, m->count);
}

/* One random event; its answer and what is held afterwards must be the model's. */
static void random_event(struct qos_in *in, struct model *m, packet_id_t id, struct prng *prng) {
    switch (prng_below(prng, 5)) {
    case 0:
    case 1:
        assert_int_equal(qos_in_hold(in, id), !m->held[id]);
        m->count += !m->held[id];
        m->held[id] = true;
        break;
    case 2:
    case 3:
        assert_int_equal(qos_in_free(in, id), m->held[id]);
        m->count -= m->held[id];
        m->held[id] = false;
        break;
    default:
        qos_in_shrink(in);
    }
    assert_int_equal(qos_in_holds(in, id), m->held[id]);
    assert_int_equal(in->count, m->count);
}

static void few_ids_are_held_as_the_model_says(void **state) {
    (void)state;
    static const packet_id_t pools[][4] = {
        {1, 2, 3, 4}, {1, 63, 64, 65}, {1023, 1024, 1025, 2048}, {65535, 65534, 1, 512}};
    static struct model m;
    for (size_t pool = 0; pool < 4; pool++) {
        struct prng prng = prng_of(pool);
        struct qos_in in = {0};
        for (int step = 0; step < 3000; step++) {
            random_event(&in, &m, pools[pool][prng_below(&prng, 4)], &prng);
            assert_same_walk(&in, &m);
            for (size_t i = 0; i < 4; i++) {
                packet_id_t id = pools[pool][i];
                assert_int_equal(qos_in_holds(&in, id), m.held[id]);
                assert_int_equal(qos_in_next(&in, id), model_next(&m, id));
                assert_int_equal(qos_in_next(&in, (uint32_t)id + 1), model_next(&m, (uint32_t)id + 1));
            }
        }
        qos_in_deinit(&in);
        m = (struct model){.count = 0};
    }
}

static void any_ids_are_held_as_the_model_says(void **state) {
    (void)state;
    static struct model m;
    struct prng prng = prng_of(9);
    struct qos_in in = {0};
    for (int step = 0; step < 60000; step++) {
        random_event(&in, &m, (packet_id_t)(1 + prng_below(&prng, 65535)), &prng);
        if (step % 10000 == 0) {
            assert_same_walk(&in, &m);
            uint32_t from = (uint32_t)prng_below(&prng, IDS);
            assert_int_equal(qos_in_next(&in, from), model_next(&m, from));
        }
    }
    qos_in_deinit(&in);
    assert_int_equal(in.count, 0);
    assert_null(in.pages);
}

static void every_id_can_be_held_at_once(void **state) {
    (void)state;
    struct qos_in in = {0};
    for (uint32_t id = 1; id < IDS; id++) {
        assert_true(qos_in_hold(&in, (packet_id_t)id));
    }
    assert_int_equal(in.count, 65535);
    for (uint32_t id = 1; id < IDS; id++) {
        assert_false(qos_in_hold(&in, (packet_id_t)id));
        assert_int_equal(qos_in_next(&in, id), id);
    }
    assert_int_equal(qos_in_next(&in, 0), 1);
    assert_int_equal(qos_in_next(&in, 65536), 0);
    assert_int_equal(qos_in_next(&in, UINT32_MAX), 0);
    for (uint32_t id = 1; id < IDS; id++) {
        assert_true(qos_in_free(&in, (packet_id_t)id));
        assert_false(qos_in_free(&in, (packet_id_t)id));
    }
    assert_int_equal(in.count, 0);
    assert_int_equal(qos_in_next(&in, 0), 0);
    qos_in_shrink(&in);
    assert_null(in.pages);
}

/* R6: a repeat is a repeat, however often it comes; afterwards the id is new again. */
static void repeats_have_no_end(void **state) {
    (void)state;
    struct qos_in in = {0};
    for (int flow = 0; flow < 3; flow++) {
        assert_true(qos_in_hold(&in, 7));
        for (int i = 0; i < 1000; i++) {
            assert_false(qos_in_hold(&in, 7));
        }
        assert_true(qos_in_free(&in, 7));
        for (int i = 0; i < 1000; i++) {
            assert_false(qos_in_free(&in, 7));
        }
    }
    qos_in_deinit(&in);
}

static void nothing_is_held_at_first(void **state) {
    (void)state;
    struct qos_in in = {0};
    assert_false(qos_in_holds(&in, 1));
    assert_false(qos_in_free(&in, 1));
    assert_int_equal(qos_in_next(&in, 0), 0);
    qos_in_shrink(&in);
    qos_in_deinit(&in);
    assert_null(in.pages);
}

static void shrinking_forgets_nothing(void **state) {
    (void)state;
    struct qos_in in = {0};
    qos_in_hold(&in, 5000);
    qos_in_hold(&in, 1);
    qos_in_free(&in, 1);
    qos_in_shrink(&in);
    assert_true(qos_in_holds(&in, 5000));
    assert_int_equal(in.count, 1);
    qos_in_free(&in, 5000);
    qos_in_shrink(&in);
    assert_null(in.pages);
    assert_true(qos_in_hold(&in, 5000));
    qos_in_deinit(&in);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_ids_are_held_as_the_model_says), cmocka_unit_test(any_ids_are_held_as_the_model_says),
        cmocka_unit_test(every_id_can_be_held_at_once),       cmocka_unit_test(repeats_have_no_end),
        cmocka_unit_test(nothing_is_held_at_first),           cmocka_unit_test(shrinking_forgets_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
