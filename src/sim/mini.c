#include "sim/mini.h"

#include "base/must.h"

/* ---- writing ---- */

struct pen {
    uint8_t *at;
    size_t len;
};

static void put8(struct pen *w, unsigned value) {
    must(w->len < MINI_PACKET_BYTES);
    w->at[w->len++] = (uint8_t)value;
}

static void put16(struct pen *w, unsigned value) {
    put8(w, value >> 8 & 255);
    put8(w, value & 255);
}

static void put32(struct pen *w, uint32_t value) {
    put16(w, value >> 16);
    put16(w, value & 0xffff);
}

static void put_var(struct pen *w, size_t value) {
    do {
        unsigned low = value % 128;
        value /= 128;
        put8(w, value > 0 ? low | 128 : low);
    } while (value > 0);
}

static void put_raw(struct pen *w, struct span s) {
    must(w->len + s.len <= MINI_PACKET_BYTES);
    if (s.len > 0) {
        memcpy(w->at + w->len, s.ptr, s.len);
    }
    w->len += s.len;
}

static void put_text(struct pen *w, struct span s) {
    put16(w, (unsigned)s.len);
    put_raw(w, s);
}

static void put_block(struct pen *w, const struct pen *block) {
    put_var(w, block->len);
    put_raw(w, span_of(block->at, block->len));
}

static void property_u32(struct pen *w, unsigned number, uint32_t value) {
    put8(w, number);
    put32(w, value);
}

static void body_connect(const struct mini_packet *p, struct pen *w) {
    uint8_t bytes[64];
    struct pen block = {bytes, 0};
    put_text(w, SPAN("MQTT"));
    put8(w, p->five ? 5 : 4);
    unsigned will = p->has_will ? 4U | (unsigned)p->will_qos << 3 | (p->will_retain ? 32U : 0U) : 0U;
    put8(w, (p->clean ? 2U : 0U) | will);
    put16(w, p->keep_alive);
    if (p->five) {
        if (p->session_expiry != 0) {
            property_u32(&block, 17, p->session_expiry);
        }
        if (p->receive_maximum != 0) {
            put8(&block, 33);
            put16(&block, p->receive_maximum);
        }
        put_block(w, &block);
    }
    put_text(w, p->client);
    if (p->has_will) {
        if (p->five) {
            block.len = 0;
            if (p->will_delay != 0) {
                property_u32(&block, 24, p->will_delay);
            }
            put_block(w, &block);
        }
        put_text(w, p->will_topic);
        put_text(w, p->will_payload);
    }
}

static void body_publish(const struct mini_packet *p, struct pen *w) {
    put_text(w, p->topic);
    if (p->qos > 0) {
        put16(w, p->id);
    }
    if (p->five) {
        put_var(w, p->has_expiry ? 5 : 0);
        if (p->has_expiry) {
            property_u32(w, 2, p->expiry);
        }
    }
    put_raw(w, p->payload);
}

static void body_subscribe(const struct mini_packet *p, struct pen *w) {
    uint8_t bytes[8];
    struct pen block = {bytes, 0};
    put16(w, p->id);
    if (p->five) {
        if (p->type == MINI_SUBSCRIBE && p->subscription_count > 0) {
            put8(&block, 11);
            put_var(&block, p->subscription[0]);
        }
        put_block(w, &block);
    }
    put_text(w, p->topic);
    if (p->type == MINI_SUBSCRIBE) {
        put8(w, p->five ? p->qos | p->options : p->qos);
    }
}

static void body_disconnect(const struct mini_packet *p, struct pen *w) {
    if (p->five && (p->reason != 0 || p->has_expiry)) {
        put8(w, p->reason);
        put_var(w, p->has_expiry ? 5 : 0);
        if (p->has_expiry) {
            property_u32(w, 17, p->session_expiry);
        }
    }
}

static void body(const struct mini_packet *p, struct pen *w) {
    switch (p->type) {
    case MINI_CONNECT:
        body_connect(p, w);
        break;
    case MINI_PUBLISH:
        body_publish(p, w);
        break;
    case MINI_SUBSCRIBE:
    case MINI_UNSUBSCRIBE:
        body_subscribe(p, w);
        break;
    case MINI_DISCONNECT:
        body_disconnect(p, w);
        break;
    case MINI_PINGREQ:
        break;
    default:
        put16(w, p->id);
        if (p->five && p->reason != 0) {
            put8(w, p->reason);
        }
        break;
    }
}

