/* What one simulated history is made of: the machines, the clients, the limits and which faults strike how often.
 * Drawn from a seed, so that each seed exercises another part of the space; or fixed by hand for the explorer. */
#pragma once

#include <stdio.h>

#include "broker/limits.h"
#include "session/barrier.h"
#include "store/store_local.h"

#define SIM_SHARDS_MAX 4
#define SIM_CLIENTS_MAX 6
#define SIM_MESSAGES_MAX 64 /* beside a retained set */
#define SIM_SET_MAX 240     /* messages of a retained set, each with a topic of its own */
#define SIM_IDS_MAX 8
#define SIM_WANTED_MAX 3
#define SIM_MATCHES_MAX 1024 /* no message of a history matches so many; with fewer a 3.1.1 publisher may be closed */
#define SIM_PIPE_BYTES_DRAWN 2048 /* a reader that is not slow */

/*      name, weight beside the calm ones, what happens */
#define ACTION_ROWS(ROW)                                                                                               \
    ROW(TO_BROKER, "bytes of a client reach the broker")                                                               \
    ROW(TO_CLIENT, "bytes of the broker reach a client")                                                               \
    ROW(TURN, "a shard takes a turn: mail, durable, output")                                                           \
    ROW(COMMIT, "the store does one disk operation of a commit")                                                       \
    ROW(ACCEPT, "a connection that was opened is accepted")                                                            \
    ROW(MOVED, "a connection arrives at the shard that it was moved to")                                               \
    ROW(BROKER_SEES_END, "the broker sees that a connection has ended")                                                \
    ROW(CLIENT_SEES_END, "a client sees that its connection has ended")                                                \
    ROW(START, "the broker is started")                                                                                \
    ROW(CONNECT, "a client connects")                                                                                  \
    ROW(RESPOND, "a client sends the next response that it owes")                                                      \
    ROW(FLOW, "a client sends the next packet of its outbox")                                                          \
    ROW(CREATE, "a publisher puts a new message into its outbox")                                                      \
    ROW(SUBSCRIBE, "a client subscribes to one more filter")                                                           \
    ROW(UNSUBSCRIBE, "a client unsubscribes from one")                                                                 \
    ROW(CHECKPOINT, "the store folds a step of the journal into the table")                                            \
    ROW(SEAL, "the store seals its last frame")                                                                        \
    ROW(TIME, "time passes")                                                                                           \
    ROW(PING, "a client pings")                                                                                        \
    ROW(REPEAT, "a client repeats a packet on a live connection")                                                      \
    ROW(STRAY, "a client releases a packet id that is not in use")                                                     \
    ROW(DISCONNECT, "a client disconnects in order")                                                                   \
    ROW(CUT, "a connection is cut")                                                                                    \
    ROW(TAKEOVER, "a client opens a new connection beside its old one")                                                \
    ROW(CLEAN, "a client decides to start clean next time")                                                            \
    ROW(STOP, "the broker stops in order")                                                                             \
    ROW(KILL, "the broker is killed")                                                                                  \
    ROW(POWER, "the broker's machine loses power")                                                                     \
    ROW(POWER_SOON, "the power goes at one of the next disk calls")                                                    \
    ROW(POWER_IN_TURN, "the power goes in the middle of a turn's output")                                              \
    ROW(DISK_FULL, "the disk is full, or no longer")                                                                   \
    ROW(DISK_FAILS, "one of the next disk calls fails")                                                                \
    ROW(PEER_START, "a client's process is started")                                                                   \
    ROW(PEER_TURN, "a client's engine takes a turn: time, durable, output")                                            \
    ROW(PEER_COMMIT, "a client's store does one disk operation of a commit")                                           \
    ROW(APP_TAKE, "an application takes a message from its inbox")                                                     \
    ROW(APP_EFFECT, "an application is done with a message that it has taken")                                         \
    ROW(APP_NOTE, "an application notes which of its messages are stored")                                             \
    ROW(PEER_CHECKPOINT, "a client's store folds a step of the journal into the table")                                \
    ROW(PEER_SEAL, "a client's store seals its last frame")                                                            \
    ROW(PEER_KILL, "a client's process is killed")                                                                     \
    ROW(PEER_POWER, "a client's machine loses power")                                                                  \
    ROW(PEER_POWER_SOON, "its power goes at one of the next disk calls")                                               \
    ROW(PEER_DISK_FULL, "a client's disk is full, or no longer")                                                       \
    ROW(PEER_DISK_FAILS, "one of the next disk calls of a client fails")                                               \
    ROW(DISK_LOST, "the broker's disk is replaced by an empty one")                                                    \
    ROW(PEER_REPLACE, "another engine with an empty store takes a client's identifier over")                           \
    ROW(CLOCK, "somebody's wall clock is set")                                                                         \
    ROW(PEST, "a hostile client does something")

enum action {
#define ACTION_ENUM(name, text) ACTION_##name,
    ACTION_ROWS(ACTION_ENUM)
#undef ACTION_ENUM
        ACTION_COUNT
};

/* One filter that a client may subscribe to. */
struct plan_wanted {
    uint8_t filter; /* index in sim_filters */
    uint8_t qos;
    bool no_local, retain_as_published; /* 5.0 */
    uint8_t retain_handling;            /* 5.0 */
};

