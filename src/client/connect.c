/* CONNECT and CONNACK: what is asked for, what is allowed, and whether the broker still knows the session.
 *
 * Session Present 0 where we know of a session is handled by each part for itself; what they record is in the log
 * before the record that says that this CONNACK was seen. SUBSCRIBE waits for all of it, so that a broker whose session
 * is new has nothing to send before our old packet ids are forgotten for good (R3).
 *
 * A session that expires (5.0) can be replaced unseen: a CONNECT comes too late, the broker makes a new session, and
 * the CONNACK that says so is cut off or dies with us before it is recorded. The next one says "present", and means a
 * session to which our packet ids are nothing. So when a CONNECT was left without a recorded answer and the session may
 * have expired since the broker was last seen with it, the next CONNECT asks for a clean start, until one is answered
 * and that is recorded. The broker may throw messages away then that it still had: when it was seen last, by an answer
 * that came, is a lower bound, and the older the less the client asks or publishes. */
#include "client/state.h"

enum { ASK_MS_MIN = 1000, RECORD_MS_MIN = 10000 };

/* 3.1.1 knows one flag for both: the session begins anew and ends with the connection. */
static bool connect_clean(const struct client *c) {
    const struct quartet_options *o = &c->options;
    if (c->protocol == PROTOCOL_311) {
        return o->clean_start || o->end_session || c->client_id[0] == '\0';
    }
    return o->clean_start && !c->connected_once;
}

/* ---- the session's expiry ---- */

static uint32_t expiry_wanted(const struct client *c) {
    const struct quartet_options *o = &c->options;
    if (c->protocol == PROTOCOL_311) {
        return connect_clean(c) ? 0 : SESSION_NEVER_EXPIRES;
    }
    if (o->end_session) {
        return 0;
    }
    return o->session_expiry_s != 0 ? o->session_expiry_s : SESSION_NEVER_EXPIRES;
}

/* `seen` is kept four times as fresh as the expiry needs. */
static int64_t ask_interval_ms(const struct client *c) {
    int64_t quarter = (int64_t)c->expiry_s * 1000 / 4;
    return quarter > ASK_MS_MIN ? quarter : ASK_MS_MIN;
}

/* A clock that was put back says nothing. */
static bool session_may_have_expired(const struct client *c) {
    return c->expiry_s != SESSION_NEVER_EXPIRES &&
           (c->wall < c->seen || c->wall - c->seen >= (wall_ms_t)c->expiry_s * 1000);
}

static bool session_expires(const struct client *c) {
    return c->expiry_s != 0 && c->expiry_s != SESSION_NEVER_EXPIRES;
}

/* One question at a time: another packet's answer may be older than the question. */
void connect_ask(struct client *c, packet_id_t packet_id) {
    bool ping = packet_id == 0;
    if (ping ? c->asked != 0 && c->asked_id == 0 : c->asked != 0 || !session_expires(c)) {
        return;
    }
    c->asked = c->wall;
    c->asked_id = packet_id;
    c->asked_position = c->out.stream_end;
    c->ask_at = ping ? INT64_MAX : c->ask_at;
}

void connect_left(struct client *c) {
    if (c->asked_position != 0 && c->out.stream_begin >= c->asked_position) {
        c->asked = c->asked != 0 ? c->wall : 0;
        c->asked_position = 0;
    }
}

void connect_seen(struct client *c, packet_id_t packet_id) {
    if (c->asked == 0 || c->asked_id != packet_id) {
        return;
    }
    c->seen = c->asked;
    c->asked = 0;
    if (!session_expires(c)) {
        return;
    }
    int64_t interval = ask_interval_ms(c);
    c->ask_at = c->now + interval;
    if (c->session_known && c->seen - c->seen_recorded >= (interval > RECORD_MS_MIN ? interval : RECORD_MS_MIN)) {
        (void)client_record_in(c);
    }
}

/* ---- CONNECT ---- */

static bool connect_distrusts(const struct client *c) {
    return c->protocol == PROTOCOL_5 && !connect_clean(c) && c->uncertain && c->session_known &&
           session_may_have_expired(c) && !client_mutant(c, MUTANT_TRUST);
}

