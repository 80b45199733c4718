/* The judge: what was published, what was subscribed, what arrived; and whether that keeps the promise.
 *
 * It knows only what a client can know: when a packet was handed to the network and when an answer came. What the
 * broker did in between is an interval, and judgement is strict inside those intervals: a subscription is "sure" from
 * SUBACK until UNSUBSCRIBE is written, "possible" from SUBSCRIBE written until UNSUBACK. Shares no code with the
 * broker.
 *
 *     G1  each accepted message arrives once for each subscription that was sure from its first PUBLISH to its answer
 *     G2  never more often than there were possible subscriptions (QoS 1: times the PUBLISH packets that were sent)
 *     G3  first arrivals of one publisher, topic and QoS keep their order */
#pragma once

#include "base/types.h"
#include "sim/mini.h"
#include "sim/plan.h"
#include "sim/topics.h"

#define SIM_SUBSCRIPTIONS_MAX 192
#define SIM_MESSAGES_ALL (SIM_MESSAGES_MAX + SIM_SET_MAX)

struct world;

enum sim_message_state {
    SIM_MESSAGE_NONE = 0,
    SIM_MESSAGE_WAITING, /* in the publisher's outbox, no PUBLISH was sent (or it was refused and comes again) */
    SIM_MESSAGE_FLYING,  /* PUBLISH was sent */
    SIM_MESSAGE_DONE,    /* PUBACK, PUBREC: accepted */
    SIM_MESSAGE_UNKNOWN, /* the session ended before the answer came: may or may not have been accepted */
};

/* An application message; its number is its place. */
struct sim_message {
    enum sim_message_state state;
    int publisher;
    uint8_t topic; /* index in sim_topics */
    uint8_t qos;
    bool retain;
    bool will;
    bool clears;         /* empty payload: clears the retained message */
    uint64_t due;        /* a will: it is to be published, at this step or later; 0: it need not be */
    bool cancelled;      /* a will: DISCONNECT has come, it is never published */
    bool real;           /* of a real client's application */
    uint64_t stored;     /* real: step at which publish said that it is stored; 0: not */
    bool refused;        /* real: the broker has refused it */
    bool completed;      /* real: its flow has ended on the wire */
    bool doubtful;       /* real: its session was lost meanwhile, nothing is promised */
    bool again;          /* that is why it was published once more after it had been accepted */
    bool repeated;       /* its PUBLISH was sent again, also on another connection: an answer may have been lost */
    bool unordered;      /* it has no place among the publisher's any more */
    uint32_t expiry;     /* seconds; 0: none */
    uint16_t bytes;      /* of the payload */
    uint32_t order;      /* among the publisher's */
    unsigned sends;      /* PUBLISH packets that carried it and may have been accepted as new ones */
    uint64_t first_sent; /* step; 0: never */
    uint64_t accepted;   /* step at which the publisher saw the answer; 0: not */
    mono_ms_t sent_at, accepted_at;
};

/* What one session asked to receive. */
struct sim_subscription {
    bool used;
    int client;
    unsigned incarnation; /* of the client's session */
    struct plan_wanted what;
    uint32_t identifier;                 /* 0: none */
    unsigned asks;                       /* SUBSCRIBE packets written */
    uint64_t asked, sure, leaving, gone; /* steps; 0: not */
};

/* What arrived of one message in the current session of one client. */
struct sim_arrival {
    uint8_t copies[3];   /* new deliveries, by QoS */
    uint8_t perhaps;     /* at QoS 1: resends that may have been other copies */
    uint8_t retained;    /* of them, those that had RETAIN set */
    uint64_t first_step; /* of the first that had no RETAIN */
    uint64_t first_any;  /* of the first */
};

struct oracle {
    struct sim_message messages[SIM_MESSAGES_ALL];
    unsigned message_count;
    struct sim_subscription subscriptions[SIM_SUBSCRIPTIONS_MAX];
    struct sim_arrival arrivals[SIM_CLIENTS_MAX][SIM_MESSAGES_ALL];
    unsigned incarnation[SIM_CLIENTS_MAX];
    /* Of real clients: PUBLISH packets with DUP at QoS 1, each of which the library gives to the application. */
    uint8_t resent[SIM_CLIENTS_MAX][SIM_MESSAGES_ALL];
    bool loose[SIM_CLIENTS_MAX]; /* of real clients: its session may have expired, what it receives is not judged */
    uint64_t judged_from[SIM_CLIENTS_MAX]; /* what was published before belongs to a session that was lost */
    uint64_t delivered;                    /* new deliveries, all */
};

