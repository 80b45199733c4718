/* The barriers and rules of the design by name, and how a test breaks one.
 *
 * Every place where a packet must wait for a record names its barrier: barrier(mutant, BARRIER_B3, lsn) is the lsn that
 * the packet waits for. A mutant is one barrier or rule left out; it exists so that the tests can show that they would
 * notice. Only the simulator ever sets one. */
#pragma once

#include "base/types.h"

/*      name, what is left out */
#define MUTANT_ROWS(ROW)                                                                                               \
    ROW(B1, "an outbound PUBLISH does not wait for its packet id (SENT)")                                              \
    ROW(B2_ACK, "PUBREC and PUBACK do not wait for the message (MESSAGE, HELD)")                                       \
    ROW(B2_ONWARD, "the onward PUBLISH does not wait for the message (MESSAGE, HELD)")                                 \
    ROW(B2_ATOMIC, "the held id is recorded apart from the message, after it")                                         \
    ROW(B3, "PUBREL does not wait for RECEIVED")                                                                       \
    ROW(B4, "PUBCOMP does not wait for FREED")                                                                         \
    ROW(B5, "the end of an outbound flow (DONE) is not recorded")                                                      \
    ROW(B7_SUBACK, "SUBACK does not wait for SUBSCRIBED")                                                              \
    ROW(B7_CONNACK, "CONNACK does not wait for SESSION")                                                               \
    ROW(B8, "the discard of a session (SESSION_END) is not recorded")                                                  \
    ROW(B9, "at a takeover the old connection goes on")                                                                \
    ROW(B10_RETAINED, "a retained message is not recorded")                                                            \
    ROW(B10_WILL, "a will is not recorded")                                                                            \
    ROW(R1, "the DUP flag decides whether a PUBLISH is a repeat")                                                      \
    ROW(R2, "held packet ids are forgotten after a time")                                                              \
    ROW(R3, "after Session Present 0 a session keeps its old ids")                                                     \
    ROW(R4, "the id allocator does not skip ids in flight")                                                            \
    ROW(R5_QUOTA, "the send quota comes back at PUBREC already")                                                       \
    ROW(R5_CONNECTION, "the send quota is kept from one connection to the next")                                       \
    ROW(R6_REPEAT, "the second repeat of a packet closes the connection")                                              \
    ROW(R6_PUBREL, "an unknown PUBREL is not answered")                                                                \
    ROW(R7, "unanswered packets are resent on a live connection")                                                      \
    ROW(R8, "PUBACK does not keep the order of the PUBLISH packets")                                                   \
    ROW(R9, "overlapping subscriptions share one delivery state")                                                      \
    ROW(R10, "a flow that has begun is dropped when its message expires")                                              \
    ROW(REL_RESEND, "an owed PUBREL is not resent after a reconnect")                                                  \
    ROW(DUP_FORWARD, "a repeat is forwarded again")                                                                    \
    ROW(QUEUE_DROP, "a message for a full queue is dropped silently")                                                  \
    ROW(ORDER, "resumed flows are resent in the order of their packet ids")

enum mutant {
    MUTANT_NONE = 0,
#define MUTANT_ENUM(name, text) MUTANT_##name,
    MUTANT_ROWS(MUTANT_ENUM)
#undef MUTANT_ENUM
        MUTANT_COUNT
};

/* The lsn that a packet must wait for, which is `after` unless this very barrier is left out. */
static inline lsn_t barrier(enum mutant left_out, enum mutant which, lsn_t after) {
    return __builtin_expect(left_out == which, 0) ? 0 : after;
}
