#include "packet/property.h"

#include "base/must.h"
#include "packet/codec.h"

const struct property_row property_rows[PROPERTY_COUNT] = {
#define PROPERTY_ROW(id_, name_, field_, kind_, min_, max_, packets_, repeats_, text_)                                 \
    [PROPERTY_INDEX_##name_] = {                                                                                       \
        .id = (id_),                                                                                                   \
        .kind = PROPERTY_##kind_,                                                                                      \
        .min = (min_),                                                                                                 \
        .max = (max_),                                                                                                 \
        .packets = (packets_),                                                                                         \
        .repeats = (repeats_),                                                                                         \
        .offset = offsetof(struct properties, field_),                                                                 \
        .name = text_,                                                                                                 \
        .text_place = text_ " cannot stand in this packet",                                                            \
        .text_repeat = text_ " stands twice in one packet",                                                            \
        .text_value = text_ " has a value that is not allowed",                                                        \
        .text_utf8 = text_ " is not well-formed UTF-8",                                                                \
    },
    PROPERTY_ROWS(PROPERTY_ROW)
#undef PROPERTY_ROW
};

enum { PROPERTY_ID_MAX = 0x2A };

const struct property_row *property_row_of(uint32_t id) {
    static const uint8_t places[PROPERTY_ID_MAX + 1] = {
#define PROPERTY_PLACE(id_, name_, ...) [id_] = PROPERTY_INDEX_##name_ + 1,
        PROPERTY_ROWS(PROPERTY_PLACE)
#undef PROPERTY_PLACE
    };
    return id <= PROPERTY_ID_MAX && places[id] != 0 ? &property_rows[places[id] - 1] : NULL;
}

static property_set bit_of(const struct property_row *row) {
    return (property_set)1 << (row - property_rows);
}

/* ---- decode ---- */

static bool refuse_value(const struct decoding *d, const struct property_row *row) {
    if (row->id == 0x23) {
        return refuse(d, REASON_TOPIC_ALIAS_INVALID, "MQTT-3.3.2-8", row->text_value);
    }
    return refuse(d, REASON_PROTOCOL_ERROR, STATEMENT_MALFORMED, row->text_value);
}

static bool number_in_range(const struct decoding *d, const struct property_row *row, uint32_t value) {
    return (value >= row->min && value <= row->max) || refuse_value(d, row);
}

static bool pair_decode(const struct decoding *d, struct reader *r, const struct property_row *row,
                        struct properties *p) {
    if (p->user_property_count >= d->limits->user_properties_max) {
        return refuse(d, REASON_QUOTA_EXCEEDED, STATEMENT_LIMIT, "there are more user properties than allowed here");
    }
    struct span name = reader_prefixed(r);
    struct span value = reader_prefixed(r);
    if (!utf8_valid(name) || !utf8_valid(value)) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-1.5.7-1", row->text_utf8);
    }
    p->user_property_count++;
    return true;
}

static bool varint_decode(const struct decoding *d, struct reader *r, const struct property_row *row,
                          struct properties *p) {
    uint32_t value = reader_varint(r);
    if (r->failed) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-1.5.5-1", row->text_value);
    }
    if (p->subscription_identifier_count == UINT16_MAX) {
        return refuse(d, REASON_QUOTA_EXCEEDED, STATEMENT_LIMIT,
                      "there are more subscription identifiers than allowed");
    }
    if (p->subscription_identifier_count == 0) {
        p->subscription_identifier = value;
    }
    p->subscription_identifier_count++;
    return number_in_range(d, row, value);
}

/* Reads one value into its field. A value that ends too early is left to the reader's error. */
static bool value_decode(const struct decoding *d, struct reader *r, const struct property_row *row,
                         struct properties *p) {
    static const struct topic_name_rule response_topic = {REASON_PROTOCOL_ERROR, "MQTT-3.3.2-14"};
    void *field = (char *)p + row->offset;
    switch (row->kind) {
    case PROPERTY_BYTE: {
        uint8_t value = reader_u8(r);
        *(uint8_t *)field = value;
        return r->failed || number_in_range(d, row, value);
    }
    case PROPERTY_U16: {
        uint16_t value = reader_u16(r);
        *(uint16_t *)field = value;
        return r->failed || number_in_range(d, row, value);
    }
    case PROPERTY_U32: {
        uint32_t value = reader_u32(r);
        *(uint32_t *)field = value;
        return r->failed || number_in_range(d, row, value);
    }
    case PROPERTY_VARINT:
        return varint_decode(d, r, row, p);
    case PROPERTY_PAIR:
        return pair_decode(d, r, row, p);
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY:
        break;
    }
    struct span value = reader_prefixed(r);
    *(struct span *)field = value;
    if (r->failed || row->kind == PROPERTY_BINARY) {
        return true;
    }
    return row->kind == PROPERTY_TOPIC ? decode_topic_name(d, value, response_topic)
                                       : decode_utf8(d, value, row->text_utf8);
}

