/* A hostile client: what the standard lets anybody do, and some of what it does not.
 *
 * It opens sessions under ever new names and leaves them, subscribes without end, never reads or never acknowledges,
 * holds packet ids, acknowledges what nobody sent, sends half packets and huge topics, and fills topics with retained
 * messages. Nothing is promised to it; what counts is that the others do not notice, and that nothing of it is left
 * once its sessions have been ended and its topics cleared.
 *
 * Its place in world.clients keeps its connection, and nothing else of a model. */
#pragma once

#include "sim/conn.h"
#include "sim/plan.h"

#define PEST_NAMES_MAX 6
#define PEST_TOPICS_MAX 12

/*      name, what it does */
#define PEST_HABIT_ROWS(ROW)                                                                                           \
    ROW(SUBSCRIBES, "subscribes to everything and never acknowledges")                                                 \
    ROW(NEVER_READS, "does not read")                                                                                  \
    ROW(LEAVES, "breaks its connection off")                                                                           \
    ROW(SESSIONS, "comes under ever new names")                                                                        \
    ROW(FILTERS, "subscribes to ever new filters")                                                                     \
    ROW(HOLDS, "publishes at QoS 2 and never releases")                                                                \
    ROW(WRONG, "acknowledges what is not there")                                                                       \
    ROW(HALF, "sends half a packet and waits")                                                                         \
    ROW(HUGE_TOPICS, "publishes to very long topics")                                                                  \
    ROW(RETAINS, "publishes retained messages to ever new topics")

enum pest_habit {
#define PEST_ENUM(name, text) PEST_##name,
    PEST_HABIT_ROWS(PEST_ENUM)
#undef PEST_ENUM
        PEST_HABIT_COUNT
};

enum pest_answer { PEST_NO_ANSWER = 0, PEST_WAITS, PEST_TAKEN, PEST_REFUSED };

struct pest {
    bool subscribed, silent; /* on this connection */
    unsigned name;           /* which of its names the connection has */
    unsigned names;          /* that it has used */
    unsigned cleaned;        /* of them, those whose sessions were ended in the end */
    unsigned refused;        /* clean starts of the next one */
    unsigned filters;        /* it has subscribed to */
    unsigned topics;         /* that may have a retained message of it */
    unsigned cleared;
    enum pest_answer answer; /* to the clearing of the next one */
    mono_ms_t again_at;
    uint16_t next_id;
    uint16_t last_id; /* of the last PUBLISH that it has read */
};

struct world;

bool pest_can(const struct world *w, int client, enum action a);
void pest_act(struct world *w, int client, enum action a);
/* Whether it reads what has come. */
bool pest_reads(const struct world *w, const struct conn *c);
/* Bytes have been put into the connection's inbox. */
void pest_read(struct world *w, struct conn *c);
void pest_lost(struct world *w, int client);
/* In the end: clears its topics and ends its sessions, one step; false when that is done. */
bool pest_leave(struct world *w, int client);
/* It has nothing (more) to take back. */
bool pest_settled(const struct world *w, int client);
