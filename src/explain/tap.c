#include "explain/tap.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"

static void message_name(const struct record *r, char *out, size_t bytes) {
    const struct span payload = r->message.parts.payload;
    const char *name = record_kind_name(r->kind);
    const char letter = payload.len > 0 ? (char)payload.ptr[0] : '-';
    if (r->message.packet_id != 0) {
        (void)snprintf(out, bytes, "%s(%c, holds %u%s)", name, letter, r->message.packet_id,
                       r->message.set_retained ? ", retained" : "");
    } else {
        (void)snprintf(out, bytes, "%s(%c)", name, letter);
    }
}

static void record_name(const struct record *r, char *out, size_t bytes) {
    const char *name = record_kind_name(r->kind);
    switch ((int)r->kind) {
    case RECORD_MESSAGE:
        message_name(r, out, bytes);
        break;
    case RECORD_HELD:
    case RECORD_FREED:
    case RECORD_RECEIVED:
    case RECORD_DONE:
        (void)snprintf(out, bytes, "%s(%u)", name, r->flow.packet_id);
        break;
    case RECORD_SENT:
        (void)snprintf(out, bytes, "%s(%u)", name, r->sent.packet_id);
        break;
    default:
        (void)snprintf(out, bytes, "%s", name);
        break;
    }
}

static void add_pending(struct tap *t, const struct record *record, const char *name) {
    const size_t used = strlen(t->pending);
    struct buf bytes = {NULL, 0, 0};
    (void)snprintf(t->pending + used, sizeof t->pending - used, "%s%s", used > 0 ? ", " : "", name);
    record_encode(&bytes, record);
    t->digest = hash_bytes(buf_span(&bytes), t->digest);
    buf_deinit(&bytes);
}

static lsn_t tap_stage(struct store *store, const struct record *record) {
    struct tap *t = container_of((void *)(uintptr_t)store->ops, struct tap, ops);
    char name[64];
    record_name(record, name, sizeof name);
    add_pending(t, record, name);
    t->staged(t->user, name);
    return t->real->stage(store, record);
}

void tap_in(struct tap *t, struct store *store, void (*staged)(void *user, const char *record), void *user) {
    if (store->ops == &t->ops) {
        return;
    }
    t->real = store->ops;
    t->ops = *store->ops;
    t->ops.stage = tap_stage;
    t->staged = staged;
    t->user = user;
    store->ops = &t->ops;
}

void tap_lost(const struct tap *t, struct story_event *e, unsigned actor) {
    if (t->pending[0] != '\0') {
        story_note(e, actor, "THE POWER FAILS; not on the disk yet:");
        story_note(e, actor, "%s", t->pending);
    } else {
        story_note(e, actor, "THE POWER FAILS; all was on the disk");
    }
}

void tap_clear(struct tap *t) {
    t->pending[0] = '\0';
    t->digest = 0;
}
