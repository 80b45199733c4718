/* Scenarios: small histories as text, step by step, with what must be seen at each.
 *
 *     == the connection breaks after PUBLISH, on the way back
 *     shards 2
 *     pub > CONNECT 3.1.1 resume              | pub < CONNACK new
 *     pub > PUBLISH 1 t qos 2 "m"             | pub < PUBREC 1
 *     pub cut                                 |
 *     pub > CONNECT 3.1.1 resume              | pub < CONNACK resumed
 *     pub > PUBLISH 1 t qos 2 dup "m"         | pub < PUBREC 1
 *
 * On the left, one event; then everything that can happen without another one happens (turns, mail, commits); on the
 * right, the packets that have arrived, in order, clients in the order of their first line. Nothing else may arrive.
 *
 *     NAME > PACKET [lost]    a client sends; lost: the bytes do not arrive. CONNECT opens a connection
 *     NAME cut | gone         its connection ends for both; or only for the client: the broker sees nothing
 *     disk stops | goes       nothing becomes durable; it does again
 *     broker killed | stopped | started            power cut            wait SECONDS           fold
 *     drained                 no message waits, no packet id is held, the table has no message but retained ones
 *
 * The judge is the text: it was read by a person once, and from then on it is a diff. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "sim/plan.h"

struct scenario_counts {
    unsigned passed, failed;
};

/* Runs all scenarios of a file's text; prints what differs to `out` (NULL: nowhere). `rewrite` (may be NULL) gets the
 * text with what was really seen on the right. */
void scenario_run(const char *name, const char *text, struct plan_mutants mutants, FILE *out, FILE *rewrite,
                  struct scenario_counts *counts);
/* The same for a file; `rewrite` replaces its right side. False when it cannot be read or written. */
bool scenario_file(const char *path, struct plan_mutants mutants, FILE *out, bool rewrite,
                   struct scenario_counts *counts);
