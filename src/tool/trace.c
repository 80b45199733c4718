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

/* -d, as the mosquitto tools begin their lines. */
static void print_debug(struct tool_loop *s, const struct quartet_event *e) {
    struct buf line = {0};
    buf_bytes(&line, SPAN("Client "));
    buf_bytes(&line, e->client_id == NULL || *e->client_id == 0 ? SPAN("(null)") : span_str(e->client_id));
    buf_bytes(&line, e->outgoing ? SPAN(" sending ") : SPAN(" received "));
    buf_bytes(&line, span_str(e->text));
    buf_u8(&line, '\n');
    (void)tool_loop_write(s, buf_span(&line));
    buf_deinit(&line);
}

void tool_trace_packet(struct tool_loop *s, const struct quartet_event *e) {
    if (s->options->trace == TOOL_TRACE_JSON) {
        print_json(e);
    } else if (s->options->trace == TOOL_TRACE_TEXT) {
        print_text(e);
    }
    if (s->options->debug) {
        print_debug(s, e);
    }
}
