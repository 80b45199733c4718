/* The real broker between a publisher and a subscriber, with its disk under our hand.
 *
 *     publisher ───> server: src/broker on src/store on the simulated disk ───> subscriber
 *
 * The server and its machine are those of the simulator (sim/node.h); the two clients are ours (player.h), so that a
 * run is a short list of moves, each of which a person can follow: a client sends its next packet, reads one and
 * answers, the disk catches up, the power goes. Any barrier or rule of session/barrier.h can be left out. */
#pragma once

#include "explain/search.h"
#include "session/barrier.h"
#include "sim/world.h"

/* Which small world. */
struct stage_plan {
    enum mutant mutant;
    packet_id_t ids;   /* that each side uses */
    unsigned messages; /* of the publisher */
    uint8_t qos;       /* of the subscription */
    bool queued;       /* begins with all messages accepted and the publisher gone: only the second hop moves */
    bool retain;       /* the messages are retained */
    bool will;         /* the publisher has a will, and does not come back */
    bool subscribes;   /* SUBSCRIBE is a move; else it has been answered at the beginning */
    bool connects;     /* CONNECT is a move; else it is answered at once, and the disk keeps up meanwhile */
    bool late;         /* what the publisher sends arrives later, also on a connection that it has given up */
    unsigned shards;   /* of the server; with 2 the subscriber's takes its mail only when that is a move; 0: 1 */
    unsigned prior;    /* of the messages, those that have been handed over at the beginning */
    bool slices;  /* a shard's turn is short, and until SUBACK the subscriber's takes its next when that is a move */
    bool goodbye; /* the publisher sends DISCONNECT, and that is a move */
    bool quick;   /* clients read what comes at once */
    bool restart; /* in the end the server starts once more, and is asked what it still has */
    unsigned powers, cuts, cleans, takeovers;
};

/* The kinds of a stage's moves; `who` is 0 for the publisher, 1 for the subscriber. */
enum stage_move {
    STAGE_READ = 1, /* a client reads a packet and answers */
    STAGE_ARRIVE,   /* a packet arrives at the server */
    STAGE_LATE,     /* a packet of a connection that was given up arrives at the server */
    STAGE_POWER,    /* the server's power fails; it starts again */
    STAGE_CUT,
    STAGE_CLEAN,    /* a client gives up its session: it connects again with a clean start */
    STAGE_TAKEOVER, /* a client opens a new connection beside its old one */
    STAGE_TURN,     /* the subscriber's shard takes its mail, or its next turn */
    STAGE_COMMIT,   /* the disk catches up */
    STAGE_CONNECT,
    STAGE_GOODBYE, /* a client sends DISCONNECT */
    STAGE_NEXT,    /* a client subscribes, or begins with a message */
};

/* `message` of a finding that is about no message, but about a session that is forgotten. */
#define STAGE_SESSION 255
/* The same, about one that was discarded and is back. */
#define STAGE_GHOST 254

/* The same, about one whose client has said goodbye, and whose will is published. */
#define STAGE_GOODBYE_LOST 253

/* `what` is a struct stage_plan. */
extern const struct search_world stage_world;
