/* The tree of levels from inside: how large its tables are, and what a reader sees who holds on to an old one. What it
 * finds is tested through the trie and the retained index. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "topic/tree.h"
#include "unit/topic/graveyard.h"
#include "unit/topic/random_topics.h"

enum { SEED = 11 };

static int value;

static void release_nothing(void *user, void *released) {
    (void)user;
    (void)released;
}

static struct span number_level(char *text, size_t bytes, unsigned number) {
    (void)snprintf(text, bytes, "%u", number);
    return span_str(text);
}

static struct topic_node *put(struct topic_tree *tree, unsigned number) {
    char text[16];
    struct topic_node *node = topic_tree_make(tree, number_level(text, sizeof text, number));
    atomic_store(&node->value, &value);
    return node;
}

static void take(struct topic_tree *tree, unsigned number) {
    char text[16];
    struct span topic = number_level(text, sizeof text, number);
    struct topic_node *node = topic_tree_find(tree, topic);
    assert_non_null(node);
    atomic_store(&node->value, NULL);
    topic_tree_prune(tree, topic);
}

static uint32_t root_capacity(const struct topic_tree *tree) {
    return topic_node_branches(tree->root)->capacity;
}

static void tables_grow_and_shrink_with_the_nodes(void **state) {
    (void)state;
    struct topic_tree tree;
    topic_tree_init(&tree, SEED, free_at_once, NULL);
    assert_null(topic_node_branches(tree.root));
    put(&tree, 0);
    assert_int_equal(root_capacity(&tree), 1);
    for (unsigned i = 1; i < 1000; i++) {
        put(&tree, i);
        assert_true(root_capacity(&tree) <= 3 * (i + 1));
    }
    for (unsigned i = 0; i < 999; i++) {
        take(&tree, i);
        assert_true(root_capacity(&tree) <= 8 * (1000 - i));
    }
    assert_true(root_capacity(&tree) <= 8);
    take(&tree, 999);
    assert_null(topic_node_branches(tree.root));
    topic_tree_deinit(&tree, release_nothing, NULL);
}

static void churn_does_not_grow_a_table(void **state) {
    (void)state;
    struct topic_tree tree;
    topic_tree_init(&tree, SEED, free_at_once, NULL);
    for (unsigned i = 0; i < 20000; i++) {
        put(&tree, i);
        if (i >= 20) {
            take(&tree, i - 20);
        }
        assert_true(root_capacity(&tree) <= 64);
    }
    topic_tree_deinit(&tree, release_nothing, NULL);
}

/* A reader that loaded the table before a change still finds in it all that the change left alone. */
static void old_tables_keep_what_stays(void **state) {
    (void)state;
    struct graveyard yard = {.known = map64_of(SEED)};
    struct topic_tree tree;
    topic_tree_init(&tree, SEED, graveyard_add, &yard);
    char text[16];
    for (unsigned i = 0; i < 100; i++) {
        put(&tree, i);
        const struct topic_branches *old = topic_node_branches(tree.root);
        put(&tree, 1000 + i);
        take(&tree, 1000 + i);
        for (unsigned k = 0; k <= i; k++) {
            struct topic_key key = topic_key_of(number_level(text, sizeof text, k), SEED);
            assert_non_null(topic_branches_find(old, key));
        }
    }
    topic_tree_deinit(&tree, release_nothing, NULL);
    graveyard_empty(&yard);
}

static void a_leaf_below_a_kept_value_is_pruned_alone(void **state) {
    (void)state;
    struct topic_tree tree;
    topic_tree_init(&tree, SEED, free_at_once, NULL);
    struct topic_node *middle = topic_tree_make(&tree, SPAN("a/+"));
    atomic_store(&middle->value, &value);
    (void)topic_tree_make(&tree, SPAN("a/+/c/#"));
    topic_tree_prune(&tree, SPAN("a/+/c")); /* no node's */
    assert_int_equal(atomic_load(&tree.nodes), 2);
    topic_tree_prune(&tree, SPAN("a/+/c/#"));
    assert_int_equal(atomic_load(&tree.nodes), 1);
    assert_ptr_equal(topic_tree_find(&tree, SPAN("a/+")), middle);
    topic_tree_prune(&tree, SPAN("a/+"));
    assert_int_equal(atomic_load(&tree.nodes), 1);
    atomic_store(&middle->value, NULL);
    topic_tree_prune(&tree, SPAN("a/+"));
    assert_int_equal(atomic_load(&tree.nodes), 0);
    topic_tree_deinit(&tree, release_nothing, NULL);
}

static void put_topic(struct topic_tree *tree, const char *topic) {
    atomic_store(&topic_tree_make(tree, span_str(topic))->value, &value);
}

static void take_topic(struct topic_tree *tree, const char *topic) {
    struct topic_node *node = topic_tree_find(tree, span_str(topic));
    assert_non_null(node);
    atomic_store(&node->value, NULL);
    topic_tree_prune(tree, span_str(topic));
}

