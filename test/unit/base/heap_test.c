/* The heap of deadlines against a plain array. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/prng.h"

enum { NODES = 300 };

static int64_t earliest(const struct heap_node *nodes) {
    int64_t least = INT64_MAX;
    for (size_t i = 0; i < NODES; i++) {
        least = nodes[i].place != 0 && nodes[i].at < least ? nodes[i].at : least;
    }
    return least;
}

static void the_first_is_the_earliest_whatever_happens(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct prng prng = prng_of(seed);
        struct heap_node nodes[NODES] = {{0}};
        struct heap heap = {0};
        size_t count = 0;
        for (int step = 0; step < 3000; step++) {
            struct heap_node *node = &nodes[prng_below(&prng, NODES)];
            count -= node->place != 0;
            if (prng_chance(&prng, seed % 4 + 1, 6)) {
                heap_set(&heap, node, (int64_t)prng_below(&prng, seed % 3 == 0 ? 5 : 1000) - 100);
                count++;
            } else {
                heap_remove(&heap, node);
            }
            assert_int_equal(heap.count, count);
            assert_true(heap.capacity <= 64 || heap.capacity < 5 * count);
            if (count > 0) {
                assert_int_equal(heap_first(&heap)->at, earliest(nodes));
                assert_null(heap_due(&heap, earliest(nodes) - 1));
                assert_ptr_equal(heap_due(&heap, earliest(nodes)), heap_first(&heap));
            }
        }
        int64_t last = INT64_MIN;
        while (heap_first(&heap) != NULL) {
            struct heap_node *node = heap_first(&heap);
            assert_true(node->at >= last);
            last = node->at;
            heap_remove(&heap, node);
            assert_int_equal(node->place, 0);
        }
        assert_null(heap.items);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_the_earliest_whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
