#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/must.h"
#include "client/state.h"

char *client_keep(struct client *c, const void *bytes, size_t len) {
    if (bytes == NULL) {
        return NULL;
    }
    char *copy = mem_copy(bytes, len);
    void **kept = fifo_push(&c->owned);
    *kept = copy;
    return copy;
}

lsn_t client_stage_out(struct client *c, const struct record *record) {
    c->sending.last_lsn = store_stage(c->store, record);
    return c->sending.last_lsn;
}

lsn_t client_stage_in(struct client *c, const struct record *record) {
    c->receiving.last_lsn = store_stage(c->store, record);
    return c->receiving.last_lsn;
}

/* ---- life ---- */

static void client_init(struct client *c, const struct client_setup *setup) {
    c->store = setup->store;
    c->mutant = setup->mutant;
    must(setup->ids_max > 1);
    c->subscribe_id = setup->ids_max;
    c->prng = prng_of(setup->seed);
    c->phase = PHASE_IDLE;
    c->expiry_s = SESSION_NEVER_EXPIRES;
    c->ask_at = INT64_MAX;
    c->events = fifo_of(sizeof(struct event_item));
    c->tracing = fifo_of(sizeof(struct trace_item));
    c->owned = fifo_of(sizeof(void *));
    c->sending.open = open_set_of();
    c->sending.volatiles = fifo_of(sizeof(struct volatile_out));
    c->receiving.open = open_set_of();
    c->receiving.volatiles = fifo_of(sizeof(struct volatile_in));
    c->receiving.notes = fifo_of(sizeof(struct wire_note));
    c->receiving.withheld = fifo_of(sizeof(struct withheld));
    qos_out_init(&c->sending.flows, setup->seed, (packet_id_t)(setup->ids_max - 1), setup->mutant);
    subscribe_init(c, setup->seed);
}

struct client *client_create(const struct client_setup *setup, struct error *error) {
    struct client *c = mem_zero(1, sizeof *c);
    client_init(c, setup);
    if (!client_options_copy(c, setup->options, error)) {
        client_destroy(c);
        return NULL;
    }
    const char *id = c->options.client_id != NULL ? c->options.client_id : "";
    c->client_id = client_keep(c, id, strlen(id));
    c->protocol = c->options.protocol == PROTOCOL_311 ? PROTOCOL_311 : PROTOCOL_5;
    c->pause_ms = c->options.retry_min_ms;
    c->limits = (struct packet_limits){.packet_bytes_max = c->options.packet_bytes_max,
                                       .topic_bytes_max = UINT16_MAX,
                                       .topic_levels_max = UINT16_MAX,
                                       .user_properties_max = UINT16_MAX,
                                       .subscriptions_max = UINT16_MAX};
    if (!client_load(c, error)) {
        client_destroy(c);
        return NULL;
    }
    return c;
}

void client_destroy(struct client *c) {
    if (c == NULL) {
        return;
    }
    send_deinit(c);
    receive_deinit(c);
    subscribe_deinit(c);
    event_deinit(c);
    outbox_deinit(&c->out);
    buf_deinit(&c->in);
    buf_deinit(&c->will_user);
    buf_deinit(&c->scratch);
    for (void **kept; (kept = fifo_front(&c->owned)) != NULL; fifo_pop(&c->owned)) {
        mem_free(*kept);
    }
    fifo_deinit(&c->owned);
    mem_free(c->servers);
    mem_free(c);
}

/* ---- the end of a connection ---- */

static bool client_alive(const struct client *c) {
    return c->phase == PHASE_WANTED || c->phase == PHASE_OPENED || c->phase == PHASE_LIVE;
}

