#include "record/record.h"

#include "base/must.h"

enum {
    LEB_MAX = 10,   /* bytes of the longest number */
    FIXED_MAX = 72, /* bytes of kind, flags and all numbers of any kind of record, targets excepted */
    TARGET_MAX = LEB_MAX + 1,
    TOPIC_BYTES_MAX = 65535,
};

/* The first byte of a message's parts, and the flags of a target. */
enum {
    PARTS_QOS = 0x03,
    PARTS_RETAIN = 0x04,
    PARTS_EXPIRES = 0x08,    /* expires_at follows */
    PARTS_PROPERTIES = 0x10, /* the length of the properties follows that of the topic */
    PARTS_OWNER = 0x20,      /* the owner follows the payload, with its length. Earlier versions do not know it */
    PARTS_KNOWN = 0x3f,
};

/* The second byte of a MESSAGE. */
enum {
    MESSAGE_SET_RETAINED = 0x01,
    MESSAGE_CLEAR_WILL = 0x02,
    MESSAGE_ORIGIN = 0x04,    /* origin follows */
    MESSAGE_PACKET_ID = 0x08, /* packet_id follows */
    MESSAGE_SEQUENCE = 0x10,  /* sequence follows */
    MESSAGE_KNOWN = 0x1f,
};

/* ---- encode: each function returns one past the last byte that it wrote ---- */

static inline uint8_t *put_leb(uint8_t *at, uint64_t value) {
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80U);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static inline uint8_t *put_bytes(uint8_t *at, struct span s) {
    if (s.len > 0) {
        memcpy(at, s.ptr, s.len);
    }
    return at + s.len;
}

static inline uint8_t *put_text(uint8_t *at, struct span s) {
    return put_bytes(put_leb(at, s.len), s);
}

static uint8_t *put_parts(uint8_t *at, const struct message_parts *p) {
    unsigned flags = p->qos | (p->retain ? PARTS_RETAIN : 0U) | (p->expires_at != 0 ? PARTS_EXPIRES : 0U) |
                     (p->properties.len > 0 ? PARTS_PROPERTIES : 0U) | (p->owner.len > 0 ? PARTS_OWNER : 0U);
    must(p->qos <= 2 && p->topic.len <= TOPIC_BYTES_MAX);
    *at++ = (uint8_t)flags;
    if (p->expires_at != 0) {
        at = put_leb(at, (uint64_t)p->expires_at);
    }
    at = put_leb(at, p->topic.len);
    if (p->properties.len > 0) {
        at = put_leb(at, p->properties.len);
    }
    at = put_leb(at, p->payload.len);
    at = put_bytes(at, p->topic);
    at = put_bytes(at, p->properties);
    at = put_bytes(at, p->payload);
    return p->owner.len > 0 ? put_text(at, p->owner) : at;
}

static uint8_t *put_session(uint8_t *at, const struct record_session *s) {
    at = put_leb(at, s->session_id);
    at = put_leb(at, s->expiry_s);
    at = put_leb(at, (uint64_t)s->disconnected_at);
    *at++ = s->protocol;
    at = put_text(at, s->client_id);
    return s->owner.len > 0 ? put_text(at, s->owner) : at;
}

static uint8_t *put_end(uint8_t *at, const struct record_end *e) {
    return put_leb(at, e->session_id);
}

static uint8_t *put_subscribed(uint8_t *at, const struct record_subscribed *s) {
    at = put_leb(at, s->session_id);
    at = put_leb(at, s->options);
    at = put_leb(at, s->identifier);
    return put_text(at, s->filter);
}

static uint8_t *put_unsubscribed(uint8_t *at, const struct record_unsubscribed *u) {
    at = put_leb(at, u->session_id);
    return put_text(at, u->filter);
}

