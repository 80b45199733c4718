/* Packets as lines: for a person, or as JSON. */
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "tool/json.h"
#include "tool/loop.h"

static void print_json(const struct quartet_event *e) {
    struct tool_json_writer *w = mem_alloc(sizeof *w);
    struct buf out = {0};
    tool_json_begin(w, &out, false);
    tool_json_open(w, '{');
    tool_json_key(w, SPAN("time_ns"));
    tool_json_integer(w, (uint64_t)e->time_ns);
    tool_json_key(w, SPAN("direction"));
    tool_json_string(w, e->outgoing ? SPAN("out") : SPAN("in"));
    tool_json_key(w, SPAN("bytes"));
    tool_json_integer(w, e->bytes);
    tool_json_key(w, SPAN("packet"));
    tool_json_string(w, span_str(e->text));
    tool_json_close(w);
    buf_u8(&out, '\n');
    (void)fwrite(out.ptr, 1, out.len, stderr);
    buf_deinit(&out);
    mem_free(w);
}

static void print_text(const struct quartet_event *e) {
    time_t seconds = (time_t)(e->time_ns / 1000000000);
    struct tm parts;
    char clock[16];
    (void)localtime_r(&seconds, &parts);
    (void)strftime(clock, sizeof clock, "%H:%M:%S", &parts);
    (void)fprintf(stderr, "%s.%06ld %s %s\n", clock, (long)(e->time_ns % 1000000000 / 1000),
                  e->outgoing ? "-->" : "<--", e->text);
}

void tool_trace_packet(const struct tool_loop *s, const struct quartet_event *e) {
    if (s->options->trace == TOOL_TRACE_JSON) {
        print_json(e);
    } else if (s->options->trace == TOOL_TRACE_TEXT) {
        print_text(e);
    }
    if (s->options->debug) {
        (void)printf("Client %s %s %s\n", e->client_id == NULL || *e->client_id == 0 ? "(null)" : e->client_id,
                     e->outgoing ? "sending" : "received", e->text);
        (void)fflush(stdout);
    }
}
