/* The barriers and rules of the design by name, and how a test breaks one.
 *
 * Every place where a packet must wait for a record names its barrier: barrier(mutant, BARRIER_B3, lsn) is the lsn that
 * the packet waits for. A mutant is one barrier or rule left out; it exists so that the tests can show that they would
 * notice. Only the simulator ever sets one, on one side: in the broker or in the clients. */
#pragma once

#include "base/account_rows.h"
#include "base/types.h"

/*      name, whose it is (MUTANT_OF_*), what is left out */
#define MUTANT_ROWS(ROW)                                                                                               \
    ROW(B0, CLIENT, "publish says stored before the message is durable (MESSAGE)")                                     \
    ROW(B1, BOTH, "an outbound PUBLISH does not wait for its packet id (SENT)")                                        \
    ROW(B2_ACK, BOTH, "PUBREC and PUBACK do not wait for the message (MESSAGE, HELD)")                                 \
    ROW(B2_ONWARD, BOTH, "the onward PUBLISH, or the application, does not wait for the message (MESSAGE, HELD)")      \
    ROW(B2_ATOMIC, BOTH, "the held id is recorded apart from the message, after it")                                   \
    ROW(B3, BOTH, "PUBREL does not wait for RECEIVED")                                                                 \
    ROW(B4, BOTH, "PUBCOMP does not wait for FREED")                                                                   \
    ROW(B5, BOTH, "the end of an outbound flow (DONE) is not recorded")                                                \
    ROW(B6_DONE, CLIENT, "a message is done (DROPPED) when the application takes it")                                  \
    ROW(B6_RESUME, CLIENT, "the position that the application has kept is not heeded")                                 \
    ROW(B7_SUBACK, BOTH, "SUBACK does not wait for SUBSCRIBED; a client records it when it asks")                      \
    ROW(B7_RETAINED, BROKER, "SUBACK does not wait for the retained messages that come with it (RETAINED)")            \
    ROW(B7_BODIES, BROKER, "RETAINED is recorded when its bodies may be gone already: after the lock")                 \
    ROW(B7_CONNACK, BROKER, "CONNACK does not wait for SESSION")                                                       \
    ROW(B8, BROKER, "the discard of a session (SESSION_END) is not recorded")                                          \
    ROW(B9, BROKER, "at a takeover the old connection goes on")                                                        \
    ROW(B10_RETAINED, BROKER, "a retained message is not recorded")                                                    \
    ROW(B10_WILL, BROKER, "a will is not recorded")                                                                    \
    ROW(B10_GOODBYE, BROKER, "the close after DISCONNECT does not wait for the end of the will (WILL_CLEARED)")        \
    ROW(R1, BOTH, "the DUP flag decides whether a PUBLISH is a repeat")                                                \
    ROW(R2, BROKER, "held packet ids are forgotten after a time")                                                      \
    ROW(R3, BOTH, "after Session Present 0 a session keeps its old ids")                                               \
    ROW(R4, BOTH, "the id allocator does not skip ids in flight")                                                      \
    ROW(R5_QUOTA, BOTH, "the send quota comes back at PUBREC already")                                                 \
    ROW(R5_CONNECTION, BOTH, "the send quota is kept from one connection to the next")                                 \
    ROW(R6_REPEAT, BROKER, "the second repeat of a packet closes the connection")                                      \
    ROW(R6_PUBREL, BOTH, "an unknown PUBREL is not answered")                                                          \
    ROW(R7, BOTH, "unanswered packets are resent on a live connection")                                                \
    ROW(R8, BROKER, "PUBACK does not keep the order of the PUBLISH packets")                                           \
    ROW(R9, BROKER, "overlapping subscriptions share one delivery state")                                              \
    ROW(R10, BROKER, "a flow that has begun is dropped when its message expires")                                      \
    ROW(REL_RESEND, BOTH, "an owed PUBREL is not resent after a reconnect")                                            \
    ROW(DUP_FORWARD, BOTH, "a repeat is forwarded, or given to the application, again")                                \
    ROW(QUEUE_DROP, BOTH, "a message for a full queue or inbox is dropped silently")                                   \
    ROW(QUEUE_END, BROKER, "the end of a session whose queue is full (SESSION_END) is not recorded")                   \
    ROW(QUEUE_END_ACK, BROKER, "a publisher's answer does not wait for the end of a session that was in its way")      \
    ROW(ORDER, BOTH, "resumed flows are resent in the order of their packet ids")                                      \
    ROW(SEQUENCE, CLIENT, "the application's own numbers of its messages are not recorded")                            \
    ROW(LOST, CLIENT, "Session Present 0 is taken for 1: flows go on under their old ids")                             \
    ROW(TRUST, CLIENT, "a session that may have expired unseen is taken for the old one")                              \
    ROW(CLOCK, BROKER, "how store time stands to the wall clock (CLOCK) is not recorded")                              \
    ROW(CLOCK_WALL, BROKER, "what expires does so by the wall clock, whatever it is set to")                           \
    ROW(REST, BROKER, "at rest a segment of the journal that is not folded is given back")                             \
    ACCOUNT_ROWS(MUTANT_LEFT, ROW)                                                                                     \
    ACCOUNT_ROWS(MUTANT_TWICE, ROW)

/* Two for each row of the accounts, in their order. */
#define MUTANT_LEFT(ROW, name, text) ROW(QUOTA_LEFT_##name, BROKER, "not accounted for: " text)
#define MUTANT_TWICE(ROW, name, text) ROW(QUOTA_TWICE_##name, BROKER, "given back twice: " text)

enum mutant {
    MUTANT_NONE = 0,
#define MUTANT_ENUM(name, side, text) MUTANT_##name,
    MUTANT_ROWS(MUTANT_ENUM)
#undef MUTANT_ENUM
        MUTANT_COUNT
};

/* On which side a mutant can be set: bits. */
enum mutant_side { MUTANT_OF_BROKER = 1, MUTANT_OF_CLIENT = 2, MUTANT_OF_BOTH = 3 };

/* The lsn that a packet must wait for, which is `after` unless this very barrier is left out. */
static inline lsn_t barrier(enum mutant left_out, enum mutant which, lsn_t after) {
    return __builtin_expect(left_out == which, 0) ? 0 : after;
}
