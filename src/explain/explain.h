/* `quartet explain`: why QoS 2 has four packets, shown by small worlds that run while you look.
 *
 * Chapters: the answer in a few words; the flow unbroken; broken at each of its packets; other protocols, each with its
 * shortest counterexample or with the size of the search that found none; and the barriers, each left out of the real
 * broker. */
#pragma once

#include "explain/page.h"
#include "explain/protocol.h"
#include "session/qos_in.h"

struct explain_options {
    unsigned cut;                        /* 1 to 4: only this; 0: not given */
    bool flow;                           /* only the unbroken flow */
    const struct protocol_row *protocol; /* only this; NULL: not given */
    const char *barrier;                 /* only this one or these, as barrier_each() has it; NULL: not given */
    bool protocols, barriers;            /* only the list of them */
    unsigned hops;                       /* 1 or 2, of the flow and of --cut */
};

/* Prints what is asked for, or all of it. False when a search finds anything else than what the tables say. */
bool explain_run(struct page *page, const struct explain_options *options);
/* The chapters one by one. */
void explain_flow(struct page *page, unsigned hops);
void explain_cut(struct page *page, unsigned hops, unsigned cut);
bool explain_protocol(struct page *page, const struct protocol_row *protocol);
void explain_protocols(struct page *page);
/* What each way has to keep. */
void explain_memory(struct page *page);
/* What held packet ids have allocated: the pages of session/qos_in.h, and the pointers to them. */
size_t explain_held_bytes(const struct qos_in *in);
