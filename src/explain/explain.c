#include "explain/explain.h"

#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "explain/barrier.h"
#include "explain/chain.h"

/* ---- the flow, unbroken and broken ---- */

struct cut_text {
    const char *title, *after;
};

static const struct cut_text cuts[] = {
    {NULL, NULL},
    {"Broken at *1: PUBLISH does not arrive",
     "The sender cannot tell whether A has arrived, so it must send A again, under the same id: that is all that makes "
     "it the same message. The receiver has no 1, so it is new."},
    {"Broken at *2: PUBREC does not arrive",
     "For the sender nothing is different from *1, and so it does the same. The receiver is the one that can tell: it "
     "has 1, so this is a repeat. The payload has crossed twice, and was passed on once."},
    {"Broken at *3: PUBREL does not arrive",
     "PUBREC has come, so the payload never crosses again: the sender has deleted it. What it cannot tell is whether "
     "the receiver has forgotten 1, and until it can, 1 must not name another message. It asks again, in four bytes."},
    {"Broken at *4: PUBCOMP does not arrive",
     "The receiver has deleted 1, and with it every trace of A. That is no loss: PUBREL for an id that it does not "
     "have can only be a repeat while both sides keep their session, and is answered like the first (with reason 0x92 "
     "in "
     "5.0). Now nobody keeps anything."},
};

static void add_sent(struct buf *text, const struct chain *c) {
    for (unsigned h = 0; h < c->limits.hops; h++) {
        page_add(text, "%s%s:", h > 0 ? "\n" : "", c->limits.hops == 1 ? "Sent" : h == 0 ? "First hop" : "Second hop");
        for (unsigned type = WIRE_PUBLISH; type < WIRE_TYPES; type++) {
            page_add(text, "%s %s %u", type > WIRE_PUBLISH ? "," : "", wire_name((enum wire_type)type),
                     c->hops[h].sent[type]);
        }
        page_add(text, ". A was passed on %s; ids kept at the end: %u.",
                 c->hops[h].passed[0] == 1 ? "once" : "NOT ONCE", c->hops[h].in.count + c->hops[h].out.count);
    }
}

static void show_flow(struct page *page, unsigned hops, unsigned cut, const struct section *of) {
    const struct chain_limits limits = {.protocol = &protocols[0], .hops = hops, .messages = 1};
    struct story story = {0};
    struct chain c;
    struct buf text = {NULL, 0, 0};
    chain_init(&c, &limits, &story);
    if (cut > 0) {
        (void)chain_cut_at(&c, hops - 1, (enum wire_type)cut);
    }
    chain_finish(&c);
    if (of->after != NULL) {
        page_add(&text, "%s\n\n", of->after);
    }
    add_sent(&text, &c);
    struct section section = *of;
    section.story = &story;
    section.after = page_text(&text);
    page_section(page, &section);
    buf_deinit(&text);
    story_deinit(&story);
    chain_deinit(&c);
}

static void explain_answer(struct page *page) {
    page_section(page,
                 &(struct section){
                     .title = "Why four packets?",
                     .after = "Would PUBLISH and PUBREC not do, if the server keeps what it has seen in a database "
                              "and drops repeats? They would, as long as no number comes twice and nothing is "
                              "ever forgotten. The other two packets buy the right to forget. PUBREL says: I "
                              "shall never send this again, you may forget its id. PUBCOMP says: I have "
                              "forgotten it, you may use it again. That is how 65,535 ids last for ever."});
}

void explain_flow(struct page *page, unsigned hops) {
    const struct section section = {
        .title = "The four packets of QoS 2, unbroken",
        .before = hops == 1 ? "What each side stores and deletes stands beside its line, at the packet that lets it. "
                              "Whatever is stored is on the disk before the next packet leaves. (3.1.1 also lets a "
                              "server pass A on at PUBREL instead; nothing else changes.)"
                            : "The server is a receiver to the publisher and a sender to the subscriber; both hops are "
                              "the same four packets, and do not wait for each other."};
    show_flow(page, hops, 0, &section);
}

void explain_cut(struct page *page, unsigned hops, unsigned cut) {
    const struct section section = {.title = cuts[cut].title, .after = cuts[cut].after};
    show_flow(page, hops, cut, &section);
}

