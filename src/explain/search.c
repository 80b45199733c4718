#include "explain/search.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"

/* A state, by the move that led to it from another one. */
struct node {
    uint32_t parent; /* index */
    struct move move;
    uint8_t depth;
};

struct search {
    const struct chain_limits *limits;
    struct node *nodes; /* [0] is the beginning */
    size_t count, capacity;
    struct map64 seen;
    struct search_result *result;
};

static void add(struct search *s, size_t parent, struct move move, unsigned depth) {
    if (s->count == s->capacity) {
        s->capacity = s->capacity * 2 + 1024;
        s->nodes = mem_resize(s->nodes, s->capacity * sizeof *s->nodes);
    }
    must(depth <= SEARCH_PATH_MAX);
    s->nodes[s->count++] = (struct node){(uint32_t)parent, move, (uint8_t)depth};
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

static void play(struct chain *c, const struct chain_limits *limits, const struct move *path, unsigned length,
                 struct story *story) {
    chain_init(c, limits, story);
    for (unsigned i = 0; i < length; i++) {
        chain_act(c, path[i]);
    }
}

static void note_result(struct search *s, const struct chain *c, const struct move *path, unsigned length) {
    struct search_result *r = s->result;
    unsigned message = 0;
    const enum verdict v = chain_judge(c, &message);
    const unsigned held = chain_held(c);
    const bool more_left = v == VERDICT_LEFTOVER && held > r->left_max;
    r->depth = length;
    r->held_max = held > r->held_max ? held : r->held_max;
    r->left_max = more_left ? held : r->left_max;
    if (v > r->verdict || more_left) {
        r->verdict = v;
        r->message = message;
        r->path_len = length;
        memcpy(r->path, path, length * sizeof *path);
    }
}

/* Looks at a state that some move has led to: new ones are judged and kept. */
static void visit(struct search *s, size_t parent, const struct move *path, unsigned length) {
    struct chain c;
    play(&c, s->limits, path, length, NULL);
    if (map64_put(&s->seen, chain_digest(&c), s) == NULL) {
        s->result->states++;
        note_result(s, &c, path, length);
        add(s, parent, path[length - 1], length);
    }
    chain_deinit(&c);
}

static void expand(struct search *s, size_t at) {
    struct move path[SEARCH_PATH_MAX + 1];
    struct move moves[CHAIN_MOVES_MAX];
    struct chain c;
    const unsigned length = path_to(s, at, path);
    play(&c, s->limits, path, length, NULL);
    const unsigned count = chain_moves(&c, moves);
    chain_deinit(&c);
    for (unsigned i = 0; i < count && s->result->verdict <= VERDICT_LEFTOVER; i++) {
        path[length] = moves[i];
        visit(s, at, path, length + 1);
    }
}

void search_run(const struct chain_limits *limits, struct search_result *result) {
    struct search s = {.limits = limits, .seen = map64_of(1), .result = result};
    memset(result, 0, sizeof *result);
    add(&s, 0, (struct move){0, 0}, 0);
    for (size_t at = 0; at < s.count && result->verdict <= VERDICT_LEFTOVER; at++) {
        expand(&s, at);
    }
    map64_deinit(&s.seen);
    mem_free(s.nodes);
}

void search_tell(const struct chain_limits *limits, const struct search_result *result, struct story *story) {
    struct chain c;
    play(&c, limits, result->path, result->path_len, story);
    chain_deinit(&c);
}
