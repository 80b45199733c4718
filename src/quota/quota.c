#include "quota/quota.h"

#include "base/lock.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"

struct owner {
    struct account account; /* first: an account of this level is an owner */
    uint32_t references;    /* under the lock */
    uint32_t name_bytes;
    uint8_t name[];
};

struct quota {
    struct quota_limits limits;
    struct account all;
    struct lock lock; /* of `owners` and their references */
    struct map_bytes owners;
};

static struct owner *owner_of(struct account *account) {
    must(account->level == QUOTA_OWNER);
    return (struct owner *)account;
}

struct quota *quota_create(const struct quota_limits *limits, uint64_t seed) {
    struct quota *q = mem_zero(1, sizeof *q);
    q->limits = *limits;
    q->all.level = QUOTA_ALL;
    q->all.most = q->limits.most[QUOTA_ALL];
    q->all.fault = &q->limits.fault;
    q->owners = map_bytes_of(seed);
    lock_init(&q->lock);
    return q;
}

void quota_destroy(struct quota *q) {
    size_t at = 0;
    struct span name;
    void *owner;
    while (map_bytes_next(&q->owners, &at, &name, &owner)) {
        mem_free(owner);
    }
    map_bytes_deinit(&q->owners);
    lock_deinit(&q->lock);
    mem_free(q);
}

struct account *quota_all(struct quota *q) {
    return &q->all;
}

static struct owner *owner_create(struct quota *q, struct span name) {
    struct owner *owner = mem_zero(1, sizeof *owner + name.len);
    owner->account.parent = &q->all;
    owner->account.level = QUOTA_OWNER;
    owner->account.most = q->limits.most[QUOTA_OWNER];
    owner->account.fault = &q->limits.fault;
    owner->name_bytes = (uint32_t)name.len;
    if (name.len > 0) {
        memcpy(owner->name, name.ptr, name.len);
    }
    return owner;
}

struct account *quota_owner(struct quota *q, struct span name) {
    lock_take(&q->lock);
    struct owner *owner = map_bytes_get(&q->owners, name);
    if (owner == NULL) {
        owner = owner_create(q, name);
        (void)map_bytes_put(&q->owners, span_of(owner->name, owner->name_bytes), owner);
    }
    owner->references++;
    lock_give(&q->lock);
    return &owner->account;
}

struct account *quota_owner_again(struct quota *q, struct account *account) {
    lock_take(&q->lock);
    must(owner_of(account)->references > 0);
    owner_of(account)->references++;
    lock_give(&q->lock);
    return account;
}

void quota_owner_unref(struct quota *q, struct account *account) {
    if (account == NULL) {
        return;
    }
    struct owner *owner = owner_of(account);
    lock_take(&q->lock);
    must(owner->references > 0);
    if (--owner->references == 0) {
        (void)map_bytes_remove(&q->owners, span_of(owner->name, owner->name_bytes));
        for (unsigned row = 0; row < QUOTA_ROW_COUNT; row++) {
            must(atomic_load(&account->taken[row]) == 0); /* who has something holds a reference */
        }
        mem_free(owner);
    }
    lock_give(&q->lock);
}

struct span quota_owner_name(const struct account *account) {
    must(account->level == QUOTA_OWNER);
    const struct owner *owner = (const struct owner *)account;
    return span_of(owner->name, owner->name_bytes);
}

/* ---- taking and giving back ---- */

/* The amount of a need, unless a test breaks its row. */
static uint64_t row_amount(const struct account *a, const struct quota_need *need, bool given) {
    const struct quota_fault *fault = a->fault;
    if (__builtin_expect(fault->kind == QUOTA_SOUND, 1) || fault->row != need->row) {
        return need->amount;
    }
    return fault->kind == QUOTA_LEFT_OUT ? 0 : given ? 2 * need->amount : need->amount;
}

static bool row_reserve(struct account *a, const struct quota_need *need, struct quota_over *over) {
    const uint64_t amount = row_amount(a, need, false);
    uint64_t before = atomic_fetch_add_explicit(&a->taken[need->row], amount, memory_order_relaxed);
    uint64_t most = a->most[need->row];
    if (most == 0 || amount == 0 || (amount <= most && before <= most - amount)) {
        return true;
    }
    (void)atomic_fetch_sub_explicit(&a->taken[need->row], amount, memory_order_relaxed);
    (void)atomic_fetch_add_explicit(&a->refused[need->row], 1, memory_order_relaxed);
    if (over != NULL) {
        *over = (struct quota_over){need->row, a->level};
    }
    return false;
}

