/* What an operator may ask of a running broker: who is there, end one, clear retained messages, counters. Every shard
 * answers for itself, a slice at a time, so that no question holds it up; whoever has asked puts the answers together
 * (`quartet ctl` by way of net/ctl.h).
 *
 *     request_ask, one for all shards  ──>  request_step in turn after turn of each shard  ──>  request_answer of each
 *
 * Does not know how questions come and how answers are shown. Thread: the shard's. Durability duty: a request that has
 * changed something is done when that is durable: nothing leaves that a crash could take back, also not towards the
 * operator. */
#pragma once

#include "broker/broker.h"
#include "quota/quota.h"
#include "topic/retained.h"

#define REQUEST_ROWS_MAX 1000 /* sessions in one answer */

enum request_kind {
    REQUEST_COUNTERS = 1,
    REQUEST_SESSIONS, /* those with the largest queues */
    REQUEST_END,      /* sessions: one by its client id, or all of an owner */
    REQUEST_CLEAR,    /* retained messages that match a filter */
    REQUEST_ACCOUNTS, /* who has taken how much, and was refused how often: those nearest to a bound, and all together
                       */
};

/* The same for all shards; borrows its texts while any of them is at it. */
struct request_ask {
    enum request_kind kind;
    struct span client_id; /* REQUEST_END; empty: not by it */
    struct span owner;     /* REQUEST_SESSIONS, REQUEST_END: of this one alone; empty: of anybody */
    struct span filter;    /* REQUEST_CLEAR: valid */
    bool all;              /* REQUEST_CLEAR: wildcards at the first level match topics that begin with `$`, too */
    uint32_t rows_max;     /* REQUEST_SESSIONS, REQUEST_ACCOUNTS: 1 to REQUEST_ROWS_MAX */
};

struct request_session {
    char *client_id; /* owned */
    size_t client_id_bytes;
    char *owner; /* owned; the address of its peer, or "-" when that is not known */
    bool connected;
    uint8_t protocol;
    uint64_t queued_messages; /* that were accepted for it and have not left */
    uint64_t queued_bytes;
    uint64_t inflight;      /* QoS 1 and 2 messages that its client has not acknowledged */
    uint64_t subscriptions; /* how many */
    uint32_t expiry_s;      /* SESSION_NEVER_EXPIRES, or seconds after its connection */
};

/* An account as it was. */
struct request_account {
    char *owner; /* owned; NULL: all together */
    uint64_t taken[QUOTA_ROW_COUNT];
    uint64_t refused[QUOTA_ROW_COUNT];
    uint64_t most[QUOTA_ROW_COUNT]; /* 0: no bound */
    double share;                   /* of the bound that it is nearest to; more than 1: over it */
};

/* Who has the most of a row among single sessions, or connections: see broker/fattest.h. */
struct request_fattest {
    char *who; /* owned; a client id, or a peer; NULL: nobody has any */
    size_t who_bytes;
    uint64_t has;
    uint64_t most; /* that any may have; 0: no bound */
    enum quota_level level;
};

struct request_answer {
    struct request_fattest fattest[QUOTA_ROW_COUNT]; /* REQUEST_ACCOUNTS, of this shard */
    struct request_account *accounts; /* all together, then nearest to a bound first; of the first shard alone */
    size_t account_count;
    uint64_t memory_used, memory_limit; /* bytes; 0: no limit */
    uint64_t store_used, store_limit;   /* the same; as the store has last looked */
    struct request_session *rows;       /* largest queue first */
    size_t row_count;
    uint64_t matched; /* sessions that were asked for; ended sessions; cleared messages */
    uint64_t left;    /* REQUEST_CLEAR: retained messages that are there still */
    struct shard_counters counters;
};

/* One shard's part; zeroed but for `ask` at the beginning. */
struct request {
    const struct request_ask *ask;
    struct request_answer answer;
    size_t at;                             /* in the map of sessions, or of owners */
    size_t looked;                         /* REQUEST_ACCOUNTS: see broker/fattest.h */
    struct topic_retained_cursor retained; /* REQUEST_CLEAR */
    size_t capacity;                       /* of that map when the walk began */
    unsigned begun;                        /* how often it was begun anew */
    bool ended_some;                       /* on this walk */
    bool done;                             /* all but waiting for the disk */
    lsn_t after;                           /* what it has changed is durable then */
};

/* One slice, in a turn of the shard; true when the answer is complete. Sessions that come or go meanwhile may be in it
 * or not. */
bool request_step(struct shard *shard, struct request *request);
/* Whether a row comes before another: the larger queue, then the client id. */
bool request_before(const struct request_session *a, const struct request_session *b);
void request_deinit(struct request *request);
