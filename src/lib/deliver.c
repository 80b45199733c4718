/* Callbacks. What is due is taken under the lock, a batch at a time, and told without it. */
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "lib/lib.h"

enum { EVENTS_PER_BATCH = 64, MESSAGES_PER_BATCH = 64 };

/* Events with copies of their texts: offsets into `texts`, while that grows. */
struct batch {
    struct quartet_event events[EVENTS_PER_BATCH];
    size_t texts_at[EVENTS_PER_BATCH][3];
    size_t event_count;
    struct buf texts;
    struct client_delivery deliveries[MESSAGES_PER_BATCH];
    uint64_t done[MESSAGES_PER_BATCH]; /* sequences; 0: not done */
    size_t delivery_count;
};

static int64_t wall_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- refusals ---- */

static void note_refusal(struct quartet *q, const struct quartet_event *e) {
    if (q->refusals == NULL) {
        q->refusals = mem_zero(REFUSALS_KEPT, sizeof *q->refusals);
    }
    q->refusals[q->refusal_count++ % REFUSALS_KEPT] = (struct refusal){e->id, e->reason};
}

uint8_t lib_refusal(const struct quartet *q, uint64_t id) {
    uint64_t count = q->refusal_count < REFUSALS_KEPT ? q->refusal_count : REFUSALS_KEPT;
    for (uint64_t i = 0; i < count; i++) {
        if (q->refusals[i].id == id) {
            return q->refusals[i].reason;
        }
    }
    return 0;
}

/* ---- taking: lock held ---- */

static size_t copy_text(struct batch *b, const char *text) {
    size_t at = b->texts.len;
    const char *copied = text != NULL ? text : "";
    buf_bytes(&b->texts, span_of(copied, strlen(copied) + 1));
    return at;
}

static void add_event(struct batch *b, const struct quartet_event *e) {
    size_t *at = b->texts_at[b->event_count];
    at[0] = copy_text(b, e->text);
    at[1] = copy_text(b, e->server);
    at[2] = copy_text(b, e->client_id);
    b->events[b->event_count++] = *e;
}

/* The events that the store makes: the engine does not know who waits for the disk. */
static void take_store_events(struct quartet *q, struct batch *b) {
    uint64_t durable = store_durable(q->store.store);
    uint64_t stored = durable < q->no_wait_last ? durable : q->no_wait_last;
    if (stored > q->no_wait_told) {
        q->no_wait_told = stored;
        add_event(b, &(struct quartet_event){.kind = QUARTET_EVENT_STORED, .id = stored});
    }
    if (!q->store_told && store_failed(q->store.store)) {
        q->store_told = true;
        const struct error *error = &q->store.store->error;
        add_event(b, &(struct quartet_event){
                         .kind = QUARTET_EVENT_STORE_FAILED, .error = QUARTET_STORE_FAILED, .text = error->text});
    }
}

static void take_events(struct quartet *q, struct batch *b) {
    struct quartet_event e;
    take_store_events(q, b);
    while (b->event_count < EVENTS_PER_BATCH && client_event(q->client, &e)) {
        if (e.kind == QUARTET_EVENT_PUBLISHED && e.reason >= 0x80) {
            note_refusal(q, &e);
        }
        if (e.kind != QUARTET_EVENT_STORE_FAILED || !q->store_told) {
            q->store_told = q->store_told || e.kind == QUARTET_EVENT_STORE_FAILED;
            add_event(b, &e);
        }
    }
}

static void take_messages(struct quartet *q, struct batch *b) {
    while (q->options.on_message != NULL && b->delivery_count < MESSAGES_PER_BATCH &&
           client_take(q->client, &b->deliveries[b->delivery_count])) {
        b->delivery_count++;
    }
}

/* ---- telling: lock not held ---- */

static bool is_closing(struct quartet *q) {
    lock_take(&q->lock);
    bool closing = q->closing;
    lock_give(&q->lock);
    return closing;
}

static void tell_event(struct quartet *q, struct quartet_event *e) {
    struct lib_frame frame;
    if (q->options.on_event != NULL) {
        lib_callback_begin(&frame, q);
        q->options.on_event(q, e, q->options.user);
        lib_callback_end(&frame);
    }
    if (e->kind == QUARTET_EVENT_SESSION_LOST) {
        lock_take(&q->lock);
        q->lost_told = true;
        lock_give(&q->lock);
    }
}

static void tell_events(struct quartet *q, struct batch *b) {
    for (size_t i = 0; i < b->event_count && !is_closing(q); i++) {
        struct quartet_event *e = &b->events[i];
        const char *texts = (const char *)b->texts.ptr;
        e->text = texts + b->texts_at[i][0];
        e->server = texts + b->texts_at[i][1];
        e->client_id = texts + b->texts_at[i][2];
        e->time_ns = e->time_ns != 0 ? e->time_ns : wall_ns();
        tell_event(q, e);
    }
}

/* True when the message is done with its callback. */
static bool tell_message(struct quartet *q, const struct client_delivery *d) {
    struct lib_frame frame;
    struct quartet_message *message = lib_message(q, d);
    lib_callback_begin(&frame, q);
    q->options.on_message(q, message, q->options.user);
    lib_callback_end(&frame);
    bool done = !q->options.manual_done && !lib_message_kept(message);
    quartet_message_free(message);
    return done;
}

static void tell_messages(struct quartet *q, struct batch *b) {
    for (size_t i = 0; i < b->delivery_count; i++) {
        b->done[i] = 0;
        uint64_t sequence = b->deliveries[i].sequence;
        if (is_closing(q)) {
            message_unref(b->deliveries[i].message);
        } else if (tell_message(q, &b->deliveries[i])) {
            b->done[i] = sequence;
        }
    }
}

static void finish(struct quartet *q, const struct batch *b) {
    for (size_t i = 0; i < b->delivery_count; i++) {
        if (b->done[i] != 0) {
            (void)client_done(q->client, b->done[i]);
        }
    }
}

bool lib_deliver(struct quartet *q) {
    struct batch b;
    b.event_count = b.delivery_count = 0;
    b.texts = (struct buf){0};
    lib_enter(q);
    if (!q->closing) {
        take_events(q, &b);
        take_messages(q, &b);
    }
    if (b.event_count == EVENTS_PER_BATCH || b.delivery_count == MESSAGES_PER_BATCH) {
        lib_wake(q);
    }
    lib_leave(q);
    if (b.event_count == 0 && b.delivery_count == 0) {
        return false;
    }
    tell_events(q, &b);
    tell_messages(q, &b);
    buf_deinit(&b.texts);
    lib_enter(q);
    finish(q, &b);
    lib_leave(q);
    return true;
}