/* A message that a client may publish now, as the plan and the choices have it; `order`: among the client's. */
struct sim_message oracle_draw_message(struct world *w, int client, uint32_t order);
/* The message of a retained set at this place. */
struct sim_message oracle_set_message(const struct world *w, int client, unsigned place);
/* A new message in a client's outbox; returns its number, or -1 when there is no room. */
int oracle_message(struct world *w, const struct sim_message *m);
/* Whether a PUBLISH with it may be larger than this client takes. */
bool oracle_may_be_too_large(const struct world *w, int client, const struct sim_message *m);
/* The broker has lost its disk: nothing is promised of what was published. */
void oracle_disk_lost(struct world *w);
/* Writes a message's payload to `out` (1,024 bytes at least); returns its bytes. */
size_t oracle_payload(const struct world *w, int message, uint8_t *out);
/* The message that a payload belongs to, -1 when it is none's or is damaged. */
int oracle_identify(const struct world *w, struct span topic, struct span payload);

/* A will's connection has ended (at `step`) without DISCONNECT: it is to be published. */
void oracle_will_due(struct world *w, int message, uint64_t step);
/* The client is answered on its next connection: the will of the one before is published by now, or is not any more. */
void oracle_will_over(struct world *w, int message);
void oracle_will_cancelled(struct world *w, int message);
/* A real client's application has given it to the library, which may send it from now on; it is called stored. */
void oracle_handed(struct world *w, int message);
void oracle_stored(struct world *w, int message);
/* PUBLISH with it is written. `new_flow`: the broker may accept it as a new message. */
void oracle_published(struct world *w, int message, bool may_be_new);
void oracle_accepted(struct world *w, int message);
void oracle_refused(struct world *w, int message);
/* The session ended with the message under way. */
void oracle_abandoned(struct world *w, int message);

/* A client's session has certainly ended; a new one begins. */
void oracle_new_session(struct world *w, int client);
/* A client's session may end from now on. */
void oracle_session_leaving(struct world *w, int client);
/* SUBSCRIBE written; `which` is the client's place for it. Returns the subscription's number. */
int oracle_subscribing(struct world *w, int client, const struct plan_wanted *what, uint32_t identifier);
void oracle_subscribed(struct world *w, int subscription);
void oracle_unsubscribing(struct world *w, int subscription);
void oracle_unsubscribed(struct world *w, int subscription);

/* A client takes a message into its inbox: a new delivery, not a resend. */
struct sim_delivery {
    int client;
    int message;
    uint8_t qos;
    bool retain;
    bool dup;
    uint32_t identifier;
};
void oracle_delivered(struct world *w, const struct sim_delivery *d);

/* A message that came as a retained one may have been the topic's at that time. */
void oracle_check_retained(struct world *w, const struct sim_delivery *d);
/* How many messages may wait for this client's session, at most. */
unsigned oracle_waiting(const struct world *w, int client);
/* The message that is surely retained under a topic now, -1: none; whether one may be. */
int oracle_retained(const struct world *w, uint8_t topic);
bool oracle_may_be_retained(const struct world *w, uint8_t topic);
/* At the end: what was surely the retained message of a topic when this client subscribed has come. */
void oracle_judge_retained(struct world *w, int client);
/* What a PUBLISH says of how long its message still lives; `connected`: since when its connection exists. */
void oracle_check_expiry(struct world *w, int client, int message, const struct mini_packet *p, mono_ms_t connected);
/* When all has come to rest and no time has passed: what has not expired by now has arrived at those who are there. */
void oracle_judge_living(struct world *w);
/* At the end, when all is calm: what should have arrived has arrived. */
void oracle_judge(struct world *w);
/* For the explorer. */
uint64_t oracle_digest(const struct world *w);