size_t mini_encode(const struct mini_packet *p, uint8_t *out) {
    uint8_t bytes[MINI_PACKET_BYTES];
    struct pen inner = {bytes, 0};
    struct pen whole = {out, 0};
    unsigned flags = 0;
    if (p->type == MINI_PUBLISH) {
        flags = (p->dup ? 8U : 0U) | (unsigned)p->qos << 1 | (p->retain ? 1U : 0U);
    } else if (p->type == MINI_PUBREL || p->type == MINI_SUBSCRIBE || p->type == MINI_UNSUBSCRIBE) {
        flags = 2;
    }
    body(p, &inner);
    put8(&whole, (unsigned)p->type << 4 | flags);
    put_block(&whole, &inner);
    return whole.len;
}

/* ---- reading ---- */

/* The eye reads forward and never beyond the end; `bad` stays set. */
struct eye {
    const uint8_t *at;
    size_t left;
    bool bad;
};

static unsigned get8(struct eye *r) {
    if (r->left == 0) {
        r->bad = true;
        return 0;
    }
    r->left--;
    return *r->at++;
}

static unsigned get16(struct eye *r) {
    unsigned high = get8(r);
    return high << 8 | get8(r);
}

static uint32_t get32(struct eye *r) {
    uint32_t high = get16(r);
    return high << 16 | get16(r);
}

static size_t get_var(struct eye *r) {
    size_t value = 0;
    for (unsigned shift = 0; shift <= 21; shift += 7) {
        unsigned byte = get8(r);
        value |= (size_t)(byte & 127) << shift;
        if (byte < 128) {
            return value;
        }
    }
    r->bad = true;
    return 0;
}

static struct span get_raw(struct eye *r, size_t bytes) {
    if (bytes > r->left) {
        r->bad = true;
        return span_of(NULL, 0);
    }
    struct span s = span_of(r->at, bytes);
    r->at += bytes;
    r->left -= bytes;
    return s;
}

static struct span get_text(struct eye *r) {
    return get_raw(r, get16(r));
}

size_t mini_length(struct span in) {
    struct eye r = {in.ptr, in.len, false};
    get8(&r);
    size_t value = 0;
    for (unsigned shift = 0; shift <= 21; shift += 7) {
        if (r.left == 0) {
            return 0;
        }
        unsigned byte = get8(&r);
        value |= (size_t)(byte & 127) << shift;
        if (byte < 128) {
            size_t whole = in.len - r.left + value;
            return whole > MINI_PACKET_BYTES ? MINI_WRONG : r.left < value ? 0 : whole;
        }
    }
    return MINI_WRONG;
}

/* One property into the fields that somebody looks at; the others are stepped over. */
static void get_property(struct eye *r, struct mini_packet *p) {
    unsigned number = get8(r);
    switch (number) {
    case 2:
        p->has_expiry = true;
        p->expiry = get32(r);
        break;
    case 11: {
        uint32_t id = (uint32_t)get_var(r);
        if (p->subscription_count < 4) {
            p->subscription[p->subscription_count++] = id;
        }
        break;
    }
    case 17:
        p->has_expiry = true;
        p->session_expiry = get32(r);
        break;
    case 18:
        p->client = get_text(r);
        break;
    case 24:
        p->will_delay = get32(r);
        break;
    case 33:
        p->receive_maximum = (uint16_t)get16(r);
        break;
    case 39:
        get32(r);
        break;
    case 19:
    case 34:
    case 35:
        get16(r);
        break;
    case 41:
        p->no_identifiers = get8(r) == 0;
        break;
    case 1:
    case 23:
    case 25:
    case 36:
    case 37:
    case 40:
    case 42:
        get8(r);
        break;
    case 38:
        get_text(r);
        get_text(r);
        break;
    case 3:
    case 8:
    case 9:
    case 21:
    case 22:
    case 26:
    case 28:
    case 31:
        get_text(r);
        break;
    default:
        r->bad = true;
        break;
    }
}