static void send_disconnect(struct client *c, uint8_t reason, const char *text) {
    struct packet_disconnect p = {.reason = reason};
    properties_clear(&p.properties);
    if (!packet_reason_allowed(PACKET_DISCONNECT, PACKET_FROM_CLIENT, reason)) {
        p.reason = reason >= REASON_UNSPECIFIED_ERROR ? REASON_PROTOCOL_ERROR : REASON_SUCCESS;
    }
    if (c->protocol == PROTOCOL_311 && reason >= REASON_UNSPECIFIED_ERROR) {
        return;
    }
    if (reason >= REASON_UNSPECIFIED_ERROR && text[0] != '\0' && c->allowed.packet_bytes_max >= 512) {
        p.properties.present = PROPERTY_REASON_STRING;
        p.properties.reason_string = span_str(text);
    }
    packet_encode_disconnect(output_begin(c, 0), c->protocol, &p);
    output_end(c);
}

void client_end(struct client *c, int error, uint8_t reason, int disconnect, const char *format, ...) {
    if (!client_alive(c)) {
        return;
    }
    c->ending = (struct ending){.error = error, .reason = reason, .protocol = (int)c->protocol};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(c->ending.text, sizeof c->ending.text, format, arguments);
    va_end(arguments);
    if (c->phase == PHASE_LIVE && disconnect >= 0) {
        send_disconnect(c, (uint8_t)disconnect, c->ending.text);
        c->closing_gracefully = true;
    }
    c->phase = PHASE_CLOSING;
    c->deadline = c->now + LINGER_MS;
}

void client_wrong(struct client *c, const struct verdict *verdict) {
    client_end(c, QUARTET_PROTOCOL, verdict->reason, verdict->reason, "%s [%s]", verdict->text, verdict->statement);
}

static void connection_forget(struct client *c, bool was_live) {
    outbox_deinit(&c->out);
    buf_deinit(&c->in);
    c->closing_gracefully = false;
    c->pinging = false;
    c->session_present = false;
    send_disconnected(c, was_live);
    receive_disconnected(c);
    subscribe_disconnected(c);
}

static void pause_grow(struct client *c) {
    uint32_t min = c->options.retry_min_ms;
    uint32_t max = c->options.retry_max_ms;
    uint64_t most = (uint64_t)c->pause_ms * 3 + 1;
    uint64_t pause = min + prng_below(&c->prng, most > min ? most - min : 1);
    c->pause_ms = pause < max ? (uint32_t)pause : max;
    if (c->taken_over) { /* whoever took the session over has it: no fight */
        uint64_t calm = max / 2 + prng_below(&c->prng, max / 2 + 1);
        c->pause_ms = c->pause_ms > calm ? c->pause_ms : (uint32_t)calm;
    }
}

/* When and where the next attempt is made. */
static void client_schedule(struct client *c, bool was_live) {
    c->phase = PHASE_IDLE;
    if (c->retry_now) {
        c->retry_now = false;
        c->retry_at = c->now;
        return;
    }
    if (was_live) {
        c->failed_servers = 0;
        if (c->progress || c->now - c->live_since >= PROGRESS_MS) {
            c->pause_ms = c->options.retry_min_ms;
        }
    } else {
        c->server = (c->server + 1) % c->server_count;
        if (++c->failed_servers < c->server_count) {
            c->retry_at = c->now;
            return;
        }
        c->failed_servers = 0;
    }
    pause_grow(c);
    c->retry_at = c->now + c->pause_ms;
}

void client_closed(struct client *c, int error, const char *text) {
    if (c->phase == PHASE_IDLE || c->phase == PHASE_OVER) {
        return;
    }
    bool was_live = c->counters.connected;
    if (c->phase != PHASE_CLOSING) {
        c->ending = (struct ending){.error = error != QUARTET_OK ? error : QUARTET_NETWORK};
        (void)snprintf(c->ending.text, sizeof c->ending.text, "%s", text != NULL ? text : "");
    }
    c->over = c->over || (c->options.no_retry && !c->retry_now);
    c->counters.connected = false;
    c->counters.error = c->ending.error;
    c->counters.reason = c->ending.reason;
    struct quartet_event event = {.kind = QUARTET_EVENT_DISCONNECTED,
                                  .error = c->ending.error,
                                  .reason = c->ending.reason,
                                  .protocol = c->ending.protocol,
                                  .final = c->over,
                                  .server = c->servers[c->server]};
    connection_forget(c, was_live);
    event_push(c, &event, c->ending.text, strlen(c->ending.text));
    client_schedule(c, was_live);
    if (c->over) {
        c->phase = PHASE_OVER;
        c->counters.final = true;
    }
}

