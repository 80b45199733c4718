/* One scenario under way: shared by the files of the scenario language, and by nobody else.
 *
 *     scenario.c          lines, what they expect, what was seen instead
 *     scenario_event.c    what a line does, and everything that follows from it
 *     scenario_client.c   real clients: their machine, engine and application
 *     scenario_store.c    what is in their stores
 *     scenario_wire.c     their connections, packet by packet, and where these break */
#pragma once

#include "sim/scenario.h"
#include "sim/scenario_client.h"
#include "sim/world.h"

enum { SCENARIO_LINE_BYTES = 512, SCENARIO_TEXT_BYTES = 4096, SETTLE_STEPS_MAX = 10000 };

enum break_how {
    BREAK_LOST = 1, /* it does not arrive */
    BREAK_TORN,     /* half of its bytes arrive */
    BREAK_ARRIVED,  /* it arrives, and no answer to it does */
};

/* Where a real client's connection will break. */
struct scenario_break {
    enum break_how how; /* 0: nowhere */
    unsigned client;    /* its place */
    bool out;           /* at a packet of the client, else of the broker */
    uint8_t type;
    uint16_t id;                    /* 0: any */
    char then[SCENARIO_LINE_BYTES]; /* events of that very moment, separated by commas */
};

struct scenario {
    const char *file;
    unsigned line;                   /* of the file */
    char title[SCENARIO_LINE_BYTES]; /* empty: between scenarios */
    struct plan_variant mutants;
    unsigned shards;
    unsigned ids;   /* packet ids are 1 to this, on both sides */
    unsigned queue; /* the broker's bound for each session's, messages; 0: plenty */
    bool refuses;   /* over that bound it refuses publishers also while the client is away */
    bool no_broker; /* the text is the broker */
    struct plan plan;
    struct choices choices;
    struct world *world; /* NULL until the first event */
    struct scenario_client clients[SIM_CLIENTS_MAX];
    unsigned client_count;
    struct scenario_break at;
    enum scenario_disk disk;            /* the broker's */
    FILE *seen;                         /* while an event runs: what is seen */
    char left[SCENARIO_LINE_BYTES];     /* the event that waits for its last line; empty: none */
    unsigned left_line;                 /* where it stands */
    char expected[SCENARIO_TEXT_BYTES]; /* on its right */
    char wrong[SCENARIO_TEXT_BYTES];    /* the first thing that was wrong; empty: nothing */
    FILE *rewrite;
};

void scenario_wrong(struct scenario *s, const char *what, const char *expected, const char *seen);
/* What begins a thing that is seen: a separator, when it is not the first. */
FILE *scenario_see(struct scenario *s);

/* ---- scenario_event.c ---- */

/* Makes the world of a scenario that has none yet. */
void scenario_begin(struct scenario *s);
void scenario_end(struct scenario *s);
/* Does what the left side of a line says; false when it is not understood. */
bool scenario_event(struct scenario *s, const char *text);
/* All that follows from the last event happens, as far as the disks let it. */
void scenario_settle(struct scenario *s);
/* True when the machine's disk goes on: it does not stop, here or between a write and its sync. */
bool scenario_disk_goes(const struct machine *m, enum scenario_disk how);
/* "disk goes", "disk writes", "disk stops"; false when it is none of them. */
bool scenario_disk_word(const char *text, enum scenario_disk *how);
/* Prints what has arrived at scripted clients. */
void scenario_look(struct scenario *s);

/* ---- scenario_client.c ---- */

/* What the text says that the application or the machine of a real client does; false when it is not understood. */
bool scenario_client_event(struct scenario *s, struct scenario_client *c, const char *text);
/* Lets it do what it can do by itself without its disk; true when that was something. */
bool scenario_client_turn(struct scenario *s, struct scenario_client *c);
/* Lets its disk do what it is to do; true when that was something. */
bool scenario_client_commit(struct scenario_client *c);
/* Its memory is gone. */
void scenario_client_down(struct scenario_client *c);

/* ---- scenario_store.c ---- */

/* Shows what is on its disk. */
void scenario_client_disk(struct scenario *s, struct scenario_client *c);
/* Nothing of it may be under way or kept. */
void scenario_client_drained(struct scenario *s, struct scenario_client *c);

/* ---- scenario_wire.c ---- */

/* The connection of a client; NULL: none. */
struct conn *scenario_conn(const struct scenario *s, const struct scenario_client *c);
/* Opens one, or tells the engine that there is none to be had. */
void scenario_wire_open(struct scenario *s, struct scenario_client *c);
/* The client's end goes; `seen`: the broker's too. */
void scenario_wire_cut(struct scenario *s, struct scenario_client *c, bool seen);
/* What may leave does; what has come is read, one packet of it. True when there was something. */
bool scenario_wire_turn(struct scenario *s, struct scenario_client *c);
/* "PUBREC 1": the text is the broker and sends it. */
bool scenario_wire_script(struct scenario *s, struct scenario_client *c, const char *text);
/* "NAME > PUBLISH lost: NAME killed" */
bool scenario_break_set(struct scenario *s, const char *text);
