/* The set of open numbers and the queue beneath it, against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/prng.h"
#include "client/open.h"

enum { NUMBERS = 400 };

static uint64_t lowest(const uint8_t *open) {
    for (uint64_t n = 1; n < NUMBERS; n++) {
        if (open[n] > 0) {
            return n;
        }
    }
    return UINT64_MAX;
}

static void it_does_what_an_array_does(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct prng prng = prng_of(seed);
        struct open_set set = open_set_of();
        uint8_t open[NUMBERS] = {0}; /* bytes of the number while it is open */
        bool used[NUMBERS] = {false};
        for (uint64_t i = 1; i < NUMBERS; i++) {
            uint64_t number = prng_chance(&prng, 1, 5) ? 1 + prng_below(&prng, NUMBERS - 1) : i;
            if (!used[number]) {
                used[number] = true;
                open[number] = (uint8_t)(1 + prng_below(&prng, 9));
                open_set_add(&set, number, open[number]);
            }
            uint64_t other = 1 + prng_below(&prng, i);
            assert_int_equal(open_set_end(&set, other), open[other] > 0);
            open[other] = 0;
            uint64_t count = 0;
            uint64_t bytes = 0;
            for (uint64_t n = 1; n < NUMBERS; n++) {
                count += open[n] > 0;
                bytes += open[n];
                assert_int_equal(open_set_has(&set, n), open[n] > 0);
            }
            assert_int_equal(set.count, count);
            assert_int_equal(set.bytes, bytes);
            assert_int_equal(open_set_first(&set), lowest(open));
        }
        open_set_deinit(&set);
    }
}

static void a_queue_keeps_its_order_while_it_grows(void **state) {
    (void)state;
    struct fifo f = fifo_of(sizeof(uint32_t));
    uint32_t in = 0;
    uint32_t out = 0;
    for (int i = 0; i < 5000; i++) {
        for (int k = 0; k < i % 7; k++) {
            uint32_t *slot = fifo_push(&f);
            *slot = in++;
        }
        for (int k = 0; k < i % 6 && f.count > 0; k++) {
            assert_int_equal(*(uint32_t *)fifo_front(&f), out++);
            fifo_pop(&f);
        }
        assert_int_equal(f.count, in - out);
        if (f.count > 2) {
            assert_int_equal(*(uint32_t *)fifo_at(&f, 2), out + 2);
        }
    }
    while (f.count > 0) {
        fifo_pop(&f);
    }
    assert_null(fifo_front(&f));
    assert_null(f.slots); /* a large one that has emptied keeps nothing */
    fifo_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_does_what_an_array_does),
        cmocka_unit_test(a_queue_keeps_its_order_while_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
