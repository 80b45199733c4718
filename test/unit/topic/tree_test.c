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
    struct topic_node *node = topic_tree_find(tree, number_level(text, sizeof text, number));
    assert_non_null(node);
    atomic_store(&node->value, NULL);
    topic_tree_prune(tree, node);
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
    struct topic_node *leaf = topic_tree_make(&tree, SPAN("a/+/c/#"));
    topic_tree_prune(&tree, leaf->parent);
    assert_int_equal(atomic_load(&tree.nodes), 4);
    topic_tree_prune(&tree, leaf);
    assert_int_equal(atomic_load(&tree.nodes), 2);
    assert_ptr_equal(topic_tree_find(&tree, SPAN("a/+")), middle);
    topic_tree_prune(&tree, middle);
    assert_int_equal(atomic_load(&tree.nodes), 2);
    atomic_store(&middle->value, NULL);
    topic_tree_prune(&tree, middle);
    assert_int_equal(atomic_load(&tree.nodes), 0);
    topic_tree_deinit(&tree, release_nothing, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_grow_and_shrink_with_the_nodes),
        cmocka_unit_test(churn_does_not_grow_a_table),
        cmocka_unit_test(old_tables_keep_what_stays),
        cmocka_unit_test(a_leaf_below_a_kept_value_is_pruned_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