/* ---- other protocols ---- */

static const struct chain_limits search_limits = {.hops = 1, .messages = 4, .cuts = 3, .crashes = 2, .timeouts = 2};

static void add_outcome(struct buf *text, const struct search_result *r) {
    const struct page_number states = page_number(r->states);
    switch (r->worst.outcome) {
    case OUTCOME_RIGHT:
    case OUTCOME_LEFTOVER:
        page_add(
            text,
            "Searched to the end: in none of %s states (%u messages, at most %u cuts and %u crashes, runs of up to "
            "%u moves) is a message lost or passed on twice.",
            states.text, search_limits.messages, search_limits.cuts, search_limits.crashes, r->depth);
        break;
    case OUTCOME_LOST:
    case OUTCOME_DUPLICATE:
    case OUTCOME_STUCK:
        page_add(text, "%c %s. No shorter run goes wrong: this one has %u moves, found breadth first among %s states.",
                 chain_letter(r->worst.message),
                 r->worst.outcome == OUTCOME_LOST        ? "is lost, and the publisher believes that it has arrived"
                 : r->worst.outcome == OUTCOME_DUPLICATE ? "is passed on twice"
                                                         : "never arrives",
                 r->path_len, states.text);
        break;
    }
    if (r->worst.outcome == OUTCOME_LEFTOVER) {
        page_add(text, " But when all is done the server still keeps %u id%s for these %u messages.", r->worst.held,
                 r->worst.held == 1 ? "" : "s", search_limits.messages);
    } else if (r->worst.outcome == OUTCOME_RIGHT) {
        page_add(text, " The server keeps at most %u ids at a time, and none when all is done.", r->held_max);
    }
}

/* Of what leaves something behind, a run with fewer messages is shown. */
static void tell_run(const struct chain_limits *limits, const struct search_result *r, struct story *story) {
    struct chain_limits few = *limits;
    struct search_result smaller;
    if (r->worst.outcome != OUTCOME_LEFTOVER) {
        search_tell(&chain_world, limits, r, story);
        return;
    }
    few.messages = 2;
    search_run(&chain_world, &few, &smaller);
    search_tell(&chain_world, &few, &smaller, story);
}

bool explain_protocol(struct page *page, const struct protocol_row *protocol) {
    struct chain_limits limits = search_limits;
    struct search_result result;
    struct story story = {0};
    struct buf title = {NULL, 0, 0};
    struct buf text = {NULL, 0, 0};
    limits.protocol = protocol;
    search_run(&chain_world, &limits, &result);
    tell_run(&limits, &result, &story);
    add_outcome(&text, &result);
    page_add(&title, "Protocol %s", protocol->name);
    page_section(page, &(struct section){.title = page_text(&title),
                                         .before = protocol->text,
                                         .story = result.path_len > 0 ? &story : NULL,
                                         .after = page_text(&text),
                                         .outcome = outcome_name(result.worst.outcome)});
    buf_deinit(&title);
    buf_deinit(&text);
    story_deinit(&story);
    return result.worst.outcome == protocol->outcome;
}

void explain_protocols(struct page *page) {
    struct buf text = {NULL, 0, 0};
    for (unsigned i = 0; i < protocol_count; i++) {
        page_add(&text, "%s%-16s (%s)\n    %s", i > 0 ? "\n" : "", protocols[i].name,
                 outcome_name(protocols[i].outcome), protocols[i].text);
    }
    page_section(page, &(struct section){.title = "Protocols", .after = page_text(&text)});
    buf_deinit(&text);
}

/* ---- what must be kept ---- */

enum {
    MILLION = 1000000,
    DATABASE_ID_BYTES = 8, /* the least that names every message of a publisher for ever */
    SECONDS_PER_DAY = 86400,
    EXAMPLE_RATE = 1000,
    QOS_IN_PAGES = 64,
    QOS_IN_PAGE_BYTES = 1024 / 8,
};

size_t explain_held_bytes(const struct qos_in *in) {
    size_t bytes = in->pages != NULL ? QOS_IN_PAGES * sizeof *in->pages : 0;
    for (unsigned i = 0; bytes > 0 && i < QOS_IN_PAGES; i++) {
        bytes += in->pages[i] != NULL ? QOS_IN_PAGE_BYTES : 0;
    }
    return bytes;
}

