#include "torture/wire.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void wire_text(struct buf *out, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (length > 0) {
        size_t bytes = (size_t)length < sizeof(text) ? (size_t)length : sizeof(text) - 1;
        buf_bytes(out, span_of(text, bytes));
    }
}

void wire_add(struct wire *w, const struct wire_record *record) {
    if (w->count == w->capacity) {
        w->capacity = w->capacity > 0 ? w->capacity * 2 : 256;
        w->records = mem_resize(w->records, w->capacity * sizeof(*w->records));
    }
    w->records[w->count++] = *record;
}

void wire_clear(struct wire *w) {
    w->count = 0;
}

void wire_deinit(struct wire *w) {
    mem_free(w->records);
    *w = (struct wire){0};
}

static void print_packet(struct buf *out, const struct wire_record *r) {
    static const char *const fates[] = {"", "   -- lost", "   -- only its first bytes arrived",
                                        "   -- arrived once more", "   -- held back until after the takeover"};
    wire_text(out, "%s", packet_type_name((enum packet_type)r->type));
    if (r->packet_id != 0) {
        wire_text(out, " id %u", (unsigned)r->packet_id);
    }
    if (r->message != WIRE_NO_MESSAGE) {
        wire_text(out, " message %u", (unsigned)r->message);
    }
    if (r->dup) {
        wire_text(out, " DUP");
    }
    if (r->type == PACKET_CONNACK) {
        wire_text(out, " session present %d", r->session);
    }
    if (r->reason != 0) {
        wire_text(out, " reason 0x%02X", (unsigned)r->reason);
    }
    if (r->lower) {
        wire_text(out, " at a lower QoS");
    }
    if (r->damaged) {
        wire_text(out, " which nobody published");
    }
    wire_text(out, "%s", fates[r->fate]);
    if (r->statement != NULL) {
        wire_text(out, "   -- malformed [%s]: %s", r->statement, r->text);
    }
}

void wire_print(struct buf *out, const struct wire_record *r) {
    static const char *const events[] = {"",
                                         "connected",
                                         "connection reset",
                                         "connection closed",
                                         "connection falls silent (half-open)",
                                         "the broker is killed",
                                         "the broker loses power",
                                         "THE BROKER CLOSES THE CONNECTION",
                                         "calm: no more faults",
                                         "the broker has not closed this old connection"};
    static const char *const ways[] = {"--", "->", "<-"};
    char who[24];
    if (r->event == EVENT_KILLED || r->event == EVENT_POWER || r->event == EVENT_CALM) {
        wire_text(out, "%10.3f ms  ---- %s ----\n", (double)r->time_ns / 1e6, events[r->event]);
        return;
    }
    if (r->who == 0) {
        (void)snprintf(who, sizeof(who), "publisher");
    } else {
        (void)snprintf(who, sizeof(who), "subscriber %u", (unsigned)r->who);
    }
    wire_text(out, "%10.3f ms  %-12s #%-2u %s broker  ", (double)r->time_ns / 1e6, who, (unsigned)r->connection,
              ways[r->way]);
    if (r->way == WIRE_EVENT) {
        wire_text(out, "%s", events[r->event]);
    } else {
        print_packet(out, r);
    }
    wire_text(out, "\n");
}
