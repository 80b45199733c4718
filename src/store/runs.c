#include "store/runs.h"

#include "base/mem.h"
#include "base/must.h"

enum { ROOM_MIN = 4 };

/* ---- one run ---- */

static struct delivery *run_at(const struct run *run, uint32_t i) {
    const uint32_t place = run->first + i;
    return &run->pieces[(run->piece_first + place / RUN_PIECE) & (run->piece_capacity - 1)][place % RUN_PIECE];
}

static void pieces_grow(struct run *run) {
    const uint32_t capacity = run->piece_capacity > 0 ? run->piece_capacity * 2 : 1;
    struct delivery **pieces = mem_alloc(capacity * sizeof *pieces);
    for (uint32_t i = 0; i < run->piece_count; i++) {
        pieces[i] = run->pieces[(run->piece_first + i) & (run->piece_capacity - 1)];
    }
    mem_free(run->pieces);
    run->pieces = pieces;
    run->piece_first = 0;
    run->piece_capacity = capacity;
}

/* One more piece; the first of a run is small, and grows. */
static void piece_add(struct run *run) {
    if (run->piece_count == run->piece_capacity) {
        pieces_grow(run);
    }
    run->room = run->piece_count == 0 ? ROOM_MIN : RUN_PIECE;
    run->pieces[(run->piece_first + run->piece_count) & (run->piece_capacity - 1)] =
        mem_alloc(run->room * sizeof(struct delivery));
    run->piece_count++;
}

static void run_push(struct run *run, const struct delivery *d) {
    const uint32_t end = run->first + run->count;
    if (end == run->piece_count * run->room && run->piece_count == 1 && run->room < RUN_PIECE) {
        struct delivery **piece = &run->pieces[run->piece_first];
        run->room *= 2;
        *piece = mem_resize(*piece, run->room * sizeof **piece);
    } else if (end == run->piece_count * run->room) {
        piece_add(run);
    }
    run->count++;
    *run_at(run, run->count - 1) = *d;
}

static void run_free(struct run *run) {
    for (uint32_t i = 0; i < run->piece_count; i++) {
        mem_free(run->pieces[(run->piece_first + i) & (run->piece_capacity - 1)]);
    }
    mem_free(run->pieces);
}

static struct delivery run_pop(struct run *run) {
    struct delivery d = *run_at(run, 0);
    run->first++;
    run->count--;
    if (run->first == RUN_PIECE) {
        mem_free(run->pieces[run->piece_first]);
        run->piece_first = (run->piece_first + 1) & (run->piece_capacity - 1);
        run->piece_count--;
        run->first = 0;
    }
    return d;
}

/* ---- all of them ---- */

void runs_push(struct runs *r, const struct delivery *d) {
    uint32_t i = 0;
    while (i < r->run_count && delivery_before(d, run_at(&r->items[i], r->items[i].count - 1))) {
        i++;
    }
    if (i == r->run_count) {
        r->run_count++;
        r->items = mem_resize(r->items, r->run_count * sizeof *r->items);
        r->items[i] = (struct run){.pieces = NULL};
    }
    run_push(&r->items[i], d);
    r->count++;
}

static uint32_t first_run(const struct runs *r) {
    uint32_t first = 0;
    must(r->count > 0);
    for (uint32_t i = 1; i < r->run_count; i++) {
        if (delivery_before(run_at(&r->items[i], 0), run_at(&r->items[first], 0))) {
            first = i;
        }
    }
    return first;
}

struct delivery *runs_first(struct runs *r) {
    return run_at(&r->items[first_run(r)], 0);
}

struct delivery runs_pop(struct runs *r) {
    const uint32_t i = first_run(r);
    struct run *run = &r->items[i];
    const struct delivery d = run_pop(run);
    r->count--;
    if (run->count == 0) {
        run_free(run);
        r->run_count--;
        memmove(run, run + 1, (r->run_count - i) * sizeof *run);
    }
    if (r->count == 0) {
        mem_free(r->items);
        r->items = NULL;
    }
    return d;
}

struct delivery *runs_at(const struct runs *r, uint32_t i) {
    struct run *run = r->items;
    must(i < r->count);
    for (; i >= run->count; run++) {
        i -= run->count;
    }
    return run_at(run, i);
}

void runs_deinit(struct runs *r) {
    for (uint32_t i = 0; i < r->count; i++) {
        message_unref(runs_at(r, i)->message);
    }
    for (uint32_t i = 0; i < r->run_count; i++) {
        run_free(&r->items[i]);
    }
    mem_free(r->items);
    *r = (struct runs){NULL, 0, 0};
}
