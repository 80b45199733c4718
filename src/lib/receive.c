/* Subscribing, receiving, state. */
#include <string.h>

#include "base/mem.h"
#include "lib/lib.h"

/* ---- subscriptions ---- */

/* The engine's answer as ours. Lock held. */
static int told(struct quartet *q, int code, const struct error *text) {
    if (code == QUARTET_OK) {
        lib_wake(q);
        return code;
    }
    return lib_fail(code, "%s", text->text[0] != '\0' ? text->text : quartet_error_text(code));
}

int quartet_subscribe_sized(struct quartet *q, const struct quartet_subscription *subscriptions, size_t count,
                            size_t size) {
    struct quartet_subscription *ours = mem_zero(count, sizeof *ours);
    bool known = true;
    for (size_t i = 0; i < count && known; i++) {
        const char *from = (const char *)subscriptions + i * size;
        known = lib_copy_sized(&ours[i], sizeof *ours, from, size);
    }
    int code =
        known ? QUARTET_OK : lib_fail(QUARTET_INVALID, "the subscription has fields that this library does not know");
    if (code == QUARTET_OK) {
        struct error text = {0};
        lib_enter(q);
        code = q->closing ? lib_fail_closed() : told(q, client_subscribe(q->client, ours, count, &text), &text);
        lib_leave(q);
    }
    mem_free(ours);
    return code;
}

int quartet_unsubscribe(struct quartet *q, const char *filter) {
    struct error text = {0};
    lib_enter(q);
    int code = q->closing ? lib_fail_closed() : told(q, client_unsubscribe(q->client, filter, &text), &text);
    lib_leave(q);
    return code;
}

/* ---- messages ---- */

static int take_one(struct quartet *q, void *argument) {
    struct quartet_message **message = argument;
    struct client_delivery d;
    if (client_take(q->client, &d)) {
        *message = lib_message(q, &d);
        return QUARTET_OK;
    }
    return lib_hopeless(q);
}

int quartet_next(struct quartet *q, struct quartet_message **message, int timeout_ms) {
    *message = NULL;
    if (q->options.on_message != NULL) {
        return lib_fail(QUARTET_INVALID, "on_message is set: messages are given to it");
    }
    lib_enter(q);
    int code = q->closing ? lib_fail_closed() : lib_wait_changed(q, timeout_ms, take_one, message);
    lib_leave(q);
    return code != QUARTET_TIMEOUT ? code : lib_fail(QUARTET_EMPTY, "no message has come");
}

int quartet_done(struct quartet *q, const struct quartet_message *message) {
    uint64_t sequence = message->position.sequence;
    if (sequence == 0) {
        return QUARTET_OK;
    }
    if (memcmp(message->position.epoch, q->epoch, sizeof q->epoch) != 0) {
        return lib_fail(QUARTET_INVALID, "the message is of another client");
    }
    lib_enter(q);
    int code = QUARTET_OK;
    if (q->closing) {
        code = lib_fail_closed();
    } else if (!client_done(q->client, sequence)) {
        code = lib_fail(QUARTET_INVALID, "message %llu is done already", (unsigned long long)sequence);
    } else {
        lib_wake(q);
    }
    lib_leave(q);
    return code;
}

int quartet_resume(struct quartet *q, const struct quartet_position *position) {
    if (position->sequence == 0) {
        return QUARTET_OK;
    }
    if (memcmp(position->epoch, q->epoch, sizeof q->epoch) != 0) {
        return lib_fail(QUARTET_INVALID, "the position is of another store: its epoch is not that of this one");
    }
    lib_enter(q);
    int code = client_resume(q->client, position->sequence);
    lib_leave(q);
    return code == QUARTET_OK
               ? code
               : lib_fail(code, "position %llu cannot be resumed from: %s", (unsigned long long)position->sequence,
                          code == QUARTET_INVALID ? "messages were taken already, or it is not of this store"
                                                  : quartet_error_text(code));
}

/* ---- state ---- */

int quartet_session_lost(struct quartet *q, enum quartet_lost_policy decision) {
    if (decision != QUARTET_LOST_RESEND && decision != QUARTET_LOST_DROP) {
        return lib_fail(QUARTET_INVALID, "the decision is QUARTET_LOST_RESEND or QUARTET_LOST_DROP");
    }
    lib_enter(q);
    struct error none = {0};
    int code = told(q, client_session_lost(q->client, decision), &none);
    lib_changed(q);
    lib_leave(q);
    return code;
}

void quartet_status_sized(struct quartet *q, struct quartet_status *status, size_t size) {
    struct quartet_status ours = {0};
    lib_enter(q);
    client_status(q->client, &ours);
    lib_leave(q);
    memset(status, 0, size);
    memcpy(status, &ours, size < sizeof ours ? size : sizeof ours);
}
