#include "topic/trie.h"

#include "base/mem.h"
#include "topic/subscribers.h"
#include "topic/trie_inside.h"

struct topic_trie *topic_trie_create(uint64_t seed, topic_reclaim *reclaim, void *user) {
    struct topic_trie *trie = mem_alloc(sizeof *trie);
    topic_tree_init(&trie->tree, seed, reclaim, user);
    atomic_init(&trie->subscriptions, 0);
    atomic_init(&trie->changes, 0);
    return trie;
}

static void release_subscribers(void *user, void *value) {
    (void)user;
    topic_subscribers_retire(value);
    mem_free(value);
}

void topic_trie_destroy(struct topic_trie *trie) {
    if (trie != NULL) {
        topic_tree_deinit(&trie->tree, release_subscribers, NULL);
        mem_free(trie);
    }
}

/* A change is done: what readers remember of the time before is not used any more. */
static void trie_changed(struct topic_trie *trie) {
    uint64_t changes = atomic_load_explicit(&trie->changes, memory_order_relaxed);
    atomic_store_explicit(&trie->changes, changes + 1, memory_order_release);
}

static struct topic_subscribers *node_subscribers(const struct topic_node *node) {
    return atomic_load_explicit(&node->value, memory_order_relaxed);
}

/* Makes `now` the subscribers of a node; what was there before goes when no reader sees it any more. */
static void node_publish(struct topic_trie *trie, struct topic_node *node, struct topic_subscribers *now) {
    struct topic_subscribers *before = node_subscribers(node);
    if (now != before) {
        atomic_store_explicit(&node->value, now, memory_order_release);
        if (before != NULL) {
            topic_subscribers_retire(before);
            trie->tree.reclaim(trie->tree.user, before, mem_free);
        }
    }
}

static void node_append(struct topic_trie *trie, struct topic_node *node, void *subscriber, uint32_t options) {
    node_publish(trie, node, topic_subscribers_append(node_subscribers(node), trie->tree.seed, subscriber, options));
    atomic_fetch_add_explicit(&trie->subscriptions, 1, memory_order_relaxed);
    trie_changed(trie);
}

static struct topic_place *node_place(const struct topic_node *node, const void *subscriber) {
    struct topic_subscribers *s = node_subscribers(node);
    return s == NULL ? NULL : topic_subscribers_find(s, subscriber);
}

enum topic_trie_change topic_trie_add(struct topic_trie *trie, struct span filter, void *subscriber, uint32_t options) {
    struct topic_node *node = topic_tree_make(&trie->tree, filter);
    struct topic_place *place = node_place(node, subscriber);
    if (place != NULL) {
        atomic_store_explicit(&place->options, options, memory_order_release);
        trie_changed(trie);
        return TOPIC_TRIE_REPLACED;
    }
    node_append(trie, node, subscriber, options);
    return TOPIC_TRIE_ADDED;
}

void topic_trie_add_new(struct topic_trie *trie, struct span filter, void *subscriber, uint32_t options) {
    node_append(trie, topic_tree_make(&trie->tree, filter), subscriber, options);
}

enum topic_trie_change topic_trie_remove(struct topic_trie *trie, struct span filter, const void *subscriber) {
    struct topic_node *node = topic_tree_find(&trie->tree, filter);
    struct topic_place *place = node == NULL ? NULL : node_place(node, subscriber);
    if (place == NULL) {
        return TOPIC_TRIE_ABSENT;
    }
    node_publish(trie, node, topic_subscribers_remove(node_subscribers(node), trie->tree.seed, place));
    atomic_fetch_sub_explicit(&trie->subscriptions, 1, memory_order_relaxed);
    trie_changed(trie);
    topic_tree_prune(&trie->tree, filter);
    return TOPIC_TRIE_REMOVED;
}

size_t topic_trie_subscriptions(const struct topic_trie *trie) {
    return atomic_load_explicit(&trie->subscriptions, memory_order_relaxed);
}

size_t topic_trie_nodes(const struct topic_trie *trie) {
    return atomic_load_explicit(&trie->tree.nodes, memory_order_relaxed);
}