static void get_properties(struct eye *r, struct mini_packet *p) {
    struct span block = get_raw(r, get_var(r));
    struct eye inner = {block.ptr, block.len, r->bad};
    while (inner.left > 0 && !inner.bad) {
        get_property(&inner, p);
    }
    r->bad = inner.bad;
}

static void read_publish(struct eye *r, unsigned flags, struct mini_packet *p) {
    p->dup = (flags & 8) != 0;
    p->qos = (uint8_t)(flags >> 1 & 3);
    p->retain = (flags & 1) != 0;
    p->topic = get_text(r);
    if (p->qos > 0) {
        p->id = (uint16_t)get16(r);
    }
    if (p->five) {
        get_properties(r, p);
    }
    p->payload = get_raw(r, r->left);
}

static void read_reasons(struct eye *r, struct mini_packet *p) {
    p->id = (uint16_t)get16(r);
    if (p->five) {
        get_properties(r, p);
    }
    while (r->left > 0 && p->reason_count < sizeof p->reasons) {
        p->reasons[p->reason_count++] = (uint8_t)get8(r);
    }
}

static void read_ack(struct eye *r, struct mini_packet *p) {
    p->id = (uint16_t)get16(r);
    if (p->five && r->left > 0) {
        p->reason = (uint8_t)get8(r);
        if (r->left > 0) {
            get_properties(r, p);
        }
    }
}

static void read_body(struct eye *r, unsigned flags, struct mini_packet *p) {
    switch (p->type) {
    case MINI_CONNACK:
        p->session_present = get8(r) == 1;
        p->reason = (uint8_t)get8(r);
        if (p->five) {
            get_properties(r, p);
        }
        break;
    case MINI_PUBLISH:
        read_publish(r, flags, p);
        break;
    case MINI_SUBACK:
    case MINI_UNSUBACK:
        read_reasons(r, p);
        break;
    case MINI_PINGRESP:
        break;
    case MINI_DISCONNECT:
        if (p->five && r->left > 0) {
            p->reason = (uint8_t)get8(r);
            if (r->left > 0) {
                get_properties(r, p);
            }
        }
        break;
    default:
        read_ack(r, p);
        break;
    }
}

static bool server_sends(unsigned type, bool five) {
    return type == MINI_CONNACK || (type >= MINI_PUBLISH && type <= MINI_PUBCOMP) || type == MINI_SUBACK ||
           type == MINI_UNSUBACK || type == MINI_PINGRESP || (type == MINI_DISCONNECT && five);
}

const char *mini_decode(struct span in, bool five, struct mini_packet *p) {
    struct eye r = {in.ptr, in.len, false};
    unsigned first = get8(&r);
    unsigned flags = first & 15;
    memset(p, 0, sizeof *p);
    p->type = (uint8_t)(first >> 4);
    p->five = five;
    get_var(&r);
    if (!server_sends(p->type, five)) {
        return "a packet that a server never sends";
    }
    if (p->type != MINI_PUBLISH && flags != (p->type == MINI_PUBREL ? 2 : 0)) {
        return "reserved flags are set";
    }
    read_body(&r, flags, p);
    if (r.bad || r.left != 0) {
        return "a malformed packet";
    }
    if (p->type == MINI_PUBLISH && (p->qos > 2 || (p->qos > 0 && p->id == 0) || (p->qos == 0 && p->dup))) {
        return "a PUBLISH with QoS 3, packet identifier 0, or DUP at QoS 0";
    }
    return NULL;
}

static void read_connect(struct eye *r, struct mini_packet *p) {
    get_text(r);
    p->five = get8(r) == 5;
    unsigned flags = get8(r);
    p->clean = (flags & 2) != 0;
    p->has_will = (flags & 4) != 0;
    p->will_qos = (uint8_t)(flags >> 3 & 3);
    p->will_retain = (flags & 32) != 0;
    p->keep_alive = (uint16_t)get16(r);
    if (p->five) {
        get_properties(r, p);
    }
    p->client = get_text(r);
    if (p->has_will) {
        if (p->five) {
            get_properties(r, p);
        }
        p->will_topic = get_text(r);
        p->will_payload = get_text(r);
    }
    for (unsigned more = flags >> 6; more != 0; more &= more - 1) { /* user name, password */
        get_text(r);
    }
}

