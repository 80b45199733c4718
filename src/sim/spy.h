/* Reads along on the connection of a real client and judges what the client says: the four packets in their order, an
 * id for one message at a time, no resend on a live connection, answers in the order of what they answer.
 *
 * It is to the real clients what the model client is to the broker: written apart from the code that it judges, and
 * told of nothing but bytes and of when a process began. What it learns of acceptance and subscriptions it tells the
 * oracle. */
#pragma once

#include "sim/conn.h"
#include "sim/mini.h"
#include "sim/plan.h"

#define SIM_SPY_OWED_MAX 64
#define SPY_BYTES (SIM_PIPE_BYTES + MINI_PACKET_BYTES)

enum spy_state { SPY_NONE = 0, SPY_PUBLISHED, SPY_RECEIVED, SPY_RELEASED };

/* A publish of the client under one id, as the wire shows it. */
struct spy_flow {
    enum spy_state state; /* SPY_RECEIVED: PUBREC was read; SPY_RELEASED: PUBREL was written */
    uint8_t qos;
    int message;
    bool sent_here; /* on this connection */
    bool counted;   /* its PUBLISH went out on this connection and has no final answer */
    uint32_t order; /* of the message among the application's */
};

/* An answer that the client owes. */
struct spy_owed {
    uint16_t type;
    uint16_t id;
};

/* A subscription of the client. */
struct spy_wanted {
    bool asked, granted, leaving; /* SUBSCRIBE written; SUBACK read; UNSUBSCRIBE written */
    int subscription;             /* the oracle's */
};

struct spy_request {
    uint8_t type; /* SUBSCRIBE, UNSUBSCRIBE; 0: free */
    uint16_t id;
    uint8_t places[SIM_WANTED_MAX]; /* in wanted[] */
    unsigned count;
};

/* What a client knows of whether its session lives, by its own wall clock: it had a connection between the two times,
 * or later. */
struct spy_sight {
    wall_ms_t earliest, latest;
    bool unsure;  /* a connection was begun since whose CONNACK has not come: its CONNECT may have left */
    bool doubted; /* and then the session may have expired by its clock; no clock may deny that later */
};

struct spy {
    /* of the session */
    bool session; /* the broker has said that there is one */
    bool loose;   /* it has been away for its expiry: the broker may have forgotten it */
    bool cleaned; /* the client has asked for a clean start, and nothing rests on the session that follows */
    bool renewed; /* and has read the CONNACK */
    bool untold;  /* it has read that the broker has lost its session with its disk, and its own need not know yet */
    struct spy_flow flows[SIM_IDS_MAX + 1];
    struct spy_wanted wanted[SIM_WANTED_MAX];
    uint64_t lost;                /* messages under way when the session was lost: bits */
    uint64_t given_up;            /* messages whose flows the process has given up since it began: bits */
    struct spy_sight sight, kept; /* what the client has seen of the session; what a crash leaves of that */
    bool was_unsure;              /* before this connection */
    wall_ms_t asked;              /* it made CONNECT or PINGREQ then, which is not answered; 0: there is none */
    /* of the connection */
    bool connack_seen;
    uint16_t server_receive_maximum;
    unsigned unanswered; /* PUBLISH packets at QoS 1 and 2 without their final answer */
    uint32_t last_resent;
    bool fresh_sent; /* a PUBLISH that is no resend was written */
    struct spy_owed owed[SIM_SPY_OWED_MAX];
    unsigned owed_count;
    struct spy_request requests[SIM_IDS_MAX];
    uint8_t out[SPY_BYTES], in[SPY_BYTES]; /* parts of packets */
    size_t out_len, in_len;
};

struct peer;
struct world;

/* The client begins a connection, or has lost it. */
void spy_connected(struct world *w, struct peer *p);
void spy_lost(struct spy *s);
/* All that it has recorded is on its disk; its process is gone. */
void spy_recorded(struct spy *s);
void spy_died(struct world *w, struct peer *p);
/* Another client that knows nothing goes on with its session. */
void spy_replaced(struct world *w, struct peer *p);
/* The application gives up the flows of a lost session. */
void spy_given_up(struct spy *s);
/* It has written, it is about to read these bytes. */
void spy_out(struct world *w, struct peer *p, struct span bytes);
void spy_in(struct world *w, struct peer *p, struct span bytes);
/* The broker's clock says that its session has been away for its expiry. */
void spy_session_due(struct world *w, struct peer *p);
/* What is not finished on the wire; false when nothing. */
bool spy_describe(const struct world *w, const struct peer *p, char *out, size_t bytes);
uint64_t spy_digest(const struct spy *s);