static void connect_properties(const struct client *c, struct properties *p) {
    const struct quartet_options *o = &c->options;
    properties_clear(p);
    if (!o->end_session) {
        p->present |= PROPERTY_SESSION_EXPIRY_INTERVAL;
        p->session_expiry_interval_s = expiry_wanted(c);
    }
    if (o->receive_maximum != UINT16_MAX) {
        p->present |= PROPERTY_RECEIVE_MAXIMUM;
        p->receive_maximum = o->receive_maximum;
    }
    p->present |= PROPERTY_MAXIMUM_PACKET_SIZE;
    p->maximum_packet_size = o->packet_bytes_max;
}

/* What holds if nobody ever hears what becomes of this CONNECT: it may change the session's expiry; and it may make a
 * new session, when the old one may have expired. No clock, however it is set, may deny that later. */
static lsn_t connect_record(struct client *c) {
    uint32_t expiry_s = session_may_have_expired(c) ? 0 : c->expiry_s;
    expiry_s = expiry_wanted(c) < expiry_s ? expiry_wanted(c) : expiry_s;
    c->was_uncertain = c->uncertain;
    c->ask_again = c->uncertain || c->asking;
    c->uncertain = true;
    if (expiry_s != c->expiry_s || c->seen != c->seen_recorded) {
        c->expiry_s = expiry_s;
        (void)client_record_in(c);
    }
    return client_record_out(c);
}

void connect_send(struct client *c) {
    const struct quartet_options *o = &c->options;
    c->distrusts = connect_distrusts(c);
    c->clean = connect_clean(c) || c->distrusts;
    c->asked = 0;
    c->ask_at = INT64_MAX;
    lsn_t lsn = connect_record(c);
    struct packet_connect p = {.protocol = (uint8_t)c->protocol,
                               .clean_start = c->clean,
                               .has_will = o->will.topic != NULL,
                               .has_username = o->username != NULL,
                               .has_password = o->password != NULL,
                               .keep_alive_s = o->keep_alive_s == QUARTET_NO_KEEP_ALIVE ? 0 : o->keep_alive_s,
                               .client_id = span_str(c->client_id),
                               .will = c->will};
    if (p.has_username) {
        p.username = span_str(o->username);
    }
    if (p.has_password) {
        p.password = span_of(o->password, o->password_bytes);
        p.has_username = p.has_username || c->protocol == PROTOCOL_311;
    }
    connect_properties(c, &p.properties);
    packet_encode_connect(output_begin(c, lsn), &p);
    output_end(c);
    connect_ask(c, 0);
}

bool connect_answer_is_311(const struct client *c, const struct packet_frame *frame) {
    return c->phase == PHASE_OPENED && c->protocol == PROTOCOL_5 && frame->type == PACKET_CONNACK &&
           frame->body.len == 2 && frame->body.ptr[1] != 0;
}

static bool wants_311(uint8_t reason) {
    return reason == REASON_UNSUPPORTED_PROTOCOL_VERSION || reason == 1;
}

/* It has not touched the session. */
static void connect_refused(struct client *c, uint8_t reason) {
    c->uncertain = c->was_uncertain;
    bool auto_protocol = c->options.protocol == 0 && c->protocol == PROTOCOL_5;
    client_end(c, QUARTET_REFUSED, reason, -1, "the broker refuses the connection: %s",
               reason >= REASON_UNSPECIFIED_ERROR ? reason_text(reason) : "return code of 3.1.1");
    if (reason < REASON_UNSPECIFIED_ERROR) {
        c->ending.protocol = PROTOCOL_311;
    }
    if (auto_protocol && wants_311(reason)) {
        c->protocol = PROTOCOL_311;
        c->retry_now = true;
    }
}

