#include "broker/connect.h"

#include <stdio.h>

#include "broker/admit.h"
#include "broker/connection.h"
#include "broker/expiry.h"
#include "broker/overfull.h"
#include "broker/publish.h"
#include "broker/session.h"
#include "broker/takeover.h"
#include "broker/will.h"

enum {
    TOLD_PACKET_MAX = 268435455,
    ASSIGNED_ID_BYTES = 40,
    REASON_PACKET_MIN = 256 /* a client that takes less gets no reason string */
};

unsigned connect_owner(const struct broker *broker, struct span client_id) {
    return (unsigned)(hash_bytes(will_client(client_id), broker->owner_seed) % broker->shard_count);
}

/* 3.1.1's return code for a reason, or 0 when it has none. */
static uint8_t connack_return_code(uint8_t reason) {
    switch (reason) {
    case REASON_UNSUPPORTED_PROTOCOL_VERSION:
        return 1;
    case REASON_CLIENT_IDENTIFIER_NOT_VALID:
        return 2;
    case REASON_SERVER_UNAVAILABLE:
    case REASON_SERVER_BUSY:
    case REASON_QUOTA_EXCEEDED:
    case REASON_CONNECTION_RATE_EXCEEDED:
        return 3;
    case REASON_BAD_USER_NAME_OR_PASSWORD:
        return 4;
    case REASON_NOT_AUTHORIZED:
        return 5;
    default:
        return 0;
    }
}

void connect_refuse(struct connection *c, uint8_t protocol, const struct verdict *verdict) {
    struct packet_connack p = {.reason = verdict->reason};
    c->shard->counters.protocol_errors++;
    shard_log(c->shard, LOG_NOTICE, "refusing %s: %s [%s]", c->peer, verdict->text, verdict->statement);
    if (protocol == PROTOCOL_311) {
        p.reason = connack_return_code(verdict->reason);
    }
    if (protocol != PROTOCOL_NONE && p.reason != 0) {
        packet_encode_connack(connection_begin(c, 0), (enum protocol)protocol, &p);
        connection_commit(c);
    }
    connection_close(c, 0, true);
}

/* ---- who it is ---- */

/* An id for a client that brought none, owned by this very shard. Nothing is known of it to who has seen others. */
static struct span assigned_id(struct shard *shard, char out[ASSIGNED_ID_BYTES]) {
    struct span id;
    do {
        uint64_t first = broker_random(shard->broker);
        uint64_t second = broker_random(shard->broker);
        int length = snprintf(out, ASSIGNED_ID_BYTES, "auto-%016llx%016llx", (unsigned long long)first,
                              (unsigned long long)second);
        id = span_of(out, (size_t)length);
    } while (connect_owner(shard->broker, id) != shard->index);
    return id;
}

static bool connect_allowed(struct connection *c, const struct packet_connect *p) {
    if ((p->properties.present & PROPERTY_AUTHENTICATION_METHOD) != 0) {
        connect_refuse(c, p->protocol,
                       &(struct verdict){REASON_BAD_AUTHENTICATION_METHOD, "MQTT-4.12.0-1",
                                         "no authentication method is supported"});
        return false;
    }
    if (p->has_will && publish_reserved_topic(p->will.topic)) {
        connect_refuse(c, p->protocol,
                       &(struct verdict){REASON_NOT_AUTHORIZED, "MQTT-4.7.2-1", "its will is for $SYS, which is ours"});
        return false;
    }
    if (p->client_id.len == 0 && !c->shard->broker->options.allow_zero_length_client_id) {
        connect_refuse(c, p->protocol,
                       &(struct verdict){REASON_CLIENT_IDENTIFIER_NOT_VALID, "MQTT-3.1.3-8",
                                         "an empty client identifier is not allowed here"});
        return false;
    }
    return true;
}

static uint32_t connect_expiry(const struct broker *broker, const struct packet_connect *p) {
    uint32_t expiry_s = 0;
    if (p->protocol == PROTOCOL_5) {
        if ((p->properties.present & PROPERTY_SESSION_EXPIRY_INTERVAL) != 0) {
            expiry_s = p->properties.session_expiry_interval_s;
        }
    } else if (!p->clean_start) {
        expiry_s = SESSION_NEVER_EXPIRES;
    }
    uint32_t max = broker->options.session_expiry_max_s;
    return expiry_s < max ? expiry_s : max;
}

