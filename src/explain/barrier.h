/* The barriers of the design (section 5), each with the small world in which leaving it out can be seen.
 *
 * B0 and B6 are the client library's own and are left out in its tests. */
#pragma once

#include "explain/page.h"
#include "explain/stage.h"

/*      name, mutant, what must be durable, before what, the small world (fields of struct stage_plan) */
#define BARRIER_ROWS(ROW)                                                                                              \
    ROW("B1", B1, "the packet id of an outbound PUBLISH", "its first byte leaves", .ids = 2, .messages = 2, .qos = 2,  \
        .prior = 1, .shards = 2, .powers = 1)                                                                          \
    ROW("B2-ack", B2_ACK, "the message, its targets and its packet id", "PUBREC", .ids = 1, .messages = 1, .qos = 2,   \
        .powers = 1)                                                                                                   \
    ROW("B2-onward", B2_ONWARD, "the message, its targets and its packet id", "the PUBLISH to a subscriber", .ids = 1, \
        .messages = 1, .powers = 1)                                                                                    \
    ROW("B2-atomic", B2_ATOMIC, "the message and its packet id, in one record", "PUBREC", .ids = 1, .messages = 1,     \
        .qos = 2, .powers = 1)                                                                                         \
    ROW("B3", B3, "that PUBREC has come", "PUBREL", .ids = 1, .messages = 1, .qos = 2, .queued = true, .powers = 1)    \
    ROW("B4", B4, "that the packet id is forgotten", "PUBCOMP", .ids = 1, .messages = 2, .qos = 2, .powers = 1)        \
    ROW("B5", B5, "the end of an outbound flow", "its packet id is used again", .ids = 1, .messages = 1, .qos = 2,     \
        .queued = true, .restart = true, .powers = 1)                                                                  \
    ROW("B7-suback", B7_SUBACK, "the subscription", "SUBACK", .ids = 1, .messages = 1, .qos = 2, .subscribes = true,   \
        .powers = 1)                                                                                                   \
    ROW("B7-connack", B7_CONNACK, "the session", "CONNACK", .ids = 1, .qos = 2, .connects = true, .powers = 1)         \
    ROW("B8", B8, "that an old session is discarded", "CONNACK", .ids = 1, .qos = 2, .connects = true, .cleans = 1,    \
        .powers = 1)                                                                                                   \
    ROW("B9", B9, "(no record) the end of the old connection", "the new one is answered", .ids = 1, .messages = 1,     \
        .qos = 2, .late = true, .takeovers = 1)                                                                        \
    ROW("B10-retained", B10_RETAINED, "the retained message", "its PUBREC", .ids = 1, .messages = 1, .qos = 2,         \
        .retain = true, .subscribes = true, .powers = 1)                                                               \
    ROW("B10-will", B10_WILL, "the will", "CONNACK", .ids = 1, .qos = 2, .will = true, .connects = true, .powers = 1)

struct barrier_row {
    const char *name;
    const char *durable, *before;
    const char *left_out; /* what the mutant does, in the words of session/barrier.h */
    struct stage_plan world;
};

extern const struct barrier_row barriers[];
extern const unsigned barrier_count;

/* The barriers of that name ("B3"), or of all that it begins ("B2" is B2-ack, B2-onward and B2-atomic); calls `show`
 * for each. False when there is none. */
bool barrier_each(const char *name, void (*show)(void *user, const struct barrier_row *row), void *user);
/* Searches the world of a barrier with it left out and with it in place. False unless the one goes wrong and the other
 * does not. */
bool barrier_explain(struct page *page, const struct barrier_row *row);
/* Which there are. */
void barrier_list(struct page *page);
