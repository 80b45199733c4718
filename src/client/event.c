/* Events wait in order until src/lib fetches them; those that nobody would read are not kept. */
#include "base/mem.h"
#include "client/state.h"

static bool event_wanted(const struct client *c, const struct quartet_event *e) {
    if (e->kind == QUARTET_EVENT_PACKET) {
        return c->events.count < TRACE_EVENTS_MAX;
    }
    return c->options.on_event != NULL || e->kind == QUARTET_EVENT_SESSION_LOST ||
           (e->kind == QUARTET_EVENT_PUBLISHED && (e->reason >= REASON_UNSPECIFIED_ERROR || e->error != 0));
}

static void event_complete(struct client *c, struct event_item *item) {
    item->event.protocol = item->event.protocol != 0 ? item->event.protocol : (int)c->protocol;
    item->event.server = item->event.server != NULL ? item->event.server : "";
    item->event.client_id = c->client_id;
}

static struct event_item event_make(const struct quartet_event *event, const char *text, size_t text_bytes) {
    return (struct event_item){*event, text_bytes > 0 ? mem_copy(text, text_bytes) : NULL};
}

void event_push(struct client *c, const struct quartet_event *event, const char *text, size_t text_bytes) {
    if (event_wanted(c, event)) {
        struct event_item *item = fifo_push(&c->events);
        *item = event_make(event, text, text_bytes);
        event_complete(c, item);
    }
}

void event_published(struct client *c, lsn_t id, int error, uint8_t reason, const char *text) {
    struct quartet_event event = {.kind = QUARTET_EVENT_PUBLISHED, .id = id, .error = error, .reason = reason};
    event_push(c, &event, text, strlen(text));
}

void event_packet(struct client *c, bool outgoing, const struct packet *packet, size_t bytes) {
    if (!c->options.trace || c->tracing.count >= TRACE_EVENTS_MAX) {
        return;
    }
    struct buf line = {NULL, 0, 0};
    struct quartet_event event = {.kind = QUARTET_EVENT_PACKET, .outgoing = outgoing, .bytes = bytes};
    packet_print(&line, c->protocol, packet);
    if (outgoing) {
        struct trace_item *item = fifo_push(&c->tracing);
        *item = (struct trace_item){c->out.stream_end, event_make(&event, (const char *)line.ptr, line.len)};
    } else {
        event_push(c, &event, (const char *)line.ptr, line.len);
    }
    buf_deinit(&line);
}

void event_sent(struct client *c) {
    struct trace_item *front;
    while ((front = fifo_front(&c->tracing)) != NULL && front->position <= c->out.stream_begin) {
        struct event_item item = front->item;
        fifo_pop(&c->tracing);
        if (event_wanted(c, &item.event)) {
            event_complete(c, &item);
            struct event_item *told = fifo_push(&c->events);
            *told = item;
        } else {
            mem_free(item.text);
        }
    }
}

bool client_event(struct client *c, struct quartet_event *event) {
    struct event_item *item = fifo_front(&c->events);
    if (item == NULL) {
        return false;
    }
    mem_free(c->event_text);
    c->event_text = item->text;
    *event = item->event;
    event->text = c->event_text != NULL ? c->event_text : "";
    fifo_pop(&c->events);
    return true;
}

void event_deinit(struct client *c) {
    for (struct event_item *item; (item = fifo_front(&c->events)) != NULL; fifo_pop(&c->events)) {
        mem_free(item->text);
    }
    for (struct trace_item *item; (item = fifo_front(&c->tracing)) != NULL; fifo_pop(&c->tracing)) {
        mem_free(item->item.text);
    }
    fifo_deinit(&c->events);
    fifo_deinit(&c->tracing);
    mem_free(c->event_text);
    c->event_text = NULL;
}
