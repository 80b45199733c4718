/* What a search rests on: two runs that lead to the same digest have the same future. Walks a world as search_run()
 * does, but looks again at each state that was met before: by this run, too, the same moves must be possible, lead to
 * the same digests, and be judged alike. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "explain/search.h"

struct future {
    struct move path[SEARCH_PATH_MAX]; /* that led here first */
    unsigned length;
    unsigned move_count;
    struct move moves[SEARCH_MOVES_MAX];
    uint64_t next[SEARCH_MOVES_MAX]; /* digests behind the moves */
    enum outcome outcome;
};

static inline void *future_play(const struct search_world *world, const void *what, const struct move *path,
                                unsigned length) {
    void *w = world->create(what, NULL);
    for (unsigned i = 0; i < length; i++) {
        world->act(w, path[i]);
    }
    return w;
}

/* The future of a path whose moves are set in `f`; returns the digest of where it leads. */
static inline uint64_t future_of(const struct search_world *world, const void *what, struct future *f) {
    void *w = future_play(world, what, f->path, f->length);
    const uint64_t digest = world->digest(w);
    f->move_count = world->moves(w, f->moves);
    f->outcome = world->judge(w).outcome;
    world->destroy(w);
    for (unsigned i = 0; i < f->move_count; i++) {
        w = future_play(world, what, f->path, f->length);
        world->act(w, f->moves[i]);
        f->next[i] = world->digest(w);
        world->destroy(w);
    }
    return digest;
}

static inline bool future_same(const struct future *a, const struct future *b) {
    bool same = a->move_count == b->move_count && a->outcome == b->outcome;
    for (unsigned i = 0; same && i < a->move_count; i++) {
        same = a->moves[i].kind == b->moves[i].kind && a->moves[i].who == b->moves[i].who && a->next[i] == b->next[i];
    }
    return same;
}

/* How many states were looked at by more than one run, until one is found that has two futures (then *wrong), or
 * `states_max` states are known. */
static inline unsigned futures_compare(const struct search_world *world, const void *what, size_t states_max,
                                       bool *wrong) {
    struct future *known = mem_zero(states_max + 1, sizeof *known);
    struct map64 by_digest = map64_of(1);
    size_t count = 1;
    unsigned again = 0;
    *wrong = false;
    (void)map64_put(&by_digest, future_of(world, what, &known[0]), &known[0]);
    for (size_t at = 0; at < count && !*wrong; at++) {
        for (unsigned i = 0; i < known[at].move_count && known[at].outcome <= OUTCOME_LEFTOVER && !*wrong; i++) {
            struct future f = known[at];
            f.path[f.length++] = known[at].moves[i];
            const struct future *first = map64_get(&by_digest, known[at].next[i]);
            if (first == NULL && count == states_max) {
                continue;
            }
            const uint64_t digest = future_of(world, what, &f);
            *wrong = digest != known[at].next[i] || (first != NULL && !future_same(first, &f));
            if (first == NULL) {
                known[count] = f;
                (void)map64_put(&by_digest, digest, &known[count++]);
            } else {
                again++;
            }
        }
    }
    map64_deinit(&by_digest);
    mem_free(known);
    return again;
}
