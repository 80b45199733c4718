/* Records as lines for a person. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/must.h"
#include "base/terminal.h"
#include "record/record.h"

enum { PRINTED_TEXT_MAX = 256, PRINTED_TARGETS_MAX = 16 };

static void print(struct buf *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void print(struct buf *out, const char *format, ...) {
    char text[160];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(length >= 0 && (size_t)length < sizeof text);
    buf_bytes(out, span_of(text, (size_t)length));
}

static bool printable(struct span s, size_t i) {
    return terminal_shows(s, i) && s.ptr[i] != '"' && s.ptr[i] != '\\';
}

/* Quoted; other bytes of UTF-8 than those above are left alone. */
static void print_text(struct buf *out, const char *name, struct span s) {
    print(out, " %s=\"", name);
    for (size_t i = 0; i < s.len && i < PRINTED_TEXT_MAX; i++) {
        if (printable(s, i)) {
            buf_u8(out, s.ptr[i]);
        } else {
            print(out, "\\x%02x", s.ptr[i]);
        }
    }
    print(out, s.len > PRINTED_TEXT_MAX ? "\"...(%zu bytes)" : "\"", s.len);
}

static void print_parts(struct buf *out, const struct message_parts *p) {
    print_text(out, "topic", p->topic);
    print(out, " qos=%u%s payload=%zu", p->qos, p->retain ? " retain" : "", p->payload.len);
    if (p->properties.len > 0) {
        print(out, " properties=%zu", p->properties.len);
    }
    if (p->expires_at != 0) {
        print(out, " expires_at=%" PRId64, p->expires_at);
    }
    if (p->owner.len > 0) {
        print_text(out, "owner", p->owner);
    }
}

static void print_session(struct buf *out, const struct record_session *s) {
    print(out, s->session_id == 0 ? " opened" : " session=%" PRIu64, s->session_id);
    print_text(out, "client_id", s->client_id);
    if (s->expiry_s == SESSION_NEVER_EXPIRES) {
        print(out, " expiry=never");
    } else {
        print(out, " expiry=%" PRIu32 "s", s->expiry_s);
    }
    print(out, " disconnected_at=%" PRId64 " protocol=%u", s->disconnected_at, s->protocol);
    if (s->owner.len > 0) {
        print_text(out, "owner", s->owner);
    }
}

static void print_clock(struct buf *out, const struct record_clock *c) {
    print(out, " time=%" PRId64 " wall=%" PRId64, c->time, c->wall);
}

static void print_end(struct buf *out, const struct record_end *e) {
    print(out, " session=%" PRIu64, e->session_id);
}

static void print_subscribed(struct buf *out, const struct record_subscribed *s) {
    print(out, " session=%" PRIu64, s->session_id);
    print_text(out, "filter", s->filter);
    print(out, " options=0x%" PRIx32 " identifier=%" PRIu32, s->options, s->identifier);
}

static void print_unsubscribed(struct buf *out, const struct record_unsubscribed *u) {
    print(out, " session=%" PRIu64, u->session_id);
    print_text(out, "filter", u->filter);
}

static void print_target(struct buf *out, const struct record_target *t) {
    print(out, " %" PRIu64 ":qos%u%s", t->session_id, t->qos, t->retain ? ":retain" : "");
}

static void print_targets(struct buf *out, const struct record_message *m) {
    struct reader r = reader_of(m->targets_raw);
    print(out, " targets=%" PRIu32, m->target_count);
    for (uint32_t i = 0; i < m->target_count && i < PRINTED_TARGETS_MAX; i++) {
        struct record_target t;
        if (m->targets != NULL) {
            t = m->targets[i];
        } else if (!record_target_next(&r, &t)) {
            break;
        }
        print_target(out, &t);
    }
    if (m->target_count > PRINTED_TARGETS_MAX) {
        print(out, " ...");
    }
}

static void print_message(struct buf *out, const struct record_message *m) {
    if (m->origin != 0) {
        print(out, " origin=%" PRIu64 " packet_id=%u", m->origin, m->packet_id);
    }
    if (m->sequence != 0) {
        print(out, " sequence=%" PRIu64, m->sequence);
    }
    print(out, "%s%s accepted_at=%" PRId64, m->set_retained ? " set_retained" : "", m->clear_will ? " clear_will" : "",
          m->accepted_at);
    print_parts(out, &m->parts);
    print_targets(out, m);
}

static void print_flow(struct buf *out, const struct record_flow *f) {
    print(out, " session=%" PRIu64 " packet_id=%u", f->session_id, f->packet_id);
}

static void print_sent(struct buf *out, const struct record_sent *s) {
    print(out, " session=%" PRIu64 " packet_id=%u message=%" PRIu64 " target=%" PRIu32, s->session_id, s->packet_id,
          s->message_lsn, s->target);
}

static void print_dropped(struct buf *out, const struct record_dropped *d) {
    print(out, " session=%" PRIu64 " message=%" PRIu64 " target=%" PRIu32, d->session_id, d->message_lsn, d->target);
}

static void print_will(struct buf *out, const struct record_will *w) {
    print(out, " session=%" PRIu64 " delay=%" PRIu32 "s expiry=%" PRIu32 "s", w->session_id, w->delay_s, w->expiry_s);
    print_parts(out, &w->parts);
}

static void print_retained(struct buf *out, const struct record_retained *retained) {
    struct reader r = reader_of(retained->items_raw);
    print(out, " session=%" PRIu64 " subscribed=%" PRIu64 " first=%" PRIu32 " messages=%" PRIu32, retained->session_id,
          retained->subscribed_lsn, retained->first, retained->item_count);
    for (uint32_t i = 0; i < retained->item_count && i < PRINTED_TARGETS_MAX; i++) {
        struct record_retained_item item;
        if (retained->items != NULL) {
            item = retained->items[i];
        } else if (!record_retained_next(&r, &item)) {
            break;
        }
        print(out, " %" PRIu64 ":qos%u", item.message_lsn, item.qos);
    }
    if (retained->item_count > PRINTED_TARGETS_MAX) {
        print(out, " ...");
    }
}

void record_print(struct buf *out, lsn_t lsn, const struct record *record) {
    print(out, "%" PRIu64 " %s", lsn, record_kind_name(record->kind));
    switch (record->kind) {
#define RECORD_PRINT(number, name, field, text)                                                                        \
    case RECORD_##name:                                                                                                \
        print_##field(out, &record->field);                                                                            \
        break;
        RECORD_ROWS(RECORD_PRINT)
#undef RECORD_PRINT
    case RECORD_NONE:
        break;
    }
}

const char *record_kind_name(enum record_kind kind) {
    switch (kind) {
#define RECORD_NAME(number, name, field, text)                                                                         \
    case RECORD_##name:                                                                                                \
        return #name;
        RECORD_ROWS(RECORD_NAME)
#undef RECORD_NAME
    case RECORD_NONE:
        break;
    }
    return "NONE";
}
