/* A client of the stage: the session code of the broker behind a connection, and an application that counts.
 *
 * It keeps everything over cuts and connects again; it publishes its messages in order at QoS 2, or subscribes to all
 * of them. Packets are MQTT 5.0. Its connection is a connection of the simulated world; the stage moves the bytes. */
#pragma once

#include "session/qos_in.h"
#include "session/qos_out.h"
#include "sim/world.h"

#define PLAYER_MESSAGES_MAX 4
#define PLAYER_TOPIC "t"
#define PLAYER_NO_SUBSCRIPTION 3

struct player {
    int index; /* among the world's clients */
    const char *name;
    int conn;       /* -1: none */
    int old;        /* a connection that it has given up, while its bytes are still under way; -1: none */
    bool live;      /* CONNACK has come */
    bool session;   /* it has been told that the server has a session of it */
    bool clean;     /* the next CONNECT starts clean */
    bool forgotten; /* the server had no session though it had said that it has one */
    bool ended;     /* its session has ended, with a clean start that ends with its connection */
    bool ghost;     /* the server has a session all the same */
    bool will;      /* connects with one, the message behind the last */
    bool leaves;    /* has sent DISCONNECT */
    bool left;      /* and has seen the server close the connection */
    bool gone;      /* does not connect again */
    uint8_t wants;  /* QoS of its subscription, or none */
    bool asked, granted;
    unsigned messages, next;             /* that it publishes; the next one */
    bool retain;                         /* publishes retained messages */
    bool abandoned[PLAYER_MESSAGES_MAX]; /* under way when it started clean */
    unsigned taken[PLAYER_MESSAGES_MAX]; /* how often the application got each message */
    struct qos_out out;
    struct qos_in in;
    packet_id_t ids;
};

void player_init(struct player *p, int index, const char *name, packet_id_t ids);
void player_deinit(struct player *p);
/* Opens a connection and writes CONNECT into it; the broker has accepted it. */
void player_connect(struct world *w, struct player *p);
/* True when it can subscribe or begin with a message. */
bool player_wants(const struct player *p);
/* Does that. */
void player_next(struct world *w, struct player *p);
/* Sends DISCONNECT. */
void player_goodbye(struct world *w, struct player *p);
/* Reads a whole packet and writes the answer. Returns what it did, for a person; NULL: nothing to tell. */
const char *player_read(struct world *w, struct player *p, const struct mini_packet *packet, char *text, size_t bytes);
/* Its connection is gone. */
void player_lost(struct player *p);
uint64_t player_digest(const struct player *p);
