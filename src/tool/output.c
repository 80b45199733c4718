#include "tool/output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "tool/format.h"

enum { WATCH_LINES_MAX = 10000 };

void tool_output_init(struct tool_output *out, struct tool_loop *s) {
    *out = (struct tool_output){.s = s, .options = s->options};
}

void tool_output_deinit(struct tool_output *out) {
    buf_deinit(&out->line);
    for (size_t i = 0; i < out->topic_count; i++) {
        mem_free(out->topics[i]);
    }
    mem_free(out->topics);
}

static void write_formatted(struct tool_output *out, const struct quartet_message *m) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (!tool_format_print(&out->line, out->options->format, m, &now, out->options->pretty) && !out->options->quiet) {
        (void)fprintf(stderr, "quartet %s: the payload is not JSON, topic %s\n",
                      tool_program_name(out->options->program), m->topic);
    }
    if (!out->options->no_eol) {
        buf_u8(&out->line, '\n');
    }
}

/* An empty payload is shown as "(null)" after its topic, and not at all without one: so do the mosquitto tools. */
static void write_plain(struct tool_output *out, const struct quartet_message *m) {
    bool empty = m->payload_bytes == 0;
    if (empty && (!out->options->verbose || out->options->no_eol)) {
        return;
    }
    if (out->options->verbose) {
        buf_bytes(&out->line, span_of(m->topic, m->topic_bytes));
        buf_u8(&out->line, ' ');
    }
    buf_bytes(&out->line, empty ? SPAN("(null)") : span_of(m->payload, m->payload_bytes));
    if (!out->options->no_eol) {
        buf_u8(&out->line, '\n');
    }
}

/* The screen's line of a topic, from 1. */
static size_t line_of(struct tool_output *out, const char *topic) {
    size_t i = 0;
    while (i < out->topic_count && strcmp(out->topics[i], topic) != 0) {
        i++;
    }
    if (i == out->topic_count && i < WATCH_LINES_MAX) {
        out->topics = mem_resize(out->topics, (i + 1) * sizeof *out->topics);
        out->topics[out->topic_count++] = mem_copy(topic, strlen(topic));
    }
    return i + 1;
}

/* Moves to the topic's line and empties it; the first one empties the screen. */
static void write_place(struct tool_output *out, const char *topic) {
    char place[40];
    bool first = out->topic_count == 0;
    (void)snprintf(place, sizeof place, "%s\033[%zu;1H\033[2K", first ? "\033[2J" : "", line_of(out, topic));
    buf_bytes(&out->line, span_str(place));
}

bool tool_output_message(struct tool_output *out, const char *before, const struct quartet_message *m) {
    out->line.len = 0;
    buf_bytes(&out->line, span_str(before));
    if (out->options->watch) {
        write_place(out, m->topic);
    }
    if (out->options->format != NULL) {
        write_formatted(out, m);
    } else {
        write_plain(out, m);
    }
    if (tool_loop_write(out->s, buf_span(&out->line))) {
        return true;
    }
    if (!out->s->ended) {
        tool_loop_say(out->s, "standard output takes no more: %s", strerror(errno));
        tool_loop_end(out->s, TOOL_EXIT_SYSTEM);
    }
    return false;
}