static uint8_t *put_message(uint8_t *at, const struct record_message *m) {
    unsigned flags = (m->set_retained ? MESSAGE_SET_RETAINED : 0U) | (m->clear_will ? MESSAGE_CLEAR_WILL : 0U) |
                     (m->origin != 0 ? MESSAGE_ORIGIN : 0U) | (m->packet_id != 0 ? MESSAGE_PACKET_ID : 0U) |
                     (m->sequence != 0 ? MESSAGE_SEQUENCE : 0U);
    *at++ = (uint8_t)flags;
    if (m->origin != 0) {
        at = put_leb(at, m->origin);
    }
    if (m->packet_id != 0) {
        at = put_leb(at, m->packet_id);
    }
    if (m->sequence != 0) {
        at = put_leb(at, m->sequence);
    }
    at = put_leb(at, (uint64_t)m->accepted_at);
    at = put_parts(at, &m->parts);
    at = put_leb(at, m->target_count);
    for (uint32_t i = 0; i < m->target_count; i++) {
        const struct record_target *t = &m->targets[i];
        must(t->qos == 1 || t->qos == 2);
        at = put_leb(at, t->session_id);
        *at++ = (uint8_t)(t->qos | (t->retain ? PARTS_RETAIN : 0U));
    }
    return at;
}

static uint8_t *put_flow(uint8_t *at, const struct record_flow *f) {
    return put_leb(put_leb(at, f->session_id), f->packet_id);
}

static uint8_t *put_sent(uint8_t *at, const struct record_sent *s) {
    at = put_leb(put_leb(at, s->session_id), s->packet_id);
    return put_leb(put_leb(at, s->message_lsn), s->target);
}

static uint8_t *put_dropped(uint8_t *at, const struct record_dropped *d) {
    return put_leb(put_leb(put_leb(at, d->session_id), d->message_lsn), d->target);
}

static uint8_t *put_will(uint8_t *at, const struct record_will *w) {
    at = put_leb(put_leb(put_leb(at, w->session_id), w->delay_s), w->expiry_s);
    return put_parts(at, &w->parts);
}

static uint8_t *put_clock(uint8_t *at, const struct record_clock *c) {
    return put_leb(put_leb(at, (uint64_t)c->time), (uint64_t)c->wall);
}

static uint8_t *put_retained(uint8_t *at, const struct record_retained *r) {
    at = put_leb(put_leb(put_leb(at, r->session_id), r->subscribed_lsn), r->first);
    at = put_leb(at, r->item_count);
    for (uint32_t i = 0; i < r->item_count; i++) {
        const struct record_retained_item *item = &r->items[i];
        must(item->qos == 1 || item->qos == 2);
        at = put_leb(at, item->message_lsn);
        *at++ = item->qos;
    }
    return at;
}

uint8_t *record_encode_at(uint8_t *at, const struct record *record) {
    *at++ = (uint8_t)record->kind;
    switch (record->kind) {
#define RECORD_PUT(number, name, field, text)                                                                          \
    case RECORD_##name:                                                                                                \
        return put_##field(at, &record->field);
        RECORD_ROWS(RECORD_PUT)
#undef RECORD_PUT
    case RECORD_NONE:
        break;
    }
    must(false);
    return at;
}

static size_t parts_bytes(const struct message_parts *p) {
    return p->topic.len + p->properties.len + p->payload.len + p->owner.len;
}

size_t record_bytes_max(const struct record *record) {
    size_t variable = 0;
    if (record->kind == RECORD_MESSAGE) {
        variable = parts_bytes(&record->message.parts) + (size_t)record->message.target_count * TARGET_MAX;
    } else if (record->kind == RECORD_WILL) {
        variable = parts_bytes(&record->will.parts);
    } else if (record->kind == RECORD_SESSION) {
        variable = record->session.client_id.len + record->session.owner.len;
    } else if (record->kind == RECORD_SUBSCRIBED) {
        variable = record->subscribed.filter.len;
    } else if (record->kind == RECORD_UNSUBSCRIBED) {
        variable = record->unsubscribed.filter.len;
    } else if (record->kind == RECORD_RETAINED) {
        variable = (size_t)record->retained.item_count * TARGET_MAX;
    }
    return FIXED_MAX + variable;
}