/* What a real client does when the broker has forgotten its session. */
enum plan_lost { PLAN_LOST_RESEND = 0, PLAN_LOST_DROP, PLAN_LOST_ASK };

/*      name, drawn for one seed in so many (0: only when it is asked for), what it is */
#define PLAN_WORLD_ROWS(ROW)                                                                                           \
    ROW(SETS, 8, "retained sets that do not fit into one frame, and crashes around SUBACK")                            \
    ROW(CLOCKS, 24, "a wall clock that steps by days, while the broker runs and while it is down")                     \
    ROW(BOUNDS, 16, "small bounds, sessions that end when their queues are full, and hostile clients")                 \
    ROW(WILLS, 16, "wills of all kinds of sessions, connections that end and come back at once")

enum plan_world {
    PLAN_WORLD_DRAWN = 0, /* as the seed has it */
#define PLAN_WORLD_ENUM(name, share, text) PLAN_WORLD_##name,
    PLAN_WORLD_ROWS(PLAN_WORLD_ENUM)
#undef PLAN_WORLD_ENUM
};

/* What is not drawn from the seed: one barrier or rule left out, on one side, and the kind of world; zero: nothing. */
struct plan_variant {
    enum mutant broker, client;
    enum plan_world world;
};

struct plan_client {
    bool real;        /* the client engine on a machine of its own, else a model; what follows is about real ones */
    bool transaction; /* its application keeps the position in one transaction with its effect; else it says done */
    uint8_t hand;     /* so many messages its application may have taken and not be done with */
    enum plan_lost lost;
    uint16_t inbox_bytes; /* 0: plenty */
    uint16_t keep_alive;  /* seconds; 0: none */
    uint16_t packet_max;  /* bytes of the largest packet that it takes, 5.0; 0: plenty */
    /* of both kinds */
    bool five;       /* 5.0, else 3.1.1 */
    uint16_t habits; /* bits: it is hostile (pest.h) */
    bool durable;    /* its session outlives its connection */
    bool method_a;   /* as a receiver: gives the message on at PUBREL, else at PUBLISH */
    bool publishes;
    bool will;                /* connects with one, */
    bool will_retain;         /* which is retained */
    uint32_t will_delay;      /* seconds */
    uint32_t session_expiry;  /* 5.0, seconds, when durable */
    uint16_t window;          /* its own publishes under way */
    uint16_t receive_maximum; /* 0: not sent */
    uint16_t pipe_bytes;      /* what the connection holds towards it: a slow reader has a small one */
    struct plan_wanted wanted[SIM_WANTED_MAX];
    unsigned wanted_count;
};

struct plan {
    uint64_t seed;
    unsigned shards;
    struct plan_client clients[SIM_CLIENTS_MAX];
    unsigned client_count;
    unsigned ids;          /* packet ids are 1 to this, on both sides */
    unsigned messages;     /* published at most, wills apart */
    unsigned set;          /* retained messages that are there before anybody subscribes */
    unsigned steps;        /* of the phase with faults */
    unsigned topics;       /* the first so many topics are used */
    uint8_t qos_mask;      /* bit q: messages of QoS q are published */
    bool retain;           /* some messages are retained */
    bool wills;            /* a will is published whatever its session is, and never after DISCONNECT has come */
    bool expiry;           /* some messages expire */
    unsigned audits;       /* how often a packet of a real client is compared with its disk: one in so many; 0: never */
    bool ends_sessions;    /* a session whose queue is full while its client is away is ended */
    bool pests;            /* some clients are hostile */
    bool refusals;         /* queues are so small that publishes may be refused */
    bool fragments;        /* bytes travel in pieces of any size */
    bool wall_jumps;       /* the wall clock is set now and then, everybody's at once */
    bool clocks;           /* each real client has a wall clock of its own, which may be set, and so may the broker's */
    bool steps_of_days;    /* the broker's wall clock is set forward and back by days, also while it is down */
    bool no_clock;         /* and begins again when its power goes */
    bool deadlines;        /* time passes to the very instant at which a session may expire, or to the one before */
    bool real_expiry;      /* some messages of real clients expire */
    unsigned disk_losses;  /* of the broker, at most */
    unsigned replacements; /* of real clients by others, at most */
    unsigned forks;        /* how often it is asked what a power cut would leave, at most */
    uint16_t payload_max;  /* bytes */
    uint16_t weight[ACTION_COUNT];
    struct broker_options broker;
    enum mutant client_mutant; /* of the real clients */
    struct store_local_options store;
};

/* Leaves something out. */
static inline void plan_leave_out(struct plan *p, struct plan_variant variant) {
    p->broker.mutant = variant.broker;
    p->store.mutant_rest = variant.broker == MUTANT_REST;
    p->client_mutant = variant.client;
}
/* Draws the plan of a seed, which has the kind of world that `variant` asks for. */
void plan_draw(struct plan *p, uint64_t seed, struct plan_variant variant);
/* Faults strike less often beside all that goes well. */
void plan_faults_rare(struct plan *p);
/* What is special in a world: drawn over a plan that is complete. */
void plan_draw_world(struct plan *p, uint64_t seed, enum plan_world world);
/* A quiet one without faults, with small limits: to start from. */
void plan_base(struct plan *p);
/* One line for each thing that differs between plans. */
void plan_print(const struct plan *p, FILE *out);
const char *action_name(enum action a);
