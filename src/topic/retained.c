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

/* ---- the search by filter ----
 *
 * Depth first. Where a wildcard has all children of a node go on, a walk over them lies on the stack; there is at most
 * one for each level of the tree.
 *
 * A walk takes the children in the order of (the bits of their hash from the lowest on, their level). That order does
 * not depend on how large a table is: what lies in one place of a table lies side by side in it. So the name of a child
 * is enough to go on behind it, in whatever table its siblings are by then. */

struct walk {
    const struct topic_node *node; /* whose children it takes */
    struct topic_key last;         /* the child that was taken last, */
    bool begun;                    /* if there was one */
    uint32_t depth;                /* levels of the filter that lead to the children; beyond `#` it counts no more */
    bool below_rest;
};

struct search {
    const struct topic_retained *retained;
    struct topic_retained_cursor *cursor;
    struct topic_key *keys; /* one for each level of the filter */
    uint32_t levels;
    struct walk *walks;
    size_t count;
    size_t capacity;
    size_t looked; /* slots of tables, and values */
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

static struct walk *walk_push(struct search *search, const struct topic_node *node, uint32_t depth, bool below_rest) {
    if (topic_node_branches(node) == NULL) {
        return NULL;
    }
    if (search->count == search->capacity) {
        search->capacity = search->capacity > 0 ? search->capacity * 2 : WALKS_MIN;
        search->walks = mem_resize(search->walks, search->capacity * sizeof search->walks[0]);
    }
    struct walk *walk = &search->walks[search->count++];
    *walk = (struct walk){.node = node, .depth = depth, .below_rest = below_rest};
    return walk;
}

/* The cursor stands at this child of a node: before its value, which is due, or behind all that is below it. */
static void search_stop(const struct search *search, const struct topic_node *parent, struct topic_key child,
                        bool due) {
    struct topic_retained_cursor *cursor = search->cursor;
    size_t length = child.bytes;
    uint32_t levels = 1;
    for (const struct topic_node *node = parent; node->parent != NULL; node = node->parent) {
        length += (size_t)node->level_bytes + 1;
        levels++;
    }
    struct buf at = {NULL, 0, 0};
    uint8_t *end = buf_extend(&at, length) + length - child.bytes;
    if (child.bytes > 0) {
        memcpy(end, child.text, child.bytes);
    }
    for (const struct topic_node *node = parent; node->parent != NULL; node = node->parent) {
        *--end = '/';
        end -= node->level_bytes;
        memcpy(end, node->level, node->level_bytes);
    }
    buf_deinit(&cursor->at);
    cursor->at = at;
    cursor->levels = levels;
    cursor->due = due;
}

static struct topic_key node_key(const struct topic_node *node) {
    return (struct topic_key){node->level, node->level_bytes, node->hash};
}

/* Gives the value of a node to the caller; false when the caller does not take it. */
static bool give(struct search *search, const struct topic_node *node) {
    void *value = node_value(node);
    search->looked++;
    if (value == NULL || search->visit(search->user, value)) {
        return true;
    }
    search_stop(search, node->parent, node_key(node), true);
    return false;
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
            (void)walk_push(search, node, depth, true);
            return give(search, node);
        }
        if (key_is(key, '+')) {
            (void)walk_push(search, node, depth, false);
            return true;
        }
        const struct topic_branches *branches = topic_node_branches(node);
        node = branches == NULL ? NULL : topic_branches_find(branches, key);
        search->looked++;
        depth++;
    }
    return true;
}

/* ---- the order of children ---- */

static uint32_t bits_reversed(uint32_t x) {
    x = (x & 0x55555555U) << 1 | (x >> 1 & 0x55555555U);
    x = (x & 0x33333333U) << 2 | (x >> 2 & 0x33333333U);
    x = (x & 0x0f0f0f0fU) << 4 | (x >> 4 & 0x0f0f0f0fU);
    return __builtin_bswap32(x);
}

static bool key_before(struct topic_key a, struct topic_key b) {
    if (a.hash != b.hash) {
        return bits_reversed(a.hash) < bits_reversed(b.hash);
    }
    if (a.bytes != b.bytes) {
        return a.bytes < b.bytes;
    }
    return a.bytes > 0 && memcmp(a.text, b.text, a.bytes) < 0;
}

/* The place of a table that follows in the order; 0 behind the last. */
static uint32_t place_after(uint32_t place, uint32_t mask) {
    return bits_reversed(bits_reversed(place | ~mask) + 1);
}

