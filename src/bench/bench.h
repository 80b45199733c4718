/* The load generator: one thread, one epoll instance, many clients that keep strictly to the protocol.
 *
 * Every turn reads what is readable, answers it, lets publishers fill their windows, and writes once to each
 * connection that has something to say. Each message carries its publisher, its number and its time; subscribers
 * check every one, so that a run ends with exact counts of what was lost, duplicated or out of order.
 *
 *      subscribe -> (detach) -> publish -> idle -> warm up -> measure -> drain -> leave -> (wipe) -> done
 *
 * What the phases of a run do is in run.c; what a client does in client.c, publisher.c and subscriber.c; what MQTT and
 * NATS look like on the wire in mqtt.c and nats.c. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "bench/channel.h"
#include "bench/flow.h"
#include "bench/histogram.h"
#include "bench/options.h"
#include "bench/process.h"
#include "bench/wire.h"

#define NS_PER_S 1000000000ULL

enum client_role { CLIENT_SUBSCRIBER = 1, CLIENT_PUBLISHER, CLIENT_IDLE };

enum client_state {
    CLIENT_CLOSED = 0,
    CLIENT_OPENING,     /* CONNECT is on its way, CONNACK has not come */
    CLIENT_SUBSCRIBING, /* SUBSCRIBE is on its way, SUBACK has not come */
    CLIENT_READY,
    CLIENT_LEAVING, /* DISCONNECT is on its way, the broker has not closed yet */
};

/* What a client wants of its session when it connects. */
enum client_aim {
    AIM_FRESH = 1, /* there is none yet */
    AIM_RESUME,    /* it must be there */
    AIM_WIPE,      /* it shall go; then leave */
};

/* An outbound message that the broker has not finished with. */
enum slot_state { SLOT_FREE = 0, SLOT_PUBACK, SLOT_PUBREC, SLOT_PUBCOMP };

struct slot {
    uint64_t time_ns;   /* of its stamp */
    uint16_t packet_id; /* 0 while free */
    uint8_t state;      /* enum slot_state: the packet that it waits for */
};

struct publisher {
    struct wire_template message;
    struct slot *slots; /* NULL at QoS 0; packet id modulo their number chooses one */
    uint64_t due;       /* messages whose time has come; only with a rate */
    uint64_t delivered; /* of its messages, to all subscribers together */
    uint64_t refused;   /* answered with a reason of 0x80 and above */
    uint32_t slot_mask; /* slots - 1 */
    uint32_t sequence;  /* of the next message */
    uint32_t quota;     /* messages to send in all; UINT32_MAX: time decides */
    uint32_t window;    /* messages in flight: ours or the broker's receive maximum */
    uint32_t in_flight; /* messages without their last acknowledgement */
    uint32_t fan;       /* subscribers that each message reaches */
    uint16_t packet_id; /* of the last message */
};

struct subscriber {
    struct flow *flows;      /* one for each publisher that it hears */
    uint64_t *unreleased;    /* QoS 2: one bit for each packet id between PUBLISH and PUBREL; NULL below */
    uint32_t flow_count;     /* flows */
    uint32_t unreleased_sum; /* bits set */
    uint32_t unsent_acks;    /* PUBACKs that are not even sent: the broker must have spent so much of its quota */
};

struct client {
    struct channel channel;
    struct publisher *publisher;   /* role PUBLISHER, else NULL */
    struct subscriber *subscriber; /* role SUBSCRIBER, else NULL */
    uint32_t number;               /* within its role, from 0 */
    uint8_t role;                  /* enum client_role */
    uint8_t state;                 /* enum client_state */
    uint8_t aim;                   /* enum client_aim */
    bool dirty;                    /* in the list of those to serve at the end of the turn */
};

/* Everything is counted from the start of the run; a period is the difference of two copies. */
struct bench_counts {
    uint64_t time_ns;
    uint64_t cpu_ns;     /* that we used ourselves */
    uint64_t published;  /* PUBLISH packets handed to the socket */
    uint64_t completed;  /* messages that the broker took over: PUBACK, PUBCOMP; at QoS 0 as published */
    uint64_t delivered;  /* messages that subscribers had for the first time */
    uint64_t expected;   /* messages that subscribers should have by and by */
    uint64_t in_flight;  /* completed is still to come */
    uint64_t unreleased; /* QoS 2 messages at subscribers whose PUBREL is still to come */
    uint64_t refused;    /* messages answered with a reason of 0x80 and above */
    uint64_t duplicates; /* messages that a subscriber had already */
    uint64_t late;       /* messages overtaken by a later one of the same publisher */
    uint64_t violations; /* packets that break the protocol or do not belong to this run */
};

enum bench_phase {
    PHASE_SUBSCRIBE = 0,
    PHASE_DETACH,
    PHASE_PUBLISH,
    PHASE_IDLE,
    PHASE_SETTLE,
    PHASE_WARM_UP,
    PHASE_MEASURE,
    PHASE_DRAIN,
    PHASE_LEAVE,
    PHASE_WIPE,
    PHASE_DONE,
};

struct bench;

