/* Deadlines in order: a binary heap whose nodes are embedded in their owners, so that each can be moved or taken out.
 *
 * Costs: the logarithm of what it holds for each change; looking at the first is free. A node that is in no heap is all
 * zero. Memory: a pointer each, given back by halves. Not thread-safe. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t at;   /* when */
    size_t place; /* where in the heap, from 1 on; 0: in none */
};

/* All zero is empty. */
struct heap {
    struct heap_node **items;
    size_t count;
    size_t capacity;
};

/* Frees its memory; the nodes that are still in it are of no use afterwards. */
void heap_deinit(struct heap *h);
/* Puts a node in, or moves it when it is in already. */
void heap_set(struct heap *h, struct heap_node *node, int64_t at);
/* Takes it out; nothing happens when it is in none. */
void heap_remove(struct heap *h, struct heap_node *node);
/* The earliest; NULL when there is none. */
static inline struct heap_node *heap_first(const struct heap *h) {
    return h->count > 0 ? h->items[0] : NULL;
}
/* The earliest that is due at `now`; NULL when none is. */
static inline struct heap_node *heap_due(const struct heap *h, int64_t now) {
    return h->count > 0 && h->items[0]->at <= now ? h->items[0] : NULL;
}
