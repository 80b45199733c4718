/* Publishes a request and waits for the response. */
#include <stdio.h>
#include <time.h>

#include "tool/loop.h"
#include "tool/output.h"
#include "tool/payload.h"
#include "tool/verbs.h"

struct requester {
    struct tool_loop s;
    struct tool_output output;
    struct buf payload;
    bool asked;
    int64_t asked_us; /* when */
};

static int64_t now_us(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void ask(struct requester *r) {
    const struct tool_options *o = r->s.options;
    struct quartet_publication request = {
        .topic = tool_publish_topic(o),
        .payload = r->payload.ptr,
        .payload_bytes = r->payload.len,
        .qos = (int)o->qos,
        .no_wait = true,
        .properties = tool_properties_of_message(&o->properties[TOOL_COMMAND_PUBLISH]),
    };
    if (tool_protocol(o) == 5) {
        request.properties.response_topic = o->response_topic;
    }
    r->asked = true;
    r->asked_us = now_us();
    int code = quartet_publish(r->s.quartet, &request, NULL);
    if (code != QUARTET_OK) {
        tool_loop_fail(&r->s, "the request cannot be published", code);
    }
}

static void hear(struct tool_loop *s, const struct quartet_event *e) {
    struct requester *r = s->verb;
    bool denied = (e->kind == QUARTET_EVENT_SUBSCRIBED || e->kind == QUARTET_EVENT_PUBLISHED) && e->reason >= 0x80;
    if (denied) {
        tool_loop_say(s, "the broker refused %s: %s",
                      e->kind == QUARTET_EVENT_SUBSCRIBED ? "the subscription" : "the request",
                      quartet_reason_name(5, e->reason));
        tool_loop_end(s, e->reason);
    } else if (e->kind == QUARTET_EVENT_SUBSCRIBED && !r->asked) {
        ask(r);
    }
}

static void take(struct tool_loop *s, struct quartet_message *m) {
    struct requester *r = s->verb;
    if (!r->asked || (m->retain && s->options->no_retained)) {
        return;
    }
    char latency[32] = "";
    if (s->options->latency) {
        (void)snprintf(latency, sizeof latency, "%.6f ", (double)(now_us() - r->asked_us) / 1e6);
    }
    if (tool_output_message(&r->output, latency, m)) {
        tool_loop_end(s, TOOL_EXIT_OK);
    }
}

static void subscribe(struct requester *r) {
    struct quartet_subscription response = {.filter = r->s.options->response_topic, .qos = (int)r->s.options->qos};
    int code = quartet_subscribe(r->s.quartet, &response, 1);
    if (code != QUARTET_OK) {
        tool_loop_fail(&r->s, "the subscription cannot be made", code);
    }
}

int tool_rr(const struct tool_options *options) {
    struct error error;
    struct requester r = {
        .s = {.options = options, .verb = &r, .on_event = hear, .on_message = take, .reconnects = true, .signals = -1},
    };
    tool_output_init(&r.output, &r.s);
    if (!tool_payload_load(options, &r.payload, &error)) {
        tool_loop_say(&r.s, "%s", error.text);
        tool_loop_end(&r.s, TOOL_EXIT_FAILED);
    } else if (tool_loop_open(&r.s)) {
        subscribe(&r);
    }
    while (!r.s.ended) {
        tool_loop_turn(&r.s, NULL, 0, -1);
    }
    int status = tool_loop_close(&r.s);
    tool_output_deinit(&r.output);
    buf_deinit(&r.payload);
    return status;
}
