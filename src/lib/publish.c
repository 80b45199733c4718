/* Publishing, and waiting for the disk and for the broker. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "base/must.h"
#include "lib/lib.h"

enum { PACKET_BYTES_MAX = 268435455, STORE_TIMEOUT_MS = 30000 };

/* ---- waiting ---- */

struct waiting {
    pthread_cond_t *signal;
    unsigned *waiters;
    struct timespec until;
    bool for_ever;
};

static struct timespec in_milliseconds(int ms) {
    struct timespec at;
    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += ms / 1000;
    at.tv_nsec += ms % 1000 * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

/* Sleeps once; true when the time is over. What was staged is on its way to the disk meanwhile. Lock held. */
static bool sleep_once(struct quartet *q, const struct waiting *w) {
    if (q->staged && q->store.work != NULL) {
        q->staged = false;
        store_work_ring(q->store.work);
    }
    store_work_note(NULL);
    ++*w->waiters;
    int code = w->for_ever ? pthread_cond_wait(w->signal, &q->lock.mutex)
                           : pthread_cond_timedwait(w->signal, &q->lock.mutex, &w->until);
    --*w->waiters;
    store_work_note(&q->staged);
    return code == ETIMEDOUT;
}

static int wait_until(struct quartet *q, struct waiting *w, int timeout_ms, lib_condition look, void *argument) {
    w->for_ever = timeout_ms < 0;
    w->until = in_milliseconds(timeout_ms < 0 ? 0 : timeout_ms);
    bool over = timeout_ms == 0;
    int code = look(q, argument);
    while (code == LIB_PENDING && !q->closing && !over) {
        over = sleep_once(q, w);
        code = look(q, argument);
    }
    return code;
}

int lib_wait_changed(struct quartet *q, int timeout_ms, lib_condition look, void *argument) {
    int code = look(q, argument);
    if (code != LIB_PENDING) {
        return code;
    }
    if (timeout_ms != 0 && lib_waits_for_itself(q)) {
        return lib_fail(QUARTET_IN_CALLBACK, "this thread drives the client and would wait for itself");
    }
    if (timeout_ms != 0 && q->drive == DRIVE_NONE) {
        return lib_fail(QUARTET_INVALID, "nobody drives the client: quartet_start() must come first");
    }
    struct waiting w = {.signal = &q->changed, .waiters = &q->changed_waiters};
    code = wait_until(q, &w, timeout_ms, look, argument);
    return code != LIB_PENDING ? code : q->closing ? lib_fail_closed() : lib_fail(QUARTET_TIMEOUT, "the time is over");
}

int lib_hopeless(struct quartet *q) {
    struct quartet_status s = {0};
    if (q->closing) {
        return lib_fail_closed();
    }
    if (store_failed(q->store.store)) {
        return lib_store_state(q);
    }
    client_status(q->client, &s);
    if (s.final) {
        return lib_fail(s.error != QUARTET_OK ? s.error : QUARTET_CLOSED, "the client does not connect again: %s",
                        s.error != QUARTET_OK ? quartet_error_text(s.error) : "quartet_disconnect() was called");
    }
    if (s.session_is_lost && q->lost_told) {
        return lib_fail(QUARTET_SESSION_LOST, "the broker has forgotten the session; quartet_session_lost() decides");
    }
    q->lost_told = q->lost_told && s.session_is_lost;
    return LIB_PENDING;
}

/* ---- the disk ---- */

static int is_stored(struct quartet *q, void *argument) {
    const uint64_t *id = argument;
    if (store_durable(q->store.store) >= *id) {
        return QUARTET_OK;
    }
    return store_failed(q->store.store) ? lib_store_state(q) : LIB_PENDING;
}

static int wait_stored(struct quartet *q, uint64_t id, int timeout_ms) {
    struct waiting w = {.signal = &q->stored, .waiters = &q->stored_waiters};
    int code = wait_until(q, &w, timeout_ms, is_stored, &id);
    return code != LIB_PENDING ? code : q->closing ? lib_fail_closed() : lib_fail(QUARTET_TIMEOUT, "the time is over");
}

/* Lock held. */
static int fail_unknown(const struct quartet *q, uint64_t id) {
    return lib_fail(QUARTET_INVALID, "no message has the id %llu: the last one published has %llu",
                    (unsigned long long)id, (unsigned long long)q->last_id);
}

int quartet_wait_stored(struct quartet *q, uint64_t id, int timeout_ms) {
    lib_enter(q);
    uint64_t wanted = id != 0 ? id : q->last_id;
    int code = QUARTET_OK;
    if (wanted > q->last_id) {
        code = fail_unknown(q, wanted);
    } else if (q->drive == DRIVE_CORE && timeout_ms != 0 && store_durable(q->store.store) < wanted) {
        code = lib_fail(QUARTET_IN_CALLBACK, "the store is driven by quartet_core_store(), not by waiting");
    } else {
        code = wait_stored(q, wanted, timeout_ms);
    }
    lib_leave(q);
    return code;
}

/* ---- the broker ---- */

/* It is not pending: was it taken? Lock held. */
static int verdict_of(const struct quartet *q, uint64_t id) {
    struct refusal refusal;
    unsigned long long number = id;
    if (!lib_refusal_of(&q->refusals, id, &refusal)) {
        return id > q->refusals.forgotten
                   ? QUARTET_OK
                   : lib_fail(QUARTET_INVALID, "message %llu ended too long ago: it is not known any more how", number);
    }
    switch (refusal.error) {
    case QUARTET_TIMEOUT:
        return lib_fail(QUARTET_REFUSED, "message %llu expired before it was sent", number);
    case QUARTET_SESSION_LOST:
        return lib_fail(QUARTET_REFUSED, "message %llu was given up: the broker forgot the session", number);
    default:
        return lib_fail(QUARTET_REFUSED, "the broker refused message %llu: %s (0x%02x)", number,
                        quartet_reason_name(5, refusal.reason), refusal.reason);
    }
}

static int is_acknowledged(struct quartet *q, void *argument) {
    const uint64_t *id = argument;
    return client_pending(q->client, *id) ? lib_hopeless(q) : verdict_of(q, *id);
}

/* All that was published so far: QoS 1 and 2 up to an id, QoS 0 up to a count. */
struct all {
    uint64_t id;
    uint64_t taken;
};

static int all_gone(struct quartet *q, void *argument) {
    const struct all *all = argument;
    bool gone = client_oldest(q->client) > all->id && client_volatile_left(q->client) >= all->taken;
    return gone ? QUARTET_OK : lib_hopeless(q);
}

/* Lock held. */
static int wait_all(struct quartet *q, int timeout_ms) {
    struct all all = {q->last_id, client_volatile_taken(q->client)};
    return lib_wait_changed(q, timeout_ms, all_gone, &all);
}

int quartet_wait(struct quartet *q, uint64_t id, int timeout_ms) {
    lib_enter(q);
    int code = QUARTET_OK;
    if (id == 0) {
        code = wait_all(q, timeout_ms);
    } else if (id > q->last_id) {
        code = fail_unknown(q, id);
    } else {
        code = lib_wait_changed(q, timeout_ms, is_acknowledged, &id);
    }
    lib_leave(q);
    return code;
}

static int is_gone(struct quartet *q, void *argument) {
    (void)argument;
    return q->transport.state == TRANSPORT_IDLE ? QUARTET_OK : LIB_PENDING;
}

int quartet_disconnect(struct quartet *q, uint8_t reason, int timeout_ms) {
    lib_enter(q);
    int code = q->closing ? lib_fail_closed() : wait_all(q, timeout_ms);
    if (code == QUARTET_OK || code == QUARTET_TIMEOUT || code == QUARTET_SESSION_LOST) {
        client_disconnect(q->client, reason);
        lib_wake(q);
        if (q->drive == DRIVE_THREAD && !lib_in_callback(q)) {
            (void)lib_wait_changed(q, 1000, is_gone, NULL);
        }
    }
    lib_leave(q);
    return code;
}

/* ---- publishing ---- */

/* What is missing is the engine's to refuse. */
static size_t text_bytes(const char *text) {
    return text != NULL ? strlen(text) : 0;
}

static size_t bytes_of(const struct quartet_publication *p) {
    const struct quartet_properties *x = &p->properties;
    size_t bytes = 64 + text_bytes(p->topic) + p->payload_bytes + x->correlation_bytes;
    bytes += text_bytes(x->content_type) + text_bytes(x->response_topic);
    for (size_t i = 0; x->user != NULL && i < x->user_count; i++) {
        bytes += 5 + text_bytes(x->user[i].name) + text_bytes(x->user[i].value);
    }
    return bytes;
}

static int check_size(const struct quartet *q, const struct quartet_publication *p) {
    size_t most = q->store.durable ? q->options.packet_bytes_max : PACKET_BYTES_MAX;
    if (p->payload_bytes <= most && bytes_of(p) <= most) {
        return QUARTET_OK;
    }
    return lib_fail(QUARTET_INVALID, "the message has more than %zu bytes%s", most,
                    q->store.durable ? " (packet_bytes_max)" : "");
}

/* B0, within a limit: a disk that is full may stay so for ever. The message is taken all the same. Lock held. */
static int wait_published(struct quartet *q, uint64_t id) {
    uint32_t limit_ms = q->options.store_timeout_ms;
    int code = wait_stored(q, id, limit_ms == 0 ? STORE_TIMEOUT_MS : limit_ms < INT_MAX ? (int)limit_ms : INT_MAX);
    return code != QUARTET_TIMEOUT
               ? code
               : lib_fail(code, "message %llu is taken but not on the disk yet: wait for it with quartet_wait_stored()",
                          (unsigned long long)id);
}

/* STORED will tell of it. The id of a sequence that was taken before is older than the last one. Lock held. */
static void nobody_waits(struct quartet *q, uint64_t id) {
    q->no_wait_next = q->no_wait_next == 0 || id < q->no_wait_next ? id : q->no_wait_next;
    q->no_wait_last = id > q->no_wait_last ? id : q->no_wait_last;
}

/* Lock held. */
static int publish(struct quartet *q, const struct quartet_publication *p, uint64_t *id) {
    int code = q->closing ? lib_fail_closed() : lib_store_state(q);
    if (code == QUARTET_OK) {
        code = lib_store_work(q);
    }
    if (code != QUARTET_OK) {
        return code;
    }
    if (q->drive != DRIVE_CORE) {
        lib_clock(q, lib_mono()); /* expiry begins now, also before the first turn */
    }
    struct error text = {0};
    code = client_publish(q->client, p, id, &text);
    if (code != QUARTET_OK) {
        return lib_fail(code, "%s", text.text[0] != '\0' ? text.text : quartet_error_text(code));
    }
    q->last_id = *id > q->last_id ? *id : q->last_id;
    lib_wake(q);
    if (*id == 0 || !q->store.durable || q->drive == DRIVE_CORE) {
        return QUARTET_OK;
    }
    if (p->no_wait) {
        nobody_waits(q, *id);
        return QUARTET_OK;
    }
    return wait_published(q, *id);
}

int quartet_publish_sized(struct quartet *q, const struct quartet_publication *publication, size_t size, uint64_t *id) {
    struct quartet_publication p;
    uint64_t given = 0;
    int code = QUARTET_OK;
    if (!lib_copy_sized(&p, sizeof p, publication, size)) {
        code = lib_fail(QUARTET_INVALID, "the publication has fields that this library does not know");
    } else {
        code = check_size(q, &p);
    }
    if (code == QUARTET_OK) {
        lib_enter(q);
        code = publish(q, &p, &given);
        lib_leave(q);
    }
    if (id != NULL) {
        *id = given;
    }
    return code;
}

uint64_t quartet_last_sequence(struct quartet *q) {
    lib_enter(q);
    uint64_t sequence = client_last_sequence(q->client);
    lib_leave(q);
    return sequence;
}
