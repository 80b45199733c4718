/* The verdict on one run, made from its recorded wire and nothing else.
 *
 * It keeps a receiver's and a sender's state of its own, as the standard has them, from what passed on each hop, and so
 * knows what was delivered, how often and in which order, which flows never ended, and which packets the broker was not
 * allowed to send. It shares nothing with the clients. A message counts as taken over once the broker has sent its
 * PUBREC. Thread: one; the scratch memory is kept from run to run. */
#pragma once

#include "torture/wire.h"

/* The columns of the table. */
enum judge_column {
    JUDGE_LOST = 0,   /* the broker had taken it over, and a subscriber never got it */
    JUDGE_DUPLICATED, /* a subscriber got it again as a new message */
    JUDGE_REORDERED,  /* overtaken by a later message of the same publisher [MQTT-4.6.0-5, 4.6.0-6] */
    JUDGE_STUCK,      /* its flow never ended */
    JUDGE_FORGOTTEN,  /* Session Present 0 where 1 was owed */
    JUDGE_VIOLATION,  /* a packet, or a close, that the standard does not allow here */
    JUDGE_COLUMNS,
};

struct judge_finding {
    enum judge_column column;
    uint32_t message;      /* or WIRE_NO_MESSAGE */
    uint32_t other;        /* a second message that matters, or WIRE_NO_MESSAGE */
    uint8_t who;           /* the client at which it was seen */
    size_t record;         /* the last record that matters */
    const char *statement; /* of a violation or a forgotten session; NULL: no statement has a number for it */
    const char *text;      /* static */
};

/* Findings of one run that are kept; all are counted. */
#define JUDGE_FINDINGS_MAX 64

struct judgement {
    uint64_t counts[JUDGE_COLUMNS];
    uint64_t published;  /* messages that were sent at least once */
    uint64_t deliveries; /* messages that subscribers took as new */
    struct judge_finding findings[JUDGE_FINDINGS_MAX];
    size_t finding_count;
};

/* What was agreed before the run. */
struct judge_terms {
    enum protocol protocol;
    uint32_t messages;        /* in the publisher's outbox, numbered from 0 */
    uint8_t subscribers;      /* numbered from 1 */
    uint16_t receive_maximum; /* that subscribers announced; 0: none */
};

struct judge;

/* Returns a new judge; the caller destroys it. */
struct judge *judge_create(void);
void judge_destroy(struct judge *j);
void judge_run(struct judge *j, const struct wire *wire, const struct judge_terms *terms, struct judgement *out);
const char *judge_column_text(enum judge_column column);
/* True when every column is 0. */
bool judgement_clean(const struct judgement *m);
/* Appends the part of the wire that led to a finding: the packets of its messages on both hops, and what happened to
 * the connections meanwhile. Returns the number of lines. */
size_t judge_excerpt(struct buf *out, const struct wire *wire, const struct judge_finding *finding);