/* A new durable session would be one more thing to keep in a store that is full; so would be the will of one
 * that is not (B10). */
static bool connect_store_full(const struct connection *c, const struct packet_connect *p) {
    const struct session *present = map_bytes_get(&c->shard->by_client, p->client_id);
    return c->shard->pressure == STORE_FULL && (p->has_will || connect_expiry(c->shard->broker, p) > 0) &&
           (present == NULL || (p->has_will && !present->durable));
}

/* What a session is and the will that it has are records, too. */
static bool connect_fits(const struct connection *c, const struct packet_connect *p) {
    const struct store *store = c->shard->broker->store;
    struct record session = {.kind = RECORD_SESSION, .session = {.client_id = p->client_id}};
    struct record will = {
        .kind = RECORD_WILL,
        .will = {.parts = {.topic = p->will.topic, .properties = p->will.properties.raw, .payload = p->will.payload}}};
    return store_takes(store, &session) && (!p->has_will || store_takes(store, &will));
}

/* ---- which session it gets ---- */

/* The session as it was, after the old connection is gone; NULL when there is none (any more). A connection that is
 * being closed, for whatever reason, is silenced as well (B9): what it could say was offered to its socket. */
static struct session *connect_existing(const struct connection *c, struct span client_id) {
    struct shard *shard = c->shard;
    struct session *session = map_bytes_get(&shard->by_client, client_id);
    if (session == NULL) {
        return NULL;
    }
    if (session->connection != NULL) { /* MUTANT_B9 alone: the old one goes on */
        shard->counters.sessions_taken_over++;
        session->connection = NULL;
        return session;
    }
    if (!takeover_heard(c) && expiry_due(session)) {
        expiry_session_end(session);
        return NULL;
    }
    struct connection *left = connection_find(shard, session->left);
    if (left != NULL && outbox_bytes(&left->out) > 0) {
        connection_abort(left);
    }
    return session;
}

/* One for which nothing was reserved takes the place of another. */
static struct session *connect_create(struct connection *c, const struct session_parts *parts, bool reserved) {
    struct session_parts own = *parts;
    own.owner = quota_owner_again(c->shard->broker->quota, c->owner);
    if (!reserved) {
        admit_session_anyway(own.owner, &own.taken);
    }
    return session_create(c->shard, &own);
}

static struct session *connect_clean(struct connection *c, struct session *old, const struct session_parts *parts) {
    struct shard *shard = old->shard;
    struct qos_in kept = {NULL, 0};
    if (broker_mutant(shard, MUTANT_R3)) {
        kept = old->in;
        shard->counters.held_ids -= kept.count;
        old->in = (struct qos_in){NULL, 0};
    }
    session_end(old, MUTANT_B8);
    struct session *session = connect_create(c, parts, false);
    session->in = kept;
    shard->counters.held_ids += kept.count;
    return session;
}

static struct session *connect_session(struct connection *c, const struct packet_connect *p,
                                       const struct session_parts *parts, bool reserved, bool *present) {
    struct session *session = connect_existing(c, parts->client_id);
    *present = false;
    if (session == NULL) {
        return connect_create(c, parts, reserved);
    }
    if (p->clean_start) {
        return connect_clean(c, session, parts);
    }
    if (expiry_will_due(session)) {
        will_leave(session); /* it found no room until now */
    }
    *present = true;
    session->protocol = parts->protocol;
    session->expiry_s = parts->expiry_s;
    session->disconnected_at = 0;
    admit_session_resumed(session, c->owner, parts->taken.will_bytes);
    (void)session_stage_state(session);
    if (!p->has_will) {
        will_clear(session); /* one that its delay has kept */
    }
    return session;
}

/* ---- what it is told ---- */

