/* The reader's half of the trie: depth first, with a stack of our own.
 *
 * At each level there are at most two ways on, the level itself and "+"; the second waits on the stack. So the stack
 * has at most one entry for each level. A level of the name is cut and hashed when the search first gets to it. */
#include "base/mem.h"
#include "base/must.h"
#include "topic/subscribers.h"
#include "topic/trie_inside.h"

enum { STEPS_MIN = 16, ITEMS_MIN = 16 };

/* One entry of the stack: a level of the name, and, in the same memory though unrelated, a node that waits. */
struct step {
    struct topic_key key;
    const struct topic_node *waiting;
    uint32_t waiting_depth;
};

struct search {
    const struct topic_trie *trie;
    struct span name;
    struct topic_matches *matches;
    struct step *steps;
    uint32_t cut;     /* levels that have a key */
    uint32_t waiting; /* nodes that wait */
    size_t cut_at;    /* where the next level begins; name.len + 1 when all are cut */
};

void topic_matches_deinit(struct topic_matches *matches) {
    mem_free(matches->items);
    mem_free(matches->stack);
    *matches = (struct topic_matches){0};
}

static void collect(struct topic_matches *matches, const struct topic_node *node) {
    const struct topic_subscribers *s = atomic_load_explicit(&node->value, memory_order_acquire);
    if (s == NULL) {
        return;
    }
    uint32_t count = atomic_load_explicit(&s->count, memory_order_acquire);
    if (matches->capacity - matches->count < count) {
        size_t capacity = matches->capacity * 2 > ITEMS_MIN ? matches->capacity * 2 : ITEMS_MIN;
        matches->capacity = capacity - matches->count < count ? matches->count + count : capacity;
        matches->items = mem_resize(matches->items, matches->capacity * sizeof matches->items[0]);
    }
    struct topic_match *to = matches->items + matches->count;
    for (uint32_t i = 0; i < count; i++) {
        to->subscriber = atomic_load_explicit(&s->places[i].subscriber, memory_order_acquire);
        to->options = atomic_load_explicit(&s->places[i].options, memory_order_acquire);
        to += to->subscriber != NULL;
    }
    matches->count = (size_t)(to - matches->items);
}

/* Cuts one more level off the name. */
static void cut_level(struct search *search) {
    struct topic_matches *matches = search->matches;
    if (search->cut == matches->stack_capacity) {
        matches->stack_capacity = matches->stack_capacity > 0 ? matches->stack_capacity * 2 : STEPS_MIN;
        matches->stack = mem_resize(matches->stack, matches->stack_capacity * sizeof(struct step));
        search->steps = matches->stack;
    }
    struct span level = topic_level_at(search->name, search->cut_at);
    search->steps[search->cut++].key = topic_key_of(level, search->trie->tree.seed);
    search->cut_at += level.len + 1;
}

static bool name_ends(const struct search *search, uint32_t depth) {
    return depth == search->cut && search->cut_at > search->name.len;
}

static bool level_matches(struct span level, struct topic_key key) {
    return topic_level_is(level, '+') || (level.len == key.bytes && memcmp(level.ptr, key.text, key.bytes) == 0);
}

/* Whether the levels of a node's text behind the first, which does, match the name; its first level is number `*depth`
 * of the name, and the node stands for `*depth` levels then. One that ends with "#" has given all that it has. */
static bool enter(struct search *search, const struct topic_node *node, uint32_t *depth) {
    const struct span text = topic_node_text(node);
    uint32_t levels = *depth + 1;
    for (size_t at = node->first_bytes; at < text.len; levels++) {
        struct span level = topic_level_at(text, at + 1);
        at += 1 + level.len;
        if (topic_level_is(level, '#')) {
            collect(search->matches, node);
            return false;
        }
        if (name_ends(search, levels)) {
            return false;
        }
        if (levels == search->cut) {
            cut_level(search);
        }
        if (!level_matches(level, search->steps[levels].key)) {
            return false;
        }
    }
    *depth = levels;
    return true;
}

/* Collects what a node that stands for the first `depth` levels gives; returns the next node, whose first level is one
 * deeper, or NULL when there is none. */
static const struct topic_node *visit(struct search *search, const struct topic_node *node, uint32_t depth) {
    bool whole = name_ends(search, depth);
    if (whole) {
        collect(search->matches, node);
    }
    const struct topic_branches *branches = topic_node_branches(node);
    if (branches == NULL) {
        return NULL;
    }
    bool hidden = depth == 0 && search->name.ptr[0] == '$';
    const struct topic_node *rest = topic_link_get(&branches->rest);
    if (rest != NULL && !hidden) {
        collect(search->matches, rest);
    }
    if (whole) {
        return NULL;
    }
    if (depth == search->cut) {
        cut_level(search);
    }
    const struct topic_node *child = topic_branches_find(branches, search->steps[depth].key);
    const struct topic_node *any = hidden ? NULL : topic_link_get(&branches->any);
    if (child == NULL) {
        return any;
    }
    if (any != NULL) {
        must(search->waiting < search->cut);
        struct step *step = &search->steps[search->waiting++];
        step->waiting = any;
        step->waiting_depth = depth;
    }
    return child;
}

void topic_trie_match(const struct topic_trie *trie, struct span name, struct topic_matches *matches) {
    struct search search = {.trie = trie, .name = name, .matches = matches, .steps = matches->stack};
    uint32_t depth = 0;
    matches->count = 0;
    const struct topic_node *node = visit(&search, trie->tree.root, depth);
    while (node != NULL || search.waiting > 0) {
        if (node == NULL) {
            const struct step *step = &search.steps[--search.waiting];
            node = step->waiting;
            depth = step->waiting_depth;
        }
        node = enter(&search, node, &depth) ? visit(&search, node, depth) : NULL;
    }
}