static bool property_decode(const struct decoding *d, uint32_t packet, struct reader *r, struct properties *p) {
    /* All identifiers are below 0x80, so one byte decides; what begins longer is none of them. */
    const struct property_row *row = property_row_of(reader_u8(r));
    if (row == NULL) {
        return refuse_format(d, "a property identifier is unknown");
    }
    if ((row->packets & packet) == 0) {
        return refuse_format(d, row->text_place);
    }
    property_set bit = bit_of(row);
    if ((p->present & bit) != 0 && (row->repeats & packet) == 0) {
        return refuse(d, REASON_PROTOCOL_ERROR, STATEMENT_MALFORMED, row->text_repeat);
    }
    p->present |= bit;
    return value_decode(d, r, row, p);
}

bool properties_decode_block(struct decoding *d, uint32_t packet, struct properties *p) {
    if (reader_left(&d->r) == 0) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-2.2.2-1", "the property length is missing");
    }
    uint32_t length = reader_varint(&d->r);
    if (d->r.failed) {
        return refuse(d, REASON_MALFORMED_PACKET, "MQTT-1.5.5-1", "the property length is not a variable byte integer");
    }
    struct span block = reader_bytes(&d->r, length);
    if (d->r.failed) {
        return refuse_format(d, "the property length goes beyond the packet");
    }
    p->raw = block;
    struct reader r = reader_of(block);
    while (reader_left(&r) > 0) {
        if (!property_decode(d, packet, &r, p)) {
            return false;
        }
    }
    return !r.failed || refuse_format(d, "a property goes beyond the property length");
}

/* ---- walking a decoded block ---- */

/* Steps over one value; the block was checked when it was decoded. */
static void value_skip(struct reader *r, const struct property_row *row) {
    switch (row->kind) {
    case PROPERTY_BYTE:
        (void)reader_bytes(r, 1);
        break;
    case PROPERTY_U16:
        (void)reader_bytes(r, 2);
        break;
    case PROPERTY_U32:
        (void)reader_bytes(r, 4);
        break;
    case PROPERTY_VARINT:
        (void)reader_varint(r);
        break;
    case PROPERTY_PAIR:
        (void)reader_prefixed(r);
        (void)reader_prefixed(r);
        break;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY:
        (void)reader_prefixed(r);
        break;
    }
}

/* Moves to the value of the next property of the set; false at the end. */
static bool property_seek(struct reader *r, property_set wanted) {
    while (reader_left(r) > 0) {
        const struct property_row *row = property_row_of(reader_u8(r));
        must(row != NULL);
        if ((wanted & bit_of(row)) != 0) {
            return true;
        }
        value_skip(r, row);
    }
    return false;
}

bool packet_user_property_next(struct reader *r, struct span *name, struct span *value) {
    if (!property_seek(r, PROPERTY_USER_PROPERTY)) {
        return false;
    }
    *name = reader_prefixed(r);
    *value = reader_prefixed(r);
    return true;
}

bool packet_subscription_identifier_next(struct reader *r, uint32_t *identifier) {
    if (!property_seek(r, PROPERTY_SUBSCRIPTION_IDENTIFIER)) {
        return false;
    }
    *identifier = reader_varint(r);
    return true;
}

/* Appends the properties of the set as they stand in `raw`. */
static void properties_copy(struct buf *out, struct span raw, property_set wanted) {
    struct reader r = reader_of(raw);
    while (reader_left(&r) > 0) {
        struct reader start = r;
        const struct property_row *row = property_row_of(reader_u8(&r));
        must(row != NULL);
        value_skip(&r, row);
        if ((wanted & bit_of(row)) != 0) {
            buf_bytes(out, reader_bytes(&start, reader_left(&start) - reader_left(&r)));
        }
    }
    must(!r.failed);
}

void packet_properties_forward(struct buf *out, const struct properties *p) {
    if ((p->present & ~PROPERTIES_FORWARDED) == 0) {
        buf_bytes(out, p->raw);
    } else if ((p->present & PROPERTIES_FORWARDED) != 0) {
        properties_copy(out, p->raw, PROPERTIES_FORWARDED);
    }
}

