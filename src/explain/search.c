#include "explain/search.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"

/* A state that was met, by the move that led to it from another one. */
struct node {
    uint32_t parent; /* index */
    struct move move;
    uint8_t depth;
    uint8_t move_count;
    struct move moves[SEARCH_MOVES_MAX]; /* that are possible now */
};

struct search {
    const struct search_world *world;
    const void *what;
    struct node *nodes; /* [0] is the beginning */
    size_t count, capacity;
    struct map64 seen;
    struct search_result *result;
};

static struct node *add(struct search *s, size_t parent, struct move move, unsigned depth) {
    if (s->count == s->capacity) {
        s->capacity = s->capacity * 2 + 1024;
        s->nodes = mem_resize(s->nodes, s->capacity * sizeof *s->nodes);
    }
    must(depth < SEARCH_PATH_MAX);
    struct node *n = &s->nodes[s->count++];
    *n = (struct node){.parent = (uint32_t)parent, .move = move, .depth = (uint8_t)depth};
    return n;
}

/* The moves from the beginning to a node. */
static unsigned path_to(const struct search *s, size_t at, struct move path[SEARCH_PATH_MAX]) {
    const unsigned length = s->nodes[at].depth;
    for (unsigned i = length; i > 0; i--) {
        path[i - 1] = s->nodes[at].move;
        at = s->nodes[at].parent;
    }
    return length;
}

static void *play(const struct search_world *world, const void *what, const struct move *path, unsigned length,
                  struct story *story) {
    void *w = world->create(what, story);
    for (unsigned i = 0; i < length; i++) {
        world->act(w, path[i]);
    }
    return w;
}

static void note(struct search_result *r, struct finding f, const struct move *path, unsigned length) {
    const bool more_left = f.outcome == OUTCOME_LEFTOVER && f.held > r->worst.held;
    r->depth = length;
    r->held_max = f.held > r->held_max ? f.held : r->held_max;
    if (f.outcome > r->worst.outcome || (more_left && r->worst.outcome == OUTCOME_LEFTOVER)) {
        r->worst = f;
        r->path_len = length;
        memcpy(r->path, path, length * sizeof *path);
    }
}

/* Looks at the state that a path leads to: a new one is judged and kept. */
static void visit(struct search *s, size_t parent, const struct move *path, unsigned length) {
    void *w = play(s->world, s->what, path, length, NULL);
    if (map64_put(&s->seen, s->world->digest(w), s) == NULL) {
        struct node *n = add(s, parent, length > 0 ? path[length - 1] : (struct move){0, 0}, length);
        n->move_count = (uint8_t)s->world->moves(w, n->moves);
        s->result->states++;
        note(s->result, s->world->judge(w), path, length);
    }
    s->world->destroy(w);
}

static bool found(const struct search *s) {
    return s->result->worst.outcome > OUTCOME_LEFTOVER;
}

void search_run(const struct search_world *world, const void *what, struct search_result *result) {
    struct search s = {.world = world, .what = what, .seen = map64_of(1), .result = result};
    struct move path[SEARCH_PATH_MAX] = {{0, 0}};
    memset(result, 0, sizeof *result);
    visit(&s, 0, path, 0);
    for (size_t at = 0; at < s.count && !found(&s); at++) {
        const unsigned length = path_to(&s, at, path);
        for (unsigned i = 0; i < s.nodes[at].move_count && !found(&s); i++) {
            path[length] = s.nodes[at].moves[i];
            visit(&s, at, path, length + 1);
        }
    }
    map64_deinit(&s.seen);
    mem_free(s.nodes);
}

void search_tell(const struct search_world *world, const void *what, const struct search_result *result,
                 struct story *story) {
    void *w = play(world, what, result->path, result->path_len, story);
    (void)world->judge(w);
    world->destroy(w);
}
