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

static void *clear(struct topic_retained *retained, struct span name) {
    struct topic_node *node = topic_tree_find(&retained->tree, name);
    void *old = node_value(node);
    if (old != NULL) {
        atomic_store_explicit(&node->value, NULL, memory_order_relaxed);
        topic_tree_prune(&retained->tree, name);
        retained->count--;
    }
    return old;
}

void *topic_retained_set(struct topic_retained *retained, struct span name, void *value) {
    if (value == NULL) {
        return clear(retained, name);
    }
    struct topic_node *node = topic_tree_make(&retained->tree, name);
    void *old = node_value(node);
    atomic_store_explicit(&node->value, value, memory_order_relaxed);
    retained->count += old == NULL;
    return old;
}

size_t topic_retained_count(const struct topic_retained *retained) {
    return retained->count;
}

/* ---- the search by filter ----
 *
 * Depth first, level by level. Where a wildcard has all children of a place go on, a walk over them lies on the stack;
 * there is at most one for each level of the tree.
 *
 * A walk takes the children in the order of (the bits of their hash from the lowest on, their level). That order does
 * not depend on how large a table is: what lies in one place of a table lies side by side in it. So the name of a child
 * is enough to go on behind it, in whatever table its siblings are by then, and however nodes were cut and joined. */

/* Some levels from the root on: those up to a node, or up to one of the levels of its text. */
struct place {
    const struct topic_node *node;
    size_t used; /* bytes of the node's text, up to the end of a level */
};

struct walk {
    struct place place;    /* whose children it takes */
    struct topic_key last; /* the child that was taken last, */
    bool begun;            /* if there was one */
    uint32_t depth;        /* levels of the filter that lead to the children; beyond `#` it counts no more */
    bool below_rest;
    size_t name; /* bytes of the search's name that are the place's */
};

struct search {
    const struct topic_retained *retained;
    struct topic_retained_cursor *cursor;
    struct topic_key *keys; /* one for each level of the filter */
    uint32_t levels;
    struct walk *walks;
    size_t count;
    size_t capacity;
    struct buf name; /* of the place where the search is */
    size_t looked;   /* slots of tables, and values */
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

static struct place search_root(const struct search *search) {
    return (struct place){search->retained->tree.root, 0};
}

static bool place_is_root(const struct search *search, struct place place) {
    return place.node == search->retained->tree.root;
}

/* In the middle of a node's text: there is one child, the next level. */
static bool place_is_inside(struct place place) {
    return place.used < place.node->text_bytes;
}

static struct topic_key place_next_level(const struct search *search, struct place place) {
    return topic_key_of(topic_level_at(topic_node_text(place.node), place.used + 1), search->retained->tree.seed);
}

static bool key_is_same(struct topic_key a, struct topic_key b) {
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.text, b.text, a.bytes) == 0);
}

/* The child with this level; false when there is none. */
static bool place_down(const struct search *search, struct place *place, struct topic_key key) {
    if (place_is_inside(*place)) {
        struct topic_key next = place_next_level(search, *place);
        place->used += 1 + (size_t)next.bytes;
        return key_is_same(next, key);
    }
    const struct topic_branches *branches = topic_node_branches(place->node);
    const struct topic_node *node = branches == NULL ? NULL : topic_branches_find(branches, key);
    if (node != NULL) {
        *place = (struct place){node, node->first_bytes};
    }
    return node != NULL;
}

/* The search has gone from a place to a child of it. */
static void name_add(struct search *search, struct place parent, struct topic_key key) {
    if (!place_is_root(search, parent)) {
        buf_u8(&search->name, '/');
    }
    buf_bytes(&search->name, span_of(key.text, key.bytes));
}

