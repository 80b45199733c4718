/* The torture: one thread, one epoll instance, strict clients, and a proxy between each of them and the broker.
 *
 * A run is one publisher, its subscribers, one fault of the catalogue, and a calm phase in which everything must
 * complete. A lane does one run after the other with sessions that begin anew each time; several lanes work side by
 * side, and a batch is over when all of them are done. A batch with a SIGKILL or a power cut has one lane that says
 * when; it strikes all.
 *
 *      wipe -> connect -> (all lanes) -> run, fault -> everything complete -> calm: connect anew -> done, judged
 *
 * The proxy lies between the clients, which live in this process, and the sockets of the broker. A packet passes it
 * whole, so "sent but not received" is exact on both sides, and what a client sends and what the broker gets are
 * recorded apart. Every file says what it owns. */
#pragma once

#include <signal.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/prng.h"
#include "torture/fault.h"
#include "torture/judge.h"
#include "torture/options.h"
#include "torture/victim.h"
#include "torture/wire.h"

#define NS_PER_MS 1000000LL
#define TORTURE_RECEIVE_MAXIMUM 20 /* that 5.0 subscribers announce */
#define TORTURE_LANES_MAX 100
#define ADDRESSES_MAX 8

struct torture;
struct lane;

enum actor_state {
    ACTOR_DOWN = 0,
    ACTOR_OPENING, /* the socket is connecting */
    ACTOR_WAITING, /* CONNECT is on its way, CONNACK has not come */
    ACTOR_UP,
};

/* A message between its first PUBLISH and its PUBREC, or between PUBREC and PUBCOMP. */
struct in_flight {
    uint32_t message;
    uint16_t packet_id;
};

struct in_flight_list {
    struct in_flight *flows; /* in the order in which they entered */
    size_t count;
    size_t capacity;
};

/* A strict publisher: a durable outbox of numbered messages, few packet ids, everything in order. */
struct sender {
    struct in_flight_list sent;     /* PUBREC has not come */
    struct in_flight_list released; /* PUBCOMP has not come */
    struct in_flight_list again;    /* to be published anew: refused, or sent to a session that is gone */
    uint32_t next;                  /* the first message that was never sent */
    uint32_t completed;
    uint32_t window; /* what the broker's receive maximum leaves of ours */
    uint16_t ids;    /* packet ids 1 to this are used */
    uint16_t last_id;
    bool reuse;       /* a packet id carries the next message as soon as it is free */
    int64_t again_ns; /* when what was refused may be published anew */
};

/* A subscriber that keeps what came in the recorder's memory: it answers every PUBLISH and every PUBREL. */
struct receiver {
    uint8_t *got;    /* messages that came */
    uint8_t *open;   /* packet ids between PUBLISH and PUBREL */
    uint32_t count;  /* messages */
    uint32_t opened; /* packet ids */
    bool subscribed;
};

struct actor {
    struct lane *lane;
    uint8_t who; /* 0 the publisher */
    char id[24];
    struct sender sender;     /* who is 0 */
    struct receiver receiver; /* else */

    /* The connection. */
    enum actor_state state;
    int fd;              /* -1: none */
    size_t address;      /* of the broker, that it was opened to */
    uint32_t watched;    /* what epoll watches */
    uint16_t connection; /* its number in this run */
    struct buf in;       /* from the broker, no whole packet yet */
    struct buf out;      /* to the broker, not sent yet */
    int64_t reopen_ns;   /* 0: not waiting */
    int64_t opened_ns;
    bool wiping; /* it connects in order to end its session */
    bool wiped;
    bool pinged;
    bool ponged;

    /* The proxy. */
    bool muted;      /* nothing passes any more */
    bool cut;        /* the connection is to be cut at the end of the turn */
    bool dead;       /* the broker has died: what is sent gets lost */
    uint8_t awaited; /* the packet type whose loss ends the connection, when muted */
    uint16_t awaited_id;
    int64_t muted_ns;
    struct buf late;      /* bytes that shall arrive after the takeover */
    int late_fd;          /* on this half-open connection; -1 */
    uint32_t *message_of; /* the message of the last PUBLISH on each packet id */
};