void record_encode(struct buf *out, const struct record *record) {
    uint8_t *at = buf_reserve(out, record_bytes_max(record));
    out->len += (size_t)(record_encode_at(at, record) - at);
}

/* ---- decode: a value that no encoder writes makes the reader fail ---- */

static uint64_t take_leb(struct reader *r, uint64_t max) {
    uint64_t value = reader_leb(r);
    if (value > max) {
        r->failed = true;
        return 0;
    }
    return value;
}

static uint32_t take_u32(struct reader *r) {
    return (uint32_t)take_leb(r, UINT32_MAX);
}

static packet_id_t take_packet_id(struct reader *r) {
    return (packet_id_t)take_leb(r, UINT16_MAX);
}

/* The bounds of all lengths are those of struct message, so that every decoded message can be made. */
static struct span take_text(struct reader *r) {
    return reader_bytes(r, (size_t)take_leb(r, UINT32_MAX));
}

static unsigned take_flags(struct reader *r, unsigned known) {
    unsigned flags = reader_u8(r);
    if ((flags & ~known) != 0) {
        r->failed = true;
    }
    return flags;
}

static void take_parts(struct reader *r, struct message_parts *p) {
    unsigned flags = take_flags(r, PARTS_KNOWN);
    p->qos = flags & PARTS_QOS;
    p->retain = (flags & PARTS_RETAIN) != 0;
    p->expires_at = (flags & PARTS_EXPIRES) != 0 ? (wall_ms_t)reader_leb(r) : 0;
    size_t topic = (size_t)take_leb(r, TOPIC_BYTES_MAX);
    size_t properties = (flags & PARTS_PROPERTIES) != 0 ? take_u32(r) : 0;
    size_t payload = take_u32(r);
    p->topic = reader_bytes(r, topic);
    p->properties = reader_bytes(r, properties);
    p->payload = reader_bytes(r, payload);
    p->owner = span_of(NULL, 0);
    if ((flags & PARTS_OWNER) != 0) {
        p->owner = reader_bytes(r, (size_t)take_leb(r, MESSAGE_OWNER_MAX));
        r->failed = r->failed || p->owner.len == 0; /* one that is not known is not written */
    }
    if (p->qos > 2) {
        r->failed = true;
    }
}

static void take_session(struct reader *r, struct record_session *s) {
    s->session_id = reader_leb(r);
    s->expiry_s = take_u32(r);
    s->disconnected_at = (wall_ms_t)reader_leb(r);
    s->protocol = reader_u8(r);
    s->client_id = take_text(r);
    s->owner = span_of(NULL, 0);
    if (reader_left(r) > 0) {
        s->owner = take_text(r);
        r->failed = r->failed || s->owner.len == 0; /* one that is not known is not written */
    }
}

static void take_clock(struct reader *r, struct record_clock *c) {
    c->time = (wall_ms_t)reader_leb(r);
    c->wall = (wall_ms_t)reader_leb(r);
}

static void take_end(struct reader *r, struct record_end *e) {
    e->session_id = reader_leb(r);
}

static void take_subscribed(struct reader *r, struct record_subscribed *s) {
    s->session_id = reader_leb(r);
    s->options = take_u32(r);
    s->identifier = take_u32(r);
    s->filter = take_text(r);
}

static void take_unsubscribed(struct reader *r, struct record_unsubscribed *u) {
    u->session_id = reader_leb(r);
    u->filter = take_text(r);
}

static void take_target(struct reader *r, struct record_target *t) {
    t->session_id = reader_leb(r);
    unsigned flags = take_flags(r, PARTS_QOS | PARTS_RETAIN);
    t->qos = flags & PARTS_QOS;
    t->retain = (flags & PARTS_RETAIN) != 0;
    if (t->qos != 1 && t->qos != 2) {
        r->failed = true;
    }
}

