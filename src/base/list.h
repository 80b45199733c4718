/* Doubly linked lists whose links are embedded in their members. The list's head is a link that points to itself
 * when the list is empty; a link that is in no list points to NULL. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *next;
    struct link *prev;
};

/* The structure of `type` whose field `member` is the link that `pointer` points to. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct link *head) {
    head->next = head->prev = head;
}

static inline bool list_empty(const struct link *head) {
    return head->next == head;
}

static inline bool link_linked(const struct link *l) {
    return l->next != NULL;
}

static inline void list_insert_before(struct link *at, struct link *l) {
    l->prev = at->prev;
    l->next = at;
    at->prev->next = l;
    at->prev = l;
}

static inline void list_push_back(struct link *head, struct link *l) {
    list_insert_before(head, l);
}

static inline void list_push_front(struct link *head, struct link *l) {
    list_insert_before(head->next, l);
}

/* Takes a link out of its list; nothing happens when it is in none. */
static inline void list_remove(struct link *l) {
    if (l->next != NULL) {
        l->prev->next = l->next;
        l->next->prev = l->prev;
        l->next = l->prev = NULL;
    }
}

/* Moves all members of `from` to the end of `to`; `from` is empty then. */
static inline void list_splice(struct link *to, struct link *from) {
    if (!list_empty(from)) {
        from->next->prev = to->prev;
        to->prev->next = from->next;
        from->prev->next = to;
        to->prev = from->prev;
        list_init(from);
    }
}

/* The first link, taken out; NULL when the list is empty. */
static inline struct link *list_pop_front(struct link *head) {
    struct link *l = head->next;
    if (l == head) {
        return NULL;
    }
    list_remove(l);
    return l;
}