static void read_filters(struct eye *r, struct mini_packet *p) {
    p->id = (uint16_t)get16(r);
    if (p->five) {
        get_properties(r, p);
    }
    while (r->left > 0 && !r->bad) {
        const struct span filter = get_text(r);
        const unsigned options = p->type == MINI_SUBSCRIBE ? get8(r) : 0;
        if (p->filter_count == sizeof p->filters / sizeof p->filters[0]) {
            r->bad = true;
        } else {
            p->filter_qos[p->filter_count] = (uint8_t)(options & 3);
            p->filters[p->filter_count++] = filter;
        }
    }
    p->topic = p->filters[0];
    p->qos = p->filter_qos[0];
}

bool mini_decode_client(struct span in, bool five, struct mini_packet *p) {
    struct eye r = {in.ptr, in.len, false};
    unsigned first = get8(&r);
    memset(p, 0, sizeof *p);
    p->type = (uint8_t)(first >> 4);
    p->five = five;
    get_var(&r);
    if (p->type == MINI_CONNECT) {
        read_connect(&r, p);
    } else if (p->type == MINI_SUBSCRIBE || p->type == MINI_UNSUBSCRIBE) {
        read_filters(&r, p);
    } else if (p->type != MINI_PINGREQ) {
        read_body(&r, first & 15, p);
    }
    return !r.bad && r.left == 0;
}

/* ---- printing ---- */

const char *mini_name(unsigned type) {
    static const char *const names[] = {"?",           "CONNECT",  "CONNACK", "PUBLISH",   "PUBACK",
                                        "PUBREC",      "PUBREL",   "PUBCOMP", "SUBSCRIBE", "SUBACK",
                                        "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP",  "DISCONNECT"};
    return type < sizeof names / sizeof names[0] ? names[type] : "?";
}

static void print_publish(FILE *out, const struct mini_packet *p) {
    if (p->qos > 0) {
        fprintf(out, " %u", p->id);
    }
    fprintf(out, " %.*s qos %u", (int)p->topic.len, (const char *)p->topic.ptr, p->qos);
    fprintf(out, "%s%s \"", p->dup ? " dup" : "", p->retain ? " retain" : "");
    size_t shown = p->payload.len > 12 ? 12 : p->payload.len;
    fprintf(out, "%.*s%s\"", (int)shown, (const char *)p->payload.ptr, shown < p->payload.len ? ".." : "");
    for (unsigned i = 0; i < p->subscription_count; i++) {
        fprintf(out, " sub %u", p->subscription[i]);
    }
    if (p->has_expiry) {
        fprintf(out, " expires %u", p->expiry);
    }
}

static void print_connect(FILE *out, const struct mini_packet *p) {
    fprintf(out, " %s %s", p->five ? "5.0" : "3.1.1", p->clean ? "clean" : "resume");
    if (p->session_expiry != 0) {
        fprintf(out, " session-expiry %u", p->session_expiry);
    }
    if (p->receive_maximum != 0) {
        fprintf(out, " receive-maximum %u", p->receive_maximum);
    }
    if (p->has_will) {
        fprintf(out, " will %.*s", (int)p->will_topic.len, (const char *)p->will_topic.ptr);
    }
}

void mini_print(FILE *out, const struct mini_packet *p) {
    fputs(mini_name(p->type), out);
    switch (p->type) {
    case MINI_CONNECT:
        print_connect(out, p);
        return;
    case MINI_PUBLISH:
        print_publish(out, p);
        return;
    case MINI_CONNACK:
        fputs(p->reason != 0 ? " refused" : p->session_present ? " resumed" : " new", out);
        break;
    case MINI_SUBSCRIBE:
    case MINI_UNSUBSCRIBE:
        fprintf(out, " %u %.*s qos %u", p->id, (int)p->topic.len, (const char *)p->topic.ptr, p->qos);
        return;
    case MINI_PINGREQ:
    case MINI_PINGRESP:
        return;
    case MINI_DISCONNECT:
        break;
    default:
        fprintf(out, " %u", p->id);
        break;
    }
    if (p->reason != 0) {
        fprintf(out, " 0x%02X", p->reason);
    }
    for (unsigned i = 0; i < p->reason_count; i++) {
        fprintf(out, " 0x%02X", p->reasons[i]);
    }
}