/* The fault of a run. */
struct strike {
    struct fault_row row;
    uint32_t message;
    uint8_t who;   /* the client whose connection it concerns */
    int left;      /* strikes to come */
    bool struck;   /* at least one came */
    uint32_t tear; /* draws the byte at which a packet is torn */
    int64_t away_ns;
    int64_t delay_ns; /* before the broker dies, when the packet passes */
};

enum lane_phase { LANE_IDLE = 0, LANE_WIPE, LANE_CONNECT, LANE_READY, LANE_RUN, LANE_CALM, LANE_DONE };

struct lane {
    struct torture *torture;
    uint16_t number;
    enum protocol protocol;
    enum lane_phase phase;
    size_t row; /* the index of its row in the statistics */
    uint64_t run;
    uint32_t messages;
    uint32_t window;
    struct actor *clients; /* the publisher, then the subscribers */
    size_t client_count;
    struct strike strike;
    uint64_t mix_left; /* strikes to be drawn in this run */
    struct prng prng;
    struct wire wire;
    int64_t began_ns;
    int64_t active_ns;   /* when a packet came or went for the last time */
    int64_t phase_ns;    /* when its phase began */
    int64_t progress_ns; /* when a message moved on for the last time */
    uint64_t progress;   /* how far they are, all added up */
    char topic[48];
};

/* What happened in all runs of one row. */
struct row_stats {
    struct fault_row row;
    uint64_t runs;   /* in which the fault happened */
    uint64_t missed; /* in which it could not, because the packet never came */
    uint64_t counts[JUDGE_COLUMNS];
};

/* What is left of a connection whose client has gone. */
struct ghost {
    int fd;
    struct lane *lane;
    uint8_t who;
    uint16_t connection;
    bool silent; /* half-open: the broker must close it when the client connects anew */
};

/* The shortest trace of one column of one row. */
struct story {
    size_t row;
    uint64_t run;
    struct judge_finding finding;
    enum protocol protocol;
    size_t lines;
    struct buf text;
    struct buf places; /* all messages of which the same was found, as far as there is room */
    uint64_t places_run;
    uint64_t places_left_out;
};

#define STATS_MAX (FAULT_ROWS_MAX + 2)

struct torture {
    const struct torture_options *options;
    const volatile sig_atomic_t *stop;
    struct fault_table table; /* what was asked for */
    struct fault_table all;   /* what a mix draws from */
    struct row_stats stats[STATS_MAX];
    size_t stats_count;
    struct story stories[STATS_MAX * JUDGE_COLUMNS];
    size_t story_count;
    struct victim victim;
    uint16_t port;
    struct judge *judge;
    struct address {
        struct sockaddr_storage name;
        socklen_t length;
    } addresses[ADDRESSES_MAX]; /* of the host; connections try one after the other until one has answered */
    size_t address_count;
    size_t address;         /* the one to be tried */
    bool answered;          /* a CONNACK came */
    const char *trouble;    /* why there is none yet, as far as it is known */
    uint8_t trouble_reason; /* of that CONNACK; 0: none */
    struct lane lanes[TORTURE_LANES_MAX];
    size_t lane_count;
    size_t busy_lanes; /* that take part in this batch */
    int epoll;
    struct ghost *ghosts; /* connections that are half-open or half-closed until the batch ends */
    size_t ghost_count;
    size_t ghost_capacity;
    int64_t now_ns;
    int64_t kill_ns;           /* when the broker is to die; 0: not */
    enum fault_kind kill_kind; /* KIND_POWER: first its disk dies */
    bool unpowered;            /* its disk has died, it has not */
    bool killed;               /* in this batch */
    struct prng prng;
    uint64_t runs, messages, deliveries, cuts, kills, power_cuts;
    size_t kill_any; /* the rows of those lanes that a death strikes at any moment */
    size_t power_any;
    int64_t progress_ns; /* of the next progress line */
    int64_t started_ns;
    struct buf scratch;
    bool failed;
    char failure[512];
};