static void connack_properties(const struct connection *c, const struct packet_connect *p, struct span assigned,
                               struct properties *out) {
    const struct broker_options *options = &c->shard->broker->options;
    out->receive_maximum = options->receive_maximum;
    /* Some clients take no larger number, the largest that a Remaining Length can say. */
    out->maximum_packet_size =
        options->packet.packet_bytes_max < TOLD_PACKET_MAX ? options->packet.packet_bytes_max : TOLD_PACKET_MAX;
    out->subscription_identifier_available = 0;
    out->shared_subscription_available = 0;
    out->present = PROPERTY_RECEIVE_MAXIMUM | PROPERTY_MAXIMUM_PACKET_SIZE |
                   PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE | PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE;
    if (assigned.len > 0) {
        out->assigned_client_identifier = assigned;
        out->present |= PROPERTY_ASSIGNED_CLIENT_IDENTIFIER;
    }
    if ((p->properties.present & PROPERTY_SESSION_EXPIRY_INTERVAL) != 0 &&
        p->properties.session_expiry_interval_s != c->session->expiry_s) {
        out->session_expiry_interval_s = c->session->expiry_s;
        out->present |= PROPERTY_SESSION_EXPIRY_INTERVAL;
    }
    if (c->keep_alive_ms != (uint32_t)p->keep_alive_s * 1500U) {
        out->server_keep_alive_s = (uint16_t)(c->keep_alive_ms / 1500U);
        out->present |= PROPERTY_SERVER_KEEP_ALIVE;
    }
}

/* CONNACK waits for the session (B7), for every discard of a session before it (B8), and for every will that was
 * published (B10): one that a cut connection has begun, or an expiry, concerns this client too. */
static void connect_answer(struct connection *c, const struct packet_connect *p, bool present, struct span assigned) {
    struct packet_connack ack = {.session_present = present};
    if (c->protocol == PROTOCOL_5) {
        connack_properties(c, p, assigned, &ack.properties);
    }
    if (!present && overfull_was_ended(c->shard, c->session->client_id) && c->packet_bytes_max >= REASON_PACKET_MIN) {
        ack.properties.present |= PROPERTY_REASON_STRING; /* of 5.0 only */
        ack.properties.reason_string = SPAN("the session was ended: its queue was full while its client was away");
    }
    lsn_t after = shard_barrier(c->shard, MUTANT_B7_CONNACK, c->session->last_lsn);
    lsn_t ended = c->shard->ended_lsn > c->shard->will_lsn ? c->shard->ended_lsn : c->shard->will_lsn;
    c->answered_lsn = after > ended ? after : ended;
    packet_encode_connack(connection_begin(c, c->answered_lsn), (enum protocol)c->protocol, &ack);
    connection_commit(c);
}

static uint16_t connect_receive_maximum(const struct connection *c, const struct packet_connect *p) {
    uint16_t max = c->shard->broker->options.inflight_max;
    if ((p->properties.present & PROPERTY_RECEIVE_MAXIMUM) != 0 && p->properties.receive_maximum < max) {
        return p->properties.receive_maximum;
    }
    return max;
}

static void connect_limits(struct connection *c, const struct packet_connect *p) {
    uint16_t max_s = c->shard->broker->options.keep_alive_max_s;
    uint16_t keep_alive_s = p->keep_alive_s;
    /* 3.1.1 has no way to tell a client of another value: a bound that somebody has set holds all the same. */
    bool bounds = max_s != 0 && (p->protocol == PROTOCOL_5 || max_s < UINT16_MAX);
    if (bounds && (keep_alive_s == 0 || keep_alive_s > max_s)) {
        keep_alive_s = max_s;
    }
    c->keep_alive_ms = (uint32_t)keep_alive_s * 1500U;
    c->problem_information = (p->properties.present & PROPERTY_REQUEST_PROBLEM_INFORMATION) == 0 ||
                             p->properties.request_problem_information != 0;
    if ((p->properties.present & PROPERTY_MAXIMUM_PACKET_SIZE) != 0) {
        uint32_t max = p->properties.maximum_packet_size;
        c->packet_bytes_max = max < PACKET_BYTES_MAX ? max : (uint32_t)PACKET_BYTES_MAX;
    }
}

/* A will that waits for room has its session's place, and needs one of its own when there is another will. */
static bool connect_will_fits(const struct packet_connect *p, struct session *present, const char **why) {
    *why = "wills of its client wait for room, and its address has its share of the memory for sessions";
    bool due = present->connection == NULL && (p->clean_start || expiry_will_due(present));
    return !p->has_will || !due || will_may_follow(present);
}

/* False: over a bound. `reserved`: a session that did not exist has its place now. */
static bool connect_reserve(struct connection *c, const struct packet_connect *p, struct span client_id,
                            const struct session_taken *cost, bool *reserved) {
    const char *why = NULL;
    struct session *present = map_bytes_get(&c->shard->by_client, client_id);
    *reserved = present == NULL;
    if (*reserved ? !admit_session(c, cost, &why) : !connect_will_fits(p, present, &why)) {
        connect_refuse(c, p->protocol, &(struct verdict){REASON_QUOTA_EXCEEDED, "MQTT-4.13.2-1", why});
        return false;
    }
    return true;
}

