/* The queue between two threads: nothing lost, nothing twice, in order. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/mem.h"
#include "base/ring.h"

struct value {
    uint64_t number;
    uint64_t *elsewhere; /* memory that the producer filled before */
    uint64_t check;      /* ~number: a value that was read half-written would show */
};

static void full_and_empty_are_told(void **state) {
    (void)state;
    struct ring ring;
    ring_init(&ring, sizeof(uint32_t), 4);
    uint32_t out = 77;
    assert_true(ring_empty(&ring));
    assert_false(ring_pop(&ring, &out));
    assert_int_equal(out, 77);
    uint32_t pushed = 0;
    uint32_t popped = 0;
    for (int round = 0; round < 50; round++) {
        while (ring_push(&ring, &pushed)) {
            pushed++;
            assert_false(ring_empty(&ring));
        }
        assert_int_equal(pushed - popped, 4);
        for (int i = 0; i <= round % 4; i++) {
            assert_true(ring_pop(&ring, &out));
            assert_int_equal(out, popped++);
        }
    }
    while (ring_pop(&ring, &out)) {
        assert_int_equal(out, popped++);
    }
    assert_int_equal(popped, pushed);
    assert_true(ring_empty(&ring));
    ring_deinit(&ring);
}

static void one_slot_is_enough(void **state) {
    (void)state;
    struct ring ring;
    ring_init(&ring, 1, 1);
    for (uint8_t i = 0; i < 10; i++) {
        uint8_t out = 0;
        assert_true(ring_push(&ring, &i));
        assert_false(ring_push(&ring, &i));
        assert_true(ring_pop(&ring, &out));
        assert_int_equal(out, i);
    }
    ring_deinit(&ring);
}

/* The counters run for ever; what matters is their difference. */
static void counters_may_wrap(void **state) {
    (void)state;
    struct ring ring;
    ring_init(&ring, sizeof(int), 2);
    atomic_store(&ring.head, SIZE_MAX);
    atomic_store(&ring.tail, SIZE_MAX);
    for (int i = 0; i < 5; i++) {
        int next = i + 100;
        int out = 0;
        assert_true(ring_push(&ring, &i));
        assert_true(ring_push(&ring, &next));
        assert_false(ring_push(&ring, &i));
        assert_true(ring_pop(&ring, &out));
        assert_int_equal(out, i);
        assert_true(ring_pop(&ring, &out));
        assert_int_equal(out, next);
        assert_false(ring_pop(&ring, &out));
    }
    ring_deinit(&ring);
}

enum { VALUES = 200000 };

static void *produce(void *argument) {
    struct ring *ring = argument;
    for (uint64_t i = 1; i <= VALUES; i++) {
        struct value value = {i, NULL, ~i};
        if (i % 64 == 0) {
            value.elsewhere = mem_alloc(sizeof *value.elsewhere);
            *value.elsewhere = i;
        }
        while (!ring_push(ring, &value)) {
            sched_yield();
        }
    }
    return NULL;
}

static void two_threads_lose_nothing(void **state) {
    (void)state;
    struct ring ring;
    ring_init(&ring, sizeof(struct value), 64);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, &ring), 0);
    for (uint64_t i = 1; i <= VALUES; i++) {
        struct value value;
        while (!ring_pop(&ring, &value)) {
            sched_yield();
        }
        assert_int_equal(value.number, i);
        assert_int_equal(value.check, ~i);
        if (i % 64 == 0) {
            assert_int_equal(*value.elsewhere, i);
        }
        mem_free(value.elsewhere);
    }
    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_true(ring_empty(&ring));
    ring_deinit(&ring);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_and_empty_are_told),
        cmocka_unit_test(one_slot_is_enough),
        cmocka_unit_test(counters_may_wrap),
        cmocka_unit_test(two_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