/* ---- run.c: batches and the loop ---- */

/* Runs what the options say; false when it could not be finished. torture_deinit() frees what it holds. */
bool torture_run(struct torture *t, const struct torture_options *options, const volatile sig_atomic_t *stop);
void torture_deinit(struct torture *t);
void torture_fail(struct torture *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* True when every column of every row is 0. */
bool torture_clean(const struct torture *t);
/* Adds up one column over all rows. */
uint64_t torture_count(const struct torture *t, enum judge_column column);
int64_t clock_ns(void);
/* Keeps the socket of a connection open, unwatched, until the batch ends. */
void torture_ghost(struct torture *t, const struct actor *c, enum wire_event event);
/* The last attempt to connect came to nothing. */
void torture_trouble(struct torture *t, const char *text, uint8_t reason);

/* ---- lane.c: the phases of a run ---- */

void lane_init(struct torture *t, struct lane *lane, uint16_t number);
void lane_deinit(struct lane *lane);
void lane_begin(struct lane *lane, size_t row, uint64_t run, uint32_t messages);
/* Moves on when its phase is over. */
void lane_step(struct lane *lane);
void lane_record(struct lane *lane, struct wire_record record);
/* Notes what happened to a connection. */
void lane_event(struct lane *lane, const struct actor *c, enum wire_event event);
/* Draws the next strike of a run of the row mix. */
void lane_draw(struct lane *lane);

/* ---- actor.c: a connection and its session ---- */

void actor_init(struct lane *lane, struct actor *c, uint8_t who);
void actor_deinit(struct actor *c);
/* Forgets everything of the last run. */
void actor_begin(struct actor *c);
void actor_open(struct actor *c);
/* Serves what epoll reported. */
void actor_ready(struct actor *c, uint32_t events);
/* At the end of each turn: sends what waits, cuts what is to be cut, connects when it is time. */
void actor_turn(struct actor *c);
/* Reads what a dead broker still had sent, then drops the connection. */
void actor_broker_died(struct actor *c);
/* The connection is gone; the client connects again after so long (negative: not by itself). */
void actor_drop(struct actor *c, int64_t away_ns);
/* Closes the connection as a client that vanishes does. */
void actor_close(struct actor *c, enum wire_event event);
void actor_ping(struct actor *c);
/* Sends an acknowledgement through the proxy. */
void actor_acknowledge(struct actor *c, enum packet_type type, uint16_t packet_id);

/* ---- proxy.c: what lies between ---- */

/* A whole packet that the client sends. */
void proxy_send(struct actor *c, struct span bytes, struct wire_record record);
/* A whole packet that the broker sent; gives it to the client as often as it arrives. */
void proxy_receive(struct actor *c, const struct packet_frame *frame, const struct packet *packet,
                   struct wire_record record);
/* Cuts the connection as the strike wants it. */
void proxy_cut(struct actor *c);

/* ---- sender.c, receiver.c ---- */

/* A packet that arrived at the client. */
void actor_take(struct actor *c, const struct packet *packet);
void sender_begin(struct actor *c);
void sender_deinit(struct actor *c);
void sender_up(struct actor *c, bool session);
void sender_take(struct actor *c, const struct packet *packet);
/* Publishes as much as the window allows. */
void sender_fill(struct actor *c);
bool sender_done(const struct actor *c);
/* The number of a message from its payload, or WIRE_NO_MESSAGE; *damaged when it is not as it was published. */
uint32_t message_number(const struct lane *lane, const struct packet_publish *p, bool *damaged);
void receiver_begin(struct actor *c);
void receiver_deinit(struct actor *c);
void receiver_up(struct actor *c, bool session);
void receiver_take(struct actor *c, const struct packet *packet);
bool receiver_done(const struct actor *c);