static void connect_accept(struct connection *c, const struct packet_connect *p, struct span client_id,
                           struct span assigned) {
    struct session_parts parts = {
        .client_id = client_id, .protocol = p->protocol, .expiry_s = connect_expiry(c->shard->broker, p)};
    parts.durable = parts.expiry_s > 0;
    parts.taken = admit_session_cost(client_id, p);
    bool present = false;
    bool reserved = false;
    if (!connect_reserve(c, p, client_id, &parts.taken, &reserved)) {
        return;
    }
    struct session *session = connect_session(c, p, &parts, reserved, &present);
    c->protocol = p->protocol;
    c->session = session;
    c->state = CONNECTION_LIVE;
    session->connection = c;
    connect_limits(c, p);
    expiry_arm(session);
    expiry_watch(c);
    if (p->has_will) {
        will_set(session, &p->will);
    }
    shard_log(c->shard, LOG_INFO, "%s connected from %s (MQTT %s, %s, keep alive %u s)", shard_text(client_id), c->peer,
              p->protocol == PROTOCOL_5 ? "5.0" : "3.1.1", present ? "session resumed" : "new session",
              (unsigned)(c->keep_alive_ms / 1500U));
    takeover_connected(c);
    connect_answer(c, p, present, assigned);
    session_resume(session, connect_receive_maximum(c, p));
}

void connect_packet(struct connection *c, const struct packet_connect *p) {
    struct shard *shard = c->shard;
    char assigned[ASSIGNED_ID_BYTES];
    if (c->state != CONNECTION_NEW) {
        connection_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-3.1.0-2", "a second CONNECT"});
        return;
    }
    if (!connect_allowed(c, p)) {
        return;
    }
    if (!connect_fits(c, p)) {
        connect_refuse(c, p->protocol,
                       &(struct verdict){REASON_QUOTA_EXCEEDED, "MQTT-4.13.2-1", "its will fits into no journal file"});
        return;
    }
    unsigned owner = p->client_id.len > 0 ? connect_owner(shard->broker, p->client_id) : shard->index;
    if (owner == shard->index && connect_store_full(c, p)) {
        connect_refuse(
            c, p->protocol,
            &(struct verdict){REASON_QUOTA_EXCEEDED, "MQTT-4.13.2-1", "the store is full: no new session or will"});
        return;
    }
    if (owner != shard->index) {
        c->state = CONNECTION_MOVING;
        c->move_to = owner;
        c->wish = CONN_MOVE;
        connection_mark_dirty(c);
        return;
    }
    enum takeover meets = p->client_id.len > 0 ? takeover_ask(c, p->client_id) : TAKEOVER_NONE;
    if (meets == TAKEOVER_REFUSED) {
        connect_refuse(c, p->protocol,
                       &(struct verdict){REASON_CONNECTION_RATE_EXCEEDED, "MQTT-4.13.2-1",
                                         "its client identifier is taken over too often"});
    }
    if (meets != TAKEOVER_NONE) {
        return;
    }
    struct span id = p->client_id.len > 0 ? (struct span){NULL, 0} : assigned_id(shard, assigned);
    connect_accept(c, p, id.len > 0 ? id : p->client_id, id);
}

void connect_disconnect_packet(struct connection *c, const struct packet_disconnect *p) {
    struct session *session = c->session;
    if ((p->properties.present & PROPERTY_SESSION_EXPIRY_INTERVAL) != 0) {
        uint32_t expiry_s = p->properties.session_expiry_interval_s;
        if (session->expiry_s == 0 && expiry_s != 0) {
            connection_wrong(c, &(struct verdict){REASON_PROTOCOL_ERROR, "MQTT-3.14.2-2",
                                                  "a session expiry in DISCONNECT after none in CONNECT"});
            return;
        }
        uint32_t max = c->shard->broker->options.session_expiry_max_s;
        session->expiry_s = expiry_s < max ? expiry_s : max;
    }
    shard_log(c->shard, LOG_INFO, "%s disconnected", shard_text(session->client_id));
    connection_close(c, 0, p->reason == REASON_SUCCESS);
}
