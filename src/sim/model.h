/* A model client: strict, durable, and under the simulator's control packet by packet.
 *
 * What it keeps over its own crashes (its session's belief, outbox, flows, held ids, subscriptions) stands apart from
 * what belongs to one connection. A crash of the client is a cut after which it keeps the first part only; since it
 * changes its durable part in one go with the handling of each packet, that is all that a crash can do to it.
 *
 * It obeys the standard to the letter where its peer could be hurt by the contrary, repeats packets where that is
 * allowed, and checks every packet that it gets: identifiers, DUP, order, Receive Maximum, answers in their order. */
#pragma once

#include "base/types.h"
#include "sim/conn.h"
#include "sim/mini.h"
#include "sim/oracle.h"
#include "sim/plan.h"

#define SIM_OWED_MAX 32
#define SIM_EXPECTED_MAX 64

enum belief {
    BELIEF_NONE = 0, /* the broker has no session of this client */
    BELIEF_MAYBE,
    BELIEF_SURE,
};

/* A publish of its own, under way; its place is its packet id. */
struct model_flow {
    uint8_t state; /* 0: none, 1: PUBLISH sent, 2: PUBREC came */
    uint8_t qos;
    bool sent_here;    /* on this connection */
    bool quota_here;   /* counts against the server's Receive Maximum */
    bool refused_once; /* a refusal came while answers to repeats are under way */
    int message;
    uint32_t publish_order, release_order;
    unsigned releases; /* PUBREL packets written, on all connections */
};

/* What came under one packet id. */
struct model_inbound {
    uint8_t state;  /* 0: nothing open, 1: QoS 1 not yet acknowledged, 2: QoS 2 held */
    bool known;     /* `message` is the last one that came under this id */
    bool counted;   /* against our Receive Maximum, on this connection */
    bool ambiguous; /* at QoS 1: a resend or another copy, which are ordered differently */
    bool rec_sent;  /* PUBREC was written, on any connection */
    int message;
    uint8_t qos;
    bool retain;
    uint32_t identifier;
    uint32_t serial;     /* connection of the last PUBLISH */
    uint32_t first_seen; /* order of first appearance */
    uint32_t rec_order;  /* order of the first PUBREC after the last PUBLISH */
    bool rel_possible;   /* a PUBREL may be owed from before: PUBREC was sent and no PUBLISH came since */
};

struct model_wanted {
    uint8_t state; /* 0: not subscribed, 1: SUBSCRIBE sent, 2: subscribed, 3: UNSUBSCRIBE sent */
    bool sent_here;
    uint16_t id; /* of the packet under way */
    int subscription;
};

struct model_packet {
    uint8_t type;
    uint16_t id;
    uint8_t reason;
    int what;      /* message or place in wanted[] that it is about; -1: nothing */
    bool optional; /* it may be left out: a PUBREL that was owed from before */
};

/* An end in order: DISCONNECT and all before it is on its way, on a connection that nobody cuts. */
struct model_bye {
    bool said;
    bool ends_session; /* Session Expiry Interval 0 */
    int will;          /* that it cancels; -1: none */
    unsigned starts;   /* of the broker, until then */
};

struct model {
    int index;
    const struct plan_client *plan;
    /* durable */
    enum belief session;
    bool session_volatile; /* the session ends with its connection */
    bool wants_clean;      /* the next CONNECT starts clean; until its CONNACK has come */
    bool distrusts;        /* the session may have expired: only a clean start is sure */
    bool connecting;       /* a CONNECT was written since the last CONNACK */
    bool unanswered;       /* a CONNECT was written since the last CONNACK, before this connection's */
    bool was_connected;    /* an earlier connection of this session may have brought deliveries */
    bool will_possible;    /* a will may be set at the broker */
    int will_message;      /* -1: none */
    int will_due;          /* that of the connection before: it is due; -1: none */
    struct model_bye bye;  /* how the connection before has ended */
    struct model_flow flows[SIM_IDS_MAX + 1];
    struct model_inbound in[SIM_IDS_MAX + 1];
    struct model_wanted wanted[SIM_WANTED_MAX];
    uint32_t order; /* counts whatever needs an order */
    uint32_t next_message_order;
    mono_ms_t ended_at; /* when the last connection with a CONNACK ended, at the earliest */
    mono_ms_t again_at; /* after a refusal, nothing new is tried before */
    /* of this connection */
    int conn; /* -1: none */
    uint32_t serial;
    bool connack_seen;
    enum belief asked_belief; /* what was believed when CONNECT was written */
    bool asked_clean, asked_volatile;
    bool identifiers; /* subscriptions have them */
    uint16_t server_receive_maximum;
    unsigned quota_used;  /* QoS 1 and 2 publishes of ours that are not answered, on this connection */
    unsigned counted;     /* of the broker's towards us */
    bool fresh_seen;      /* on this connection, a delivery that is new and without DUP */
    uint32_t last_resent; /* highest first_seen of what was resent on this connection */
    struct model_packet owed[SIM_OWED_MAX];
    unsigned owed_count;
    struct model_packet expected[SIM_EXPECTED_MAX];
    unsigned expected_count;
};

void model_init(struct model *m, int index, const struct plan_client *plan);
/* Whether an action of this client is possible now, and doing it. */
bool model_can(struct world *w, const struct model *m, enum action a);
void model_act(struct world *w, struct model *m, enum action a);
/* Handles one whole packet that the broker sent on the client's connection. */
void model_receive(struct world *w, struct model *m, struct span packet);
/* The connection is gone for the client. */
void model_lost(struct world *w, struct model *m);
/* Time has passed: a session that has been without connection for its expiry interval may be gone. */
void model_time(struct world *w, struct model *m);
/* The broker may have lost its session. */
void model_doubt(struct world *w, struct model *m);
/* Nothing is under way at this client, and it is connected. */
bool model_settled(const struct world *w, const struct model *m);
/* What it waits for, for a report. */
void model_describe(const struct world *w, const struct model *m, char *out, size_t bytes);
uint64_t model_digest(const struct model *m);