static struct walk *walk_push(struct search *search, struct place place, uint32_t depth, bool below_rest) {
    if (!place_is_inside(place) && topic_node_branches(place.node) == NULL) {
        return NULL;
    }
    if (search->count == search->capacity) {
        search->capacity = search->capacity > 0 ? search->capacity * 2 : WALKS_MIN;
        search->walks = mem_resize(search->walks, search->capacity * sizeof search->walks[0]);
    }
    struct walk *walk = &search->walks[search->count++];
    *walk = (struct walk){.place = place, .depth = depth, .below_rest = below_rest, .name = search->name.len};
    return walk;
}

/* The cursor stands where the search is: before the value of that name, which is due, or behind all that is below it.
 */
static void search_stop(const struct search *search, bool due) {
    struct topic_retained_cursor *cursor = search->cursor;
    struct buf at = {NULL, 0, 0};
    buf_bytes(&at, buf_span(&search->name));
    buf_deinit(&cursor->at);
    cursor->at = at;
    cursor->levels = (uint32_t)topic_levels(buf_span(&at));
    cursor->due = due;
}

static struct topic_key node_key(const struct topic_node *node) {
    return (struct topic_key){node->text, node->first_bytes, node->hash};
}

/* Gives the value of a place to the caller; false when the caller does not take it. */
static bool give(struct search *search, struct place place) {
    void *value = place_is_inside(place) ? NULL : node_value(place.node);
    search->looked++;
    if (value == NULL || search->visit(search->user, value)) {
        return true;
    }
    search_stop(search, true);
    return false;
}

static bool key_is(struct topic_key key, uint8_t wildcard) {
    return key.bytes == 1 && key.text[0] == wildcard;
}

