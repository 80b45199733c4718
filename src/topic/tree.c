#include "topic/tree.h"

#include "base/mem.h"
#include "base/must.h"

/* Tables up to this size may be full: they are searched whole. */
enum { TABLE_SMALL = 4 };

const struct topic_node topic_node_removed = {NULL, NULL, NULL, 0, 0, {}};

static struct topic_node *node_create(struct topic_node *parent, struct topic_key key) {
    struct topic_node *node = mem_alloc(sizeof *node + key.bytes);
    atomic_init(&node->branches, NULL);
    atomic_init(&node->value, NULL);
    node->parent = parent;
    node->hash = key.hash;
    node->level_bytes = (uint16_t)key.bytes;
    if (key.bytes > 0) {
        memcpy(node->level, key.text, key.bytes);
    }
    return node;
}

static struct topic_branches *branches_create(uint32_t capacity) {
    struct topic_branches *branches = mem_alloc(sizeof *branches + capacity * sizeof branches->slots[0]);
    atomic_init(&branches->any, NULL);
    atomic_init(&branches->rest, NULL);
    branches->capacity = capacity;
    branches->used = 0;
    branches->live = 0;
    for (uint32_t i = 0; i < capacity; i++) {
        atomic_init(&branches->slots[i], NULL);
    }
    return branches;
}

static void tree_reclaim(struct topic_tree *tree, void *memory) {
    tree->reclaim(tree->user, memory, mem_free);
}

void topic_tree_init(struct topic_tree *tree, uint64_t seed, topic_reclaim *reclaim, void *user) {
    tree->root = node_create(NULL, (struct topic_key){NULL, 0, 0});
    tree->seed = seed;
    tree->reclaim = reclaim;
    tree->user = user;
    atomic_init(&tree->nodes, 0);
}

/* Puts a node on a list that is linked by `parent`, which the tree needs no more. */
static void list_push(struct topic_node **list, struct topic_node *node) {
    if (node != NULL) {
        node->parent = *list;
        *list = node;
    }
}

void topic_tree_deinit(struct topic_tree *tree, void (*release)(void *user, void *value), void *user) {
    struct topic_node *list = tree->root;
    tree->root = NULL;
    while (list != NULL) {
        struct topic_node *node = list;
        list = node->parent;
        struct topic_branches *branches = topic_node_branches(node);
        if (branches != NULL) {
            list_push(&list, topic_link_get(&branches->any));
            list_push(&list, topic_link_get(&branches->rest));
            for (uint32_t i = 0; i < branches->capacity; i++) {
                list_push(&list, topic_slot_node(&branches->slots[i]));
            }
            mem_free(branches);
        }
        void *value = atomic_load_explicit(&node->value, memory_order_relaxed);
        if (value != NULL) {
            release(user, value);
        }
        mem_free(node);
    }
}

/* The place of a wildcard's child, or NULL when the level is none. */
static topic_link *wildcard_link(struct topic_branches *branches, struct span level) {
    return topic_level_is(level, '+') ? &branches->any : topic_level_is(level, '#') ? &branches->rest : NULL;
}

static struct topic_node *child_find(const struct topic_tree *tree, const struct topic_node *parent,
                                     struct span level) {
    struct topic_branches *branches = topic_node_branches(parent);
    if (branches == NULL) {
        return NULL;
    }
    topic_link *wildcard = wildcard_link(branches, level);
    return wildcard != NULL ? topic_link_get(wildcard) : topic_branches_find(branches, topic_key_of(level, tree->seed));
}

struct topic_node *topic_tree_find(const struct topic_tree *tree, struct span topic) {
    struct topic_node *node = tree->root;
    for (size_t at = 0; at <= topic.len && node != NULL;) {
        struct span level = topic_level_at(topic, at);
        node = child_find(tree, node, level);
        at += level.len + 1;
    }
    return node;
}

/* How many slots of a table may be in use; searches in larger tables end at a free slot. */
static uint32_t table_limit(uint32_t capacity) {
    return capacity <= TABLE_SMALL ? capacity : capacity - capacity / 4;
}

/* Where a node with this hash, which the table does not hold, may be put: a removed slot or a free one; NULL when the
 * table is full. */
static topic_link *table_place(struct topic_branches *branches, uint32_t hash) {
    uint32_t mask = branches->capacity - 1;
    for (uint32_t i = hash, tries = branches->capacity; tries > 0; i++, tries--) {
        topic_link *slot = &branches->slots[i & mask];
        struct topic_node *node = topic_link_get(slot);
        if (node == &topic_node_removed) {
            return slot;
        }
        if (node == NULL) {
            return branches->used < table_limit(branches->capacity) ? slot : NULL;
        }
    }
    return NULL;
}

