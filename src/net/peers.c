#include "net/peers.h"

#include <netinet/in.h>

#include "base/mem.h"
#include "base/must.h"

#define IPV4_MARK (1ULL << 32) /* no IPv6 network that is in use begins so */
#define SAY_AGAIN_MS 60000
#define FORGET_AT_ONCE 64 /* of those without a connection, for each that comes */

/* Milliconnections are what the bucket holds, so that a rate of one a second counts, too. */
struct peer_address {
    uint32_t connections;
    uint64_t tokens;
    mono_ms_t filled_at;
    mono_ms_t silent_until; /* that it is refused was said a moment ago */
};

static uint64_t bucket_size(const struct peers *p) {
    return (uint64_t)p->rate * PEERS_BURST_S * 1000;
}

void peers_init(struct peers *p, uint64_t seed) {
    *p = (struct peers){.map = map64_of(seed), .connections_max = UINT32_MAX};
    lock_init(&p->lock);
}

void peers_deinit(struct peers *p) {
    size_t at = 0;
    uint64_t key;
    void *value;
    while (map64_next(&p->map, &at, &key, &value)) {
        mem_free(value);
    }
    map64_deinit(&p->map);
    lock_deinit(&p->lock);
}

uint64_t peers_key(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        return IPV4_MARK | ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr);
    }
    if (address->sa_family != AF_INET6) {
        return 0;
    }
    const uint8_t *bytes = ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr;
    uint64_t network = 0;
    for (unsigned i = 0; i < sizeof network; i++) {
        network = network << 8 | bytes[i];
    }
    return network != 0 ? network : 1; /* ::1 */
}

/* Shards read their clocks once a turn: one may tell a time before that at which another has filled the bucket, and
 * then nothing comes in, or the same time would count again and again. */
static void fill(const struct peers *p, struct peer_address *a, mono_ms_t now) {
    uint64_t size = bucket_size(p);
    if (now <= a->filled_at) {
        return;
    }
    uint64_t since = (uint64_t)(now - a->filled_at);
    since = since < PEERS_BURST_S * 1000ULL ? since : PEERS_BURST_S * 1000ULL;
    a->tokens = a->tokens + since * p->rate < size ? a->tokens + since * p->rate : size;
    a->filled_at = now;
}

/* Some of those without a connection: their buckets are full again when they come back. */
static void forget_idle(struct peers *p) {
    uint64_t forgotten[FORGET_AT_ONCE];
    size_t count = 0;
    for (int rounds = 0; rounds < 2 && count < FORGET_AT_ONCE; rounds++) {
        uint64_t key;
        void *value;
        while (count < FORGET_AT_ONCE && map64_next(&p->map, &p->sweep, &key, &value)) {
            if (((struct peer_address *)value)->connections == 0) {
                forgotten[count++] = key;
            }
        }
        p->sweep = count < FORGET_AT_ONCE ? 0 : p->sweep;
    }
    for (size_t i = 0; i < count; i++) {
        void *old = map64_remove(&p->map, forgotten[i]);
        p->idle -= old != NULL; /* the second round may have seen it again */
        mem_free(old);
    }
}

static struct peer_address *address_of(struct peers *p, uint64_t key, mono_ms_t now) {
    struct peer_address *a = map64_get(&p->map, key);
    if (a == NULL) {
        if (p->idle >= PEERS_IDLE_MAX) {
            forget_idle(p);
        }
        a = mem_zero(1, sizeof *a);
        *a = (struct peer_address){.tokens = bucket_size(p), .filled_at = now};
        (void)map64_put(&p->map, key, a);
        p->idle++;
    }
    return a;
}

static enum peers_verdict enter(const struct peers *p, struct peer_address *a, mono_ms_t now) {
    fill(p, a, now);
    if (p->rate != 0 && a->tokens < 1000) {
        return PEERS_TOO_OFTEN;
    }
    a->tokens -= p->rate != 0 ? 1000 : 0;
    return a->connections < p->connections_max ? PEERS_WELCOME : PEERS_TOO_MANY;
}

enum peers_verdict peers_enter(struct peers *p, uint64_t key, mono_ms_t now, bool *say) {
    *say = false;
    if (key == 0) {
        return PEERS_WELCOME;
    }
    lock_take(&p->lock);
    struct peer_address *a = address_of(p, key, now);
    enum peers_verdict verdict = enter(p, a, now);
    if (verdict == PEERS_WELCOME) {
        p->idle -= a->connections == 0;
        a->connections++;
    } else if (now >= a->silent_until) {
        *say = true;
        a->silent_until = now + SAY_AGAIN_MS;
    }
    lock_give(&p->lock);
    return verdict;
}

void peers_leave(struct peers *p, uint64_t key) {
    if (key == 0) {
        return;
    }
    lock_take(&p->lock);
    struct peer_address *a = map64_get(&p->map, key);
    must(a != NULL && a->connections > 0);
    a->connections--;
    p->idle += a->connections == 0;
    if (a->connections == 0 && p->rate == 0) {
        mem_free(map64_remove(&p->map, key));
        p->idle--;
    }
    lock_give(&p->lock);
}
