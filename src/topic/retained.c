#include "topic/retained.h"

#include "base/mem.h"
#include "topic/topic.h"
#include "topic/tree.h"

struct topic_retained {
    struct topic_tree tree; /* the value of a node: the caller's */
    size_t count;
};

/* There is one user at a time: what is taken out can go at once. */
static void free_at_once(void *user, void *memory, void (*free_function)(void *memory)) {
    (void)user;
    free_function(memory);
}

struct topic_retained *topic_retained_create(uint64_t seed) {
    struct topic_retained *retained = mem_alloc(sizeof *retained);
    topic_tree_init(&retained->tree, seed, free_at_once, NULL);
    retained->count = 0;
    return retained;
}

struct release {
    void (*function)(void *value);
};

static void release_value(void *user, void *value) {
    struct release *release = user;
    release->function(value);
}

void topic_retained_destroy(struct topic_retained *retained, void (*release)(void *value)) {
    if (retained != NULL) {
        struct release how = {release};
        topic_tree_deinit(&retained->tree, release_value, &how);
        mem_free(retained);
    }
}

static void *node_value(const struct topic_node *node) {
    return node == NULL ? NULL : atomic_load_explicit(&node->value, memory_order_relaxed);
}

void *topic_retained_get(const struct topic_retained *retained, struct span name) {
    return node_value(topic_tree_find(&retained->tree, name));
}

void *topic_retained_set(struct topic_retained *retained, struct span name, void *value) {
    struct topic_node *node =
        value != NULL ? topic_tree_make(&retained->tree, name) : topic_tree_find(&retained->tree, name);
    void *old = node_value(node);
    if (value != NULL) {
        atomic_store_explicit(&node->value, value, memory_order_relaxed);
        retained->count += old == NULL;
    } else if (old != NULL) {
        atomic_store_explicit(&node->value, NULL, memory_order_relaxed);
        topic_tree_prune(&retained->tree, node);
        retained->count--;
    }
    return old;
}

size_t topic_retained_count(const struct topic_retained *retained) {
    return retained->count;
}

/* The search by filter is depth first as well. Where a wildcard has all children of a node go on, a walk over them
 * lies on the stack; there is at most one for each level of the tree. */
struct walk {
    const struct topic_branches *branches;
    uint32_t next;  /* slot */
    uint32_t depth; /* levels of the filter that lead to the children; beyond `#` it counts no more */
    bool below_rest;
    bool skip_dollar;
};

struct search {
    struct topic_key *keys; /* one for each level of the filter */
    uint32_t levels;
    struct walk *walks;
    size_t count;
    size_t capacity;
    bool (*visit)(void *user, void *value);
    void *user;
};

enum { WALKS_MIN = 16 };

static void search_cut(struct search *search, struct span filter, uint64_t seed) {
    search->keys = mem_alloc(topic_levels(filter) * sizeof search->keys[0]);
    for (size_t at = 0; at <= filter.len;) {
        struct span level = topic_level_at(filter, at);
        search->keys[search->levels++] = topic_key_of(level, seed);
        at += level.len + 1;
    }
}

static void walk_push(struct search *search, const struct topic_node *node, uint32_t depth, bool below_rest) {
    const struct topic_branches *branches = topic_node_branches(node);
    if (branches == NULL) {
        return;
    }
    if (search->count == search->capacity) {
        search->capacity = search->capacity > 0 ? search->capacity * 2 : WALKS_MIN;
        search->walks = mem_resize(search->walks, search->capacity * sizeof search->walks[0]);
    }
    search->walks[search->count++] = (struct walk){branches, 0, depth, below_rest, node->parent == NULL};
}

/* Gives the value of a node to the caller; false when the caller wants no more. */
static bool give(const struct search *search, const struct topic_node *node) {
    void *value = node_value(node);
    return value == NULL || search->visit(search->user, value);
}

static bool key_is(struct topic_key key, uint8_t wildcard) {
    return key.bytes == 1 && key.text[0] == wildcard;
}

/* Follows the filter from a node that stands for its first `depth` levels, up to the next wildcard. */
static bool descend(struct search *search, const struct topic_node *node, uint32_t depth) {
    while (node != NULL) {
        if (depth == search->levels) {
            return give(search, node);
        }
        struct topic_key key = search->keys[depth];
        if (key_is(key, '#')) {
            walk_push(search, node, depth, true);
            return give(search, node);
        }
        if (key_is(key, '+')) {
            walk_push(search, node, depth, false);
            return true;
        }
        const struct topic_branches *branches = topic_node_branches(node);
        node = branches == NULL ? NULL : topic_branches_find(branches, key);
        depth++;
    }
    return true;
}

static bool begins_with_dollar(const struct topic_node *node) {
    return node->level_bytes > 0 && node->level[0] == '$';
}

/* The next child on a walk, or NULL at its end. */
static const struct topic_node *walk_next(struct walk *walk) {
    while (walk->next < walk->branches->capacity) {
        const struct topic_node *node = topic_slot_node(&walk->branches->slots[walk->next++]);
        if (node != NULL && !(walk->skip_dollar && begins_with_dollar(node))) {
            return node;
        }
    }
    return NULL;
}

/* One step of the walk on top of the stack; false when the caller wants no more. */
static bool walk_step(struct search *search) {
    struct walk *walk = &search->walks[search->count - 1];
    const struct topic_node *node = walk_next(walk);
    if (node == NULL) {
        search->count--;
        return true;
    }
    if (walk->below_rest) {
        walk_push(search, node, walk->depth, true);
        return give(search, node);
    }
    return descend(search, node, walk->depth + 1);
}

void topic_retained_match(const struct topic_retained *retained, struct span filter,
                          bool (*visit)(void *user, void *value), void *user) {
    struct search search = {.visit = visit, .user = user};
    search_cut(&search, filter, retained->tree.seed);
    bool more = descend(&search, retained->tree.root, 0);
    while (more && search.count > 0) {
        more = walk_step(&search);
    }
    mem_free(search.keys);
    mem_free(search.walks);
}
