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
 * right, what is seen, in order. Nothing else may be seen. A line with nothing on its left goes on with the right of
 * the one above. Of scripted clients what has arrived is seen, clients in the order of their first line; of real ones,
 * before it, each packet when it leaves and when it arrives, and what their application is told. A disk comes last:
 * whatever does not wait for one is faster than it.
 *
 *     NAME > PACKET [lost]    a client sends; lost: the bytes do not arrive. CONNECT opens a connection
 *     NAME cut | gone         its connection ends for both; or only for the client: the broker sees nothing
 *     disk stops | writes | goes      at the broker nothing becomes durable; it is written, but not synced: a kill
 *                             leaves it, a power cut does not; it does again, as after each start
 *     broker killed | stopped | started            power cut            wait SECONDS           fold
 *     clock SECONDS           the wall clock is set forward by so many, or back: no time passes
 *     drained                 no message waits, no packet id is held, the table has no message but retained ones
 *
 * Real clients: the engine and the store of libquartet on a machine of their own, and an application.
 *
 *     sub client 5.0 exactly-once commits           | sub > CONNECT 5.0 resume; sub < CONNACK new
 *     sub subscribes t qos 2                        | sub > SUBSCRIBE 65535 t qos 2; sub < SUBACK 65535 0x02
 *     break sub > PUBREC lost: sub power cut        |
 *     pub > PUBLISH 1 t qos 2 "m"                   | sub < PUBLISH 1 t qos 2 "m"; sub > PUBREC 1 lost; pub < PUBREC 1
 *     sub started                                   | sub has "m" again; sub > CONNECT 5.0 resume; ...
 *     sub has?                                      | sub has "m"
 *
 *     NAME client OPTION...   there is one, and it is started: it connects when it can, after a failure a second later
 *         3.1.1 | 5.0   clean   end-session   session-expiry N   receive-maximum N   keep-alive N
 *         window N   inbox BYTES   outbox BYTES   no-store   exactly-once
 *         resends | drops     what becomes of flows when the session is lost; neither: the application is asked
 *         commits | does      the application takes each message at once: its effect and the position are one
 *                             transaction, with which it resumes; or does it and says done. Neither: by hand
 *     NAME publishes TOPIC qos N [retain] "payload" [expires SECONDS] [number N]
 *     NAME subscribes FILTER qos N | unsubscribes FILTER
 *     NAME takes              the next message: "takes 2 "m" again" is the second position of this store, redelivered
 *     NAME does | commits     the first that was taken has its effect; in one transaction with its position
 *     NAME done [N]           the library is told; of the first that was taken, or of a position
 *     NAME resends | drops    the answer to "session lost"
 *     NAME killed | stopped | started | power cut | disk stops | disk writes | disk goes | fold
 *     NAME has?               the effects in the application's database, in the order in which they happened
 *     NAME disk?              what a power cut would leave of the store: flows, held ids, outbox, inbox, last number
 *     break NAME > TYPE [ID] lost | torn | arrived [: EVENT, EVENT...]
 *                             at the next such packet of the client (<: of the broker): it does not arrive, half of its
 *                             bytes do, or it arrives and nothing of what follows from it leaves or is recorded. Then
 *                             the events happen, then both ends see that the connection has ended
 *
 * Before the first event: "shards N"; "ids N", packet ids are 1 to N on both sides (the client keeps the last for
 * SUBSCRIBE); "queue N", the broker keeps so many messages for a session; "queue
 * refuses", over that it refuses publishers and does not end the session of a client that is away; "no broker", the
 * text is the broker, and NAME < PACKET on the left is what it sends to a real client.
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
void scenario_run(const char *name, const char *text, struct plan_variant mutants, FILE *out, FILE *rewrite,
                  struct scenario_counts *counts);
/* The same for a file; `rewrite` replaces its right side. False when it cannot be read or written. */
bool scenario_file(const char *path, struct plan_variant mutants, FILE *out, bool rewrite,
                   struct scenario_counts *counts);
