/* The application on top of a real client: what it keeps in its own database, and what it does with the library.
 *
 * As a publisher it numbers its messages (row by row of its outbox table) and notes, some time later, which of them
 * publish has called stored; after a crash it repeats what it has no note of, or more, or goes on where the library
 * says that it was. As a subscriber it either commits each effect together with the position and resumes from it (the
 * way to exactly once), or says done when the effect has happened, in any order; then it may be given a message again
 * after a crash, but only flagged, and under the same position.
 *
 * Its database is beyond doubt: it commits at once and loses nothing. A crash takes the second half of the struct. */
#pragma once

#include "sim/oracle.h"
#include "sim/plan.h"

#define SIM_HAND_MAX 4
#define SIM_SEEN_MAX 640

struct client_delivery;
struct peer;

/* A message that it publishes; its own number is its place + 1. */
struct app_row {
    int message;
    bool noted;  /* the application knows that it is stored */
    bool handed; /* it was given to the library at least once */
    bool stored; /* the judge's: publish has said so */
    uint64_t id; /* the library's name of it since the start of this process; 0: none */
};

/* The judge's: what has come under one position. */
struct app_seen {
    uint64_t sequence;
    int message;
    bool effect; /* it has been counted */
};

struct app_taken {
    uint64_t sequence;
    int message;
    uint8_t qos;
    bool retain;
    bool effect; /* it has happened; done is not said */
};

struct app {
    /* in its database */
    struct app_row rows[SIM_MESSAGES_MAX];
    unsigned row_count;
    unsigned row_first;          /* those before were another's, whose database is gone */
    uint64_t position;           /* of its last effect; 0: none */
    bool wants[SIM_WANTED_MAX];  /* it wants this subscription */
    bool leaves[SIM_WANTED_MAX]; /* it does not want it any more, and has no answer yet */
    /* the judge's */
    struct app_seen seen[SIM_SEEN_MAX];
    unsigned seen_count;
    /* of this process */
    unsigned next_row; /* the next to be given to the library */
    struct app_taken hand[SIM_HAND_MAX];
    unsigned hand_count;
    uint64_t last_taken;
    bool nothing;       /* to take, when it last looked, and nothing has happened since */
    mono_ms_t again_at; /* the library was full: not before */
};

/* It has one more message to publish; returns the message's number. */
int app_add_row(struct world *w, struct peer *p, const struct sim_message *m);
/* A new process: the library is open; resumes, declares its subscriptions, looks where to go on publishing. */
void app_started(struct world *w, struct peer *p);
/* Its process is gone. */
void app_died(struct app *a);
/* Its database is gone with the library's store: another one begins where this one was, and knows no positions. */
void app_replaced(struct world *w, struct peer *p);
bool app_can(struct world *w, const struct peer *p, enum action a);
void app_act(struct world *w, struct peer *p, enum action a);
/* The library gives it a message, one reference with it: judged, and taken into its hand. */
void app_given(struct world *w, struct peer *p, const struct client_delivery *d);
/* Looks which messages are stored by now. */
void app_watch(struct world *w, struct peer *p);
/* The broker has answered UNSUBSCRIBE. */
void app_unsubscribed(struct peer *p, int place);
/* What it waits for; false when for nothing. */
bool app_describe(const struct world *w, const struct peer *p, char *out, size_t bytes);
uint64_t app_digest(const struct app *a);
