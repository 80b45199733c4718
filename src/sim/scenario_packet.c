#include "sim/scenario_packet.h"

#include "sim/scenario_words.h"

static bool id_of(struct scenario_words *w, struct mini_packet *p) {
    uint32_t id = 0;
    bool ok = word_number(w, &id) && id <= UINT16_MAX;
    p->id = (uint16_t)id;
    return ok;
}

static bool text_of(struct scenario_words *w, bool quoted, struct span *out) {
    const char *text;
    if (!word_text(w, quoted, &text)) {
        return false;
    }
    *out = span_str(text);
    return true;
}

static bool connect_will(struct scenario_words *w, struct mini_packet *p) {
    p->has_will = true;
    bool ok = text_of(w, false, &p->will_topic) && word_qos(w, &p->will_qos);
    p->will_retain = word_is(w, "retain");
    return ok && text_of(w, true, &p->will_payload);
}

static bool connect_of(struct scenario_words *w, struct mini_packet *p) {
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

static bool publish_of(struct scenario_words *w, struct mini_packet *p) {
    uint32_t id = 0;
    p->id = word_number(w, &id) ? (uint16_t)id : 0;
    bool ok = text_of(w, false, &p->topic) && word_qos(w, &p->qos);
    p->dup = word_is(w, "dup");
    p->retain = word_is(w, "retain");
    ok = ok && text_of(w, true, &p->payload);
    if (word_is(w, "expires")) {
        p->has_expiry = true;
        ok = ok && word_number(w, &p->expiry);
    }
    return ok;
}

static bool reason_of(struct scenario_words *w, struct mini_packet *p) {
    uint32_t reason = 0;
    if (w->at < w->count && !word_number(w, &reason)) {
        return false;
    }
    p->reason = (uint8_t)reason;
    return true;
}

static bool packet_of(struct scenario_words *w, struct mini_packet *p) {
    switch (p->type) {
    case MINI_CONNECT:
        return connect_of(w, p);
    case MINI_PUBLISH:
        return publish_of(w, p);
    case MINI_SUBSCRIBE:
        return id_of(w, p) && text_of(w, false, &p->topic) && word_qos(w, &p->qos);
    case MINI_UNSUBSCRIBE:
        return id_of(w, p) && text_of(w, false, &p->topic);
    case MINI_PINGREQ:
        return true;
    case MINI_DISCONNECT:
        return reason_of(w, p);
    default:
        return id_of(w, p) && reason_of(w, p);
    }
}

static uint8_t type_of(struct scenario_words *w) {
    for (unsigned type = MINI_CONNECT; type <= MINI_DISCONNECT; type++) {
        if (word_is(w, mini_name(type))) {
            return (uint8_t)type;
        }
    }
    return 0;
}

size_t scenario_packet(const char *name, bool *five, const char *text, uint8_t *out, uint8_t *type) {
    struct scenario_words w;
    struct mini_packet p = {0};
    if (!words_split(&w, text)) {
        return 0;
    }
    p.type = *type = type_of(&w);
    p.five = *five;
    p.client = span_str(name);
    if (p.type == 0 || !packet_of(&w, &p) || !words_end(&w)) {
        return 0;
    }
    *five = p.five;
    return mini_encode(&p, out);
}

/* ---- what a broker sends ---- */

static size_t answer_connack(struct scenario_words *w, bool five, uint8_t *out) {
    uint32_t reason = 0, receive_maximum = 0;
    const bool resumed = word_is(w, "resumed");
    if (!resumed && !word_is(w, "new") && !(word_is(w, "refused") && word_number(w, &reason))) {
        return 0;
    }
    const bool limited = word_setting(w, "receive-maximum", UINT16_MAX, &receive_maximum) && five;
    const uint8_t bytes[] = {MINI_CONNACK << 4,
                             five ? (limited ? 6 : 3) : 2,
                             resumed ? 1 : 0,
                             (uint8_t)reason,
                             limited ? 3 : 0,
                             33,
                             (uint8_t)(receive_maximum >> 8),
                             (uint8_t)receive_maximum};
    const size_t count = 2U + bytes[1];
    memcpy(out, bytes, count);
    return words_end(w) ? count : 0;
}

/* SUBACK with one reason code; UNSUBACK, which has none in 3.1.1. */
static size_t answer_suback(struct scenario_words *w, bool five, uint8_t type, uint8_t *out) {
    uint32_t id = 0, reason = 0;
    const bool coded = five || type == MINI_SUBACK;
    if (!word_number(w, &id) || (coded && !word_number(w, &reason)) || !words_end(w)) {
        return 0;
    }
    size_t len = 2;
    out[len++] = (uint8_t)(id >> 8);
    out[len++] = (uint8_t)id;
    if (five) {
        out[len++] = 0;
    }
    if (coded) {
        out[len++] = (uint8_t)reason;
    }
    out[0] = (uint8_t)(type << 4);
    out[1] = (uint8_t)(len - 2);
    return len;
}

size_t scenario_answer(bool five, const char *text, uint8_t *out) {
    struct scenario_words w;
    struct mini_packet p = {.five = five};
    if (!words_split(&w, text)) {
        return 0;
    }
    p.type = type_of(&w);
    switch (p.type) {
    case MINI_CONNACK:
        return answer_connack(&w, five, out);
    case MINI_SUBACK:
    case MINI_UNSUBACK:
        return answer_suback(&w, five, p.type, out);
    case MINI_PUBLISH:
    case MINI_PUBACK:
    case MINI_PUBREC:
    case MINI_PUBREL:
    case MINI_PUBCOMP:
    case MINI_DISCONNECT:
        return packet_of(&w, &p) && words_end(&w) ? mini_encode(&p, out) : 0;
    default:
        return 0;
    }
}