static void table_put(struct topic_branches *branches, topic_link *slot, struct topic_node *node) {
    must(branches != NULL && slot != NULL);
    branches->used += topic_link_get(slot) == NULL;
    branches->live++;
    atomic_store_explicit(slot, node, memory_order_release);
}

/* Gives a node a table of this capacity, with all that was in the old one. */
static struct topic_branches *table_resize(struct topic_tree *tree, struct topic_node *parent, uint32_t capacity) {
    struct topic_branches *old = topic_node_branches(parent);
    struct topic_branches *branches = branches_create(capacity);
    if (old != NULL) {
        atomic_init(&branches->any, topic_link_get(&old->any));
        atomic_init(&branches->rest, topic_link_get(&old->rest));
        for (uint32_t i = 0; i < old->capacity; i++) {
            struct topic_node *node = topic_slot_node(&old->slots[i]);
            if (node != NULL) {
                table_put(branches, table_place(branches, node->hash), node);
            }
        }
    }
    atomic_store_explicit(&parent->branches, branches, memory_order_release);
    if (old != NULL) {
        tree_reclaim(tree, old);
    }
    return branches;
}

/* Doubles a table that holds many nodes; copies one that is full of removed slots at its size. */
static struct topic_branches *table_grow(struct topic_tree *tree, struct topic_node *parent) {
    struct topic_branches *old = topic_node_branches(parent);
    if (old == NULL) {
        return table_resize(tree, parent, 1);
    }
    bool crowded = old->live + 1 > table_limit(old->capacity) / 2;
    return table_resize(tree, parent, crowded ? old->capacity * 2 : old->capacity);
}

static struct topic_node *child_make(struct topic_tree *tree, struct topic_node *parent, struct span level) {
    struct topic_node *node = node_create(parent, topic_key_of(level, tree->seed));
    atomic_fetch_add_explicit(&tree->nodes, 1, memory_order_relaxed);
    struct topic_branches *branches = topic_node_branches(parent);
    if (branches == NULL) {
        branches = table_grow(tree, parent);
    }
    topic_link *wildcard = wildcard_link(branches, level);
    if (wildcard != NULL) {
        atomic_store_explicit(wildcard, node, memory_order_release);
        return node;
    }
    topic_link *slot = table_place(branches, node->hash);
    if (slot == NULL) {
        branches = table_grow(tree, parent);
        slot = table_place(branches, node->hash);
    }
    table_put(branches, slot, node);
    return node;
}

struct topic_node *topic_tree_make(struct topic_tree *tree, struct span topic) {
    struct topic_node *node = tree->root;
    for (size_t at = 0; at <= topic.len;) {
        struct span level = topic_level_at(topic, at);
        struct topic_node *child = child_find(tree, node, level);
        node = child != NULL ? child : child_make(tree, node, level);
        at += level.len + 1;
    }
    return node;
}

static topic_link *table_slot_of(struct topic_branches *branches, const struct topic_node *node) {
    uint32_t mask = branches->capacity - 1;
    uint32_t i = node->hash;
    while (topic_link_get(&branches->slots[i & mask]) != node) {
        i++;
    }
    return &branches->slots[i & mask];
}

static bool branches_empty(const struct topic_branches *branches) {
    return branches->live == 0 && topic_link_get(&branches->any) == NULL && topic_link_get(&branches->rest) == NULL;
}

/* Takes a child out of its parent's branches; branches that are empty then go as well. */
static void child_unlink(struct topic_tree *tree, struct topic_node *parent, const struct topic_node *node) {
    struct topic_branches *branches = topic_node_branches(parent);
    must(branches != NULL);
    topic_link *wildcard = wildcard_link(branches, span_of(node->level, node->level_bytes));
    if (wildcard != NULL) {
        atomic_store_explicit(wildcard, NULL, memory_order_release);
    } else {
        atomic_store_explicit(table_slot_of(branches, node), (struct topic_node *)&topic_node_removed,
                              memory_order_release);
        branches->live--;
    }
    if (branches_empty(branches)) {
        atomic_store_explicit(&parent->branches, NULL, memory_order_release);
        tree_reclaim(tree, branches);
    } else if (branches->capacity > TABLE_SMALL && branches->live < branches->capacity / 8) {
        table_resize(tree, parent, branches->capacity / 2);
    }
}

void topic_tree_prune(struct topic_tree *tree, struct topic_node *node) {
    while (node->parent != NULL && topic_node_branches(node) == NULL &&
           atomic_load_explicit(&node->value, memory_order_relaxed) == NULL) {
        struct topic_node *parent = node->parent;
        child_unlink(tree, parent, node);
        tree_reclaim(tree, node);
        atomic_fetch_sub_explicit(&tree->nodes, 1, memory_order_relaxed);
        node = parent;
    }
}
