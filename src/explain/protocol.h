/* The ways in which a message could be handed over exactly once, the right and the wrong ones: one row for each.
 *
 * The sender numbers its messages with packet ids, the receiver passes a message on when its PUBLISH comes and answers
 * with PUBREC. A protocol is what its row says beyond that; chain.c plays all of them with the same few lines over the
 * session code of the broker. With two packets PUBREC ends the flow; with three the sender answers it with PUBREL; with
 * four the receiver answers that with PUBCOMP. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What the receiver keeps to know a repeat by. */
enum memory {
    MEMORY_NOTHING = 0,
    MEMORY_IDS,     /* every id, until PUBREL; where there is no PUBREL, for ever */
    MEMORY_TIMED,   /* every id, until a timer runs out: at any time */
    MEMORY_LAST,    /* the id that came last */
    MEMORY_HIGHEST, /* the highest number that came */
};

/* What a search through all that can happen finds, from the best to the worst. */
enum outcome {
    OUTCOME_RIGHT = 0, /* exactly once, and nothing is left behind */
    OUTCOME_LEFTOVER,  /* exactly once, but the receiver keeps something when all is done */
    OUTCOME_STUCK,     /* a message never arrives, and its sender knows that it is not done */
    OUTCOME_LOST,      /* a message never arrives, and its sender believes that it did */
    OUTCOME_DUPLICATE, /* a message is passed on twice */
};

/* When the sender takes an id for free. */
enum frees {
    FREE_AT_PUBREC = 0,
    FREE_AT_PUBREL,        /* when PUBREL has been sent */
    FREE_AT_PUBREL_TWICE,  /* the same; and on a new connection PUBREL goes before an id's next new message */
    FREE_AT_PUBREL_ALWAYS, /* the same, and before messages that are sent again, too */
    FREE_AT_LATER_ANSWER,  /* when a PUBLISH that was sent behind PUBREL, on the same connection, is answered */
    FREE_AT_PUBCOMP,
};

#define IDS_NEW 65535 /* in these small worlds: no id comes twice */

/*      name, packets, ids, window, memory, an id is free, survives a crash, outcome,
        what it is */
#define PROTOCOL_ROWS(ROW)                                                                                             \
    ROW("four", 4, 2, 2, MEMORY_IDS, FREE_AT_PUBCOMP, true, OUTCOME_RIGHT,                                             \
        "The standard's QoS 2: PUBLISH, PUBREC, PUBREL, PUBCOMP, on ids that are used again.")                         \
    ROW("four-volatile", 4, 2, 2, MEMORY_IDS, FREE_AT_PUBCOMP, false, OUTCOME_DUPLICATE,                               \
        "The same, but a crash takes the memory of the side that crashes.")                                            \
    ROW("two-reused", 2, 1, 1, MEMORY_NOTHING, FREE_AT_PUBREC, true, OUTCOME_DUPLICATE,                                \
        "Two packets, ids are used again, the server remembers nothing (QoS 1, whose PUBREC is PUBACK).")              \
    ROW("two-forever", 2, 1, 1, MEMORY_IDS, FREE_AT_PUBREC, true, OUTCOME_LOST,                                        \
        "Two packets, ids are used again, the server remembers every id for ever.")                                    \
    ROW("two-timer", 2, IDS_NEW, 1, MEMORY_TIMED, FREE_AT_PUBREC, true, OUTCOME_DUPLICATE,                             \
        "Two packets, ids never come again, the server forgets each after a time.")                                    \
    ROW("two-last", 2, IDS_NEW, 2, MEMORY_LAST, FREE_AT_PUBREC, true, OUTCOME_DUPLICATE,                               \
        "Two packets, ids never come again, two under way, the server remembers the last id.")                         \
    ROW("two-alternating", 2, 2, 1, MEMORY_LAST, FREE_AT_PUBREC, true, OUTCOME_LEFTOVER,                               \
        "Two packets, one message under way at a time, ids alternate, the server remembers the last id.")              \
    ROW("two-sequence", 2, IDS_NEW, 2, MEMORY_HIGHEST, FREE_AT_PUBREC, true, OUTCOME_LEFTOVER,                         \
        "Two packets, numbers that only grow, the server remembers the highest.")                                      \
    ROW("two-database", 2, IDS_NEW, 2, MEMORY_IDS, FREE_AT_PUBREC, true, OUTCOME_LEFTOVER,                             \
        "Two packets, ids never come again, the server remembers all of them for ever.")                               \
    ROW("three", 3, 1, 1, MEMORY_IDS, FREE_AT_PUBREL, true, OUTCOME_LOST,                                              \
        "Three packets: without PUBCOMP, an id is free when its PUBREL has been sent.")                                \
    ROW("three-twice", 3, 1, 1, MEMORY_IDS, FREE_AT_PUBREL_TWICE, true, OUTCOME_LOST,                                  \
        "The same, and on a new connection PUBREL is sent once more before an id's next new message.")                 \
    ROW("three-always", 3, 1, 1, MEMORY_IDS, FREE_AT_PUBREL_ALWAYS, true, OUTCOME_DUPLICATE,                           \
        "The same, and before a message that is sent again, too.")                                                     \
    ROW("three-unique", 3, IDS_NEW, 2, MEMORY_IDS, FREE_AT_PUBREL, true, OUTCOME_LEFTOVER,                             \
        "Three packets, and ids never come again.")                                                                    \
    ROW("three-implicit", 3, 3, 2, MEMORY_IDS, FREE_AT_LATER_ANSWER, true, OUTCOME_RIGHT,                              \
        "Three packets, an id is free when a message sent behind its PUBREL has been answered.")

struct protocol_row {
    const char *name;
    unsigned packets; /* 2, 3 or 4 */
    uint16_t ids;     /* how many there are; the sender uses them in turn */
    uint16_t window;  /* messages sent and not answered by PUBREC, at most */
    enum memory memory;
    enum frees frees;
    bool durable;         /* what a side remembers outlives its crash */
    enum outcome outcome; /* what the search finds */
    const char *text;
};

extern const struct protocol_row protocols[];
extern const unsigned protocol_count;

/* NULL when there is none of that name. */
const struct protocol_row *protocol_named(const char *name);
const char *outcome_name(enum outcome v);
