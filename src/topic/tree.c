#include "topic/tree.h"

#include "base/mem.h"
#include "base/must.h"

enum {
    SHRINK_PART = 8,          /* of a table: with less it is replaced by a smaller one */
    CAPACITY_MAX = 4096,      /* of a table: beyond it there are parts, */
    DIRECTORY_MIN = 8,        /* so many at first; */
    SHIFT_MAX = 20,           /* what leads to a part and to a slot of it are bits of one hash */
    DIRECTORY_LIVE = 512,     /* with less, one table again, */
    GATHERED_CAPACITY = 2048, /* of which a quarter is in use then */
};

const struct topic_node topic_node_removed = {NULL, NULL, 0, 0, 0, {}};

/* A node with this text; an empty one has one empty level. */
static struct topic_node *node_create(const struct topic_tree *tree, struct span text) {
    struct topic_node *node = mem_alloc(sizeof *node + text.len);
    struct topic_key key = topic_key_of(topic_level_at(text, 0), tree->seed);
    must(text.len <= UINT16_MAX);
    atomic_init(&node->branches, NULL);
    atomic_init(&node->value, NULL);
    node->hash = key.hash;
    node->first_bytes = (uint16_t)key.bytes;
    node->text_bytes = (uint16_t)text.len;
    if (text.len > 0) {
        memcpy(node->text, text.ptr, text.len);
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
    branches->shift = 0;
    branches->parted = false;
    for (uint32_t i = 0; i < capacity; i++) {
        atomic_init(&branches->slots[i], NULL);
    }
    return branches;
}

static void tree_reclaim(struct topic_tree *tree, void *memory) {
    tree->reclaim(tree->user, memory, mem_free);
}

void topic_tree_init(struct topic_tree *tree, uint64_t seed, topic_reclaim *reclaim, void *user) {
    tree->seed = seed;
    tree->reclaim = reclaim;
    tree->user = user;
    tree->root = node_create(tree, span_of(NULL, 0));
    atomic_init(&tree->nodes, 0);
}

struct release {
    void (*function)(void *user, void *value);
    void *user;
};

/* Puts a node, whose value is released, on a list that is linked by the values. */
static void list_push(struct topic_node **list, struct topic_node *node, const struct release *release) {
    if (node != NULL) {
        void *value = atomic_load_explicit(&node->value, memory_order_relaxed);
        if (value != NULL) {
            release->function(release->user, value);
        }
        atomic_store_explicit(&node->value, *list, memory_order_relaxed);
        *list = node;
    }
}

static void list_push_table(struct topic_node **list, struct topic_branches *table, const struct release *release) {
    for (uint32_t i = 0; i < table->capacity; i++) {
        list_push(list, topic_slot_node(&table->slots[i]), release);
    }
    mem_free(table);
}

/* Whether a part stands at no lower place of its directory. */
static bool part_is_first(const struct topic_branches *part, uint32_t place) {
    return place >> part->shift == 0;
}

static void list_push_branches(struct topic_node **list, struct topic_branches *branches,
                               const struct release *release) {
    list_push(list, topic_link_get(&branches->any), release);
    list_push(list, topic_link_get(&branches->rest), release);
    if (!branches->parted) {
        list_push_table(list, branches, release);
        return;
    }
    for (uint32_t i = branches->capacity; i-- > 0;) {
        struct topic_branches *part = topic_branches_table(branches, i);
        if (part_is_first(part, i)) {
            list_push_table(list, part, release);
        }
    }
    mem_free(branches);
}

void topic_tree_deinit(struct topic_tree *tree, void (*release)(void *user, void *value), void *user) {
    const struct release how = {release, user};
    struct topic_node *list = NULL;
    list_push(&list, tree->root, &how);
    tree->root = NULL;
    while (list != NULL) {
        struct topic_node *node = list;
        list = atomic_load_explicit(&node->value, memory_order_relaxed);
        struct topic_branches *branches = topic_node_branches(node);
        if (branches != NULL) {
            list_push_branches(&list, branches, &how);
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

/* How many bytes of the node's text are the first levels of the topic as well: its first level at least, which is. */
static size_t common_bytes(const struct topic_node *node, struct span topic) {
    const struct span text = topic_node_text(node);
    size_t at = node->first_bytes;
    while (at < text.len && at < topic.len) {
        struct span level = topic_level_at(text, at + 1);
        if (!span_equal(level, topic_level_at(topic, at + 1))) {
            break;
        }
        at += 1 + level.len;
    }
    return at;
}

/* The way from the root to a node. */
struct way {
    struct topic_node *above;  /* the parent's parent; NULL: there is none */
    struct topic_node *parent; /* NULL: the node is the root */
    struct topic_node *node;   /* NULL: the topic has none */
};

static struct way way_to(const struct topic_tree *tree, struct span topic) {
    struct way way = {NULL, NULL, tree->root};
    for (size_t at = 0; at <= topic.len;) {
        struct span rest = span_skip(topic, at);
        struct topic_node *child = child_find(tree, way.node, topic_level_at(rest, 0));
        if (child != NULL && common_bytes(child, rest) < child->text_bytes) {
            child = NULL;
        }
        way = (struct way){way.parent, way.node, child};
        if (child == NULL) {
            break;
        }
        at += (size_t)child->text_bytes + 1;
    }
    return way;
}

struct topic_node *topic_tree_find(const struct topic_tree *tree, struct span topic) {
    return way_to(tree, topic).node;
}

/* How many slots of a table may be in use; searches in larger tables end at a free slot. */
static uint32_t table_limit(uint32_t capacity) {
    return capacity <= TOPIC_TABLE_SMALL ? capacity : capacity - capacity / 4;
}

/* Where a node with this hash, which the table does not hold, may be put: a removed slot or a free one; NULL when the
 * table is full. */
static topic_link *table_place(struct topic_branches *table, uint32_t hash) {
    uint32_t mask = table->capacity - 1;
    for (uint32_t i = hash >> table->shift, tries = table->capacity; tries > 0; i++, tries--) {
        topic_link *slot = &table->slots[i & mask];
        struct topic_node *node = topic_link_get(slot);
        if (node == &topic_node_removed) {
            return slot;
        }
        if (node == NULL) {
            return table->used < table_limit(table->capacity) ? slot : NULL;
        }
    }
    return NULL;
}

static void table_put(struct topic_branches *table, topic_link *slot, struct topic_node *node) {
    must(table != NULL && slot != NULL);
    table->used += topic_link_get(slot) == NULL;
    table->live++;
    atomic_store_explicit(slot, node, memory_order_release);
}

/* Puts all nodes of a table into others, which have room. */
static void table_pour(const struct topic_branches *table, const struct topic_branches *to) {
    for (uint32_t i = 0; i < table->capacity; i++) {
        struct topic_node *node = topic_slot_node(&table->slots[i]);
        if (node != NULL) {
            struct topic_branches *other = topic_branches_table(to, node->hash);
            table_put(other, table_place(other, node->hash), node);
        }
    }
}

/* A copy of a table or a part with another capacity. */
static struct topic_branches *table_copy(const struct topic_branches *table, uint32_t capacity) {
    struct topic_branches *copy = branches_create(capacity);
    copy->shift = table->shift;
    table_pour(table, copy);
    return copy;
}

/* A table that is full of removed slots is copied at its size. */
static bool table_is_crowded(const struct topic_branches *table) {
    return table->live + 1 > table_limit(table->capacity) / 2;
}

/* ---- parts ---- */

/* Puts a part at all its places in the directory; `hash` leads to it. */
static void part_set(struct topic_branches *directory, uint32_t hash, struct topic_branches *part) {
    const uint32_t step = 1U << part->shift;
    for (uint32_t i = hash & (step - 1); i < directory->capacity; i += step) {
        atomic_store_explicit(&directory->slots[i], (struct topic_node *)(void *)part, memory_order_release);
    }
}

static struct topic_branches *directory_create(uint32_t capacity, uint32_t live) {
    struct topic_branches *directory = branches_create(capacity);
    directory->parted = true;
    directory->live = live;
    return directory;
}

/* What a table has, in parts. */
static struct topic_branches *directory_of(const struct topic_branches *table) {
    struct topic_branches *directory = directory_create(DIRECTORY_MIN, table->live);
    for (uint32_t i = 0; i < DIRECTORY_MIN; i++) {
        struct topic_branches *part = branches_create(CAPACITY_MAX);
        part->shift = (uint8_t)__builtin_ctz(DIRECTORY_MIN);
        part_set(directory, i, part);
    }
    table_pour(table, directory);
    return directory;
}

/* The parts of a directory in one table. */
static struct topic_branches *directory_gathered(const struct topic_branches *directory) {
    struct topic_branches *table = branches_create(GATHERED_CAPACITY);
    for (uint32_t i = 0; i < directory->capacity; i++) {
        const struct topic_branches *part = topic_branches_table(directory, i);
        if (part_is_first(part, i)) {
            table_pour(part, table);
        }
    }
    return table;
}

static void parts_reclaim(struct topic_tree *tree, const struct topic_branches *directory) {
    for (uint32_t i = directory->capacity; i-- > 0;) {
        struct topic_branches *part = topic_branches_table(directory, i);
        if (part_is_first(part, i)) {
            tree_reclaim(tree, part);
        }
    }
}

/* A parent has other branches, with the same wildcards. What it had is reclaimed when nobody finds it any more: a
 * directory that is replaced by another shares its parts with that. */
static void branches_replace(struct topic_tree *tree, struct topic_node *parent, struct topic_branches *branches) {
    struct topic_branches *old = topic_node_branches(parent);
    if (old != NULL) {
        atomic_init(&branches->any, topic_link_get(&old->any));
        atomic_init(&branches->rest, topic_link_get(&old->rest));
    }
    atomic_store_explicit(&parent->branches, branches, memory_order_release);
    if (old != NULL && old->parted && !branches->parted) {
        parts_reclaim(tree, old);
    }
    if (old != NULL) {
        tree_reclaim(tree, old);
    }
}

static struct topic_branches *directory_double(struct topic_tree *tree, struct topic_node *parent) {
    struct topic_branches *old = topic_node_branches(parent);
    struct topic_branches *directory = directory_create(2 * old->capacity, old->live);
    for (uint32_t i = 0; i < directory->capacity; i++) {
        atomic_init(&directory->slots[i], topic_link_get(&old->slots[i & (old->capacity - 1)]));
    }
    branches_replace(tree, parent, directory);
    return directory;
}

static void part_split(struct topic_tree *tree, struct topic_node *parent, struct topic_branches *part, uint32_t hash) {
    struct topic_branches *directory = topic_node_branches(parent);
    const uint32_t bit = 1U << part->shift;
    struct topic_branches *halves[] = {branches_create(CAPACITY_MAX), branches_create(CAPACITY_MAX)};
    halves[0]->shift = halves[1]->shift = (uint8_t)(part->shift + 1);
    for (uint32_t i = 0; i < part->capacity; i++) {
        struct topic_node *node = topic_slot_node(&part->slots[i]);
        if (node != NULL) {
            struct topic_branches *half = halves[(node->hash & bit) != 0];
            table_put(half, table_place(half, node->hash), node);
        }
    }
    directory = bit == directory->capacity ? directory_double(tree, parent) : directory;
    part_set(directory, hash & ~bit, halves[0]);
    part_set(directory, hash | bit, halves[1]);
    tree_reclaim(tree, part);
}

static void part_resize(struct topic_tree *tree, struct topic_branches *directory, struct topic_branches *part,
                        uint32_t hash, uint32_t capacity) {
    part_set(directory, hash, table_copy(part, capacity));
    tree_reclaim(tree, part);
}

/* ---- children ---- */

/* The table for this hash, which is full, gets room: it is copied, doubled, or split. */
static void branches_grow(struct topic_tree *tree, struct topic_node *parent, uint32_t hash) {
    struct topic_branches *branches = topic_node_branches(parent);
    struct topic_branches *table = topic_branches_table(branches, hash);
    const bool crowded = table_is_crowded(table);
    const bool splits = crowded && table->capacity >= CAPACITY_MAX && table->shift < SHIFT_MAX;
    const uint32_t capacity = crowded ? table->capacity * 2 : table->capacity;
    if (branches->parted && splits) {
        part_split(tree, parent, table, hash);
    } else if (branches->parted) {
        part_resize(tree, branches, table, hash, capacity);
    } else {
        branches_replace(tree, parent, splits ? directory_of(table) : table_copy(table, capacity));
    }
}

static void child_put_hashed(struct topic_tree *tree, struct topic_node *parent, struct topic_node *node) {
    struct topic_branches *branches, *table;
    topic_link *slot;
    for (;;) {
        branches = topic_node_branches(parent);
        table = topic_branches_table(branches, node->hash);
        slot = table_place(table, node->hash);
        if (slot != NULL) {
            break;
        }
        branches_grow(tree, parent, node->hash);
    }
    table_put(table, slot, node);
    branches->live += branches->parted;
}

/* Hangs a new node below a parent, which has no child with the same first level. */
static void child_put(struct topic_tree *tree, struct topic_node *parent, struct topic_node *node) {
    atomic_fetch_add_explicit(&tree->nodes, 1, memory_order_relaxed);
    if (topic_node_branches(parent) == NULL) {
        branches_replace(tree, parent, branches_create(1));
    }
    topic_link *wildcard = wildcard_link(topic_node_branches(parent), topic_level_at(topic_node_text(node), 0));
    if (wildcard != NULL) {
        atomic_store_explicit(wildcard, node, memory_order_release);
    } else {
        child_put_hashed(tree, parent, node);
    }
}

/* Where a child hangs. */
static topic_link *child_link(struct topic_node *parent, const struct topic_node *node) {
    struct topic_branches *branches = topic_node_branches(parent);
    must(branches != NULL);
    topic_link *wildcard = wildcard_link(branches, topic_level_at(topic_node_text(node), 0));
    if (wildcard != NULL) {
        return wildcard;
    }
    struct topic_branches *table = topic_branches_table(branches, node->hash);
    uint32_t mask = table->capacity - 1;
    uint32_t i = node->hash >> table->shift;
    while (topic_link_get(&table->slots[i & mask]) != node) {
        i++;
    }
    return &table->slots[i & mask];
}

/* The new node takes over branches and value of an old one, which readers may still be in: both are then the same. */
static void node_inherit(struct topic_node *node, struct topic_node *old) {
    atomic_init(&node->branches, topic_node_branches(old));
    atomic_init(&node->value, atomic_load_explicit(&old->value, memory_order_relaxed));
}

/* Cuts a child in two behind so many bytes of its text, where a level ends; returns the upper one. */
static struct topic_node *child_split(struct topic_tree *tree, struct topic_node *parent, struct topic_node *child,
                                      size_t bytes) {
    struct topic_node *upper = node_create(tree, span_of(child->text, bytes));
    struct topic_node *lower = node_create(tree, span_skip(topic_node_text(child), bytes + 1));
    node_inherit(lower, child);
    child_put(tree, upper, lower);
    atomic_store_explicit(child_link(parent, child), upper, memory_order_release);
    tree_reclaim(tree, child);
    return upper;
}

struct topic_node *topic_tree_make(struct topic_tree *tree, struct span topic) {
    struct topic_node *node = tree->root;
    for (size_t at = 0; at <= topic.len;) {
        struct span rest = span_skip(topic, at);
        struct topic_node *child = child_find(tree, node, topic_level_at(rest, 0));
        if (child == NULL) {
            child = node_create(tree, rest);
            child_put(tree, node, child);
            return child;
        }
        size_t common = common_bytes(child, rest);
        node = common < child->text_bytes ? child_split(tree, node, child, common) : child;
        at += common + 1;
    }
    return node;
}

static bool branches_empty(const struct topic_branches *branches) {
    return branches->live == 0 && topic_link_get(&branches->any) == NULL && topic_link_get(&branches->rest) == NULL;
}

/* When less than an eighth is in use. */
static bool table_must_shrink(const struct topic_branches *table) {
    return table->capacity > TOPIC_TABLE_SMALL && table->live < table->capacity / SHRINK_PART;
}

/* A quarter of it, or nearly, is in use then. */
static uint32_t table_shrunk(const struct topic_branches *branches) {
    uint32_t capacity = branches->capacity / 2;
    while (capacity > TOPIC_TABLE_SMALL && capacity / SHRINK_PART > branches->live) {
        capacity /= 2;
    }
    return capacity;
}

/* After a child with this hash has gone: branches with few are made smaller. */
static void branches_shrink(struct topic_tree *tree, struct topic_node *parent, uint32_t hash) {
    struct topic_branches *branches = topic_node_branches(parent);
    struct topic_branches *table = topic_branches_table(branches, hash);
    if (branches->parted && branches->live < DIRECTORY_LIVE) {
        branches_replace(tree, parent, directory_gathered(branches));
    } else if (table_must_shrink(table) && branches->parted) {
        part_resize(tree, branches, table, hash, table_shrunk(table));
    } else if (table_must_shrink(table)) {
        branches_replace(tree, parent, table_copy(table, table_shrunk(table)));
    }
}

static void branches_remove(struct topic_tree *tree, struct topic_node *parent) {
    struct topic_branches *branches = topic_node_branches(parent);
    atomic_store_explicit(&parent->branches, NULL, memory_order_release);
    if (branches->parted) {
        parts_reclaim(tree, branches);
    }
    tree_reclaim(tree, branches);
}

/* Takes a child out of its parent's branches; branches that are empty then go as well. */
static void child_unlink(struct topic_tree *tree, struct topic_node *parent, const struct topic_node *node) {
    struct topic_branches *branches = topic_node_branches(parent);
    must(branches != NULL);
    if (wildcard_link(branches, topic_level_at(topic_node_text(node), 0)) != NULL) {
        atomic_store_explicit(child_link(parent, node), NULL, memory_order_release);
    } else {
        atomic_store_explicit(child_link(parent, node), (struct topic_node *)&topic_node_removed, memory_order_release);
        topic_branches_table(branches, node->hash)->live--;
        branches->live -= branches->parted;
    }
    if (branches_empty(branches)) {
        branches_remove(tree, parent);
    } else {
        branches_shrink(tree, parent, node->hash);
    }
}

/* The child of a node that has one alone; else NULL. */
static struct topic_node *only_child(const struct topic_node *node) {
    struct topic_branches *branches = topic_node_branches(node);
    if (branches == NULL) {
        return NULL;
    }
    struct topic_node *any = topic_link_get(&branches->any);
    struct topic_node *rest = topic_link_get(&branches->rest);
    if (branches->live + (any != NULL) + (rest != NULL) != 1) {
        return NULL;
    }
    struct topic_node *only = any != NULL ? any : rest;
    for (uint32_t i = 0; i < branches->capacity && only == NULL; i++) {
        only = topic_slot_node(&branches->slots[i]);
    }
    return only;
}

/* Makes one of a node and its only child. */
static void child_join(struct topic_tree *tree, struct topic_node *parent, struct topic_node *node,
                       struct topic_node *child) {
    const size_t bytes = (size_t)node->text_bytes + 1 + child->text_bytes;
    uint8_t *text = mem_alloc(bytes);
    memcpy(text, node->text, node->text_bytes);
    text[node->text_bytes] = '/';
    memcpy(text + node->text_bytes + 1, child->text, child->text_bytes);
    struct topic_node *joined = node_create(tree, span_of(text, bytes));
    mem_free(text);
    node_inherit(joined, child);
    atomic_store_explicit(child_link(parent, node), joined, memory_order_release);
    tree_reclaim(tree, topic_node_branches(node));
    tree_reclaim(tree, node);
    tree_reclaim(tree, child);
    atomic_fetch_sub_explicit(&tree->nodes, 1, memory_order_relaxed);
}

/* False when the node is of use: it has a value, or several children. */
static bool child_prune(struct topic_tree *tree, struct topic_node *parent, struct topic_node *node) {
    if (parent == NULL || atomic_load_explicit(&node->value, memory_order_relaxed) != NULL) {
        return false;
    }
    struct topic_node *child = only_child(node);
    if (child != NULL) {
        child_join(tree, parent, node, child);
        return true;
    }
    if (topic_node_branches(node) != NULL) {
        return false;
    }
    child_unlink(tree, parent, node);
    tree_reclaim(tree, node);
    atomic_fetch_sub_explicit(&tree->nodes, 1, memory_order_relaxed);
    return true;
}

/* The parent may have had this child and one other, and nothing else. */
void topic_tree_prune(struct topic_tree *tree, struct span topic) {
    struct way way = way_to(tree, topic);
    if (way.node != NULL && child_prune(tree, way.parent, way.node)) {
        (void)child_prune(tree, way.above, way.parent);
    }
}