void client_disconnect(struct client *c, uint8_t reason) {
    c->over = true;
    if (c->phase == PHASE_IDLE) {
        c->phase = PHASE_OVER;
        c->counters.final = true;
        struct quartet_event event = {.kind = QUARTET_EVENT_DISCONNECTED, .reason = reason, .final = true};
        event_push(c, &event, "", 0);
        return;
    }
    client_end(c, QUARTET_OK, reason, reason, "%s", "");
}

/* ---- time ---- */

static void client_attempt(struct client *c) {
    if (c->receiving.full && !receive_has_room(c)) {
        c->retry_at = c->now + c->options.retry_min_ms;
        return;
    }
    c->receiving.full = false;
    c->phase = PHASE_WANTED;
    c->deadline = c->now + c->options.connect_timeout_ms;
}

static mono_ms_t ping_due(const struct client *c) {
    mono_ms_t quiet = c->sent_at < c->received_at ? c->sent_at : c->received_at;
    mono_ms_t due = quiet + (mono_ms_t)(c->keep_alive_ms - c->keep_alive_ms / 4);
    return due < c->ask_at ? due : c->ask_at;
}

static void client_ping(struct client *c) {
    if (c->phase != PHASE_LIVE || c->keep_alive_ms == 0) {
        return;
    }
    if (c->pinging && c->now >= c->pinged_at + (mono_ms_t)c->keep_alive_ms) {
        client_end(c, QUARTET_NETWORK, 0, -1, "the broker has not answered PINGREQ");
    } else if (!c->pinging && c->now >= ping_due(c)) {
        packet_encode_pingreq(output_begin(c, 0));
        output_end(c);
        connect_ask(c, 0);
        c->pinging = true;
        c->pinged_at = c->now;
    }
}

void client_slept(struct client *c, mono_ms_t ms) {
    c->slept = ms;
}

void client_clock(struct client *c, mono_ms_t now, wall_ms_t wall) {
    if (!c->timed) {
        /* The first message marks the time, when nothing has yet: a store that is only opened is not written to. */
        const struct record_clock unknown = {wall, wall};
        const struct record_clock *mark = &c->store->clock;
        clock_start(&c->clock, mark->time != 0 ? mark : &unknown, wall, now + c->slept);
        c->timed = true;
        c->retry_at = now;
    }
    c->now = now;
    c->wall = wall;
    c->time = clock_now(&c->clock, c->store, wall, now + c->slept);
}

void client_time(struct client *c, mono_ms_t now, wall_ms_t wall) {
    client_clock(c, now, wall);
    if (c->phase == PHASE_IDLE && now >= c->retry_at) {
        client_attempt(c);
    } else if ((c->phase == PHASE_WANTED || c->phase == PHASE_OPENED) && now >= c->deadline) {
        client_end(c, QUARTET_NETWORK, 0, -1, "no connection after %u ms", c->options.connect_timeout_ms);
    } else if (c->phase == PHASE_LIVE) {
        receive_settle(c);
        client_ping(c);
        if (client_mutant(c, MUTANT_R7)) {
            send_mutant_resend(c);
        }
    }
}

