/* Options: defaults, checks, and a copy that is the client's own. */
#include "base/error.h"
#include "base/mem.h"
#include "client/state.h"
#include "topic/topic.h"

enum {
    KEEP_ALIVE_S = 60,
    RECEIVE_MAXIMUM = 1000,
    PACKET_BYTES_MAX = 4 << 20,
    PACKET_BYTES_LIMIT = 268435460,
    CONNECT_TIMEOUT_MS = 10000,
    RETRY_MIN_MS = 250,
    RETRY_MAX_MS = 30000,
    MIB = 1 << 20,
};

static bool unsafe(int *error, struct error *text, const char *why) {
    *error = QUARTET_UNSAFE;
    return error_set(text, ERROR_INVALID, 0, "exactly once cannot hold %s", why);
}

static bool invalid(int *error, struct error *text, const char *what) {
    *error = QUARTET_INVALID;
    return error_set(text, ERROR_INVALID, 0, "%s", what);
}

static bool none(const char *text) {
    return text == NULL || text[0] == '\0';
}

static bool safe_check(const struct quartet_options *o, int *error, struct error *text) {
    if (o->guarantee == QUARTET_AS_ASKED) {
        return true;
    }
    if (none(o->store)) {
        return unsafe(error, text, "without a store");
    }
    if (none(o->client_id)) {
        return unsafe(error, text, "without a client id");
    }
    if (o->clean_start) {
        return unsafe(error, text, "with clean_start: the broker would forget what it has");
    }
    if (o->end_session) {
        return unsafe(error, text, "with end_session: the session would end with its connection");
    }
    return true;
}

static bool will_check(const struct quartet_will *w, int *error, struct error *text) {
    *error = QUARTET_INVALID;
    if (w->topic == NULL) {
        return true;
    }
    if (!client_text_valid(w->topic) || !topic_name_valid(span_str(w->topic))) {
        return error_set(text, ERROR_INVALID, 0, "will.topic is no topic name");
    }
    if (w->qos < 0 || w->qos > 2) {
        return error_set(text, ERROR_INVALID, 0, "will.qos is %d", w->qos);
    }
    if (w->payload_bytes > UINT16_MAX || (w->payload_bytes > 0 && w->payload == NULL)) {
        return error_set(text, ERROR_INVALID, 0, "will.payload has %zu bytes; 65,535 are the most", w->payload_bytes);
    }
    return client_properties_check(&w->properties, text);
}

static bool names_check(const struct quartet_options *o, int *error, struct error *text) {
    if (o->client_id != NULL && !client_text_valid(o->client_id)) {
        return invalid(error, text, "client_id is no UTF-8 of at most 65,535 bytes");
    }
    if (o->username != NULL && !client_text_valid(o->username)) {
        return invalid(error, text, "username is no UTF-8 of at most 65,535 bytes");
    }
    if (o->password_bytes > UINT16_MAX || (o->password_bytes > 0 && o->password == NULL)) {
        return invalid(error, text, "password has more than 65,535 bytes, or none");
    }
    if (o->protocol == PROTOCOL_311 && o->password != NULL && o->username == NULL) {
        return invalid(error, text, "3.1.1 knows no password without username");
    }
    if (o->protocol == PROTOCOL_311 && none(o->client_id) && !o->clean_start && !o->end_session) {
        return invalid(error, text, "3.1.1 knows no session without client_id: give one, or end_session");
    }
    return true;
}

static bool numbers_check(const struct quartet_options *o, int *error, struct error *text) {
    if (o->protocol != 0 && o->protocol != PROTOCOL_311 && o->protocol != PROTOCOL_5) {
        return invalid(error, text, "protocol is neither 0, 4 (3.1.1) nor 5");
    }
    if (o->packet_bytes_max > PACKET_BYTES_LIMIT) {
        return invalid(error, text, "packet_bytes_max is more than 268,435,460");
    }
    if ((unsigned)o->session_lost > QUARTET_LOST_DROP) {
        return invalid(error, text, "session_lost is no enum quartet_lost_policy");
    }
    if ((unsigned)o->guarantee > QUARTET_EXACTLY_ONCE) {
        return invalid(error, text, "guarantee is no enum quartet_guarantee");
    }
    if (o->retry_min_ms > o->retry_max_ms) {
        return invalid(error, text, "retry_min_ms is more than retry_max_ms");
    }
    return true;
}

