/* The wall clock of the broker's machine, which may be set by days at any time, and the judge of the time that the
 * broker is given instead of it.
 *
 * Store time, by which messages and sessions expire, is right as long as the broker runs, whatever becomes of the wall
 * clock. Over a stop it is right within two seconds when the clock was not set meanwhile; a step that no record on the
 * disk has noted yet may be taken for time that has passed, or for less of it, but store time never goes back further
 * than such a step. What it is ahead then is time that has passed for all that waits. */
#pragma once

#include <stdbool.h>

#include "base/types.h"

struct world;

#define SIM_WALL_BEGIN 1700000000000

struct wallclock {
    bool set;                      /* the broker has been given a time */
    wall_ms_t store;               /* the last */
    mono_ms_t at;                  /* when */
    int64_t ahead;                 /* steps forward that may not be noted on the disk */
    int64_t back;                  /* steps back */
    int64_t ahead_seen, back_seen; /* of them, those that the broker has seen: their record is staged */
    bool time_lost;                /* store time is behind real time */
};

/* Somebody sets the clock: forward or back by up to days, or right. */
void wallclock_step(struct world *w);
/* The power went on a machine whose clock does not run without it. */
void wallclock_forgotten(struct world *w);
/* The broker is given this time; `starts`: its first since the start of the process. */
void wallclock_judge(struct world *w, wall_ms_t store, bool starts);
/* The broker looks at the wall clock; all that is staged is on the disk. */
void wallclock_seen(struct world *w);
void wallclock_noted(struct world *w);