mono_ms_t client_deadline(const struct client *c) {
    if (c->phase == PHASE_LIVE && c->receiving.full) {
        return c->receiving.full_until;
    }
    switch (c->phase) {
    case PHASE_IDLE:
        return c->retry_at;
    case PHASE_WANTED:
    case PHASE_OPENED:
        return c->deadline;
    case PHASE_CLOSING:
        return c->closing_gracefully ? c->deadline : -1;
    case PHASE_LIVE:
        if (c->keep_alive_ms == 0) {
            return -1;
        }
        return c->pinging ? c->pinged_at + (mono_ms_t)c->keep_alive_ms : ping_due(c);
    case PHASE_OVER:
        break;
    }
    return -1;
}

/* ---- the transport ---- */

enum client_wish client_wish(const struct client *c, uint32_t *server) {
    *server = c->server;
    if (c->phase == PHASE_WANTED) {
        return CLIENT_CONNECT;
    }
    if (c->phase != PHASE_CLOSING) {
        return CLIENT_NOTHING;
    }
    bool waits = c->closing_gracefully && c->out.gate_last > store_durable(c->store) && !store_failed(c->store) &&
                 c->now < c->deadline;
    return waits ? CLIENT_NOTHING : CLIENT_CLOSE;
}

uint32_t client_server_count(const struct client *c) {
    return c->server_count;
}

const char *client_server(const struct client *c, uint32_t index) {
    return index < c->server_count ? c->servers[index] : "";
}

void client_opened(struct client *c) {
    if (c->phase == PHASE_WANTED) {
        c->phase = PHASE_OPENED;
        connect_send(c);
    }
}

int client_output(struct client *c, struct iovec *iov, int max) {
    if (c->phase != PHASE_OPENED && c->phase != PHASE_LIVE && c->phase != PHASE_CLOSING) {
        return 0;
    }
    return outbox_ready(&c->out, store_durable(c->store), iov, max);
}

void client_sent(struct client *c, size_t bytes) {
    if (bytes == 0 || bytes > outbox_bytes(&c->out)) {
        return;
    }
    outbox_sent(&c->out, bytes);
    connect_left(c);
    event_sent(c);
    send_left(c);
    if (c->phase == PHASE_LIVE && outbox_bytes(&c->out) <= OUTBOX_PUMP_BYTES / 2) {
        send_pump(c);
    }
}

/* ---- the store ---- */

static void client_store_failed(struct client *c) {
    if (c->store_failure_told) {
        return;
    }
    c->store_failure_told = true;
    c->over = true;
    struct quartet_event event = {.kind = QUARTET_EVENT_STORE_FAILED, .error = QUARTET_STORE_FAILED};
    event_push(c, &event, c->store->error.text, strlen(c->store->error.text));
    c->counters.error = QUARTET_STORE_FAILED;
    if (c->phase == PHASE_IDLE) {
        c->phase = PHASE_OVER;
        c->counters.final = true;
    }
    client_end(c, QUARTET_STORE_FAILED, 0, -1, "%s", c->store->error.text);
}

void client_stored(struct client *c) {
    if (store_failed(c->store)) {
        client_store_failed(c);
        return;
    }
    receive_mutant_hold(c);
    lsn_t folded = store_folded(c->store);
    if (folded > c->folded) {
        c->folded = folded;
        uint32_t most = UINT32_MAX;
        (void)queue_let_go(&c->sending.queue, WINDOW_MESSAGES, folded, &most);
        (void)queue_let_go(&c->receiving.queue, WINDOW_MESSAGES, folded, &most);
    }
}

/* ---- state ---- */

void client_status(const struct client *c, struct quartet_status *status) {
    *status = c->counters;
    status->session_is_lost = c->sending.lost;
    status->protocol = (int)c->protocol;
    status->in_flight = c->sending.flows.count;
    status->outbox_messages = queue_count(&c->sending.queue) + c->sending.open.count;
    status->outbox_bytes = c->sending.queue_bytes + c->sending.open.bytes + c->sending.volatile_bytes;
    status->inbox_messages = queue_count(&c->receiving.queue) + c->receiving.open.count;
    status->inbox_bytes = c->receiving.queue_bytes + c->receiving.open.bytes + c->receiving.volatile_bytes;
}
