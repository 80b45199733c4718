/* Accounts: who has taken how much of what is bounded, and who is over what.
 *
 *     all ─┬─ owner "192.0.2.7" ─┬─ a session, a connection: numbers of their own, what they took is given back
 *          │                     └─ ...
 *          └─ owner "unix"
 *
 * Whoever takes something of a peer's reserves it before anything changes: on the whole path from the owner up, or not
 * at all. What is given back is what was taken, so that after a drain every account is zero. An owner is whoever the
 * sum is held against: the address of a peer, until there are users. It has no more than a share of everything, so that
 * nobody is refused because of somebody else.
 *
 * Thread: accounts are shared by all shards; numbers are atomic and relaxed. Two that reserve at one time may both be
 * refused the last piece, never both get it. Limits: one account for each owner that has anything; it goes with its
 * last reference. Does not know: packets, sessions, time, what the rows mean. Durability: none, what is durable is
 * reserved again when it is loaded. */
#pragma once

#include <stdatomic.h>

#include "base/account_rows.h"
#include "base/span.h"
#include "quota/pace.h"

/*      name, what it counts */
#define QUOTA_ROWS(ROW) ACCOUNT_ROWS(QUOTA_ROW, ROW) QUOTA_SINGLE_ROWS(ROW)
#define QUOTA_ROW(ROW, name, text) ROW(name, text)
/* Of these nothing is taken: each single one is bounded, see quota_allows(). They come last. */
#define QUOTA_SINGLE_ROWS(ROW)                                                                                         \
    ROW(MATCHES, "matches of one publish at QoS 1 and 2")                                                              \
    ROW(TAKEOVER_RATE, "take-overs a second of one client id")                                                         \
    ROW(CONNECTION_RATE, "connections a second of one owner")

enum quota_row {
#define QUOTA_ENUM(name, text) QUOTA_##name,
    QUOTA_ROWS(QUOTA_ENUM)
#undef QUOTA_ENUM
        QUOTA_ROW_COUNT,
    QUOTA_TAKEN_COUNT = QUOTA_MATCHES
};

/* Of the first two there are accounts. The others are single things, each bounded where it takes something: what they
 * have together is their owner's. */
enum quota_level {
    QUOTA_OWNER,
    QUOTA_ALL,
    QUOTA_LEVEL_COUNT,
    QUOTA_SESSION = QUOTA_LEVEL_COUNT,
    QUOTA_CONNECTION,
    QUOTA_LISTENER
};

/* What a test breaks, so that it can show that it would notice. */
enum quota_fault_kind {
    QUOTA_SOUND = 0,
    QUOTA_LEFT_OUT, /* the row is not reserved */
    QUOTA_TWICE,    /* the row is given back twice */
};

struct quota_fault {
    enum quota_fault_kind kind;
    enum quota_row row;
};

/* What may be taken at most; 0: no bound. */
struct quota_limits {
    uint64_t most[QUOTA_LEVEL_COUNT][QUOTA_ROW_COUNT];
    struct quota_fault fault; /* QUOTA_SOUND but in the simulator */
};

struct account {
    struct account *parent; /* NULL: it is everybody's */
    const uint64_t *most;   /* [row] */
    const struct quota_fault *fault;
    enum quota_level level;
    _Atomic uint64_t taken[QUOTA_ROW_COUNT];
    _Atomic uint64_t refused[QUOTA_ROW_COUNT]; /* reservations that this account has refused, by row */
    struct pace past;                          /* an owner: what it publishes past the bounds of others' queues */
};

/* So much of one row. */
struct quota_need {
    enum quota_row row;
    uint64_t amount;
};

/* What a refused reservation was over. */
struct quota_over {
    enum quota_row row;
    enum quota_level level;
};

struct quota;

/* Makes the accounts of one broker; copies the limits. `seed` is for hash places. */
struct quota *quota_create(const struct quota_limits *limits, uint64_t seed);
/* Frees all accounts, whatever is taken. */
void quota_destroy(struct quota *q);
struct account *quota_all(struct quota *q);
/* The account of an owner, made when there is none; `name` is copied. One reference for the caller. */
struct account *quota_owner(struct quota *q, struct span name);
/* One more reference to an owner that somebody holds. */
struct account *quota_owner_again(struct quota *q, struct account *account);
/* Gives a reference back; the account goes with the last one. NULL is allowed. */
void quota_owner_unref(struct quota *q, struct account *account);
struct span quota_owner_name(const struct account *account);

/* Whether one thing may be so large, whatever else there is: nothing is taken. Where it may not, all accounts of the
 * path count it as refused: an owner may be gone when somebody asks. */
bool quota_allows(struct account *account, enum quota_row row, uint64_t amount);
/* Something of a row was refused, for a reason that its caller knows: all accounts of the path count it. */
void quota_refuse(struct account *account, enum quota_row row);
/* The same for the owner of that name, if it has an account, and for all together. */
void quota_refuse_named(struct quota *q, struct span name, enum quota_row row);
/* Takes all needs on the whole path, or nothing: false, and `over` (may be NULL) says what was over. */
bool quota_reserve(struct account *account, const struct quota_need *needs, size_t count, struct quota_over *over);
/* The same for what is there already and cannot be refused any more: what the store brought back. */
void quota_take(struct account *account, const struct quota_need *needs, size_t count);
/* Gives back what was taken. More than that is an error of ours. */
void quota_give(struct account *account, const struct quota_need *needs, size_t count);
static inline uint64_t quota_taken(const struct account *account, enum quota_row row) {
    return atomic_load_explicit(&account->taken[row], memory_order_relaxed);
}
/* Whether anything more of a row may be taken; costs two loads. */
static inline bool quota_has_room(const struct account *account, enum quota_row row) {
    for (const struct account *a = account; a != NULL; a = a->parent) {
        if (a->most[row] != 0 && quota_taken(a, row) >= a->most[row]) {
            return false;
        }
    }
    return true;
}

/* Of one row; the common case. */
static inline bool quota_reserve_one(struct account *account, enum quota_row row, uint64_t amount,
                                     struct quota_over *over) {
    return quota_reserve(account, &(struct quota_need){row, amount}, 1, over);
}
static inline void quota_give_one(struct account *account, enum quota_row row, uint64_t amount) {
    quota_give(account, &(struct quota_need){row, amount}, 1);
}

/* Calls `visit` for every owner, for a person who wants to see who is over what. The lock of the owners is held. */
void quota_each_owner(struct quota *q, void (*visit)(void *user, const struct account *owner), void *user);
/* The same for at most `max` owners, from `*at` on (0 at first): true when there may be more. Owners that come or go
 * between two calls may be seen or not. */
bool quota_some_owners(struct quota *q, size_t *at, size_t max, void (*visit)(void *user, const struct account *owner),
                       void *user);
const char *quota_row_text(enum quota_row row);
const char *quota_level_text(enum quota_level level);
/* In one word. */
const char *quota_level_name(enum quota_level level);