/* The first child behind the last one among those that belong to one place of the table. */
static const struct topic_node *place_next(struct search *search, const struct walk *walk,
                                           const struct topic_branches *branches, uint32_t place) {
    const struct topic_node *first = NULL;
    uint32_t mask = branches->capacity - 1;
    for (uint32_t i = place, tries = branches->capacity; tries > 0; i++, tries--) {
        const struct topic_node *node = topic_link_get(&branches->slots[i & mask]);
        search->looked++;
        if (node == NULL) {
            break;
        }
        if (node != &topic_node_removed && (node->hash & mask) == place &&
            (!walk->begun || key_before(walk->last, node_key(node))) &&
            (first == NULL || key_before(node_key(node), node_key(first)))) {
            first = node;
        }
    }
    return first;
}

/* Wildcards at the first level do not match topics that begin with `$`. */
static bool walk_passes_over(const struct walk *walk, const struct topic_node *node) {
    return walk->node->parent == NULL && node->level_bytes > 0 && node->level[0] == '$';
}

/* The next child on a walk, or NULL at its end. */
static const struct topic_node *walk_next(struct search *search, struct walk *walk) {
    const struct topic_branches *branches = topic_node_branches(walk->node);
    uint32_t mask = branches->capacity - 1;
    uint32_t place = walk->begun ? walk->last.hash & mask : 0;
    do {
        const struct topic_node *node;
        while ((node = place_next(search, walk, branches, place)) != NULL) {
            walk->last = node_key(node);
            walk->begun = true;
            if (!walk_passes_over(walk, node)) {
                return node;
            }
        }
        place = place_after(place, mask);
    } while (place != 0);
    return NULL;
}

/* A child to which the filter has led: its value, and what is below it. */
static bool arrive(struct search *search, const struct topic_node *node, uint32_t depth, bool below_rest) {
    if (below_rest) {
        (void)walk_push(search, node, depth, true);
        return give(search, node);
    }
    return descend(search, node, depth);
}

/* One step of the walk on top of the stack; false when the caller wants no more. */
static bool walk_step(struct search *search) {
    struct walk *walk = &search->walks[search->count - 1];
    const struct topic_node *node = walk_next(search, walk);
    if (node == NULL) {
        search->count--;
        return true;
    }
    return arrive(search, node, walk->depth + !walk->below_rest, walk->below_rest);
}

/* Builds the stack anew, as it was where the cursor stands. What is no longer there ends the way; the walks go on. */
static bool search_resume(struct search *search) {
    const struct topic_retained_cursor *cursor = search->cursor;
    const struct topic_node *node = search->retained->tree.root;
    uint32_t depth = 0;
    bool rest = false;
    size_t at = 0;
    for (uint32_t n = 1; n <= cursor->levels; n++) {
        struct span level = topic_level_at(buf_span(&cursor->at), at);
        struct topic_key key = topic_key_of(level, search->retained->tree.seed);
        at += level.len + 1;
        rest = rest || key_is(search->keys[depth], '#');
        if (rest || key_is(search->keys[depth], '+')) {
            struct walk *walk = walk_push(search, node, depth, rest);
            if (walk != NULL) {
                walk->last = key;
                walk->begun = true;
            }
        }
        if (n == cursor->levels && !cursor->due) {
            return true;
        }
        const struct topic_branches *branches = topic_node_branches(node);
        node = branches == NULL ? NULL : topic_branches_find(branches, key);
        if (node == NULL) {
            return true;
        }
        depth += !rest;
    }
    return arrive(search, node, depth, rest);
}

size_t topic_retained_walk(const struct topic_retained *retained, struct topic_retained_cursor *cursor, size_t points,
                           bool (*visit)(void *user, void *value), void *user) {
    struct search search = {.retained = retained, .cursor = cursor, .visit = visit, .user = user};
    if (cursor->ended) {
        return 0;
    }
    search_cut(&search, cursor->filter, retained->tree.seed);
    bool more = cursor->levels > 0 ? search_resume(&search) : descend(&search, retained->tree.root, 0);
    bool stopped = !more;
    while (more && search.count > 0) {
        const struct walk *top = &search.walks[search.count - 1];
        if (search.looked >= points && top->begun) {
            search_stop(&search, top->node, top->last, false);
            stopped = true;
            break;
        }
        more = walk_step(&search);
        stopped = !more;
    }
    cursor->ended = !stopped;
    mem_free(search.keys);
    mem_free(search.walks);
    return search.looked;
}

void topic_retained_cursor_deinit(struct topic_retained_cursor *cursor) {
    buf_deinit(&cursor->at);
    *cursor = (struct topic_retained_cursor){.ended = true};
}

void topic_retained_match(const struct topic_retained *retained, struct span filter,
                          bool (*visit)(void *user, void *value), void *user) {
    struct topic_retained_cursor cursor = {.filter = filter};
    (void)topic_retained_walk(retained, &cursor, SIZE_MAX, visit, user);
    topic_retained_cursor_deinit(&cursor);
}
