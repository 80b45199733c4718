/* The barriers of the design (section 5), each with the small world in which leaving it out can be seen: those of the
 * server in stage.h, those of the client library (B0, B6) in library_stage.h. */
#pragma once

#include "explain/library_stage.h"
#include "explain/page.h"
#include "explain/stage.h"

struct barrier_row {
    const char *name;
    const char *durable, *before; /* what must be durable before what, in a few words */
    const char *rule, *here;      /* the same as a sentence; what is done instead */
    const struct search_world *kind;
    struct stage_plan stage;     /* of stage_world */
    struct library_plan library; /* of library_world */
};

extern const struct barrier_row barriers[];
extern const unsigned barrier_count;

/* The barriers of that name ("B3"), or of all that it begins ("B2" is B2-ack, B2-onward and B2-atomic); calls `show`
 * for each. False when there is none. */
bool barrier_each(const char *name, void (*show)(void *user, const struct barrier_row *row), void *user);
/* Which world of its kind: with the barrier left out. */
const void *barrier_plan(const struct barrier_row *row);
/* Searches that world, or the same with the barrier in place. */
void barrier_search(const struct barrier_row *row, bool in_place, struct search_result *result);
/* Searches both and shows what goes wrong. False unless the one goes wrong and the other does not. */
bool barrier_explain(struct page *page, const struct barrier_row *row);
/* Which there are. */
void barrier_list(struct page *page);