static void row_give(struct account *a, const struct quota_need *need) {
    const uint64_t amount = row_amount(a, need, true);
    uint64_t before = atomic_fetch_sub_explicit(&a->taken[need->row], amount, memory_order_relaxed);
    must(before >= amount);
}

/* Gives back the first `count` needs of each account from `first` up to, but not including, `end`. */
static void path_give(struct account *first, const struct account *end, const struct quota_need *needs, size_t count) {
    for (struct account *a = first; a != end; a = a->parent) {
        for (size_t i = 0; i < count; i++) {
            row_give(a, &needs[i]);
        }
    }
}

bool quota_reserve(struct account *account, const struct quota_need *needs, size_t count, struct quota_over *over) {
    for (struct account *a = account; a != NULL; a = a->parent) {
        for (size_t i = 0; i < count; i++) {
            if (!row_reserve(a, &needs[i], over)) {
                for (size_t taken = 0; taken < i; taken++) {
                    row_give(a, &needs[taken]);
                }
                path_give(account, a, needs, count);
                return false;
            }
        }
    }
    return true;
}

void quota_take(struct account *account, const struct quota_need *needs, size_t count) {
    for (struct account *a = account; a != NULL; a = a->parent) {
        for (size_t i = 0; i < count; i++) {
            (void)atomic_fetch_add_explicit(&a->taken[needs[i].row], row_amount(a, &needs[i], false),
                                            memory_order_relaxed);
        }
    }
}

void quota_give(struct account *account, const struct quota_need *needs, size_t count) {
    path_give(account, NULL, needs, count);
}

void quota_refuse(struct account *account, enum quota_row row) {
    for (struct account *a = account; a != NULL; a = a->parent) {
        (void)atomic_fetch_add_explicit(&a->refused[row], 1, memory_order_relaxed);
    }
}

void quota_refuse_named(struct quota *q, struct span name, enum quota_row row) {
    lock_take(&q->lock);
    struct owner *owner = map_bytes_get(&q->owners, name);
    quota_refuse(owner != NULL ? &owner->account : &q->all, row);
    lock_give(&q->lock);
}

bool quota_allows(struct account *account, enum quota_row row, uint64_t amount) {
    bool allowed = true;
    for (const struct account *a = account; a != NULL; a = a->parent) {
        allowed = allowed && (a->most[row] == 0 || amount <= a->most[row]);
    }
    if (!allowed) {
        quota_refuse(account, row);
    }
    return allowed;
}

/* ---- for people ---- */

void quota_each_owner(struct quota *q, void (*visit)(void *user, const struct account *owner), void *user) {
    size_t at = 0;
    struct span name;
    void *owner;
    lock_take(&q->lock);
    while (map_bytes_next(&q->owners, &at, &name, &owner)) {
        visit(user, &((const struct owner *)owner)->account);
    }
    lock_give(&q->lock);
}

bool quota_some_owners(struct quota *q, size_t *at, size_t max, void (*visit)(void *user, const struct account *owner),
                       void *user) {
    struct span name;
    void *owner;
    bool more = true;
    lock_take(&q->lock);
    for (size_t i = 0; more && i < max; i++) {
        more = map_bytes_next(&q->owners, at, &name, &owner);
        if (more) {
            visit(user, &((const struct owner *)owner)->account);
        }
    }
    lock_give(&q->lock);
    return more;
}

const char *quota_row_text(enum quota_row row) {
    static const char *const texts[] = {
#define QUOTA_TEXT(name, text) [QUOTA_##name] = (text),
        QUOTA_ROWS(QUOTA_TEXT)
#undef QUOTA_TEXT
    };
    must(row < QUOTA_ROW_COUNT);
    return texts[row];
}

const char *quota_level_text(enum quota_level level) {
    return level == QUOTA_OWNER ? "of its owner" : "of all";
}

const char *quota_level_name(enum quota_level level) {
    static const char *const names[] = {[QUOTA_OWNER] = "owner",
                                        [QUOTA_ALL] = "all",
                                        [QUOTA_SESSION] = "session",
                                        [QUOTA_CONNECTION] = "connection",
                                        [QUOTA_LISTENER] = "listener"};
    return names[level];
}