static void take_message(struct reader *r, struct record_message *m) {
    unsigned flags = take_flags(r, MESSAGE_KNOWN);
    m->set_retained = (flags & MESSAGE_SET_RETAINED) != 0;
    m->clear_will = (flags & MESSAGE_CLEAR_WILL) != 0;
    m->origin = (flags & MESSAGE_ORIGIN) != 0 ? reader_leb(r) : 0;
    m->packet_id = (flags & MESSAGE_PACKET_ID) != 0 ? take_packet_id(r) : 0;
    m->sequence = (flags & MESSAGE_SEQUENCE) != 0 ? reader_leb(r) : 0;
    m->accepted_at = (wall_ms_t)reader_leb(r);
    const uint8_t *parts = r->at;
    take_parts(r, &m->parts);
    m->parts_raw = span_of(parts, (size_t)(r->at - parts));
    m->targets = NULL;
    m->target_count = take_u32(r);
    const uint8_t *targets = r->at;
    for (uint32_t i = 0; i < m->target_count && !r->failed; i++) {
        struct record_target t;
        take_target(r, &t);
    }
    m->targets_raw = span_of(targets, (size_t)(r->at - targets));
}

static void take_flow(struct reader *r, struct record_flow *f) {
    f->session_id = reader_leb(r);
    f->packet_id = take_packet_id(r);
}

static void take_sent(struct reader *r, struct record_sent *s) {
    s->session_id = reader_leb(r);
    s->packet_id = take_packet_id(r);
    s->message_lsn = reader_leb(r);
    s->target = take_u32(r);
}

static void take_dropped(struct reader *r, struct record_dropped *d) {
    d->session_id = reader_leb(r);
    d->message_lsn = reader_leb(r);
    d->target = take_u32(r);
}

static void take_will(struct reader *r, struct record_will *w) {
    w->session_id = reader_leb(r);
    w->delay_s = take_u32(r);
    w->expiry_s = take_u32(r);
    take_parts(r, &w->parts);
}

static void take_item(struct reader *r, struct record_retained_item *item) {
    item->message_lsn = reader_leb(r);
    item->qos = (uint8_t)take_flags(r, PARTS_QOS);
    if (item->qos != 1 && item->qos != 2) {
        r->failed = true;
    }
}

/* All indices fit into their type. */
static void take_retained(struct reader *r, struct record_retained *retained) {
    retained->session_id = reader_leb(r);
    retained->subscribed_lsn = reader_leb(r);
    retained->first = take_u32(r);
    retained->item_count = (uint32_t)take_leb(r, UINT32_MAX - retained->first);
    retained->items = NULL;
    const uint8_t *items = r->at;
    for (uint32_t i = 0; i < retained->item_count && !r->failed; i++) {
        struct record_retained_item item;
        take_item(r, &item);
    }
    retained->items_raw = span_of(items, (size_t)(r->at - items));
}

bool record_decode(struct span in, struct record *record) {
    struct reader r = reader_of(in);
    unsigned kind = reader_u8(&r);
    switch (kind) {
#define RECORD_TAKE(number, name, field, text)                                                                         \
    case RECORD_##name:                                                                                                \
        record->kind = RECORD_##name;                                                                                  \
        take_##field(&r, &record->field);                                                                              \
        break;
        RECORD_ROWS(RECORD_TAKE)
#undef RECORD_TAKE
    default:
        r.failed = true;
        break;
    }
    return reader_done(&r);
}

bool record_parts_decode(struct span in, struct message_parts *parts) {
    struct reader r = reader_of(in);
    take_parts(&r, parts);
    return reader_done(&r);
}

bool record_target_next(struct reader *r, struct record_target *target) {
    if (reader_left(r) == 0) {
        return false;
    }
    take_target(r, target);
    return !r->failed;
}

bool record_retained_next(struct reader *r, struct record_retained_item *item) {
    if (reader_left(r) == 0) {
        return false;
    }
    take_item(r, item);
    return !r->failed;
}