bool client_options_complete(struct quartet_options *o, int *error, struct error *text) {
    bool kept = o->store != NULL;
    o->servers = none(o->servers) ? "mqtt://localhost:1883" : o->servers;
    o->keep_alive_s = o->keep_alive_s != 0 ? o->keep_alive_s : KEEP_ALIVE_S;
    o->receive_maximum = o->receive_maximum != 0 ? o->receive_maximum : RECEIVE_MAXIMUM;
    o->packet_bytes_max = o->packet_bytes_max != 0 ? o->packet_bytes_max : PACKET_BYTES_MAX;
    o->outbox_bytes = o->outbox_bytes != 0 ? o->outbox_bytes : (kept ? 1024ULL : 64ULL) * MIB;
    o->inbox_bytes = o->inbox_bytes != 0 ? o->inbox_bytes : 64ULL * MIB;
    o->connect_timeout_ms = o->connect_timeout_ms != 0 ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    if (o->retry_max_ms == 0) {
        o->retry_max_ms = o->retry_min_ms > RETRY_MAX_MS ? o->retry_min_ms : RETRY_MAX_MS;
    }
    if (o->retry_min_ms == 0) {
        o->retry_min_ms = o->retry_max_ms < RETRY_MIN_MS ? o->retry_max_ms : RETRY_MIN_MS;
    }
    return numbers_check(o, error, text) && safe_check(o, error, text) && names_check(o, error, text) &&
           will_check(&o->will, error, text);
}

/* ---- the copy ---- */

static char *keep_text(struct client *c, const char *text) {
    return text != NULL ? client_keep(c, text, strlen(text)) : NULL;
}

static void keep_will(struct client *c) {
    struct quartet_will *w = &c->options.will;
    struct quartet_properties *p = &w->properties;
    w->topic = keep_text(c, w->topic);
    w->payload = client_keep(c, w->payload, w->payload_bytes);
    p->content_type = keep_text(c, p->content_type);
    p->response_topic = keep_text(c, p->response_topic);
    p->correlation_data = client_keep(c, p->correlation_data, p->correlation_bytes);
    if (w->topic == NULL) {
        return;
    }
    c->will = (struct packet_will){.topic = span_str(w->topic),
                                   .payload = span_of(w->payload, w->payload_bytes),
                                   .qos = (uint8_t)w->qos,
                                   .retain = w->retain};
    client_properties_fill(p, &c->will.properties, &c->will_user);
    if (w->delay_s > 0) {
        c->will.properties.present |= PROPERTY_WILL_DELAY_INTERVAL;
        c->will.properties.will_delay_interval_s = w->delay_s;
    }
    p->user = NULL;
    p->user_count = 0;
}

/* Servers stand in one string, separated by spaces. */
static bool keep_servers(struct client *c, struct error *error) {
    char *text = keep_text(c, c->options.servers);
    c->options.servers = text;
    c->servers = mem_zero(strlen(text) / 2 + 1, sizeof *c->servers);
    for (char *at = text; *at != '\0';) {
        while (*at == ' ') {
            *at++ = '\0';
        }
        if (*at != '\0') {
            c->servers[c->server_count++] = at;
        }
        while (*at != '\0' && *at != ' ') {
            at++;
        }
    }
    return c->server_count > 0 || error_set(error, ERROR_INVALID, 0, "servers names none");
}

bool client_options_copy(struct client *c, const struct quartet_options *options, struct error *error) {
    c->options = *options;
    struct quartet_options *o = &c->options;
    o->client_id = keep_text(c, o->client_id);
    o->username = keep_text(c, o->username);
    o->password = client_keep(c, o->password, o->password_bytes);
    o->store = keep_text(c, o->store);
    o->bind_address = keep_text(c, o->bind_address);
    keep_will(c);
    return keep_servers(c, error);
}