static void connect_allowed(struct client *c, const struct properties *p) {
    const struct quartet_options *o = &c->options;
    bool v5 = c->protocol == PROTOCOL_5;
    struct allowed *a = &c->allowed;
    *a = (struct allowed){.receive_maximum = v5 ? UINT16_MAX : RECEIVE_MAXIMUM_311,
                          .maximum_qos = 2,
                          .retain = true,
                          .wildcards = true,
                          .shared = true,
                          .identifiers = v5,
                          .packet_bytes_max = UINT32_MAX};
    uint32_t keep_alive_s = o->keep_alive_s == QUARTET_NO_KEEP_ALIVE ? 0 : o->keep_alive_s;
    if (v5) {
#define CONNECT_TAKE(NAME, field, to) (to) = (p->present & PROPERTY_##NAME) != 0 ? (p->field) : (to)
        CONNECT_TAKE(RECEIVE_MAXIMUM, receive_maximum, a->receive_maximum);
        CONNECT_TAKE(MAXIMUM_QOS, maximum_qos, a->maximum_qos);
        CONNECT_TAKE(RETAIN_AVAILABLE, retain_available != 0, a->retain);
        CONNECT_TAKE(WILDCARD_SUBSCRIPTION_AVAILABLE, wildcard_subscription_available != 0, a->wildcards);
        CONNECT_TAKE(SHARED_SUBSCRIPTION_AVAILABLE, shared_subscription_available != 0, a->shared);
        CONNECT_TAKE(SUBSCRIPTION_IDENTIFIER_AVAILABLE, subscription_identifier_available != 0, a->identifiers);
        CONNECT_TAKE(MAXIMUM_PACKET_SIZE, maximum_packet_size, a->packet_bytes_max);
        CONNECT_TAKE(SERVER_KEEP_ALIVE, server_keep_alive_s, keep_alive_s);
#undef CONNECT_TAKE
    }
    if (o->send_window != 0 && o->send_window < a->receive_maximum) {
        a->receive_maximum = o->send_window;
    }
    c->keep_alive_ms = (uint64_t)keep_alive_s * 1000;
}

/* False: the broker has broken a rule, and the connection ends. */
static bool connect_checked(struct client *c, const struct packet_connack *p) {
    if (p->session_present && c->clean) {
        client_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-3.2.2-2",
                                          "Session Present 1 in answer to a clean start"});
        return false;
    }
    bool assigned = c->protocol == PROTOCOL_5 && (p->properties.present & PROPERTY_ASSIGNED_CLIENT_IDENTIFIER) != 0;
    if (assigned && c->client_id[0] == '\0') {
        struct span id = p->properties.assigned_client_identifier;
        c->client_id = client_keep(c, id.ptr, id.len);
    }
    return true;
}

/* The broker may keep the session for another time than we asked for [MQTT 5.0, 3.2.2.3.2]. */
static void connect_expiry(struct client *c, const struct properties *p) {
    bool told = c->protocol == PROTOCOL_5 && (p->present & PROPERTY_SESSION_EXPIRY_INTERVAL) != 0;
    c->expiry_s = told ? p->session_expiry_interval_s : expiry_wanted(c);
}

static void connect_event(struct client *c) {
    struct quartet_event event = {
        .kind = QUARTET_EVENT_CONNECTED, .session_present = c->session_present, .server = c->servers[c->server]};
    event_push(c, &event, "", 0);
}

void connect_answer(struct client *c, const struct packet_connack *p) {
    if (p->reason != 0) {
        connect_refused(c, p->reason);
        return;
    }
    if (!connect_checked(c, p)) {
        return;
    }
    bool session_gone = !p->session_present;
    c->phase = PHASE_LIVE;
    c->live_since = c->now;
    c->received_at = c->now;
    c->connected_once = true;
    c->progress = false;
    c->taken_over = false;
    c->session_present = p->session_present;
    c->counters.connected = true;
    c->counters.connections++;
    c->counters.error = QUARTET_OK;
    c->counters.reason = 0;
    connect_allowed(c, &p->properties);
    connect_expiry(c, &p->properties);
    connect_event(c);
    receive_connected(c, session_gone);
    send_connected(c, session_gone);
    subscribe_connected(c, session_gone);
    connect_seen(c, 0);
    c->session_known = true;
    c->uncertain = false;
    c->asking = c->ask_again && subscribe_asks_again(c);
    (void)client_record_in(c);
    (void)client_record_out(c);
    subscribe_pump(c);
    send_pump(c);
}
