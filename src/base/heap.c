#include "base/heap.h"

#include "base/mem.h"

enum { CAPACITY_MIN = 64 };

void heap_deinit(struct heap *h) {
    mem_free(h->items);
    *h = (struct heap){NULL, 0, 0};
}

static void heap_put(struct heap *h, size_t place, struct heap_node *node) {
    h->items[place - 1] = node;
    node->place = place;
}

static void heap_up(struct heap *h, struct heap_node *node, size_t place) {
    while (place > 1 && h->items[place / 2 - 1]->at > node->at) {
        heap_put(h, place, h->items[place / 2 - 1]);
        place /= 2;
    }
    heap_put(h, place, node);
}

static void heap_down(struct heap *h, struct heap_node *node, size_t place) {
    for (;;) {
        size_t child = place * 2;
        if (child < h->count && h->items[child]->at < h->items[child - 1]->at) {
            child++;
        }
        if (child > h->count || h->items[child - 1]->at >= node->at) {
            break;
        }
        heap_put(h, place, h->items[child - 1]);
        place = child;
    }
    heap_put(h, place, node);
}

static void heap_settle(struct heap *h, struct heap_node *node, size_t place) {
    if (place > 1 && h->items[place / 2 - 1]->at > node->at) {
        heap_up(h, node, place);
    } else {
        heap_down(h, node, place);
    }
}

static void heap_resize(struct heap *h, size_t capacity) {
    h->capacity = capacity;
    h->items = mem_resize(h->items, capacity * sizeof(struct heap_node *));
}

void heap_set(struct heap *h, struct heap_node *node, int64_t at) {
    node->at = at;
    if (node->place == 0) {
        if (h->count == h->capacity) {
            heap_resize(h, h->capacity > 0 ? h->capacity * 2 : CAPACITY_MIN);
        }
        h->count++;
        heap_up(h, node, h->count);
        return;
    }
    heap_settle(h, node, node->place);
}

void heap_remove(struct heap *h, struct heap_node *node) {
    if (node->place == 0) {
        return;
    }
    size_t place = node->place;
    struct heap_node *last = h->items[--h->count];
    node->place = 0;
    if (last != node) {
        heap_settle(h, last, place);
    }
    if (h->count == 0) {
        heap_deinit(h);
    } else if (h->capacity > CAPACITY_MIN && h->count < h->capacity / 4) {
        heap_resize(h, h->capacity / 2);
    }
}
