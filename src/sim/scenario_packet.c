#include "sim/scenario_packet.h"

#include <stdlib.h>

enum { WORDS_MAX = 16, WORD_BYTES = 64 };

/* The words of a line; a quoted one may hold spaces and comes without its quotes. */
struct words {
    char text[WORDS_MAX][WORD_BYTES];
    bool quoted[WORDS_MAX];
    unsigned count;
    unsigned at; /* the next that is not used yet */
};

static bool words_split(struct words *w, const char *line) {
    w->count = w->at = 0;
    while (*line != '\0') {
        if (*line == ' ') {
            line++;
            continue;
        }
        bool quoted = *line == '"';
        const char *begin = quoted ? line + 1 : line;
        size_t len = strcspn(begin, quoted ? "\"" : " ");
        if (w->count == WORDS_MAX || len >= WORD_BYTES) {
            return false;
        }
        memcpy(w->text[w->count], begin, len);
        w->text[w->count][len] = '\0';
        w->quoted[w->count++] = quoted;
        line = begin + len;
        line += quoted && *line == '"' ? 1 : 0;
    }
    return true;
}

static bool word_is(struct words *w, const char *word) {
    if (w->at < w->count && !w->quoted[w->at] && strcmp(w->text[w->at], word) == 0) {
        w->at++;
        return true;
    }
    return false;
}

static bool word_number(struct words *w, uint32_t *out) {
    char *end;
    if (w->at >= w->count || w->quoted[w->at]) {
        return false;
    }
    *out = (uint32_t)strtoul(w->text[w->at], &end, 0);
    if (end == w->text[w->at] || *end != '\0') {
        return false;
    }
    w->at++;
    return true;
}

static bool word_text(struct words *w, bool quoted, struct span *out) {
    if (w->at >= w->count || w->quoted[w->at] != quoted) {
        return false;
    }
    *out = span_str(w->text[w->at++]);
    return true;
}

static bool id_of(struct words *w, struct mini_packet *p) {
    uint32_t id = 0;
    bool ok = word_number(w, &id) && id <= UINT16_MAX;
    p->id = (uint16_t)id;
    return ok;
}

static bool qos_of(struct words *w, uint8_t *qos) {
    uint32_t value = 0;
    bool ok = word_is(w, "qos") && word_number(w, &value) && value <= 2;
    *qos = (uint8_t)value;
    return ok;
}

static bool connect_will(struct words *w, struct mini_packet *p) {
    p->has_will = true;
    bool ok = word_text(w, false, &p->will_topic) && qos_of(w, &p->will_qos);
    p->will_retain = word_is(w, "retain");
    return ok && word_text(w, true, &p->will_payload);
}

static bool connect_of(struct words *w, struct mini_packet *p) {
    uint32_t number = 0;
    p->five = word_is(w, "5.0");
    if (!p->five && !word_is(w, "3.1.1")) {
        return false;
    }
    p->clean = word_is(w, "clean");
    if (!p->clean && !word_is(w, "resume")) {
        return false;
    }
    while (w->at < w->count) {
        if (word_is(w, "session-expiry") && word_number(w, &number)) {
            p->session_expiry = number;
        } else if (word_is(w, "receive-maximum") && word_number(w, &number)) {
            p->receive_maximum = (uint16_t)number;
        } else if (word_is(w, "keep-alive") && word_number(w, &number)) {
            p->keep_alive = (uint16_t)number;
        } else if (!word_is(w, "will") || !connect_will(w, p)) {
            return false;
        }
    }
    return true;
}

static bool publish_of(struct words *w, struct mini_packet *p) {
    uint32_t id = 0;
    p->id = word_number(w, &id) ? (uint16_t)id : 0;
    bool ok = word_text(w, false, &p->topic) && qos_of(w, &p->qos);
    p->dup = word_is(w, "dup");
    p->retain = word_is(w, "retain");
    ok = ok && word_text(w, true, &p->payload);
    if (word_is(w, "expires")) {
        p->has_expiry = true;
        ok = ok && word_number(w, &p->expiry);
    }
    return ok;
}

static bool reason_of(struct words *w, struct mini_packet *p) {
    uint32_t reason = 0;
    if (w->at < w->count && !word_number(w, &reason)) {
        return false;
    }
    p->reason = (uint8_t)reason;
    return true;
}

static bool packet_of(struct words *w, struct mini_packet *p) {
    switch (p->type) {
    case MINI_CONNECT:
        return connect_of(w, p);
    case MINI_PUBLISH:
        return publish_of(w, p);
    case MINI_SUBSCRIBE:
        return id_of(w, p) && word_text(w, false, &p->topic) && qos_of(w, &p->qos);
    case MINI_UNSUBSCRIBE:
        return id_of(w, p) && word_text(w, false, &p->topic);
    case MINI_PINGREQ:
        return true;
    case MINI_DISCONNECT:
        return reason_of(w, p);
    default:
        return id_of(w, p) && reason_of(w, p);
    }
}

static uint8_t type_of(struct words *w) {
    for (unsigned type = MINI_CONNECT; type <= MINI_DISCONNECT; type++) {
        if (word_is(w, mini_name(type))) {
            return (uint8_t)type;
        }
    }
    return 0;
}

size_t scenario_packet(struct scenario_client *client, const char *text, uint8_t *out, uint8_t *type) {
    struct words w;
    struct mini_packet p = {0};
    if (!words_split(&w, text)) {
        return 0;
    }
    p.type = *type = type_of(&w);
    p.five = client->five;
    p.client = span_str(client->name);
    if (p.type == 0 || !packet_of(&w, &p) || w.at != w.count) {
        return 0;
    }
    client->five = p.five;
    return mini_encode(&p, out);
}