/* What the server keeps when every id is held, and when all of them have been released again. */
static void measure_held(struct page_number *all, struct page_number *none) {
    struct qos_in in = {NULL, 0};
    for (packet_id_t id = UINT16_MAX; id > 0; id--) {
        must(qos_in_hold(&in, id));
    }
    *all = page_number(explain_held_bytes(&in));
    for (packet_id_t id = UINT16_MAX; id > 0; id--) {
        must(qos_in_free(&in, id));
    }
    qos_in_shrink(&in);
    *none = page_number(explain_held_bytes(&in));
    qos_in_deinit(&in);
}

static size_t map_of_a_million_bytes(void) {
    struct map64 seen = map64_of(1);
    for (uint64_t id = 1; id <= MILLION; id++) {
        (void)map64_put(&seen, id, &seen);
    }
    const size_t bytes = seen.capacity * sizeof *seen.slots;
    map64_deinit(&seen);
    return bytes;
}

void explain_memory(struct page *page) {
    struct buf text = {NULL, 0, 0};
    struct page_number all;
    struct page_number none;
    const struct page_number bare = page_number((unsigned long long)MILLION * DATABASE_ID_BYTES);
    const struct page_number map = page_number(map_of_a_million_bytes());
    const struct page_number day = page_number((unsigned long long)EXAMPLE_RATE * SECONDS_PER_DAY * DATABASE_ID_BYTES);
    measure_held(&all, &none);
    page_add(&text, "four packets         65,535 ids, all     %12s bytes, measured in this program\n", all.text);
    page_add(&text, "                     then all released   %12s bytes\n", none.text);
    page_add(&text, "a database           1,000,000 messages  %12s bytes as bare numbers of %d bytes\n", bare.text,
             DATABASE_ID_BYTES);
    page_add(&text, "                                         %12s bytes in this program's hash map\n", map.text);
    page_add(&text, "                     a day of 1,000/s    %12s bytes as bare numbers, and the next day again\n",
             day.text);
    page_section(page, &(struct section){.title = "What the server keeps of one publisher, to know a repeat by",
                                         .after = page_text(&text)});
    buf_deinit(&text);
}

/* ---- all ---- */

struct shown {
    struct page *page;
    bool as_claimed;
};

static void show_barrier(void *user, const struct barrier_row *row) {
    struct shown *shown = user;
    shown->as_claimed = barrier_explain(shown->page, row) && shown->as_claimed;
}

static bool explain_barrier(struct page *page, const char *name) {
    struct shown shown = {page, true};
    return barrier_each(name, show_barrier, &shown) && shown.as_claimed;
}

static bool explain_all(struct page *page, unsigned hops) {
    bool as_claimed = true;
    explain_answer(page);
    explain_flow(page, hops);
    for (unsigned cut = 1; cut <= 4; cut++) {
        explain_cut(page, hops, cut);
    }
    for (unsigned i = 0; i < protocol_count; i++) {
        as_claimed = explain_protocol(page, &protocols[i]) && as_claimed;
    }
    explain_memory(page);
    barrier_list(page);
    for (unsigned i = 0; i < barrier_count; i++) {
        as_claimed = barrier_explain(page, &barriers[i]) && as_claimed;
    }
    return as_claimed;
}

static bool explain_one_protocol(struct page *page, const struct protocol_row *protocol) {
    const bool as_claimed = explain_protocol(page, protocol);
    if (strcmp(protocol->name, "two-database") == 0) {
        explain_memory(page);
    }
    return as_claimed;
}

bool explain_run(struct page *page, const struct explain_options *options) {
    bool as_claimed = true;
    if (options->cut > 0) {
        explain_cut(page, options->hops, options->cut);
    } else if (options->flow) {
        explain_flow(page, options->hops);
    } else if (options->protocols) {
        explain_protocols(page);
    } else if (options->barriers) {
        barrier_list(page);
    } else if (options->protocol != NULL) {
        as_claimed = explain_one_protocol(page, options->protocol);
    } else if (options->barrier != NULL) {
        as_claimed = explain_barrier(page, options->barrier);
    } else {
        as_claimed = explain_all(page, options->hops);
    }
    page_end(page);
    return as_claimed;
}