/* How a protocol says what the clients want. */
struct dialect {
    /* What a client says first. */
    void (*hello)(struct bench *b, struct client *c);
    void (*goodbye)(struct client *c);
    /* Takes whole packets off the front of `in`; stops early when the run has failed. */
    void (*take)(struct bench *b, struct client *c, struct span *in);
    struct wire_template (*template)(const struct bench *b, uint32_t publisher);
};

extern const struct dialect dialect_mqtt;
extern const struct dialect dialect_nats;

/* Which clients are to be connected now. */
struct opener {
    uint32_t next;       /* the next client to open */
    uint32_t end;        /* one past the last */
    uint32_t opened;     /* since it was started */
    uint8_t aim;         /* enum client_aim */
    uint64_t started_ns; /* for the connect rate */
};

struct bench {
    const struct bench_options *options;
    const struct dialect *dialect;
    const volatile sig_atomic_t *stop; /* 1: end in good order; 2: without waiting for messages */
    struct channel_address address;
    struct buf input; /* shared by all reads */
    int epoll;
    enum bench_phase phase;
    uint64_t now_ns;
    uint64_t phase_started_ns;
    uint64_t active_ns;   /* when something came or went for the last time */
    uint64_t progress_ns; /* of the next progress line */
    char run[48];         /* the word in topics and client identifiers */

    struct client *clients; /* subscribers, publishers, idle ones, in this order */
    uint32_t client_count;
    uint32_t busy;         /* clients that are opening, subscribing or leaving */
    uint32_t idle_lost;    /* idle connections that the broker closed */
    struct client **dirty; /* to serve at the end of the turn */
    uint32_t dirty_count;
    struct opener opener;

    bool publishing; /* publishers may send */
    bool recording;  /* latencies are recorded */
    bool stuck;      /* the broker fell silent before all messages were sent */
    bool failed;
    char failure[256]; /* the first reason */

    double ns_per_message;  /* with a rate */
    uint64_t pace_start_ns; /* the intended time of message 0 */
    uint64_t paced;         /* messages whose time has come, of all publishers */

    uint64_t connected;  /* clients that became ready */
    uint64_t connect_ns; /* the time that took */
    struct bench_counts counts;
    struct bench_counts counts_start; /* of the measured period */
    struct bench_counts counts_end;
    struct bench_counts counts_shown; /* at the last progress line */
    struct histogram delivery;        /* from stamp to subscriber */
    struct histogram acknowledgement; /* from stamp to the last acknowledgement */
    struct process_sample process_start;
    struct process_sample process_end;
    struct process_sample process_before_idle;
    struct process_sample process_after_idle;
};

/* ---- run.c ---- */

/* Runs what the options say. `b` is to be freed with bench_deinit(). When *stop becomes other than 0, the run ends
 * early and in good order: clients leave and durable sessions are removed. False when the run could not be finished;
 * the counts are there all the same. */
bool bench_run(struct bench *b, const struct bench_options *options, const volatile sig_atomic_t *stop);
void bench_deinit(struct bench *b);
/* Remembers the first reason why the run cannot go on. */
void bench_fail(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Messages that are missing at their subscribers in the end. */
uint64_t bench_lost(const struct bench *b);
uint64_t bench_clock_ns(void);

/* ---- client.c ---- */

void client_open(struct bench *b, struct client *c, enum client_aim aim);
/* Serves what epoll reported. */
void client_ready(struct bench *b, struct client *c, uint32_t events);
/* Says goodbye and closes when the broker has closed. */
void client_leave(struct bench *b, struct client *c);
/* Puts a client on the list of those to serve at the end of the turn. */
void client_mark(struct bench *b, struct client *c);
/* Fills and flushes all marked clients. */
void client_serve(struct bench *b);
/* The one place where a client's state changes; counts those that wait for the broker. */
void client_become(struct bench *b, struct client *c, enum client_state state);
/* "publisher 3", for messages to people; valid until the next call. */
const char *client_name(const struct client *c, char *text, size_t bytes);

static inline struct client *bench_publisher(const struct bench *b, uint64_t number) {
    return &b->clients[b->options->subscribers + number];
}

/* ---- publisher.c ---- */

void publisher_init(struct bench *b, struct client *c);
void publisher_deinit(struct publisher *p);
/* Appends as many messages as windows, rate and quota let it. */
void publisher_fill(struct bench *b, struct client *c);
/* True when it would send at once if it were asked again, without anything coming in: QoS 0 only. */
bool publisher_eager(const struct bench *b, const struct client *c);
/* Takes an acknowledgement; `first` is its first byte. */
void publisher_ack(struct bench *b, struct client *c, uint8_t first, uint16_t packet_id, uint8_t reason);
/* Gives publishers the messages whose time has come. */
void publisher_pace(struct bench *b);

/* ---- subscriber.c ---- */

void subscriber_init(struct bench *b, struct client *c);
void subscriber_deinit(struct subscriber *s);
/* Checks and counts one message. */
void subscriber_deliver(struct bench *b, struct client *c, struct span payload);
/* A PUBLISH of QoS 1 or 2: counts and answers. */
void subscriber_publish(struct bench *b, struct client *c, const struct wire_publish *publish);
void subscriber_pubrel(struct bench *b, struct client *c, uint16_t packet_id);
