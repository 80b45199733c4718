/* How long a session has been without its connection, as a broker must count it that keeps its promise: what the judge
 * of real clients asks before it excuses a session that was forgotten.
 *
 *     CONNECT handled ──> connected ──> the connection ends ──> away ──> away for the expiry: due, the session may go
 *                                       (first of: closed, given up by the broker, known at its start after a crash)
 *
 * From the end of a connection on the clock counts that never jumps; over a restart only the wall clock is left. A
 * crash takes back what was not on the disk for sure: a disconnect counts from its time or from the next start, and a
 * CONNECT whose CONNACK has not left may not have happened at all. In both cases the longer absence is taken, so that
 * "due" is never denied where a right broker could say it.
 *
 * Knows connections and clocks, and nothing that the broker says but the first bytes of its answer. */
#pragma once

#include "base/types.h"
#include "sim/conn.h"

/* A moment by both clocks. */
struct absence_moment {
    bool set;
    mono_ms_t at;
    wall_ms_t wall;
};

struct absence {
    uint32_t owner;               /* serial of the connection that has the session; 0: none */
    struct absence_moment since;  /* when there is none: since then, in the broker's memory */
    struct absence_moment stored; /* what its disk may say after a crash: it has been away since then */
    bool by_wall;                 /* the broker was started since then, and has not yet looked at its clocks */
    bool at_start;                /* the disk says "connected": away from the next start on */
    bool due;                     /* it has been away for its expiry */
};

struct world;

/* The broker has read a whole CONNECT, which `takes` the session unless it may be refused for want of room. Notes in
 * the connection whether the session was due. */
void absence_connect(struct world *w, struct conn *c, bool takes);
/* The CONNACK of this connection, which accepts, has begun to leave. */
void absence_answered(struct world *w, const struct conn *c);
/* The broker has given this connection up, or has seen its end. */
void absence_ended(struct world *w, const struct conn *c);
/* The broker's process is gone; it is up again; it looks at its clocks. */
void absence_down(struct world *w);
void absence_up(struct world *w);
void absence_tick(struct world *w);
/* The wall clock was put back while the broker is up. Once that is on its disk, its time goes on as if it had not been:
 * by the wall clock, absences have begun so much earlier. Whether it is, nobody knows; the longer absence is taken. */
void absence_clock_back(struct world *w, wall_ms_t by);
/* The broker has lost its disk: every session is gone. */
void absence_all_lost(struct world *w);
/* How long until the next session may expire; 0: none will. */
mono_ms_t absence_left(const struct world *w);