/* Follows the filter from a place that stands for its first `depth` levels, up to the next wildcard. */
static bool descend(struct search *search, struct place place, uint32_t depth) {
    for (bool there = true; there; depth++) {
        if (depth == search->levels) {
            return give(search, place);
        }
        struct topic_key key = search->keys[depth];
        if (key_is(key, '#')) {
            (void)walk_push(search, place, depth, true);
            return give(search, place);
        }
        if (key_is(key, '+')) {
            (void)walk_push(search, place, depth, false);
            return true;
        }
        name_add(search, place, key);
        there = place_down(search, &place, key);
        search->looked++;
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

/* The slot of a table that follows in the order; 0 behind the last. */
static uint32_t slot_after(uint32_t slot, uint32_t mask) {
    return bits_reversed(bits_reversed(slot | ~mask) + 1);
}

/* The bits of a hash that lead to a part, and to a slot of it: together they name a slot of all. */
static uint32_t slot_mask(const struct topic_branches *table) {
    return (table->capacity << table->shift) - 1;
}

/* The first child behind the last one among those that belong to one slot of the table. */
static const struct topic_node *slot_next(struct search *search, const struct walk *walk,
                                          const struct topic_branches *table, uint32_t slot) {
    const struct topic_node *first = NULL;
    uint32_t mask = slot_mask(table);
    for (uint32_t i = slot >> table->shift, tries = table->capacity; tries > 0; i++, tries--) {
        const struct topic_node *node = topic_link_get(&table->slots[i & (table->capacity - 1)]);
        search->looked++;
        if (node == NULL) {
            break;
        }
        if (node != &topic_node_removed && (node->hash & mask) == slot &&
            (!walk->begun || key_before(walk->last, node_key(node))) &&
            (first == NULL || key_before(node_key(node), node_key(first)))) {
            first = node;
        }
    }
    return first;
}

/* Wildcards at the first level do not match topics that begin with `$`, but for who wants all. */
static bool walk_passes_over(const struct search *search, const struct walk *walk, const struct topic_node *node) {
    return !search->cursor->all && place_is_root(search, walk->place) && node->first_bytes > 0 && node->text[0] == '$';
}

/* The next level of a node's text, unless it was taken. */
static bool walk_next_inside(struct search *search, struct walk *walk, struct place *child) {
    struct topic_key next = place_next_level(search, walk->place);
    search->looked++;
    if (walk->begun && !key_before(walk->last, next)) {
        return false;
    }
    walk->last = next;
    walk->begun = true;
    *child = (struct place){walk->place.node, walk->place.used + 1 + next.bytes};
    return true;
}

/* The next child on a walk; false at its end. */
static bool walk_next(struct search *search, struct walk *walk, struct place *child) {
    if (place_is_inside(walk->place)) {
        return walk_next_inside(search, walk, child);
    }
    const struct topic_branches *branches = topic_node_branches(walk->place.node);
    const uint32_t hash = walk->begun ? walk->last.hash : 0;
    const struct topic_branches *table = topic_branches_table(branches, hash);
    uint32_t slot = hash & slot_mask(table);
    do {
        const struct topic_node *node;
        while ((node = slot_next(search, walk, table, slot)) != NULL) {
            walk->last = node_key(node);
            walk->begun = true;
            if (!walk_passes_over(search, walk, node)) {
                *child = (struct place){node, node->first_bytes};
                return true;
            }
        }
        slot = slot_after(slot, slot_mask(table));
        table = topic_branches_table(branches, slot);
    } while (slot != 0);
    return false;
}

/* A child to which the filter has led: its value, and what is below it. */
static bool arrive(struct search *search, struct place place, uint32_t depth, bool below_rest) {
    if (below_rest) {
        (void)walk_push(search, place, depth, true);
        return give(search, place);
    }
    return descend(search, place, depth);
}

/* One step of the walk on top of the stack; false when the caller wants no more. */
static bool walk_step(struct search *search) {
    struct walk *walk = &search->walks[search->count - 1];
    struct place child;
    if (!walk_next(search, walk, &child)) {
        search->count--;
        return true;
    }
    search->name.len = walk->name;
    name_add(search, walk->place, walk->last);
    return arrive(search, child, walk->depth + !walk->below_rest, walk->below_rest);
}

/* Builds the stack anew, as it was where the cursor stands. What is no longer there ends the way; the walks go on. */
static bool search_resume(struct search *search) {
    const struct topic_retained_cursor *cursor = search->cursor;
    struct place place = search_root(search);
    uint32_t depth = 0;
    bool rest = false;
    size_t at = 0;
    for (uint32_t n = 1; n <= cursor->levels; n++) {
        struct span level = topic_level_at(buf_span(&cursor->at), at);
        struct topic_key key = topic_key_of(level, search->retained->tree.seed);
        at += level.len + 1;
        rest = rest || key_is(search->keys[depth], '#');
        if (rest || key_is(search->keys[depth], '+')) {
            struct walk *walk = walk_push(search, place, depth, rest);
            if (walk != NULL) {
                walk->last = key;
                walk->begun = true;
            }
        }
        if (n == cursor->levels && !cursor->due) {
            return true;
        }
        name_add(search, place, key);
        if (!place_down(search, &place, key)) {
            return true;
        }
        depth += !rest;
    }
    return arrive(search, place, depth, rest);
}

size_t topic_retained_walk(const struct topic_retained *retained, struct topic_retained_cursor *cursor, size_t points,
                           bool (*visit)(void *user, void *value), void *user) {
    struct search search = {.retained = retained, .cursor = cursor, .visit = visit, .user = user};
    if (cursor->ended) {
        return 0;
    }
    search_cut(&search, cursor->filter, retained->tree.seed);
    bool more = cursor->levels > 0 ? search_resume(&search) : descend(&search, search_root(&search), 0);
    bool stopped = !more;
    while (more && search.count > 0) {
        const struct walk *top = &search.walks[search.count - 1];
        if (search.looked >= points && top->begun) {
            search.name.len = top->name;
            name_add(&search, top->place, top->last);
            search_stop(&search, false);
            stopped = true;
            break;
        }
        more = walk_step(&search);
        stopped = !more;
    }
    cursor->ended = !stopped;
    buf_deinit(&search.name);
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
