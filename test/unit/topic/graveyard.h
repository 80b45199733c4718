/* A reclaim callback for tests: keeps what it is given until it is emptied, and fails when it gets something twice. */
#pragma once

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"

struct grave {
    void *memory;
    void (*free_function)(void *memory);
    struct grave *next;
};

struct graveyard {
    struct grave *graves;
    size_t count;       /* in it now */
    size_t total;       /* ever */
    struct map64 known; /* in it now, by address */
};

static inline void graveyard_add(void *user, void *memory, void (*free_function)(void *memory)) {
    struct graveyard *yard = user;
    struct grave *grave = mem_alloc(sizeof *grave);
    *grave = (struct grave){memory, free_function, yard->graves};
    must(map64_put(&yard->known, (uintptr_t)memory, grave) == NULL);
    yard->graves = grave;
    yard->count++;
    yard->total++;
}

static inline void graveyard_empty(struct graveyard *yard) {
    while (yard->graves != NULL) {
        struct grave *grave = yard->graves;
        yard->graves = grave->next;
        grave->free_function(grave->memory);
        mem_free(grave);
    }
    yard->count = 0;
    map64_deinit(&yard->known);
}

/* A reclaim callback where nobody reads meanwhile. */
static inline void free_at_once(void *user, void *memory, void (*free_function)(void *memory)) {
    (void)user;
    free_function(memory);
}