/* A path that nobody shares is one node; one is cut where paths part, and joined when they do not any more. */
static void paths_are_cut_and_joined(void **state) {
    (void)state;
    static const struct {
        const char *topic;
        unsigned nodes;
    } steps[] = {
        {"a/b/c/d/e", 1}, {"a/b/x", 3},   {"a/b/c/d", 4}, {"a/b/c/d/e/f/g", 5}, {"/", 6},   {"//a", 7},
        {"a", 8},         {"a/+/c/#", 9}, {"#", 10},      {"a/b/c/d/#", 11},    {"aa", 12}, {"a/bb/c", 13},
    };
    enum { STEPS = sizeof steps / sizeof *steps };
    for (unsigned order = 0; order < 3; order++) {
        struct graveyard yard = {.known = map64_of(SEED)};
        struct topic_tree tree;
        topic_tree_init(&tree, SEED, graveyard_add, &yard);
        for (unsigned i = 0; i < STEPS; i++) {
            put_topic(&tree, steps[i].topic);
            assert_int_equal(atomic_load(&tree.nodes), steps[i].nodes);
            for (unsigned k = 0; k < STEPS; k++) {
                const struct topic_node *node = topic_tree_find(&tree, span_str(steps[k].topic));
                assert_int_equal(node != NULL && atomic_load(&node->value) != NULL, k <= i);
            }
        }
        for (unsigned i = 0; i < STEPS; i++) {
            unsigned at = order == 0 ? i : order == 1 ? STEPS - 1 - i : (i * 5 + 3) % STEPS;
            take_topic(&tree, steps[at].topic);
            if (order == 1 && at > 0) {
                assert_int_equal(atomic_load(&tree.nodes), steps[at - 1].nodes);
            }
        }
        assert_int_equal(atomic_load(&tree.nodes), 0);
        assert_null(topic_node_branches(tree.root));
        topic_tree_deinit(&tree, release_nothing, NULL);
        graveyard_empty(&yard);
    }
}

enum { TABLE_MOST = 4096 };

/* What was reclaimed must not be found by who begins to look now; and what replaced it was not too much to be moved. */
static void not_reachable(void *user, void *memory, void (*free_function)(void *memory)) {
    const struct topic_tree *tree = user;
    const struct topic_branches *branches = topic_node_branches(tree->root);
    for (uint32_t i = 0; branches != NULL && branches->parted && i < branches->capacity; i++) {
        assert_ptr_not_equal(topic_branches_table(branches, i), memory);
    }
    assert_ptr_not_equal(branches, memory);
    free_function(memory);
}

/* Every table is small, its nodes belong to it, and all of them together are all that there are. */
static void check_parts(const struct topic_tree *tree, uint32_t count) {
    const struct topic_branches *branches = topic_node_branches(tree->root);
    uint32_t live = 0;
    for (uint32_t i = 0; i < (branches->parted ? branches->capacity : 1); i++) {
        const struct topic_branches *table = topic_branches_table(branches, i);
        const uint32_t mask = (1U << table->shift) - 1;
        assert_true(table->capacity <= TABLE_MOST);
        if (i > mask) { /* was looked at, at a lower place */
            assert_ptr_equal(table, topic_branches_table(branches, i & mask));
            continue;
        }
        live += table->live;
        for (uint32_t k = 0; k < table->capacity; k++) {
            const struct topic_node *node = topic_slot_node(&table->slots[k]);
            assert_true(node == NULL || (node->hash & mask) == i);
        }
    }
    assert_int_equal(live, count);
    assert_int_equal(branches->live, count);
}

static void find_all(const struct topic_tree *tree, unsigned from, unsigned to) {
    char text[16];
    for (unsigned i = from; i < to; i++) {
        assert_non_null(topic_tree_find(tree, number_level(text, sizeof text, i)));
    }
}

/* However many children there are: no change moves more than one small table has, and they are found. */
static void many_children_are_in_parts(void **state) {
    (void)state;
    static const unsigned counts[] = {3000, 50000, 200000};
    for (unsigned v = 0; v < sizeof counts / sizeof *counts; v++) {
        struct topic_tree tree;
        topic_tree_init(&tree, SEED + v, not_reachable, &tree);
        put_topic(&tree, "+");
        for (unsigned i = 0; i < counts[v]; i++) {
            put(&tree, i);
            if ((i & (i + 1)) == 0) {
                check_parts(&tree, i + 1);
                find_all(&tree, 0, i + 1);
            }
        }
        put_topic(&tree, "#");
        check_parts(&tree, counts[v]);
        for (unsigned i = 0; i < counts[v]; i++) { /* as many come and go */
            take(&tree, i);
            put(&tree, counts[v] + i);
        }
        check_parts(&tree, counts[v]);
        find_all(&tree, counts[v], 2 * counts[v]);
        for (unsigned i = counts[v]; i + 1 < 2 * counts[v]; i++) {
            const uint32_t left = 2 * counts[v] - 1 - i;
            take(&tree, i);
            if ((left & (left - 1)) == 0) {
                check_parts(&tree, left);
                find_all(&tree, i + 1, 2 * counts[v]);
            }
        }
        assert_true(root_capacity(&tree) <= 8);
        assert_non_null(topic_tree_find(&tree, SPAN("+")));
        assert_non_null(topic_tree_find(&tree, SPAN("#")));
        topic_tree_deinit(&tree, release_nothing, NULL);
    }
    struct topic_tree tree;
    topic_tree_init(&tree, SEED, free_at_once, NULL);
    for (unsigned i = 0; i < 50000; i++) {
        put(&tree, i);
    }
    topic_tree_deinit(&tree, release_nothing, NULL); /* whole */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_grow_and_shrink_with_the_nodes),
        cmocka_unit_test(many_children_are_in_parts),
        cmocka_unit_test(churn_does_not_grow_a_table),
        cmocka_unit_test(old_tables_keep_what_stays),
        cmocka_unit_test(a_leaf_below_a_kept_value_is_pruned_alone),
        cmocka_unit_test(paths_are_cut_and_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
