/* A small world: messages go from one actor to the next over a connection that can be cut, by the rules of a protocol.
 *
 *     publisher ── hop 0 ──> server [ ── hop 1 ──> subscriber ]
 *
 * Each hop has a sender, which is the qos_out of the broker, and a receiver, which is its qos_in; what the protocol
 * does otherwise than MQTT is a handful of questions to its row. A connection keeps order; a cut loses what is on its
 * way, and the sides connect again at once and send again what they must. What a side keeps is kept in the moment in
 * which it says so: how a disk can break that is barrier.h's matter.
 *
 * A run is a list of moves. The judge looks at what was passed on at the end of the chain, and at what the first sender
 * believes. One thread, no time, no randomness. */
#pragma once

#include "explain/protocol.h"
#include "explain/search.h"
#include "session/qos_in.h"
#include "session/qos_out.h"

#define CHAIN_HOPS_MAX 2
#define CHAIN_MESSAGES_MAX 4
#define CHAIN_FLYING_MAX 16

enum wire_type { WIRE_NONE = 0, WIRE_PUBLISH, WIRE_PUBREC, WIRE_PUBREL, WIRE_PUBCOMP, WIRE_TYPES };

/* A packet on its way. */
struct wire_packet {
    enum wire_type type;
    packet_id_t id;
    unsigned message; /* PUBLISH: which */
    bool again;       /* sent before, on an earlier connection */
};

struct wire {
    struct wire_packet packets[CHAIN_FLYING_MAX];
    unsigned count;
};

struct hop {
    /* sender */
    struct qos_out out;
    unsigned waiting[CHAIN_MESSAGES_MAX]; /* messages that it has not sent, in order */
    unsigned waiting_count;
    bool ended[CHAIN_MESSAGES_MAX]; /* the sender believes that it has arrived, and keeps nothing of it */
    bool released[4];               /* of which ids PUBREL was sent on this connection */
    uint8_t behind[4]; /* FREE_AT_LATER_ANSWER: of each id, the ids of PUBLISH packets sent behind its PUBREL: bits */
    /* receiver */
    struct qos_in in;
    packet_id_t highest;                 /* MEMORY_HIGHEST */
    unsigned passed[CHAIN_MESSAGES_MAX]; /* how often each message was passed on */
    /* connection */
    struct wire there, back;
    unsigned sent[WIRE_TYPES]; /* packets that were sent, of each type */
};

/* What may happen. */
struct chain_limits {
    const struct protocol_row *protocol;
    unsigned hops;     /* 1 or 2 */
    unsigned messages; /* that the publisher has */
    unsigned cuts, crashes, timeouts;
};

/* The kinds of a chain's moves; `who` is the hop. */
enum move_kind {
    MOVE_SEND = 1, /* the sender begins with its next message */
    MOVE_THERE,    /* the first packet on its way to the receiver arrives and is answered */
    MOVE_BACK,     /* the first packet on its way to the sender arrives and is answered */
    MOVE_CUT,
    MOVE_SENDER_CRASH,
    MOVE_RECEIVER_CRASH,
    MOVE_TIMEOUT, /* the receiver's memory runs out */
};

struct chain {
    struct chain_limits limits;
    struct hop hops[CHAIN_HOPS_MAX];
    unsigned cuts, crashes, timeouts; /* left */
    struct message *messages[CHAIN_MESSAGES_MAX];
    struct story *story; /* NULL: nothing is told */
};

/* Borrows the protocol and the story; the story gets its actors. */
void chain_init(struct chain *c, const struct chain_limits *limits, struct story *story);
void chain_deinit(struct chain *c);

/* What can happen now. */
unsigned chain_moves(const struct chain *c, struct move out[SEARCH_MOVES_MAX]);
void chain_act(struct chain *c, struct move move);
/* Without faults, to the end. */
void chain_finish(struct chain *c);
/* Cuts a hop as soon as a packet of this type is on its way there; false when none ever is. */
bool chain_cut_at(struct chain *c, unsigned hop, enum wire_type type);

/* True when nothing can happen but faults. */
bool chain_at_rest(const struct chain *c);
/* The worst that has happened so far and will not be mended by itself. At rest, what is left behind counts too. */
struct finding chain_judge(const struct chain *c);
/* Ids that the receivers hold. */
unsigned chain_held(const struct chain *c);
uint64_t chain_digest(const struct chain *c);
/* A chain as a world that can be searched; `what` is its struct chain_limits. */
extern const struct search_world chain_world;
const char *wire_name(enum wire_type type);
/* 'A', 'B', ... */
char chain_letter(unsigned message);
