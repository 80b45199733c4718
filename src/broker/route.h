/* Routing: one application message to all who subscribed. Private to this folder.
 *
 *     match -> reserve (all or nothing) -> one MESSAGE record -> deliver here, mail to other shards
 *
 * Nothing changes before everything is reserved; after that nothing can fail. One record holds the held packet id, the
 * body and every durable target, so accepting is atomic (B2). */
#pragma once

#include "broker/state.h"

struct route_request {
    struct session *origin;       /* the publisher's session */
    packet_id_t hold_id;          /* QoS 2: the id that the record holds; 0: none */
    bool is_will;                 /* it is origin's will: the record clears it */
    struct overfull_waits *waits; /* the queues that it waits for, when it was refused before; else NULL */
    struct message_parts parts;   /* borrowed; owner: see retained_owner() */
};

struct route_result {
    bool refused;     /* over a limit: nothing has changed; */
    bool waits;       /* for now only: the one whose queue is full was asked, and the next try may well succeed; */
    bool never;       /* or for ever: no record can hold it, */
    bool many;        /* or for as long as so many have subscribed: see options.matches_max */
    bool matched;     /* somebody subscribed */
    bool said;        /* refused: the log has it already, or will: a queue is told with whose it is */
    const char *what; /* refused: what is over a limit, */
    const char *why;  /* and how */
    lsn_t lsn;        /* what an answer waits for: the record, or what it relies on; 0: nothing */
};

struct route_result route_message(struct shard *shard, const struct route_request *request);
/* It is a quiet moment: what a publish to very many needed is given back. */
void route_rest(struct shard *shard);
/* A mail has come. */
void route_mail(struct shard *shard, struct mail *mail);
