/* The reader's half of the trie: depth first, with a stack of our own.
 *
 * At each node there are at most two ways on, the next level itself and "+"; the second waits on the stack. So the
 * stack has at most one entry for each level. Where the search stands in the name is an offset: that at which the next
 * level begins, which is name.len + 1 behind the last one. */
#include "base/mem.h"
#include "topic/recent.h"
#include "topic/subscribers.h"
#include "topic/trie_inside.h"

enum { STEPS_MIN = 16, ITEMS_MIN = 16 };

/* A node that waits; its first level matches that at `at`. */
struct step {
    const struct topic_node *node;
    size_t at;
};

struct search {
    const struct topic_trie *trie;
    struct span name;
    struct topic_matches *matches;
    size_t waiting; /* nodes that wait */
};

void topic_matches_deinit(struct topic_matches *matches) {
    mem_free(matches->items);
    mem_free(matches->stack);
    mem_free(matches->recent);
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

/* The node waits, its level at `at`. */
static void put_off(struct search *search, const struct topic_node *node, size_t at) {
    struct topic_matches *matches = search->matches;
    if (search->waiting == matches->stack_capacity) {
        matches->stack_capacity = matches->stack_capacity > 0 ? matches->stack_capacity * 2 : STEPS_MIN;
        matches->stack = mem_resize(matches->stack, matches->stack_capacity * sizeof(struct step));
    }
    struct step *steps = matches->stack;
    steps[search->waiting++] = (struct step){node, at};
}

/* Whether the name goes on, behind a level that ends before `at`, with just this text, and a level ends with it. */
static bool goes_on_with(struct span name, size_t at, struct span text) {
    return at <= name.len && name.len - at >= text.len && memcmp(name.ptr + at, text.ptr, text.len) == 0 &&
           (at + text.len == name.len || name.ptr[at + text.len] == '/');
}

/* Whether the levels of a node's text behind the first, which does, match the name from `*at` on, where the search
 * stands behind them then. A node that ends with "#" has given all that it has. */
static bool enter_rest(struct search *search, const struct topic_node *node, size_t *at) {
    const struct span text = topic_node_text(node);
    for (size_t i = node->first_bytes; i < text.len;) {
        struct span wanted = topic_level_at(text, i + 1);
        i += 1 + wanted.len;
        if (topic_level_is(wanted, '#')) {
            collect(search->matches, node);
            return false;
        }
        if (*at > search->name.len) {
            return false;
        }
        struct span level = topic_level_at(search->name, *at);
        if (!topic_level_is(wanted, '+') && !span_equal(wanted, level)) {
            return false;
        }
        *at += level.len + 1;
    }
    return true;
}

/* Enters a node whose first level matches that at `*at`; the search stands behind the node's
 * text then. False when the rest of the text does not match. */
static bool enter(struct search *search, const struct topic_node *node, size_t *at) {
    const struct span text = topic_node_text(node);
    *at += topic_level_is(span_of(text.ptr, node->first_bytes), '+') ? topic_level_at(search->name, *at).len
                                                                     : node->first_bytes;
    *at += 1;
    if (node->first_bytes == text.len) {
        return true;
    }
    struct span rest = span_skip(text, node->first_bytes + 1U);
    if (goes_on_with(search->name, *at, rest)) { /* a name has no wildcards, so this text has none either */
        *at += rest.len + 1;
        return true;
    }
    return enter_rest(search, node, at);
}

/* Collects what a node gives behind whose text the search stands; returns the next node, or NULL when there is none. */
static const struct topic_node *visit(struct search *search, const struct topic_node *node, size_t at) {
    bool whole = at > search->name.len;
    if (whole) {
        collect(search->matches, node);
    }
    const struct topic_branches *branches = topic_node_branches(node);
    if (branches == NULL) {
        return NULL;
    }
    bool hidden = at == 0 && search->name.ptr[0] == '$';
    const struct topic_node *rest = topic_link_get(&branches->rest);
    if (rest != NULL && !hidden) {
        collect(search->matches, rest);
    }
    if (whole) {
        return NULL;
    }
    const struct topic_node *child =
        topic_branches_find_level(branches, topic_level_at(search->name, at), search->trie->tree.seed);
    const struct topic_node *any = hidden ? NULL : topic_link_get(&branches->any);
    if (child == NULL) {
        return any;
    }
    if (any != NULL) {
        put_off(search, any, at);
    }
    return child;
}

static void search_all(const struct topic_trie *trie, struct span name, struct topic_matches *matches) {
    struct search search = {.trie = trie, .name = name, .matches = matches};
    size_t at = 0;
    matches->count = 0;
    const struct topic_node *node = visit(&search, trie->tree.root, at);
    while (node != NULL || search.waiting > 0) {
        if (node == NULL) {
            const struct step *step = (const struct step *)matches->stack + --search.waiting;
            node = step->node;
            at = step->at;
        }
        node = enter(&search, node, &at) ? visit(&search, node, at) : NULL;
    }
}

/* How often the trie has changed is read first: what changes during the search is not of that number, and so is not
 * relied on later. */
void topic_trie_match(const struct topic_trie *trie, struct span name, struct topic_matches *matches) {
    const uint64_t changes = atomic_load_explicit(&trie->changes, memory_order_acquire);
    struct topic_recent_name *place;
    if (topic_recent_recall(matches, name, trie->tree.seed, changes, &place)) {
        return;
    }
    search_all(trie, name, matches);
    if (place != NULL) {
        topic_recent_note(place, name, changes, matches);
    }
}
