/* One client of a scenario: scripted, which is a name and a connection; or real, which is the engine of libquartet on a
 * machine of its own, with an application.
 *
 * The application is told by the text what to do, or goes on by itself (KIND_*). Its database is beyond doubt: it
 * commits at once and loses nothing. */
#pragma once

#include "client/client.h"
#include "sim/machine.h"

enum { SCENARIO_APP_MAX = 64, SCENARIO_WISHES_MAX = 4, SCENARIO_PAYLOAD_BYTES = 64, SCENARIO_WIRE_BYTES = 8192 };

/* What a disk does with records. */
enum scenario_disk {
    DISK_GOES = 0, /* they become durable */
    DISK_WRITES,   /* a frame of them is written and never synced: a killed process finds it again, a power cut takes it
                    */
    DISK_STOPS,
};

enum app_kind {
    APP_BY_HAND = 0, /* takes a message when the text says so */
    APP_COMMITS,     /* takes each message at once; its effect and the position are one transaction */
    APP_DOES,        /* takes each message at once; does it, then says done */
};

/* What the text says when it makes the client, kept for the next start. */
struct scenario_options {
    bool five;
    bool clean, end_session, no_store, exactly_once;
    uint32_t session_expiry, receive_maximum, window, inbox, outbox, keep_alive;
    enum quartet_lost_policy lost;
    enum app_kind kind;
};

/* A message that the application has taken and is not done with. */
struct app_open {
    uint64_t sequence;
    bool effect;
    char payload[SCENARIO_PAYLOAD_BYTES];
};

/* A message that it has published and is not told of to be stored. */
struct app_published {
    uint64_t id;
    char payload[SCENARIO_PAYLOAD_BYTES];
};

/* A subscription that it wants; its program says so at each start. */
struct app_wish {
    char filter[SCENARIO_PAYLOAD_BYTES];
    uint8_t qos;
};

struct scenario_app {
    struct app_wish wishes[SCENARIO_WISHES_MAX];
    unsigned wish_count;
    /* in its database */
    char effects[SCENARIO_APP_MAX][SCENARIO_PAYLOAD_BYTES]; /* in the order in which they happened */
    unsigned effect_count;
    uint64_t position; /* of the last effect that was committed with one; 0: none */
    /* the judge's */
    uint64_t positions[SCENARIO_APP_MAX]; /* all that were seen: a position's number is its place */
    unsigned position_count;
    /* of this process */
    struct app_open open[SCENARIO_APP_MAX];
    unsigned open_count;
    struct app_published published[SCENARIO_APP_MAX];
    unsigned published_count;
};

struct scenario_client {
    char name[16];
    bool five; /* as its last CONNECT said */
    int conn;  /* index in the world's connections; -1: none */
    /* of real ones */
    bool real;
    struct scenario_options options;
    struct machine machine;
    struct store *memory;  /* options.no_store */
    struct client *client; /* NULL: down */
    bool dirty;            /* something has happened to it */
    enum scenario_disk disk;
    lsn_t told, told_folded; /* what the engine knows to be durable, in the table */
    unsigned starts;
    uint8_t out[SCENARIO_WIRE_BYTES]; /* what has left the engine and was not looked at yet */
    size_t out_len;
    struct scenario_app app;
};