/* ---- encode ---- */

static uint32_t number_of(const struct property_row *row, const struct properties *p) {
    const void *field = (const char *)p + row->offset;
    return row->kind == PROPERTY_BYTE  ? *(const uint8_t *)field
           : row->kind == PROPERTY_U16 ? *(const uint16_t *)field
                                       : *(const uint32_t *)field;
}

static struct span span_field(const struct property_row *row, const struct properties *p) {
    return *(const struct span *)(const void *)((const char *)p + row->offset);
}

static void value_encode(struct buf *out, const struct property_row *row, const struct properties *p) {
    switch (row->kind) {
    case PROPERTY_BYTE:
        buf_u8(out, (uint8_t)number_of(row, p));
        break;
    case PROPERTY_U16:
        buf_u16(out, (uint16_t)number_of(row, p));
        break;
    case PROPERTY_U32:
        buf_u32(out, number_of(row, p));
        break;
    case PROPERTY_VARINT:
        buf_varint(out, number_of(row, p));
        break;
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY:
        must(span_field(row, p).len <= UINT16_MAX);
        buf_prefixed(out, span_field(row, p));
        break;
    case PROPERTY_PAIR:
        break;
    }
}

static size_t value_size(const struct property_row *row, const struct properties *p) {
    switch (row->kind) {
    case PROPERTY_BYTE:
        return 1;
    case PROPERTY_U16:
        return 2;
    case PROPERTY_U32:
        return 4;
    case PROPERTY_VARINT:
        return varint_size(number_of(row, p));
    case PROPERTY_STRING:
    case PROPERTY_TOPIC:
    case PROPERTY_BINARY:
        return 2 + span_field(row, p).len;
    case PROPERTY_PAIR:
        break;
    }
    return 0;
}

/* Those that are written from `raw`, because there may be several of them. */
static property_set properties_from_raw(const struct properties *p) {
    return (p->user_property_count > 0 ? (property_set)PROPERTY_USER_PROPERTY : 0) |
           (p->subscription_identifier_count > 1 ? (property_set)PROPERTY_SUBSCRIPTION_IDENTIFIER : 0);
}

/* Those that are written from their fields. */
static property_set properties_from_fields(const struct properties *p) {
    return p->present & ~(property_set)PROPERTY_USER_PROPERTY & ~properties_from_raw(p);
}

static size_t block_size(const struct properties *p) {
    size_t bytes = 0;
    for (property_set left = properties_from_fields(p); left != 0; left &= left - 1) {
        bytes += 1 + value_size(&property_rows[__builtin_ctz(left)], p);
    }
    property_set wanted = properties_from_raw(p);
    struct reader r = reader_of(p->raw);
    while (wanted != 0 && reader_left(&r) > 0) {
        size_t before = reader_left(&r);
        const struct property_row *row = property_row_of(reader_u8(&r));
        must(row != NULL);
        value_skip(&r, row);
        bytes += (wanted & bit_of(row)) != 0 ? before - reader_left(&r) : 0;
    }
    return bytes;
}

size_t properties_size(const struct properties *p) {
    size_t bytes = block_size(p);
    must(bytes <= REMAINING_LENGTH_MAX);
    return varint_size((uint32_t)bytes) + bytes;
}

void properties_encode(struct buf *out, uint32_t packet, const struct properties *p) {
    buf_varint(out, (uint32_t)block_size(p));
    for (property_set left = properties_from_fields(p); left != 0; left &= left - 1) {
        const struct property_row *row = &property_rows[__builtin_ctz(left)];
        must((row->packets & packet) != 0);
        buf_u8(out, row->id);
        value_encode(out, row, p);
    }
    property_set wanted = properties_from_raw(p);
    if (wanted != 0) {
        properties_copy(out, p->raw, wanted);
    }
}

void packet_user_property_add(struct buf *out, struct span name, struct span value) {
    must(name.len <= UINT16_MAX && value.len <= UINT16_MAX);
    buf_u8(out, property_rows[PROPERTY_INDEX_USER_PROPERTY].id);
    buf_prefixed(out, name);
    buf_prefixed(out, value);
}

void packet_subscription_identifier_add(struct buf *out, uint32_t identifier) {
    must(identifier > 0);
    buf_u8(out, property_rows[PROPERTY_INDEX_SUBSCRIPTION_IDENTIFIER].id);
    buf_varint(out, identifier);
}
