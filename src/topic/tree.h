/* The tree of levels below the subscription trie and the retained index; inside this room only.
 *
 *     root ── "home" ─┬─ "kitchen/oven/temperature"     a path that nobody shares is one node, however deep it is
 *                     └─ "+/light"
 *
 * A node stands for the levels from the root to it: those of its text behind those of its parent. It carries one value,
 * opaque here. But for the root each node has a value or at least two children: what a change leaves without either is
 * joined with its child. The children are in its branches: a hash table by their first level, with open addressing,
 * whose slots go from free to a node to "removed" to another node, but never back to free, so that a reader in the
 * middle of a search cannot lose what was there before and after. A table that is full, or nearly empty, is replaced by
 * a copy; a node that is cut in two, or joined with its child, by one or two that share its branches and value. The
 * wildcards have places of their own when they are a first level.
 *
 * Many children are in many tables, so that no change moves more than some thousands of them:
 *
 *     hash ── its lowest bits ──> directory ──> part: all whose `shift` lowest bits are the same ── the next bits ──>
 * slot
 *
 * A part that is full is split by one bit more; the directory, in which a part stands once or several times, doubles
 * when a part stands there once.
 *
 * Thread: one writer at a time; readers load links with acquire order and may be inside at any time. What the writer
 * takes out goes through the reclaim callback. Nothing is recursive. */
#pragma once

#include <stdatomic.h>

#include "topic/level.h"
#include "topic/trie.h"

struct topic_node;
struct topic_branches;
typedef _Atomic(struct topic_node *) topic_link;

struct topic_node {
    _Atomic(struct topic_branches *) branches; /* NULL: a leaf */
    _Atomic(void *) value;                     /* NULL: none */
    uint32_t hash;                             /* of the first level */
    uint16_t first_bytes;                      /* of the first level */
    uint16_t text_bytes;                       /* of all levels, with the slashes between them */
    uint8_t text[];
};

struct topic_branches {
    topic_link any;    /* the child "+"; not in a part */
    topic_link rest;   /* the child "#"; not in a part */
    uint32_t capacity; /* slots, a power of two, fixed */
    uint32_t used;     /* for the writer: slots that are not free, removed ones included */
    uint32_t live;     /* for the writer: slots that hold a node; of a directory: of all its parts */
    uint8_t shift;     /* of a part: so many bits of the hashes have led to it; else 0 */
    bool parted;       /* a directory: what is in the slots are parts, and it is larger than TOPIC_TABLE_SMALL */
    topic_link slots[];
};

/* Stands in the slot of a node that was removed. */
extern const struct topic_node topic_node_removed;

struct topic_tree {
    struct topic_node *root;
    uint64_t seed;
    topic_reclaim *reclaim;
    void *user;
    _Atomic size_t nodes; /* without the root */
};

void topic_tree_init(struct topic_tree *tree, uint64_t seed, topic_reclaim *reclaim, void *user);
/* Frees all nodes at once, calling `release` for each value. */
void topic_tree_deinit(struct topic_tree *tree, void (*release)(void *user, void *value), void *user);
/* Writer: the node of a topic, or NULL. */
struct topic_node *topic_tree_find(const struct topic_tree *tree, struct span topic);
/* Writer: the node of a topic, made if need be; the caller gives it a value. Nodes of other topics may be others
 * afterwards. */
__attribute__((returns_nonnull)) struct topic_node *topic_tree_make(struct topic_tree *tree, struct span topic);
/* Writer: the value of a topic's node was taken out: a node that is of no use any more goes, or is joined with its
 * child.
 */
void topic_tree_prune(struct topic_tree *tree, struct span topic);

static inline struct span topic_node_text(const struct topic_node *node) {
    return span_of(node->text, node->text_bytes);
}

static inline struct topic_branches *topic_node_branches(const struct topic_node *node) {
    return atomic_load_explicit(&node->branches, memory_order_acquire);
}

static inline struct topic_node *topic_link_get(const topic_link *link) {
    return atomic_load_explicit(link, memory_order_acquire);
}

/* The node in a slot; NULL when the slot is free or its node was removed. */
static inline struct topic_node *topic_slot_node(const topic_link *slot) {
    struct topic_node *node = topic_link_get(slot);
    return node == &topic_node_removed ? NULL : node;
}

/* Reader: the table that has the nodes with this hash, if there are any. */
static inline struct topic_branches *topic_branches_table(const struct topic_branches *branches, uint32_t hash) {
    if (!branches->parted) {
        return (struct topic_branches *)(uintptr_t)branches;
    }
    return (struct topic_branches *)(void *)topic_link_get(&branches->slots[hash & (branches->capacity - 1)]);
}

/* Reader: the child whose first level is `key`, taken literally, or NULL. */
static inline struct topic_node *topic_branches_find(const struct topic_branches *branches, struct topic_key key) {
    const struct topic_branches *table = topic_branches_table(branches, key.hash);
    uint32_t mask = table->capacity - 1;
    for (uint32_t i = key.hash >> table->shift, tries = table->capacity; tries > 0; i++, tries--) {
        struct topic_node *node = topic_link_get(&table->slots[i & mask]);
        if (node == NULL) {
            return NULL;
        }
        if (node->hash == key.hash && node->first_bytes == key.bytes && memcmp(node->text, key.text, key.bytes) == 0 &&
            node != &topic_node_removed) {
            return node;
        }
    }
    return NULL;
}

/* Tables up to this size may be full: they are searched whole. */
enum { TOPIC_TABLE_SMALL = 4 };

/* The same for a level without its hash, which a small table does not need. */
static inline struct topic_node *topic_branches_find_level(const struct topic_branches *branches, struct span level,
                                                           uint64_t seed) {
    if (branches->capacity > TOPIC_TABLE_SMALL) {
        return topic_branches_find(branches, topic_key_of(level, seed));
    }
    for (uint32_t i = 0; i < branches->capacity; i++) {
        struct topic_node *node = topic_link_get(&branches->slots[i]);
        if (node != NULL && node->first_bytes == level.len && node != &topic_node_removed &&
            memcmp(node->text, level.ptr, level.len) == 0) {
            return node;
        }
    }
    return NULL;
}
