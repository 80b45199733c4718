/* Callbacks. What is due is taken under the lock, a batch at a time, and told without it. */
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"
#include "lib/lib.h"

enum { MESSAGES_PER_BATCH = 64 };

struct batch {
    struct event_list events;
    struct quartet_message *messages[MESSAGES_PER_BATCH];
    uint64_t done[MESSAGES_PER_BATCH]; /* sequences; 0: not done */
    size_t message_count;
};

static int64_t wall_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- taking: lock held ---- */

static size_t copy_text(struct event_list *list, const char *text) {
    size_t at = list->texts.len;
    const char *copied = text != NULL ? text : "";
    buf_bytes(&list->texts, span_of(copied, strlen(copied) + 1));
    return at;
}

static void add_event(struct quartet *q, const struct quartet_event *e) {
    struct event_list *list = &q->events;
    if (q->options.on_event == NULL && e->kind != QUARTET_EVENT_SESSION_LOST) {
        return;
    }
    if (list->count == list->capacity) {
        list->capacity = list->capacity > 0 ? list->capacity * 2 : 16;
        list->events = mem_resize(list->events, list->capacity * sizeof *list->events);
        list->texts_at = mem_resize(list->texts_at, list->capacity * sizeof *list->texts_at);
    }
    size_t *at = list->texts_at[list->count];
    at[0] = copy_text(list, e->text);
    at[1] = copy_text(list, e->server);
    at[2] = copy_text(list, e->client_id);
    list->events[list->count] = *e;
    list->events[list->count++].time_ns = e->time_ns != 0 ? e->time_ns : wall_ns();
}

void lib_events_deinit(struct event_list *list) {
    mem_free(list->events);
    mem_free(list->texts_at);
    buf_deinit(&list->texts);
}

/* The events that the store makes: the engine does not know who waits for the disk. */
static void collect_store_events(struct quartet *q) {
    uint64_t durable = store_durable(q->store.store);
    uint64_t stored = durable < q->no_wait_last ? durable : q->no_wait_last;
    if (q->no_wait_next != 0 && q->no_wait_next <= stored) {
        q->no_wait_next = stored < q->no_wait_last ? stored + 1 : 0;
        add_event(q, &(struct quartet_event){.kind = QUARTET_EVENT_STORED, .id = stored});
    }
    if (!q->store_told && store_failed(q->store.store)) {
        q->store_told = true;
        add_event(q, &(struct quartet_event){.kind = QUARTET_EVENT_STORE_FAILED,
                                             .error = QUARTET_STORE_FAILED,
                                             .text = q->store.store->error.text});
    }
}

void lib_collect(struct quartet *q) {
    struct quartet_event e;
    while (client_event(q->client, &e)) {
        if (e.kind == QUARTET_EVENT_PUBLISHED && e.reason >= 0x80) {
            lib_refusal_note(&q->refusals, &e);
        }
        if (e.kind != QUARTET_EVENT_STORE_FAILED || !q->store_told) {
            q->store_told = q->store_told || e.kind == QUARTET_EVENT_STORE_FAILED;
            add_event(q, &e);
        }
    }
}

static void take_events(struct quartet *q, struct batch *b) {
    collect_store_events(q);
    b->events = q->events;
    q->events = (struct event_list){0};
}

/* What a delivery points to is the engine's, and valid until it gives the next. */
static void take_messages(struct quartet *q, struct batch *b) {
    struct client_delivery d;
    while (q->options.on_message != NULL && b->message_count < MESSAGES_PER_BATCH && client_take(q->client, &d)) {
        b->messages[b->message_count++] = lib_message(q, &d);
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

static void tell_events(struct quartet *q, struct event_list *list) {
    for (size_t i = 0; i < list->count && !is_closing(q); i++) {
        struct quartet_event *e = &list->events[i];
        const char *texts = (const char *)list->texts.ptr;
        e->text = texts + list->texts_at[i][0];
        e->server = texts + list->texts_at[i][1];
        e->client_id = texts + list->texts_at[i][2];
        tell_event(q, e);
    }
}

/* True when the message is done with its callback. */
static bool tell_message(struct quartet *q, struct quartet_message *message) {
    struct lib_frame frame;
    lib_callback_begin(&frame, q);
    q->options.on_message(q, message, q->options.user);
    lib_callback_end(&frame);
    return !q->options.manual_done && !lib_message_kept(message);
}

static void tell_messages(struct quartet *q, struct batch *b) {
    for (size_t i = 0; i < b->message_count; i++) {
        struct quartet_message *message = b->messages[i];
        bool done = !is_closing(q) && tell_message(q, message);
        b->done[i] = done ? message->position.sequence : 0;
        quartet_message_free(message);
    }
}

static void finish(struct quartet *q, const struct batch *b) {
    for (size_t i = 0; i < b->message_count; i++) {
        if (b->done[i] != 0) {
            (void)client_done(q->client, b->done[i]);
        }
    }
}

bool lib_deliver(struct quartet *q) {
    struct batch b;
    b.message_count = 0;
    b.events = (struct event_list){0};
    lib_enter(q);
    lib_collect(q);
    if (!q->closing) {
        take_events(q, &b);
        take_messages(q, &b);
    }
    if (b.message_count == MESSAGES_PER_BATCH) {
        lib_wake(q);
    }
    lib_leave(q);
    bool any = b.events.count > 0 || b.message_count > 0;
    if (any) {
        tell_events(q, &b.events);
        tell_messages(q, &b);
        lib_enter(q);
        finish(q, &b);
        lib_leave(q);
    }
    lib_events_deinit(&b.events);
    return any;
}
